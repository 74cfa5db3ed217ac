"""Notebook 03: a small network and its training with any of the losses, and what the losses see, as pictures."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor, nn

from nasda.course.judges import Exercise, like, show
from nasda.course.open import Course
from nasda.data.batches import Batches
from nasda.devices import seeded
from nasda.losses import mine_hardest, pairwise_distances, softmax_loss, triplet_loss
from nasda.networks import EmbeddingHead, ReIDNetwork
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION
from nasda.pictures.plots import SMALL, Plot, dress
from nasda.runs import RunFolder, as_config, finite, run_epochs, seen
from nasda.settings import changed
from nasda.training import Training

EPOCHS = 8
WIDTH = 64  # numbers in the feature f
_KNOWN = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
_STRANGERS = ("s", "^", "D", "v")


class SmallNetwork(ReIDNetwork):
    """Three convolutions of stride 2, four stripes of the image averaged, and one linear layer: f (B, width)."""

    def __init__(self, width: int, classes: int, seed: int, channels: int = 12) -> None:
        super().__init__()
        with seeded(seed):
            layers: list[nn.Module] = []
            for before, after in ((3, channels), (channels, 2 * channels), (2 * channels, 4 * channels)):
                layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.AdaptiveAvgPool2d((4, 1)), nn.Flatten(), nn.Linear(16 * channels, width)]
            self.body = nn.Sequential(*layers)
            self.head = EmbeddingHead(width, 32, classes, dropout=0.0)

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features


def printed_triplet_loss(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Eq. 8 as printed, except for the mean and the hardest negative: mean over anchors of max(margin, d_p − d_n)."""
    mined = mine_hardest(pairwise_distances(features), labels)
    return (mined.positive - mined.negative).clamp(min=margin).mean()


class _Told(Training):
    """`Training` that can also take eq. 8 as it is printed, and shows no progress bar for its many short epochs."""

    printed = False

    def epoch(self, index: int) -> dict[str, Any]:
        self.network.train()
        loss = torch.stack([self.step(index, step) for step in range(self.steps)]).mean()
        return {"epoch": index + 1, "loss": finite(loss, "the training loss", "lower the learning rate")}

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        triplet = printed_triplet_loss if self.printed else triplet_loss
        features, logits = self.network(images)
        balance = self.settings.balance
        return balance * softmax_loss(logits, labels) + (1 - balance) * triplet(features, labels, self.settings.margin)


def untrained(course: Course, seed: int) -> ReIDNetwork:
    """The small network as it begins, for the identities of the target's training images."""
    classes = len({sample.pid for sample in course.task.target.train})
    return SmallNetwork(WIDTH, classes, seed).to(course.device).eval()


def trained(course: Course, balance: float, seed: int, *, printed: bool = False) -> ReIDNetwork:
    """The small network after `EPOCHS` epochs on the target's training images with eq. 9 and λ = `balance`.

    `printed` takes eq. 8 as the paper prints it. The run has a folder of its own among the experiment's; a run that
    is already there is continued or, when it is finished, read.
    """
    chosen = changed(course.settings, train={"train_on": "target", "epochs": EPOCHS, "balance": balance})
    settings = chosen.train
    name = f"balance-{balance:.2f}{'-printed' if printed else ''}-seed{seed}"
    folder = RunFolder(course.experiment.path / "notebook-03" / name)
    data = course.settings.data
    train = course.task.target.train
    sizes = settings.identities, settings.images
    batches = Batches(train, data, *sizes, seed=seed, device=course.device, augmented=True, fewer_identities=True)
    run = _Told(SmallNetwork(WIDTH, batches.classes, seed), batches, chosen, seed=seed, device=course.device)
    run.printed = printed
    parts = {"train": settings, "data": data, "seen": seen(course.task, "target")}
    folder.begin(as_config(kind="notebook-03", task=course.task.name, seed=seed, printed=printed, **parts))
    with redirect_stdout(io.StringIO()):  # many short runs would print a line for each epoch
        run_epochs(folder, run, settings.epochs, str)
    return run.network.eval()


# -------------------------------------------------------------------------------------------------------- pictures


def landscapes(margin: float, most: float = 1.5) -> Plot:
    """Eq. 8 for one triplet as printed and as corrected, over both distances; grey where there is no slope."""
    figure = Plot(7.6, 3.1)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    line = torch.linspace(0, most, 151)
    positive, negative = torch.meshgrid(line, line, indexing="xy")
    printed = (positive - negative).clamp(min=margin)
    corrected = (margin + positive - negative).clamp(min=0)
    levels = torch.linspace(0, most + 1, 11).tolist()
    for panel, loss, flat in ((panels[0], printed, printed <= margin), (panels[1], corrected, corrected <= 0)):
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
    panels[1].set_title("corrected")
    gap = torch.linspace(-most, most, 301)
    panels[2].plot(gap, gap.clamp(min=margin), color=VERMILLION, label="printed")
    panels[2].plot(gap, (margin + gap).clamp(min=0), color=BLUE, linestyle="--", label="corrected")
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
        for column, colour in ((mined.positive_index, BLUE), (mined.negative_index, VERMILLION)):
            corner = int(column[anchor]) - 0.46, anchor - 0.46
            matrix.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=colour, linewidth=1.8, clip_on=False))
    matrix.set_xticks([])
    matrix.set_yticks([])
    matrix.set_xlabel("a row for each anchor, a column for each image")
    _first_images(place(0.3, 0.95, 1.0, size), images, labels, rows_per_inch=count / size)
    bar = figure.colorbar(shown, cax=place(1.35, 0.6, size, 0.1), orientation="horizontal")
    bar.set_label("distance of two features f")
    bar.ax.tick_params(labelsize=SMALL)
    _anchor_losses(place(5.45, 0.95, 1.95, size), mined.positive, mined.negative, mined.valid, margin)
    frames = [Patch(fill=False, edgecolor=c, linewidth=1.8) for c in (BLUE, VERMILLION)]
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


class Snapshot(NamedTuple):
    """Features (N, 2) of images whose identities the network is trained on, and of strangers'; labels (N,) of both."""

    known: Tensor
    labels: Tensor
    strange: Tensor
    strange_labels: Tensor

    def found(self) -> tuple[float, float]:
        """How often an image's nearest neighbour shows the same identity: among the known, and among strangers."""
        return nearest_is_same(self.known, self.labels), nearest_is_same(self.strange, self.strange_labels)


def nearest_is_same(features: Tensor, labels: Tensor) -> float:
    """The share of images whose nearest neighbour shows the same identity."""
    distances = pairwise_distances(features).fill_diagonal_(torch.inf)
    return float((labels[distances.argmin(dim=1)] == labels).double().mean())


def draw_snapshot(panel: Axes, snapshot: Snapshot, size: float = 16) -> None:
    """The plane of features: a colour for each known identity, an open mark for each stranger."""
    for index, label in enumerate(snapshot.labels.unique().tolist()):
        x, y = snapshot.known[snapshot.labels == label].T
        panel.scatter(x, y, s=size, color=_KNOWN[index % len(_KNOWN)])
    for index, label in enumerate(snapshot.strange_labels.unique().tolist()):
        x, y = snapshot.strange[snapshot.strange_labels == label].T
        marker = _STRANGERS[index % len(_STRANGERS)]
        panel.scatter(x, y, s=size, marker=marker, facecolors="none", edgecolors=INK, linewidths=0.8)
    panel.set_aspect("equal", adjustable="datalim")
    panel.tick_params(labelsize=SMALL)
    panel.locator_params(nbins=4)


def film(rows: dict[str, dict[int, Snapshot]], steps: Sequence[int]) -> Plot:
    """One row for each loss, one column for each step; a panel is the plane of features."""
    figure = Plot(8, 2.2 * len(rows))
    panels = figure.subplots(len(rows), len(steps), squeeze=False)
    for row, (name, snapshots) in zip(panels, rows.items(), strict=True):
        row[0].set_ylabel(f"{name}\n$f_2$")
        for panel, step in zip(row, steps, strict=True):
            draw_snapshot(panel, snapshots[step], size=9)
    for panel, step in zip(panels[0], steps, strict=True):
        panel.set_title(f"after {step} steps")
    for panel in panels[-1]:
        panel.set_xlabel("$f_1$")
    marks = [
        Line2D([], [], linestyle="", marker="o", color=BLUE),
        Line2D([], [], linestyle="", marker="s", markerfacecolor="none", color=INK),
    ]
    names = ["trained on (a colour each)", "strangers (a shape each)"]
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


def _hardest(distances: Tensor, labels: Tensor) -> list[tuple[int | None, int | None]]:
    mined = mine_hardest(distances, labels)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    some = same.sum(dim=1) > 1, (~same).any(dim=1)
    found = zip(mined.positive_index.tolist(), mined.negative_index.tolist(), *(x.tolist() for x in some), strict=True)
    return [(p if has_p else None, n if has_n else None) for p, n, has_p, has_n in found]


def _distances(count: int, seed: int) -> Tensor:
    points = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cdist(points, points)


def _balance_in_effect(balance: float, batch: int) -> float:
    return balance * batch / (balance * batch + 1 - balance)


_STANDSTILL = {
    "a": "Then every d_p − d_n would be below −0.3, and the loss of every anchor 0, not 0.3.",
    "c": "Then the anchors that are not satisfied would have to make up for the others by an exact 0.6, epoch after "
    "epoch. What makes every single anchor's loss 0.3?",
    "d": "Random features that differ have hardest positives farther than hardest negatives, so the loss would lie "
    "above the margin, and it would move.",
}


def _judge_standstill(answer: Any) -> str | None:
    letter = answer.strip().lower() if isinstance(answer, str) else answer
    if letter == "b":
        return None
    advice = _STANDSTILL.get(letter, 'Give one letter in quotes: "a", "b", "c" or "d".')
    return f"{show(answer)} is not it. {advice}"


EXERCISES = {
    "03.1": like(
        lambda positive, negative, margin: max(0.0, margin + positive - negative),
        [
            {"positive": 1.0, "negative": 0.5, "margin": 0.3},
            {"positive": 0.5, "negative": 0.6, "margin": 0.3},
            {"positive": 0.2, "negative": 1.0, "margin": 0.3},
            {"positive": 0.5, "negative": 0.5, "margin": 0.0},
        ],
        praise="Now look back at the printed form: it is margin + triplet(positive, negative, −margin). It asks for a "
        "margin, too, but for a negative one",
    ),
    "03.2": like(
        _hardest,
        [
            {"distances": _distances(4, 1), "labels": torch.tensor([0, 0, 1, 1])},
            {"distances": _distances(7, 2), "labels": torch.tensor([0, 1, 0, 2, 1, 0, 0])},
            {"distances": _distances(3, 3), "labels": torch.tensor([5, 5, 5])},
        ],
        praise="Your loops say in plain words what the library's masks say for all anchors at once",
    ),
    "03.3": like(
        _balance_in_effect,
        [
            {"balance": 0.5, "batch": 32},
            {"balance": 0.5, "batch": 1},
            {"balance": 0.1, "batch": 64},
            {"balance": 0.0, "batch": 16},
            {"balance": 1.0, "batch": 16},
        ],
        praise=f"The paper's λ = 0.5 with its batch of 64 would in effect be {_balance_in_effect(0.5, 64):.3f}: hardly "
        "any triplet left",
    ),
    "03.4": like(
        lambda labels: sum(1 < labels.count(label) < len(labels) for label in labels),
        [
            {"labels": [0, 0, 1, 1]},
            {"labels": [0, 0, 0, 1, 2]},
            {"labels": [3, 3, 3, 3]},
            {"labels": list(range(8))},
        ],
        praise="§3.1's validation set, a picture of each identity, gives 0 in every batch that can be drawn from it",
    ),
    "03.5": Exercise(
        _judge_standstill,
        "All features have fallen on one point, so d_p = d_n = 0 for every anchor. With eq. 8 as printed, the same "
        "number would be its best value: before a loss is watched, its best and its worst standstill have to be known",
    ),
}
