"""Whole networks: the supernet, the network of a genotype, and the baselines ResNet and plain CNN.

All of them map images (B, 3, H, W) to the feature f and the logits h of §2.2.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nasda.cells import Cell, SearchCell, edge_shares
from nasda.devices import at_least_float32, seeded
from nasda.errors import NasdaError
from nasda.fast.cells import FastSearchCell
from nasda.files import load_tensors
from nasda.genotypes import CELL_KINDS, CellKind, Genotype, derive, edge_count, random_genotype
from nasda.settings import Form, SpaceSettings

RESNET50, RESNET18, PLAIN = "resnet50", "resnet18", "plain"
RESNETS = RESNET50, RESNET18


class Output(NamedTuple):
    """A network's output for a batch: the feature f (B, D) and the logits h (B, classes)."""

    features: Tensor
    logits: Tensor


class EmbeddingHead(nn.Module):
    """f → dropout → embedding g → dropout → logits h (§2.2)."""

    def __init__(self, features: int, embedding: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.width = features
        self.embedding = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, embedding))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(embedding, classes))

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(self.embedding(features))


class ReIDNetwork(nn.Module):
    """The base of all networks here: `features` for testing, `forward` for training."""

    head: EmbeddingHead

    def features(self, images: Tensor) -> Tensor:
        """The feature f that images are compared by: (B, 3, H, W) → (B, D)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        return Output(features, self.head(features))


class Stem(nn.Sequential):
    """A 3×3 convolution and batch norm; with stride 4 two of them, each with stride 2."""

    def __init__(self, channels: int, stride: int) -> None:
        strides = {1: [1], 2: [2], 4: [2, 2]}.get(stride)
        if strides is None:
            raise NasdaError(f"--stem-stride is {stride}: expected 1, 2 or 4")
        layers: list[nn.Module] = []
        for inputs, step in zip((3, channels), strides, strict=False):
            layers += [nn.Conv2d(inputs, channels, 3, step, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        super().__init__(*layers[:-1])  # the cells begin with a ReLU


class Place(NamedTuple):
    """Where a cell stands in the macro network."""

    kind: CellKind
    channels: int
    inputs: tuple[int, int]  # channels of the cell before the last, and of the last
    after_reduction: bool

    @property
    def options(self) -> dict[str, Any]:
        """The same as arguments of `SearchCell` and `Cell`."""
        found = self._asdict()
        return found | {"reduction": found.pop("kind") == "reduce"}


def macro_structure(channels: int, nodes: int, cells_per_block: int, blocks: int = 4) -> list[Place]:
    """The cells of ResNet's macro structure (§3.3): each block after the first begins with a reduction cell and has
    twice the channels of the block before it."""
    places: list[Place] = []
    inputs, after_reduction = (channels, channels), False
    for block in range(blocks):
        for position in range(cells_per_block):
            kind: CellKind = "reduce" if block > 0 and position == 0 else "normal"
            places.append(Place(kind, channels * 2**block, inputs, after_reduction))
            inputs, after_reduction = (inputs[1], nodes * channels * 2**block), kind == "reduce"
    return places


class CellNetwork(ReIDNetwork):
    """Stem, stacked cells, global average pooling, head."""

    def __init__(self, settings: SpaceSettings, nodes: int, classes: int) -> None:
        super().__init__()
        self.places = macro_structure(settings.channels, nodes, settings.cells_per_block, settings.blocks)
        self.stem = Stem(settings.channels, settings.stem_stride)
        self.cells = nn.ModuleList()
        self.head = EmbeddingHead(nodes * self.places[-1].channels, settings.embedding, classes, settings.dropout)

    def features(self, images: Tensor) -> Tensor:
        before_last = last = self.stem(images)
        for place, cell in zip(self.places, self.cells, strict=True):
            before_last, last = last, self.run_cell(cell, place.kind, before_last, last)
        return last.mean(dim=(2, 3), dtype=at_least_float32(last))

    def run_cell(self, cell: nn.Module, kind: CellKind, before_last: Tensor, last: Tensor) -> Tensor:
        return cell(before_last, last)


class Supernet(CellNetwork):
    """The relaxed network of eq. 6: every candidate operation on every edge, mixed by the softmax of α.

    α are parameters (`alphas["normal"]` and `alphas["reduce"]`, each edges × operations, shared by all cells of that
    kind), so that `state_dict` and checkpoints hold them. With partial channels so are β (`betas`, each (edges,)),
    which decide each edge's share of its node.
    """

    replaced: Mapping[CellKind, Tensor] | None = None  # see `mixed_by`

    def __init__(self, settings: SpaceSettings, classes: int, *, seed: int, form: Form = "fast") -> None:
        """`form` chooses how the cells compute: `SearchCell` (clear) or `FastSearchCell`, with the same parameters."""
        cell = FastSearchCell if form == "fast" else SearchCell
        common: dict[str, Any] = {"parts": settings.parts, "partial": settings.partial}
        with seeded(seed):
            super().__init__(settings, settings.nodes, classes)
            self.primitives, self.nodes = settings.primitives, settings.nodes
            self.cells.extend(cell(self.nodes, self.primitives, **place.options, **common) for place in self.places)
            # Small random numbers, as in DARTS: with equal α, `derive` would have ties to break.
            shape = (edge_count(settings.nodes), len(self.primitives))
            self.alphas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind in CELL_KINDS})
            kinds = CELL_KINDS if settings.partial > 1 else ()
            self.betas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(shape[0])) for kind in kinds})

    def run_cell(self, cell: nn.Module, kind: CellKind, before_last: Tensor, last: Tensor) -> Tensor:
        return cell(before_last, last, self.mixture(kind) if self.replaced is None else self.replaced[kind])

    def mixture(self, kind: CellKind) -> Tensor:
        """The weight of every operation on every edge (edges, operations): the softmax of α, times the edge's share."""
        weights = torch.softmax(self.alphas[kind], dim=1)
        return edge_shares(self.betas[kind], self.nodes)[:, None] * weights if self.betas else weights

    @contextmanager
    def mixed_by(self, weights: Mapping[CellKind, Tensor]) -> Iterator[None]:
        """Within the block, `weights` (each (edges, operations)) replace `mixture`."""
        self.replaced = weights
        try:
            yield
        finally:
            self.replaced = None

    def architecture_parameters(self) -> list[nn.Parameter]:
        """α, and β if there is one."""
        return [*self.alphas.parameters(), *self.betas.parameters()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """ω: everything else."""
        return [p for name, p in self.named_parameters() if not name.startswith(("alphas.", "betas."))]

    def alpha_values(self) -> dict[str, list[list[float]]]:
        """α as plain numbers, for logs and pictures."""
        return {kind: self.alphas[kind].detach().cpu().tolist() for kind in CELL_KINDS}

    def beta_values(self) -> dict[str, list[float]] | None:
        """β as plain numbers; None if there is none."""
        return {kind: self.betas[kind].detach().cpu().tolist() for kind in CELL_KINDS} if self.betas else None

    def genotype(self) -> Genotype:
        """The architecture that is derived from α, and from β if there is one (§2.1)."""
        return derive(self.alpha_values(), self.primitives, self.beta_values())


class DerivedNetwork(CellNetwork):
    """The network of a genotype (eq. 5), which is trained from scratch."""

    def __init__(self, genotype: Genotype, settings: SpaceSettings, classes: int, *, seed: int) -> None:
        with seeded(seed):
            super().__init__(settings, genotype.nodes, classes)
            self.genotype = genotype
            common: dict[str, Any] = {"parts": settings.parts, "norm": settings.norm}
            self.cells.extend(Cell(genotype.cell(place.kind), **place.options, **common) for place in self.places)


class ResNet(ReIDNetwork):
    """A baseline: torchvision's ResNet of this `name` (one of `RESNETS`) with the same head.

    `weights`: None for random ones; "imagenet" for torchvision's (which downloads them on first use); else the path of
    a `state_dict` file with torchvision's names. Raises `NasdaError` when that does not fit.
    """

    def __init__(
        self, name: str, settings: SpaceSettings, classes: int, *, seed: int, weights: str | None = None
    ) -> None:
        import torchvision  # imported here: it doubles the time that importing the library takes

        super().__init__()
        with seeded(seed):
            self.backbone = torchvision.models.get_model(name)
            width = self.backbone.fc.in_features
            self.backbone.fc = nn.Identity()
            self.head = EmbeddingHead(width, settings.embedding, classes, settings.dropout)
        if weights is not None:
            self.backbone.load_state_dict(_resnet_weights(name, weights, self.backbone.state_dict()))

    def features(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        return features.to(at_least_float32(features))


def _resnet_weights(name: str, weights: str, expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """ImageNet's weights, downloaded or from a file, without the classifier. Every name and shape is checked."""
    if weights == "imagenet":
        import torchvision

        try:
            found = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, or a file with another checksum
            raise NasdaError(
                f"ImageNet weights could not be downloaded ({error}): download them where there is a network "
                "and give the file with --weights FILE"
            ) from error
    else:
        found = load_tensors(Path(weights), f"weights of {name}")
    for key, tensor in expected.items():
        value = found.get(key) if isinstance(found, dict) else None
        if not isinstance(value, Tensor) or value.shape != tensor.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
            raise NasdaError(
                f"{weights}: expected torchvision's {name} with {key} of shape {tuple(tensor.shape)}, found {shape}"
            )
    return {key: found[key] for key in expected}


class PlainCNN(ReIDNetwork):
    """A control without cells: 3×3 convolutions with batch norm and ReLU one after another, two in place of each cell.

    It has about as many parameters as a network of random cells in this space (`plain_width`).
    """

    def __init__(self, settings: SpaceSettings, classes: int, *, seed: int) -> None:
        super().__init__()
        width = plain_width(settings)
        with seeded(seed):
            self.layers = plain_layers(width, settings)
            self.head = EmbeddingHead(width, settings.embedding, classes, settings.dropout)

    def features(self, images: Tensor) -> Tensor:
        maps = self.layers(images)
        return maps.mean(dim=(2, 3), dtype=at_least_float32(maps))


def plain_layers(width: int, settings: SpaceSettings) -> nn.Sequential:
    """The layers of a `PlainCNN` with `width` channels in the last block, and half as many in each block before."""
    widths = [max(1, round(width / 2**later)) for later in reversed(range(settings.blocks))]
    inputs = widths[0]
    layers: list[nn.Module] = [Stem(inputs, settings.stem_stride), nn.ReLU()]
    for block, outputs in enumerate(widths):
        for position in range(2 * settings.cells_per_block):
            stride = 2 if block > 0 and position == 0 else 1
            conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
    return nn.Sequential(*layers)


@cache
def plain_width(settings: SpaceSettings, cells: int = 20) -> int:
    """The width at which `plain_layers` have as many parameters as the networks of `cells` random genotypes on average
    (to 5 %)."""
    with torch.device("meta"):  # counts without memory
        genotypes = [random_genotype(settings.nodes, settings.primitives, seed) for seed in range(cells)]
        sizes = [count_parameters(DerivedNetwork(genotype, settings, 1, seed=0)) for genotype in genotypes]
        wanted = sum(sizes) / cells

        def size(width: int) -> int:
            return count_parameters(plain_layers(width, settings))

        above = bisect_left(range(2**16), wanted, lo=1, key=size)
        return min(range(max(1, above - 1), above + 1), key=lambda width: abs(size(width) - wanted))


def count_parameters(network: nn.Module) -> int:
    """Numbers in the parameters of `network`, without its head, which testing does not use."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("head."))


class Cost(NamedTuple):
    """The size of a network: its parameters, and the multiply-adds for one image's feature f."""

    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        return f"{_counted(self.parameters)} parameters, {_counted(self.multiply_adds)} multiply-adds an image"


def _counted(number: int) -> str:
    """A number with three digits: 954, 31.9 k, 16.2 M, 4.09 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def count_cost(network: ReIDNetwork, height: int, width: int) -> Cost:
    """Parameters without the head, which testing does not use, and the multiply-adds of convolutions and matrix
    products for one image. Batch norm, pooling and additions are not counted, as is usual."""
    first = next(network.parameters())
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.features(first.new_zeros(1, 3, height, width))
    finally:
        network.train(was_training)
    return Cost(count_parameters(network), counter.get_total_flops() // 2)
