"""Notebook 07: the paper's search for classification, from printed digits to handwritten, and two ways to do better.

The cells are the library's own. New are the digits, a network of three cells with a classifier on top, selection by
perturbation (DARTS-PT: Wang et al. 2021) and partial channels (PC-DARTS: Xu et al. 2020).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from nasda.bilevel import Bilevel, frozen_statistics
from nasda.cells import Cell, MixedOp, SearchCell, edge_stride
from nasda.course.check import Exercise, NotAttempted, like, show, value
from nasda.devices import seeded
from nasda.fast.cells import FastSearchCell
from nasda.files import read_json, write_json
from nasda.genotypes import (
    CELL_INPUTS,
    CELL_KINDS,
    EDGES_PER_NODE,
    NONE,
    PRIMITIVES,
    CellKind,
    Edge,
    Genotype,
    Node,
    edge_count,
    node_slices,
    random_genotype,
)
from nasda.operations import operation_colour, operation_label, register_operation
from nasda.pictures.palette import GREY
from nasda.pictures.plots import Plot

CLASSES = 10
PLAIN = PRIMITIVES["plain"]
LAYOUT: tuple[CellKind, ...] = ("normal", "reduce")  # the cells of the network, from the image on

Method = Literal["random", "source", "plain", "perturbation", "partial", "weights"]
METHODS: tuple[Method, ...] = get_args(Method)
METHOD_LABELS: dict[Method, str] = {
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
    """Images (N, 1, 8, 8), ink from 0 to 1, and what they show (N,)."""

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
    return Digits(torch.tensor(np.stack(images), dtype=torch.float32)[:, None], torch.tensor(labels))


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
    return Digits(torch.tensor(found.images / 16, dtype=torch.float32)[:, None], torch.tensor(found.target))


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


# -------------------------------------------------------------------------------------------------------- networks


class CellClassifier(nn.Module):
    """Stem, cells of `LAYOUT`, global average pooling, ten logits: (B, 1, 8, 8) → (B, 10)."""

    def __init__(self, channels: int, nodes: int, cell: Callable[[CellKind, tuple[int, int], int, bool], nn.Module]):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
        self.cells = nn.ModuleList()
        inputs, after_reduction = (channels, channels), False
        for kind in LAYOUT:
            channels *= 2 if kind == "reduce" else 1
            self.cells.append(cell(kind, inputs, channels, after_reduction))
            inputs, after_reduction = (inputs[1], nodes * channels), kind == "reduce"
        self.classifier = nn.Linear(inputs[1], CLASSES)

    def run(self, images: Tensor, *of_kind: Mapping[CellKind, Tensor]) -> Tensor:
        before_last = last = self.stem(images)
        for kind, cell in zip(LAYOUT, self.cells, strict=True):
            before_last, last = last, cell(before_last, last, *(given[kind] for given in of_kind))
        return self.classifier(last.mean(dim=(2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images)


class DerivedClassifier(CellClassifier):
    """The network of a genotype."""

    def __init__(self, genotype: Genotype, channels: int = 8, *, seed: int) -> None:
        def cell(kind: CellKind, inputs: tuple[int, int], channels: int, after_reduction: bool) -> nn.Module:
            return Cell(
                genotype.cell(kind), inputs, channels, reduction=kind == "reduce", after_reduction=after_reduction
            )

        with seeded(seed):
            super().__init__(channels, genotype.nodes, cell)


class SearchClassifier(CellClassifier):
    """The relaxed network: the library's `SearchCell` with α for each kind of cell, and β with partial channels."""

    def __init__(
        self, nodes: int = 2, channels: int = 8, *, primitives: Sequence[str] = PLAIN, partial: int = 1, seed: int
    ) -> None:
        """`partial` is PC-DARTS' K: only every K-th channel goes through the operations. 1 is plain DARTS."""

        def cell(kind: CellKind, inputs: tuple[int, int], channels: int, after_reduction: bool) -> nn.Module:
            found = (FastSearchCell if partial == 1 else SearchCell)(
                nodes, primitives, inputs, channels, reduction=kind == "reduce", after_reduction=after_reduction
            )
            return found if partial == 1 else with_partial_channels(found, channels, partial)

        with seeded(seed):
            super().__init__(channels, nodes, cell)
            self.primitives = tuple(primitives)
            shape = (edge_count(nodes), len(self.primitives))
            self.alphas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind in CELL_KINDS})
            self.betas = nn.ParameterDict(
                {kind: nn.Parameter(1e-3 * torch.randn(shape[0])) for kind in CELL_KINDS if partial > 1}
            )

    def mixture(self) -> dict[CellKind, Tensor]:
        """The weight of every operation on every edge (edges, operations): the softmax of eq. 6, times the edge's
        share of its node where β is searched."""
        weights = {kind: torch.softmax(self.alphas[kind], dim=1) for kind in CELL_KINDS}
        if self.betas:
            weights = {kind: edge_shares(self.betas[kind])[:, None] * weights[kind] for kind in CELL_KINDS}
        return weights

    def forward(self, images: Tensor, weights: Mapping[CellKind, Tensor] | None = None) -> Tensor:
        """Logits; `weights` in the place of `mixture()`, when one asks what would be without an operation."""
        return self.run(images, self.mixture() if weights is None else weights)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """α, and β where there is one."""
        return [*self.alphas.parameters(), *self.betas.parameters()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """ω: everything else."""
        architecture = set(self.architecture_parameters())
        return [parameter for parameter in self.parameters() if parameter not in architecture]


# ------------------------------------------------------------------------------------------------- partial channels


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of (B, C, H, W) like cards: channel g · C/groups + i goes to i · groups + g."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


class PartialMixedOp(nn.Module):
    """A `MixedOp` of the first C/K channels; the others go past it, pooled where the edge has stride 2; then a shuffle.

    With edge normalisation the weights of an edge sum to its share of the node, and the channels that go past are
    scaled by that sum: share · cat(Σ_o softmax(α)_o · o(x_first), x_rest).
    """

    def __init__(self, primitives: Sequence[str], channels: int, stride: int, partial: int, parts: int = 4) -> None:
        super().__init__()
        self.partial, self.first = partial, channels // partial
        self.mixed = MixedOp(primitives, self.first, stride, parts)
        self.past = nn.MaxPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        mixed = self.mixed(x[:, : self.first], weights)
        past = weights.sum() * self.past(x[:, self.first :])
        return shuffle(torch.cat([mixed, past], dim=1), self.partial)


def with_partial_channels(cell: SearchCell, channels: int, partial: int) -> SearchCell:
    """The same cell with a `PartialMixedOp` on every edge."""
    cell.edges = nn.ModuleList(
        PartialMixedOp(cell.primitives, channels, edge_stride(cell.reduction, state), partial)
        for node in range(len(cell.rows))
        for state in range(CELL_INPUTS + node)
    )
    return cell


def edge_shares(betas: Tensor) -> Tensor:
    """Edge normalisation: a softmax of β over the edges that compete for a node, (edges,) → (edges,)."""
    nodes = next(n for n in range(1, len(betas) + 1) if edge_count(n) == len(betas))
    return torch.cat([torch.softmax(betas[rows], dim=0) for rows in node_slices(nodes)])


# ------------------------------------------------------------------------------------------------ search and training


@dataclass(frozen=True)
class Size:
    """How much is searched and trained."""

    seeds: int = 3
    channels: int = 8
    nodes: int = 2
    each: int = 10  # labelled handwritten images of every digit
    partial: int = 4
    search_epochs: int = 3
    train_epochs: int = 7
    tune_steps: int = 1  # of ω after every decision by perturbation
    batch: int = 64
    search_lr: float = 0.2
    alphas_lr: float = 0.05
    train_lr: float = 0.2


def optimizers(network: SearchClassifier, size: Size) -> tuple[torch.optim.SGD, torch.optim.Adam]:
    """SGD for ω, Adam for α, as in DARTS."""
    omega = torch.optim.SGD(network.weight_parameters(), size.search_lr, momentum=0.9, weight_decay=3e-4)
    alpha = torch.optim.Adam(network.architecture_parameters(), size.alphas_lr, betas=(0.5, 0.999), weight_decay=1e-3)
    return omega, alpha


def search(train: Digits, validation: Digits, size: Size, *, seed: int, **space: Any) -> tuple[SearchClassifier, list]:
    """Algorithm 1 with cross-entropy for both: ω on `train`, α on `validation`. Returns the network and its log."""
    network = SearchClassifier(size.nodes, size.channels, seed=seed, **space)
    omega, alpha = optimizers(network, size)
    bilevel = Bilevel(network, omega, alpha)
    of_omega = batches(train, size.batch, seed)
    of_alpha = batches(validation, min(size.batch, len(validation)), seed + 1)
    steps = len(train) // size.batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(omega, size.search_epochs * steps)
    history = [_log(network, 0, [])]
    for epoch in range(1, size.search_epochs + 1):
        seen = []
        for _ in range(steps):
            source, target = next(of_omega), next(of_alpha)
            seen.append(bilevel.step(lambda s=source: loss(network, s), lambda t=target: loss(network, t)))  # type: ignore[misc]
            schedule.step()
        history.append(_log(network, epoch, seen))
    return network, history


def _log(network: SearchClassifier, epoch: int, seen: Sequence[Any]) -> dict[str, Any]:
    alphas = {kind: alpha.detach().tolist() for kind, alpha in network.alphas.items()}
    row: dict[str, Any] = {"epoch": epoch, "alphas": alphas}
    if seen:
        row["loss_weights"] = float(np.mean([losses.weights.item() for losses in seen]))
        row["loss_alphas"] = float(np.mean([losses.alphas.item() for losses in seen]))
    return row


def loss(network: nn.Module, digits: Digits) -> Tensor:
    """Cross-entropy, eq. 7: the mean over the batch."""
    return F.cross_entropy(network(digits.images), digits.labels)


def train(network: nn.Module, digits: Digits, size: Size, *, seed: int) -> nn.Module:
    """Train from scratch by SGD with a cosine schedule: the same recipe for every cell."""
    steps = size.train_epochs * (len(digits) // size.batch)
    optimizer = torch.optim.SGD(network.parameters(), size.train_lr, momentum=0.9, weight_decay=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    of_digits = batches(digits, size.batch, seed)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network, next(of_digits)).backward()
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def accuracy(network: nn.Module, digits: Digits) -> float:
    """The share of digits that are read right, by a network at rest (running statistics in its batch norms)."""
    was_training = network.training
    network.eval()
    logits = network(digits.images)
    network.train(was_training)
    return _right(logits, digits)


def _right(logits: Tensor, digits: Digits) -> float:
    return (logits.argmax(dim=1) == digits.labels).double().mean().item()


@torch.no_grad()
def supernet_score(
    network: "SearchClassifier", digits: Digits, weights: Mapping[CellKind, Tensor] | None = None
) -> tuple[float, float]:
    """Accuracy, and minus the loss, which decides where the first is equal.

    The batch norms use the statistics of `digits`, as in the α step: after a short search the running ones lag behind,
    and they were taken with all operations in place.
    """
    with frozen_statistics(network):
        logits = network(digits.images, weights)
    return _right(logits, digits), -F.cross_entropy(logits, digits.labels).item()


# --------------------------------------------------------------------------------------------------------- selection

Weights = dict[CellKind, Tensor]


def derive_from_weights(weights: Mapping[CellKind, Tensor], primitives: Sequence[str]) -> Genotype:
    """`genotypes.derive` on the weights themselves, where edges have shares of their own (PC-DARTS: β times α)."""
    real = [index for index, name in enumerate(primitives) if name != NONE]
    cells: dict[str, tuple[Node, ...]] = {}
    for kind in CELL_KINDS:
        strength, best = weights[kind].detach()[:, real].max(dim=1)
        nodes = next(n for n in range(1, len(strength) + 1) if edge_count(n) == len(strength))
        cell = []
        for rows in node_slices(nodes):
            kept = strength[rows].argsort(descending=True, stable=True)[:EDGES_PER_NODE].sort().values.tolist()
            cell.append(tuple(Edge(primitives[real[int(best[rows.start + i])]], i) for i in kept))
        cells[kind] = tuple(cell)
    return Genotype(**cells)


def without(weights: Mapping[CellKind, Tensor], kind: CellKind, edge: int, operation: int | None = None) -> Weights:
    """The mixture with one operation's weight at zero, or with a whole edge's; all other weights stay as they are."""
    changed = {name: matrix.detach().clone() for name, matrix in weights.items()}
    changed[kind][edge, slice(None) if operation is None else operation] = 0
    return changed


def removals(network: SearchClassifier, digits: Digits) -> dict[CellKind, NDArray[np.float64]]:
    """The accuracy that is left when each operation of each edge is taken away: (edges, operations) for each kind."""
    weights = network.mixture()
    left = {kind: np.zeros(tuple(weights[kind].shape)) for kind in CELL_KINDS}
    for kind in CELL_KINDS:
        for edge, operation in np.ndindex(left[kind].shape):
            left[kind][edge, operation], _ = supernet_score(network, digits, without(weights, kind, edge, operation))
    return left


def select_by_perturbation(
    network: SearchClassifier, train: Digits, validation: Digits, size: Size, *, seed: int
) -> Genotype:
    """DARTS-PT: keep what the network would miss most. `network` is changed: ω is tuned after every decision.

    Edge by edge in random order: of its operations (other than `none`) the one without which `validation` is read
    worst. Then node by node: the two edges without which it is read worst. Equal accuracies: the loss decides.
    """
    rng = np.random.default_rng(seed)
    weights: Weights = {kind: matrix.detach().clone() for kind, matrix in network.mixture().items()}
    optimizer = torch.optim.SGD(network.weight_parameters(), size.search_lr / 10, momentum=0.9)
    of_train = batches(train, size.batch, seed + 2)

    def missed(kind: CellKind, edge: int, operation: int | None = None) -> tuple[float, float]:
        return supernet_score(network, validation, without(weights, kind, edge, operation))

    def tune() -> None:
        for _ in range(size.tune_steps):
            digits = next(of_train)
            optimizer.zero_grad()
            F.cross_entropy(network(digits.images, weights), digits.labels).backward()
            optimizer.step()

    real = [index for index, name in enumerate(network.primitives) if name != NONE]
    edges = [(kind, edge) for kind in CELL_KINDS for edge in range(len(weights[kind]))]
    chosen: dict[tuple[CellKind, int], int] = {}
    for kind, edge in (edges[i] for i in rng.permutation(len(edges))):
        chosen[kind, edge] = min(real, key=lambda operation: missed(kind, edge, operation))
        weights[kind][edge] = F.one_hot(torch.tensor(chosen[kind, edge]), len(network.primitives))
        tune()
    cells: dict[str, list[Node]] = {kind: [] for kind in CELL_KINDS}
    for kind in CELL_KINDS:
        for rows in node_slices(size.nodes):
            order = sorted(range(rows.start, rows.stop), key=lambda edge: missed(kind, edge))
            kept = sorted(order[:EDGES_PER_NODE])
            cells[kind].append(tuple(Edge(network.primitives[chosen[kind, e]], e - rows.start) for e in kept))
            for edge in set(order) - set(kept):
                weights = without(weights, kind, edge)
            if len(order) > EDGES_PER_NODE:
                tune()
    return Genotype(**{kind: tuple(nodes) for kind, nodes in cells.items()})


@contextmanager
def operation_added(name: str, factory: Callable[[int, int, int, bool], nn.Module]) -> Iterator[tuple[str, ...]]:
    """Within the block the library knows one operation more; yields the plain space with it."""
    with register_operation(name, factory):
        yield (*PLAIN, name)


# ------------------------------------------------------------------------------------------------------------- study


class Result(NamedTuple):
    """One cell and what it reads after training: shares of the handwritten and of the printed test digits."""

    genotype: Genotype
    target: float
    source: float


def compare(digits: World, size: Size, seed: int, folder: Path) -> dict[Method, Result]:
    """All methods at one seed: each finds a cell, which is then trained on the source by one recipe and one seed.

    A cell and its result lie in `folder`, one file a method; what is there with the same settings is not made again.
    """
    settings = {"size": asdict(size), "layout": list(LAYOUT), "source": len(digits.source)}
    files = {method: folder / f"{method}-{seed}.json" for method in METHODS}
    done: dict[Method, Result | None] = {method: _read(file, settings) for method, file in files.items()}
    missing = [method for method in METHODS if done[method] is None]
    for method, genotype, extra in _found(digits, size, seed, missing):
        data = digits.source if extra is None else joined(digits.source, extra)
        network = train(DerivedClassifier(genotype, size.channels, seed=seed), data, size, seed=seed)
        made = Result(genotype, accuracy(network, digits.target_test), accuracy(network, digits.source_test))
        write_json(files[method], {"settings": settings, **made._asdict(), "genotype": genotype.to_dict()})
        done[method] = made
    return {method: result for method, result in done.items() if result is not None}


def _read(file: Path, settings: dict[str, Any]) -> Result | None:
    found = read_json(file, "a cell and its result") if file.exists() else {}
    if found.get("settings") != settings:
        return None
    return Result(Genotype.from_dict(found["genotype"]), found["target"], found["source"])


def _found(
    digits: World, size: Size, seed: int, methods: Sequence[Method]
) -> Iterator[tuple[Method, Genotype, Digits | None]]:
    """The cell of each method, and the labelled target images that its weights may learn from, too."""
    little = sample(digits.target, size.each, seed)
    random = random_genotype(size.nodes, PLAIN, seed)
    if "random" in methods:
        yield "random", random, None
    if "source" in methods:
        validation = printed(len(little), 10_000 + seed)  # as many as of the target, and unknown to ω
        yield "source", derived(search(digits.source, validation, size, seed=seed)[0]), None
    if "plain" in methods or "perturbation" in methods:
        network, _ = search(digits.source, little, size, seed=seed)
        if "plain" in methods:
            yield "plain", derived(network), None
        if "perturbation" in methods:
            yield "perturbation", select_by_perturbation(network, digits.source, little, size, seed=seed), None
    if "partial" in methods:
        yield "partial", derived(search(digits.source, little, size, seed=seed, partial=size.partial)[0]), None
    if "weights" in methods:
        yield "weights", random, little


def derived(network: SearchClassifier) -> Genotype:
    """The cell that the strongest weights of a searched network name."""
    return derive_from_weights(network.mixture(), network.primitives)


def joined(one: Digits, other: Digits) -> Digits:
    """The images of both."""
    return Digits(torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels]))


# ---------------------------------------------------------------------------------------------------------- pictures


def digit_sheet(domains: Mapping[str, Digits], columns: int = 8) -> Plot:
    """Domains side by side: a row is one digit, `columns` examples of it in each domain."""
    figure = Plot(4.4 * len(domains), 5.2)
    row = figure.subplots(1, len(domains), squeeze=False)[0]
    for axes, (title, digits) in zip(row, domains.items(), strict=True):
        sheet = np.full((CLASSES * 9 - 1, columns * 9 - 1), np.nan)
        for label in range(CLASSES):
            found = digits.images[digits.labels == label][:columns, 0].numpy()
            for column, image in enumerate(found):
                sheet[9 * label : 9 * label + 8, 9 * column : 9 * column + 8] = image
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
        call = f"conv_1x1({channels}, {stride}, 4, {affine})"
        operation = answer(channels, stride, 4, affine)
        if operation is None or operation is ...:
            raise NotAttempted
        if not isinstance(operation, nn.Module):
            return f"{call}: expected a torch module, yours returned {show(operation)}"
        words = _broken_contract(operation, channels, affine, size, stride)
        if words:
            return f"{call}: {words}"
    return None


def _broken_contract(
    operation: nn.Module, channels: int, affine: bool, size: tuple[int, int], stride: int
) -> str | None:
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
    given = x.clone()
    with torch.no_grad():
        made = operation.train()(given)
    found = tuple(made.shape)
    expected = (2, channels, ceil(size[0] / stride), ceil(size[1] / stride))
    if found != expected:
        return f"an input {tuple(x.shape)} must come out as {expected}, yours gives {found}"
    if not torch.equal(given, x):
        return "it changes its input, which all candidates of an edge share: nn.ReLU() without inplace"
    convolutions = [module for module in operation.modules() if isinstance(module, nn.Conv2d)]
    if [convolution.kernel_size for convolution in convolutions] != [(1, 1)]:
        return f"expected one convolution with a 1×1 kernel, found {[c.kernel_size for c in convolutions]}"
    if convolutions[0].groups != 1:
        return "the convolution has groups: every output channel must see all input channels"
    norms = [module for module in operation.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return "the output has no batch norm: the mixture's terms would come at different scales"
    if norms[-1].affine != affine:
        return (
            f"affine is {affine}, but your batch norm has affine={norms[-1].affine}: "
            "in a search it must not learn a scale of its own"
        )
    means, variances = made.mean(dim=(0, 2, 3)), made.var(dim=(0, 2, 3), correction=0)
    if means.abs().max() > 1e-4 or (variances - 1).abs().max() > 0.02:
        return "the batch norm must come last: the output's channels have not mean 0 and variance 1"
    if convolutions[0].bias is not None:
        return "the convolution has a bias, which the batch norm behind it takes away again: bias=False"
    if not _starts_with_relu(operation, x):
        return "it must begin with a ReLU, as all operations with weights do here: negative inputs must count as zero"
    return None


def _starts_with_relu(operation: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        return torch.allclose(operation(x), operation(x.clamp(min=0)), atol=1e-6)


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
    return shuffle(torch.cat([mixed(x[:, :first]), x[:, first:]], dim=1), partial)


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


def seeds_needed(spread: float, effect: float) -> int:
    """The smallest n with 2 · spread / √n ≤ |effect|, at least 2."""
    return max(2, ceil((2 * spread / abs(effect)) ** 2 - 1e-9))


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
                "Without those the accuracy stays highest: they are missed least. Look for the largest drop."
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
        seeds_needed,
        [
            {"spread": 3.0, "effect": 3.0},
            {"spread": 3.0, "effect": 1.0},
            {"spread": 2.5, "effect": -2.0},
            {"spread": 0.1, "effect": 5.0},
        ],
        praise="Half the effect takes four times as many seeds.",
    ),
}
