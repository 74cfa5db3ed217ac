"""How far two sets of images lie apart: what says, before any training, whether a translation came nearer its target.

Three distances look at three things: how colours are spread over the pixels, which of them are where from top to
bottom, and how much neighbouring pixels differ, which is what a blur or a grid in a translation changes. None of them
has learnt anything, so none can have been trained to like a translation.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nasda.data.colours import colour_histogram, hsv
from nasda.errors import NasdaError

_AT_ONCE = 256  # images in memory as floating-point numbers
_SCALES = 3  # contrasts are those of the image as it is, halved, and quartered


class ImageDistance(NamedTuple):
    """Distances between two sets of images, all 0 for equal sets and the same from either side.

    colour: between their means and standard deviations of red, green, blue, saturation and value, each in [0, 1].
    histogram: between their colour histograms, as `frechet_distance` has it.
    contrast: the same between their `contrasts`.
    """

    colour: float
    histogram: float
    contrast: float

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.4f}" for name, value in self._asdict().items())


def image_distance(first: Tensor, second: Tensor) -> ImageDistance:
    """How far two sets of images lie apart: uint8 (N, 3, H, W) and (M, 3, H, W), at least two images each.

    The Fréchet distance of few images is too large, since a covariance is estimated from them: compare distances only
    where the numbers of images are the same. Raises `NasdaError` for a set of less than two.
    """

    def between(features: Callable[[Tensor], Tensor]) -> float:
        return frechet_distance(features(first), features(second))

    colour = torch.linalg.vector_norm(colour_statistics(first) - colour_statistics(second))
    return ImageDistance(float(colour), between(colour_histogram), between(contrasts))


def colour_statistics(images: Tensor) -> Tensor:
    """Means and standard deviations over all pixels of uint8 `images` (N, 3, H, W): float64 (10,), all in [0, 1].

    First the means of red, green, blue, saturation and value, then their standard deviations. Hue is an angle, of which
    a mean says nothing.
    """
    count, total, squares = 0, torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    for batch in images.split(_AT_ONCE):
        channels = torch.cat([batch / 255, hsv(batch)[:, 1:]], dim=1).double().cpu()
        count += channels[:, 0].numel()
        total += channels.sum(dim=(0, 2, 3))
        squares += channels.square().sum(dim=(0, 2, 3))
    mean = total / count
    return torch.cat([mean, (squares / count - mean.square()).clamp(min=0).sqrt()])


def contrasts(images: Tensor) -> Tensor:
    """How much neighbouring pixels of uint8 `images` (N, 3, H, W) of 8 × 8 pixels or more differ: float32 (N, 12).

    For each image as it is, halved and quartered: mean and standard deviation of the differences of grey, in [0, 1],
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
    """The Fréchet distance of two sets of features (N, D) and (M, D), each taken as a Gaussian of its own mean μ and
    covariance C (Dowson and Landau 1982):

        d² = |μ₁ − μ₂|² + tr C₁ + tr C₂ − 2 tr (C₁^½ C₂ C₁^½)^½

    This is d itself, in the features' unit; "FID" in the literature is d². Raises `NasdaError` where a set holds less
    than two features.
    """
    for features in (first, second):
        if len(features) < 2:
            raise NasdaError(f"a set of {len(features)} images has no covariance: expected 2 or more")
    difference = (first.double().mean(0) - second.double().mean(0)).square().sum()
    covariances = [torch.atleast_2d(features.double().T.cov()) for features in (first, second)]
    # The last trace is the sum of the singular values of C₁^½ C₂^½, which is as symmetric as it looks.
    roots = [_root(covariance) for covariance in covariances]
    overlap = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    squared = difference + sum(covariance.trace() for covariance in covariances) - 2 * overlap
    return float(squared.clamp(min=0).sqrt())


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a covariance (D, D)."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
