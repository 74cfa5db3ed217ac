"""How a data set's images look, in figures: light, contrast, detail, and how far colours say who somebody is."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tabulate import tabulate
from torch import Tensor

from nasda.data.colours import colour_histogram
from nasda.data.domain import Sample
from nasda.data.store import stored
from nasda.errors import NasdaError

Look = dict[str, float]

_AT_ONCE = 512  # images, or rows of distances, at once

# 1,873 training images of 150 identities of Market-1501, at 64 × 32 pixels: what the drawn images should come near to.
MARKET: Look = {
    "brightness: mean": 0.396,
    "brightness: sd": 0.076,
    "brightness: share of cameras": 0.05,
    "brightness: share of identities": 0.72,
    "brightness: share of the rest": 0.22,
    "middle's brightness: mean": 0.385,
    "middle's brightness: sd": 0.093,
    "middle's brightness: share of cameras": 0.08,
    "middle's brightness: share of identities": 0.76,
    "middle's brightness: share of the rest": 0.15,
    "contrast: mean": 0.178,
    "contrast: sd": 0.033,
    "contrast: share of cameras": 0.21,
    "contrast: share of identities": 0.59,
    "contrast: share of the rest": 0.20,
    "step to the right": 0.043,
    "step down": 0.046,
    "power above half Nyquist": 0.057,
    "same identity, same camera: mean": 0.67,
    "same identity, same camera: sd": 0.14,
    "same identity, other camera: mean": 0.87,
    "same identity, other camera: sd": 0.15,
    "other identity, same camera: mean": 0.94,
    "other identity, same camera: sd": 0.13,
    "other identity, other camera: mean": 1.02,
    "other identity, other camera: sd": 0.13,
}


def look(samples: Sequence[Sample], height: int = 64, width: int = 32) -> Look:
    """`look_of` the images of `samples`, resized to `height` × `width` pixels; raises what it and `stored` raise."""
    pids, camids = (np.array([getattr(sample, name) for sample in samples]) for name in ("pid", "camid"))
    return look_of(stored(samples, height, width), pids, camids)


def look_of(images: Tensor, pids: NDArray[np.int_], camids: NDArray[np.int_]) -> Look:
    """The figures of `MARKET` for other images: uint8 (N, 3, H, W), of identities and cameras (N,). Values are 0 to 1.

    Brightness is an image's mean, of the whole and of the middle half of its width. Contrast is the standard deviation
    over its pixels, the mean of its three colours. Their variance over images is that between cameras, that between
    identities within a camera, and the rest; `shares` gives the shares. Steps are mean differences of grey neighbours.
    The power is the share of the colours' power, without the means, at frequencies with |x| + |y| above a quarter of a
    cycle a pixel. Distances are those of `colour_histogram` on the full width, over pairs of different images.

    Raises `NasdaError` if one of the four kinds of pairs does not occur.
    """
    numbers, sums = zip(*(_measured(some.double() / 255) for some in images.split(_AT_ONCE)), strict=True)
    found: Look = {}
    for name, values in zip(
        ("brightness", "middle's brightness", "contrast"), torch.cat(numbers).T.numpy(), strict=True
    ):
        found |= {f"{name}: mean": float(values.mean()), f"{name}: sd": float(values.std())}
        parts = zip(("cameras", "identities", "the rest"), shares(values, pids, camids), strict=True)
        found |= {f"{name}: share of {part}": share for part, share in parts}
    right, down, fine, power = torch.stack(sums).sum(0).tolist()
    found |= {"step to the right": right / len(images), "step down": down / len(images)}
    found["power above half Nyquist"] = fine / power
    return found | _distances(colour_histogram(images, margin=0), torch.from_numpy(pids), torch.from_numpy(camids))


def _measured(images: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness, the middle's and contrast (N, 3); sums over images of both steps, fine power and power (4,)."""
    height, width = images.shape[2:]
    middle = images[..., width // 4 : width - width // 4]
    contrast = images.std((2, 3), correction=0).mean(1)
    grey = images.mean(1)
    right, down = (grey.diff(dim=axis).abs().mean((1, 2)).sum() for axis in (2, 1))
    power = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().sum((0, 1))
    frequency = torch.fft.fftfreq(height).abs()[:, None] + torch.fft.fftfreq(width).abs()
    sums = torch.stack([right, down, power[frequency > 0.25].sum(), power.sum()])
    return torch.stack([images.mean((1, 2, 3)), middle.mean((1, 2, 3)), contrast], dim=1), sums


def shares(values: NDArray[np.float64], pids: NDArray[np.int_], camids: NDArray[np.int_]) -> tuple[float, float, float]:
    """Shares of the variance of `values` (N,): between cameras, between a camera's identities, and within those.

    The law of total variance, twice; where nothing varies, all are 0.
    """

    def means(groups: NDArray[np.int_]) -> NDArray[np.float64]:
        """The mean of each value's group (N,)."""
        _, group = np.unique(groups, axis=0, return_inverse=True)
        return (np.bincount(group, values) / np.bincount(group))[group]

    of_camera, of_both = means(camids), means(np.stack([camids, pids], axis=1))
    parts = [part.var() for part in (of_camera, of_both - of_camera, values - of_both)]
    camera, identity, rest = (float(part / (sum(parts) or 1)) for part in parts)
    return camera, identity, rest


def _distances(features: Tensor, pids: Tensor, camids: Tensor) -> Look:
    """Mean and standard deviation of the Euclidean distances of the four kinds of pairs."""
    kinds = [f"{who} identity, {where} camera" for who in ("same", "other") for where in ("same", "other")]
    sums = torch.zeros(3, 4, dtype=torch.float64)  # how many, their sum, the sum of their squares
    for start in range(0, len(features), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        distances = torch.cdist(features[rows].double(), features.double())
        kind = 2 * (pids[rows, None] != pids).long() + (camids[rows, None] != camids)
        kind[torch.arange(len(kind)), torch.arange(start, start + len(kind))] = 4  # an image and itself
        sums += torch.stack(
            [torch.bincount(kind.flatten(), (distances**power).flatten(), minlength=5)[:4] for power in range(3)]
        )
    count, mean, square = sums[0], sums[1] / sums[0], sums[2] / sums[0]
    for name, number in zip(kinds, count.tolist(), strict=True):
        if number == 0:
            raise NasdaError(f"no two images of {name}: give images of two identities, each with two in two cameras")
    deviation = (square - mean**2).clamp(min=0).sqrt()
    return {
        f"{name}: {figure}": value
        for name, *both in zip(kinds, mean.tolist(), deviation.tolist(), strict=True)
        for figure, value in zip(("mean", "sd"), both, strict=True)
    }


def mean_look(looks: Sequence[Look]) -> Look:
    """The mean of several, for instance of the same style in several worlds."""
    return {name: float(np.mean([each[name] for each in looks])) for name in looks[0]}


def table_of_looks(looks: dict[str, Look]) -> str:
    """A Markdown table: a row for each figure, a column for each of `looks`."""
    rows = [(name, *(f"{each[name]:.3f}" for each in looks.values())) for name in MARKET]
    return tabulate(
        rows, ["", *looks], tablefmt="pipe", disable_numparse=True, colalign=["left", *["right"] * len(looks)]
    )
