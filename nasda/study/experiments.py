"""The folders of an experiment, and how its networks are tested."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from nasda.data.domain import Sample, fingerprint
from nasda.data.store import stored
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.evaluation import Metrics, evaluate, floors, for_statistics, reestimate_statistics
from nasda.files import read_json, write_json
from nasda.genotypes import NAMED, Genotype, random_genotype
from nasda.networks import ReIDNetwork, count_cost
from nasda.runs import RunFolder
from nasda.settings import DataSettings, EvaluateSettings, Norm, SpaceSettings, TrainOn, check_settings
from nasda.study.statistics import mean_sd
from nasda.training import BASELINES, Architecture, load_trained

SEARCHED, RANDOM = "searched", "random"


class Experiment:
    """The folders below `path`, which is `--out` on the command line."""

    def __init__(self, path: Path) -> None:
        self.path, self.pictures = path, path / "pictures"
        self.search, self.spgan = RunFolder(path / "search"), RunFolder(path / "spgan")
        self.translated = path / "translated"  # a data root, with the source as `spgan` translates it

    def training(
        self,
        architecture: str = SEARCHED,
        train_on: TrainOn = "source",
        *,
        translated: bool = False,
        norm: Norm = "own",
    ) -> RunFolder:
        """The run of one architecture, one choice of training images and one norm."""
        words = ["train"]
        if architecture != SEARCHED:
            words.append(Path(architecture).stem)
        if train_on != "source":
            words.append(train_on.replace("+", "-"))
        if translated:
            words.append("translated")
        if norm != "own":
            words.append(norm)
        return RunFolder(self.path / "-".join(words))

    def trainings(self) -> list[RunFolder]:
        """The trainings that have a checkpoint."""
        folders = [RunFolder(path) for path in sorted(self.path.glob("train*"))]
        return [folder for folder in folders if folder.checkpoint.exists()]


def choose_architecture(name: str, experiment: Experiment, space: SpaceSettings, seed: int) -> Architecture:
    """What `--architecture` names: searched cells, random ones, a named genotype, a baseline, or a genotype's file."""
    if name == SEARCHED:
        if not experiment.search.genotype.exists():
            raise NasdaError(
                f"{experiment.search.genotype}: expected the searched cells here: run nasda search with the same --out "
                "first, or choose another --architecture"
            )
        return Genotype.load(experiment.search.genotype)
    if name == RANDOM:
        return random_genotype(space.nodes, space.primitives, seed)
    if name in BASELINES:
        return name
    if name in NAMED:
        return NAMED[name]
    if not Path(name).exists():
        known = ", ".join([SEARCHED, RANDOM, *BASELINES, *NAMED])
        raise NasdaError(f"--architecture {name}: expected one of {known}, or a genotype's file; there is no such file")
    return Genotype.load(Path(name))


def test_set(task: Task) -> str:
    """The fingerprint of the images that scores are measured on: the target's query and gallery."""
    return fingerprint(task.target, "query", "gallery")


Test = tuple[list[Sample], list[Sample], Tensor, Tensor]  # query, gallery and their images


def _score(
    network: ReIDNetwork, test: Test, settings: EvaluateSettings, device: torch.device, features: Path
) -> Metrics:
    """The scores of `network`; its features lie in the folder `features` meanwhile, if they are to lie on disk."""
    where = features if settings.features_on_disk else None
    options: dict[str, Any] = {"batch_size": settings.batch_size, "device": device, "memory": settings.memory * 2**20}
    try:
        return evaluate(network, *test, features_in=where, **options)
    finally:
        shutil.rmtree(features, ignore_errors=True)


def score_runs(
    folders: Sequence[RunFolder], task: Task, settings: EvaluateSettings, *, seed: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Test each trained network on the target's query and gallery, with images of the size that it was trained on.

    Returns for each run's name its scores under the batch-norm statistics that `settings` choose, its mAP under both
    (`mAP_source`: those that training left; `mAP_target`: re-estimated on the target's training images, without
    labels), the network's size, the test set's fingerprint as `data`, and the scores of the `floors`. Without training
    images of the target there is no `mAP_target`; raises `NasdaError` if `settings` choose it then.
    """
    check_settings(settings)
    unlabelled = task.target.train
    if settings.statistics == "target" and not unlabelled:
        raise NasdaError(
            f"--statistics target: {task.target.root} has no training images to estimate batch norm's statistics on: "
            "add them, or choose --statistics source"
        )
    found: dict[str, dict[str, Any]] = {}
    tests: dict[tuple[int, int], tuple[Test, dict[str, Any]]] = {}  # images and floors, by the images' size
    for folder in folders:
        task_name = folder.read_config("task", "data")["task"]
        if task_name != task.name:
            raise NasdaError(f"{folder.config}: trained for --task {task_name}, not {task.name}")
        data = folder.read_settings("data", DataSettings)
        size = data.height, data.width
        if size not in tests:
            query, gallery = task.target.query, task.target.gallery
            split = query, gallery, stored(query, *size), stored(gallery, *size)
            of_floors = floors(*split, seed=seed, memory=settings.memory * 2**20, device=device)
            tests[size] = (
                split,
                {  # a floor has no batch norm
                    name: metrics.to_dict() | {"mAP_source": metrics.mAP, "mAP_target": metrics.mAP}
                    for name, metrics in of_floors.items()
                },
            )
        split, below = tests[size]
        network = load_trained(folder, device)
        under = {"source": _score(network, split, settings, device, folder.path / "features")}
        if unlabelled:
            reestimate_statistics(network, for_statistics(stored(unlabelled, *size), device))
            under["target"] = _score(network, split, settings, device, folder.path / "features")
        scores = under[settings.statistics].to_dict() | {"statistics": settings.statistics}
        scores |= {f"mAP_{statistics}": metrics.mAP for statistics, metrics in under.items()}
        scores |= count_cost(network, *size)._asdict() | {"epochs": len(folder.read_log()), "data": test_set(task)}
        found[folder.path.name] = {**scores, "floors": below}
    return found


def evaluate_runs(
    folders: Sequence[RunFolder], task: Task, settings: EvaluateSettings, *, seed: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """`score_runs`, and write each run's metrics.json. Returns the scores by run and by floor, worst mAP first.

    Raises `NasdaError` before anything is computed if a run already has scores on another test set.
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
    found = score_runs(folders, task, settings, seed=seed, device=device)
    rows: dict[str, dict[str, Any]] = {}
    for folder, (name, scores) in zip(folders, found.items(), strict=True):
        write_json(folder.metrics, scores)
        rows |= {f"floor: {floor}": metrics for floor, metrics in scores.pop("floors").items()}
        rows[name] = scores
    return dict(sorted(rows.items(), key=lambda row: row[1]["mAP"]))


SCORES = {"mAP": "mAP", "mAP_trapezoid": "mAP (trapezoid)", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10"}
UNDER_STATISTICS = {"mAP_source": "mAP, source statistics", "mAP_target": "mAP, target statistics"}


def results_table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Scores in percent as Markdown, mean ± standard deviation where a row has more than one seed.

    Rows that were tested under both statistics of batch norm have an mAP for each; a line says under which of them the
    other scores are. A row without them, such as an older run's, was tested under the source's.
    """
    columns = dict(SCORES)
    chosen = {score["statistics"] for scores in rows.values() for score in scores if "statistics" in score}
    if chosen:
        columns = UNDER_STATISTICS | {key: name for key, name in SCORES.items() if key != "mAP"}
    lines = []
    for name, scores in rows.items():
        known = [{"mAP_source": score["mAP"], **score} for score in scores]
        values = ([score[key] for score in known if key in score] for key in columns)
        lines.append([name, *(mean_sd(found) if found else "" for found in values)])
    table = table_text(["", *columns.values()], lines)
    said = f"mAP (trapezoid) and ranks: {' or '.join(sorted(chosen))} statistics"
    return f"{table}\n\n{said}" if chosen else table


def table_text(header: Sequence[str], lines: Sequence[Sequence[str]], form: str = "pipe") -> str:
    """A table with names in the first column and numbers in the others: as Markdown, or in another form of tabulate."""
    columns = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(lines, header, tablefmt=form, disable_numparse=True, colalign=columns)


def results_columns(rows: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """mAP and rank-1 for a plot, for each row a list over seeds."""
    shown = ("mAP", "rank1")
    return {name: {SCORES[key]: [found[key] for found in scores] for key in shown} for name, scores in rows.items()}
