"""Two domains of digits, printed ones drawn from fonts and real handwriting: to search on in seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CLASSES = 10


@dataclass(frozen=True)
class Digits:
    """Images (N, 3, 8, 8), ink from 0 to 1, three times the same, and what they show (N,)."""

    images: Tensor
    labels: Tensor

    def __getitem__(self, index: Any) -> "Digits":
        return Digits(self.images[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: "Digits") -> "Digits":
        return Digits(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))


class World(NamedTuple):
    """Printed digits to learn from and to test on; handwritten ones to learn from and, by other rows of the file, to
    test on."""

    source: Digits
    source_test: Digits
    target: Digits
    target_test: Digits


FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono",
    "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "cmr10", "cmss10", "cmtt10", "cmti10",
)  # fmt: skip
_SHEET, _BITMAP, _BLOCK = 96, 32, 4  # pixels: of the drawing, of the scan, and of the block that one pixel counts


def printed(count: int, seed: int) -> Digits:
    """Digits from matplotlib's own fonts, turned, slanted and stretched, then measured as the handwritten ones were.

    A 32×32 bitmap is cut into 4×4 blocks; each pixel of the 8×8 image is the share of its block that is ink.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES)
    images = [_drawn(int(label), FONTS[rng.integers(len(FONTS))], rng) for label in labels]
    return _in_colour(np.stack(images), labels)


def _in_colour(images: NDArray[Any], labels: NDArray[Any]) -> Digits:
    """Grey images (N, 8, 8) as the library's networks take them."""
    return Digits(torch.tensor(images, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1), torch.tensor(labels))


def _drawn(label: int, font: str, rng: np.random.Generator) -> NDArray[np.float64]:
    sheet = Image.new("L", (_SHEET, _SHEET))
    ImageDraw.Draw(sheet).text((_SHEET / 2, _SHEET / 2), str(label), font=_font(font), fill=255, anchor="mm")
    slant, angle = rng.uniform(-0.15, 0.15), rng.uniform(-8, 8)
    middle = _SHEET / 2
    sheet = sheet.transform(sheet.size, Image.Transform.AFFINE, (1, slant, -slant * middle, 0, 1, 0))
    sheet = sheet.rotate(angle, Image.Resampling.BILINEAR)
    box = sheet.getbbox()
    glyph = sheet.crop(box)
    height = int(rng.integers(26, _BITMAP + 1))
    width = round(np.clip(height * glyph.width / glyph.height * rng.uniform(0.85, 1.15), 5, 26))
    glyph = glyph.resize((width, height), Image.Resampling.BILINEAR)
    bitmap = Image.new("L", (_BITMAP, _BITMAP))
    left = (_BITMAP - width) // 2 + int(rng.integers(-2, 3))
    bitmap.paste(glyph, (left, int(rng.integers(0, _BITMAP - height + 1))))
    ink = np.asarray(bitmap) > 127
    return ink.reshape(_BITMAP // _BLOCK, _BLOCK, _BITMAP // _BLOCK, _BLOCK).mean(axis=(1, 3))


@cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", 56)


def handwritten() -> Digits:
    """scikit-learn's 1,797 real digits (UCI's optdigits, test part), in the order of the file; no download."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return _in_colour(found.images / 16, found.target)


def world(seed: int = 0, source: int = 512, test: int = 1000) -> World:
    """Both domains. The last `test` handwritten digits are for testing only: the file goes from writer to writer, and a
    mixed split would put the same hands on both sides."""
    target = handwritten()
    return World(printed(source, 2 * seed), printed(300, 2 * seed + 1), target[:-test], target[-test:])


def sample(digits: Digits, each: int, seed: int) -> Digits:
    """`each` images of every digit, drawn at random: the little labelled target that α learns on."""
    rng = np.random.default_rng(seed)
    of_class = [np.flatnonzero(digits.labels.numpy() == label) for label in range(CLASSES)]
    return digits[torch.tensor(np.concatenate([rng.choice(found, each, replace=False) for found in of_class]))]


def batches(digits: Digits, size: int, seed: int) -> Iterator[Digits]:
    """Batches without end; every pass over the images goes through them in another order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(digits), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            yield digits[order[start : start + size]]
