"""Where the runs of an experiment lie, and how its networks are tested.

An experiment is the folder given as `--out`: `search/` and one `train…/` for every network trained from it are runs,
`spgan/` is the run that learns to translate the source, `translated/` what comes of it; `pictures/` is what there is to
see.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from nasda.data.domain import fingerprint
from nasda.data.store import stored
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.evaluation import evaluate, floors
from nasda.files import read_json, write_json
from nasda.genotypes import NAMED, Genotype, random_genotype
from nasda.networks import RESNET50, count_cost
from nasda.runs import RunFolder
from nasda.settings import DataSettings, EvaluateSettings, SpaceSettings, TrainOn, check_settings
from nasda.study.statistics import mean_sd
from nasda.training import Architecture, load_trained

SEARCHED, RANDOM = "searched", "random"


@dataclass(frozen=True)
class Experiment:
    """The folders of one experiment."""

    path: Path

    @property
    def search(self) -> RunFolder:
        return RunFolder(self.path / "search")

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def spgan(self) -> RunFolder:
        return RunFolder(self.path / "spgan")

    @property
    def translated(self) -> Path:
        """Where the source's data set lies, translated: a data root."""
        return self.path / "translated"

    def training(
        self, architecture: str = SEARCHED, train_on: TrainOn = "source", *, translated: bool = False
    ) -> RunFolder:
        """Each architecture and each choice of training images has a folder of its own."""
        words = ["train"]
        if architecture != SEARCHED:
            words.append(Path(architecture).stem)
        if train_on != "source":
            words.append(train_on.replace("+", "-"))
        if translated:
            words.append("translated")
        return RunFolder(self.path / "-".join(words))

    def trainings(self) -> list[RunFolder]:
        """The trainings that have left a checkpoint."""
        folders = [RunFolder(path) for path in sorted(self.path.glob("train*"))]
        return [folder for folder in folders if folder.checkpoint.exists()]


def choose_architecture(name: str, experiment: Experiment, space: SpaceSettings, seed: int) -> Architecture:
    """What `--architecture` names: searched cells, random ones, a named genotype, resnet50, or a genotype's file."""
    if name == SEARCHED:
        if not experiment.search.genotype.exists():
            raise NasdaError(
                f"{experiment.search.genotype}: the searched cells are expected here: run nasda search with the same "
                "--out first, or choose another --architecture"
            )
        return Genotype.load(experiment.search.genotype)
    if name == RANDOM:
        return random_genotype(space.nodes, space.primitives, seed)
    if name == RESNET50:
        return None
    if name in NAMED:
        return NAMED[name]
    if not Path(name).exists():
        known = ", ".join([SEARCHED, RANDOM, RESNET50, *NAMED])
        raise NasdaError(
            f"--architecture {name}: expected one of {known}, or a genotype's file, and there is no such file"
        )
    return Genotype.load(Path(name))


def test_set(task: Task) -> str:
    """The fingerprint of what scores are measured on: the target's query and gallery."""
    return fingerprint(task.target, "query", "gallery")


def score_runs(
    folders: Sequence[RunFolder], task: Task, settings: EvaluateSettings, *, seed: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Test each trained network on the target's query and gallery. Returns by run its scores, its network's size, the
    test set's fingerprint as `data`, and the scores of the `floors`. Images are resized as that run was trained."""
    check_settings(settings)
    memory = settings.memory * 2**20
    found: dict[str, dict[str, Any]] = {}
    tests: dict[tuple[int, int], tuple[Any, dict[str, Any]]] = {}  # images and floors, by the images' size
    for folder in folders:
        task_name = folder.read_config("task", "data")["task"]
        if task_name != task.name:
            raise NasdaError(f"{folder.config}: trained for --task {task_name}, not {task.name}")
        data = folder.read_settings("data", DataSettings)
        size = data.height, data.width
        if size not in tests:
            query, gallery = task.target.query, task.target.gallery
            split = query, gallery, stored(query, *size), stored(gallery, *size)
            of_floors = floors(*split, seed=seed, memory=memory, device=device)
            tests[size] = split, {name: metrics.to_dict() for name, metrics in of_floors.items()}
        split, below = tests[size]
        network = load_trained(folder, device)
        features = folder.path / "features" if settings.features_on_disk else None
        options: dict[str, Any] = {"batch_size": settings.batch_size, "device": device, "memory": memory}
        try:
            scores = evaluate(network, *split, features_in=features, **options).to_dict()
        finally:
            if features is not None:
                shutil.rmtree(features, ignore_errors=True)
        scores |= count_cost(network, *size)._asdict() | {"epochs": len(folder.read_log()), "data": test_set(task)}
        found[folder.path.name] = {**scores, "floors": below}
    return found


def evaluate_runs(
    folders: Sequence[RunFolder], task: Task, settings: EvaluateSettings, *, seed: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """`score_runs`, its scores written to metrics.json in each run. Returns them by run and by floor, worst mAP first.

    Raises `NasdaError` before anything is computed where a run holds scores on another test set.
    """
    asked = test_set(task)
    for folder in folders:
        if folder.metrics.exists():
            kept = read_json(folder.metrics, "a run's scores").get("data", "not recorded")
            if kept != asked:
                raise NasdaError(
                    f"{folder.metrics}: these scores are of another test set ({kept}) than {task.target.root} holds "
                    f"({asked}): give the --data-root or --profile of that one, or remove the file to test on this one"
                )
    rows: dict[str, dict[str, Any]] = {}
    for folder, (name, scores) in zip(
        folders, score_runs(folders, task, settings, seed=seed, device=device).items(), strict=True
    ):
        write_json(folder.metrics, scores)
        rows |= {f"floor: {floor}": metrics for floor, metrics in scores.pop("floors").items()}
        rows[name] = scores
    return dict(sorted(rows.items(), key=lambda row: row[1]["mAP"]))


SCORES = {"mAP": "mAP", "mAP_trapezoid": "mAP (trapezoid)", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10"}


def results_table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Scores in percent as Markdown, mean ± standard deviation where a row has more than one seed."""
    lines = [[name, *(mean_sd([score[key] for score in scores]) for key in SCORES)] for name, scores in rows.items()]
    return table_text(["", *SCORES.values()], lines)


def table_text(header: Sequence[str], lines: Sequence[Sequence[str]], form: str = "pipe") -> str:
    """A table of names, in the first column, and numbers: as Markdown, or in another of tabulate's forms."""
    columns = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(lines, header, tablefmt=form, disable_numparse=True, colalign=columns)


def results_columns(rows: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """The two scores that a plot has room for, for each row a list over seeds."""
    return {
        name: {SCORES[key]: [score[key] for score in scores] for key in ("mAP", "rank1")}
        for name, scores in rows.items()
    }
