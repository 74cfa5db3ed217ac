"""Distances between two sets of images: closed forms, symmetry, and that they notice what they are to notice."""

import colorsys
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm  # comes with scikit-learn

from nasda.errors import NasdaError
from nasda.spgan.distances import colour_statistics, contrasts, frechet_distance, image_distance


def random_images(count: int, seed: int = 0, dark: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 256, (count, 3, 12, 8), generator=generator) * dark).to(torch.uint8)


def gaussian(count: int, dimension: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return mixed @ torch.randn(dimension, dimension, generator=generator, dtype=torch.float64) + seed


def test_frechet_of_one_dimension_is_the_closed_form() -> None:
    first, second = gaussian(50, 1, 1), gaussian(70, 1, 2)
    expected = (first.mean() - second.mean()) ** 2 + (first.std() - second.std()) ** 2
    assert frechet_distance(first, second) == pytest.approx(math.sqrt(expected))


def test_frechet_of_a_moved_and_stretched_set_is_the_closed_form() -> None:
    first, shift = gaussian(40, 5, 1), torch.arange(5.0, dtype=torch.float64)
    assert frechet_distance(first, first + shift) == pytest.approx(float(shift.norm()))
    centred = first - first.mean(0)  # stretching a centred set by s makes C₂ = s²C₁, so d² = (s − 1)² tr C₁
    expected = 2 * math.sqrt(float(centred.T.cov().trace()))
    assert frechet_distance(centred, 3 * centred) == pytest.approx(expected)


@pytest.mark.parametrize("count", [100, 4])  # 4 images of 6 dimensions: covariances without an inverse
def test_frechet_is_what_scipys_matrix_root_gives(count: int) -> None:
    first, second = gaussian(count, 6, 1), gaussian(count + 1, 6, 2)
    covariances = [np.cov(features.numpy().T) for features in (first, second)]
    root = np.real(sqrtm(covariances[0]))
    overlap = np.real(sqrtm(root @ covariances[1] @ root))
    expected = float((first.mean(0) - second.mean(0)).square().sum()) + np.trace(sum(covariances) - 2 * overlap)
    assert frechet_distance(first, second) == pytest.approx(math.sqrt(expected), rel=1e-5)


def test_both_distances_are_symmetric_and_zero_for_equal_sets() -> None:
    first, second = random_images(6), random_images(8, seed=1, dark=0.5)
    assert image_distance(first, second) == pytest.approx(image_distance(second, first))
    assert image_distance(first, first) == pytest.approx((0, 0, 0), abs=1e-6)
    assert image_distance(first, first.flip(0)) == pytest.approx((0, 0, 0), abs=1e-6)
    assert min(image_distance(first, second)) > 0.05


def test_what_is_darker_lies_farther_off() -> None:
    bright = random_images(30)
    near, far = (image_distance(bright, random_images(30, seed=1, dark=dark)) for dark in (0.8, 0.4))
    assert near.colour < far.colour
    assert near.histogram < far.histogram
    assert near.contrast < far.contrast


def test_a_blur_is_a_matter_of_contrast_alone() -> None:
    sharp = random_images(30) // 2 + 100  # nearly grey, so that a blur hardly moves colours
    blurred = torch.nn.functional.avg_pool2d(sharp.float(), 3, 1, 1, count_include_pad=False).round().byte()
    distance = image_distance(sharp, blurred)
    assert distance.contrast > 5 * image_distance(sharp, random_images(30, seed=1) // 2 + 100).contrast


def test_contrasts_are_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasda.spgan.distances._AT_ONCE", 2)
    images = torch.cat([random_images(3), random_images(3, seed=1)], dim=3)[:, :, :, :12]
    for image, found in zip(images.double().mean(dim=1).numpy() / 255, contrasts(images), strict=True):
        expected, grey = [], image
        for _ in range(3):
            for differences in (np.abs(grey[1:] - grey[:-1]), np.abs(grey[:, 1:] - grey[:, :-1])):
                expected += [differences.mean(), differences.std(ddof=1)]
            half = len(grey) // 2
            grey = grey[: 2 * half, : 2 * half].reshape(half, 2, half, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_colour_statistics_are_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasda.spgan.distances._AT_ONCE", 2)
    images = random_images(5)
    pixels = images.permute(0, 2, 3, 1).reshape(-1, 3).numpy() / 255
    rows = np.array([[*rgb, *colorsys.rgb_to_hsv(*rgb)[1:]] for rgb in pixels])
    np.testing.assert_allclose(colour_statistics(images), [*rows.mean(0), *rows.std(0)], atol=1e-6)


def test_one_image_is_no_set() -> None:
    with pytest.raises(NasdaError, match="a set of 1 images has no covariance"):
        image_distance(random_images(4), random_images(1))
