"""Where runs lie, which architecture a name means, how networks are tested, and how results become a table."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasda.data.store import stored
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.evaluation import evaluate
from nasda.genotypes import NAMED, PRIMITIVES, random_genotype
from nasda.networks import ReIDNetwork
from nasda.runs import RunFolder
from nasda.settings import EvaluateSettings, Norm, SpaceSettings
from nasda.study import experiments
from nasda.study.experiments import (
    Experiment,
    choose_architecture,
    evaluate_runs,
    results_columns,
    results_table,
    score_runs,
)
from nasda.training import load_trained, run_training
from tests.tasks import HEIGHT, TRAIN, WIDTH, make_split, make_task, profile_with

SPACE = SpaceSettings(nodes=3)
CPU = torch.device("cpu")
SOURCE, TARGET = EvaluateSettings(statistics="source"), EvaluateSettings(statistics="target")


def scores(mAP: float) -> dict[str, float]:
    return {"mAP": mAP, "mAP_trapezoid": mAP / 2, "rank1": 2 * mAP, "rank5": 0.5, "rank10": 1.0}


def test_every_training_of_an_experiment_has_a_folder_of_its_own() -> None:
    experiment = Experiment(Path("runs/a"))
    names = {
        experiment.training(architecture, train_on, translated=translated, norm=norm).path.name
        for architecture in ("searched", "random", "resnet50", "cells/mine.json")
        for train_on in ("source", "target", "source+sample")
        for translated in (False, True)
        for norm in get_args(Norm)
    }
    assert len(names) == 48
    assert {"train", "train-target", "train-source-sample", "train-mine", "train-resnet50-target"} < names
    assert {"train-resnet50-translated", "train-ibn"} < names


def test_a_name_means_an_architecture(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    for baseline in ("resnet50", "resnet18", "plain"):
        assert choose_architecture(baseline, experiment, SPACE, 0) == baseline
    assert choose_architecture("resnet-like", experiment, SPACE, 0) == NAMED["resnet-like"]
    drawn = random_genotype(3, PRIMITIVES["reid"], seed=5)
    assert choose_architecture("random", experiment, SPACE, 5) == drawn
    drawn.save(tmp_path / "mine.json")
    assert choose_architecture(str(tmp_path / "mine.json"), experiment, SPACE, 0) == drawn
    with pytest.raises(NasdaError, match="run nasda search"):
        choose_architecture("searched", experiment, SPACE, 0)
    drawn.save(experiment.search.genotype)
    assert choose_architecture("searched", experiment, SPACE, 0) == drawn


def test_the_table_gives_mean_and_sample_standard_deviation_in_percent() -> None:
    table = results_table({"one": [scores(0.123)], "three": [scores(0.1), scores(0.2), scores(0.3)]})
    header, rule, one, three = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert header == ["", "mAP", "mAP (trapezoid)", "rank-1", "rank-5", "rank-10"]
    assert set("".join(rule)) == {"-", ":"}
    assert one == ["one", "12.3", "6.2", "24.6", "50.0", "100.0"]
    assert three == ["three", "20.0 ± 10.0", "10.0 ± 5.0", "40.0 ± 20.0", "50.0 ± 0.0", "100.0 ± 0.0"]
    assert len({len(line) for line in table.splitlines()}) == 1  # the columns stand below each other


def test_the_plot_gets_every_seed() -> None:
    columns = results_columns({"row": [scores(0.1), scores(0.2)]})
    assert columns == {"row": {"mAP": [0.1, 0.2], "rank-1": [0.2, 0.4]}}


def both_statistics(mAP: float, **more: Any) -> dict[str, Any]:
    return scores(mAP) | {"statistics": "target", "mAP_source": mAP / 2, "mAP_target": mAP, **more}


def test_the_table_names_the_statistics_of_each_map() -> None:
    rows: dict[str, list[dict[str, Any]]] = {"new": [both_statistics(0.2), both_statistics(0.4)], "old": [scores(0.1)]}
    table, said = results_table(rows).split("\n\n")
    header, _, new, old = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert header[1:4] == ["mAP, source statistics", "mAP, target statistics", "mAP (trapezoid)"]
    assert new[1:4] == ["15.0 ± 7.1", "30.0 ± 14.1", "15.0 ± 7.1"]
    assert old[1:4] == ["10.0", "", "5.0"]
    assert said == "mAP (trapezoid) and ranks: target statistics"


# Both statistics of batch norm


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, RunFolder]:
    """A task whose test has identities by lot, so that no network answers it, and a run that learnt for a moment."""
    path = tmp_path_factory.mktemp("tested")
    easy, folder, rng = make_task(path), RunFolder(path / "train"), np.random.default_rng(0)
    by_lot = {
        split: [sample._replace(pid=int(rng.integers(1, 4))) for sample in getattr(easy.target, split)]
        for split in ("query", "gallery")
    }
    task = changed_target(easy, **by_lot)
    genotype = random_genotype(2, PRIMITIVES["reid"], seed=0)
    settings = profile_with(train=dataclasses.replace(TRAIN, epochs=2))
    run_training(folder, task, genotype, settings, seed=0, device=CPU)
    return task, folder


def changed_target(task: Task, **splits: Any) -> Task:
    return Task(task.name, task.source, dataclasses.replace(task.target, **splits))


def statistics_of(network: nn.Module) -> Tensor:
    return torch.cat([value for name, value in network.named_buffers() if "running" in name])


def test_a_run_is_tested_under_both_statistics(tested: tuple[Task, RunFolder]) -> None:
    """The target's, by hand: batch norm in training mode, without a memory, on all training images at once."""
    task, folder = tested
    query, gallery = task.target.query, task.target.gallery
    test = query, gallery, *(stored(split, HEIGHT, WIDTH) for split in (query, gallery))
    network = load_trained(folder, CPU)
    expected = {"source": evaluate(network, *test)}
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    pixels = stored(task.target.train, HEIGHT, WIDTH).float() / 255
    mean, deviation = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        network.train().features((pixels - mean) / deviation)
    expected["target"] = evaluate(network, *test)
    assert expected["source"].mAP != expected["target"].mAP
    for settings in (SOURCE, TARGET):
        (found,) = score_runs([folder], task, settings, seed=0, device=CPU).values()
        assert found["mAP_source"] == expected["source"].mAP
        assert found["mAP_target"] == expected["target"].mAP
        chosen = expected[settings.statistics].to_dict()
        assert {key: found[key] for key in chosen} == chosen
        assert found["statistics"] == settings.statistics
        assert all(floor["mAP_target"] == floor["mAP"] for floor in found["floors"].values())


def test_statistics_come_from_training_images_alone(
    tested: tuple[Task, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other query and gallery images change nothing in the network that is tested; other training images do."""
    task, folder = tested
    tested_with: list[Tensor] = []

    def note(network: ReIDNetwork, *arguments: Any, **options: Any) -> Any:
        tested_with.append(statistics_of(network))
        return evaluate(network, *arguments, **options)

    monkeypatch.setattr(experiments, "evaluate", note)
    new = {
        split: make_split(task.target.root / "new" / split, range(17, 20), range(1, 3), 2, 0.3)
        for split in ("query", "gallery", "train")
    }
    same, other_test = task, changed_target(task, query=new["query"], gallery=new["gallery"])
    for variant in (same, other_test, changed_target(task, train=new["train"])):
        score_runs([folder], variant, SOURCE, seed=0, device=CPU)
    source, target = tested_with[::2], tested_with[1::2]
    assert all(torch.equal(statistics, source[0]) for statistics in source)
    assert not torch.equal(source[0], target[0])
    assert torch.equal(target[1], target[0])
    assert not torch.equal(target[2], target[0])


def test_without_training_images_of_the_target_there_are_no_target_statistics(tested: tuple[Task, RunFolder]) -> None:
    task, folder = tested
    untrained = changed_target(task, train=[])
    (found,) = score_runs([folder], untrained, SOURCE, seed=0, device=CPU).values()
    assert "mAP_source" in found
    assert "mAP_target" not in found
    with pytest.raises(NasdaError, match=r"--statistics target: .*target has no training images"):
        score_runs([folder], untrained, TARGET, seed=0, device=CPU)


def test_both_statistics_are_written_and_printed(tested: tuple[Task, RunFolder]) -> None:
    task, folder = tested
    rows = evaluate_runs([folder], task, TARGET, seed=0, device=CPU)
    assert '"mAP_target"' in folder.metrics.read_text()
    printed = results_table({name: [found] for name, found in rows.items()})
    assert "mAP, source statistics" in printed
    assert printed.endswith("ranks: target statistics")
