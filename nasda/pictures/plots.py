"""Plots: α and losses over epochs, ranked galleries, sheets of images, results over seeds.

Every function returns a matplotlib `Figure` that a notebook shows and `save` writes. None uses pyplot.
"""

import io
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageChops

from nasda.data.domain import Domain, Sample
from nasda.data.domain import identities as identities_of
from nasda.data.reading import read_image
from nasda.errors import NasdaError
from nasda.genotypes import CELL_INPUTS, CELL_KINDS, CellKind, derive, entropy, node_slices, softmax, strengths
from nasda.operations import operation_label
from nasda.pictures.alt import Bundle, bundle, of_figure
from nasda.pictures.graphs import state_label, write_picture
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILLION
from nasda.study.statistics import mean_sd

DPI = 100
Grid: TypeAlias = Literal["x", "y", "both", ""]
SMALL = 9  # points, for words inside a plot


class Plot(Figure):
    """A `Figure`, its size in inches, that a notebook displays without pyplot.

    Its alt text is computed; `alt` says what the axes do not, and comes instead.
    """

    alt: str = ""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return to_png(self), {"alt": of_figure(self)}


class Photograph(Image.Image):
    """An image in a notebook, with the alt text of what it was made from."""

    def __init__(self, image: Image.Image, words: str) -> None:
        super().__init__()
        self.__dict__.update(vars(image))
        self.alt = words

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Bundle:
        return bundle({"image/png": self._repr_png_()}, self.alt)


_LEGENDS: dict[str, dict[str, Any]] = {
    "above": {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0},
    "beside": {"loc": "upper left", "bbox_to_anchor": (1, 1)},
}


def dress(axes: Axes, x: str = "", y: str = "", title: str = "", *, grid: Grid = "y", legend: str = "") -> None:
    """Label the axes and their panel, hide the frame above and to the right, draw a light grid, add a legend.

    `grid`: the axis with grid lines ("x", "y", "both", or "" for none). `legend`: a place as in matplotlib, or "above"
    or "beside" the panel, or "" for none.
    """
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, alpha=0.25)
        axes.set_axisbelow(True)
    if legend:
        axes.legend(frameon=False, **_LEGENDS.get(legend, {"loc": legend}))


def message(words: str) -> Plot:
    """A picture of `words`, for one that could not be drawn."""
    lines = textwrap.wrap(words, 90)
    figure = Plot(7.6, 0.4 + 0.2 * len(lines))
    figure.text(0.02, 0.5, "\n".join(lines), va="center", color=INK)
    return figure


def to_png(figure: Figure) -> bytes:
    """`figure` as PNG; the same figure gives the same bytes."""
    return _drawn(figure, "png")


def save(figure: Figure, path: Path | str) -> None:
    """`graphs.write_picture` of a figure; the same figure gives the same bytes."""
    write_picture(path, lambda format: _drawn(figure, format))


def light(figure: Figure, inches: float = 7.6) -> Photograph:
    """A figure made of photographs as an image in 255 colours, at most `inches` wide, without white above and below.

    It has a sixth of the bytes, which keeps notebooks small. Text keeps its size.
    """
    width, height = figure.get_size_inches()
    scale = min(1.0, inches / width)
    figure.set_size_inches(width * scale, height * scale)
    picture = Image.open(io.BytesIO(to_png(figure))).convert("RGB")
    box = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox() or (0, 0, *picture.size)
    picture = picture.crop((0, max(0, box[1] - 6), picture.width, min(picture.height, box[3] + 6)))
    fewer = picture.quantize(255, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    return Photograph(fewer, of_figure(figure))


def _drawn(figure: Figure, format: str) -> bytes:
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # a time stamp would make each file differ
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "nasda"}):  # without it, ids in the file are random
        figure.savefig(buffer, format=format, metadata=dates.get(format))
    return buffer.getvalue()


def alpha_heatmap(history: Sequence[Mapping[str, Any]], primitives: Sequence[str], kind: CellKind) -> Figure:
    """α over epochs: a panel for each edge shows its softmax weights by operation (down) and epoch (across).

    There is a row for each node and a column for each of its possible inputs. A panel's title names the strongest
    operation of the last epoch; derived edges are framed. `history` is a search's log, each entry with "epoch" and
    "alphas" {kind: (edges, operations)}. Raises `NasdaError` when it is empty or does not fit `primitives`.
    """
    epochs = _epochs(history)
    chosen = derive(history[-1]["alphas"], primitives, history[-1].get("betas")).cell(kind)
    weights = softmax([entry["alphas"][kind] for entry in history])  # (epochs, edges, operations)
    strength, operation = strengths(history[-1]["alphas"][kind], primitives)
    nodes, columns = len(chosen), CELL_INPUTS + len(chosen) - 1
    longest = max(len(operation_label(name)) for name in primitives)
    width = max(1.75, 0.45 + 0.092 * longest)  # of a panel, whose title is an operation and its weight
    figure = Plot(1.6 + width * columns, 0.9 + nodes * (0.7 + 0.16 * len(primitives)))
    axes = figure.subplots(nodes, columns, squeeze=False, sharex=True)
    norm, derived = weight_scale(weights), []
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, len(primitives) - 0.5, -0.5)
    for node, rows in enumerate(node_slices(nodes)):
        picked = {edge.input for edge in chosen[node]}
        for state in range(columns):
            panel, edge = axes[node, state], rows.start + state
            if edge >= rows.stop:
                panel.set_axis_off()
                continue
            panel.imshow(weights[:, edge].T, extent=extent, aspect="auto", cmap="PuOr_r", norm=norm)
            panel.set(xlabel="epoch" if node == nodes - 1 else "", ylabel=f"into node {node}" if state == 0 else "")
            title = f"{state_label(state)} → node {node}\n{operation_label(operation[edge])} {strength[edge]:.2f}"
            panel.set_title(title, fontsize=SMALL, fontweight="bold" if state in picked else "normal")
            if state in picked:
                derived.append(title.replace("\n", ": "))
                panel.spines[:].set_linewidth(3)
                panel.spines[:].set_color(VERMILLION)
            panel.set_yticks(range(len(primitives)), map(operation_label, primitives) if state == 0 else [])
            panel.tick_params(labelsize=SMALL, length=2, labelbottom=True)
            whole_numbers(panel, most=4)
    bar = figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.6, aspect=30, pad=0.01)
    bar.set_label(f"softmax weight (white: 1/{len(primitives)}, undecided)")
    figure.suptitle(f"α of the {kind} cell\nstrongest operation of each edge; framed: derived")
    figure.alt = (
        f"Heat maps, one for each edge of the {kind} cell: softmax weights of α by operation, over epochs {epochs[0]} "
        f"to {epochs[-1]}. Derived edges, each with its strongest operation in the end: {'; '.join(derived)}."
    )
    return figure


def weight_scale(weights: ArrayLike) -> TwoSlopeNorm:
    """Colours of softmax weights (…, operations): white where all are equal, undecided."""
    values = np.asarray(weights)
    undecided = 1 / values.shape[-1]
    return TwoSlopeNorm(undecided, vmin=0, vmax=max(2 * undecided, float(values.max())))


def search_curves(history: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> Figure:
    """A search's curves: its two losses, the entropy of α, and the number of skip connections.

    `history` is a search's log, each entry with "epoch", "alphas" {kind: (edges, operations)}, "loss_weights",
    "loss_alphas" and "skips". Raises `NasdaError` when it is empty.
    """
    epochs, figure = _epochs(history), Plot(12, 3.6)
    losses, undecided, skips = panels = figure.subplots(1, 3)
    losses.plot(epochs, _column(history, "loss_weights"), **_line(BLUE, "o", "-"), label="ω")
    losses.plot(epochs, _column(history, "loss_alphas"), **_line(VERMILLION, "s", "--"), label="α")
    losses.set_ylim(bottom=0)
    for kind, style in zip(CELL_KINDS, (_line(BLUE, "o", "-"), _line(ORANGE, "s", "--")), strict=True):
        mean = [float(entropy(entry["alphas"][kind]).mean()) for entry in history]
        undecided.plot(epochs, mean, **style, label=f"{kind} cell")
    _limit(undecided, float(np.log(len(primitives))), f"undecided: ln {len(primitives)}")
    nodes = len(derive(history[-1]["alphas"], primitives).normal)
    skips.step(epochs, _column(history, "skips"), where="mid", **_line(INK, "o", "-"), label="derived normal cell")
    _limit(skips, 2 * nodes, "collapse: nothing but skips")
    skips.yaxis.set_major_locator(MaxNLocator(integer=True))
    dress(losses, "epoch", "loss", "losses", grid="both", legend="best")
    dress(undecided, "epoch", "mean entropy per edge (nats)", "how undecided is α?", grid="both", legend="best")
    dress(skips, "epoch", "number of edges", "skip connections", grid="both", legend="best")
    for panel in panels:
        whole_numbers(panel)
    return figure


def whole_numbers(axes: Axes, most: int = 9) -> None:
    """At most `most` ticks on the x axis, at whole numbers, such as epochs."""
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def _epochs(history: Sequence[Mapping[str, Any]]) -> list[int]:
    if not history:
        raise NasdaError("the search's log is empty: run at least one epoch before plotting it")
    return [int(entry["epoch"]) for entry in history]


def _column(history: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([entry.get(name) for entry in history], dtype=np.float64)  # None becomes nan: a gap in the line


def _line(colour: str, marker: str, style: str) -> dict[str, Any]:
    return {"color": colour, "marker": marker, "linestyle": style, "linewidth": 1.8, "markersize": 4}


def _limit(axes: Axes, height: float, label: str) -> None:
    axes.axhline(height, color=GREY, linestyle=":", linewidth=1.5, label=label)
    axes.set_ylim(-0.03 * height, 1.15 * height)


def retrieval_gallery(
    query_images: Sequence[ArrayLike],
    gallery_images: Sequence[ArrayLike],
    ranked: Sequence[Sequence[int]],
    hits: Sequence[Sequence[bool]],
    titles: Sequence[str] | None = None,
    k: int = 10,
) -> Figure:
    """Each query beside its `k` nearest gallery images: right ones framed solid green, wrong ones dashed red.

    Images are (H, W, 3), bytes or floats in 0…1, all of one size; `ranked[q]` are indices into `gallery_images`,
    nearest first, and `hits[q]` says which of them are right. `titles` name the queries. Raises `NasdaError` when the
    lengths do not fit.
    """
    counts = {"query_images": len(query_images), "ranked": len(ranked), "hits": len(hits)}
    if len(set(counts.values())) != 1 or not len(query_images):
        raise NasdaError(f"retrieval gallery: expected as many of each, at least one; found {counts}")
    if any(len(order) != len(right) for order, right in zip(ranked, hits, strict=True)):
        raise NasdaError("retrieval gallery: each query needs as many hits as ranked images")
    k = min(k, max(len(order) for order in ranked))
    images = zip(query_images, ranked, strict=True)
    rows = [[query, *(gallery_images[index] for index in order[:k])] for query, order in images]
    width = _pixels(query_images[0]).shape[1]
    sheet = _Sheet(rows, gap=max(4, width // 6), gutter=width // 3)
    figure, (axes,) = _side_by_side([sheet], 9.5)
    names = titles or [f"query {row + 1}" for row in range(len(query_images))]
    columns = ["query", *map(str, range(1, k + 1))]
    sheet.show(axes, "rank in the gallery (solid green: right, dashed red: wrong)", columns, "query", names)
    for row, right in enumerate(hits):
        sheet.frame(axes, row, 0, color=INK, linewidth=1, gid="query")
        for column, hit in enumerate(right[:k], start=1):
            colour, line, gid = (GREEN, "solid", "right") if hit else (VERMILLION, "dashed", "wrong")
            sheet.frame(axes, row, column, color=colour, linestyle=line, linewidth=3, gid=gid)
    found = [", ".join(str(rank) for rank, hit in enumerate(right[:k], start=1) if hit) or "none" for right in hits]
    said = "; ".join(f"{name}: {ranks}" for name, ranks in zip(names, found, strict=True))
    figure.alt = f"Photographs: each query and the {k} gallery images nearest to it. Right ones, by rank: {said}."
    return figure


def contact_sheet(
    domains: Sequence[Domain],
    *,
    identities: int = 8,
    images: int = 8,
    height: int = 128,
    width: int = 64,
    titles: Sequence[str] | None = None,
    seed: int = 0,
) -> Figure:
    """Training images of the domains, side by side: a row is one identity, columns are cameras.

    There are at most `identities` rows and `images` columns; each image is chosen at random by `seed` and shown at
    `height` × `width` pixels. A place is empty if the camera has no image of the identity. Raises `NasdaError` for a
    domain without training images and for an image that cannot be read.
    """
    sheets = [_domain_sheet(domain, identities, images, (height, width), seed) for domain in domains]
    figure, row = _side_by_side([sheet for sheet, _, _ in sheets], 13)
    titles = titles or [domain.title for domain in domains]
    for axes, title, (sheet, pids, cameras) in zip(row, titles, sheets, strict=True):
        sheet.show(axes, "camera", cameras, "identity: each row shows one", pids, title)
    return figure


def translation_sheet(directions: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Images, their translations, and these translated back: a panel for each direction, a row for each image.

    `directions` maps a title, such as "source → target", to its columns by their labels, such as "x", "G(x)" and
    "F(G(x))": batches of images (N, H, W, 3), bytes or floats in 0…1. Raises `NasdaError` if images differ in size.
    """
    batches = [list(map(_pixels, columns.values())) for columns in directions.values()]
    sheets = [_Sheet(list(zip(*each, strict=True)), gap=max(3, each[0].shape[2] // 16)) for each in batches]
    figure, row = _side_by_side(sheets, 9)
    for axes, sheet, (title, columns) in zip(row, sheets, directions.items(), strict=True):
        nameless = [""] * len(sheet.tops)
        sheet.show(axes, "image, translated, and back", list(columns), "each row shows one image", nameless, title)
    return figure


def _side_by_side(sheets: Sequence["_Sheet"], width: float) -> tuple[Plot, Sequence[Axes]]:
    """A figure with axes for each sheet, which are as wide as the sheet."""
    sizes = [sheet.inches(width / len(sheets)) for sheet in sheets]
    figure = Plot(sum(size[0] for size in sizes), max(size[1] for size in sizes) + 0.6)  # titles
    row: Sequence[Axes] = figure.subplots(1, len(sheets), squeeze=False, width_ratios=[size[0] for size in sizes])[0]
    return figure, row


def _domain_sheet(
    domain: Domain, identities: int, images: int, size: tuple[int, int], seed: int
) -> tuple["_Sheet", list[int], list[int]]:
    """The sheet of one domain, the pid of each row, and the camera of each group of columns."""
    if not domain.train:
        raise NasdaError(f"{domain.name}: no training images under {domain.root}: expected some to show")
    rng = np.random.default_rng(seed)
    everyone = np.array(identities_of(domain.train))
    pids = sorted(rng.choice(everyone, min(identities, len(everyone)), replace=False).tolist())
    seen: dict[tuple[int, int], list[Sample]] = {}
    for sample in domain.train:
        if sample.pid in pids:
            seen.setdefault((sample.pid, sample.camid), []).append(sample)
    counts = Counter(camera for _, camera in seen)
    cameras = sorted(sorted(counts, key=lambda camera: (-counts[camera], camera))[:images])
    each = max(1, images // len(cameras))
    rows: list[list[ArrayLike | None]] = []
    for pid in pids:
        rows.append([])
        for camera in cameras:
            samples = seen.get((pid, camera), [])
            picked = sorted(rng.choice(len(samples), min(each, len(samples)), replace=False)) if samples else []
            shown: list[ArrayLike | None] = [read_image(samples[index].path, size) for index in picked]
            rows[-1] += shown + [None] * (each - len(picked))
    return _Sheet(rows, gap=max(3, size[1] // 16)), pids, cameras


class _Sheet:
    """Rows of images of one size, some missing (None), as one array, since a hundred axes would take seconds."""

    def __init__(self, rows: Sequence[Sequence[ArrayLike | None]], gap: int, gutter: int = 0) -> None:
        images = [[None if image is None else _pixels(image) for image in row] for row in rows]
        shapes = {image.shape for row in images for image in row if image is not None}
        if len(shapes) != 1:
            raise NasdaError(f"expected images of one size, found {', '.join(map(str, sorted(shapes)))}")
        ((self.height, self.width, _),) = shapes
        self.tops = [gap + row * (self.height + gap) for row in range(len(images))]
        columns = range(max(map(len, images)))
        self.lefts = [gap + column * (self.width + gap) + (gutter if column else 0) for column in columns]
        size = (self.tops[-1] + self.height + gap, self.lefts[-1] + self.width + gap, 3)
        self.pixels = np.full(size, 255, dtype=np.uint8)
        for top, row in zip(self.tops, images, strict=True):
            for left, image in zip(self.lefts, row, strict=False):
                if image is not None:
                    self.pixels[top : top + self.height, left : left + self.width] = image

    def inches(self, width: float) -> tuple[float, float]:
        """The width, at most `width`, and the height, at most 7, of a figure for the sheet and its labels."""
        beside, above = 1.2, 0.8
        rows, columns = self.pixels.shape[:2]
        scale = min((width - beside) / columns, (7 - above) / rows)
        return columns * scale + beside, rows * scale + above

    def show(self, axes: Axes, x: str, columns: Sequence[Any], y: str, rows: Sequence[Any], title: str = "") -> None:
        """Show the sheet with labels of its columns, or of groups of columns, above, and of its rows beside it."""
        axes.imshow(self.pixels, interpolation="lanczos", extent=(0, self.pixels.shape[1], self.pixels.shape[0], 0))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axes.xaxis.set_label_position("top")
        centres = np.array(self.lefts).reshape(len(columns), -1).mean(axis=1) + self.width / 2
        axes.set_xticks(centres, list(map(str, columns)))
        axes.set_yticks(np.array(self.tops) + self.height / 2, list(map(str, rows)))
        axes.set(xlabel=x, ylabel=y)
        axes.set_title(title, pad=10)

    def frame(self, axes: Axes, row: int, column: int, **style: Any) -> None:
        corner = (self.lefts[column], self.tops[row])
        axes.add_patch(Rectangle(corner, self.width, self.height, fill=False, **style))


def _pixels(image: ArrayLike) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    return pixels if pixels.dtype == np.uint8 else (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


def metrics_bars(
    rows: Mapping[str, Mapping[str, Sequence[float]]], floors: Mapping[str, float] | None = None
) -> Figure:
    """Results, one panel for each metric: a bar for the mean, a point for each seed, a dotted line for the floor.

    `rows` maps a method to its metrics ("mAP", "rank-1", …), each a list over seeds of fractions 0…1; `floors` maps a
    metric to the score of guessing. Raises `NasdaError` when there is nothing to show.
    """
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    if not metrics:
        raise NasdaError("results: expected at least one row with one metric, found none")
    figure = Plot(10, 1.5 + 0.55 * len(rows))
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        of_rows = [100 * np.array(row.get(metric, ()), dtype=np.float64) for row in rows.values()]
        largest = max((float(values.max()) for values in of_rows if len(values)), default=1.0)
        for height, values in enumerate(of_rows):
            _bar(panel, height, values, largest)
        floor = (floors or {}).get(metric)
        if floor is not None:
            panel.axvline(100 * floor, color=INK, linestyle=":", linewidth=1.6, label="floor: guessing")
        panel.set_xlim(0, 1.45 * largest)  # room for the numbers
        panel.set_xticks([tick for tick in panel.get_xticks() if tick <= min(100, 1.45 * largest)])
        panel.set_yticks(range(len(rows)), list(rows))
        dress(panel, f"{metric} (%)", grid="x", legend="" if floor is None else "above")
    panels[0].invert_yaxis()  # the first row on top; the panels share the axis
    panels[0].set_ylabel("method")
    return figure


def _bar(panel: Axes, height: int, values: NDArray[np.float64], largest: float) -> None:
    if not len(values):
        panel.text(0.02 * largest, height, "not measured", va="center", fontsize=SMALL, color=GREY)
        return
    panel.barh(height, values.mean(), height=0.6, color=SKY, alpha=0.45)
    offsets = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else 0.0  # so that equal scores stay visible
    panel.plot(values, height + offsets, "o", color=BLUE, markersize=5, markeredgecolor="white")
    panel.text(values.max() + 0.03 * largest, height, mean_sd(values, 1), va="center", fontsize=SMALL + 1)


_ROW_STYLES = [(VERMILLION, "o", "-"), (BLUE, "s", "-"), (GREY, "^", "--"), (GREEN, "D", "-."), (ORANGE, "v", ":")]


def score_over_gap(rows: Mapping[str, Mapping[float, Sequence[float]]]) -> Figure:
    """mAP over the gap between source and target: a line through each row's means, a point for each seed.

    `rows` maps a row of the table to its mAP by gap, each a list over seeds of fractions 0…1; floors have thin
    lines. Raises `NasdaError` when there is nothing to show.
    """
    if not any(rows.values()):
        raise NasdaError("results over gaps: expected at least one row, found none")
    figure = Plot(8.5, 5)
    axes = figure.subplots()
    methods = sum(not name.startswith("floor") for name in rows)
    span = max(gap for of_row in rows.values() for gap in of_row) or 1.0
    styles, shifts = cycle(_ROW_STYLES), iter(0.012 * span * (np.arange(methods) - (methods - 1) / 2))
    dashes = cycle((":", "--"))
    for name, by_gap in rows.items():
        gaps, scores = sorted(by_gap), [100 * np.array(by_gap[gap]) for gap in sorted(by_gap)]
        means = [of_gap.mean() for of_gap in scores]
        if name.startswith("floor"):
            axes.plot(gaps, means, color=INK, linestyle=next(dashes), linewidth=1, label=name)
            continue
        colour, marker, style = next(styles)
        beside = np.array(gaps) + next(shifts)  # so that rows do not hide each other
        axes.plot(beside, means, color=colour, marker=marker, linestyle=style, linewidth=2, markersize=8, label=name)
        for gap, of_gap in zip(beside, scores, strict=True):
            axes.plot([gap] * len(of_gap), of_gap, marker, color=colour, alpha=0.35, markersize=5, linestyle="none")
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({gap for of_row in rows.values() for gap in of_row}))
    gap_axis = "gap between source and target (0: alike, 1: a street)"
    dress(axes, gap_axis, "mAP on the target's query and gallery (%)", legend="beside")
    return figure
