"""Notebook 07: the paper's search for classification, from printed digits to handwritten, and two ways to do better.

Networks, search step and both methods are the library's own; here are the digits, and the experiment over seeds.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from nasda.bilevel import Bilevel
from nasda.course.judges import Exercise, NotAttempted, like, show, value
from nasda.files import read_json, write_json
from nasda.genotypes import CELL_KINDS, EDGES_PER_NODE, PRIMITIVES, Genotype, random_genotype
from nasda.networks import DerivedNetwork, Supernet
from nasda.operations import operation_colour, operation_label
from nasda.pictures.palette import GREY
from nasda.pictures.plots import Plot
from nasda.selection import select_by_perturbation
from nasda.settings import SpaceSettings

CLASSES = 10
PLAIN = PRIMITIVES["plain"]

# One normal cell and one reduction cell: as small as a network can be and hold both kinds.
SPACE = SpaceSettings(
    space="plain", channels=8, nodes=2, blocks=2, cells_per_block=1, stem_stride=1, embedding=64, dropout=0.0
)

METHODS = {
    "random": "random cell",
    "source": "α on source",
    "plain": "α on target",
    "perturbation": "α on target, perturbation",
    "partial": "α on target, partial channels",
    "weights": "random cell, ω on target too",
}


# ---------------------------------------------------------------------------------------------------------- digits


@dataclass(frozen=True)
class Digits:
    """Images (N, 3, 8, 8), ink from 0 to 1, three times the same, and what they show (N,)."""

    images: Tensor
    labels: Tensor

    def __getitem__(self, index: Any) -> "Digits":
        return Digits(self.images[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


class World(NamedTuple):
    """Printed digits to learn from and to test on; handwritten ones to learn from and, by other rows of the file, to
    test on."""

    source: Digits
    source_test: Digits
    target: Digits
    target_test: Digits


FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono",
    "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "cmr10", "cmss10", "cmtt10", "cmti10",
)  # fmt: skip
_SHEET, _BITMAP, _BLOCK = 96, 32, 4  # pixels: of the drawing, of the scan, and of the block that one pixel counts


def printed(count: int, seed: int) -> Digits:
    """Digits from matplotlib's own fonts, turned, slanted and stretched, then measured as the handwritten ones were.

    A 32×32 bitmap is cut into 4×4 blocks; each pixel of the 8×8 image is the share of its block that is ink.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES)
    images = [_drawn(int(label), FONTS[rng.integers(len(FONTS))], rng) for label in labels]
    return _in_colour(np.stack(images), labels)


def _in_colour(images: NDArray[Any], labels: NDArray[Any]) -> Digits:
    """Grey images (N, 8, 8) as the library's networks take them."""
    return Digits(torch.tensor(images, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1), torch.tensor(labels))


def _drawn(label: int, font: str, rng: np.random.Generator) -> NDArray[np.float64]:
    sheet = Image.new("L", (_SHEET, _SHEET))
    ImageDraw.Draw(sheet).text((_SHEET / 2, _SHEET / 2), str(label), font=_font(font), fill=255, anchor="mm")
    slant, angle = rng.uniform(-0.15, 0.15), rng.uniform(-8, 8)
    middle = _SHEET / 2
    sheet = sheet.transform(sheet.size, Image.Transform.AFFINE, (1, slant, -slant * middle, 0, 1, 0))
    sheet = sheet.rotate(angle, Image.Resampling.BILINEAR)
    box = sheet.getbbox()
    glyph = sheet.crop(box)
    height = int(rng.integers(26, _BITMAP + 1))
    width = round(np.clip(height * glyph.width / glyph.height * rng.uniform(0.85, 1.15), 5, 26))
    glyph = glyph.resize((width, height), Image.Resampling.BILINEAR)
    bitmap = Image.new("L", (_BITMAP, _BITMAP))
    left = (_BITMAP - width) // 2 + int(rng.integers(-2, 3))
    bitmap.paste(glyph, (left, int(rng.integers(0, _BITMAP - height + 1))))
    ink = np.asarray(bitmap) > 127
    return ink.reshape(_BITMAP // _BLOCK, _BLOCK, _BITMAP // _BLOCK, _BLOCK).mean(axis=(1, 3))


@cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", 56)


def handwritten() -> Digits:
    """scikit-learn's 1,797 real digits (UCI's optdigits, test part), in the order of the file; no download."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return _in_colour(found.images / 16, found.target)


def world(seed: int = 0, source: int = 512, test: int = 1000) -> World:
    """Both domains. The last `test` handwritten digits are for testing only: the file goes from writer to writer, and a
    mixed split would put the same hands on both sides."""
    target = handwritten()
    return World(printed(source, 2 * seed), printed(300, 2 * seed + 1), target[:-test], target[-test:])


def sample(digits: Digits, each: int, seed: int) -> Digits:
    """`each` images of every digit, drawn at random: the little labelled target that α learns on."""
    rng = np.random.default_rng(seed)
    of_class = [np.flatnonzero(digits.labels.numpy() == label) for label in range(CLASSES)]
    return digits[torch.tensor(np.concatenate([rng.choice(found, each, replace=False) for found in of_class]))]


def batches(digits: Digits, size: int, seed: int) -> Iterator[Digits]:
    """Batches without end; every pass over the images goes through them in another order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(digits), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            yield digits[order[start : start + size]]


# ------------------------------------------------------------------------------------------------ search and training


@dataclass(frozen=True)
class Size:
    """How much is searched and trained."""

    space: SpaceSettings = SPACE
    seeds: int = 3
    each: int = 10  # labelled handwritten images of every digit
    partial: int = 4
    search_epochs: int = 3
    train_epochs: int = 7
    tune_steps: int = 1  # of ω after every decision by perturbation
    batch: int = 64
    search_lr: float = 0.2
    alphas_lr: float = 0.05
    train_lr: float = 0.2


def loss(network: nn.Module, digits: Digits) -> Tensor:
    """Cross-entropy, eq. 7: the mean over the batch."""
    return F.cross_entropy(network(digits.images).logits, digits.labels)


def bilevel(network: Supernet, size: Size) -> Bilevel:
    """Algorithm 1's step, with SGD for ω and Adam for α as in DARTS."""
    omega = torch.optim.SGD(network.weight_parameters(), size.search_lr, momentum=0.9, weight_decay=3e-4)
    alpha = torch.optim.Adam(network.architecture_parameters(), size.alphas_lr, betas=(0.5, 0.999), weight_decay=1e-3)
    return Bilevel(network, omega, alpha)


def search(train: Digits, validation: Digits, size: Size, *, seed: int, **space: Any) -> tuple[Supernet, list]:
    """Algorithm 1 with cross-entropy for both: ω on `train`, α on `validation`. Returns the network and its log.

    `space` replaces settings of the space, such as `partial` or `operations`.
    """
    network = Supernet(replace(size.space, **space), CLASSES, seed=seed)
    step = bilevel(network, size)
    of_omega = batches(train, size.batch, seed)
    of_alpha = batches(validation, min(size.batch, len(validation)), seed + 1)
    steps = len(train) // size.batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step.optimizers["weights"], size.search_epochs * steps)
    history: list[dict[str, Any]] = [{"epoch": 0, "alphas": network.alpha_values()}]
    for epoch in range(1, size.search_epochs + 1):
        for _ in range(steps):
            source, target = next(of_omega), next(of_alpha)
            step.step(lambda s=source: loss(network, s), lambda t=target: loss(network, t))  # type: ignore[misc]
            schedule.step()
        history.append({"epoch": epoch, "alphas": network.alpha_values(), "betas": network.beta_values()})
    return network, history


def select(network: Supernet, train: Digits, validation: Digits, size: Size, *, seed: int) -> Genotype:
    """The cells that the searched `network` needs most on `validation`; ω is tuned on `train`, so it changes."""
    optimizer = torch.optim.SGD(network.weight_parameters(), size.search_lr / 10, momentum=0.9)
    of_train = batches(train, size.batch, seed + 2)

    def tune() -> None:
        for _ in range(size.tune_steps):
            _descend(network, optimizer, next(of_train))

    return select_by_perturbation(network, lambda: loss(network, validation), tune, seed=seed)


def train(genotype: Genotype, digits: Digits, size: Size, *, seed: int) -> DerivedNetwork:
    """The network of a genotype, trained from scratch by SGD with a cosine schedule: one recipe for every cell."""
    network = DerivedNetwork(genotype, size.space, CLASSES, seed=seed)
    steps = size.train_epochs * (len(digits) // size.batch)
    optimizer = torch.optim.SGD(network.parameters(), size.train_lr, momentum=0.9, weight_decay=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    of_digits = batches(digits, size.batch, seed)
    for _ in range(steps):
        _descend(network, optimizer, next(of_digits))
        schedule.step()
    return network


def _descend(network: nn.Module, optimizer: torch.optim.Optimizer, digits: Digits) -> None:
    optimizer.zero_grad()
    loss(network, digits).backward()
    optimizer.step()


@torch.no_grad()
def accuracy(network: nn.Module, digits: Digits) -> float:
    """The share of digits that are read right, by a network at rest (running statistics in its batch norms)."""
    logits = network.eval()(digits.images).logits
    return (logits.argmax(dim=1) == digits.labels).double().mean().item()


# ------------------------------------------------------------------------------------------------------------- study


class Result(NamedTuple):
    """One cell and what it reads after training: shares of the handwritten and of the printed test digits."""

    genotype: Genotype
    target: float
    source: float


def results(digits: World, size: Size, seed: int, folder: Path) -> dict[str, Result]:
    """All of `METHODS` at one seed: each finds a cell, which is then trained on the source by one recipe and one seed.

    The results lie in a file of `folder`; what is there with the same settings is not made again.
    """
    settings = json.loads(json.dumps({"size": asdict(size), "source": len(digits.source)}))
    file = folder / f"seed-{seed}.json"
    kept = read_json(file, "cells and their results") if file.exists() else {}
    if kept.get("settings") != settings:
        kept = {"settings": settings}
        for method, genotype, data in _cells(digits, size, seed):
            network = train(genotype, data, size, seed=seed)
            read = {"target": accuracy(network, digits.target_test), "source": accuracy(network, digits.source_test)}
            kept[method] = {"genotype": genotype.to_dict(), **read}
        write_json(file, kept)
    return {
        method: Result(**{**kept[method], "genotype": Genotype.from_dict(kept[method]["genotype"])})
        for method in METHODS
    }


def _cells(digits: World, size: Size, seed: int) -> Iterator[tuple[str, Genotype, Digits]]:
    """The cell of each method, and what it is trained on."""
    source, little = digits.source, sample(digits.target, size.each, seed)
    random = random_genotype(size.space.nodes, PLAIN, seed)
    yield "random", random, source
    validation = printed(len(little), 10_000 + seed)  # as many as of the target, and unknown to ω
    yield "source", search(source, validation, size, seed=seed)[0].genotype(), source
    network, _ = search(source, little, size, seed=seed)
    yield "plain", network.genotype(), source
    yield "perturbation", select(network, source, little, size, seed=seed), source
    yield "partial", search(source, little, size, seed=seed, partial=size.partial)[0].genotype(), source
    both = (torch.cat([getattr(source, name), getattr(little, name)]) for name in ("images", "labels"))
    yield "weights", random, Digits(*both)


# ---------------------------------------------------------------------------------------------------------- pictures


def digit_sheet(domains: Mapping[str, Digits], columns: int = 8) -> Plot:
    """Domains side by side: a row is one digit, `columns` examples of it in each domain."""
    figure = Plot(4.4 * len(domains), 5.2)
    row = figure.subplots(1, len(domains), squeeze=False)[0]
    for axes, (title, digits) in zip(row, domains.items(), strict=True):
        rows = [digits.images[digits.labels == label][:columns, 0].numpy() for label in range(CLASSES)]
        framed = np.pad(np.stack(rows), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
        sheet = framed.transpose(0, 2, 1, 3).reshape(CLASSES * 9, columns * 9)[:-1, :-1]
        axes.imshow(sheet, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=12, fontweight="bold")
        axes.set_yticks([9 * label + 3.5 for label in range(CLASSES)], [str(label) for label in range(CLASSES)])
        axes.set_xticks([])
        axes.set_ylabel("digit: each row shows one", fontsize=11)
        axes.tick_params(length=0, labelsize=10)
    return figure


def barcode(results: Mapping[str, Sequence[Genotype]]) -> Plot:
    """Every found cell as a row of coloured fields: one for each chosen operation, with the state that feeds it."""
    rows = [(name, number, genotype) for name, found in results.items() for number, genotype in enumerate(found)]
    nodes = rows[0][2].nodes
    across = 2 * EDGES_PER_NODE * nodes
    figure = Plot(9, 1.8 + 0.27 * len(rows))
    axes = figure.subplots()
    names = ("a", "b", *map(str, range(nodes)))
    for y, (_, _, genotype) in enumerate(rows):
        edges = [edge for kind in CELL_KINDS for node in genotype.cell(kind) for edge in node]
        for position, edge in enumerate(edges):
            x = position + (0.4 if position >= across / 2 else 0)
            colour = operation_colour(edge.operation)
            axes.barh(y, 0.96, 0.86, x, color=colour, align="center")
            axes.text(x + 0.48, y, names[edge.input], color="white", ha="center", va="center", fontsize=9)
    starts = [y for y, (_, number, _) in enumerate(rows) if number == 0]
    for y in starts[1:]:
        axes.axhline(y - 0.5, color=GREY, linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{name}, {number}" for name, number, _ in rows], fontsize=9)
    ticks = [1 + EDGES_PER_NODE * node + (0.4 if node >= nodes else 0) for node in range(2 * nodes)]
    axes.set_xticks(ticks, [f"{kind} cell\nnode {node}" for kind in CELL_KINDS for node in range(nodes)], fontsize=10)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel(
        "letter: fed by the cell before the last (a), the last cell (b), or a node (its number)", fontsize=10
    )
    for name in PLAIN[1:]:
        axes.barh(0, 0, color=operation_colour(name), label=operation_label(name))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    return figure


# ---------------------------------------------------------------------------------------------------------- exercises

# 07.1: a new operation


def _judge_operation(answer: Any) -> str | None:
    if not callable(answer):
        return f"expected a function, found {show(answer)}"
    for channels, stride, affine, size in [(4, 1, False, (8, 8)), (4, 2, False, (8, 8)), (6, 2, True, (7, 5))]:
        operation = answer(channels, stride, 4, affine)
        if operation is None or operation is ...:
            raise NotAttempted
        words = f"expected a torch module, yours returned {show(operation)}"
        if isinstance(operation, nn.Module):
            words = next(_breaches(operation.train(), channels, affine, size, stride), "")
        if words:
            return f"conv_1x1({channels}, {stride}, 4, {affine}): {words}"
    return None


@torch.no_grad()
def _breaches(operation: nn.Module, channels: int, affine: bool, size: tuple[int, int], stride: int) -> Iterator[str]:
    """What of the contract the operation does not keep, one after the other."""
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
    given = x.clone()
    made = operation(given)
    expected = (2, channels, ceil(size[0] / stride), ceil(size[1] / stride))
    if made.shape != expected:
        yield f"an input {tuple(x.shape)} must come out as {expected}, yours gives {tuple(made.shape)}"
    if not torch.equal(given, x):
        yield "it changes its input, which all candidates of an edge share: nn.ReLU() without inplace"
    kernels = [m for m in operation.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in operation.modules() if isinstance(m, nn.BatchNorm2d)]
    if [kernel.kernel_size for kernel in kernels] != [(1, 1)]:
        yield f"expected one convolution with a 1×1 kernel, found {[kernel.kernel_size for kernel in kernels]}"
    if kernels[0].groups != 1:
        yield "the convolution has groups: every output channel must see all input channels"
    if not norms:
        yield "the output has no batch norm: the mixture's terms would come at different scales"
    if norms[-1].affine != affine:
        yield f"the batch norm has affine={norms[-1].affine}, not {affine}: in a search it must not learn a scale"
    if made.mean(dim=(0, 2, 3)).abs().max() > 1e-4 or (made.var(dim=(0, 2, 3), correction=0) - 1).abs().max() > 0.02:
        yield "the batch norm must come last: the output's channels have not mean 0 and variance 1"
    if kernels[0].bias is not None:
        yield "the convolution has a bias, which the batch norm behind it takes away again: bias=False"
    if not torch.allclose(operation(x), operation(x.clamp(min=0)), atol=1e-6):
        yield "it must begin with a ReLU, as all operations with weights do here: negative inputs must count as zero"


# 07.3: partial channels


class Tenfold:
    """A stand-in for a mixed operation, whose work is easy to see."""

    def __call__(self, x: Tensor) -> Tensor:
        return 10 * x

    def __repr__(self) -> str:
        return "ten times"


def partial_channels(x: Tensor, mixed: Any, partial: int) -> Tensor:
    """The first C/K channels through `mixed`, the others past it, then the shuffle."""
    first = x.shape[1] // partial
    return F.channel_shuffle(torch.cat([mixed(x[:, :first]), x[:, first:]], dim=1), partial)


def _channels(count: int) -> Tensor:
    return torch.arange(1.0, count + 1).reshape(1, count, 1, 1)


# 07.4: experiments' controls

_CONTROLS = {"A": 3, "B": 1, "C": 2, "D": 4}
_ADVICE = {
    "A": "the claim is that choosing at all pays: what would no choice have given, in the same space?",
    "B": "the claim is about where α looks: everything stays as it is, but α looks at the other domain",
    "C": "the claim is about how the cell is read off: keep the searched network, read it off the other way",
    "D": "the claim is about what ten labels a digit are best used for: give the same labels to the other parameters",
}


def _judge_controls(answer: Any) -> str | None:
    if not isinstance(answer, Mapping):
        return f'expected a dictionary such as {{"A": 1, "B": 2, "C": 3, "D": 4}}, found {show(answer)}'
    if answer and all(control is ... for control in answer.values()):
        raise NotAttempted
    for claim, control in _CONTROLS.items():
        if claim not in answer:
            return f"claim {claim} has no control yet"
        if str(answer[claim]) != str(control):
            return f"claim {claim}: control {show(answer[claim])} does not answer it; {_ADVICE[claim]}"
    return None


# 07.5: enough seeds


def seeds_for(spread: float, effect: float) -> int:
    """The smallest n with 2 · spread / √n ≤ |effect|, at least 6."""
    return max(6, ceil((2 * spread / abs(effect)) ** 2 - 1e-9))


EXERCISES = {
    "07.1": Exercise(
        _judge_operation,
        "Any module that keeps this contract can be searched: nothing else in the library has to change.",
    ),
    "07.2": value(
        ("sep_conv_3x3", "skip_connect"),
        {
            ("skip_connect", "max_pool_3x3"): "Those have the largest weights: that is plain DARTS' choice.",
            ("avg_pool_3x3", "dil_conv_3x3"): (
                "Without those the loss stays lowest: they are missed least. Look for the largest rise."
            ),
        },
        praise="On neither edge is it the operation with the largest weight.",
    ),
    "07.3": like(
        partial_channels,
        [
            {"x": _channels(4), "mixed": Tenfold(), "partial": 2},
            {"x": _channels(8), "mixed": Tenfold(), "partial": 4},
            {"x": _channels(6).repeat(2, 1, 2, 3), "mixed": Tenfold(), "partial": 3},
        ],
        praise="Without the shuffle the next partial edge would mix the same channels again.",
    ),
    "07.4": Exercise(
        _judge_controls, "A control differs from the experiment in one thing: in what the claim is about."
    ),
    "07.5": like(
        seeds_for,
        [
            {"spread": 3.0, "effect": 3.0},
            {"spread": 3.0, "effect": 1.0},
            {"spread": 2.5, "effect": -2.0},
            {"spread": 0.1, "effect": 5.0},
        ],
        praise="Half the effect takes four times as many seeds.",
    ),
}
