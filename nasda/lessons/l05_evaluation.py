"""Notebook 05: what a query's precision–recall curve encloses, and what each image of a gallery is to a query."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from nasda.data.domain import DISTRACTOR, JUNK
from nasda.drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION
from nasda.errors import NasdaError
from nasda.evaluation import average_precision, average_precision_trapezoid
from nasda.plotting import Plot

ROLES = ("right", "own camera", "junk", "distractor", "another identity")
_COLOURS = (GREEN, GREY, PURPLE, ORANGE, VERMILLION)
_COUNTS = ("counts: right", "does not count", "does not count", "counts: wrong", "counts: wrong")


def roles(query_pid: int, query_camid: int, gallery_pids: ArrayLike, gallery_camids: ArrayLike) -> NDArray[np.int64]:
    """What each gallery image is to one query: (G,) of indices into `ROLES`."""
    pids, camids = np.asarray(gallery_pids), np.asarray(gallery_camids)
    own = pids == query_pid
    kinds = [own & (camids != query_camid), own, pids == JUNK, pids == DISTRACTOR]
    return np.select(kinds, range(len(kinds)), default=len(kinds))


def roles_sheet(query_image: NDArray[np.uint8], gallery_images: NDArray[np.uint8], of: ArrayLike, top: int = 8) -> Plot:
    """A row for each role that occurs, with up to `top` of its images; `query_image` (H, W, 3) stands above them.

    `gallery_images` (G, H, W, 3) and their roles `of` (G,), as `roles` says them. Raises `NasdaError` where the lengths
    differ.
    """
    kinds = np.asarray(of)
    if len(kinds) != len(gallery_images):
        raise NasdaError(f"roles: {len(gallery_images)} gallery images, but {len(kinds)} roles")
    shown = [role for role in range(len(ROLES)) if (kinds == role).any()]
    height, width = query_image.shape[:2]
    row = 0.95 if height > width else 0.8
    figure = Plot(8.5, 0.4 + row * (len(shown) + 1))
    panels = figure.subplots(len(shown) + 1, top, squeeze=False)
    for line, role in enumerate([None, *shown]):
        found = [0] if role is None else np.flatnonzero(kinds == role)
        colour = INK if role is None else _COLOURS[role]
        words = "query" if role is None else f"{ROLES[role]}: {len(found)}\n({_COUNTS[role]})"
        for column, panel in enumerate(panels[line]):
            panel.set_axis_off()
            if column < len(found):
                panel.imshow(query_image if role is None else gallery_images[found[column]])
                frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=colour, linewidth=3, clip_on=False)
                panel.add_patch(frame)
        place = {"xycoords": "axes fraction", "ha": "right", "va": "center", "fontsize": 10, "color": INK}
        panels[line, 0].annotate(words, (-0.25, 0.5), annotation_clip=False, **place)
    return figure


def precision_recall(ranks: Sequence[int] | np.ndarray, title: str = "") -> Plot:
    """The precision–recall curve of positives found at `ranks` (ascending, from 1), and both areas called AP.

    The mean of precisions is the area of the rectangles, the trapezoid rule's that under the slanted lines; what lies
    between them, a triangle for each positive, is the difference.
    """
    ranks = np.asarray(ranks)
    count = len(ranks)
    figure = Plot(7.5, 4)
    axes = figure.subplots()
    for j, rank in enumerate(ranks.tolist(), start=1):
        left, right, after = (j - 1) / count, j / count, j / rank
        before = 1.0 if rank == 1 else (j - 1) / (rank - 1)
        axes.fill([left, right, right, left], [0, 0, after, before], color=SKY, alpha=0.55, linewidth=0)
        axes.fill([left, right, left], [before, after, after], facecolor="white", edgecolor=VERMILLION, hatch="////")
        axes.plot([left, right], [before, after], color=BLUE, linewidth=2.2)
        axes.plot([left, right], [after, after], color=VERMILLION, linewidth=1.4)
        axes.plot(right, after, "o", color=INK, markersize=5, zorder=3)
        if count <= 12:
            axes.annotate(f"rank {rank}", (right, after), (-4, 6), textcoords="offset points", ha="right", fontsize=9)
    both = average_precision(ranks), average_precision_trapezoid(ranks)
    handles = [
        Patch(color=SKY, alpha=0.55, label=f"trapezoids: {both[1]:.3f}"),
        Patch(
            facecolor="white", edgecolor=VERMILLION, hatch="////", label=f"what they leave out: {both[0] - both[1]:.3f}"
        ),
    ]
    label = f"mean of precisions: {both[0]:.3f},\nall that is coloured"
    axes.legend(handles=handles, title=label, fontsize=10, title_fontsize=10, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xlim=(0, 1.01), ylim=(0, 1.12), xlabel="recall: share of the positives found", ylabel="precision")
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title(title, fontsize=12, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def cmc_curves(curves: Mapping[str, ArrayLike]) -> Plot:
    """CMC curves by name: at each k from 1 on, the share of queries with a positive among the first k."""
    figure = Plot(7.5, 3.6)
    axes = figure.subplots()
    styles = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREY, "^", ":"), (GREEN, "D", "-."))
    for number, (name, values) in enumerate(curves.items()):
        colour, marker, line = styles[number % len(styles)]
        shares = 100 * np.asarray(values)
        axes.plot(range(1, len(shares) + 1), shares, marker, linestyle=line, color=colour, label=name, markersize=5)
    axes.set(ylim=(0, 103), xlabel="k: how many gallery images are looked at", ylabel="queries with a hit (%)")
    longest = max(len(np.asarray(values)) for values in curves.values())
    axes.set_xticks([1, *range(5, longest + 1, 5)])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=10, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def largest_difference(positives: int) -> float:
    """The most by which the two average precisions of a query with so many positives can differ, over all rankings.

    1/(4N) Σ 1/(2j − 1): every second gallery image is right, and the first is wrong.
    """
    return float((1 / (2 * np.arange(1, positives + 1) - 1)).sum() / (4 * positives))


def disagreements(positives: Sequence[int], differences: Sequence[float]) -> Plot:
    """How far the two average precisions of each query lie apart, by how many positives it has, below what is possible.

    The dots are moved sideways a little, so that queries with as many positives stay apart.
    """
    numbers = np.asarray(positives)
    figure = Plot(7, 3.2)
    axes = figure.subplots()
    most = range(1, max(20, int(numbers.max()) + 3))
    largest = [100 * largest_difference(number) for number in most]
    axes.plot(most, largest, color=VERMILLION, label="at most, eq. (e)")
    aside = np.random.default_rng(0).uniform(-0.3, 0.3, len(numbers))
    axes.plot(numbers + aside, 100 * np.asarray(differences), "o", color=BLUE, alpha=0.5, label="a query")
    axes.set(xlabel="right images of a query in the gallery", ylabel="AP less trapezoid (points)", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=10)
    return figure
