"""Where the runs of an experiment lie, and whole experiments over seeds.

An experiment is the folder given as `--out`: `search/` and one `train…/` for every network trained from it are runs,
`spgan/` is the run that learns to translate the source, `translated/` what comes of it; `pictures/` is what there is to
see.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from nasda.data.domain import fingerprint
from nasda.data.store import stored
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.evaluation import evaluate, floors
from nasda.files import read_json, write_json, write_text
from nasda.genotypes import NAMED, Genotype, random_genotype
from nasda.networks import RESNET50, count_cost
from nasda.runs import RunFolder
from nasda.search import run_search
from nasda.settings import DataSettings, EvaluateSettings, Profile, SpaceSettings, TrainOn, changed, check_settings
from nasda.training import Architecture, load_trained, run_training

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
        scores = evaluate(network, *split, batch_size=settings.batch_size, device=device, memory=memory).to_dict()
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
    header = ["", *SCORES.values()]
    lines = [[name, *(percent([score[key] for score in scores]) for key in SCORES)] for name, scores in rows.items()]
    columns = ["left"] + ["right"] * len(SCORES)
    return tabulate(lines, header, tablefmt="pipe", disable_numparse=True, colalign=columns)


def percent(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation of fractions, in percent; of a single one there is no spread."""
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"


GAP_ROWS = ("floor: random", "floor: colour histogram", "cross-domain", "in-domain")


def domain_gap(
    out: Path, task: Task, settings: Profile, seeds: Sequence[int], *, device: torch.device
) -> dict[str, list[dict[str, Any]]]:
    """How wide the gap is: search, then train the found cells on the source (cross-domain) and on the target
    (in-domain), and test both on the target, beside the floors; one experiment a seed, in `out`/seed0, ….

    Finished runs are not repeated. Leaves results.json and results.md in `out`; returns a list of scores a row.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in GAP_ROWS}
    begun = time.time()
    for seed in seeds:
        experiment = Experiment(out / f"seed{seed}")
        genotype = run_search(experiment.search, task, settings, seed=seed, device=device)
        choices: dict[str, TrainOn] = {"cross-domain": "source", "in-domain": "target"}
        for row, train_on in choices.items():
            folder = experiment.training(train_on=train_on)
            chosen = changed(settings, train={"train_on": train_on})
            run_training(folder, task, genotype, chosen, seed=seed, device=device)
            scores = evaluate_runs([folder], task, settings.evaluate, seed=seed, device=device)
            rows[row].append(scores[folder.path.name])
        for name in GAP_ROWS[:2]:
            rows[name].append(scores[name])
        write_json(out / "results.json", {"task": task.name, "seeds": list(seeds), "rows": rows})
    write_text(out / "results.md", results_table(rows) + "\n")
    print(f"{len(seeds)} seeds in {(time.time() - begun) / 60:.1f} minutes")
    return rows


def results_columns(rows: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """The two scores that a plot has room for, for each row a list over seeds."""
    return {
        name: {SCORES[key]: [score[key] for score in scores] for key in ("mAP", "rank1")}
        for name, scores in rows.items()
    }
