"""Colours of images: hue, saturation and value; a histogram of them."""

import torch
from torch import Tensor

_STRIPES = 6
_HUES, _SATURATIONS, _VALUES = 8, 4, 4


def colour_histogram(images: Tensor, *, margin: float = 1 / 8, batch_size: int = 256) -> Tensor:
    """Which colours are where, from top to bottom: an HSV histogram for each of six horizontal stripes.

    `margin` of the width is left out on either side. The usual eighth is mostly background, which lowers the scores on
    Market-1501.

    images: uint8 (N, 3, H, W).

    Returns float32 (N, 768), 8 hues × 4 saturations × 4 values for each stripe. Entries are square roots of shares, so
    that Euclidean distance is √2 times the Hellinger distance of the histograms; a whole feature has unit length.
    """
    return torch.cat([_histograms(batch, int(images.shape[3] * margin)) for batch in images.split(batch_size)])


def _histograms(images: Tensor, margin: int) -> Tensor:
    count, _, height, width = images.shape
    hue, saturation, value = hsv(images[..., margin : width - margin]).unbind(1)
    bins = _HUES * _SATURATIONS * _VALUES
    bin_of_pixel = (_bin(hue, _HUES) * _SATURATIONS + _bin(saturation, _SATURATIONS)) * _VALUES + _bin(value, _VALUES)
    stripe_of_row = torch.arange(height, device=images.device) * _STRIPES // height
    stripe_of_pixel = torch.arange(count, device=images.device)[:, None] * _STRIPES + stripe_of_row
    index = stripe_of_pixel[:, :, None] * bins + bin_of_pixel
    counts = torch.bincount(index.flatten(), minlength=count * _STRIPES * bins).view(count, _STRIPES, bins).float()
    shares = torch.nn.functional.normalize(counts, p=1, dim=2) / _STRIPES
    return shares.sqrt().flatten(1)


def _bin(values: Tensor, bins: int) -> Tensor:
    return (values * bins).long().clamp(max=bins - 1)  # the value 1 belongs to the last bin


def hsv(images: Tensor) -> Tensor:
    """Hue in [0, 1), saturation and value in [0, 1] of uint8 `images` (N, 3, H, W): float32 (N, 3, H, W).

    As in Python's `colorsys`; greys have hue 0. (matplotlib's `rgb_to_hsv` rounds the bounds of the histogram's bins
    differently, takes three times as long, and does not run on a GPU.)
    """
    red, green, blue = images.float().unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = spread.clamp(min=1)  # values are whole numbers, so this changes greys only
    sixths = torch.where(
        value == red,
        (green - blue) / divisor % 6,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return torch.stack([sixths / 6, spread / value.clamp(min=1), value / 255], dim=1)
