"""Distances between two sets of images, which say before any training whether a translation is nearer to its target.

There are three: of the colours over all pixels, of the colours from top to bottom, and of the differences between
neighbouring pixels, which a blur or a grid in a translation changes. None of them is learnt.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nasda.data.colours import colour_histogram, hsv
from nasda.errors import NasdaError

_AT_ONCE = 256  # images in memory as floating-point numbers
_SCALES = 3  # contrasts are measured on the image at full, half and quarter size


class ImageDistance(NamedTuple):
    """Distances between two sets of images. They are symmetric, and 0 for equal sets."""

    colour: float  # Euclidean, of `colour_statistics`
    histogram: float  # `frechet_distance` of colour histograms
    contrast: float  # `frechet_distance` of `contrasts`

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.4f}" for name, value in self._asdict().items())


def image_distance(first: Tensor, second: Tensor) -> ImageDistance:
    """The distances between two sets of images, uint8 (N, 3, H, W) and (M, 3, H, W).

    The Fréchet distance of few images is too large, because a covariance is estimated from them: compare only distances
    of equally many images. Raises `NasdaError` for a set of less than two.
    """

    def between(features: Callable[[Tensor], Tensor]) -> float:
        return frechet_distance(features(first), features(second))

    colour = torch.linalg.vector_norm(colour_statistics(first) - colour_statistics(second))
    return ImageDistance(float(colour), between(colour_histogram), between(contrasts))


def colour_statistics(images: Tensor) -> Tensor:
    """The means, then the standard deviations, of red, green, blue, saturation and value over all pixels of uint8
    `images` (N, 3, H, W): float64 (10,), all in [0, 1]. Hue is an angle and has no mean."""
    count, total, squares = 0, torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    for batch in images.split(_AT_ONCE):
        channels = torch.cat([batch / 255, hsv(batch)[:, 1:]], dim=1).double().cpu()
        count += channels[:, 0].numel()
        total += channels.sum(dim=(0, 2, 3))
        squares += channels.square().sum(dim=(0, 2, 3))
    mean = total / count
    return torch.cat([mean, (squares / count - mean.square()).clamp(min=0).sqrt()])


def contrasts(images: Tensor) -> Tensor:
    """Differences of neighbouring pixels of uint8 `images` (N, 3, H, W) of 8 × 8 pixels or more: float32 (N, 12).

    For each image at full, half and quarter size: mean and standard deviation of the differences of grey, in [0, 1],
    between pixels one below the other, then the same of pixels side by side.
    """
    return torch.cat([_contrasts(batch) for batch in images.split(_AT_ONCE)])


def _contrasts(images: Tensor) -> Tensor:
    grey, found = images.float().mean(dim=1, keepdim=True) / 255, []
    for _ in range(_SCALES):
        for dimension in (2, 3):
            differences = grey.diff(dim=dimension).abs().flatten(1)
            found += [differences.mean(dim=1), differences.std(dim=1)]
        grey = F.avg_pool2d(grey, 2)
    return torch.stack(found, dim=1)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """The Fréchet distance d of two sets of features (N, D) and (M, D), each taken for a Gaussian with mean μ and
    covariance C (Dowson and Landau 1982):

        d² = |μ₁ − μ₂|² + tr C₁ + tr C₂ − 2 tr (C₁^½ C₂ C₁^½)^½

    "FID" in the literature is d². Raises `NasdaError` for a set of less than two features.
    """
    for features in (first, second):
        if len(features) < 2:
            raise NasdaError(f"a set of {len(features)} images has no covariance: expected 2 or more")
    difference = (first.double().mean(0) - second.double().mean(0)).square().sum()
    covariances = [torch.atleast_2d(features.double().T.cov()) for features in (first, second)]
    # The last trace is the sum of the singular values of C₁^½ C₂^½.
    roots = [_root(covariance) for covariance in covariances]
    overlap = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    squared = difference + sum(covariance.trace() for covariance in covariances) - 2 * overlap
    return float(squared.clamp(min=0).sqrt())


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a covariance (D, D)."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
