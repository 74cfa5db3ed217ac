"""Notebook 03: what the losses see, as pictures, and what judges the student's losses and sampler."""

import dataclasses
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor, nn

from nasda.course.judges import SECONDS, Draw, Exercise, NotAttempted, Wrong, difference, is_stub, like, show
from nasda.course.limits import within
from nasda.course.predict import Question
from nasda.data.sampling import sample_batch
from nasda.losses import mine_hardest, retrieval_loss, softmax_loss, triplet_loss
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
    return figure


def film(rows: Films, steps: Sequence[int], labels: Tensor, strangers: Tensor) -> Plot:
    """One row for each loss, one column for each step; a panel is the plane of features, of known and of strangers."""
    figure = Plot(8, 2.2 * len(rows))
    panels = figure.subplots(len(rows), len(steps), squeeze=False)
    for row, (name, found) in zip(panels, rows.items(), strict=True):
        row[0].set_ylabel(f"{name}\n$f_2$")
        for panel, step in zip(row, steps, strict=True):
            known, strange = found[step]
            _draw_plane(panel, known, labels, strange, strangers, size=16)
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


def _number(rng: np.random.Generator, most: float) -> float:
    return round(float(rng.uniform(0, most)), 3)


def _draw_triplet(rng: np.random.Generator) -> dict[str, Any]:
    return {"positive": _number(rng, 4), "negative": _number(rng, 2), "margin": _number(rng, 1)}


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


class _Sloped:
    """A loss as a function that returns its value and its gradients, to be compared with another one's.

    The case's last arguments are given by `keywords`. Where several images are equally hard, `tied`, a gradient is not
    the only right one; then it is only asked whether it consists of numbers.
    """

    def __init__(self, loss: Callable[..., Any], keywords: Sequence[str], tied: bool) -> None:
        self.loss, self.keywords, self.tied = loss, keywords, tied

    def __call__(self, *arguments: Any) -> Any:
        split = len(arguments) - len(self.keywords)
        inputs = [value for value in arguments if isinstance(value, Tensor) and value.is_floating_point()]
        for value in inputs:
            value.requires_grad_()
        loss = self.loss(*arguments[:split], **dict(zip(self.keywords, arguments[split:], strict=True)))
        if loss is None:
            return None
        slopes: list[Tensor | None] = [None] * len(inputs)
        if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1:
            slopes = list(torch.autograd.grad(loss, inputs, allow_unused=True))
        filled = [torch.zeros_like(value) if s is None else s for value, s in zip(inputs, slopes, strict=True)]
        found = float(loss.detach()) if isinstance(loss, Tensor) and loss.numel() == 1 else loss
        return (found, all(bool(s.isfinite().all()) for s in filled)) if self.tied else (found, *filled)


def _loss(
    reference: Callable[..., Tensor],
    smooth: Mapping[str, dict[str, Any]],
    ties: Mapping[str, dict[str, Any]],
    slips: Sequence[tuple[Callable[..., Any], str]],
    *,
    draw: Draw,
    gradients: Sequence[str],
    keywords: Sequence[str] = (),
    **of_exercise: Any,
) -> Exercise:
    """A loss to write: value and gradients agree on `smooth` and random cases, and on `ties` the values, while the
    gradients are numbers."""
    exercises = []
    for cases, tied in ((smooth, False), (ties, True)):
        sloped = partial(_Sloped, keywords=keywords, tied=tied)
        usual = [(sloped(slip), words) for slip, words in slips]
        exercises.append(like(sloped(reference), cases, usual, draw=None if tied else draw, **of_exercise))
    names = {"item 0: ": "the loss: "}
    for number, of_what in enumerate(gradients, 1):
        names[f"item {number}: "] = f"the loss is right, its gradient with respect to the {of_what} is not: "

    def judge(answer: Any) -> Wrong | None:
        for exercise, tied in zip(exercises, (False, True), strict=True):
            ready = callable(answer) and not is_stub(answer)
            wrong = exercise.judge(_Sloped(answer, keywords, tied) if ready else answer)
            if isinstance(wrong, Wrong):
                words = wrong.words.replace("item 1: expected True, yours gave False", "the gradient is not a number")
                for name, shown in names.items():
                    words = words.replace(name, shown)
                return Wrong(words, wrong.case)
        return None

    return dataclasses.replace(exercises[0], judge=judge)


def _points(count: int, seed: int, size: int = 3) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _batch(labels: Sequence[int], margin: float = 0.5, seed: int = 0) -> dict[str, Any]:
    return {"features": _points(len(labels), seed), "labels": torch.tensor(labels), "margin": margin}


def _draw_batch(rng: np.random.Generator) -> dict[str, Any]:
    """A batch of 4 to 12 images with at least one positive and one negative in it."""
    labels = [7, 7, *(int(x) for x in rng.choice([3, 7, 12, 1501], rng.integers(1, 10))), 12]
    order = rng.permutation(len(labels))
    features = torch.tensor(rng.normal(size=(len(labels), rng.integers(1, 6))) * rng.choice([0.2, 1.0, 3.0]))
    return {"features": features, "labels": torch.tensor(labels)[order], "margin": _number(rng, 1.5) - 0.5}


_ONE_POINT_TWICE = torch.tensor([[0, 0], [0.5, 0], [0, 0], [0.62, 0.05], [0.5, 0.3], [0.57, 0.41]], dtype=torch.float64)


_SMOOTH = {
    "step 1, distances (two identities, two images each)": _batch([0, 0, 1, 1]),
    "step 1, the slope at distance 0 (two images with the same feature)": {
        **_batch([0, 1, 0, 1, 2, 2], 0.8),
        "features": _ONE_POINT_TWICE,
    },
    "step 2, the masks (unsorted labels)": _batch([5, 1501, 5, 2, 1501, 2], seed=1),
    "step 3, the hardest (four images of an identity)": _batch([1, 0, 0, 1, 0, 1, 0, 1], seed=2),
    "step 4, the mean (some anchors have no positive)": _batch([0, 3, 1, 0, 2, 0], seed=3),
    "step 4, the mean (no image has a negative: loss and gradient are 0)": _batch([4, 4, 4]),
    "step 4, the mean (no image has a positive: loss and gradient are 0)": _batch([4, 2, 3]),
    "features of length 1": {
        **_batch([0, 1, 1, 0, 2, 2], 1.0),
        "features": nn.functional.normalize(_points(6, 5)),
    },
}
_CORNERS = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1], [0, 0]], dtype=torch.float64)
_TIES = {
    "the corners of a square, where several images are equally far": {
        "features": _CORNERS,
        "labels": torch.tensor([0, 1, 1, 0, 0]),
        "margin": 0.3,
    },
    "all features on one point": {**_batch([0, 1, 0, 1], 0.3), "features": torch.ones(4, 2, dtype=torch.float64)},
}


def _variant(
    *,
    positive: str = "amax",
    negative: str = "amin",
    itself: bool = False,
    squared: bool = False,
    bare: bool = False,
    detached: bool = False,
    reduce: Callable[[Tensor, Tensor, float], Tensor],
) -> Callable[..., Tensor]:
    """The batch-hard loss with one thing done otherwise: a usual slip. `reduce` gets gaps, who counts, and margin."""

    def loss(features: Tensor, labels: Tensor, margin: float) -> Tensor:
        square = (features.unsqueeze(1) - features.unsqueeze(0)).square().sum(dim=2)
        distances = square if squared else square.sqrt() if bare else square.clamp(min=1e-12).sqrt()
        same = labels.unsqueeze(1) == labels.unsqueeze(0)
        others = same if itself else same & ~torch.eye(len(labels), dtype=torch.bool)
        lost = {"amax": -torch.inf, "amin": torch.inf}
        farthest = getattr(distances.masked_fill(~others, lost[positive]), positive)(dim=1)
        nearest = getattr(distances.masked_fill(same, lost[negative]), negative)(dim=1)
        gap = (farthest - nearest).detach() if detached else farthest - nearest
        return reduce(gap, others.any(dim=1) & ~same.all(dim=1), margin)

    return loss


def _of_valid(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).sum() / valid.sum().clamp(min=1)


def _of_all(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).sum() / len(gap)


def _empty_is_nan(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).mean()


def _summed(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).sum()


def _printed(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return gap[valid].clamp(min=margin).sum() / valid.sum().clamp(min=1)


def _mean_first(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid].sum() / valid.sum().clamp(min=1)) * valid.any()


_TRIPLET_SLIPS = (
    (_variant(reduce=_printed), "This is eq. 8 as printed: it has no slope where d_p − d_n is below the margin"),
    (_variant(squared=True, reduce=_of_valid), "These are squared distances: take the root"),
    (
        _variant(bare=True, reduce=_of_valid),
        "The slope of a root at 0 is infinite, and each image is at distance 0 from itself: clamp below the root",
    ),
    (_variant(itself=True, reduce=_of_valid), "An image is not its own positive: take the diagonal out of the mask"),
    (_variant(positive="amin", reduce=_of_valid), "The hardest positive is the farthest one"),
    (_variant(negative="amax", reduce=_of_valid), "The hardest negative is the nearest one"),
    (
        _variant(reduce=_of_all),
        "Divide by the number of anchors that have a positive and a negative, not by that of all images",
    ),
    (_variant(reduce=_empty_is_nan), "A mean of nothing is nan: where no anchor counts, the loss is 0"),
    (_variant(reduce=_summed), "This is the sum: take the mean over the anchors that count"),
    (_variant(reduce=_mean_first), "The hinge belongs to each anchor: first max(0, …), then the mean"),
    (
        _variant(detached=True, reduce=_of_valid),
        "Your loss doesn't know where it came from: no .item(), .detach(), .tolist() or no_grad() on the way",
    ),
)


def _logits(count: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _both(labels: Sequence[int], margin: float, balance: float, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    batch = _batch(labels, margin, seed)
    logits = _logits(len(labels), seed + 10, scale)
    return {"features": batch["features"], "logits": logits, "labels": batch["labels"], **_weights(margin, balance)}


def _weights(margin: float, balance: float) -> dict[str, float]:
    return {"margin": margin, "balance": balance}


def _draw_both(rng: np.random.Generator) -> dict[str, Any]:
    labels = [int(x) for x in rng.permutation([0, 0, 5, *rng.integers(0, 6, rng.integers(1, 8))])]
    return _both(labels, _number(rng, 1), _number(rng, 1), int(rng.integers(1000)), float(rng.choice([0.3, 1, 5])))


_BOTH = {
    "step 1, eq. 7 alone (balance 1)": _both([0, 5, 0, 1, 5, 1], 0.3, 1.0),
    "step 1, eq. 7 with logits near 1000": _both([0, 5, 0, 1, 5, 1], 0.3, 1.0, 1, 1000.0),
    "step 2, eq. 8 alone (balance 0)": _both([0, 5, 0, 1, 5, 1], 0.3, 0.0, 2),
    "step 3, both (balance 0.25)": _both([0, 0, 2, 2, 2, 4, 4], 0.3, 0.25, 3),
}


def _mixed(
    names: Callable[[Tensor, Tensor], Tensor] = softmax_loss, *, of_logits: bool = False
) -> Callable[..., Tensor]:
    """Eq. 9 with another first term, or with the second one on the logits."""

    def loss(features: Tensor, logits: Tensor, labels: Tensor, *, margin: float, balance: float) -> Tensor:
        neighbours = triplet_loss(logits if of_logits else features, labels, margin)
        return balance * names(logits, labels) + (1 - balance) * neighbours

    return loss


def _swapped(features: Tensor, logits: Tensor, labels: Tensor, *, margin: float, balance: float) -> Tensor:
    return retrieval_loss(features, logits, labels, margin=margin, balance=1 - balance)


def _added(features: Tensor, logits: Tensor, labels: Tensor, *, margin: float, balance: float) -> Tensor:
    return balance * softmax_loss(logits, labels) + triplet_loss(features, labels, margin)


def _bare_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -shares[torch.arange(len(labels)), labels].log().mean()


def _summed_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, reduction="sum")


def _softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.softmax(dim=1), labels)


_RETRIEVAL_SLIPS = (
    (_mixed(_bare_softmax), "exp overflows: subtract each row's largest logit first, or take log_softmax"),
    (_mixed(_summed_softmax), "Eq. 7 is summed here: take the mean over the batch"),
    (_mixed(_softmax_twice), "Softmax is taken twice: cross_entropy has it inside"),
    (_mixed(of_logits=True), "The triplet loss is taken of the logits: the test compares the feature f"),
    (_swapped, "The two weights are exchanged: balance belongs to eq. 7"),
    (_added, "Eq. 8 has the weight 1 − balance"),
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
    """Images whose neighbour in the list is of the same identity."""
    around = ((labels[max(0, i - 1) : i], labels[i + 1 : i + 2]) for i in range(len(labels)))
    return sum(label in before or label in after for label, (before, after) in zip(labels, around, strict=True))


_USABLE_SLIPS = (
    (len, "An anchor takes another image of its identity, and one of somebody else"),
    (lambda labels: sum(labels.count(label) > 1 for label in labels), "These have a positive: have they a negative?"),
    (
        lambda labels: sum(labels.count(label) > 1 for label in set(labels)),
        "These are identities: count the images",
    ),
    (
        lambda labels: sum(labels.count(label) < len(labels) for label in labels),
        "These have a negative: have they a positive?",
    ),
    (_beside, "A positive may stand anywhere in the batch, not only beside the anchor"),
    (
        lambda labels: max(map(labels.count, labels), default=0),
        "These are the images of the largest identity: the others' count as well",
    ),
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


# -------------------------------------------------------------------------------------------------- the sampler's judge


class _Asked(NamedTuple):
    """A case of the sampler."""

    labels: Tensor
    identities: int
    images: int

    def case(self, seed: int) -> dict[str, Any]:
        return {**self._asdict(), "generator": torch.Generator().manual_seed(seed)}

    def sizes(self) -> dict[int, int]:
        return dict(zip(*(x.tolist() for x in self.labels.unique(return_counts=True)), strict=True))


def _of_sizes(sizes: Mapping[int, int], seed: int) -> Tensor:
    """Labels, shuffled: so many images of each identity."""
    labels = torch.tensor([identity for identity, size in sizes.items() for _ in range(size)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


_BATCHES = {
    "sorted labels": _Asked(torch.arange(5).repeat_interleave(4), 3, 2),
    "unsorted labels with gaps in their numbers": _Asked(_of_sizes({2: 4, 7: 5, 40: 4, 1501: 6}, 0), 2, 4),
    "every identity in the batch": _Asked(_of_sizes({0: 3, 1: 3, 2: 4}, 1), 3, 3),
    "one image an identity": _Asked(_of_sizes({3: 2, 5: 1, 6: 4}, 2), 2, 1),
    "identities with fewer than K images": _Asked(_of_sizes({1: 1, 4: 2, 9: 3, 11: 6}, 3), 4, 4),
}
_MANY = _Asked(_of_sizes({3: 1, 4: 2, 8: 3, 20: 4, 700: 6, 1501: 8}, 4), 2, 3)
_DRAWS = 900
_SIGMAS = 5


def _judge_sampler(answer: Any) -> Wrong | None:
    if not callable(answer):
        return Wrong(f"expected a function, found {show(answer)}")
    if is_stub(answer):
        raise NotAttempted
    for name, asked in _BATCHES.items():
        for seed in range(20):
            case = asked.case(seed)
            words = _wrong_batch(within(SECONDS, answer, *_copied(asked, case["generator"])), asked)
            if words:
                return Wrong(f"{name}, P = {asked.identities}, K = {asked.images}: {words}", case)
    words = _wrong_chance(answer) or _wrong_shares(answer)
    return Wrong(words, _MANY.case(0)) if words else None


def _copied(asked: _Asked, generator: torch.Generator) -> tuple[Any, ...]:
    return asked.labels.clone(), asked.identities, asked.images, generator


def _as_indices(found: Any) -> Tensor | None:
    """A batch as int64 (n,), whatever it was: a tensor, an array, a list of numbers or of tensors; None for others."""
    try:
        if isinstance(found, (list, tuple)):
            found = [int(index) for index in found]
        batch = torch.as_tensor(found)
        return batch.long() if batch.dim() == 1 and torch.equal(batch.long().to(batch.dtype), batch) else None
    except (TypeError, ValueError, RuntimeError):
        return None


def _wrong_batch(found: Any, asked: _Asked) -> str:
    """What is wrong with one batch; "" if nothing is."""
    count = asked.identities * asked.images
    if found is None:
        return "your function returned None: is there a `return`?"
    batch = _as_indices(found)
    if batch is None:
        return f"expected {count} indices in one row, yours gave {show(found)}"
    if len(batch) != count:
        return f"expected P·K = {count} indices, yours gave {len(batch)}: {show(batch)}"
    if not bool(((batch >= 0) & (batch < len(asked.labels))).all()):
        return f"expected indices from 0 to {len(asked.labels) - 1}, yours gave {show(batch)}: are these labels?"
    own = dict(zip(*(x.tolist() for x in asked.labels[batch].unique(return_counts=True)), strict=True))
    if len(own) != asked.identities or set(own.values()) != {asked.images}:
        times = ", ".join(f"{count} × identity {identity}" for identity, count in own.items())
        return f"expected K = {asked.images} images of each of {asked.identities} identities, yours has {times}"
    for identity in own:
        size = asked.sizes()[identity]
        different = len(batch[asked.labels[batch] == identity].unique())
        if different != min(size, asked.images):
            return (
                f"identity {identity} has {size} images, so of the {asked.images} drawn {min(size, asked.images)} are "
                f"different; yours has {different} different ones"
            )
    return ""


def _wrong_chance(answer: Callable[..., Any]) -> str:
    """Does anything but the generator decide; does the generator decide at all? "" if all is well."""

    def batches(seed: int, count: int = 3) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        found = [within(SECONDS, answer, *_copied(_MANY, generator)) for _ in range(count)]
        return [torch.as_tensor(_as_indices(batch)).tolist() for batch in found]

    before, found = _states(), []
    try:
        for seed in (1, 2):
            for seeded_anew in (torch.manual_seed, random.seed, np.random.seed):
                seeded_anew(seed)
            untouched = _states()
            found.append(batches(0))
            if any(difference(was, now, 0) for was, now in zip(untouched, _states(), strict=True)):
                return "your function draws from the global random state: hand `generator` to everything that draws"
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
    if found[0] != found[1]:
        return "generators with the same seed gave different batches: take all chance from `generator`"
    if found[0][0] == found[0][1] == found[0][2]:
        return "three calls with one generator gave the same batch three times: draw from it, and don't seed it anew"
    if found[0] == batches(1) == batches(2):
        return "generators with different seeds gave the same batches: take all chance from `generator`"
    return ""


def _states() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def _wrong_shares(answer: Callable[..., Any]) -> str:
    """Does every identity, pair of identities, image and pair of images come up as often as it should?"""
    generator = torch.Generator().manual_seed(0)
    found = within(SECONDS, lambda: [answer(*_copied(_MANY, generator)) for _ in range(_DRAWS)])
    batches = torch.stack([torch.as_tensor(_as_indices(batch)) for batch in found])
    drawn = torch.stack([(batches == index).sum(dim=1) for index in range(len(_MANY.labels))])  # (images, draws)
    sizes = _MANY.sizes()
    seen = {identity: drawn[_MANY.labels == identity].sum(dim=0) > 0 for identity in sizes}
    share = _MANY.identities / len(sizes)
    for identity, of_identity in seen.items():
        words = _far_off(int(of_identity.sum()), share, _DRAWS)
        if words:
            return f"each identity should be in {share:.0%} of the batches; identity {identity}, {words}"
    for one, other in itertools.combinations(sizes, 2):
        if not bool((seen[one] & seen[other]).any()):
            return f"identities {one} and {other} are never in one batch: draw each identity for itself"
    for identity, size in sizes.items():
        words = _wrong_images(drawn[_MANY.labels == identity][:, seen[identity]], size)
        if words:
            return f"identity {identity} has {size} images: {words}"
    return ""


def _wrong_images(drawn: Tensor, size: int) -> str:
    """`drawn` (images, draws): how often each image of an identity was drawn in the batches that have it."""
    times = drawn.shape[1]
    if size < _MANY.images:
        again = (drawn > 1).sum(dim=1)
        return "the same ones are always drawn again" if size > 1 and int(again.min()) < 0.2 * times else ""
    share = _MANY.images / size
    far = (_far_off(int((image > 0).sum()), share, times) for image in drawn)
    words = next((found for found in far if found), "")
    if words:
        return f"each should be drawn in {share:.0%} of its batches; one {words}"
    together = all(bool(((one > 0) & (other > 0)).any()) for one, other in itertools.combinations(drawn, 2))
    return "" if together else "some two of them are never drawn together"


def _far_off(count: int, share: float, draws: int) -> str:
    """Words where a count is farther from its expectation than chance allows."""
    sigma = (share * (1 - share) * draws) ** 0.5
    return f"was in {count} of {draws}" if abs(count - share * draws) > _SIGMAS * sigma else ""


EXERCISES = {
    "03.1": like(
        _hinge,
        [
            {"positive": 1.0, "negative": 0.5, "margin": 0.3},
            {"positive": 0.5, "negative": 0.6, "margin": 0.3},
            {"positive": 0.2, "negative": 1.0, "margin": 0.3},
            {"positive": 0.5, "negative": 0.5, "margin": 0.0},
            {"positive": 9.0, "negative": 0.5, "margin": 0.3},
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
    "03.2": _loss(
        partial(triplet_loss, literal=True),
        _SMOOTH,
        _TIES,
        _TRIPLET_SLIPS,
        draw=_draw_batch,
        gradients=["features"],
        praise="Value and gradient are the library's, to five digits, in float64",
        part="the triplet loss",
        library=triplet_loss,
    ),
    "03.3": _loss(
        retrieval_loss,
        _BOTH,
        {"all features on one point": {**_both([0, 1, 0, 1], 0.3, 0.5), "features": torch.ones(4, 2).double()}},
        _RETRIEVAL_SLIPS,
        draw=_draw_both,
        gradients=["features", "logits"],
        keywords=("margin", "balance"),
        praise="This loss trains ω and α in the paper: notebook 04 searches with it",
        part="the retrieval loss",
        library=retrieval_loss,
    ),
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
        draw=lambda rng: {"balance": _number(rng, 1), "batch": int(rng.integers(1, 257))},
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
    "03.5": Exercise(
        _judge_sampler,
        f"Identities, images and pairs of them come up as often as they should in {_DRAWS} batches, and nothing but "
        "the generator decides",
        "the P×K sampler",
        sample_batch,
    ),
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
        draw=lambda rng: {"labels": rng.integers(0, rng.integers(1, 7), rng.integers(0, 10)).tolist()},
        praise="§3.1's validation set, a picture of each identity, gives 0 in every batch that can be drawn from it",
    ),
    "03.7": Exercise(
        _judge_standstill,
        "All features have fallen on one point, so d_p = d_n = 0 for every anchor. With eq. 8 as printed, the same "
        "number would be its best value: before a loss is watched, its best and its worst standstill have to be known",
    ),
}
