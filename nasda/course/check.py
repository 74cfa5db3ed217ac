"""Exercises that answer in words: right, not attempted yet, or wrong with the first case that differs.

`check("03.2", answer)` stands below an exercise's stub in notebook 03. The module of that notebook's number has its
exercises: a reference that says what is right, and cases on which an answer is compared with it.
"""

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nasda.errors import NasdaError

_ARRAYS = torch.Tensor, np.ndarray
_SETS = set, frozenset

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
    """Judge the answer to exercise `name`, for instance "03.2".

    Never raises and never exits, whatever the answer does; only the stop button (KeyboardInterrupt) gets through.
    """
    try:
        exercise = find(name)
        words = exercise.judge(attempted(answer))
    except (NotAttempted, NotImplementedError):
        return Verdict(name, "not attempted yet")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a student's answer makes of our cases
        words = str(error) if isinstance(error, NasdaError) else _in_words(error)
    return Verdict(name, "right", exercise.praise) if words is None else Verdict(name, "wrong", words)


def attempted(answer: Any) -> Any:
    """The answer itself; raises `NotAttempted` for what a stub gives."""
    if answer is None or answer is ...:
        raise NotAttempted
    return answer


def _in_words(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "SystemExit, which ends Python: return a value instead of calling exit()"
    return f"{type(error).__name__}: {error}"


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
    cases: Sequence[Case] | Mapping[str, Case],
    mistakes: Sequence[tuple[Callable[..., Any], str]] = (),
    *,
    advice: Sequence[str] = (),
    tolerance: float = 1e-5,
    praise: str = "",
) -> Exercise:
    """A function to write: on each of `cases`, its arguments by name, it returns what `reference` returns.

    A case is named by its arguments, or by its key where `cases` has keys. Numbers, arrays and tensors may differ by
    `tolerance`, relative and absolute; everything else is compared exactly. An answer that returns on every case what
    one of the usual `mistakes` returns gets the advice beside it, and else the `advice` of the first case that differs.
    """
    named = dict(enumerate(cases)) if not isinstance(cases, Mapping) else cases

    def judge(answer: Any) -> str | None:
        if not callable(answer):
            return f"expected a function, found {show(answer)}"
        for number, (name, case) in enumerate(named.items()):
            words = _compare(reference, answer, case, tolerance, first=number == 0)
            if words:
                where = name if named is cases else ", ".join(f"{key} = {show(value)}" for key, value in case.items())
                hint = usual(answer) or (advice[number] if advice else "")
                return f"for {where}: {words}" + (f". {hint}" if hint else "")
        return None

    def usual(answer: Any) -> str:
        """The advice on the usual mistake that explains every value of the answer, if one does."""
        with np.errstate(all="ignore"):
            for mistake, words in mistakes:
                if not any(_compare(mistake, answer, case, tolerance) for case in named.values()):
                    return words
        return ""

    return Exercise(judge, praise)


def _compare(
    reference: Callable[..., Any], answer: Callable[..., Any], case: Case, tolerance: float, *, first: bool = False
) -> str | None:
    """The first difference on one case. Of `first`, what a stub returns raises `NotAttempted`."""
    expected = None
    try:
        expected = reference(*copy.deepcopy(list(case.values())))
        found = answer(*copy.deepcopy(list(case.values())))  # by position: an answer may name its arguments otherwise
    except (NotImplementedError, KeyboardInterrupt):
        raise
    except BaseException as error:
        return f"expected {show(expected)}, yours raised {_in_words(error)}"
    return difference(expected, attempted(found) if first else found, tolerance)


def value(expected: Any, slips: Mapping[Any, str], *, tolerance: float = 1e-5, praise: str = "") -> Exercise:
    """A number, a word or a set to find. `slips` has advice for certain wrong answers."""

    def judge(answer: Any) -> str | None:
        if difference(expected, answer, tolerance) is None:
            return None
        advice = next((words for slip, words in slips.items() if difference(slip, answer, tolerance) is None), "")
        return f"{show(answer)} is not it. {advice}".strip()

    return Exercise(judge, praise)


def difference(expected: Any, found: Any, tolerance: float = 1e-5) -> str | None:
    """The first difference between two answers in words, or None. A set may also come as a list or a tuple."""
    if isinstance(expected, _ARRAYS):
        return _array_difference(np.asarray(expected), found, tolerance)
    if isinstance(found, _ARRAYS):
        found = found.item() if isinstance(expected, Real) and len(found.flatten()) == 1 else found.tolist()
    words = f"expected {show(expected)}, yours gave {show(found)}"
    if isinstance(expected, _SETS):
        some = isinstance(found, (*_SETS, list, tuple))
        return None if some and {tuple(x) if isinstance(x, list) else x for x in found} == expected else words
    if isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(expected) != len(found):
            return words
        inner = ((i, difference(e, f, tolerance)) for i, (e, f) in enumerate(zip(expected, found, strict=True)))
        return next((f"item {i}: {words}" for i, words in inner if words), None)
    if isinstance(expected, Real) and isinstance(found, Real):
        return None if np.isclose(float(found), float(expected), tolerance, tolerance, True) else words
    return None if expected == found else words


def _array_difference(expected: np.ndarray, found: Any, tolerance: float) -> str | None:
    try:
        array = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    except (ValueError, TypeError):
        array = np.empty(0, dtype=object)
    if array.shape != expected.shape:
        return f"expected the shape {expected.shape}, yours gave {array.shape or show(found)}"
    if array.dtype.kind not in "biuf":
        return f"expected numbers, yours gave {show(found)}"
    wrong = np.argwhere(~np.isclose(array, expected, tolerance, tolerance, True))
    if not len(wrong):
        return None
    first = tuple(int(index) for index in wrong[0])
    place = f"at {list(first)}, " if first else ""
    return f"{place}expected {show(expected[first].item())}, yours gave {show(array[first].item())}"


def show(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, _ARRAYS):
        return show(value.tolist()) if len(value.flatten()) <= 16 else f"numbers of the shape {tuple(value.shape)}"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if not value.is_integer() else str(int(value))
    if isinstance(value, (list, tuple, *_SETS)):
        opening, closing = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
        items = sorted(map(show, value)) if isinstance(value, _SETS) else map(show, value)
        text = f"{opening}{', '.join(items)}{closing}"
    else:
        text = str(value) if isinstance(value, Real) else repr(value)
    return text if len(text) <= 160 else text[:157] + "…"
