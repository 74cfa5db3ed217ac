"""Exercises that answer in words: right, not attempted yet, or wrong with the first case that differs.

`check("03.2", answer)` stands below an exercise's stub in notebook 03. The module of that notebook's number has its
exercises; `nasda.course.judges` has what judges an answer. A right answer that is a part of the student's searcher is
kept, and `mine("03.2")` hands it to every later cell (`nasda.course.workbook`).
"""

import importlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from nasda.course.journal import Journal
from nasda.course.judges import Case, Exercise, NotAttempted, Wrong, judged
from nasda.course.workbook import Workbook
from nasda.errors import NasdaError

Outcome = Literal["right", "not attempted yet", "wrong"]
_SIGNS: dict[Outcome, str] = {"right": "✓", "not attempted yet": "○", "wrong": "✗"}


@dataclass(frozen=True)
class Verdict:
    """What `check` says of an answer. `case` has the arguments, by name, of the first case that differs."""

    exercise: str
    outcome: Outcome
    words: str = ""
    case: Case = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        said = f"{_SIGNS[self.outcome]} {self.exercise}: {self.outcome}" + (f". {self.words}" if self.words else "")
        return said + ("\nThe arguments of that case: _.case" if self.case else "")


def check(name: str, answer: Any) -> Verdict:
    """Judge the answer to exercise `name`, for instance "03.2".

    Never raises, exits or hangs, whatever the answer does; only the stop button (KeyboardInterrupt) gets through.
    """
    try:
        exercise = find(name)
        wrong = judged(exercise, answer)
    except NotAttempted as unfinished:
        return Verdict(name, "not attempted yet", str(unfinished))
    except NasdaError as error:
        wrong = Wrong(str(error))
    with suppress(NasdaError):  # outside of the project there is no log
        Journal.here().add("exercise", name, not wrong)
    if wrong:
        return Verdict(name, "wrong", wrong.words, wrong.case)
    words = [exercise.praise] if exercise.praise else []
    if exercise.part:
        words.append(_keep(name, exercise, answer))
    return Verdict(name, "right", "\n".join(words))


def _keep(name: str, exercise: Exercise, answer: Any) -> str:
    """Keep a right answer; returns what to say of it."""
    try:
        book = Workbook.here()
        book.keep(name, answer)
        return f"Kept in {book.path.name}. {your_searcher(book)}"
    except NasdaError as error:
        return f"Not kept: {error}"


def mine(name: str) -> Any:
    """The student's own answer to exercise `name` where one was kept, else the library's.

    Raises `NasdaError` if there is no such exercise, if its answer is no part of the searcher, or if the student's file
    cannot be run.
    """
    exercise = find(name)
    if not exercise.part:
        raise NasdaError(f"exercise {name} is no part of the searcher: expected one of {', '.join(parts())}")
    kept = Workbook.here().load(name)
    return exercise.library if kept is None else kept


def your_searcher(book: Workbook | None = None) -> str:
    """Which parts of the searcher are the student's, as a sentence."""
    kept = (book or Workbook.here()).names()
    every = parts()
    own = [f"{part} ({name})" for name, part in every.items() if name in kept]
    return f"Your searcher: {len(own)} of {len(every)} parts are yours" + (f": {', '.join(own)}" if own else "")


def parts() -> dict[str, str]:
    """The exercises whose answers are parts of the searcher, with the parts' names."""
    return {
        name: exercise.part
        for number in sorted(modules())
        for name, exercise in of_notebook(number).items()
        if exercise.part
    }


def find(name: str) -> Exercise:
    """The exercise of this name; raises `NasdaError` where there is none."""
    exercises = of_notebook(name.split(".")[0])
    if name not in exercises:
        raise NasdaError(f"no exercise {name}: expected one of {', '.join(exercises)}")
    return exercises[name]


@cache
def of_notebook(number: str) -> Mapping[str, Exercise]:
    """The exercises of notebook `number`, for instance "03"; raises `NasdaError` where there is no such notebook."""
    known = modules()
    if number not in known:
        raise NasdaError(f"no exercises {number}: expected one of {', '.join(sorted(known))}")
    found: Mapping[str, Exercise] = importlib.import_module(f"nasda.course.{known[number]}").EXERCISES
    return found


def modules() -> dict[str, str]:
    """The names of the modules with exercises, by the notebooks' numbers."""
    return {path.stem[2:4]: path.stem for path in Path(__file__).parent.glob("nb*.py")}
