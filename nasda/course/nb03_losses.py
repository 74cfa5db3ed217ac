"""Notebook 03: what the losses see, as pictures, and what judges the student's losses and sampler."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from nasda.course.judged_losses import RETRIEVAL, TRIPLET, number_below
from nasda.course.judged_sampler import SAMPLER
from nasda.course.judges import Exercise, difference, like, show
from nasda.course.predict import Question
from nasda.losses import mine_hardest
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION
from nasda.pictures.plots import SMALL, Plot, dress

_KNOWN = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
_STRANGERS = ("s", "^", "D", "v")
_FRAMES: tuple[dict[str, Any], ...] = (  # of the hardest positive, and of the hardest negative
    {"fill": False, "edgecolor": BLUE, "linewidth": 1.8},
    {"fill": False, "edgecolor": VERMILLION, "linewidth": 1.8, "linestyle": (0, (2, 1))},
)
Films = Mapping[str, Mapping[int, Sequence[Tensor]]]  # by loss and step: features of the known, and of strangers

RECALL = (
    Question("b", "α learns on the target, ω on the source, eqs. 3 and 4: notebook 00, *The paper's idea*."),
    Question(
        "a",
        "Eq. 5 adds two operations; the cell's output joins its nodes: notebook 01, *A cell is a directed "
        "acyclic graph*.",
    ),
    Question("c", "A choice jumps, so no gradient says where to go: notebook 02, *A choice has no slope*."),
)


# -------------------------------------------------------------------------------------------------------- pictures


def landscapes(margin: float, most: float = 1.5) -> Plot:
    """Eq. 8 for one triplet as printed and in its usual form, over both distances; grey where there is no slope."""
    figure = Plot(7.6, 3.1)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    line = torch.linspace(0, most, 151)
    positive, negative = torch.meshgrid(line, line, indexing="xy")
    printed = (positive - negative).clamp(min=margin)
    usual = (margin + positive - negative).clamp(min=0)
    levels = torch.linspace(0, most + 1, 11).tolist()
    for panel, loss, flat in ((panels[0], printed, printed <= margin), (panels[1], usual, usual <= 0)):
        panel.contourf(positive, negative, loss, levels=levels, cmap="YlOrBr", vmax=most)
        panel.contourf(positive, negative, flat, levels=(0.5, 1.5), colors="#E4E4E4")
        panel.plot((0, most), (0, most), color=INK, linestyle="--", linewidth=1)
        _downhill(panel, flat, most)
        panel.set_aspect("equal")
        panel.set(xlabel="$d_p$ (same identity)", xlim=(0, most), ylim=(0, most))
    panels[0].set_ylabel("$d_n$ (another one)")
    panels[0].text(0.05 * most, 0.88 * most, "grey: no slope", fontsize=SMALL)
    panels[0].text(0.28 * most, 0.32 * most, "$d_p = d_n$", fontsize=SMALL, rotation=45, ha="center", va="center")
    panels[0].set_title("as printed")
    panels[1].set_title("usual form")
    gap = torch.linspace(-most, most, 301)
    panels[2].plot(gap, gap.clamp(min=margin), color=VERMILLION, label="printed")
    panels[2].plot(gap, (margin + gap).clamp(min=0), color=BLUE, linestyle="--", label="usual form")
    panels[2].axvline(0, color=GREY, linewidth=1)
    panels[2].set(xlim=(-most, most), ylim=(-0.1, most + 1))
    dress(panels[2], "$d_p - d_n$", "loss of the triplet", "side by side", grid="", legend="best")
    figure.alt = (
        f"Eq. 8 for one triplet over both distances: as printed grey, without a slope, where d_p − d_n is below "
        f"{margin:.1f}, in the usual form where it is below {-margin:.1f}. Arrows: a smaller d_p, a larger d_n."
    )
    for panel in panels:
        panel.set_box_aspect(1)
        panel.tick_params(labelsize=SMALL)
    return figure


def _downhill(panel: Axes, flat: Tensor, most: float) -> None:
    """Arrows of gradient descent where there is a slope: a smaller d_p, a larger d_n."""
    places = torch.linspace(0.1, 0.9, 6) * most
    for x in places.tolist():
        for y in places.tolist():
            if not flat[round(y / most * 150), round(x / most * 150)]:
                tip = x - 0.06 * most, y + 0.06 * most
                panel.annotate("", tip, (x, y), arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 0.9})


def mined_batch(images: Tensor, distances: Tensor, labels: Tensor, margin: float) -> Plot:
    """A batch's distance matrix with each anchor's mined pairs framed, and beside it each anchor's loss.

    images: uint8 (B, 3, H, W), of which the first of each identity is shown; distances (B, B); labels (B,), identity
    by identity as the sampler gives them.
    """
    mined = mine_hardest(distances, labels)
    count, size = len(labels), 3.9
    figure = Plot(7.6, 5.3)
    figure.set_layout_engine("none")

    def place(left: float, bottom: float, width: float, height: float) -> Axes:
        return figure.add_axes((left / 7.6, bottom / 5.3, width / 7.6, height / 5.3))

    matrix = place(1.35, 0.95, size, size)
    shown = matrix.imshow(distances.numpy(), cmap="Greys_r", interpolation="nearest", vmin=0)
    for anchor in torch.nonzero(mined.valid).flatten().tolist():
        for column, looks in zip((mined.positive_index, mined.negative_index), _FRAMES, strict=True):
            corner = int(column[anchor]) - 0.46, anchor - 0.46
            matrix.add_patch(Rectangle(corner, 0.92, 0.92, clip_on=False, **looks))
    matrix.set_xticks([])
    matrix.set_yticks([])
    matrix.set_xlabel("a row for each anchor, a column for each image")
    _first_images(place(0.3, 0.95, 1.0, size), images, labels, rows_per_inch=count / size)
    bar = figure.colorbar(shown, cax=place(1.35, 0.6, size, 0.1), orientation="horizontal")
    bar.set_label("distance of two features f")
    bar.ax.tick_params(labelsize=SMALL)
    _anchor_losses(place(5.45, 0.95, 1.95, size), mined.positive, mined.negative, mined.valid, margin)
    frames = [Patch(**looks) for looks in _FRAMES]
    names = ["farthest of the same identity", "nearest of another"]
    farther = int((mined.positive > mined.negative)[mined.valid].sum())
    figure.alt = (
        f"Distances of {count} images, 0 to {float(distances.max()):.2g}, each anchor's mined pair framed; of "
        f"{int(mined.valid.sum())} anchors with a pair {farther} have the positive farther. Bars: the anchors' losses."
    )
    figure.legend(frames, names, loc="upper left", bbox_to_anchor=(0.165, 1), ncols=2, frameon=False)
    return figure


def _first_images(panel: Axes, images: Tensor, labels: Tensor, rows_per_inch: float) -> None:
    """The first image of each identity, beside its rows, as large as fits a strip one inch wide."""
    _, _, height, width = images.shape
    for label in labels.unique(sorted=False).tolist():
        rows = torch.nonzero(labels == label).flatten()
        tall = min(0.96 * len(rows), rows_per_inch * height / width)
        wide = tall / rows_per_inch * width / height
        middle = float(rows.double().mean())
        extent = (1 - wide, 1, middle + tall / 2, middle - tall / 2)
        panel.imshow(images[int(rows[0])].permute(1, 2, 0).numpy(), extent=extent, aspect="auto")
    panel.set(xlim=(0, 1), ylim=(len(labels) - 0.5, -0.5))
    panel.set_axis_off()


def _anchor_losses(panel: Axes, positive: Tensor, negative: Tensor, valid: Tensor, margin: float) -> None:
    loss = torch.where(valid, (margin + positive - negative).clamp(min=0), torch.zeros_like(positive))
    panel.barh(range(len(loss)), loss.tolist(), height=0.8, color=ORANGE)
    panel.axvline(margin, color=INK, linestyle="--", linewidth=1)
    panel.set(ylim=(len(loss) - 0.5, -0.5), xlim=(0, max(1.15 * float(loss.max()), 1.3 * margin, 0.1)))
    panel.set_yticks([])
    dress(panel, "loss of each anchor\n(dashed: $d_p = d_n$)", grid="")


def _draw_plane(panel: Axes, known: Tensor, labels: Tensor, strange: Tensor, strangers: Tensor, size: float) -> None:
    """The plane of features: a colour and a number for each known identity, an open mark for each stranger."""
    for index, label in enumerate(labels.unique()):
        x, y = known[labels == label].T
        panel.scatter(x, y, s=size, marker=f"${index + 1}$", color=_KNOWN[index % len(_KNOWN)], linewidths=0.3)
    for index, label in enumerate(strangers.unique()):
        x, y = strange[strangers == label].T
        marker = _STRANGERS[index % len(_STRANGERS)]
        panel.scatter(x, y, s=0.7 * size, marker=marker, facecolors="none", edgecolors=INK, linewidths=0.8)
    panel.set_aspect("equal", adjustable="datalim")
    panel.tick_params(labelsize=SMALL)
    panel.locator_params(nbins=4)


def snapshot(known: Tensor, labels: Tensor, strange: Tensor, strangers: Tensor) -> Plot:
    """Features (N, 2) of images whose identities a network is trained on, and of strangers', with their labels."""
    figure = Plot(6, 4.4)
    panel = figure.subplots()
    _draw_plane(panel, known, labels, strange, strangers, size=45)
    panel.set(xlabel="$f_1$", ylabel="$f_2$")
    figure.alt = f"The plane of features: {_spread(known, labels)}."
    return figure


def _spread(features: Tensor, labels: Tensor) -> str:
    """How far the known identities lie apart, and how wide they are, in words."""
    groups = [features[labels == label] for label in labels.unique()]
    means = torch.stack([group.mean(dim=0) for group in groups])
    width = torch.cat([(group - mean).norm(dim=1) for group, mean in zip(groups, means, strict=True)]).mean()
    nearest = torch.pdist(means).min()
    return f"means of {len(groups)} known identities at least {nearest:.2g} apart, images {width:.2g} from their own"


def film(rows: Films, steps: Sequence[int], labels: Tensor, strangers: Tensor) -> Plot:
    """One row for each loss, one column for each step; a panel is the plane of features, of known and of strangers."""
    figure = Plot(8, 2.2 * len(rows))
    panels = figure.subplots(len(rows), len(steps), squeeze=False)
    for row, (name, found) in zip(panels, rows.items(), strict=True):
        row[0].set_ylabel(f"{name}\n$f_2$")
        for panel, step in zip(row, steps, strict=True):
            known, strange = found[step]
            _draw_plane(panel, known, labels, strange, strangers, size=16)
    last = "; ".join(f"{name}: {_spread(found[steps[-1]][0], labels)}" for name, found in rows.items())
    figure.alt = f"Planes of features after {', '.join(map(str, steps))} steps. In the last, {last}."
    for panel, step in zip(panels[0], steps, strict=True):
        panel.set_title(f"after {step} steps")
    for panel in panels[-1]:
        panel.set_xlabel("$f_1$")
    marks = [
        Line2D([], [], linestyle="", marker="$1$", color=BLUE),
        Line2D([], [], linestyle="", marker="s", markerfacecolor="none", color=INK),
    ]
    names = ["trained on (a number each)", "strangers (a shape each)"]
    figure.legend(marks, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def scores(rows: dict[str, list[float]], floors: dict[str, float]) -> Plot:
    """mAP in percent: a bar for the mean over seeds, a dot for each, joined from row to row; floors as lines."""
    figure = Plot(7.6, 0.9 + 0.5 * len(rows))
    panel = figure.subplots()
    for height, values in enumerate(rows.values()):
        mean = sum(values) / len(values)
        panel.barh(height, 100 * mean, height=0.6, color=SKY, alpha=0.6)
    heights = range(len(rows))
    for of_seed in zip(*rows.values(), strict=True):
        panel.plot([100 * value for value in of_seed], heights, "o-", color=INK, markersize=5, linewidth=0.8)
    for (name, value), style in zip(floors.items(), (":", "--"), strict=False):
        panel.axvline(100 * value, color=VERMILLION, linestyle=style, linewidth=1.5, label=f"floor: {name}")
    panel.set_yticks(range(len(rows)), rows)
    panel.invert_yaxis()
    panel.set_xlim(0, 100)
    dress(panel, "mAP on strangers, % (bar: mean; joined dots: one seed)", grid="", legend="lower right")
    return figure


# ---------------------------------------------------------------------------------------------------------- exercises


def _draw_triplet(rng: np.random.Generator) -> dict[str, Any]:
    return {"positive": number_below(rng, 4), "negative": number_below(rng, 2), "margin": number_below(rng, 1)}


def _hinge(positive: float, negative: float, margin: float) -> float:
    return max(0.0, margin + positive - negative)


_HINGE_SLIPS = (
    (
        lambda positive, negative, margin: max(margin, positive - negative),
        "This is the printed form: where d_p − d_n is below the margin it has no slope. Move the margin into the "
        "difference, and let the loss end at 0",
    ),
    (
        lambda positive, negative, margin: margin + positive - negative,
        "Where there is room enough the loss is 0, not less",
    ),
    (lambda positive, negative, margin: max(0.0, positive - negative), "Where does the margin come in?"),
    (
        lambda positive, negative, margin: max(0.0, margin + negative - positive),
        "The signs of the two distances are exchanged: a far positive is what costs",
    ),
    (
        lambda positive, negative, margin: max(0.0, positive - negative - margin),
        "This asks for a negative margin: a positive that is a little too far costs nothing",
    ),
)


def _balance_in_effect(balance: float, batch: int) -> float:
    return balance * batch / (balance * batch + 1 - balance)


_BALANCE_SLIPS = (
    (lambda balance, batch: balance, "A sum over a batch is `batch` times the mean: that factor has to be somewhere"),
    (lambda balance, batch: balance * batch, "This is the weight of eq. 7; a λ is its share of both weights together"),
    (
        lambda balance, batch: balance / (balance + (1 - balance) * batch),
        "The factor stands at the wrong term: the sum is in eq. 7",
    ),
    (lambda balance, batch: balance / batch, "The sum makes eq. 7 heavier, not lighter"),
    (
        lambda balance, batch: balance * batch / (batch + 1),
        "Eq. 8 keeps the weight 1 − balance, not 1: divide by the sum of the two weights",
    ),
    (
        lambda balance, batch: 1 - (1 - balance) / batch,
        "Dividing both weights by `batch` gives balance and (1 − balance) / batch. They do not add up to 1 yet",
    ),
)


def _usable_anchors(labels: Sequence[int]) -> int:
    return sum(1 < labels.count(label) < len(labels) for label in labels)


def _beside(labels: Sequence[int]) -> int:
    """Images whose neighbour in the list is of the same identity, if there is another identity at all."""
    around = ((labels[max(0, i - 1) : i], labels[i + 1 : i + 2]) for i in range(len(labels)))
    found = sum(label in before or label in after for label, (before, after) in zip(labels, around, strict=True))
    return found if len(set(labels)) > 1 else 0


def _largest(labels: Sequence[int]) -> int:
    """Images of the identities that have most, if there are others."""
    most = max(map(labels.count, labels), default=0)
    return sum(labels.count(label) == most for label in labels) if 1 < most < len(labels) else 0


_USABLE_SLIPS = (
    (len, "An anchor takes another image of its identity, and one of somebody else"),
    (lambda labels: sum(labels.count(label) > 1 for label in labels), "These have a positive: have they a negative?"),
    (lambda labels: sum(labels.count(label) > 1 for label in set(labels)), "These are identities: count the images"),
    (
        lambda labels: sum(labels.count(label) < len(labels) for label in labels),
        "These have a negative: have they a positive?",
    ),
    (_beside, "A positive may stand anywhere in the batch, not only beside the anchor"),
    (_largest, "These are the images of the largest identity: the others' count as well"),
)

_STANDSTILL = {
    "a": "Then every d_p − d_n would be below −0.3, and the loss of every anchor 0, not 0.3.",
    "c": "Then the anchors that are not satisfied would have to make up for the others by an exact 0.6, epoch after "
    "epoch. What makes every single anchor's loss 0.3?",
    "d": "Random features that differ have hardest positives farther than hardest negatives, so the loss would lie "
    "above the margin, and it would move.",
}
_ONE_LETTER = 'Give one letter in quotes: "a", "b", "c" or "d".'


def _judge_standstill(answer: Any) -> str | None:
    """A letter, also alone in a set, list or tuple."""
    alone = isinstance(answer, (set, frozenset, list, tuple)) and len(answer) == 1
    letter = next(iter(answer)) if alone else answer
    if difference("b", letter) is None:
        return None
    said = (words for slip, words in _STANDSTILL.items() if difference(slip, letter) is None)
    return f"{show(answer)} is not it. {next(said, _ONE_LETTER)}"


EXERCISES = {
    "03.1": like(
        _hinge,
        [
            {"positive": 1.0, "negative": 0.5, "margin": 0.3},
            {"positive": 0.5, "negative": 0.6, "margin": 0.3},
            {"positive": 0.2, "negative": 1.0, "margin": 0.3},
            {"positive": 0.5, "negative": 0.5, "margin": 0.0},
            {"positive": 1000.0, "negative": 0.5, "margin": 0.3},
        ],
        _HINGE_SLIPS,
        draw=_draw_triplet,
        advice=(
            "The positive is 0.5 farther than the negative, and 0.3 nearer is asked for: 0.8 are missing",
            "The order is right, but the room between them is 0.1 of 0.3: 0.2 are missing",
            "There is room enough: nothing is missing",
            "With the margin 0 equal distances are enough",
            "The worse a triplet is, the larger its loss: there is no upper end",
        ),
        praise="Now look back at the printed form: it is margin + triplet(positive, negative, −margin). It asks for a "
        "margin, too, but for a negative one",
    ),
    "03.2": TRIPLET,
    "03.3": RETRIEVAL,
    "03.4": like(
        _balance_in_effect,
        [
            {"balance": 0.5, "batch": 32},
            {"balance": 0.5, "batch": 1},
            {"balance": 0.1, "batch": 64},
            {"balance": 0.0, "batch": 16},
            {"balance": 1.0, "batch": 16},
        ],
        _BALANCE_SLIPS,
        draw=lambda rng: {"balance": number_below(rng, 1), "batch": int(rng.integers(1, 257))},
        advice=(
            "Write the loss as a·L_s + b·L_t with both means; λ is a / (a + b)",
            "For a batch of 1 sum and mean are the same",
            "a = 0.1 · 64 and b = 0.9",
            "Without eq. 7 a sum in it changes nothing",
            "Without eq. 8 there is nothing to balance: λ is 1",
        ),
        praise=f"The paper's λ = 0.5 with its batch of 64 would in effect be {_balance_in_effect(0.5, 64):.3f}: hardly "
        "any triplet left",
    ),
    "03.5": SAMPLER,
    "03.6": like(
        _usable_anchors,
        [
            {"labels": [0, 0, 1, 1]},
            {"labels": [0, 0, 0, 1, 2]},
            {"labels": [0, 1, 2, 0, 1, 2]},
            {"labels": [3, 3, 3, 3]},
            {"labels": list(range(8))},
            {"labels": []},
        ],
        _USABLE_SLIPS,
        advice=(
            "Each image has one of its identity and two of another",
            "Only identity 0 has more than one image",
            "A positive may stand anywhere in the batch",
            "Without another identity there is no negative",
            "Without a second image of an identity there is no positive",
            "An empty batch has no anchors",
        ),
        draw=lambda rng: {"labels": rng.integers(0, rng.integers(1, 7), rng.integers(0, 10)).tolist()},
        praise="§3.1's validation set, a picture of each identity, gives 0 in every batch that can be drawn from it",
    ),
    "03.7": Exercise(
        _judge_standstill,
        "All features have fallen on one point, so d_p = d_n = 0 for every anchor. With eq. 8 as printed, the same "
        "number would be its best value: before a loss is watched, its best and its worst standstill have to be known",
    ),
}
