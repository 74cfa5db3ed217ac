"""No two lines need an eye with green cones. Tests look at every plot that they make: `plots_made` in conftest.py."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from nasda.operations import OPERATIONS
from nasda.pictures.palette import BLUE, GREY, PURPLE, VERMILLION
from tests.pictures.colours import APART, alike, seen


@pytest.mark.parametrize(("colour", "lightness"), [("#000000", 0), ("#777777", 50), ("#FFFFFF", 100)])
def test_greys_look_as_they_are(colour: str, lightness: float) -> None:
    np.testing.assert_allclose(seen(colour), [lightness, 0, 0], atol=0.2)


def test_red_and_green_look_alike_and_blue_does_not() -> None:
    red, green, blue = seen("#C00000"), seen("#507000"), seen("#0000C0")
    assert np.linalg.norm(red - green) < APART < np.linalg.norm(red - blue)


@pytest.mark.parametrize(
    ("first", "second", "pairs"),
    [
        ({"color": GREY}, {"color": PURPLE}, 1),
        ({"color": GREY}, {"color": PURPLE, "linestyle": "--"}, 0),
        ({"color": GREY}, {"color": PURPLE, "marker": "o"}, 0),
        ({"color": BLUE}, {"color": VERMILLION}, 0),
        ({"color": GREY, "linestyle": "none", "marker": "o"}, {"color": PURPLE, "linestyle": "none", "marker": "o"}, 0),
        ({"color": GREY}, {"color": GREY}, 0),  # parts of one line
    ],
)
def test_two_lines_differ_in_form_or_to_every_eye(first: dict[str, Any], second: dict[str, Any], pairs: int) -> None:
    axes = Figure().subplots()
    axes.plot([0, 1], **first)
    axes.plot([1, 0], **second)
    assert len(alike(axes.figure)) == pairs


def test_two_operations_differ_in_line_style_or_to_every_eye() -> None:
    for one, other in combinations(OPERATIONS.values(), 2):
        assert one.style != other.style or np.linalg.norm(seen(one.colour) - seen(other.colour)) >= APART
