"""The pictures of an experiment, which `nasda draw` writes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from graphviz import Digraph
from matplotlib.figure import Figure

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

Picture: TypeAlias = Digraph | Figure
RANKS_SHOWN = 10
TRANSLATIONS_SHOWN = 5


def draw_experiment(
    experiment: Experiment, load_task: Callable[[], Task], queries: int, seed: int, device: torch.device
) -> list[Path]:
    """Draw the search of `experiment`, a ranked gallery for each training, and its cells if the search has others.

    Returns the paths written. Raises `NasdaError` when the experiment has neither a search nor a training.
    """
    paths = draw_search(experiment.search, experiment.pictures) if experiment.search.log.exists() else []
    searched = _genotype_of(experiment.search)
    trainings = experiment.trainings()
    task = load_task() if trainings else None
    for folder in trainings:
        assert task is not None
        drawn: dict[str, Picture] = {f"gallery-{folder.path.name}": gallery_of(folder, task, queries, seed, device)}
        genotype = _genotype_of(folder)
        if genotype and genotype != searched:
            drawn |= {f"{kind}-{folder.path.name}": graph for kind, graph in _cells(genotype).items()}
        paths += _save(drawn, experiment.pictures)
    if not paths:
        raise NasdaError(f"{experiment.path}: nothing to draw here yet: run nasda search with the same --out first")
    return paths


def draw_search(folder: RunFolder, pictures: Path) -> list[Path]:
    """Draw the cells that a search has found so far, their network, and α and the losses over epochs."""
    config, history = folder.read_config("space", "data"), folder.read_log("alphas", "genotype")
    space, data = folder.read_settings("space", SpaceSettings), config["data"]
    macro = graphs.macro_graph(space, data["height"], data["width"])
    cells = _cells(Genotype.from_dict(history[-1]["genotype"]), history[-1]["alphas"], space.primitives)
    curves = {f"alphas-{kind}": plots.alpha_heatmap(history, space.primitives, kind) for kind in CELL_KINDS}
    curves["search"] = plots.search_curves(history, space.primitives)
    return _save({**cells, "macro": macro, **curves}, pictures)


def _genotype_of(folder: RunFolder) -> Genotype | None:
    return Genotype.load(folder.genotype) if folder.genotype.exists() else None


def _cells(genotype: Genotype, *alphas_and_primitives: Any) -> dict[str, Digraph]:
    return {kind: graphs.cell_graph(genotype, kind, *alphas_and_primitives) for kind in CELL_KINDS}


def _save(drawn: Mapping[str, Picture], pictures: Path) -> list[Path]:
    """Graphs as SVG and as PNG, plots as PNG."""
    paths = []
    for name, picture in drawn.items():
        for suffix in ("svg", "png") if isinstance(picture, Digraph) else ("png",):
            paths.append(pictures / f"{name}.{suffix}")
            if isinstance(picture, Digraph):
                graphs.save(picture, paths[-1])
            else:
                plots.save(picture, paths[-1])
    return paths


def gallery_of(folder: RunFolder, task: Task, queries: int, seed: int, device: torch.device) -> Figure:
    """The nearest gallery images, by a trained network, of some queries chosen at random by `seed`."""
    data = folder.read_config("data")["data"]
    splits = {"query": task.target.query, "gallery": task.target.gallery}
    images = {split: stored(samples, data["height"], data["width"]) for split, samples in splits.items()}
    network = load_trained(folder, device)
    features = {split: extract(network, pixels, device=device) for split, pixels in images.items()}
    ids = [np.array([getattr(s, field) for s in split]) for split in splits.values() for field in ("pid", "camid")]
    count = min(queries, len(splits["query"]))
    chosen = sorted(np.random.default_rng(seed).choice(len(splits["query"]), count, replace=False).tolist())
    ranked = [
        ranked_gallery(features["query"], features["gallery"], *ids, query=query, top=RANKS_SHOWN) for query in chosen
    ]
    return plots.retrieval_gallery(
        list(_channels_last(images["query"][chosen])),
        list(_channels_last(images["gallery"])),
        [order.tolist() for order in ranked],
        [(ids[2][order] == ids[0][query]).tolist() for query, order in zip(chosen, ranked, strict=True)],
        [f"id {ids[0][query]}, cam {ids[1][query]}" for query in chosen],
    )


def watch_translation(
    pictures: Path, task: Task, data: DataSettings, *, seed: int, device: torch.device
) -> Callable[[int, Translators], None]:
    """A function for `run_spgan` to call after each epoch: it draws the same few images of each domain, their
    translations, and these translated back."""
    rng = np.random.default_rng(seed)

    def some(samples: list[Sample]) -> torch.Tensor:
        chosen = sorted(rng.choice(len(samples), min(TRANSLATIONS_SHOWN, len(samples)), replace=False).tolist())
        return decode([samples[index] for index in chosen], data.height, data.width)

    source, target = some(task.source.train), some(task.target.train)

    def there_and_back(images: torch.Tensor, there: Generator, back: Generator) -> list[np.ndarray]:
        translated = translate(there, images, device)
        return [_channels_last(batch) for batch in (images, translated, translate(back, translated, device))]

    def draw(epoch: int, networks: Translators) -> None:
        forth = there_and_back(source, networks.to_target, networks.to_source)
        back = there_and_back(target, networks.to_source, networks.to_target)
        directions = {
            "source → target": dict(zip(("x", "G(x)", "F(G(x))"), forth, strict=True)),
            "target → source": dict(zip(("y", "F(y)", "G(F(y))"), back, strict=True)),
        }
        plots.save(plots.translation_sheet(directions), pictures / f"translation-epoch{epoch:02d}.png")

    return draw


def _channels_last(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()
