"""Class-balanced batches of images, decoded once, augmented batch by batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nasda.data.domain import Sample
from nasda.data.images import Augmentation, augment, normalize
from nasda.data.sampling import ClassBalancedSampler
from nasda.data.store import stored
from nasda.data.task import class_labels
from nasda.profiles import DataSettings


class Batches:
    """An endless row of batches: P identities × K images each, reproducible and resumable."""

    def __init__(
        self,
        samples: Sequence[Sample],
        data: DataSettings,
        identities: int,
        images: int,
        *,
        seed: int,
        device: torch.device,
        augmented: bool,
        fewer_identities: bool = False,
    ) -> None:
        """`augmented` applies §3.1's training transforms, otherwise images are only normalised, as for validation.
        `fewer_identities` takes a smaller P where `samples` has fewer than `identities`; otherwise that is an error."""
        label_of = class_labels(samples)
        labels = [label_of[sample.pid] for sample in samples]
        self.classes = len(label_of)
        if fewer_identities:
            identities = min(identities, self.classes)
        self.sampler = ClassBalancedSampler(labels, identities, images, seed)
        self.batch_size = identities * images
        self.images = stored(samples, data.height, data.width)
        self.labels = torch.tensor(labels)
        self.augmentation = (
            Augmentation(flip=data.flip, padding=data.padding, erasing=data.erasing) if augmented else None
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device

    def __len__(self) -> int:
        """Batches in one pass over the samples."""
        return self.sampler.batches_per_epoch

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch: images (P·K, 3, H, W) as float32, labels (P·K,) in 0..classes-1, on the device."""
        indices = self.sampler.next_batch()
        images = self.images[indices].to(self.device)
        labels = self.labels[indices].to(self.device)
        if self.augmentation is None:
            return normalize(images), labels
        return augment(images, self.generator, self.augmentation), labels

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self.sampler.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.load_state_dict(state["sampler"])
        self.generator.set_state(state["generator"])
