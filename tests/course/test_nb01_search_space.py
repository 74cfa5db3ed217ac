"""Notebook 01: stripes where the parts are, lines as wide as the attention; a module that is judged step by step."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasda.course.check import check
from nasda.course.nb01_search_space import (
    attention_links,
    costs_picture,
    distances_picture,
    operations_picture,
    part_means,
    stripe_edges,
)
from nasda.operations import PartAware
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


def test_each_block_of_each_seed_is_a_mark_of_its_own_form() -> None:
    seeds = [[0.1, 0.2, 0.3], [0.2, 0.4, 0.6]]
    figure = distances_picture({"before": {"untrained": seeds}, "after": {"untrained": seeds, "trained": seeds}})
    before, after = figure.axes
    marks = [line for line in after.lines if line.get_marker() != "None"]
    assert {line.get_marker() for line in marks} == {"o", "^", "s"}
    shown = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in marks])
    np.testing.assert_allclose(np.sort(shown), np.sort(np.array(seeds * 2).flatten()))
    assert len(before.lines) == 4
    assert figure.alt.startswith("before: untrained from 0.100 to 0.600, median 0.250")


def test_a_module_that_is_half_written_hears_how_far_it_is() -> None:
    class Begun(nn.Module):
        def __init__(self, channels: int, stride: int, parts: int = 4, affine: bool = True) -> None:
            super().__init__()
            whole = PartAware(channels, stride, parts, affine)
            self.parts, self.hidden = whole.parts, whole.hidden
            self.project, self.query, self.key = whole.project, whole.query, whole.key
            self.merge, self.norm = whole.merge, whole.norm

        def vectors(self, x: Tensor) -> Tensor:
            return self.project(part_means(x, self.parts).reshape(len(x), -1, 1)).reshape(len(x), self.parts, -1)

        def attend(self, u: Tensor) -> tuple[Tensor, Tensor]: ...  # type: ignore[empty-body]

    verdict = check("01.3", Begun)
    assert verdict.outcome == "not attempted yet"
    assert verdict.words == "Right so far: the layers, and vectors, steps (a) and (b). Next: attend, step (c)"


def test_attention_that_forward_does_not_use_is_found() -> None:
    class Ignores(PartAware):
        def forward(self, x: Tensor) -> Tensor:
            mixed = self.vectors(x)
            rows = torch.arange(x.shape[2]) * self.parts // x.shape[2]
            spread = mixed[:, rows].transpose(1, 2).unsqueeze(3).expand(-1, -1, -1, x.shape[3])
            return self.norm(self.merge(torch.cat([x, spread], dim=1)))

    assert "take ũ, not u" in check("01.3", Ignores).words
