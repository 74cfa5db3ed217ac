"""Notebook 03's pictures, and what its judges of losses and samplers say."""

import pytest
import torch
from matplotlib.patches import Rectangle

from nasda.course import nb03_losses as lesson
from nasda.losses import pairwise_distances, triplet_loss

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


def features(seed: int) -> torch.Tensor:
    return torch.randn(len(LABELS), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_a_film_has_a_panel_for_each_loss_and_step() -> None:
    found = {step: [torch.rand(8, 2), torch.rand(8, 2)] for step in (0, 5)}
    figure = lesson.film({"names": found, "both": found}, (0, 5), LABELS, LABELS)
    assert len(figure.axes) == 4
    assert lesson.snapshot(*[found[0][0], LABELS, found[0][1], LABELS])._repr_png_()
