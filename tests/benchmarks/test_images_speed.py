"""How fast batches are made of image files, against the usual way: a DataLoader that decodes each image anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from nasda.data.batches import Batches
from nasda.data.domain import Sample
from nasda.data.images import MEAN, STD, decode
from nasda.data.sampling import ClassBalancedSampler
from nasda.data.store import stored
from nasda.settings import DataSettings
from nasda.toy.make import CAMERAS, TARGET, Drawing, Shot, _write

CPU = torch.device("cpu")
CAMERA_IDS = list(CAMERAS["person"][TARGET])


@pytest.fixture
def samples(tmp_path: Path, full: bool) -> list[Sample]:
    """Toy people as JPEG files: 256 × 128 pixels when measuring, otherwise of a size that has to be changed."""
    size = (256, 128) if full else (48, 30)
    shots = [
        Shot(f"{who}_{camera}.jpg", who, who, camera, number=0, domain=TARGET)
        for who in range(1, 25 if full else 4)
        for camera in CAMERA_IDS
    ]
    _write(Drawing(tmp_path, "person", *size, gap=1.0, world=0), shots)
    return [Sample(tmp_path / shot.path, shot.pid, shot.camid) for shot in shots]


class Files(Dataset[tuple[torch.Tensor, int]]):
    """Images as torchvision's users read them: file by file, transform by transform, in the order of §3.1."""

    def __init__(self, samples: list[Sample], data: DataSettings) -> None:
        self.samples = samples
        self.label_of = {pid: label for label, pid in enumerate(sorted({sample.pid for sample in samples}))}
        size = data.height, data.width
        self.transform = v2.Compose(
            [
                v2.Resize(size),
                v2.RandomHorizontalFlip(data.flip),
                v2.Pad(data.padding),
                v2.RandomCrop(size),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
                v2.RandomErasing(data.erasing, scale=(0.02, 0.4), ratio=(0.3, 3.33)),
            ]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        sample = self.samples[index]
        with Image.open(sample.path) as image:
            return self.transform(image.convert("RGB")), self.label_of[sample.pid]


def test_a_batch_of_64_against_a_dataloader(race: Callable[..., Any], full: bool, samples: list[Sample]) -> None:
    """One core, the store already written. With every transform switched off both give the same batches, but for
    float32's rounding: torchvision scales to [0, 1] before it normalises."""
    data = DataSettings() if full else DataSettings(32, 16, padding=0, flip=0, erasing=0)
    identities, images = (16, 4) if full else (2, 2)
    files = Files(samples, data)
    labels = [files.label_of[sample.pid] for sample in samples]
    # Both draw from a sampler of the same seed, so that the n-th batch holds the same images.
    loader = DataLoader(files, batch_sampler=ClassBalancedSampler(labels, identities, images, seed=0))
    batches = Batches(samples, data, identities, images, seed=0, device=CPU, augmented=True)
    usual, ours = race(lambda: next(iter(loader)), batches.next, at_least=6, rounds=20)
    assert torch.equal(usual[1], ours[1])
    assert usual[0].shape == ours[0].shape
    if not full:
        torch.testing.assert_close(ours[0], usual[0], rtol=0, atol=1e-6)


def test_opening_a_store_against_decoding(race: Callable[..., Any], full: bool, samples: list[Sample]) -> None:
    """Every pixel is read, the store as its pages come."""
    size = (256, 128) if full else (32, 16)
    decoded, mapped = race(lambda: decode(samples, *size), lambda: stored(samples, *size).clone(), at_least=5)
    assert torch.equal(decoded, mapped)
