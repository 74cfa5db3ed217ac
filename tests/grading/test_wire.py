"""Values come back as they were; nothing but plain data gets through."""

import json
import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from nasda.course.judges import difference
from nasda.grading.wire import NotPlain, from_text, to_text


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**80,
        -0.5,
        math.inf,
        "é\n",
        [1, [2, "x"]],
        (1, (2,)),
        {1, 2},
        {(1, "a"), (2, "b")},
        {"a": [1], 2: (3,)},
        Fraction(1, 3),
    ],
)
def test_plain_values_come_back(value: Any) -> None:
    found = from_text(to_text(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.int64, torch.bool, torch.uint8])
def test_tensors_and_arrays_come_back_bit_for_bit(kind: torch.dtype) -> None:
    tensor = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)) * 9).to(kind).transpose(0, 2)
    found = from_text(to_text(tensor))
    assert found.dtype == kind
    assert torch.equal(found, tensor)
    array = from_text(to_text(tensor.numpy()))
    assert isinstance(array, np.ndarray)
    assert np.array_equal(array, tensor.numpy())
    assert torch.equal(from_text(to_text(torch.nn.Parameter(tensor.double()))), tensor.double())
    assert from_text(to_text(torch.zeros(0, 3))).shape == (0, 3)


def test_generators_come_back_in_their_state() -> None:
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    found = from_text(to_text(generator))
    assert torch.equal(torch.rand(4, generator=found), torch.rand(4, generator=generator))


def test_nan_and_other_forms_of_numbers() -> None:
    assert math.isnan(from_text(to_text(math.nan)))
    assert from_text(to_text([np.float32(0.5), np.int64(3), np.True_])) == [0.5, 3, True]
    assert from_text(to_text(number for number in (1, 2))) == [1, 2]
    assert from_text(to_text(range(3))) == [0, 1, 2]

    class Pair(NamedTuple):
        a: int
        b: float

    assert from_text(to_text(Pair(1, 2.0))) == (1, 2.0)


class Equal(float):
    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Listing(list):
    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "value",
    [object(), Equal(1), Listing([1]), len, 1j, b"x", np.array(["x"]), np.array([object()]), torch.nn.Linear(1, 1)],
)
def test_objects_do_not_get_through(value: Any) -> None:
    with pytest.raises(NotPlain):
        to_text(value)


def test_what_refers_to_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(NotPlain, match="more than twenty deep"):
        to_text(circle)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        json.dumps({"nasda": "pickle", "value": "gASVAA=="}),
        json.dumps({"nasda": "array", "value": ["|O", [1], "AAAAAAAAAAA="]}),
        json.dumps({"nasda": "array", "value": ["<f8", [3], "AAAAAAAAAAA="]}),
        json.dumps({"other": 1}),
        "[" * 5000 + "]" * 5000,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(NotPlain):
        from_text(text)


def test_an_answer_that_equals_everything_is_no_right_answer() -> None:
    assert difference(2.0, from_text(to_text([1.0]))) is not None
