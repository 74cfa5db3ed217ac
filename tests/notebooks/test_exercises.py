"""Every exercise: the stub is not attempted yet, the solution is right, wrong answers are told what is wrong."""

import importlib

import pytest

from nasda.course.check import check, of_notebook
from tests.notebooks.sources import SOURCES, Asked, exercises_of

ALL = [exercise for source in SOURCES for exercise in exercises_of(source)]
_ANSWERS = [importlib.import_module(f"tests.notebooks.answers_{source.stem}") for source in SOURCES]
WRONG = {name: answers for module in _ANSWERS for name, answers in module.WRONG.items()}
RIGHT = {name: answers for module in _ANSWERS for name, answers in module.RIGHT.items()}


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
    assert len(answers) >= 6
    for code, words in answers:
        verdict = check(asked.name, asked.answered(code))
        assert verdict.outcome == "wrong", f"{code}\n{verdict}"
        assert words in verdict.words, f"{code}\n{verdict}"


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.name)
def test_a_right_answer_may_have_another_form(asked: Asked) -> None:
    answers = RIGHT[asked.name]
    assert len(answers) >= 4
    for code in answers:
        verdict = check(asked.name, asked.answered(code))
        assert verdict.outcome == "right", f"{code}\n{verdict}"


def test_a_template_without_answers_is_not_attempted_yet() -> None:
    assert check("07.6", dict.fromkeys("ABCD", ...)).outcome == "not attempted yet"


def test_no_exercise_without_a_stub_in_its_notebook() -> None:
    for source in SOURCES:
        known = of_notebook(source.name[:2])
        assert sorted(known) == [exercise.name for exercise in ALL if exercise.name.startswith(source.name[:2])]
