"""A task in miniature for the tests of whole runs: each identity a colour of its own, the target a little darker."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasda.data.domain import Domain, Sample
from nasda.data.task import Task
from nasda.settings import DataSettings, Profile, SearchSettings, SpaceSettings, TrainSettings

HEIGHT, WIDTH = 32, 16
SPACE = SpaceSettings(channels=3, nodes=2, cells_per_block=1, stem_stride=1, embedding=16, dropout=0.2)
DATA = DataSettings(height=HEIGHT, width=WIDTH, padding=2)
SEARCH = SearchSettings(epochs=3, steps=2, identities=4, images=2, sample_images=2, weights_lr=0.05, alphas_lr=0.05)
TRAIN = TrainSettings(epochs=3, steps=2, identities=4, images=2, lr=0.003)


def profile_with(**groups: Any) -> Profile:
    """The settings above, some of them replaced."""
    return dataclasses.replace(Profile(space=SPACE, search=SEARCH, train=TRAIN, data=DATA), **groups)


def make_split(folder: Path, pids: range, cameras: range, images: int, brightness: float) -> list[Sample]:
    """Noisy images of one colour an identity."""
    folder.mkdir(parents=True)
    samples = []
    for pid in pids:
        colour = np.random.default_rng(pid).uniform(0, 255, 3) * brightness
        for camera in cameras:
            for number in range(images):
                noise = np.random.default_rng((pid, camera, number)).normal(0, 20, (HEIGHT, WIDTH, 3))
                path = folder / f"{pid:04d}_c{camera}_{number}.png"
                Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)
                samples.append(Sample(path, pid, camera))
    return samples


def make_domain(root: Path, name: str, brightness: float) -> Domain:
    """Six identities to train on; three others, seen by two cameras, to test on."""
    return Domain(
        name,
        root,
        train=make_split(root / "train", range(1, 7), range(1, 3), 3, brightness),
        query=make_split(root / "query", range(7, 10), range(1, 3), 1, brightness),
        gallery=make_split(root / "gallery", range(7, 10), range(1, 3), 2, brightness),
    )


def make_task(folder: Path) -> Task:
    """A source and a darker target."""
    return Task("person", make_domain(folder / "source", "bright", 1.0), make_domain(folder / "target", "dark", 0.6))
