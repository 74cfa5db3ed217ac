"""`check` answers in words, whatever an answer does; `like` and `difference` name the first case that differs."""

import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from nasda.course import judges
from nasda.course.check import check as checked
from nasda.course.judges import Wrong, difference, is_stub, like, show, value


class Strange(BaseException):
    """Neither an Exception nor an exit."""


def raises(error: BaseException) -> Any:
    def answer(*_: Any) -> None:
        raise error

    return answer


@pytest.mark.parametrize("name", ["01.1", "01.2", "04.1", "05.3"])  # `module`, `like`, and judges of their own
@pytest.mark.parametrize(
    "error", [SystemExit(3), SystemExit(), Strange("odd"), RecursionError("deep"), OSError(2, "no")]
)
def test_an_answer_that_raises_or_exits_is_wrong(name: str, error: BaseException) -> None:
    verdict = checked(name, raises(error))
    assert verdict.outcome == "wrong"
    assert type(error).__name__ in verdict.words
    assert ("return a value instead of calling exit()" in verdict.words) == isinstance(error, SystemExit)


def test_an_answer_that_exits_on_a_later_case_is_told_which() -> None:
    def rest(xi: float) -> tuple[float, float]:
        return (2, 2) if xi == 0 else sys.exit("enough")

    words = checked("04.2", rest).words
    assert words.startswith("for xi = 0.5: expected (1, 1), yours: it raised SystemExit")


def test_the_stop_button_stops() -> None:
    with pytest.raises(KeyboardInterrupt):
        checked("01.1", raises(KeyboardInterrupt()))


def test_an_exercise_that_does_not_exist_is_told_the_others() -> None:
    assert "expected one of 00.1, 00.2" in checked("00.9", 1).words
    assert "expected one of 00, 01" in checked("77.1", 1).words


def test_a_case_is_named_by_its_arguments_or_by_its_key_and_gets_its_advice() -> None:
    square = like(lambda x: x * x, [{"x": 1}, {"x": 3}], advice=["of one", "of three"])
    wrong = square.judge(lambda x: x)
    assert isinstance(wrong, Wrong)
    assert wrong.words == "for x = 3: expected 9, yours gave 3. of three"
    assert wrong.case == {"x": 3}
    named = like(lambda x: x * x, {"one": {"x": 1}, "three": {"x": 3}}, [(lambda x: 3 * x - 2, "a line")])
    assert named.judge(lambda x: x) == Wrong("for three: expected 9, yours gave 3", {"x": 3})
    assert named.judge(lambda y: 3 * y - 2) == Wrong("for three: expected 9, yours gave 7. a line", {"x": 3})
    assert named.judge(lambda x: float(x) ** 2) is None


def test_an_answer_may_write_into_its_arguments() -> None:
    total = like(lambda xs: sum(xs), [{"xs": [1, 2]}, {"xs": [3]}])

    def emptying(xs: list[int]) -> int:
        return xs.pop() + (emptying(xs) if xs else 0)

    assert total.judge(emptying) is None


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (0.5, Fraction(1, 2)),
        (0.5, torch.tensor([0.5])),
        (2, np.int64(2)),
        (True, np.True_),
        ([1, 2.5], np.array([1, 2.5])),
        ((1, (2, 3)), [1, torch.tensor([2, 3])]),
        ({3, 7}, [7, 3]),
        ({("a", 1)}, [["a", 1]]),
        (torch.tensor([1.0, 2.0]), [1, 2 + 1e-7]),
        ("word", "word"),
        ([1, 2], (number for number in (1, 2))),
        ([0, 1], range(2)),
        (0.178, "17.8 %"),
        (0.7, "7/10"),
        ("b", " B)"),
        ("sep_conv_3x3", "sep conv 3×3"),
        ({("junk_kept", 1)}, [("Junk kept", 1)]),
        ({"A": "3"}, {"A": 3.0}),
        (torch.tensor([1.0, 2.0]), [torch.tensor(1.0), torch.tensor(2.0, requires_grad=True)]),
    ],
)
def test_the_same_in_another_form(expected: Any, found: Any) -> None:
    assert difference(expected, found) is None


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        (True, "yes", "expected True, yours gave 'yes'"),
        ("a", "b", "expected 'a', yours gave 'b'"),
        (0.5, "a half", "expected 0.5, yours gave 'a half'"),
        (set(), 3, "expected {}, yours gave 3"),
        ({3, 7}, [3], "expected {3, 7}, yours gave [3]"),
        ([1, 2], [1], "expected [1, 2], yours gave [1]"),
        ([1, [2, 3]], [1, [2, 4]], "item 1: item 1: expected 3, yours gave 4"),
        (torch.zeros(2, 2), np.array([[0, 0], [0, 5]]), "at [1, 1], expected 0, yours gave 5"),
        (torch.zeros(2), [[1], [1, 2]], "expected the shape (2,), yours gave"),
        (np.zeros(2), ["x", "y"], "expected numbers, yours gave ['x', 'y']"),
    ],
)
def test_the_first_difference_in_words(expected: Any, found: Any, words: str) -> None:
    assert words in (difference(expected, found) or "")


def test_a_value_has_advice_for_the_usual_slips() -> None:
    exercise = value(2, {4: "Halve it."})
    assert exercise.judge(Fraction(4, 2)) is None
    assert exercise.judge(4) == "4 is not it. Halve it."
    assert exercise.judge("two") == "'two' is not it."


def test_a_value_is_shown_in_a_few_words() -> None:
    assert show(torch.arange(3) / 2) == "[0, 0.5, 1]"
    assert show(np.zeros((5, 5))) == "numbers of the shape (5, 5)"
    assert show({"b", "a"}) == "{'a', 'b'}"
    assert len(show(list(range(1000)))) <= 160


def test_random_cases_find_what_fixed_ones_do_not() -> None:
    def total(xs: list[int]) -> int:
        return sum(xs)

    fixed = [{"xs": [1, 2]}]
    assert like(total, fixed).judge(lambda xs: 3) is None
    exercise = like(total, fixed, draw=lambda rng: {"xs": rng.integers(9, size=4).tolist()})
    assert exercise.judge(lambda xs: xs[0] + sum(xs[1:])) is None
    words = [exercise.judge(lambda xs: 3) for _ in range(2)]
    assert words[0] == words[1], "the same cases every time"
    assert isinstance(words[0], Wrong)
    assert words[0].words.startswith("for a random case, xs = [")
    assert sum(words[0].case["xs"]) != 3


def test_a_function_without_a_return_is_told() -> None:
    def forgot(xi: float) -> None:
        _ = 2 / (1 + 2 * xi)

    assert "your function returned None: is there a `return`?" in checked("04.2", forgot).words


def test_stubs_are_recognised() -> None:
    def stub(x: int) -> int:
        """Words."""
        ...

    def constant(x: int) -> int:
        return 0

    class Stub:
        """Words."""

        def __init__(self) -> None:
            """Words."""

    class Begun(Stub):
        def forward(self, x: int) -> int:
            return x

    def some(x: int) -> Any:
        yield x

    assert [is_stub(thing) for thing in (stub, Stub, constant, Begun, some)] == [True, True, False, False, False]


def test_an_endless_loop_ends_and_its_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "SECONDS", 0.2)

    def endless(xi: float) -> float:
        while True:
            try:
                xi += 1
            except Exception:
                xi = 0

    words = checked("04.2", endless).words
    assert "it was stopped after 0.2 s: does every loop end?" in words
    assert "of your cell: `" in words


def test_an_error_is_shown_with_the_student_s_own_line() -> None:
    def divides(xi: float) -> float:
        return xi / 0

    assert "it raised ZeroDivisionError: " in checked("04.2", divides).words
    assert "of your cell: `return xi / 0`)" in checked("04.2", divides).words
