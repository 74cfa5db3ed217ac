"""The checks that a student sees in a problem set: a few cases with the answers that are expected."""

from pathlib import Path
from typing import Any

from nasda.course.check import Verdict
from nasda.course.judges import NotAttempted, Wrong, judged, like
from nasda.errors import NasdaError
from nasda.files import read_json
from nasda.grading import wire


def check(cell_id: str, answer: Any, folder: Path | None = None) -> Verdict:
    """Compare an answer with the visible cases of its question, `PS_cases.json` beside the notebook.

    Never raises, as `nasda.course.check.check`. Where a question has no visible case, it says what is marked later.
    """
    path = (folder or Path.cwd()) / f"{cell_id.split('-')[0]}_cases.json"
    try:
        if not path.exists():
            raise NasdaError(f"{path} is missing: put it beside the notebook, as it was handed out")
        cases = read_json(path, "the visible cases of a problem set").get(cell_id)
        if cases is None:
            raise NasdaError(f"no question {cell_id}: run the cell as it was handed out")
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
