"""Every exercise: the stub is not attempted yet, the solution is right, wrong answers are told what is wrong."""

import importlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from nasda.course.check import check, of_notebook
from tests.notebooks.sources import SOURCES, Asked, exercises_of

ALL = [exercise for source in SOURCES for exercise in exercises_of(source)]
WRONG = {
    name: answers
    for source in SOURCES
    for name, answers in importlib.import_module(f"tests.notebooks.wrong_{source.stem}").WRONG.items()
}


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.name)
def test_the_stub_is_not_attempted_yet(asked: Asked) -> None:
    assert check(asked.name, asked.answered(asked.stub.source)).outcome == "not attempted yet"


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.name)
def test_the_solution_passes(asked: Asked) -> None:
    verdict = check(asked.name, asked.answered(asked.solution))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.name)
def test_plausible_wrong_answers_are_told_the_difference(asked: Asked) -> None:
    answers = WRONG[asked.name]
    assert len(answers) >= 2
    for code, words in answers:
        verdict = check(asked.name, asked.answered(code))
        assert verdict.outcome == "wrong", f"{code}\n{verdict}"
        assert words in verdict.words, verdict
    assert len({words for _, words in answers}) == len(answers), "each mistake has words of its own"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("01.5", lambda height, stem_stride: np.ceil(height / stem_stride / 2.0 ** np.arange(4))),
        ("04.2", lambda xi: np.full(2, 2 / (1 + 2 * xi))),
        ("04.2", lambda xi: torch.full((2,), 2 / (1 + 2 * xi))),
        ("05.2", (Fraction(7, 10), Fraction(59, 90))),
        ("05.2", (0.7, 0.66)),
        ("06.1", {("B", "A"), ("C", "D")}),
        ("07.4", {"A": "3", "B": "1", "C": "2", "D": "4"}),
    ],
)
def test_a_right_answer_may_have_another_form(name: str, answer: Any) -> None:
    assert check(name, answer).outcome == "right"


def test_a_template_without_answers_is_not_attempted_yet() -> None:
    assert check("07.4", dict.fromkeys("ABCD", ...)).outcome == "not attempted yet"


def test_no_exercise_without_a_stub_in_its_notebook() -> None:
    for source in SOURCES:
        known = of_notebook(source.name[:2])
        assert sorted(known) == [exercise.name for exercise in ALL if exercise.name.startswith(source.name[:2])]
