"""Pictures of notebook 01: what each operation makes of an image and how far it sees; which part looks at which."""

from collections.abc import Callable, Mapping, Sequence
from math import comb, prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nasda.course.judges import like
from nasda.operations import operation_label, rows_to_parts
from nasda.pictures.palette import BLUE, GREY, INK, ORANGE
from nasda.pictures.plots import SMALL, Plot, dress
from nasda.settings import SpaceSettings

_PART_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def stripe_edges(height: int, parts: int) -> NDArray[np.int64]:
    """The rows at which a new part begins, and the height itself: (parts + 1,) ints."""
    membership = rows_to_parts(height, parts)
    return np.append(torch.searchsorted(membership, torch.arange(parts)).numpy(), height)


def operations_picture(rows: Mapping[str, Mapping[str, ArrayLike]]) -> Plot:
    """A row of pictures for each entry of `rows`, a column an operation; each picture is a matrix (H, W).

    A row whose name begins with "sees" is a receptive field: its pictures hold values from 0 (no influence) upwards,
    shaded by their square root (whatever has any influence is at least pale), and below each stands how many pixels
    have any. The other rows are grey images.
    """
    names = list(next(iter(rows.values())))
    figure = Plot(9, 1.75 * len(rows) + 0.2)
    axes = figure.subplots(len(rows), len(names), squeeze=False)
    for (title, pictures), line in zip(rows.items(), axes, strict=True):
        for name, panel in zip(names, line, strict=True):
            picture = np.asarray(pictures[name], dtype=float)
            if title.startswith("sees"):
                _receptive_field(panel, picture)
            else:
                low, high = np.percentile(picture, (1, 99)) if picture.any() else (0, 1)
                panel.imshow(picture, cmap="gray", vmin=low, vmax=high)
            panel.set_xticks([])
            panel.set_yticks([])
            if panel in axes[0]:
                panel.set_title(operation_label(name))
        line[0].set_ylabel(title)
    return figure


def _receptive_field(panel: Axes, field: NDArray[np.float64]) -> None:
    seen = int((field > 1e-9).sum())
    strength = np.sqrt(field / field.max()) if seen else field
    panel.imshow(np.where(field > 1e-9, np.maximum(strength, 0.22), 0), cmap="Blues", vmin=0, vmax=1)
    panel.set_xticks(np.arange(field.shape[1] + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(field.shape[0] + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=0.5)
    panel.tick_params(which="minor", length=0)
    panel.set_xlabel(f"{seen} of {field.size} pixels" if seen < field.size else f"all {seen} pixels", fontsize=SMALL)


def attention_links(images: Sequence[ArrayLike], attentions: Sequence[ArrayLike], titles: Sequence[str]) -> Plot:
    """Each image twice; lines run from each part of the left copy to the parts it attends to, wider for a larger share.

    `images` are (H, W, 3), bytes or floats in 0…1; `attentions` are (parts, parts), each row summing to 1.
    """
    height, width = np.asarray(images[0]).shape[:2]
    gap = 0.8 * height
    figure = Plot(9, min(4.2, 9 / len(images) * height / (2 * width + gap)) + 0.5)
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for panel, image, attention, title in zip(panels, images, attentions, titles, strict=True):
        _links(panel, np.asarray(image), np.asarray(attention), gap)
        panel.set_title(title, color=INK)
    return figure


def _links(panel: Axes, image: NDArray, attention: NDArray[np.float64], gap: float) -> None:
    height, width = image.shape[:2]
    parts = len(attention)
    right = width + gap
    for left in (0.0, right):
        panel.imshow(image, extent=(left, left + width, height, 0))
        for edge in stripe_edges(height, parts)[1:-1]:
            panel.plot([left, left + width], [edge, edge], color="white", linewidth=1.5)
    edges = stripe_edges(height, parts)
    middle = (edges[:-1] + edges[1:]) / 2
    for looks in range(parts):
        for looked_at in range(parts):
            share = float(attention[looks, looked_at])
            ends = [middle[looks], middle[looked_at]]
            colour = _PART_COLOURS[looks % len(_PART_COLOURS)]
            line = Line2D([width, right], ends, color=colour, alpha=0.25 + 0.75 * share, linewidth=0.3 + 9 * share)
            line.set_solid_capstyle("butt")
            panel.add_line(line)
    panel.set_xlim(0, right + width)
    panel.set_ylim(height, 0)
    panel.set_aspect("equal")
    panel.set_xticks([width / 2, right + width / 2], ["looks", "is looked at"], fontsize=SMALL)
    panel.set_yticks(middle, [f"part {part}" for part in range(parts)], fontsize=SMALL)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def costs_picture(costs: Mapping[str, Sequence[tuple[int, int]]]) -> Plot:
    """Parameters against multiply-adds, in thousands: the first group of `costs` as a cloud, the others by name."""
    figure = Plot(7.5, 4.2)
    axes = figure.subplots()
    for (name, points), colour in zip(costs.items(), (GREY, BLUE, ORANGE, *_PART_COLOURS[1:]), strict=False):
        cloud = colour == GREY
        x, y = (np.array(values) / 1e3 for values in zip(*points, strict=True))
        axes.scatter(
            x, y, s=30 if cloud else 80, color=colour, alpha=0.6 if cloud else 1, label=name if cloud else None
        )
        if not cloud:
            axes.annotate(name, (x[0], y[0]), (0, 9), textcoords="offset points", color=INK, ha="center")
    axes.margins(x=0.2, y=0.12)
    dress(axes, "parameters (thousands)", "multiply-adds an image (thousands)", grid="both", legend="upper left")
    return figure


# ---------------------------------------------------------------------------------------------------------- exercises

# 01.1


def _separable(channels: int) -> int:
    return 2 * (9 * channels + channels**2)


_SEPARABLE_MISTAKES = [
    (lambda channels: 9 * channels + channels**2, "That is one depth-wise and one point-wise layer: DARTS applies two"),
    (lambda channels: 9 * channels**2, "That is an ordinary 3×3 convolution: there every output sees every channel"),
    (lambda channels: 18 * channels**2, "Those are two ordinary 3×3 convolutions: depth-wise, a channel sees itself"),
]


# 01.2


def _part_means(x: Tensor, parts: int) -> Tensor:
    membership = rows_to_parts(x.shape[2], parts)
    return torch.stack([x[:, :, membership == part].mean(dim=(2, 3)) for part in range(parts)], dim=1)


def _overlapping(x: Tensor, parts: int) -> Tensor:
    return F.adaptive_avg_pool2d(x, (parts, 1)).squeeze(3).transpose(1, 2)


def _cut_off(x: Tensor, parts: int) -> Tensor:
    rows = x.shape[2] // parts
    return x[:, :, : rows * parts].unflatten(2, (parts, rows)).mean(dim=(3, 4)).transpose(1, 2)


def _longest_first(x: Tensor, parts: int) -> Tensor:
    return torch.stack([stripe.mean(dim=(2, 3)) for stripe in x.tensor_split(parts, dim=2)], dim=1)


_POOLING_MISTAKES = [
    (_overlapping, "Adaptive pooling lets neighbouring windows overlap: here every row belongs to one part only"),
    (_cut_off, "The last rows are left out: every row belongs to a part, also where H does not divide"),
    (_longest_first, "tensor_split puts the longer stripes first: here row r belongs to part ⌊r · P / H⌋"),
]


def _ramp(height: int) -> Tensor:
    """(1, 1, height, 2): each row holds the square of its number, so that every row counts in its own way."""
    return (torch.arange(height, dtype=torch.float32) ** 2).reshape(1, 1, height, 1).repeat(1, 1, 1, 2)


# 01.3


def _double(x: Tensor) -> Tensor:
    return 2 * x


_same = torch.clone
_INPUTS = [torch.full((1, 1, 1, 2), 1.0), torch.full((1, 1, 1, 2), 10.0)]
_CELLS = {
    "one node, double(I₀) + negate(I₁)": [((_double, 0), (torch.neg, 1))],
    "two nodes, the second double(node 0) + same(I₁)": [((_same, 0), (_same, 1)), ((_double, 2), (_same, 1))],
}


def _cell(inputs: list[Tensor], nodes: list[Any]) -> Tensor:
    return torch.cat(_states(inputs, nodes)[2:], dim=1)


def _states(inputs: list[Tensor], nodes: list[Any]) -> list[Tensor]:
    states = list(inputs)
    for (first, i), (second, j) in nodes:
        states.append(first(states[i]) + second(states[j]))
    return states


_NOT_ONE = "The output is the concatenation of all nodes, not their sum and not the last one"
_CELL_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (lambda *cell: torch.cat(_states(*cell), dim=1), "The two inputs are states, but only nodes go into the output"),
    (lambda *cell: sum(_states(*cell)[2:]), _NOT_ONE),
    (lambda *cell: _states(*cell)[-1], _NOT_ONE),
    (lambda *cell: torch.cat(_states(*cell)[2:], dim=0), "Concatenate along the channels, which are dimension 1"),
    (lambda *cell: torch.cat(_states(*cell)[2:], dim=3), "Concatenate along the channels, which are dimension 1"),
]


# 01.4


def _count_cells(nodes: int, operations: int) -> int:
    return prod(comb(2 + node, 2) * (operations - 1) ** 2 for node in range(nodes))


_COUNTING_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (
        lambda nodes, operations: prod(comb(2 + node, 2) * operations**2 for node in range(nodes)),
        "None never stands in a derived cell: one operation fewer to choose from",
    ),
    (
        lambda nodes, operations: prod((2 + node) * (1 + node) * (operations - 1) ** 2 for node in range(nodes)),
        "The two terms of a sum have no order: each pair of inputs was counted twice",
    ),
    (
        lambda nodes, operations: prod((2 + node) ** 2 * (operations - 1) ** 2 for node in range(nodes)),
        "The two inputs of a node differ, and their order does not count",
    ),
    (
        lambda nodes, operations: sum(comb(2 + node, 2) * (operations - 1) ** 2 for node in range(nodes)),
        "Choices of different nodes are free of each other: they multiply",
    ),
]


# 01.5


def _rows_per_block(height: int, stem_stride: int) -> list[int]:
    rows = [-(-height // stem_stride)]
    for _ in range(1, SpaceSettings().blocks):
        rows.append(-(-rows[-1] // 2))
    return rows


_ROWS_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (
        lambda height, stem_stride: [height // stem_stride // 2**block for block in range(4)],
        "An odd number of rows is rounded up: with padding, the last row has an output of its own",
    ),
    (
        lambda height, stem_stride: [-(-height // (stem_stride * 2 ** (block + 1))) for block in range(4)],
        "The first block has no reduction cell",
    ),
    (
        lambda height, stem_stride: [-(-height // 2**block) for block in range(4)],
        "The stem divides the height, too",
    ),
]


EXERCISES = {
    "01.1": like(
        _separable,
        [{"channels": 4}, {"channels": 32}],
        _SEPARABLE_MISTAKES,
        praise="Against 9C² of an ordinary 3×3 convolution: the larger C, the nearer to two ninths of it",
    ),
    "01.2": like(
        _part_means,
        [
            {"x": _ramp(8), "parts": 4},
            {"x": _ramp(10), "parts": 4},
            {"x": torch.arange(84.0).reshape(1, 2, 7, 6), "parts": 3},
        ],
        _POOLING_MISTAKES,
        praise="The library does the same with one matrix product (PartAware.pool), without a loop over parts",
    ),
    "01.3": like(
        _cell,
        {f"{name}, where I₀ is 1 and I₁ is 10": {"inputs": _INPUTS, "nodes": nodes} for name, nodes in _CELLS.items()},
        _CELL_MISTAKES,
        praise="These are the last lines of nasda.cells.Cell.forward",
    ),
    "01.4": like(
        _count_cells,
        [{"nodes": 1, "operations": 6}, {"nodes": 2, "operations": 6}, {"nodes": 4, "operations": 7}],
        _COUNTING_MISTAKES,
        praise="A genotype has two such cells, normal and reduction: the number is squared once more",
    ),
    "01.5": like(
        _rows_per_block,
        [
            {"height": 64, "stem_stride": 2},
            {"height": 49, "stem_stride": 2},
            {"height": 256, "stem_stride": 4},
        ],
        _ROWS_MISTAKES,
        praise="The part-aware module wants as many rows as parts: this says where that becomes too much to ask",
    ),
}
