"""What `nasda draw` leaves: every experiment's own cells, whoever chose them."""

from pathlib import Path

import pytest
import torch

from nasda.errors import NasdaError
from nasda.genotypes import CELL_KINDS, PRIMITIVES, random_genotype
from nasda.pictures.experiment import draw_experiment
from nasda.pictures.graphs import cell_graph, render
from nasda.search import run_search
from nasda.study.experiments import Experiment
from nasda.training import run_training
from tests.tasks import SPACE, make_task, profile_with

SETTINGS = profile_with()
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASDA_CACHE", str(tmp_path / "cache"))


def test_cells_are_drawn_of_each_training_that_did_not_take_the_searched_ones(tmp_path: Path) -> None:
    task, experiment = make_task(tmp_path), Experiment(tmp_path / "experiment")
    found = run_search(experiment.search, task, SETTINGS, seed=0, device=CPU)
    mine = random_genotype(SPACE.nodes, PRIMITIVES["plain"], seed=5)
    assert mine != found
    trainings = {"searched": found, "runs/mine.json": mine, "resnet50": "resnet50"}
    for name, genotype in trainings.items():
        run_training(experiment.training(name), task, genotype, SETTINGS, seed=0, device=CPU)
    paths = draw_experiment(experiment, lambda: task, 2, 0, CPU)
    assert sorted(paths) == sorted(experiment.pictures.iterdir())
    cells = {f"{kind}{of}.{suffix}" for kind in CELL_KINDS for of in ("", "-train-mine") for suffix in ("svg", "png")}
    galleries = {"gallery-train.png", "gallery-train-mine.png", "gallery-train-resnet50.png"}
    of_search = {"macro.svg", "macro.png", "alphas-normal.png", "alphas-reduce.png", "search.png"}
    assert {path.name for path in paths} == cells | galleries | of_search
    for kind in CELL_KINDS:
        drawn = (experiment.pictures / f"{kind}-train-mine.svg").read_bytes()
        assert drawn == render(cell_graph(mine, kind), "svg")


def test_an_experiment_without_a_run_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NasdaError, match="nothing to draw here yet: run nasda search"):
        draw_experiment(Experiment(tmp_path), lambda: make_task(tmp_path), 2, 0, CPU)
