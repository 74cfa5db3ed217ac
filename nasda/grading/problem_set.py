"""A problem set: questions with points, each with parts that are judged apart from one another.

A set lies in `notebooks/assignments/NAME.py` of the project, and not in this package: a worker, which can read the
package, must not find an answer in it.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from nasda.course.judges import Draw, Exercise, Mistakes, Wrong, like
from nasda.course.open import project_folder
from nasda.errors import NasdaError


@dataclass(frozen=True)
class Part:
    """What some of a question's points are for: `exercise` judges the same answer in one respect."""

    points: float
    what: str
    exercise: Exercise


@dataclass(frozen=True)
class Question:
    """A question: its cell's id, the name that the answer has there, and its parts.

    A question without parts is written in words and marked by hand: `written` is what it is marked out of.
    """

    cell_id: str
    name: str
    parts: Sequence[Part] = ()
    written: float = 0

    @property
    def points(self) -> float:
        """What the question is marked out of."""
        return sum(part.points for part in self.parts) + self.written


@dataclass(frozen=True)
class ProblemSet:
    """The questions of a set; `version` changes with its source."""

    name: str
    questions: Sequence[Question]
    version: str = ""

    @property
    def points(self) -> float:
        """What the set is marked out of."""
        return sum(question.points for question in self.questions)


def drawn(
    points: float,
    what: str,
    *,
    reference: Callable[..., Any],
    mistakes: Mistakes,
    draw: Draw,
    seed: int,
) -> Part:
    """A part that is judged on thirty cases by `draw`, none of which is fixed."""
    exercise = like(reference, [], mistakes, draw=draw, draws=30, seed=seed, tolerance=1e-7, part=what)
    return Part(points, what, exercise)


def in_band(key: str, middle: float, width: float) -> Exercise:
    """A number of the answer, a dictionary, lies within `width` of `middle`: for an experiment with chance in it."""

    def judge(answer: Any) -> Wrong | None:
        found = answer.get(key) if isinstance(answer, dict) else None
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            return Wrong("", {}, f"expected a dictionary with a number for {key!r}")
        return None if abs(found - middle) <= width else Wrong("", {}, f"{key!r} is not what such an experiment gives")

    return Exercise(judge)


def load_problem_set(name: str, seed: int) -> ProblemSet:
    """The set of this name with its hidden cases drawn by `seed`. Raises `NasdaError` if there is none."""
    folder = project_folder() / "notebooks" / "assignments"
    path = folder / f"{name}.py"
    if not path.exists():
        known = sorted(found.stem for found in folder.glob("ps*.py"))
        raise NasdaError(f"no problem set {name}: expected one of {', '.join(known) or '(none)'}")
    questions: Callable[[int], Sequence[Question]] = load_module(path).questions
    return ProblemSet(name, questions(seed), sha256(path.read_bytes()).hexdigest()[:16])


def load_module(path: Path) -> ModuleType:
    """The module of a file outside of the package."""
    specification = importlib.util.spec_from_file_location(f"nasda_assignment_{path.stem}", path)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
