"""The checks that a student sees in a problem set: a few cases with the answers that are expected."""

from pathlib import Path
from typing import Any

from nasda.course.check import Verdict
from nasda.course.judges import NotAttempted, Told, Wrong, judged, like
from nasda.errors import NasdaError
from nasda.files import read_json
from nasda.grading import wire
from nasda.grading.remote import Keeper
from nasda.grading.submission import NO_ANSWER, Submission, read_submission


def check(cell_id: str, answer: Any, folder: Path | None = None) -> Verdict:
    """Compare an answer with the visible cases of its question, `PS_cases.json` beside the notebook.

    Never raises, as `nasda.course.check.check`. Where a question has no visible case, it says what is marked later.
    """
    try:
        questions = visible_questions(folder or Path.cwd(), cell_id.split("-")[0])
        if cell_id not in questions:
            raise NasdaError(f"no question {cell_id}: run the cell as it was handed out")
        cases = questions[cell_id]["cases"]
        wrong = _first_wrong(cases, answer)
    except NotAttempted:
        return Verdict(cell_id, "not attempted yet")
    except NasdaError as error:
        wrong = Wrong(str(error))
    if wrong:
        return Verdict(cell_id, "wrong", wrong.words, wrong.case)
    return Verdict(
        cell_id, "right", "In the cases that you can see." if cases else "There is an answer: a band marks it."
    )


def visible_questions(folder: Path, name: str) -> dict[str, Any]:
    """What was handed out beside a problem set: for each question the answer's name and the visible cases."""
    path = folder / f"{name}_cases.json"
    if not path.exists():
        raise NasdaError(f"{path} is missing: put it beside the notebook, as it was handed out")
    found: dict[str, Any] = read_json(path, "the visible cases of a problem set")
    return found


def check_notebook(path: Path, keeper: Keeper) -> list[str]:
    """A line on every question of a problem set's notebook: what is answered, and what the visible cases say.

    Raises `NasdaError` if the file or what was handed out with it cannot be read.
    """
    submission, questions = read_submission("you", path), visible_questions(path.parent, path.stem)
    return [_line(submission, cell_id, asked["name"], keeper) for cell_id, asked in questions.items()]


def _line(submission: Submission, cell_id: str, name: str, keeper: Keeper) -> str:
    if not name:
        words = len(submission.texts.get(cell_id, "").replace(NO_ANSWER, "").split())
        return f"{cell_id}: {f'{words} words' if words else 'not attempted yet'}"
    if broken := submission.broken(cell_id):
        return f"✗ {cell_id}: wrong. {broken}"
    try:
        keeper.open(*submission.pieces(name, cell_id))
        return repr(check(cell_id, keeper.answer(name), submission.path.parent)).split("\n")[0]
    except NotAttempted:
        return repr(Verdict(cell_id, "not attempted yet"))
    except Told as error:
        return repr(Verdict(cell_id, "wrong", str(error)))


def _first_wrong(cases: list[dict[str, str]], answer: Any) -> Wrong | None:
    if not cases and is_template(answer):
        raise NotAttempted
    for case in cases:
        expected = wire.from_text(case["expected"])
        exercise = like(lambda *_, expected=expected: expected, [wire.from_text(case["arguments"])], tolerance=1e-7)
        if wrong := judged(exercise, answer):
            return wrong
    return None


def is_template(answer: Any) -> bool:
    """Is a value still what the release has in its place?"""
    return answer is ... or (isinstance(answer, dict) and ... in answer.values())
