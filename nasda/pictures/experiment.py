"""The pictures of an experiment: what `nasda draw` leaves in its folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasda.data.domain import Sample
from nasda.data.images import decode
from nasda.data.store import stored
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.evaluation import extract
from nasda.fast.ranking import ranked_gallery
from nasda.genotypes import CELL_KINDS, Genotype
from nasda.pictures import graphs, plots
from nasda.runs import RunFolder
from nasda.settings import DataSettings, SpaceSettings
from nasda.spgan.dataset import translate
from nasda.spgan.networks import Generator, Translators
from nasda.study.experiments import Experiment
from nasda.training import load_trained

RANKS_SHOWN = 10
TRANSLATIONS_SHOWN = 5


def draw_experiment(
    experiment: Experiment, load_task: Callable[[], Task], queries: int, seed: int, device: torch.device
) -> list[Path]:
    """Draw whatever `experiment` has: cells, macro network and α of its search, a ranked gallery for each training.

    Returns the paths written. Raises `NasdaError` when the experiment has neither a search nor a training.
    """
    paths: list[Path] = []
    if experiment.search.log.exists():
        paths += draw_search(experiment.search, experiment.pictures)
    trainings = experiment.trainings()
    if trainings:
        task = load_task()
        for folder in trainings:
            path = experiment.pictures / f"gallery-{folder.path.name}.png"
            plots.save(gallery_of(folder, task, queries, seed, device), path)
            paths.append(path)
    if not paths:
        raise NasdaError(f"{experiment.path}: nothing to draw here yet: run nasda search with the same --out first")
    return paths


def draw_search(folder: RunFolder, pictures: Path) -> list[Path]:
    """The cells a search has found so far, the network they make, and how α came to it."""
    config, history = folder.read_config("space", "data"), folder.read_log("alphas", "genotype")
    space, data = folder.read_settings("space", SpaceSettings), config["data"]
    primitives, alphas = space.primitives, history[-1]["alphas"]
    genotype = Genotype.from_dict(history[-1]["genotype"])
    macro = graphs.macro_graph(
        blocks=space.blocks,
        cells_per_block=space.cells_per_block,
        channels=space.channels,
        nodes=space.nodes,
        height=data["height"],
        width=data["width"],
        stem_stride=space.stem_stride,
        embedding=space.embedding,
    )
    drawn = {kind: graphs.cell_graph(genotype, kind, alphas, primitives) for kind in CELL_KINDS} | {"macro": macro}
    curves = {f"alphas-{kind}": plots.alpha_heatmap(history, primitives, kind) for kind in CELL_KINDS}
    curves["search"] = plots.search_curves(history, primitives)
    paths = []
    for name, graph in drawn.items():
        for suffix in ("svg", "png"):
            paths.append(pictures / f"{name}.{suffix}")
            graphs.save(graph, paths[-1])
    for name, figure in curves.items():
        paths.append(pictures / f"{name}.png")
        plots.save(figure, paths[-1])
    return paths


def gallery_of(folder: RunFolder, task: Task, queries: int, seed: int, device: torch.device) -> Any:
    """The first gallery images that a trained network finds for some queries drawn by `seed`."""
    data = folder.read_config("data")["data"]
    target = task.target
    images = {split: stored(samples, data["height"], data["width"]) for split, samples in _splits(task).items()}
    network = load_trained(folder, device)
    features = {split: extract(network, pixels, device=device) for split, pixels in images.items()}
    ids = [
        np.array([getattr(s, field) for s in split])
        for split in (target.query, target.gallery)
        for field in ("pid", "camid")
    ]
    count = min(queries, len(target.query))
    chosen = sorted(np.random.default_rng(seed).choice(len(target.query), count, replace=False).tolist())
    ranked = [
        ranked_gallery(features["query"], features["gallery"], *ids, query=query, top=RANKS_SHOWN) for query in chosen
    ]
    return plots.retrieval_gallery(
        [_channels_last(images["query"][query]) for query in chosen],
        [_channels_last(image) for image in images["gallery"]],
        [order.tolist() for order in ranked],
        [(ids[2][order] == ids[0][query]).tolist() for query, order in zip(chosen, ranked, strict=True)],
        [f"id {ids[0][query]}, cam {ids[1][query]}" for query in chosen],
    )


def watch_translation(
    pictures: Path, task: Task, data: DataSettings, *, seed: int, device: torch.device
) -> Callable[[int, Translators], None]:
    """What `run_spgan` calls after each epoch: it draws how a few images of each domain, the same each time, are
    translated by then, and how they look when they are translated back."""
    rng = np.random.default_rng(seed)

    def some(samples: list[Sample]) -> torch.Tensor:
        chosen = sorted(rng.choice(len(samples), min(TRANSLATIONS_SHOWN, len(samples)), replace=False).tolist())
        return decode([samples[index] for index in chosen], data.height, data.width)

    source, target = some(task.source.train), some(task.target.train)

    def there_and_back(images: torch.Tensor, there: Generator, back: Generator) -> list[np.ndarray]:
        translated = translate(there, images, device)
        batches = images, translated, translate(back, translated, device)
        return [batch.permute(0, 2, 3, 1).numpy() for batch in batches]

    def draw(epoch: int, networks: Translators) -> None:
        forth = there_and_back(source, networks.to_target, networks.to_source)
        back = there_and_back(target, networks.to_source, networks.to_target)
        directions = {
            "source → target": dict(zip(("x", "G(x)", "F(G(x))"), forth, strict=True)),
            "target → source": dict(zip(("y", "F(y)", "G(F(y))"), back, strict=True)),
        }
        plots.save(plots.translation_sheet(directions), pictures / f"translation-epoch{epoch:02d}.png")

    return draw


def _splits(task: Task) -> dict[str, list[Sample]]:
    return {"query": task.target.query, "gallery": task.target.gallery}


def _channels_last(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()
