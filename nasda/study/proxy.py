"""The cheap test of a search: does the loss that α follows know which cells are good?

About 30 random cells are trained and tested. Each is also cut out of a supernet, and α's loss is measured with the ω
that it inherits. Kendall's τ says how well the loss ranks the cells by their mAP: 1 as well as possible, 0 not at all.
Where τ is near 0, no search on that loss can help (Yu et al., ICLR 2020, test supernets so).

Two rivals stand beside it. Multiply-adds may rank the cells as well: partial τ says what the loss knows beyond them.
And the loss may be at fault, not the supernet: so it is also measured on the trained cells, with their own ω.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from nasda.bilevel import frozen_statistics
from nasda.cells import Cell, MixedOp
from nasda.data.batches import Batches
from nasda.data.task import Task, hold_out, target_sample
from nasda.errors import NasdaError
from nasda.evaluation import for_statistics, reestimate_statistics
from nasda.files import write_json, write_text
from nasda.genotypes import Genotype, node_slices, random_genotype
from nasda.losses import class_centres, memory_loss, mmd, triplet_loss
from nasda.networks import DerivedNetwork, ReIDNetwork, Supernet
from nasda.runs import RunFolder
from nasda.search import finished_search, run_search
from nasda.settings import DataSettings, Profile, SearchSettings, SpaceSettings, changed
from nasda.study.experiments import table_text
from nasda.study.rows import Row
from nasda.study.table import make_table, search_folder
from nasda.training import load_trained

SCORES = {"mAP_source": "source statistics", "mAP_target": "target statistics"}
STATISTICS = ("batch", "source")
RESAMPLES = 1_999

Values = NDArray[np.float64]
Batch = tuple[Tensor, Tensor]  # normalised images (B, 3, H, W) and labels (B,)


CELLS_FROM = 1000  # the seed of the first random cell: others than those of the rows of a table


class Proxy(NamedTuple):
    """What is measured of a cell in place of its mAP: one of α's losses on some images."""

    loss: str  # "triplet", "unit-triplet", "memory" or "mmd"
    images: str  # "source": held back from ω; "target": the sample; "both"
    statistics: str  # of batch norm: "batch", or "source" as in the test


Losses = dict[Proxy, float]


@dataclass(frozen=True)
class AlphaImages:
    """The images of α's losses, in batches as the search has them."""

    source: list[Batch]
    target: list[Batch]
    of_weights: Tensor  # ω's images, uint8 (N, 3, H, W), for batch norm's statistics
    settings: SearchSettings

    @classmethod
    def of_search(cls, folder: RunFolder, task: Task, device: torch.device) -> "AlphaImages":
        """Those of the search in `folder`. Raises `NasdaError` if its ω has learnt the images of the source's loss."""
        settings, data = folder.read_settings("search", SearchSettings), folder.read_settings("data", DataSettings)
        if settings.mode == "S+R" and not (settings.hold_out or settings.alpha_loss == "mmd"):
            raise NasdaError(
                f"{folder.config}: no source images are held back from ω here, so that α's loss on them says little: "
                "search with --mode S or with --hold-out"
            )
        seed = folder.read_config("seed")["seed"]
        kept, held = hold_out(task.source.train, settings.sample_images, seed)
        images = min(settings.images, settings.sample_images)
        identities = settings.identities * settings.images // images

        def batches(samples: Sequence[Any]) -> Batches:
            options: dict[str, Any] = {"seed": seed, "device": device, "augmented": False, "fewer_identities": True}
            return Batches(samples, data, identities, images, **options)

        def one_pass(found: Batches) -> list[Batch]:
            return [found.next() for _ in range(len(found))]

        sample = target_sample(task.target, settings.sample_images, seed)
        of_weights = batches(kept).pixels.permute(0, 3, 1, 2)
        return cls(one_pass(batches(held)), one_pass(batches(sample)), of_weights, settings)


def inherited(network: Supernet, genotype: Genotype, space: SpaceSettings) -> DerivedNetwork:
    """The network of `genotype` with the supernet's own ω, untrained otherwise: stem, inputs, head, and of every edge
    the operation that was chosen. Dropout and running statistics come along."""
    classes = next(module for module in reversed(list(network.head.modules())) if isinstance(module, nn.Linear))
    derived = DerivedNetwork(genotype, space, classes.out_features, seed=0)
    derived.stem.load_state_dict(network.stem.state_dict())
    derived.head.load_state_dict(network.head.state_dict())
    for place, old, new in zip(network.places, network.cells, derived.cells, strict=True):
        assert isinstance(new, Cell)
        rows, nodes = node_slices(genotype.nodes), genotype.cell(place.kind)
        sources: list[nn.Module] = [old.get_submodule("inputs")]
        for slots, node in zip(rows, nodes, strict=True):
            for edge in node:
                mixed = old.get_submodule(f"edges.{slots.start + edge.input}")
                assert isinstance(mixed, MixedOp)
                sources.append(mixed.operations[network.primitives.index(edge.operation)])
        for source, target in zip(sources, [new.inputs, *new.operations], strict=True):
            # Not strict: the derived network's batch norms have scales and shifts, which start at 1 and 0.
            target.load_state_dict(source.state_dict(), strict=False)
    return derived


@torch.no_grad()
def losses_of(network: ReIDNetwork, images: AlphaImages) -> Losses:
    """Each of α's losses with `network`'s features, except retrieval, whose head only a search trains. The network
    stays as it is.

    The loss is the mean over batches. memory contrasts with the centres of the sample's own features; mmd is the
    triplet loss on the source's images and the distance to the target's, and "mmd alone" is that distance.
    """
    found: Losses = {}
    training = network.training
    for statistics in STATISTICS:
        network.train(statistics == "batch")
        with frozen_statistics(network):
            source, target = (
                [(network.features(pixels), labels) for pixels, labels in batches]
                for batches in (images.source, images.target)
            )
            both = list(zip(source, target, strict=False))
            if statistics == "batch":  # of both domains together, as in the search
                both = [_together(network, *pair) for pair in zip(images.source, images.target, strict=False)]
        for side, of_side in (("source", source), ("target", target)):
            for name, value in _labelled_losses(of_side, images.settings).items():
                found[Proxy(name, side, statistics)] = value
        for name, value in _mmd_losses(both, images.settings).items():
            found[Proxy(name, "both", statistics)] = value
    network.train(training)
    return found


def _together(network: ReIDNetwork, one: Batch, other: Batch) -> tuple[Batch, Batch]:
    """The features of two batches that go through the network as one."""
    features = network.features(torch.cat([one[0], other[0]])).tensor_split([len(one[0])])
    return (features[0], one[1]), (features[1], other[1])


def _labelled_losses(batches: Sequence[Batch], settings: SearchSettings) -> dict[str, float]:
    """The losses that need labels, on batches of features (B, D) and labels."""
    every, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    centres = class_centres(every, labels, int(labels.max()) + 1)
    margin, temperature = settings.margin, settings.temperature
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "triplet": lambda f, y: triplet_loss(f, y, margin),
        "unit-triplet": lambda f, y: triplet_loss(functional.normalize(f), y, margin),
        "memory": lambda f, y: memory_loss(f, y, centres, temperature),
    }
    return {name: float(np.mean([loss(*batch).item() for batch in batches])) for name, loss in losses.items()}


def _mmd_losses(batches: Sequence[tuple[Batch, Batch]], settings: SearchSettings) -> dict[str, float]:
    """The mmd loss, and its distance alone, on features of source and target."""
    triplet = float(np.mean([triplet_loss(*source, settings.margin).item() for source, _ in batches]))
    distance = float(np.mean([mmd(source, target).item() for (source, _), (target, _) in batches]))
    return {"mmd": triplet + settings.mmd_weight * distance, "mmd alone": distance}


def supernet_losses(
    folder: RunFolder, task: Task, genotypes: Sequence[Genotype], device: torch.device
) -> Iterator[Losses]:
    """`losses_of` each cell with the ω that it inherits from the finished search in `folder`.

    The supernet's running statistics are of all operations together, so the cell's own are estimated on ω's images.
    A supernet whose α stay at rest comes from a search in mode S with --alphas-lr 1e-9.
    """
    images = AlphaImages.of_search(folder, task, device)
    network, space = finished_search(folder, task, device).network, folder.read_settings("space", SpaceSettings)
    if space.partial > 1:
        raise NasdaError(f"{folder.config}: with --partial above 1 a cell can't inherit ω: search with --partial 1")
    for genotype in genotypes:
        cell = inherited(network, genotype, space).to(device)
        reestimate_statistics(cell, for_statistics(images.of_weights, device))
        yield losses_of(cell, images)


def trained_losses(folders: Sequence[RunFolder], images: AlphaImages, device: torch.device) -> Iterator[Losses]:
    """`losses_of` each trained cell itself. Its ω has learnt the source's images, the held ones too."""
    return (losses_of(load_trained(folder, device), images) for folder in folders)


# ------------------------------------------------------------------------------------------------------------------- τ


def kendall(x: Values, y: Values) -> Values:
    """Kendall's τ-b along the last axis: (…, n) and (…, n) → (…). nan where all values of one are equal."""
    a, b = (np.sign(values[..., :, None] - values[..., None, :]) for values in (x, y))
    with np.errstate(invalid="ignore"):
        return (a * b).sum((-2, -1)) / np.sqrt((a * a).sum((-2, -1)) * (b * b).sum((-2, -1)))


def partial_kendall(x: Values, y: Values, z: Values) -> Values:
    """Kendall's partial τ of x and y, given z: (τxy − τxz τyz) / √((1 − τxz²)(1 − τyz²)) (Biometrika 1942).

    0 where x or y has the order of z: then nothing is left to be explained."""
    xy, xz, yz = kendall(x, y), kendall(x, z), kendall(y, z)
    left = (1 - xz**2) * (1 - yz**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(left < 1e-12, 0.0, (xy - xz * yz) / np.sqrt(left))


class Tau(NamedTuple):
    """An estimate over cells and its 95 % interval (percentile bootstrap over cells)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):  # some resamples hold a few cells only, which size or loss orders perfectly
            return f"{self.value:+.2f}"
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def estimate(statistic: Callable[..., Values], *columns: Values) -> Tau:
    """`statistic` of columns (n,), one value a cell, with its interval. The resamples are always the same."""
    found = stats.bootstrap(
        columns,
        lambda *resampled, axis: statistic(*resampled),  # along the last axis
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return Tau(float(statistic(*columns)), float(low), float(high))


@dataclass(frozen=True)
class Ranking:
    """How well something ranks the cells by one score: τ is positive if a small loss means a large mAP."""

    network: str  # the supernet's name, "trained cells", or "" for multiply-adds
    proxy: Proxy | None  # None: multiply-adds, more of which should mean a larger mAP
    score: str  # of `SCORES`
    tau: Tau
    partial: Tau | None = None  # given log multiply-adds
    gain: Tau | None = None  # τ on the target's images less τ of the same loss on the source's


def rows_of(losses: Mapping[str, Sequence[Losses]], cells: Sequence[Mapping[str, float]]) -> list[Ranking]:
    """A row for each network, proxy and score. `losses` has for each network one entry a cell; `cells` has the scores
    of the trained cells, in the same order: mAP_source, mAP_target, multiply_adds."""
    size = np.log([cell["multiply_adds"] for cell in cells])
    scores = {score: np.array([cell[score] for cell in cells]) for score in SCORES}
    rows = [Ranking("", None, score, estimate(kendall, size, values)) for score, values in scores.items()]
    for (network, of_cells), (score, values) in product(losses.items(), scores.items()):
        columns = {proxy: -np.array([of_cell[proxy] for of_cell in of_cells]) for proxy in of_cells[0]}
        for proxy, column in columns.items():
            gain = None
            if proxy.images == "target":
                rival = columns[proxy._replace(images="source")]
                gain = estimate(lambda a, b, y: kendall(a, y) - kendall(b, y), column, rival, values)
            partial = estimate(partial_kendall, column, values, size)
            rows.append(Ranking(network, proxy, score, estimate(kendall, column, values), partial, gain))
    return rows


def markdown(rows: Sequence[Ranking]) -> str:
    """The rows as Markdown: a line for each network and proxy, for each score τ, partial τ and the target's gain."""
    by_line: dict[tuple[str, Proxy | None], dict[str, Ranking]] = {}
    for row in rows:
        by_line.setdefault((row.network, row.proxy), {})[row.score] = row
    header = ["ω of", "α's loss", "on images of", "statistics"]
    header += [f"{what}, mAP {name}" for name in SCORES.values() for what in ("τ", "τ given size", "target − source")]
    lines = []
    for (network, proxy), of_score in by_line.items():
        found = [of_score[score] for score in SCORES]
        numbers = [str(value or "") for row in found for value in (row.tau, row.partial, row.gain)]
        lines.append([network, *(proxy or ("log multiply-adds", "", "")), *numbers])
    return table_text(header, lines)


SUPERNETS: dict[str, dict[str, Any]] = {  # α at rest, and as two searches leave it; no ω has seen α's source images
    "supernet, α at rest": {"mode": "S", "alphas_lr": 1e-9},
    "supernet of S": {"mode": "S", "alpha_statistics": "source"},
    "supernet of S+R": {"mode": "S+R", "alpha_statistics": "source", "hold_out": True},
}


def cheap_test(
    out: Path, task: Task, settings: Profile, cells: int, *, seed: int, jobs: int, device: torch.device
) -> list[Ranking]:
    """Train and test random `cells` of the space of `settings`, search the `SUPERNETS`, and measure what ranks them.

    Writes the runs to `out`/runs, what was measured to `out`/proxy.json, and the rankings to proxy.md. The same call
    continues an interrupted one.
    """
    seeds = range(CELLS_FROM, CELLS_FROM + cells)
    genotypes = [random_genotype(settings.space.nodes, settings.space.primitives, number) for number in seeds]
    rows = [Row(f"cell {number:02d}", genotype) for number, genotype in enumerate(genotypes)]
    shared: dict[str, Any] = {"jobs": jobs, "device": device}
    scores = make_table(out, task, settings, [seed], rows=rows, **shared).scores
    found: dict[str, list[Losses]] = {}
    for name, search in SUPERNETS.items():
        searching = changed(settings, search=search)
        folder = search_folder(out / "runs", task, searching, seed)
        with folder.held(wait=True):
            run_search(folder, task, searching, seed=seed, device=device)
        found[name] = list(supernet_losses(folder, task, genotypes, device))
    images = AlphaImages.of_search(folder, task, device)
    trained = [RunFolder(out / "runs" / scores[row.name][0]["run"]) for row in rows]
    found["trained cells"] = list(trained_losses(trained, images, device))
    measured = {
        "cells": [{key: scores[row.name][0][key] for key in (*SCORES, "multiply_adds")} for row in rows],
        "losses": {
            name: [[[*proxy, value] for proxy, value in of_cell.items()] for of_cell in of_cells]
            for name, of_cells in found.items()
        },
    }
    write_json(out / "proxy.json", measured)
    ranked = rankings(measured)
    write_text(out / "proxy.md", markdown(ranked) + "\n")
    return ranked


def rankings(measured: Mapping[str, Any]) -> list[Ranking]:
    """`rows_of` what proxy.json holds."""
    losses = {
        name: [{Proxy(*proxy): value for *proxy, value in of_cell} for of_cell in of_cells]
        for name, of_cells in measured["losses"].items()
    }
    return rows_of(losses, measured["cells"])
