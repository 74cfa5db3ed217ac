"""Pictures of notebook 01: what each operation makes of an image and how far it sees; which part looks at which."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from nasda.drawing import BLUE, GREY, INK, ORANGE, operation_label
from nasda.operations import rows_to_parts
from nasda.plotting import Plot

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
                panel.set_title(operation_label(name), fontsize=10)
        line[0].set_ylabel(title, fontsize=10)
    return figure


def _receptive_field(panel: Axes, field: NDArray[np.float64]) -> None:
    seen = int((field > 1e-9).sum())
    strength = np.sqrt(field / field.max()) if seen else field
    panel.imshow(np.where(field > 1e-9, np.maximum(strength, 0.22), 0), cmap="Blues", vmin=0, vmax=1)
    panel.set_xticks(np.arange(field.shape[1] + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(field.shape[0] + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=0.5)
    panel.tick_params(which="minor", length=0)
    panel.set_xlabel(f"{seen} of {field.size} pixels" if seen < field.size else f"all {seen} pixels", fontsize=9)


def attention_links(images: Sequence[ArrayLike], attentions: Sequence[ArrayLike], titles: Sequence[str]) -> Plot:
    """Each image twice; from each part of the left copy lines to the parts it attends to, the wider the more.

    `images` are (H, W, 3), bytes or floats in 0…1; `attentions` are (parts, parts), each row summing to 1.
    """
    height, width = np.asarray(images[0]).shape[:2]
    gap = 0.8 * height
    figure = Plot(9, min(4.2, 9 / len(images) * height / (2 * width + gap)) + 0.5)
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for panel, image, attention, title in zip(panels, images, attentions, titles, strict=True):
        _links(panel, np.asarray(image), np.asarray(attention), gap)
        panel.set_title(title, fontsize=10, color=INK)
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
    panel.set_xticks([width / 2, right + width / 2], ["looks", "is looked at"], fontsize=9)
    panel.set_yticks(middle, [f"part {part}" for part in range(parts)], fontsize=9)
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
            axes.annotate(name, (x[0], y[0]), (0, 9), textcoords="offset points", fontsize=10, color=INK, ha="center")
    axes.margins(x=0.2, y=0.12)
    axes.set_xlabel("parameters (thousands)", fontsize=11)
    axes.set_ylabel("multiply-adds an image (thousands)", fontsize=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=10, frameon=False, loc="upper left")
    return figure
