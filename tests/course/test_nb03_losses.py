"""Notebook 03's small network and pictures, against loops and against what is known beforehand."""

import dataclasses
from pathlib import Path

import pytest
import torch
from matplotlib.patches import Rectangle

from nasda.course import nb03_losses as lesson
from nasda.course.open import Course
from nasda.errors import NasdaError
from nasda.losses import pairwise_distances, triplet_loss
from nasda.settings import Profile, SearchSettings, ToySettings
from nasda.study.experiments import Experiment
from tests.tasks import DATA, SPACE, TRAIN, make_task

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


def features(seed: int) -> torch.Tensor:
    return torch.randn(len(LABELS), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_eq_8_as_printed_is_the_corrected_one_with_minus_the_margin(margin: float) -> None:
    f = features(1)
    assert lesson.printed_triplet_loss(f, LABELS, margin) == pytest.approx(margin + triplet_loss(f, LABELS, -margin))


def test_eq_8_as_printed_by_hand() -> None:
    f = torch.tensor([[0.0], [4.0], [1.0], [2.0]])  # d_p − d_n: 4 − 1, 4 − 2, 1 − 1, 1 − 2
    assert lesson.printed_triplet_loss(f, torch.tensor([0, 0, 1, 1]), 0.5) == pytest.approx((3 + 2 + 0.5 + 0.5) / 4)


def test_nearest_is_same_by_hand() -> None:
    f = torch.tensor([[0.0, 0], [0, 1], [5, 5], [5, 7], [5, 7.5]])
    assert lesson.nearest_is_same(f, torch.tensor([0, 0, 1, 2, 2])) == pytest.approx(4 / 5)


def test_a_batch_shows_the_losses_and_frames_of_its_anchors() -> None:
    f = features(2)
    images = torch.zeros(len(LABELS), 3, 8, 4, dtype=torch.uint8)
    figure = lesson.mined_batch(images, pairwise_distances(f), LABELS, 0.3)
    matrix, bars = figure.axes[0], figure.axes[3]
    frames = [patch for patch in matrix.patches if isinstance(patch, Rectangle)]
    assert len(frames) == 2 * len(LABELS)
    mean = sum(bar.get_width() for bar in bars.patches) / len(LABELS)
    assert mean == pytest.approx(float(triplet_loss(f, LABELS, 0.3)))


def test_a_batch_without_pairs_has_no_frames() -> None:
    images = torch.zeros(4, 3, 8, 4, dtype=torch.uint8)
    figure = lesson.mined_batch(images, pairwise_distances(features(3)[:4]), torch.arange(4), 0.3)
    assert not figure.axes[0].patches


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_the_landscapes_can_be_drawn(margin: float) -> None:
    assert lesson.landscapes(margin)._repr_png_()


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.setenv("NASDA_CACHE", str(tmp_path / "cache"))
    settings = Profile(space=SPACE, search=SearchSettings(), train=TRAIN, data=DATA, toy=ToySettings())
    task = make_task(tmp_path)
    return Course(task, settings, "tiny", tmp_path, Experiment(tmp_path / "run"), 0, torch.device("cpu"))


def test_a_trained_network_is_read_again(course: Course, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.randn(2, 3, DATA.height, DATA.width)
    first, again = (lesson.trained(course, 0.5, 0).features(images) for _ in range(2))
    assert torch.equal(first, again)
    assert capsys.readouterr().out == ""


def test_what_a_network_is_told_makes_a_difference(course: Course) -> None:
    images = torch.randn(2, 3, DATA.height, DATA.width)
    told = [
        lesson.untrained(course, 0),
        lesson.trained(course, 1.0, 0),
        lesson.trained(course, 0.0, 0),
        lesson.trained(course, 0.0, 0, printed=True),
    ]
    outcomes = [network.features(images) for network in told]
    assert all(not torch.equal(a, b) for i, a in enumerate(outcomes) for b in outcomes[:i])
    assert len(list((course.experiment.path / "notebook-03").iterdir())) == 3


def test_a_run_of_other_settings_is_not_taken_for_this_one(course: Course) -> None:
    lesson.trained(course, 0.5, 0)
    train = dataclasses.replace(course.settings.train, margin=0.4)
    other = dataclasses.replace(course, settings=dataclasses.replace(course.settings, train=train))
    with pytest.raises(NasdaError, match="margin"):
        lesson.trained(other, 0.5, 0)
