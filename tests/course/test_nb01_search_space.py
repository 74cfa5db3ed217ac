"""Notebook 01's pictures: stripes where the parts are, lines as wide as the attention."""

import numpy as np
import pytest

from nasda.course.nb01_search_space import attention_links, costs_picture, operations_picture, stripe_edges
from nasda.pictures.plots import to_png


@pytest.mark.parametrize(("height", "parts"), [(8, 4), (10, 4), (7, 3), (5, 5), (64, 4)])
def test_stripes_begin_where_a_new_part_begins(height: int, parts: int) -> None:
    of_row = [row * parts // height for row in range(height)]
    begins = [row for row in range(height) if row == 0 or of_row[row] != of_row[row - 1]]
    assert stripe_edges(height, parts).tolist() == [*begins, height]


def test_lines_are_the_wider_the_more_attention() -> None:
    attention = np.array([[0.9, 0.1], [0.5, 0.5]])
    figure = attention_links([np.zeros((8, 4, 3))], [attention], ["one"])
    (panel,) = figure.axes
    sloping = [line for line in panel.lines if list(line.get_xdata()) == [4, 4 + 0.8 * 8]]
    widths = {tuple(line.get_ydata()): line.get_linewidth() for line in sloping}
    assert set(widths) == {(2, 2), (2, 6), (6, 2), (6, 6)}
    assert widths[2, 2] > widths[6, 6] == widths[6, 2] > widths[2, 6]


def test_a_receptive_field_says_how_many_pixels_it_holds() -> None:
    field = np.zeros((5, 4))
    field[1:3, 1] = 1
    pictures = {"skip_connect": field, "none": np.zeros((5, 4))}
    figure = operations_picture({"an image": pictures, "sees": pictures})
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["", "", "2 of 20 pixels", "0 of 20 pixels"]
    assert to_png(figure)


def test_costs_are_shown_in_thousands() -> None:
    figure = costs_picture({"random": [(1000, 2000), (3000, 4000)], "mine": [(5000, 6000)]})
    shown = np.concatenate([cloud.get_offsets() for cloud in figure.axes[0].collections])
    np.testing.assert_allclose(shown, [(1, 2), (3, 4), (5, 6)])
