"""Exercises that answer in words: right, not attempted yet, or wrong with the first case that differs.

`check("03.2", answer)` stands below an exercise's stub in notebook 03. Each notebook's exercises are in the module of
its number; what is right is said there by a reference, and by cases to compare on.
"""

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nasda.errors import NasdaError

_NUMBER = (int, float, np.number)

Case = Mapping[str, Any]  # a function's arguments by name, in their order

Outcome = Literal["right", "not attempted yet", "wrong"]
_SIGNS: dict[Outcome, str] = {"right": "✓", "not attempted yet": "○", "wrong": "✗"}


@dataclass(frozen=True)
class Verdict:
    """What `check` says of an answer."""

    exercise: str
    outcome: Outcome
    words: str = ""

    def __repr__(self) -> str:
        return f"{_SIGNS[self.outcome]} {self.exercise}: {self.outcome}" + (f". {self.words}" if self.words else "")


@dataclass(frozen=True)
class Exercise:
    """`judge` gets the answer and returns None where it is right, else words that name the first difference.

    It raises `NotAttempted` for a stub. `praise` is said of a right answer: what it is good for, or a surprise in it.
    """

    judge: Callable[[Any], str | None]
    praise: str = ""


class NotAttempted(Exception):
    """The answer is still the stub."""


def check(name: str, answer: Any) -> Verdict:
    """Judge the answer to exercise `name`, for instance "03.2". Never raises, whatever the answer does."""
    try:
        exercise = find(name)
        if answer is None or answer is ...:
            raise NotAttempted
        difference = exercise.judge(answer)
    except (NotAttempted, NotImplementedError):
        return Verdict(name, "not attempted yet")
    except NasdaError as error:
        return Verdict(name, "wrong", str(error))
    except Exception as error:  # whatever a student's answer makes of our cases
        return Verdict(name, "wrong", f"{type(error).__name__}: {error}")
    if difference is not None:
        return Verdict(name, "wrong", difference)
    return Verdict(name, "right", exercise.praise)


def find(name: str) -> Exercise:
    """The exercise of this name; raises `NasdaError` where there is none."""
    exercises = of_notebook(name.split(".")[0])
    if name not in exercises:
        raise NasdaError(f"no exercise {name}: expected one of {', '.join(exercises)}")
    return exercises[name]


@cache
def of_notebook(number: str) -> Mapping[str, Exercise]:
    """The exercises of notebook `number`, for instance "03"; raises `NasdaError` where there is no such notebook."""
    modules = {path.stem[2:4]: path.stem for path in Path(__file__).parent.glob("nb*.py")}
    if number not in modules:
        raise NasdaError(f"no exercises {number}: expected one of {', '.join(sorted(modules))}")
    found: Mapping[str, Exercise] = importlib.import_module(f"nasda.course.{modules[number]}").EXERCISES
    return found


def like(
    reference: Callable[..., Any],
    cases: Sequence[Case],
    mistakes: Sequence[tuple[Callable[..., Any], str]] = (),
    *,
    tolerance: float = 1e-5,
    praise: str = "",
) -> Exercise:
    """A function to write: on each of `cases`, its arguments by name, it returns what `reference` returns.

    Numbers, arrays and tensors may differ by `tolerance`, relative and absolute; everything else is compared exactly.
    An answer that returns on every case what one of the usual `mistakes` returns gets the advice that stands beside it.
    """

    def judge(answer: Any) -> str | None:
        if not callable(answer):
            return f"expected a function, found {show(answer)}"
        words = first_difference(answer)
        if words is not None:
            for mistake, advice in mistakes:
                if _agree(mistake, answer, cases, tolerance):
                    return f"{words}. {advice}"
        return words

    def first_difference(answer: Callable[..., Any]) -> str | None:
        for case in cases:
            expected = _returned(reference, case)
            where = "for " + ", ".join(f"{name} = {show(value)}" for name, value in case.items())
            try:
                found = _returned(answer, case)
            except NotImplementedError:
                raise
            except Exception as error:
                return f"{where}: expected {show(expected)}, yours raised {type(error).__name__}: {error}"
            if (found is None or found is ...) and case is cases[0]:
                raise NotAttempted
            different = difference(expected, found, tolerance)
            if different:
                return f"{where}: {different}"
        return None

    return Exercise(judge, praise)


def _returned(function: Callable[..., Any], case: Case) -> Any:
    """By position: a student may name the arguments differently. Of a copy: a function may write into its arguments."""
    return function(*copy.deepcopy(list(case.values())))


def _agree(mistake: Callable[..., Any], answer: Callable[..., Any], cases: Sequence[Case], tolerance: float) -> bool:
    try:
        with np.errstate(all="ignore"):
            pairs = [(_returned(mistake, case), _returned(answer, case)) for case in cases]
    except Exception:  # a mistake of another kind
        return False
    return all(difference(expected, found, tolerance) is None for expected, found in pairs)


def value(expected: Any, wrong: str | Mapping[Any, str] = "", *, tolerance: float = 1e-5, praise: str = "") -> Exercise:
    """A number, a word or a set to find. `wrong` says what to think of, for any wrong answer or for certain ones."""

    def judge(answer: Any) -> str | None:
        if isinstance(expected, (set, frozenset)) and not isinstance(answer, (set, frozenset)):
            return f"expected a set, in curly brackets; found {show(answer)}"
        if difference(expected, answer, tolerance) is None:
            return None
        if isinstance(wrong, str):
            return f"{show(answer)} is not it. {wrong}".strip()
        advice = next((words for slip, words in wrong.items() if difference(slip, answer, tolerance) is None), "")
        return f"{show(answer)} is not it. {advice}".strip()

    return Exercise(judge, praise)


def difference(expected: Any, found: Any, tolerance: float = 1e-5) -> str | None:
    """The first difference between two answers in words, or None."""
    if isinstance(expected, (torch.Tensor, np.ndarray)):
        return _array_difference(np.asarray(expected), found, tolerance)
    if isinstance(expected, (list, tuple)):
        if isinstance(found, (torch.Tensor, np.ndarray)):
            found = found.tolist()
        if not isinstance(found, (list, tuple)):
            return f"expected {show(expected)}, yours gave {show(found)}"
        if len(expected) != len(found):
            return f"expected {len(expected)} items, {show(expected)}; yours gave {len(found)}, {show(found)}"
        inner = ((i, difference(e, f, tolerance)) for i, (e, f) in enumerate(zip(expected, found, strict=True)))
        return next((f"item {i}: {words}" for i, words in inner if words), None)
    if isinstance(expected, _NUMBER) and not isinstance(expected, bool):
        if isinstance(found, (torch.Tensor, np.ndarray)) and _size(found) == 1:
            found = found.item()
        close = isinstance(found, _NUMBER) and np.isclose(float(found), float(expected), tolerance, tolerance, True)
        return None if close else f"expected {show(expected)}, yours gave {show(found)}"
    return None if expected == found else f"expected {show(expected)}, yours gave {show(found)}"


def _array_difference(expected: np.ndarray, found: Any, tolerance: float) -> str | None:
    try:
        array = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    except (ValueError, TypeError):
        array = np.empty(0, dtype=object)
    if array.shape != expected.shape:
        return f"expected the shape {expected.shape}, yours gave {array.shape or show(found)}"
    if array.dtype == object:
        return f"expected numbers, yours gave {show(found)}"
    wrong = np.argwhere(~np.isclose(array, expected, tolerance, tolerance, True))
    if not len(wrong):
        return None
    first = tuple(int(index) for index in wrong[0])
    place = f"at {list(first)}, " if first else ""
    return f"{place}expected {show(expected[first].item())}, yours gave {show(array[first].item())}"


def show(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, _NUMBER):
        return f"{value:.4g}" if not float(value).is_integer() else str(int(value))
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if value.ndim == 0:
            return show(value.item())
        numbers = value.tolist()
        return _short(str(_rounded(numbers))) if _size(value) <= 16 else f"numbers of the shape {tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        brackets = "()" if isinstance(value, tuple) else "[]"
        return _short(f"{brackets[0]}{', '.join(show(item) for item in value)}{brackets[1]}")
    return _short(repr(value))


def _size(array: Any) -> int:
    return int(np.prod(array.shape))


def _rounded(numbers: Any) -> Any:
    if isinstance(numbers, list):
        return [_rounded(number) for number in numbers]
    return float(f"{numbers:.4g}") if isinstance(numbers, float) else numbers


def _short(text: str) -> str:
    return text if len(text) <= 160 else text[:157] + "…"
