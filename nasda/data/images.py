"""Images as tensors: decoded once, then augmented a whole batch at a time.

A data set is one uint8 tensor (N, 3, H, W), channels-last in memory: Pillow gives images in that layout, and
convolutions are fastest with it. Validation and test see `normalize(images)`; training sees `augment(images,
generator)`. Both keep the memory format.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nasda.data.domain import Sample
from nasda.data.reading import read_image
from nasda.devices import available_cores
from nasda.errors import NasdaError

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, red, green, blue, in [0, 1]
STD = (0.229, 0.224, 0.225)

_ERASING_ATTEMPTS = 10  # as in torchvision's RandomErasing: that many rectangles are drawn until one fits


def decode(samples: Sequence[Sample], height: int, width: int) -> Tensor:
    """Read every image of `samples` from disk as RGB, resized to `height` × `width` pixels as in `read_image`.

    Returns uint8 (N, 3, height, width), channels-last in memory, in the order of `samples`.
    Raises `NasdaError` naming the first file that is missing, unreadable, truncated or not an image.
    """
    images = torch.empty((len(samples), height, width, 3), dtype=torch.uint8)

    def read_into_place(index: int) -> None:
        images[index] = torch.from_numpy(read_image(samples[index].path, (height, width)))

    with ThreadPoolExecutor(available_cores()) as pool:  # Pillow lets other threads run while it decodes
        for _ in pool.map(read_into_place, range(len(samples))):
            pass
    return images.permute(0, 3, 1, 2)


def normalize(images: Tensor) -> Tensor:
    """Scale uint8 `images` (B, 3, H, W) to [0, 1], subtract ImageNet's mean and divide by its standard deviation.

    Returns float32 (B, 3, H, W) on the images' device, in their memory format.
    """
    pixels = images.to(torch.float32, copy=True)
    return pixels.sub_(_scaled(MEAN, pixels)).div_(_scaled(STD, pixels))


def _scaled(values: tuple[float, float, float], pixels: Tensor) -> Tensor:
    """One value a channel, on the scale 0 to 255, as a whole image (1, 3, H, W) with the layout of `pixels`.

    On a CPU this is several times faster than broadcasting three values over channels-last pixels. Filling with plain
    numbers copies nothing to a GPU, so the host does not wait for it.
    """
    image = torch.empty_like(pixels[:1])
    for channel, value in enumerate(values):
        image[:, channel].fill_(255 * value)
    return image


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied (§3.1; Luo et al. 2019, "Bag of Tricks").

    flip: probability of a horizontal flip.
    padding: black pixels added on each side before a crop of the old size is taken; the paper's 10 is for 256 × 128
        pixels, smaller images need fewer.
    erasing: probability that a rectangle is erased (Zhong et al. 2020).
    erasing_area: its smallest and largest share of the image's area.
    erasing_ratio: its smallest and largest height / width.

    Raises `NasdaError` for a value out of range.
    """

    flip: float = 0.5
    padding: int = 10
    erasing: float = 0.5
    erasing_area: tuple[float, float] = (0.02, 0.4)
    erasing_ratio: tuple[float, float] = (0.3, 3.33)

    def __post_init__(self) -> None:
        for name, valid, expected in (
            ("flip", 0 <= self.flip <= 1, "a probability from 0 to 1"),
            ("padding", self.padding >= 0, "a number of pixels, 0 or more"),
            ("erasing", 0 <= self.erasing <= 1, "a probability from 0 to 1"),
            ("erasing_area", 0 < self.erasing_area[0] <= self.erasing_area[1] <= 1, "two shares, 0 < low <= high <= 1"),
            ("erasing_ratio", 0 < self.erasing_ratio[0] <= self.erasing_ratio[1], "two ratios, 0 < low <= high"),
        ):
            if not valid:
                raise NasdaError(f"augmentation: {name} is {getattr(self, name)}, expected {expected}")


class Variation(NamedTuple):
    """What happens to each image of a batch: seven int64 tensors (B,). `draw` draws it at random, `apply` does it."""

    flip: Tensor  # 1 where the image is flipped
    top: Tensor  # the crop's first row in the padded image
    left: Tensor  # and its first column
    erase_top: Tensor  # the erased rectangle; height and width are 0 where nothing is erased
    erase_left: Tensor
    erase_height: Tensor
    erase_width: Tensor


def augment(images: Tensor, generator: torch.Generator, settings: Augmentation | None = None) -> Tensor:
    """Flip, pad, crop, normalise and erase, in the paper's order (§3.1), each image in its own way.

    images: uint8 (B, 3, H, W), on any device.
    generator: a CPU generator, the only source of randomness; the same state gives the same batch on every device.
    settings: the paper's where none are given.

    Returns float32 (B, 3, H, W) on the images' device, in their memory format.
    """
    settings = settings or Augmentation()
    count, _, height, width = images.shape
    return apply(images, draw(count, height, width, generator, settings), settings.padding)


def draw(count: int, height: int, width: int, generator: torch.Generator, settings: Augmentation) -> Variation:
    """Draw at random, on the CPU, how each of `count` images of `height` × `width` pixels is varied.

    The rectangles to erase are distributed as in torchvision's `RandomErasing`.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    flip = torch.rand(count, generator=generator) < settings.flip
    top, left = torch.randint(2 * settings.padding + 1, (2, count), generator=generator)
    area = height * width * uniform(*settings.erasing_area, count, _ERASING_ATTEMPTS)
    low, high = settings.erasing_ratio
    ratio = uniform(log(low), log(high), count, _ERASING_ATTEMPTS).exp()
    heights, widths = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(dim=1, keepdim=True)  # of the attempts that fit, the first
    erased = (uniform(0, 1, count) < settings.erasing) & fits.any(dim=1)
    erase_height = heights.gather(1, first).squeeze(1) * erased
    erase_width = widths.gather(1, first).squeeze(1) * erased
    erase_top = (uniform(0, 1, count) * (height - erase_height + 1)).long()
    erase_left = (uniform(0, 1, count) * (width - erase_width + 1)).long()
    return Variation(flip.long(), top, left, erase_top, erase_left, erase_height, erase_width)


def apply(images: Tensor, variation: Variation, padding: int) -> Tensor:
    """Do to uint8 `images` (B, 3, H, W) what `variation`, drawn for `padding`, says.

    Returns float32 (B, 3, H, W) on the images' device, in their memory format.
    """
    return (_apply_in_turn if images.device.type == "cpu" else _apply_at_once)(images, variation, padding)


def _apply_in_turn(images: Tensor, variation: Variation, padding: int) -> Tensor:
    """`apply` image by image: a CPU is fastest on plain slices, and one image stays in its cache."""
    _, _, height, width = images.shape
    result = torch.empty_like(images, dtype=torch.float32)
    mean, std = _scaled(MEAN, result), _scaled(STD, result)
    for index, row in enumerate(torch.stack(variation, dim=1).tolist()):
        flip, top, left, erase_top, erase_left, erase_height, erase_width = row
        image, varied = images[index : index + 1], result[index : index + 1]
        padded = F.pad(image.flip(3) if flip else image, [padding] * 4)
        varied.copy_(padded[:, :, top : top + height, left : left + width]).sub_(mean).div_(std)
        if erase_height:  # after normalising, 0 is the mean colour
            varied[:, :, erase_top : erase_top + erase_height, erase_left : erase_left + erase_width] = 0
    return result


def _apply_at_once(images: Tensor, variation: Variation, padding: int) -> Tensor:
    """`apply` for the whole batch in a few large operations, for accelerators; the host waits for none of them."""
    count, _, height, width = images.shape
    device = images.device
    packed = torch.stack(variation)
    if device.type == "cuda":  # the host does not wait for a copy from pinned memory
        packed = packed.pin_memory()
    flip, top, left, *rectangle = packed.to(device, non_blocking=device.type == "cuda").unbind()

    images = torch.where(flip.bool()[:, None, None, None], images.flip(3), images)
    windows = F.pad(images, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)  # every possible crop, as a view
    result = torch.empty_like(images, dtype=torch.float32)
    result.copy_(windows[torch.arange(count, device=device), :, top, left])
    result.sub_(_scaled(MEAN, result)).div_(_scaled(STD, result))

    erase_top, erase_left, erase_height, erase_width = (edge[:, None] for edge in rectangle)
    row, column = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows = (row >= erase_top) & (row < erase_top + erase_height)
    in_columns = (column >= erase_left) & (column < erase_left + erase_width)
    erased = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return result.masked_fill_(erased, 0)
