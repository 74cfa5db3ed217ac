"""Pictures and small experiments of notebook 06: is one row of a table above another, and how a translation looks.

Scores are fractions 0…1, as the table keeps them; pictures show percent.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import LogFormatter, MaxNLocator
from numpy.typing import ArrayLike
from torch import Tensor

from nasda.course.judges import Exercise, like, show
from nasda.files import written_whole
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION
from nasda.pictures.plots import SMALL, Plot, dress
from nasda.runs import RunFolder
from nasda.settings import TaskName
from nasda.spgan.dataset import translate
from nasda.spgan.distances import ImageDistance, image_distance
from nasda.spgan.networks import Translators
from nasda.spgan.training import AfterEpoch, contrastive_loss
from nasda.study.paper import TABLE_1
from nasda.study.rows import ROWS
from nasda.study.statistics import LEVEL, differences, flipped_means, mean_sd, seeds_needed, sign_flip_p
from nasda.study.table import COLUMNS, Table

COLOURS = {  # as `score_over_gap` draws the study's rows
    "NAS (S)": VERMILLION,
    "NAS (S+R)": BLUE,
    "random cells": GREY,
    "ResNet-50 (S)": GREEN,
    "ResNet-50 (SPGAN, S+R)": ORANGE,
    "floor: colour histogram": PURPLE,
    "floor: random": SKY,
}
_MARKERS = dict(zip(COLOURS, "os^DvPX", strict=True))

# -------------------------------------------------------------------------------------------- is one row above another?


def points(by_seed: Mapping[int, float]) -> float:
    """The mean over seeds, in percent, or, of differences, in points; nan where there is no seed."""
    return 100 * float(np.mean(list(by_seed.values()))) if by_seed else float("nan")


def flip_plot(values: ArrayLike, label: str) -> Plot:
    """All sign flips of some differences, a dot each; those as far from 0 as the measured one in vermillion."""
    means = 100 * flipped_means(values)
    width = max(np.abs(means).max(), 1e-9) / 12
    bins = np.round(means / width)
    extreme = np.abs(means) >= abs(means[0]) - 1e-9
    heights: dict[float, int] = {}
    figure = Plot(8, 3.6)
    axes = figure.subplots()
    for number in np.argsort(np.abs(means), kind="stable"):
        heights[bins[number]] = heights.get(bins[number], 0) + 1
        colour = VERMILLION if extreme[number] else SKY
        axes.plot(means[number], heights[bins[number]], "o", color=colour, markersize=8, markeredgecolor="white")
    axes.axvline(means[0], color=INK, linewidth=1.5)
    box, top = {"facecolor": "white", "edgecolor": "none", "pad": 2}, max(heights.values())
    axes.text(means[0], top + 1, "measured", ha="center", va="center", fontsize=SMALL, bbox=box)
    axes.set_ylim(0, top + 1.6)
    axes.margins(x=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"{extreme.sum()} of {len(means)} flips lie at least as far from 0 as what was measured"
    dress(axes, f"mean of {label} after flipping signs (points)", "number of flips", title)
    return figure


@cache
def power(seeds: int, effect: float, looks: int, comparisons: int = 6000) -> float:
    """The share of simulated studies that call a difference shown, p ≤ 0.05, for the best of `looks` comparisons.

    Differences over seeds are normal with mean `effect` and standard deviation 1; looks are independent of each other.
    """
    drawn = np.random.default_rng(0).normal(effect, 1.0, (comparisons // looks, looks, seeds))
    return float((sign_flip_p(drawn).min(axis=1) <= LEVEL).mean())


def power_plot(seeds: int, effect: float, looks: int, most: int = 10) -> Plot:
    """How often a study says that a difference is shown, over its seeds: with this effect, and without any."""
    figure = Plot(8, 3.8)
    axes = figure.subplots()
    counts = list(range(2, most + 1))
    lines = {
        f"true difference: {effect:g} × the standard deviation": (effect, BLUE, "o", "-"),
        "no difference at all: false alarms": (0.0, VERMILLION, "s", "--"),
    }
    for name, (size, colour, marker, style) in lines.items():
        shares = [100 * power(count, size, looks) for count in counts]
        axes.plot(counts, shares, color=colour, marker=marker, linestyle=style, linewidth=2, label=name)
        axes.plot([seeds], [shares[seeds - 2]], marker, color=colour, markersize=14, markerfacecolor="none")
    axes.axhline(5, color=INK, linestyle=":", linewidth=1.2)
    axes.text(2, 6, "5 %", ha="left", va="bottom", fontsize=SMALL)
    axes.set_ylim(-5, 107)
    axes.set_xticks(counts)
    dress(axes, "seeds", f"studies that report p ≤ {LEVEL} (%)", legend="upper left")
    return figure


def study_plot(table: Table, first: str, second: str, score: str = "mAP") -> Plot:
    """Left, all rows: a bar for the mean, a dot for each network. Right, first minus second, seed by seed."""
    names = sorted(table.scores, key=lambda name: -np.mean([entry[score] for entry in table.scores[name]]))
    figure = Plot(9, 0.9 + 0.42 * max(len(names), 5))
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for height, name in enumerate(names):
        values = np.array([100 * entry[score] for entry in table.scores[name]])
        chosen = name in (first, second)
        left.barh(height, values.mean(), height=0.62, color=_colour(name), alpha=0.5 if chosen else 0.15)
        left.plot(values, height + np.linspace(-0.18, 0.18, len(values)), "o", color=_colour(name), markersize=5)
        left.text(values.max(), height, f"  {mean_sd(values, 1)}", va="center", fontsize=SMALL)
    left.set_yticks(range(len(names)), names)
    for label in left.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in (first, second) else "normal")
    left.invert_yaxis()
    left.set_xlim(0, 1.32 * left.get_xlim()[1])
    found = differences(table.by_seed(first, score), table.by_seed(second, score))
    places, gaps = range(len(found)), [100 * value for value in found.values()]
    right.vlines(places, 0, gaps, colors=[_colour(first if gap > 0 else second) for gap in gaps], linewidth=3)
    right.plot(places, gaps, "o", color=INK, markersize=7)
    right.axhline(0, color=INK, linewidth=1)
    largest = max([abs(gap) for gap in gaps], default=1.0) or 1.0
    right.set_ylim(-1.25 * largest, 1.25 * largest)
    right.set_xlim(-0.6, len(found) - 0.4)
    right.set_xticks(places, [str(seed) for seed in found])
    dress(left, f"{COLUMNS[score]} on the target (%)", "row of the table", grid="x")
    dress(right, "seed", "difference (points)", f"{first}\nminus {second}")
    return figure


# -------------------------------------------------------------------------------------------------------- what it costs

COSTS = {
    "multiply_adds": ("multiply-adds an image (million)", 1e6),
    "parameters": ("parameters (thousand)", 1e3),
    "train_seconds": ("training (minutes)", 60.0),
}


def networks_of(table: Table) -> dict[str, list[dict[str, Any]]]:
    """The rows that trained something: all but the floors."""
    return {name: entries for name, entries in table.scores.items() if not name.startswith("floor")}


def cost_plot(table: Table, cost: str = "multiply_adds", score: str = "mAP", resnet: bool = True) -> Plot:
    """Quality over cost, on a logarithmic axis: a point each network, a line for the colour histogram; with `resnet`
    or the networks made of cells alone."""
    label, unit = COSTS[cost]
    figure = Plot(8, 4.2)
    axes = figure.subplots()
    for name, entries in networks_of(table).items():
        if name.startswith("ResNet") and not resnet:
            continue
        across, up = [entry[cost] / unit for entry in entries], [100 * entry[score] for entry in entries]
        style: dict[str, Any] = {"color": _colour(name), "marker": _MARKERS.get(name, "*"), "markeredgecolor": "white"}
        axes.plot(across, up, linestyle="none", markersize=10, label=name, **style)
    histogram = [100 * entry[score] for entry in table.scores.get("floor: colour histogram", [])]
    if histogram:
        axes.axhline(np.mean(histogram), color=INK, linestyle=":", linewidth=1.4, label="floor: colour histogram")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    dress(axes, f"{label}, logarithmic", f"{COLUMNS[score]} on the target (%)", legend="beside")
    return figure


def best_of(scores: Sequence[float], tries: int) -> float:
    """What the best of `tries` different networks reaches on average, when these are the networks that there are."""
    return float(np.mean([max(some) for some in itertools.combinations(scores, tries)]))


def best_of_plot(table: Table, score: str = "mAP") -> Plot:
    """The best of k random cells, over k, beside the means of the searched rows."""
    figure = Plot(8, 3.8)
    axes = figure.subplots()
    drawn = [entry[score] for entry in table.scores["random cells"]]
    tries = list(range(1, len(drawn) + 1))
    values = [100 * best_of(drawn, k) for k in tries]
    axes.plot(tries, values, "D-", color=GREY, linewidth=2, markersize=8, label="best of k random cells")
    for name in ("NAS (S)", "NAS (S+R)"):
        mean = 100 * float(np.mean([entry[score] for entry in table.scores[name]]))
        style = "-" if name == "NAS (S)" else "--"
        axes.axhline(mean, color=_colour(name), linestyle=style, linewidth=2, label=f"{name}, mean of its seeds")
    axes.set_xticks(tries)
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    across = "k: random cells trained, of which only the best is reported"
    dress(axes, across, f"{COLUMNS[score]} on the target (%)", legend="lower right")
    return figure


# ---------------------------------------------------------------------------------------- the paper's table beside ours


def paper_plot(task: TaskName, table: Table) -> Plot:
    """Left, Table 1 as printed, hatched where a row had another test set; right, the rows of `table` by its name."""
    printed = [row for row in TABLE_1 if row.task == task]
    names = {row.paper: row.name for row in ROWS}
    labels = [names[row.method, row.data] for row in printed]
    figure = Plot(9, 1.3 + 0.55 * len(printed))
    left, right = figure.subplots(1, 2, sharey=True)
    for height, (row, name) in enumerate(zip(printed, labels, strict=True)):
        elsewhere = "c" in row.notes
        left.barh(height, row.mAP, 0.6, color=_colour(name), alpha=0.5, hatch="///" if elsewhere else None)
        left.text(row.mAP, height, f"  {row.mAP:.2f}" + (" *" if elsewhere else ""), va="center", fontsize=SMALL)
        values = np.array([100 * entry["mAP_trapezoid"] for entry in table.scores.get(name, [])])
        if not len(values):
            right.text(0, height, "  not in this study", va="center", fontsize=SMALL, color=INK)
            continue
        right.barh(height, values.mean(), 0.6, color=_colour(name), alpha=0.5)
        right.plot(values, [height] * len(values), "o", color=_colour(name), markersize=6)
        right.text(values.max(), height, f"  {values.mean():.1f}", va="center", fontsize=SMALL)
    for panel, title in ((left, "the paper, photographs"), (right, "this study, drawings")):
        panel.set_xlim(0, 1.3 * panel.get_xlim()[1])
        dress(panel, "mAP, trapezoid (%)", title=title, grid="x")
    left.set_yticks(range(len(labels)), labels)
    left.set_ylabel("row of Table 1")
    left.invert_yaxis()
    return figure


# ----------------------------------------------------------------------------------------------- watching a translation


def keep_translations(folder: RunFolder, source: Tensor, target: Tensor, device: torch.device) -> AfterEpoch:
    """What `run_spgan` calls after each epoch: it keeps in the run's folder how `source` and `target`, both uint8
    (N, 3, H, W), are translated by then, and how they look when they are translated back."""

    def keep(epoch: int, networks: Translators) -> None:
        pictures = {"x": source, "G(x)": translate(networks.to_target, source, device)}
        pictures |= {"y": target, "F(y)": translate(networks.to_source, target, device)}
        pictures["F(G(x))"] = translate(networks.to_source, pictures["G(x)"], device)
        pictures["G(F(y))"] = translate(networks.to_target, pictures["F(y)"], device)
        with written_whole(folder.path / f"seen-{epoch:02d}.pt", "wb") as file:
            torch.save({name: images.contiguous() for name, images in pictures.items()}, file)

    return keep


def kept_translations(folder: RunFolder) -> list[dict[str, Tensor]]:
    """What `keep_translations` has left, by epoch; the first is from before the training."""
    return [torch.load(path, weights_only=True) for path in sorted(folder.path.glob("seen-*.pt"))]


def distances_over_epochs(kept: Sequence[Mapping[str, Tensor]]) -> list[ImageDistance]:
    """How far the translated source lies from the target: first without a translation, then after each epoch."""
    first = [image_distance(kept[0]["x"], kept[0]["y"])]
    return first + [image_distance(seen["G(x)"], seen["y"]) for seen in kept[1:]]


def translation_plot(
    kept: Sequence[Mapping[str, Tensor]], distances: Sequence[ImageDistance], epoch: int, image: int
) -> Plot:
    """One image of each domain, translated and back, after an epoch; and how the distances went until the last one."""
    figure = Plot(9, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    seen, rows = kept[epoch], (("x", "G(x)", "F(G(x))"), ("y", "F(y)", "G(F(y))"))
    _, height, width = seen["x"][image].shape
    gap = max(4, width // 6)
    for row, names in enumerate(rows):
        for column, name in enumerate(names):
            top, start = row * (height + 2.6 * gap), column * (width + 2 * gap)
            pixels = seen[name][image].permute(1, 2, 0).numpy()
            left.imshow(pixels, extent=(start, start + width, top + height, top), interpolation="lanczos")
            left.text(start + width / 2, top - 0.4 * gap, name, ha="center", fontsize=SMALL)
    left.set_xlim(-gap, 3 * width + 5 * gap)
    left.set_ylim(2 * height + 3.4 * gap, -2.4 * gap)
    left.set_yticks([height / 2, 1.5 * height + 2.6 * gap], ["a source\nimage", "a target\nimage"])
    left.set_xticks([])
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    left.set_title("untrained" if epoch == 0 else f"after epoch {epoch}")
    styles = zip(ImageDistance._fields, (BLUE, ORANGE, GREEN), "os^", strict=True)
    for name, colour, marker in styles:
        values = [getattr(distance, name) / getattr(distances[0], name) for distance in distances]
        right.plot(values, color=colour, marker=marker, linewidth=2, label=name)
    right.axvline(epoch, color=INK, linewidth=1, linestyle=":")
    right.axhline(1, color=INK, linewidth=1)
    right.set_ylim(bottom=0)
    right.set_xticks(range(len(distances)))
    dress(right, "epoch (0: source as it is)", "distance to the target, source as it is = 1", legend="best")
    return figure


def _colour(row: str) -> str:
    return COLOURS.get(row, INK)


# ---------------------------------------------------------------------------------------------------------- exercises

# 06.1

_PAIRS = {"AB", "CD"}
_NETWORKS_DIFFER = "differ in the architecture, in the first weights (note b) and in the test set (note c)."
_ABOUT_PAIRS = {
    "AC": f"A and C {_NETWORKS_DIFFER}",
    "BD": f"B and D {_NETWORKS_DIFFER}",
    "AD": "A and D differ in everything that can differ.",
    "BC": "B and C differ in everything that can differ.",
}


def _judge_pairs(answer: Any) -> str | None:
    if isinstance(answer, str) or not isinstance(answer, (set, frozenset, list, tuple)):
        return f'expected a set of pairs such as {{"AC", "BD"}}, found {show(answer)}'
    pairs = {"".join(sorted("".join(pair).upper())) for pair in answer}
    unknown = sorted(pairs - _PAIRS - _ABOUT_PAIRS.keys())
    if unknown:
        return f"{show(unknown[0])} is no pair of the rows A, B, C and D"
    wrong = sorted(pairs - _PAIRS)
    if wrong:
        return f"{wrong[0]} is not one. {_ABOUT_PAIRS[wrong[0]]}"
    if "CD" not in pairs:
        return "A pair is missing. Two rows may share a test set even where it is not the one the heading names."
    if "AB" not in pairs:
        return "A pair is missing. Look at the two rows that the paper itself has run."
    return None


# 06.2


def _one_sided(differences: Sequence[float]) -> float:
    means = flipped_means(differences)
    return float((means >= means[0] - 1e-12).mean())


def _strictly(differences: Sequence[float]) -> float:
    means = np.abs(flipped_means(differences))
    return float((means > means[0] + 1e-12).mean())


def _sign_test(differences: Sequence[float]) -> float:
    return float(sign_flip_p(np.sign(differences)))


_DIFFERENCES = [
    {"differences": [0.02, 0.05, 0.01]},
    {"differences": [0.04, -0.01, 0.03]},
    {"differences": [-0.03, -0.02, 0.01, -0.06]},
    {"differences": [0.01, -0.05, 0.02, 0.01, 0.01]},
]
_FLIP_MISTAKES = [
    (_one_sided, "That is one side only: a flip is as far from 0 when its mean is as far below it, too"),
    (_strictly, "The signs as they were measured are one of the choices, and count: p is never 0"),
    (_sign_test, "That counts signs alone: here a large difference weighs more than a small one"),
]


# 06.3

_LEVELS = [
    {"level": 0.05, "tests": 1},
    {"level": 0.5, "tests": 1},
    {"level": 0.01, "tests": 1},
    {"level": 0.05, "tests": 9},
]


def _needed(share: Callable[[int], float], each: Callable[[float, int], float]) -> Callable[[float, int], int]:
    def needed(level: float, tests: int) -> int:
        return next(seeds for seeds in itertools.count(1) if share(seeds) <= each(level, tests))

    return needed


_SEED_MISTAKES = [
    (
        _needed(lambda n: 2.0**-n, lambda level, tests: level / tests),
        "With 2 to the power of −n you leave out that all signs turned lie as far from 0 as the measured ones",
    ),
    (
        _needed(lambda n: 2.0 ** (1 - n), lambda level, tests: level),
        "Right for one test. With more of them each gets its share of the level",
    ),
]


# 06.4

_DRAWN = [0.12, 0.2, 0.13, 0.16, 0.05]
_TRIES = [{"scores": _DRAWN, "k": k} for k in (2, 1, 3, 5)]
_BEST_MISTAKES = [
    (lambda scores, k: max(scores), "That is the best of all of them: which k are tried is left to chance"),
    (lambda scores, k: max(scores[:k]), "That takes the first k; every choice of k is as likely as these"),
    (
        lambda scores, k: float(np.mean([max(some) for some in itertools.product(scores, repeat=k)])),
        "That may draw one network twice: k different networks are trained",
    ),
]


# 06.5


def _embeddings(seed: int, count: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.nn.functional.normalize(torch.randn(2, count, 3, generator=generator), dim=2)
    return {"first": drawn[0], "second": drawn[1]}


_SIAMESE = [
    {"first": torch.tensor([[0.0, 0.0]]), "second": torch.tensor([[0.6, 0.8]]), "same": True, "margin": 2.0},
    {"first": torch.tensor([[0.0, 0.0]]), "second": torch.tensor([[0.3, 0.4]]), "same": False, "margin": 2.0},
    {**_embeddings(0), "same": True, "margin": 2.0},
    {**_embeddings(1), "same": False, "margin": 2.0},
    {**_embeddings(2), "same": False, "margin": 1.0},
]


def _costs(alike: Callable[[Tensor], Tensor], unlike: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """Pairs that cost something else: `alike` of their squared distances, or `unlike` of these and the margin."""

    def cost(first: Tensor, second: Tensor, same: bool, margin: float) -> Tensor:
        squared = (first - second).square().sum(dim=1)
        return (alike(squared) if same else unlike(squared, margin)).mean()

    return cost


_SIAMESE_MISTAKES: list[tuple[Callable[..., Tensor], str]] = [
    (
        lambda first, second, same, margin: contrastive_loss(first, second, same, margin) * len(first),
        "A mean over pairs: a sum would weigh more in a larger batch",
    ),
    (
        _costs(lambda squared: squared, lambda squared, margin: (margin - squared).clamp(min=0)),
        "The margin is a distance: take the root before you subtract, and square afterwards",
    ),
    (
        _costs(lambda squared: squared, lambda squared, margin: (margin - squared.sqrt()).square()),
        "A pair that is further apart than the margin costs nothing: cut off below 0",
    ),
    (
        _costs(Tensor.sqrt, lambda squared, margin: (margin - squared.sqrt()).clamp(min=0)),
        "Both branches of equation (c) are squared",
    ),
]


EXERCISES = {
    "06.1": Exercise(_judge_pairs, "Two pairs out of six, and neither crosses from the NAS rows to ResNet's."),
    "06.2": like(
        lambda differences: float(sign_flip_p(differences)),
        _DIFFERENCES,
        _FLIP_MISTAKES,
        praise="It assumes nothing of how scores are distributed.",
    ),
    "06.3": like(
        seeds_needed,
        _LEVELS,
        _SEED_MISTAKES,
        praise="Five seeds can therefore never reach 5 %, however clear they are.",
    ),
    "06.4": like(
        lambda scores, k: best_of(scores, k),
        _TRIES,
        _BEST_MISTAKES,
        praise="Whoever reports the best has to say of how many.",
    ),
    "06.5": like(
        contrastive_loss,
        _SIAMESE,
        _SIAMESE_MISTAKES,
        praise="Unit vectors are 2 apart at most, so a margin of 2 never rests.",
    ),
}
