"""Pictures and exercises of notebook 06: is one row of a table above another, and how a translation looks.

Scores are fractions 0…1, as the table keeps them; pictures show percent.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import comb
from typing import Any, cast

import numpy as np
import torch
from matplotlib.ticker import LogFormatter, MaxNLocator
from numpy.typing import ArrayLike
from torch import Tensor, nn

from nasda.course.judges import Case, Exercise, Mistakes, NotAttempted, Wrong, compare, is_stub, like, show
from nasda.course.predict import Question
from nasda.devices import seeded
from nasda.evaluation import reestimate_statistics
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION
from nasda.pictures.plots import SMALL, Plot, dress
from nasda.settings import TaskName
from nasda.spgan.distances import ImageDistance
from nasda.spgan.training import Batch, contrastive_loss, similarity_loss
from nasda.study.paper import TABLE_1
from nasda.study.rows import ROWS
from nasda.study.statistics import LEVEL, differences, flipped_means, mean_sd, seeds_needed, sign_flip_p
from nasda.study.table import COLUMNS, STATISTICS, Table

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
_LINES = BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY

# -------------------------------------------------------------------------------------------- is one row above another?


def flip_plot(values: ArrayLike, label: str) -> Plot:
    """All sign flips of some differences; those as far from 0 as the measured one are vermillion diamonds."""
    means = 100 * flipped_means(values)
    width = max(np.abs(means).max(), 1e-9) / 12
    bins = np.round(means / width)
    extreme = np.abs(means) >= abs(means[0]) - 1e-9
    heights: dict[float, int] = {}
    figure = Plot(8, 3.6)
    axes = figure.subplots()
    for number in np.argsort(np.abs(means), kind="stable"):
        heights[bins[number]] = heights.get(bins[number], 0) + 1
        colour, marker = (VERMILLION, "D") if extreme[number] else (SKY, "o")
        axes.plot(means[number], heights[bins[number]], marker, color=colour, markersize=8, markeredgecolor="white")
    axes.axvline(means[0], color=INK, linewidth=1.5)
    box, top = {"facecolor": "white", "edgecolor": "none", "pad": 2}, max(heights.values())
    axes.text(means[0], top + 1, "measured", ha="center", va="center", fontsize=SMALL, bbox=box)
    axes.set_ylim(0, top + 1.6)
    axes.margins(x=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"{extreme.sum()} of {len(means)} flips lie at least as far from 0 as what was measured"
    dress(axes, f"mean of {label} after flipping signs (points)", "number of flips", title)
    return figure


def power_plot(found: Mapping[int, float], alarms: Mapping[int, float], seeds: int) -> Plot:
    """How often a study says that a difference is shown, over its seeds: where there is one, and without any."""
    figure = Plot(8, 3.8)
    axes = figure.subplots()
    lines = (
        ("there is a difference: it is found", found, BLUE, "o", "-"),
        ("there is none: a false alarm", alarms, VERMILLION, "s", "--"),
    )
    for name, by_seeds, colour, marker, style in lines:
        shares = [100 * share for share in by_seeds.values()]
        axes.plot(list(by_seeds), shares, color=colour, marker=marker, linestyle=style, linewidth=2, label=name)
        axes.plot([seeds], [100 * by_seeds[seeds]], marker, color=colour, markersize=14, markerfacecolor="none")
    axes.axhline(5, color=INK, linestyle=":", linewidth=1.2)
    axes.text(min(found), 6, "5 %", ha="left", va="bottom", fontsize=SMALL)
    axes.set_ylim(-5, 107)
    axes.set_xticks(list(found))
    dress(axes, "seeds", f"studies that report p ≤ {LEVEL} (%)", legend="upper left")
    return figure


def study_plot(table: Table, first: str, second: str, score: str = "mAP") -> Plot:
    """Left, all rows: a bar for the mean, a dot for each unit. Right, first minus second, unit by unit."""
    rows = {name: np.array([100 * value for value in table.by_unit(name, score).values()]) for name in table.scores}
    names = sorted(rows, key=lambda name: -rows[name].mean())
    figure = Plot(9, 0.9 + 0.42 * max(len(names), 5))
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for height, name in enumerate(names):
        values = rows[name]
        chosen = name in (first, second)
        left.barh(height, values.mean(), height=0.62, color=_colour(name), alpha=0.5 if chosen else 0.15)
        left.plot(values, height + np.linspace(-0.18, 0.18, len(values)), "o", color=_colour(name), markersize=5)
        left.text(values.max(), height, f"  {mean_sd(values, 1)}", va="center", fontsize=SMALL)
    left.set_yticks(range(len(names)), names)
    for label in left.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in (first, second) else "normal")
    left.invert_yaxis()
    left.set_xlim(0, 1.32 * left.get_xlim()[1])
    found = differences(table.by_unit(first, score), table.by_unit(second, score))
    places, gaps = range(len(found)), [100 * value for value in found.values()]
    right.vlines(places, 0, gaps, colors=[_colour(first if gap > 0 else second) for gap in gaps], linewidth=3)
    right.plot(places, gaps, "o", color=INK, markersize=7)
    right.axhline(0, color=INK, linewidth=1)
    largest = max([abs(gap) for gap in gaps], default=1.0) or 1.0
    right.set_ylim(-1.25 * largest, 1.25 * largest)
    right.set_xlim(-0.6, len(found) - 0.4)
    right.set_xticks(places, [str(seed) for seed in found])
    dress(left, f"{COLUMNS[score]} (%)", "row of the table", grid="x")
    dress(right, table.unit, "difference (points)", f"{first}\nminus {second}")
    return figure


def turn_plot(found: Mapping[str, Mapping[int, float]], unit: str, what: str) -> Plot:
    """The same differences, in fractions, under several choices: a line for each unit, a bar for each choice's mean."""
    figure = Plot(8, 3.8)
    axes = figure.subplots()
    choices = list(found)
    units = list(found[choices[0]])
    for number, name in enumerate(units):
        values = [100 * found[choice][name] for choice in choices]
        style: dict[str, Any] = {"marker": "os^DvPX"[number % 7], "linestyle": ("-", "--", "-.", ":")[number % 4]}
        axes.plot(range(len(choices)), values, color=_LINES[number % len(_LINES)], label=f"{unit} {name}", **style)
    for place, choice in enumerate(choices):
        mean = 100 * float(np.mean(list(found[choice].values())))
        axes.plot([place - 0.2, place + 0.2], [mean, mean], color=INK, linewidth=4, solid_capstyle="butt")
        axes.text(place + 0.22, mean, f"mean {mean:+.1f}", va="center", fontsize=SMALL)
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xticks(range(len(choices)), choices)
    axes.set_xlim(-0.4, len(choices) - 0.4)
    dress(axes, "batch norm tests with the statistics of", "difference (points of mAP)", what, legend="beside")
    return figure


def statistics_plot(table: Table) -> Plot:
    """Each row's mean under the source's and under the target's statistics, joined by a line; worst row on top."""
    means = {
        name: [100 * float(np.mean(list(table.by_unit(name, score).values()))) for score in STATISTICS]
        for name in table.scores
    }
    names = sorted(means, key=lambda name: means[name][0])
    figure = Plot(9, 1.2 + 0.36 * len(names))
    axes = figure.subplots()
    for height, name in enumerate(names):
        source, target = means[name]
        axes.plot([source, target], [height, height], color=GREY, linewidth=2, zorder=1)
        axes.plot(source, height, "o", color=VERMILLION, markersize=9, label="of the source" if not height else None)
        axes.plot(target, height, "D", color=BLUE, markersize=8, label="of the target" if not height else None)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    title = "mAP with batch norm's statistics …"
    dress(axes, f"mAP on the target (%), mean over {table.unit}s", "row of the study", title, grid="x", legend="beside")
    return figure


def shift_plot(shifts: Mapping[str, float]) -> Plot:
    """How far each batch norm's mean moves from source to target, in the source's standard deviations, in order."""
    figure = Plot(8, 3.4)
    axes = figure.subplots()
    places = range(1, len(shifts) + 1)
    axes.vlines(places, 0, list(shifts.values()), color=BLUE, linewidth=2)
    axes.plot(places, list(shifts.values()), "o", color=BLUE, markersize=6)
    axes.set_ylim(bottom=0)
    across = "batch norm, from the first layer to the last"
    dress(axes, across, "shift of the mean (source's σ)", "what re-estimation moves, mean over channels")
    return figure


# -------------------------------------------------------------------------------------------------------- what it costs

COSTS = {
    "multiply_adds": ("multiply-adds an image (million)", 1e6),
    "parameters": ("parameters (thousand)", 1e3),
    "train_seconds": ("training (minutes)", 60.0),
}


def _networks_of(table: Table) -> dict[str, list[dict[str, Any]]]:
    """The rows that trained something: all but the floors."""
    return {name: entries for name, entries in table.scores.items() if not name.startswith("floor")}


def cost_plot(table: Table, cost: str = "multiply_adds", score: str = "mAP", resnet: bool = True) -> Plot:
    """Quality over cost, on a logarithmic axis: a point each network, a line for the colour histogram; with `resnet`
    or the networks made of cells alone."""
    label, unit = COSTS[cost]
    figure = Plot(8, 4.2)
    axes = figure.subplots()
    for name, entries in _networks_of(table).items():
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


def best_of_plot(table: Table, best: Sequence[float], score: str = "mAP") -> Plot:
    """`best`, what the best of 1, 2, … random cells reaches, beside the means of the searched rows."""
    figure = Plot(8, 3.8)
    axes = figure.subplots()
    tries = list(range(1, len(best) + 1))
    values = [100 * value for value in best]
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
    for panel, score, title in (
        (left, "mAP of unknown definition (%); *: on another test set", "the paper, photographs"),
        (right, "mAP, trapezoid (%)", "this study, drawings"),
    ):
        panel.set_xlim(0, 1.3 * panel.get_xlim()[1])
        dress(panel, score, title=title, grid="x")
    left.set_yticks(range(len(labels)), labels)
    left.set_ylabel("row of Table 1")
    left.invert_yaxis()
    return figure


# ----------------------------------------------------------------------------------------------- watching a translation


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

RECALL = (
    Question(
        "b",
        "Because eq. 3 puts the target into α's loss alone, and eq. 4 leaves ω the source: notebook 04, where both "
        "levels are written as one step.",
    ),
    Question(
        "c",
        "Because in evaluation a batch norm uses the running statistics that training left, whatever it is shown: "
        "notebook 01, where untrained statistics broke a comparison.",
    ),
    Question(
        "a",
        "Because an image of the same identity by the same camera is nearly a copy of the query: notebook 05, the "
        "camera rule.",
    ),
)

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
    given = re.split(r"[,;]|\s+(?:and|und)\s+(?=\w\w)", answer.strip("{}[]() ")) if isinstance(answer, str) else answer
    try:
        pairs = {_pair(one) for one in given}
    except TypeError:
        return f'expected a set of pairs such as {{"AC", "BD"}}, found {show(answer)}'
    unknown = sorted(pairs - _PAIRS - _ABOUT_PAIRS.keys())
    if unknown or not pairs:
        return f'{show(unknown[0] if unknown else answer)} is no pair of the rows A, B, C and D, such as "AC"'
    wrong = sorted(pairs - _PAIRS)
    if wrong:
        return f"{wrong[0]} is not one. {_ABOUT_PAIRS[wrong[0]]}"
    if "CD" not in pairs:
        return "A pair is missing. Two rows may share a test set even where it is not the one the heading names."
    if "AB" not in pairs:
        return "A pair is missing. Look at the two rows that the paper itself has run."
    return None


def _pair(one: Any) -> str:
    """Two letters in their order, from "ab", "A-B", "A and B", ("B", "A") and the like."""
    text = one if isinstance(one, str) else " ".join(map(str, one))
    letters = re.findall(r"(?<![A-Za-z])[A-Da-d](?![A-Za-z])", text) or [x for x in text if x.isalnum()]
    return "".join(sorted("".join(letters).upper()))


# what an answer does to its arguments, or what a loss has as its gradient


def _seen_as(
    view: Callable[[Callable[..., Any]], Callable[..., Any]],
    reference: Callable[..., Any],
    cases: Mapping[str, Case],
    mistakes: Mistakes,
    names: Sequence[str],
    **options: Any,
) -> Exercise:
    """A function to write, judged by what `view` makes of it: a tuple of things, which `names` name."""
    usual = [(view(mistake), words) for mistake, words in mistakes]
    exercise = like(view(reference), cases, usual, library=reference, **options)

    def judge(answer: Any) -> Wrong | str | None:
        if callable(answer) and is_stub(answer):
            raise NotAttempted
        wrong = exercise.judge(view(answer) if callable(answer) else answer)
        if not isinstance(wrong, Wrong):
            return wrong
        words = wrong.words
        for number, name in enumerate(names):
            words = words.replace(f": item {number}: ", f": {name}: ")
        return Wrong(words, wrong.case)

    return replace(exercise, judge=judge)


# 06.2


class _Small(nn.Module):
    """A network as small as one with batch norms can be, in float64, its statistics those of some other images."""

    __name__ = "a small network"

    def __init__(self, seed: int, channels: int = 3, momentum: float | None = 0.1, frozen: bool = False) -> None:
        super().__init__()
        with seeded(seed):
            first, second = nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.Conv2d(channels, 4, 3)
            norms = [nn.BatchNorm2d(channels, momentum=momentum), nn.BatchNorm2d(4, affine=False)]
            self.body = nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU(), nn.Dropout(0.0))
            self.last = nn.BatchNorm1d(4, momentum=0.3)
            for norm in (*norms, self.last):
                norm.running_mean.normal_()  # type: ignore[union-attr]
                norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                norm.num_batches_tracked.fill_(70)  # type: ignore[union-attr]
        self.double().train(not frozen)
        if frozen:
            norms[1].train()  # one part in another mode than the rest

    def features(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.last(self.body(images).mean(dim=(2, 3))))

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


def _images(seed: int, *sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        2 * torch.randn(size, 3, 5, 4, generator=generator, dtype=torch.float64) + index
        for index, size in enumerate(sizes)
    ]


def _aftermath(answer: Callable[..., Any]) -> Callable[..., Any]:
    """What a re-estimation leaves: statistics, weights, momenta, modes, and whether anything has a gradient."""

    def look(network: nn.Module, batches: Sequence[Tensor]) -> tuple[Any, ...]:
        before = [batch.clone() for batch in batches]
        answer(network, (batch for batch in batches))  # can be walked through once
        norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        means, variances = (
            torch.cat([getattr(norm, f"running_{what}").detach() for norm in norms]) for what in ("mean", "var")
        )
        weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        learnt = any(parameter.grad is not None or not parameter.requires_grad for parameter in network.parameters())
        kept = all(torch.equal(batch, same) for batch, same in zip(batches, before, strict=True))
        modes = [module.training for module in network.modules()]
        return kept, weights, means, variances, [norm.momentum for norm in norms], modes, learnt

    return look


_LEFT = (
    "a batch has been written into",
    "the weights have changed",
    "the running means",
    "the running means are right, the running variances are not",
    "the statistics are right, but the momentum of a batch norm is another one now (restore it)",
    "the statistics are right, but a module is in another mode than before (`training`, restore each module's own)",
    "the statistics are right, but parameters have a gradient, or want none now (work without gradients)",
)
_NETWORKS = {
    "one batch": {"network": _Small(0), "batches": _images(0, 8)},
    "three batches, of which each counts the same": {"network": _Small(1), "batches": _images(1, 8, 8, 8)},
    "batches of different sizes": {"network": _Small(2, 5), "batches": _images(2, 9, 4, 6, 5)},
    "a network in evaluation mode, one part of which is not": {
        "network": _Small(3, frozen=True),
        "batches": _images(3, 6, 6),
    },
    "a momentum of 0.01": {"network": _Small(4, momentum=0.01), "batches": _images(4, 6, 6, 6, 6)},
    "a momentum of None": {"network": _Small(5, momentum=None), "batches": _images(5, 6, 6)},
}


def _draw_network(rng: np.random.Generator) -> Case:
    sizes = rng.integers(3, 9, rng.integers(1, 6)).tolist()
    network = _Small(int(rng.integers(1000)), int(rng.integers(1, 6)), float(rng.uniform(0, 1)), bool(rng.integers(2)))
    return {"network": network, "batches": _images(int(rng.integers(1000)), *sizes)}


def _estimated(
    momentum: float | None = None, *, reset: bool = True, train: bool = True, joined: bool = False
) -> Callable[..., None]:
    """Re-estimation with one thing done otherwise: a usual slip. A `momentum` of −1 is each norm's own."""

    @torch.no_grad()
    def estimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
        norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        modes, momenta = [(module, module.training) for module in network.modules()], [norm.momentum for norm in norms]
        network.train(train)
        for norm in norms:
            if reset:
                norm.reset_running_stats()
            norm.momentum = norm.momentum if momentum == -1 else momentum
        for images in [torch.cat(list(batches))] if joined else batches:
            network.features(images)  # type: ignore[operator]
        for norm, own in zip(norms, momenta, strict=True):
            norm.momentum = own
        for module, mode in modes:
            module.training = mode

    return estimate


_STATISTICS_MISTAKES: Mistakes = [
    (_estimated(train=False), "The statistics are not the batches': a batch norm only counts in training mode"),
    (
        _estimated(train=False, reset=False),
        "The statistics are the old ones: a batch norm only counts in training mode",
    ),
    (
        _estimated(-1),
        "With its own momentum a batch norm keeps something of the mean 0 and the variance 1 that it was reset to, and "
        "later batches weigh more: `momentum = None` takes the plain average",
    ),
    (
        _estimated(-1, reset=False),
        "The source's statistics are still part of it: reset them, and set the momentum to None",
    ),
    (_estimated(reset=False), "The old count goes on: call reset_running_stats() first"),
    (_estimated(1.0), "With a momentum of 1 only the last batch counts: `momentum = None` takes the plain average"),
    (_estimated(joined=True), "All batches at once is another estimate, and at full size it needs too much memory"),
]


# 06.3


def _by_hand(differences: Sequence[float]) -> float:
    """Equation (a) by going through all signs, in exact fractions of what is printed: nothing is rounded."""
    exact = [Fraction(str(difference)) for difference in differences]
    sums = [
        sum(s * d for s, d in zip(signs, exact, strict=True)) for signs in itertools.product((1, -1), repeat=len(exact))
    ]
    return sum(abs(float(total)) >= abs(float(sums[0])) for total in sums) / len(sums)


def _one_sided(differences: Sequence[float]) -> float:
    means = flipped_means(differences)
    return float((means >= means[0] - 1e-12).mean())


def _strictly(differences: Sequence[float]) -> float:
    means = np.abs(flipped_means(differences))
    return float((means > means[0] + 1e-12).mean())


def _sign_test(differences: Sequence[float]) -> float:
    return float(sign_flip_p(np.sign(differences)))


def _counted(differences: Sequence[float]) -> float:
    return float(sign_flip_p(differences)) * 2 ** len(differences)


def _draw_differences(rng: np.random.Generator) -> Case:
    """Two to eight differences in hundredths, so that many means are equal on paper."""
    return {"differences": (rng.integers(-9, 10, rng.integers(2, 9)) / 100).tolist()}


_DIFFERENCES = [
    {"differences": [0.02, 0.05, 0.01]},
    {"differences": [0.04, -0.01, 0.03]},
    {"differences": [-0.03, -0.02, 0.01, -0.06]},
    {"differences": [0.01, -0.05, 0.02, 0.01, 0.01]},
    {"differences": [0.1, 0.2, 0.3, -0.3, 0.1]},
    {"differences": [0.07, 0.07, -0.07, 0.0, 0.14]},
    {"differences": [0.03, 0.0002, 0.05]},
    {"differences": [0.0, 0.0, 0.0]},
    {"differences": [-0.04]},
]
_FLIP_MISTAKES = [
    (_one_sided, "That is one side only: a flip is as far from 0 when its mean is as far below it, too"),
    (_strictly, "The signs as they were measured are one of the choices, and count: p is never 0"),
    (_sign_test, "That counts signs alone: here a large difference weighs more than a small one"),
    (_counted, "That is their number: p is their share of all choices"),
]
_ROUNDED = (
    "Means that are equal on paper may differ in the last digit: compare with the measured one minus 1e-12, no more"
)


def _judge_test(answer: Any) -> Wrong | str | None:
    """As `like` does; but what differs by rounding alone is told so: it depends on the order of the sum."""
    wrong = _TEST.judge(answer)
    if isinstance(wrong, Wrong) and wrong.case:
        simple = [0.02, 0.05, 0.01], [0.04, -0.01, 0.03], [-0.0351, -0.0207, 0.0113, -0.0639], [0.011, -0.05, 0.023]
        right = all(compare(_by_hand, answer, {"differences": some}, 1e-9)[0] is None for some in simple)
        return Wrong(f"{wrong.words}. {_ROUNDED}", wrong.case) if right else wrong
    return wrong


_TEST = like(
    _by_hand,
    _DIFFERENCES,
    _FLIP_MISTAKES,
    draw=_draw_differences,
    draws=30,
    praise="It assumes nothing of how scores are distributed. With five seeds it never gives less than 0.0625.",
    part="the paired test",
    library=sign_flip_p,
)


# 06.4

_LEVELS = [
    {"level": 0.05, "tests": 1},
    {"level": 0.5, "tests": 1},
    {"level": 0.01, "tests": 1},
    {"level": 0.05, "tests": 9},
]


def _draw_level(rng: np.random.Generator) -> Case:
    return {"level": float(rng.choice([0.3, 0.1, 0.05, 0.01, 0.001])), "tests": int(rng.integers(1, 40))}


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
    (
        lambda level, tests: next(n for n in itertools.count(1) if 2.0 ** (1 - n) < level / tests),
        "p may be equal to the level: at most, not below",
    ),
    (
        lambda level, tests: tests * seeds_needed(level),
        "The questions are asked of the same seeds: they share the level, not the seeds",
    ),
]


# 06.5

_DRAWN = [0.12, 0.2, 0.13, 0.16, 0.05]
_TRIES = [{"scores": _DRAWN, "k": k} for k in (2, 1, 3, 5)]


def _draw_scores(rng: np.random.Generator) -> Case:
    scores = rng.integers(0, 30, rng.integers(1, 9)) / 100  # some of them equal
    return {"scores": scores.tolist(), "k": int(rng.integers(1, len(scores) + 1))}


def _expected_best(scores: Sequence[float], k: int) -> float:
    """By ranks: the i-th smallest, from 0, is the best of so many of all choices."""
    return sum(comb(rank, k - 1) * score for rank, score in enumerate(sorted(scores))) / comb(len(scores), k)


_BEST_MISTAKES = [
    (lambda scores, k: max(scores), "That is the best of all of them: which k are tried is left to chance"),
    (lambda scores, k: max(scores[:k]), "That takes the first k; every choice of k is as likely as these"),
    (
        lambda scores, k: float(np.mean([max(some) for some in itertools.product(scores, repeat=k)])),
        "That may draw one network twice: k different networks are trained",
    ),
    (lambda scores, k: float(np.mean(scores)), "That is what one network reaches on average: whatever is k for?"),
    (
        lambda scores, k: float(np.mean(sorted(scores)[-k:])),
        "That is the mean of the k best: take the largest of each choice, then the mean over choices",
    ),
    (
        lambda scores, k: float(
            np.mean([max(some) for some in itertools.combinations(sorted(set(scores)), min(k, len(set(scores))))])
        ),
        "Two networks with equal scores are two networks: a set forgets one",
    ),
]


# 06.6


def _slope(loss: Callable[..., Any]) -> Callable[..., Any]:
    """A loss with its gradient: by the embeddings."""

    def look(first: Tensor, second: Tensor, same: bool, margin: float) -> Any:
        inputs = first.requires_grad_(), second.requires_grad_()
        return _with_gradients(loss(first, second, same, margin), inputs)

    return look


def _with_gradients(cost: Any, inputs: Sequence[Tensor]) -> Any:
    if cost is None:
        return None
    slopes: Sequence[Tensor | None] = [None] * len(inputs)
    if isinstance(cost, Tensor) and cost.requires_grad and cost.numel() == 1:
        slopes = torch.autograd.grad(cost, list(inputs), allow_unused=True)
    filled = [torch.zeros_like(x) if slope is None else slope for x, slope in zip(inputs, slopes, strict=True)]
    return cost.detach() if isinstance(cost, Tensor) else cost, *filled


def _embeddings(seed: int, count: int = 4, size: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = nn.functional.normalize(torch.randn(2, count, size, generator=generator, dtype=torch.float64), dim=2)
    return {"first": drawn[0], "second": drawn[1]}


def _points(*pair: Sequence[float]) -> dict[str, Tensor]:
    first, second = (torch.tensor([point], dtype=torch.float64) for point in pair)
    return {"first": first, "second": second}


_SIAMESE: dict[str, Case] = {
    "an alike pair at the distance 1": {**_points([0, 0], [0.6, 0.8]), "same": True, "margin": 2.0},
    "an unlike pair at the distance 0.5": {**_points([0, 0], [0.3, 0.4]), "same": False, "margin": 2.0},
    "four alike pairs": {**_embeddings(0), "same": True, "margin": 2.0},
    "four unlike pairs": {**_embeddings(1), "same": False, "margin": 2.0},
    "unlike pairs, some further apart than the margin": {**_embeddings(2), "same": False, "margin": 1.0},
    "an alike pair at the distance 0": {**_points([0.6, 0.8], [0.6, 0.8]), "same": True, "margin": 2.0},
    "an unlike pair at the distance 0": {**_points([0.6, 0.8], [0.6, 0.8]), "same": False, "margin": 2.0},
}


def _draw_pairs(rng: np.random.Generator) -> Case:
    pairs = _embeddings(int(rng.integers(10_000)), int(rng.integers(1, 6)), int(rng.integers(2, 6)))
    return {**pairs, "same": bool(rng.integers(2)), "margin": float(rng.choice([0.5, 1.0, 2.0]))}


def _costs(alike: Callable[[Tensor], Tensor], unlike: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """Pairs that cost something else: `alike` of their squared distances, or `unlike` of these and the margin."""

    def cost(first: Tensor, second: Tensor, same: bool, margin: float) -> Tensor:
        squared = (first - second).square().sum(dim=1)
        return (alike(squared) if same else unlike(squared, margin)).mean()

    return cost


def _detached(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: loss(*arguments).detach()


def _square(squared: Tensor) -> Tensor:
    return squared


_NO_SLOPE = (
    "The value is right, but nothing can be learnt from it: no .item(), .detach(), .tolist(), .numpy() or no_grad() on "
    "the way"
)


def _rooted(root: Callable[[Tensor], Tensor]) -> Mistakes:
    """Slips of those who take the root of the squared distance this way."""
    return [
        (
            _costs(_square, lambda squared, margin: (margin - root(squared)).square()),
            "A pair that is further apart than the margin costs nothing: cut off below 0",
        ),
        (
            _costs(root, lambda squared, margin: (margin - root(squared)).clamp(min=0)),
            "Both branches of equation (c) are squared",
        ),
        (
            _costs(_square, lambda squared, margin: (margin - root(squared)).clamp(min=0)),
            "Both branches of equation (c) are squared",
        ),
        (
            lambda *of: (
                _costs(_square, lambda squared, margin: (margin - root(squared)).clamp(min=0).square())(*of)
                * len(of[0])
            ),
            "A mean over pairs: a sum would weigh more in a larger batch",
        ),
    ]


_SIAMESE_MISTAKES: Mistakes = [
    *_rooted(Tensor.sqrt),
    *_rooted(lambda squared: squared.clamp(min=1e-12).sqrt()),
    (
        _costs(_square, lambda squared, margin: (margin - squared).clamp(min=0).square()),
        "The margin is a distance: take the root before you subtract",
    ),
    (
        _costs(_square, lambda squared, margin: (margin - squared).clamp(min=0)),
        "The margin is a distance: take the root before you subtract, and square afterwards",
    ),
    (
        _costs(_square, lambda squared, margin: (margin - squared.sqrt()).clamp(min=0).square()),
        "The slope of a root at 0 is infinite, and gives nan: clamp below the root, as in notebook 03",
    ),
    (
        lambda first, second, same, margin: contrastive_loss(first, second, not same, margin),
        "The two branches are exchanged: alike pairs are drawn together",
    ),
    (
        lambda first, second, same, margin: contrastive_loss(first, second, same, margin) / first.shape[1],
        "Sum over the embedding, and take the mean over the pairs alone",
    ),
    (_detached(contrastive_loss), _NO_SLOPE),
]


# 06.7


class _Eye(nn.Module):
    """A Siamese net of one layer, in float64."""

    __name__ = "a small Siamese net"

    def __init__(self, seed: int) -> None:
        super().__init__()
        with seeded(seed):
            self.layer = nn.Linear(12, 3).double()

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.layer(images.flatten(1)))


def _slopes(loss: Callable[..., Any]) -> Callable[..., Any]:
    """A similarity term with its gradients: by both translations, and by the weights of the Siamese net."""

    def look(siamese: nn.Module, batch: Batch, margin: float) -> Any:
        inputs = batch.fake_target.requires_grad_(), batch.fake_source.requires_grad_(), *siamese.parameters()
        return _with_gradients(loss(siamese, batch, margin), inputs)

    return look


def _batch_of_images(seed: int, count: int, margin: float = 2.0) -> dict[str, Any]:
    drawn = torch.randn(4, count, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"siamese": _Eye(seed), "batch": Batch(*drawn), "margin": margin}


def _draw_translations(rng: np.random.Generator) -> Case:
    return _batch_of_images(int(rng.integers(10_000)), int(rng.integers(1, 5)), float(rng.choice([0.7, 1.5, 2.0])))


def _four(
    pairs: Sequence[tuple[str, str, bool]], weight: float = 0.25, fixed: Sequence[str] = ()
) -> Callable[..., Tensor]:
    """The similarity term of other pairs of "x", "y", "G(x)" and "F(y)"; `fixed` embeddings pass no gradient."""

    def loss(siamese: nn.Module, batch: Batch, margin: float) -> Tensor:
        of = {name: siamese(images) for name, images in zip(("x", "y", "G(x)", "F(y)"), batch, strict=True)}
        of |= {name: of[name].detach() for name in fixed}
        costs = [contrastive_loss(of[one], of[other], same, margin) for one, other, same in pairs]
        return weight * torch.stack(costs).sum()

    return loss


_ALIKE = [("x", "G(x)", True), ("y", "F(y)", True)]
_FOUR = [*_ALIKE, ("G(x)", "y", False), ("F(y)", "x", False)]
_SIMILARITY_MISTAKES: Mistakes = [
    (_four(_FOUR, 1.0), "That is the sum of the four kinds: take their mean"),
    (_four(_FOUR, 0.5), "Divide by 4, the number of kinds"),
    (_four(_ALIKE, 0.5), "The unlike pairs are missing: without them all embeddings may be one point"),
    (_four(_FOUR[::2], 0.5), "One direction is missing: F(y) has to keep its person, too"),
    (
        _four([*_ALIKE, ("x", "y", False)], 1 / 3),
        "x and y are images as they are: that pair teaches a generator nothing. Compare a translation with the other "
        "domain's image",
    ),
    (
        _four([*_ALIKE, ("G(x)", "x", False), ("F(y)", "y", False)]),
        "A translation and its own original are alike: the unlike pair has the other domain's image",
    ),
    (
        _four([("G(x)", "y", True), ("F(y)", "x", True), ("x", "G(x)", False), ("y", "F(y)", False)]),
        "Alike and unlike are exchanged",
    ),
    (_four(_FOUR, fixed=["G(x)", "F(y)"]), f"{_NO_SLOPE}: here the generators would get no gradient"),
    (_four(_FOUR, fixed=["x", "y"]), "The Siamese net learns from x and y, too: detach nothing"),
    (
        lambda siamese, batch, margin: similarity_loss(siamese, Batch(*map(Tensor.detach, batch)), margin),
        f"{_NO_SLOPE}: here the generators would get no gradient",
    ),
    (_detached(similarity_loss), _NO_SLOPE),
]


EXERCISES = {
    "06.1": Exercise(_judge_pairs, "Two pairs out of six, and neither crosses from the NAS rows to ResNet's."),
    "06.2": _seen_as(
        _aftermath,
        reestimate_statistics,
        _NETWORKS,
        _STATISTICS_MISTAKES,
        _LEFT,
        draw=_draw_network,
        draws=6,
        tolerance=1e-9,
        praise="Known as AdaBN (Li et al. 2016). Not one weight has moved, and not one label was read.",
        part="batch-norm re-estimation",
    ),
    "06.3": replace(_TEST, judge=_judge_test),
    "06.4": like(
        seeds_needed,
        _LEVELS,
        _SEED_MISTAKES,
        draw=_draw_level,
        praise="Five seeds can therefore never reach 5 % in this test, however clear they are.",
    ),
    "06.5": like(
        _expected_best,
        _TRIES,
        _BEST_MISTAKES,
        draw=_draw_scores,
        praise="Whoever reports the best has to say of how many.",
    ),
    "06.6": _seen_as(
        _slope,
        contrastive_loss,
        _SIAMESE,
        _SIAMESE_MISTAKES,
        ("the loss", "the loss is right, its gradient is not", "the loss is right, its gradient is not"),
        draw=_draw_pairs,
        praise="Unit vectors are 2 apart at most, so a margin of 2 never rests.",
        part="contrastive loss",
    ),
    "06.7": _seen_as(
        _slopes,
        similarity_loss,
        {
            "a batch of three": _batch_of_images(0, 3),
            "one image a domain, a margin of 0.7": _batch_of_images(1, 1, 0.7),
        },
        _SIMILARITY_MISTAKES,
        (
            "the loss",
            "the loss is right, its gradient by G(x) is not",
            "the loss is right, its gradient by F(y) is not",
            *["the loss is right, its gradient by the Siamese net's weights is not"] * 2,
        ),
        draw=_draw_translations,
        draws=8,
        praise="This term is all that SPGAN adds to CycleGAN.",
        part="SPGAN's similarity term",
    ),
}
