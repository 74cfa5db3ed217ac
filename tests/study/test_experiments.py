"""Where runs lie, which architecture a name means, and how results become a table."""

from pathlib import Path

import pytest

from nasda.errors import NasdaError
from nasda.genotypes import NAMED, PRIMITIVES, random_genotype
from nasda.settings import SpaceSettings
from nasda.study.experiments import Experiment, choose_architecture, results_columns, results_table

SPACE = SpaceSettings(nodes=3)


def scores(mAP: float) -> dict[str, float]:
    return {"mAP": mAP, "mAP_trapezoid": mAP / 2, "rank1": 2 * mAP, "rank5": 0.5, "rank10": 1.0}


def test_every_training_of_an_experiment_has_a_folder_of_its_own() -> None:
    experiment = Experiment(Path("runs/a"))
    names = {
        experiment.training(architecture, train_on, translated=translated).path.name
        for architecture in ("searched", "random", "resnet50", "cells/mine.json")
        for train_on in ("source", "target", "source+sample")
        for translated in (False, True)
    }
    assert len(names) == 24
    assert {"train", "train-target", "train-source-sample", "train-mine", "train-resnet50-target"} < names
    assert "train-resnet50-translated" in names


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
