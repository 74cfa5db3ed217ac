"""Marks: every answer of every submission judged, part by part, in workers side by side; kept as they come."""

import builtins
import csv
import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from threading import local

from tabulate import tabulate
from tqdm import tqdm

from nasda.course.judges import Exercise, NotAttempted, Told, judged
from nasda.errors import NasdaError
from nasda.files import make_folder, read_json, write_json, write_text
from nasda.grading import similar
from nasda.grading.problem_set import ProblemSet, Question
from nasda.grading.remote import Keeper
from nasda.grading.submission import NO_ANSWER, Submission

RIGHT, NOT_ATTEMPTED, BY_HAND = "right", "not attempted", "to be marked by hand"


@dataclass(frozen=True)
class Mark:
    """Points for a part of a question, and words for the student. `points` is None where a person has to mark."""

    question: str
    part: str
    points: float | None
    out_of: float
    words: str


@dataclass(frozen=True)
class Marked:
    """All marks of a submission."""

    student: str
    file: str
    note: str
    confinement: str
    marks: Sequence[Mark]

    @property
    def points(self) -> float:
        """What the judge gives; written answers are not in it."""
        return sum(mark.points or 0 for mark in self.marks)


def mark(submission: Submission, problem_set: ProblemSet, keeper: Keeper) -> Marked:
    """Judge all answers of a submission."""
    how = keeper.open("") if submission.cells else ""
    marks = [found for question in problem_set.questions for found in _marks(submission, question, keeper)]
    return Marked(submission.student, submission.path.name, submission.note, how, marks)


def _marks(submission: Submission, question: Question, keeper: Keeper) -> Iterator[Mark]:
    if question.written:
        text = submission.texts.get(question.cell_id, "").replace(NO_ANSWER, "").strip()
        points = None if text else 0.0
        yield Mark(question.cell_id, "written", points, question.written, BY_HAND if text else NOT_ATTEMPTED)
    broken = submission.broken(question.cell_id)
    for part in question.parts:
        words = broken or _judge(submission, question, part.exercise, keeper)
        points = part.points if words == RIGHT else 0.0
        yield Mark(question.cell_id, part.what, points, part.points, words)


def _judge(submission: Submission, question: Question, exercise: Exercise, keeper: Keeper) -> str:
    """`RIGHT`, or what is wrong with the answer in this part, without the hidden case that shows it; in a new worker,
    so that no part suffers from another."""
    try:
        keeper.open(*submission.pieces(question.name, question.cell_id))
        wrong = judged(exercise, keeper.answer(question.name))
    except NotAttempted:
        return NOT_ATTEMPTED
    except Told as error:
        return _without_values(str(error))
    if wrong is None:
        return RIGHT
    told = re.search(r"yours: (it .*)", wrong.words, re.DOTALL)
    return wrong.advice or (_without_values(told[1]) if told else "another value than expected, in a hidden case")


def _without_values(words: str) -> str:
    """What went wrong, without what may hold a hidden case: an error's message, a name that the answer has made up."""
    raised = re.match(r"it raised (\w+)", words)
    if raised:
        line = re.search(r" \(line \d+ of your cell: `[^`]*`\)$", words)
        kind = raised[1] if hasattr(builtins, raised[1]) else "an error of its own"
        return f"it raised {kind}{line[0] if line else ''}"
    if words.startswith(("it was stopped", "its process has ended", "it needs more than")):
        return words
    return "it returned something else than numbers, words, arrays or lists of them"


def grade(
    submissions: Sequence[Submission],
    problem_set: ProblemSet,
    out: Path,
    *,
    seed: int,
    jobs: int,
    namespaces: bool = True,
) -> list[Marked]:
    """Mark all submissions, `jobs` at a time, and write marks.json, marks.csv, similar.csv and a page of feedback for
    each to `out`.

    A submission whose file has been marked before, with the same set and seed, is not marked again.
    """
    make_folder(out)
    before = _marked_before(out / "marks.json")
    keys = [_key(submission, problem_set, seed) for submission in submissions]
    found = {key: before[key] for key in keys if key in before}
    todo = {key: submission for key, submission in zip(keys, submissions, strict=True) if key not in found}
    lane, keepers = local(), ExitStack()

    def work(submission: Submission) -> Marked:
        if not hasattr(lane, "keeper"):
            lane.keeper = keepers.enter_context(Keeper(namespaces=namespaces))
        return mark(submission, problem_set, lane.keeper)

    with keepers, ThreadPoolExecutor(jobs) as pool:
        done = tqdm(pool.map(work, todo.values()), "grading", len(todo), disable=None)
        for key, marked in zip(todo, done, strict=True):
            found[key] = marked
            write_json(out / "marks.json", {key: asdict(marked) for key, marked in found.items()})
    marked_in_order = [found[key] for key in keys]
    write_text(out / "marks.csv", as_csv(marked_in_order))
    write_text(out / "similar.csv", similar.as_csv(similar.alike(submissions, problem_set)))
    make_folder(out / "feedback")
    for marked in marked_in_order:
        write_text(out / "feedback" / f"{marked.student}.md", feedback(marked, problem_set.name))
    return marked_in_order


def _key(submission: Submission, problem_set: ProblemSet, seed: int) -> str:
    """What marks depend on: the student, the file's content, the set's, and the seed."""
    try:
        content = submission.path.read_bytes()
    except OSError:
        content = b""
    return sha256(repr((submission.student, problem_set.version, seed)).encode() + content).hexdigest()[:16]


def _marked_before(path: Path) -> dict[str, Marked]:
    if not path.exists():
        return {}
    found = read_json(path, "marks of an earlier run")
    try:
        return {key: Marked(**{**row, "marks": [Mark(**one) for one in row["marks"]]}) for key, row in found.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise NasdaError(f"{path}: not written by nasda grade: move it away, or give another --out") from error


def as_csv(marked: Sequence[Marked]) -> str:
    """A row a student: points of each part, their sum, what is to be marked by hand, and notes."""
    parts = [(mark.question, mark.part) for mark in marked[0].marks] if marked else []
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", *(f"{question}: {part}" for question, part in parts), "points", "by hand", "note"])
    for found in marked:
        points = ["" if mark.points is None else f"{mark.points:g}" for mark in found.marks]
        by_hand = sum(mark.out_of for mark in found.marks if mark.points is None)
        rows.writerow([found.student, *points, f"{found.points:g}", f"{by_hand:g}", found.note])
    return text.getvalue()


def cell_of(words: str) -> str:
    """Words in a cell of a table."""
    return " ".join(words.replace("|", "\\|").split())


def feedback(found: Marked, name: str) -> str:
    """What a student reads: points and words for every part."""
    whole = sum(mark.out_of for mark in found.marks)
    lines = [f"# {name}: {found.student}", "", f"**{found.points:g} of {whole:g} points**", ""]
    table = [
        [
            mark.question,
            mark.part,
            "" if mark.points is None else f"{mark.points:g} of {mark.out_of:g}",
            cell_of(mark.words),
        ]
        for mark in found.marks
    ]
    lines.append(tabulate(table, ["question", "part", "points", ""], tablefmt="pipe", disable_numparse=True))
    return "\n".join([*lines, *(["", found.note] if found.note else []), ""])
