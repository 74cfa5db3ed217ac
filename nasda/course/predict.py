"""Predict first: a guess before the cell that shows the answer, and questions on earlier notebooks.

Both are silent for `...`, work without widgets, and write to the student's own log (`nasda.course.journal`).
"""

import importlib
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nasda.course.check import modules
from nasda.course.journal import Journal
from nasda.course.judges import difference, show
from nasda.errors import NasdaError

CLOSE = 0.25
"""A guessed number counts as right within this share of the truth."""


@dataclass(frozen=True)
class Prediction:
    """A guess, `...` if there is none; `unit` and `choices` are as they were given to `predict`."""

    name: str
    guess: Any
    unit: str = ""

    def against(self, truth: Any) -> None:
        """Say how the guess compares with `truth`, a number or a word, and log it. Says nothing without a guess."""
        if self.guess is ...:
            return
        right = is_close(self.guess, truth)
        word = "right" if right else "not so"
        unit = f" {self.unit}" if self.unit else ""
        print(f"Prediction {self.name}: you said {show(self.guess)}{unit}, it is {show(truth)}{unit}: {word}.")
        with suppress(NasdaError):  # outside of the project there is no log
            Journal.here().add("prediction", self.name, right, show(self.guess))


def predict(name: str, guess: Any, *choices: str, unit: str = "") -> Prediction:
    """Prediction `name`, such as "02.a": a number in `unit`, or one of `choices`; `...` for none.

    A guess that is no number, or none of the choices, is named in one line, and counts as none.
    """
    if guess is ...:
        return Prediction(name, ...)
    if choices:
        found = next((choice for choice in choices if difference(choice, guess) is None), None)
        if found is None:
            print(
                f"Prediction {name}: {show(guess)} is none of the answers: expected {' or '.join(map(repr, choices))}"
            )
        return Prediction(name, ... if found is None else found)
    if number(guess) is None:
        print(f"Prediction {name}: expected a number{f' ({unit})' if unit else ''}, found {show(guess)}")
        return Prediction(name, ...)
    return Prediction(name, number(guess), unit)


def number(guess: Any) -> float | None:
    """A guess as a number, None if it is none."""
    try:
        return None if isinstance(guess, bool) or math.isnan(float(guess)) else float(guess)
    except (TypeError, ValueError):
        return None


def is_close(guess: Any, truth: Any) -> bool:
    """The same word, or a number within `CLOSE` of the truth."""
    if isinstance(truth, str):
        return difference(truth, guess) is None
    return abs(float(guess) - float(truth)) <= CLOSE * abs(float(truth))


@dataclass(frozen=True)
class Question:
    """A question on an earlier notebook: the letter of the right answer, why, and where to read again."""

    answer: str
    because: str


def recall(number: str, *letters: Any) -> None:
    """Judge the answers to the questions at the head of notebook `number`, in their order; `...` is no answer."""
    questions = importlib.import_module(f"nasda.course.{modules()[number]}").RECALL
    if len(letters) != len(questions):
        print(f"recall: expected {len(questions)} answers, one a question, found {len(letters)}")
        return
    for position, (question, letter) in enumerate(zip(questions, letters, strict=True), 1):
        if letter is ...:
            continue
        right = difference(question.answer, letter) is None
        print(f"{'✓' if right else '✗'} question {position}: {'right' if right else 'not so'}. {question.because}")
        with suppress(NasdaError):
            Journal.here().add("recall", f"{number}.r{position}", right, show(letter))
