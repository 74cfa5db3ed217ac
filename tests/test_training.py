"""Whole trainings: what they learn on, the recipe's learning rate, and that they resume."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.evaluation import extract
from nasda.genotypes import PRIMITIVES, random_genotype
from nasda.operations import IBN
from nasda.runs import RunFolder, Side, seen
from nasda.settings import TrainOn, TrainSettings
from nasda.training import (
    BASELINES,
    Architecture,
    Training,
    learning_rate,
    load_trained,
    make_network,
    run_training,
    split_for_training,
)
from tests.tasks import DATA, SPACE, TRAIN, make_task, profile_with

CPU = torch.device("cpu")
GENOTYPE = random_genotype(SPACE.nodes, PRIMITIVES["reid"], seed=0)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("task"))


def train(
    folder: Path, task: Task, settings: TrainSettings = TRAIN, architecture: Architecture = GENOTYPE
) -> torch.nn.Module:
    return run_training(RunFolder(folder), task, architecture, profile_with(train=settings), seed=0, device=CPU)


def test_the_source_alone_is_learnt_on_unless_something_else_is_asked_for(task: Task) -> None:
    assert split_for_training(task, TRAIN, seed=0) == task.source.train
    assert split_for_training(task, dataclasses.replace(TRAIN, train_on="target"), seed=0) == task.target.train


def test_a_target_sample_keeps_its_identities_apart_from_the_sources(task: Task) -> None:
    settings = dataclasses.replace(TRAIN, train_on="source+sample", sample_images=2)
    samples = split_for_training(task, settings, seed=0)
    added = samples[len(task.source.train) :]
    assert samples[: len(task.source.train)] == task.source.train
    assert {sample.path for sample in added} < {sample.path for sample in task.target.train}
    assert not {sample.pid for sample in added} & {sample.pid for sample in task.source.train}
    assert len({sample.pid for sample in added}) == 6


def test_the_learning_rate_rises_straight_and_falls_along_a_cosine_to_zero() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[32] == pytest.approx(0.5 * (1 + math.cos(math.pi * 22 / 90)))
    assert rates[100] == pytest.approx(0, abs=1e-15)


def test_training_makes_the_loss_smaller(task: Task, tmp_path: Path) -> None:
    train(tmp_path / "run", task, dataclasses.replace(TRAIN, epochs=10, steps=None))
    losses = [row["loss"] for row in RunFolder(tmp_path / "run").read_log()]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("architecture", [GENOTYPE, "resnet18", "plain"], ids=["derived", "resnet18", "plain"])
def test_the_trained_network_comes_back_from_its_run(task: Task, tmp_path: Path, architecture: Architecture) -> None:
    images = torch.randint(0, 256, (5, 3, DATA.height, DATA.width), dtype=torch.uint8)
    features = extract(train(tmp_path / "run", task, architecture=architecture), images)
    assert torch.equal(extract(load_trained(RunFolder(tmp_path / "run"), CPU), images), features)
    assert RunFolder(tmp_path / "run").genotype.exists() == (architecture is GENOTYPE)


def test_a_network_with_ibn_everywhere_comes_back_with_it(task: Task, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (5, 3, DATA.height, DATA.width), dtype=torch.uint8)
    folder, space = RunFolder(tmp_path / "run"), dataclasses.replace(SPACE, channels=4, norm="ibn")
    trained = run_training(folder, task, GENOTYPE, profile_with(train=TRAIN, space=space), seed=0, device=CPU)
    loaded = load_trained(folder, CPU)
    assert any(isinstance(module, IBN) for module in loaded.modules())
    assert torch.equal(extract(loaded, images), extract(trained, images))


def test_an_unknown_baseline_and_weights_of_no_resnet_are_refused() -> None:
    with pytest.raises(NasdaError, match=r"'vgg': expected a genotype or one of resnet50, resnet18, plain"):
        make_network("vgg", SPACE, 5, seed=0)
    for architecture in (GENOTYPE, "plain"):
        with pytest.raises(NasdaError, match=r"--weights is for --architecture resnet50 or resnet18 only"):
            make_network(architecture, SPACE, 5, seed=0, weights="imagenet")


@pytest.mark.parametrize("architecture", [GENOTYPE, *BASELINES], ids=["derived", *BASELINES])
def test_a_training_stopped_within_an_epoch_resumes_to_the_bit(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Architecture
) -> None:
    settings = dataclasses.replace(TRAIN, epochs=2)
    whole = train(tmp_path / "whole", task, settings, architecture).state_dict()
    step = Training.step

    def stop(self: Training, epoch: int, index: int) -> torch.Tensor:
        if (epoch, index) == (1, 1):
            raise KeyboardInterrupt
        return step(self, epoch, index)

    monkeypatch.setattr(Training, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", task, settings, architecture)
    monkeypatch.setattr(Training, "step", step)
    stopped = train(tmp_path / "stopped", task, settings, architecture).state_dict()
    assert all(torch.equal(stopped[name], tensor) for name, tensor in whole.items())


def test_another_architecture_in_the_same_folder_is_refused(task: Task, tmp_path: Path) -> None:
    train(tmp_path / "run", task)
    other = random_genotype(SPACE.nodes, PRIMITIVES["reid"], seed=1)
    with pytest.raises(NasdaError, match=r"config\.json: the run here was begun with architecture"):
        train(tmp_path / "run", task, architecture=other)


@pytest.mark.parametrize(
    ("train_on", "sides"),
    [("source", ("source",)), ("target", ("target",)), ("source+sample", ("source", "target"))],
)
def test_a_training_says_which_data_it_saw_and_refuses_other_data(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_on: TrainOn, sides: tuple[Side, ...]
) -> None:
    settings = dataclasses.replace(TRAIN, train_on=train_on, epochs=1, steps=1)
    train(tmp_path / "run", task, settings)
    assert RunFolder(tmp_path / "run").read_config()["seen"] == seen(task, *sides)
    monkeypatch.setattr("nasda.data.batches.stored", lambda *_: pytest.fail("an image was decoded"))
    for side in ("source", "target"):
        domain = getattr(task, side)
        fewer = dataclasses.replace(domain, train=domain.train[:-1])
        other = Task(task.name, **{"source": task.source, "target": task.target, side: fewer})
        if side in sides:
            with pytest.raises(NasdaError, match=rf"begun on other data: seen\.{side} = {domain.name}, 36 images"):
                train(tmp_path / "run", other, settings)
        else:
            assert seen(other, *sides) == seen(task, *sides)


def test_a_folder_without_a_trained_network_says_what_to_do(task: Task, tmp_path: Path) -> None:
    train(tmp_path / "run", task)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    with pytest.raises(NasdaError, match="run nasda train first"):
        load_trained(RunFolder(tmp_path / "run"), CPU)
