"""Plots: α deciding over epochs, a search's curves, ranked galleries, what two domains look like, results over seeds.

Every function returns a matplotlib `Figure` that a notebook shows and `save` writes; pyplot's state is left alone.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from nasda.errors import NasdaError
from nasda.files import written_whole
from nasda.genotypes import CELL_INPUTS, CELL_KINDS, CellKind, derive, entropy, node_slices, softmax, strengths
from nasda.operations import operation_label
from nasda.pictures.graphs import state_label
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILLION

DPI = 100
_FORMATS = ("png", "svg", "pdf")
_TITLE, _LABEL, _SMALL = 12, 11, 9  # points


class Plot(Figure):
    """A `Figure` that a notebook displays without pyplot having been imported."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")

    def _repr_png_(self) -> bytes:
        return to_png(self)


def to_png(figure: Figure) -> bytes:
    """`figure` as PNG; the same figure gives the same bytes."""
    return _drawn(figure, "png")


def save(figure: Figure, path: Path | str) -> None:
    """Write `figure` to `path`, whole or not at all; its suffix (.png, .svg, .pdf) says as what.

    The same figure gives the same bytes. Raises `NasdaError` for another suffix or where `path` cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in _FORMATS:
        raise NasdaError(f"{path}: plots are saved as .png, .svg or .pdf; found {path.suffix or 'no suffix'!r}")
    picture = _drawn(figure, suffix)
    with written_whole(path, "wb") as file:
        file.write(picture)


def light(figure: Figure, inches: float = 7.6) -> Image.Image:
    """A figure made of photographs as an image in 255 colours, `inches` wide at most, without white above and below: a
    sixth of the bytes.

    Type keeps its size. Colours move by little; a notebook with many rank lists stays small enough to be sent around.
    """
    width, height = figure.get_size_inches()
    scale = min(1.0, inches / width)
    figure.set_size_inches(width * scale, height * scale)
    picture = Image.open(io.BytesIO(to_png(figure))).convert("RGB")
    box = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox() or (0, 0, *picture.size)
    picture = picture.crop((0, max(0, box[1] - 6), picture.width, min(picture.height, box[3] + 6)))
    return picture.quantize(255, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def _drawn(figure: Figure, format: str) -> bytes:
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # a time stamp would make each file differ
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "nasda"}):  # else its ids are random
        figure.savefig(buffer, format=format, metadata=dates.get(format))
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------------------- search


def alpha_heatmap(history: Sequence[Mapping[str, Any]], primitives: Sequence[str], kind: CellKind) -> Figure:
    """How α decides: one panel an edge, its softmax weights by operation (down) and epoch (across).

    Panels stand in a triangle, a row for each node and a column for each state that may feed it, so that the edges
    which compete stand side by side. Each is named by the operation that is strongest at the end; the derived edges
    are framed. `history` is a search's log, each entry with "epoch" and "alphas" {kind: (edges, operations)}.
    Raises `NasdaError` when it is empty or does not fit `primitives`.
    """
    epochs = _epochs(history)
    chosen = derive(history[-1]["alphas"], primitives, history[-1].get("betas")).cell(kind)
    weights = softmax([entry["alphas"][kind] for entry in history])  # (epochs, edges, operations)
    strength, operation = strengths(history[-1]["alphas"][kind], primitives)
    last = list(zip(operation, strength, strict=True))
    nodes, columns = len(chosen), CELL_INPUTS + len(chosen) - 1
    figure = Plot(1.6 + 1.75 * columns, 0.9 + nodes * (0.7 + 0.16 * len(primitives)))
    axes = figure.subplots(nodes, columns, squeeze=False, sharex=True)
    undecided = 1 / len(primitives)
    scale = TwoSlopeNorm(undecided, vmin=0, vmax=max(2 * undecided, float(weights.max())))
    image = None
    for node, rows in enumerate(node_slices(nodes)):
        picked = {edge.input for edge in chosen[node]}
        for state in range(columns):
            panel = axes[node, state]
            if state >= CELL_INPUTS + node:
                panel.set_axis_off()
                continue
            image = panel.imshow(
                weights[:, rows.start + state].T,
                aspect="auto",
                interpolation="nearest",
                cmap="PuOr_r",
                norm=scale,
                extent=(epochs[0] - 0.5, epochs[-1] + 0.5, len(primitives) - 0.5, -0.5),
            )
            _name_edge(panel, state, node, last[rows.start + state], state in picked)
            panel.set_yticks(range(len(primitives)), map(operation_label, primitives) if state == 0 else [])
            panel.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
            panel.tick_params(labelsize=_SMALL, length=2, labelbottom=True)
            if node == nodes - 1:
                panel.set_xlabel("epoch", fontsize=_SMALL)
            if state == 0:
                panel.set_ylabel(f"into node {node}", fontsize=_LABEL)
    assert image is not None  # derive() has found at least one node
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.01)
    bar.set_label(f"softmax weight (white: 1/{len(primitives)}, undecided)", fontsize=_LABEL)
    figure.suptitle(f"α of the {kind} cell\nstrongest operation of each edge; framed: derived", fontsize=_TITLE)
    return figure


def _name_edge(panel: Axes, state: int, node: int, strongest: tuple[str, float], picked: bool) -> None:
    """Title an edge with its strongest operation; frame it and that operation's row where it is derived."""
    operation, strength = strongest
    title = f"{state_label(state)} → node {node}\n{operation_label(operation)} {strength:.2f}"
    panel.set_title(
        title, fontsize=_SMALL, fontweight="bold" if picked else "normal", color=INK if picked else "#666666"
    )
    if picked:
        for spine in panel.spines.values():
            spine.set(linewidth=3, color=VERMILLION)


def search_curves(history: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> Figure:
    """A search at a glance: its two losses, how undecided α is, and how many operations are mere skips.

    `history` is a search's log, each entry with "epoch", "alphas" {kind: (edges, operations)}, "loss_weights",
    "loss_alphas" and "skips". Raises `NasdaError` when it is empty.
    """
    epochs = _epochs(history)
    figure = Plot(12, 3.6)
    losses, undecided, skips = figure.subplots(1, 3)

    losses.plot(epochs, _column(history, "loss_weights"), **_line(BLUE, "o", "-"), label="ω")
    losses.plot(epochs, _column(history, "loss_alphas"), **_line(VERMILLION, "s", "--"), label="α")
    losses.set_ylim(bottom=0)
    _dress(losses, "losses", "epoch", "loss")

    for kind, style in zip(CELL_KINDS, (_line(BLUE, "o", "-"), _line(ORANGE, "s", "--")), strict=True):
        mean = [float(entropy(entry["alphas"][kind]).mean()) for entry in history]
        undecided.plot(epochs, mean, **style, label=f"{kind} cell")
    _limit(undecided, float(np.log(len(primitives))), f"undecided: ln {len(primitives)}")
    _dress(undecided, "how undecided is α?", "epoch", "mean entropy per edge (nats)")

    nodes = len(derive(history[-1]["alphas"], primitives).normal)
    skips.step(epochs, _column(history, "skips"), where="mid", **_line(INK, "o", "-"), label="derived normal cell")
    _limit(skips, 2 * nodes, "collapse: nothing but skips")
    skips.yaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(skips, "skip connections", "epoch", "number of edges")
    return figure


def _epochs(history: Sequence[Mapping[str, Any]]) -> list[int]:
    if not history:
        raise NasdaError("the search's log is empty: run at least one epoch before plotting it")
    return [int(entry["epoch"]) for entry in history]


def _column(history: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([entry.get(name) for entry in history], dtype=np.float64)  # None becomes nan: a gap in the line


def _line(colour: str, marker: str, style: str) -> dict[str, Any]:
    """Told apart by marker and dashes too, not by colour alone."""
    return {"color": colour, "marker": marker, "linestyle": style, "linewidth": 1.8, "markersize": 4}


def _limit(axes: Axes, height: float, label: str) -> None:
    axes.axhline(height, color=GREY, linestyle=":", linewidth=1.5, label=label)
    axes.set_ylim(-0.03 * height, 1.15 * height)


def _dress(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axes.set_title(title, fontsize=_TITLE)
    axes.set_xlabel(xlabel, fontsize=_LABEL)
    axes.set_ylabel(ylabel, fontsize=_LABEL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=_SMALL, frameon=False)


# ---------------------------------------------------------------------------------------------------------- images


def retrieval_gallery(
    query_images: Sequence[ArrayLike],
    gallery_images: Sequence[ArrayLike],
    ranked: Sequence[Sequence[int]],
    hits: Sequence[Sequence[bool]],
    titles: Sequence[str] | None = None,
    k: int = 10,
) -> Figure:
    """Each query beside the first `k` gallery images it found: right ones framed solid green, wrong ones dashed red.

    Images are (H, W, 3), bytes or floats in 0…1, all of one size; `ranked[q]` are indices into `gallery_images`, best
    first, and `hits[q]` says which of them are right. `titles` name the queries. Raises `NasdaError` when the
    lengths do not belong together.
    """
    counts = {"query_images": len(query_images), "ranked": len(ranked), "hits": len(hits)}
    if len(set(counts.values())) != 1 or not len(query_images):
        raise NasdaError(f"retrieval gallery: expected as many of each, at least one; found {counts}")
    if any(len(order) != len(right) for order, right in zip(ranked, hits, strict=True)):
        raise NasdaError("retrieval gallery: each query needs as many hits as ranked images")
    k = min(k, max(len(order) for order in ranked))
    height, width = _pixels(query_images[0]).shape[:2]
    sheet = _Sheet(len(query_images), k + 1, height, width, gap=max(4, width // 6), gutter=width // 3)
    for row, (query, order) in enumerate(zip(query_images, ranked, strict=True)):
        sheet.put(row, 0, _pixels(query))
        for column, index in enumerate(order[:k], start=1):
            sheet.put(row, column, _pixels(gallery_images[index]))
    figure = Plot(*sheet.inches(9.5))
    axes = figure.subplots()
    sheet.show(axes)
    for row, right in enumerate(hits):
        sheet.frame(axes, row, 0, color=INK, linewidth=1, gid="query")
        for column, hit in enumerate(right[:k], start=1):
            style = (GREEN, "solid", "right") if hit else (VERMILLION, "dashed", "wrong")
            sheet.frame(axes, row, column, color=style[0], linestyle=style[1], linewidth=3, gid=style[2])
    names = titles if titles is not None else [f"query {row + 1}" for row in range(len(query_images))]
    axes.set_yticks(sheet.row_centres, list(names), fontsize=_LABEL)
    axes.set_xticks(sheet.column_centres, ["query", *map(str, range(1, k + 1))], fontsize=_LABEL)
    axes.set_xlabel("rank in the gallery (solid green: right, dashed red: wrong)", fontsize=_LABEL)
    axes.set_ylabel("query", fontsize=_LABEL)
    axes.xaxis.set_label_position("top")
    return figure


def contact_sheet(
    domains: Sequence[Domain],
    *,
    identities: int = 8,
    images: int = 8,
    height: int = 128,
    width: int = 64,
    seed: int = 0,
) -> Figure:
    """What the domains look like, side by side: a row is one identity, columns are cameras.

    `identities` and `images` count rows and columns at most; each image, drawn at random by `seed` from the training
    split, is shown at `height` × `width` pixels. Where a camera never saw an identity the place stays empty.
    Raises `NasdaError` for a domain without training images and for an image that cannot be read.
    """
    if not domains:
        raise NasdaError("contact sheet: expected at least one domain")
    sheets = [_domain_sheet(domain, identities, images, (height, width), seed) for domain in domains]
    sizes = [sheet.inches(13 / len(domains)) for sheet, _, _ in sheets]
    figure = Plot(sum(size[0] for size in sizes), max(size[1] for size in sizes) + 0.6)  # titles
    row = figure.subplots(1, len(domains), squeeze=False, width_ratios=[size[0] for size in sizes])[0]
    for axes, domain, (sheet, pids, cameras) in zip(row, domains, sheets, strict=True):
        sheet.show(axes)
        axes.set_title(domain.name, fontsize=_TITLE + 1, fontweight="bold", pad=10)
        axes.set_yticks(sheet.row_centres, [str(pid) for pid in pids], fontsize=_SMALL)
        centres = np.array(sheet.column_centres).reshape(len(cameras), -1).mean(axis=1)
        axes.set_xticks(centres, [str(camera) for camera in cameras], fontsize=_SMALL)
        axes.set_xlabel("camera", fontsize=_LABEL)
        axes.set_ylabel("identity: each row shows one", fontsize=_LABEL)
    return figure


def translation_sheet(directions: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Images, their translations, and these translated back: a panel a direction, a row an image.

    `directions` maps a title, such as "source → target", to its columns by their labels, such as "x", "G(x)" and
    "F(G(x))": batches of images (N, H, W, 3), bytes or floats in 0…1. Raises `NasdaError` where images differ in size.
    """
    sheets = {title: _translations(list(columns.values())) for title, columns in directions.items()}
    sizes = [sheet.inches(9 / len(sheets)) for sheet in sheets.values()]
    figure = Plot(sum(size[0] for size in sizes), max(size[1] for size in sizes) + 0.6)  # titles
    row = figure.subplots(1, len(sheets), squeeze=False)[0]
    for axes, (title, sheet) in zip(row, sheets.items(), strict=True):
        sheet.show(axes)
        axes.set_title(title, fontsize=_TITLE, pad=10)
        axes.set_xticks(sheet.column_centres, list(directions[title]), fontsize=_LABEL)
        axes.set_xlabel("image, translated, and back", fontsize=_LABEL)
        axes.set_yticks([])
        axes.set_ylabel("each row shows one image", fontsize=_LABEL)
    return figure


def _translations(batches: Sequence[ArrayLike]) -> "_Sheet":
    columns = [_pixels(batch) for batch in batches]
    count, height, width, _ = columns[0].shape
    sheet = _Sheet(count, len(columns), height, width, gap=max(3, width // 16))
    for column, images in enumerate(columns):
        for row, image in enumerate(images):
            sheet.put(row, column, image)
    return sheet


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
    counts: dict[int, int] = {}
    for _, camera in seen:
        counts[camera] = counts.get(camera, 0) + 1
    cameras = sorted(sorted(counts, key=lambda camera: (-counts[camera], camera))[:images])
    each = max(1, images // len(cameras))
    sheet = _Sheet(len(pids), len(cameras) * each, *size, gap=max(3, size[1] // 16))
    for row, pid in enumerate(pids):
        for group, camera in enumerate(cameras):
            samples = seen.get((pid, camera), [])
            picked = sorted(rng.choice(len(samples), min(each, len(samples)), replace=False)) if samples else []
            for position, index in enumerate(picked):
                sheet.put(row, group * each + position, _load(samples[index].path, size))
    return sheet, pids, cameras


class _Sheet:
    """A grid of equally large images as one array: a hundred axes would take matplotlib seconds."""

    def __init__(self, rows: int, columns: int, height: int, width: int, gap: int, gutter: int = 0) -> None:
        self.height, self.width = height, width
        self.tops = [gap + row * (height + gap) for row in range(rows)]
        self.lefts = [gap + column * (width + gap) + (gutter if column else 0) for column in range(columns)]
        size = (self.tops[-1] + height + gap, self.lefts[-1] + width + gap, 3)
        self.pixels = np.full(size, 255, dtype=np.uint8)

    @property
    def row_centres(self) -> list[float]:
        return [top + self.height / 2 for top in self.tops]

    @property
    def column_centres(self) -> list[float]:
        return [left + self.width / 2 for left in self.lefts]

    def inches(self, width: float, height: float = 7.0) -> tuple[float, float]:
        """The width and height of a figure, at most these, that holds the sheet and its labels without a rest."""
        beside, above = 1.2, 0.8
        rows, columns = self.pixels.shape[:2]
        scale = min((width - beside) / columns, (height - above) / rows)
        return columns * scale + beside, rows * scale + above

    def put(self, row: int, column: int, image: NDArray[np.uint8]) -> None:
        if image.shape != (self.height, self.width, 3):
            raise NasdaError(f"expected images of one size, {(self.height, self.width, 3)}; found {image.shape}")
        top, left = self.tops[row], self.lefts[column]
        self.pixels[top : top + self.height, left : left + self.width] = image

    def show(self, axes: Axes) -> None:
        axes.imshow(self.pixels, interpolation="lanczos", extent=(0, self.pixels.shape[1], self.pixels.shape[0], 0))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axes.xaxis.set_label_position("top")

    def frame(self, axes: Axes, row: int, column: int, **style: Any) -> None:
        corner = (self.lefts[column], self.tops[row])
        axes.add_patch(Rectangle(corner, self.width, self.height, fill=False, **style))


def _pixels(image: ArrayLike) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    return pixels if pixels.dtype == np.uint8 else (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


def _load(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))
    except OSError as error:
        raise NasdaError(f"{path}: an image expected here, but it cannot be read: {error}") from error


# --------------------------------------------------------------------------------------------------------- results


def metrics_bars(
    rows: Mapping[str, Mapping[str, Sequence[float]]], floors: Mapping[str, float] | None = None
) -> Figure:
    """Results side by side, one panel a metric: a bar for the mean, a point for each seed, a dotted line for the floor.

    `rows` maps a method to its metrics ("mAP", "rank-1", …), each a list over seeds of fractions 0…1; `floors` maps a
    metric to what guessing reaches. Raises `NasdaError` when there is nothing to show.
    """
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    if not metrics:
        raise NasdaError("results: expected at least one row with one metric, found none")
    figure = Plot(10, 1.5 + 0.55 * len(rows))
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        largest = max((100 * value for row in rows.values() for value in row.get(metric, ())), default=1.0)
        for height, row in enumerate(rows.values()):
            _bar(panel, height, 100 * np.array(row.get(metric, ()), dtype=np.float64), largest)
        if floors and metric in floors:
            panel.axvline(100 * floors[metric], color=INK, linestyle=":", linewidth=1.6, label="floor: guessing")
            panel.legend(fontsize=_SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
        panel.set_xlim(0, 1.45 * largest)  # room for the numbers
        panel.set_xticks([tick for tick in panel.get_xticks() if tick <= min(100, 1.45 * largest)])
        panel.set_xlabel(f"{metric} (%)", fontsize=_LABEL)
        panel.set_yticks(range(len(rows)), list(rows), fontsize=_LABEL)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", alpha=0.25)
        panel.set_axisbelow(True)
    panels[0].invert_yaxis()  # the first row on top; the panels share the axis
    panels[0].set_ylabel("method", fontsize=_LABEL)
    return figure


def _bar(panel: Axes, height: int, values: NDArray[np.float64], largest: float) -> None:
    if not len(values):
        panel.text(0.02 * largest, height, "not measured", va="center", fontsize=_SMALL, color=GREY)
        return
    panel.barh(height, values.mean(), height=0.6, color=SKY, alpha=0.45)
    offsets = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0.0]  # equal seeds stay visible
    panel.plot(values, height + np.asarray(offsets), "o", color=BLUE, markersize=5, markeredgecolor="white")
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    right = max(values.max(), values.mean()) + 0.03 * largest
    panel.text(right, height, f"{values.mean():.1f}{spread}", va="center", fontsize=_SMALL + 1, color=INK)


_ROW_STYLES = [(VERMILLION, "o", "-"), (BLUE, "s", "-"), (GREY, "^", "--"), (GREEN, "D", "-."), (ORANGE, "v", ":")]


def score_over_gap(rows: Mapping[str, Mapping[float, Sequence[float]]], score: str = "mAP") -> Figure:
    """A score over the gap between source and target: a line through each row's means, a point for each seed.

    `rows` maps a row of the table to its scores by gap, each a list over seeds of fractions 0…1; floors are drawn thin.
    Raises `NasdaError` when there is nothing to show.
    """
    if not any(rows.values()):
        raise NasdaError("results over gaps: expected at least one row, found none")
    figure = Plot(8.5, 5)
    axes = figure.subplots()
    methods = [name for name in rows if not name.startswith("floor")]
    span = max(gap for of_row in rows.values() for gap in of_row) or 1.0
    for number, name in enumerate(methods):
        colour, marker, style = _ROW_STYLES[number % len(_ROW_STYLES)]
        gaps = np.array(sorted(rows[name])) + 0.012 * span * (number - (len(methods) - 1) / 2)  # rows beside each other
        scores = [100 * np.array(rows[name][gap]) for gap in sorted(rows[name])]
        means = [of_gap.mean() for of_gap in scores]
        axes.plot(gaps, means, color=colour, marker=marker, linestyle=style, linewidth=2, markersize=8, label=name)
        for gap, of_gap in zip(gaps, scores, strict=True):
            axes.plot([gap] * len(of_gap), of_gap, marker, color=colour, alpha=0.35, markersize=5, linestyle="none")
    for number, name in enumerate(name for name in rows if name.startswith("floor")):
        means = [100 * np.mean(rows[name][gap]) for gap in sorted(rows[name])]
        style = (":", "--")[number % 2]
        axes.plot(sorted(rows[name]), means, color=INK, linestyle=style, linewidth=1, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({gap for of_row in rows.values() for gap in of_row}))
    axes.set_xlabel("gap between source and target (0: alike, 1: a street)", fontsize=_LABEL)
    axes.set_ylabel(f"{score} on the target's query and gallery (%)", fontsize=_LABEL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=_SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
