"""Whole networks: the supernet that is searched, the network derived from a genotype, the ResNet-50 baseline.

All of them map images (B, 3, H, W) to the feature f and the logits h of §2.2, and are called the same way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nasda.cells import Cell, SearchCell
from nasda.devices import at_least_float32, seeded
from nasda.errors import NasdaError
from nasda.fast.cells import FastSearchCell
from nasda.files import load_tensors
from nasda.genotypes import CELL_KINDS, CellKind, Genotype, derive, edge_count
from nasda.settings import Form, SpaceSettings

BLOCKS = 4  # ResNet's macro structure (§3.3)
RESNET50 = "resnet50"


class Output(NamedTuple):
    """What a network says of a batch: the feature f (B, D) and the logits h (B, classes)."""

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
    """What every network here has: `features` for testing, `forward` for training."""

    head: EmbeddingHead

    def features(self, images: Tensor) -> Tensor:
        """The feature f that images are compared by: (B, 3, H, W) → (B, D)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        return Output(features, self.head(features))


class Stem(nn.Sequential):
    """The 3×3 convolutional head, and a second one where height and width are to shrink by 4."""

    def __init__(self, channels: int, stride: int) -> None:
        strides = {1: [1], 2: [2], 4: [2, 2]}.get(stride)
        if strides is None:
            raise NasdaError(f"--stem-stride is {stride}: expected 1, 2 or 4")
        layers: list[nn.Module] = []
        for index, step in enumerate(strides):
            layers += [] if index == 0 else [nn.ReLU()]  # the cells begin with a ReLU of their own
            layers += [
                nn.Conv2d(3 if index == 0 else channels, channels, 3, step, 1, bias=False),
                nn.BatchNorm2d(channels),
            ]
        super().__init__(*layers)


class Place(NamedTuple):
    """Where a cell stands in the macro network."""

    kind: CellKind
    channels: int
    inputs: tuple[int, int]  # channels of the cell before the last, and of the last
    after_reduction: bool


def macro_structure(channels: int, nodes: int, cells_per_block: int) -> list[Place]:
    """The cells of ResNet's macro structure: four blocks, channels doubling, each block after the first opened by a
    reduction cell (§3.3)."""
    places: list[Place] = []
    inputs, after_reduction = (channels, channels), False
    for block in range(BLOCKS):
        for position in range(cells_per_block):
            kind: CellKind = "reduce" if block > 0 and position == 0 else "normal"
            places.append(Place(kind, channels * 2**block, inputs, after_reduction))
            inputs, after_reduction = (inputs[1], nodes * channels * 2**block), kind == "reduce"
    return places


class CellNetwork(ReIDNetwork):
    """Stem, stacked cells, global average pooling, head: what `Supernet` and `DerivedNetwork` share."""

    def __init__(self, settings: SpaceSettings, nodes: int, classes: int) -> None:
        super().__init__()
        self.places = macro_structure(settings.channels, nodes, settings.cells_per_block)
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

    α are parameters like any other (`alphas["normal"]` and `alphas["reduce"]`, each edges × operations, shared by all
    cells of that kind), so that `state_dict` and checkpoints hold them.
    """

    def __init__(self, settings: SpaceSettings, classes: int, *, seed: int, form: Form = "fast") -> None:
        """`form` chooses how the cells compute: `SearchCell` (clear) or `FastSearchCell`, with the same parameters."""
        cell = FastSearchCell if form == "fast" else SearchCell
        with seeded(seed):
            super().__init__(settings, settings.nodes, classes)
            self.primitives = settings.primitives
            for place in self.places:
                self.cells.append(
                    cell(
                        settings.nodes,
                        self.primitives,
                        place.inputs,
                        place.channels,
                        reduction=place.kind == "reduce",
                        after_reduction=place.after_reduction,
                        parts=settings.parts,
                    )
                )
            # Nearly undecided, but not quite: equal α would leave ties for `derive` to break (DARTS does the same).
            shape = (edge_count(settings.nodes), len(self.primitives))
            self.alphas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind in CELL_KINDS})

    def run_cell(self, cell: nn.Module, kind: CellKind, before_last: Tensor, last: Tensor) -> Tensor:
        return cell(before_last, last, torch.softmax(self.alphas[kind], dim=1))

    def architecture_parameters(self) -> list[nn.Parameter]:
        """α."""
        return list(self.alphas.parameters())

    def weight_parameters(self) -> list[nn.Parameter]:
        """ω: everything that is not α."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("alphas.")]

    def alpha_values(self) -> dict[str, list[list[float]]]:
        """α as plain numbers, for logs and pictures."""
        return {kind: self.alphas[kind].detach().cpu().tolist() for kind in CELL_KINDS}

    def genotype(self) -> Genotype:
        """The architecture that α stands for now (§2.1)."""
        return derive(self.alpha_values(), self.primitives)


class DerivedNetwork(CellNetwork):
    """The network of a genotype, eq. 5, with weights of its own: it is trained from scratch."""

    def __init__(self, genotype: Genotype, settings: SpaceSettings, classes: int, *, seed: int) -> None:
        with seeded(seed):
            super().__init__(settings, genotype.nodes, classes)
            self.genotype = genotype
            for place in self.places:
                self.cells.append(
                    Cell(
                        genotype.cell(place.kind),
                        place.inputs,
                        place.channels,
                        reduction=place.kind == "reduce",
                        after_reduction=place.after_reduction,
                        parts=settings.parts,
                    )
                )


class ResNet50(ReIDNetwork):
    """The baseline: torchvision's ResNet-50 with the same head.

    `weights`: None starts from nothing; "imagenet" takes torchvision's own (downloaded by torchvision on first use);
    anything else is the path of a `state_dict` file in torchvision's names. Raises `NasdaError` when it does not fit.
    """

    def __init__(self, settings: SpaceSettings, classes: int, *, seed: int, weights: str | None = None) -> None:
        import torchvision  # here: it doubles the time that importing the library takes, and only this network needs it

        super().__init__()
        with seeded(seed):
            self.backbone = torchvision.models.resnet50()
            width = self.backbone.fc.in_features
            self.backbone.fc = nn.Identity()
            self.head = EmbeddingHead(width, settings.embedding, classes, settings.dropout)
        if weights is not None:
            self.backbone.load_state_dict(_resnet50_weights(weights, self.backbone.state_dict()))

    def features(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        return features.to(at_least_float32(features))


def _resnet50_weights(weights: str, expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """ImageNet's weights from torchvision's download or from a file, checked name by name and shape by shape. Its
    classifier is left behind: it knows ImageNet's classes."""
    if weights == "imagenet":
        import torchvision

        try:
            found = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, or a file with another checksum
            raise NasdaError(
                f"ImageNet weights could not be downloaded ({error}): download them where there is a network "
                "and give the file with --weights FILE"
            ) from error
    else:
        found = load_tensors(Path(weights), "ResNet-50 weights")
    for name, tensor in expected.items():
        value = found.get(name) if isinstance(found, dict) else None
        if not isinstance(value, Tensor) or value.shape != tensor.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
            raise NasdaError(
                f"{weights}: expected torchvision's ResNet-50 with {name} of shape {tuple(tensor.shape)}, found {shape}"
            )
    return {name: found[name] for name in expected}


class Cost(NamedTuple):
    """The size of a network: its parameters, and the multiply-adds of one image's feature f."""

    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        return f"{_counted(self.parameters)} parameters, {_counted(self.multiply_adds)} multiply-adds an image"


def _counted(number: int) -> str:
    """Three digits or so: 954, 31.9 k, 16.2 M, 4.09 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def count_cost(network: ReIDNetwork, height: int, width: int) -> Cost:
    """Parameters of the feature extractor (without the head, which testing does not use), and the multiply-adds of
    its convolutions and matrix products for one image. Batch norm, pooling and additions are not counted, as usual."""
    head = set(network.head.parameters())
    parameters = sum(parameter.numel() for parameter in network.parameters() if parameter not in head)
    first = next(network.parameters())
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.features(torch.zeros(1, 3, height, width, device=first.device, dtype=first.dtype))
    finally:
        network.train(was_training)
    return Cost(parameters, counter.get_total_flops() // 2)
