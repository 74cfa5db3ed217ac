"""Class-balanced batches of images, which are decoded once and augmented batch by batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nasda.data.domain import Sample
from nasda.data.images import Augmentation, augment, normalize
from nasda.data.sampling import ClassBalancedSampler, check_triplets
from nasda.data.store import stored
from nasda.data.task import class_labels
from nasda.settings import DataSettings


class Batches:
    """An endless sequence of batches: P identities × K images each, reproducible and resumable."""

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
        ahead: bool | None = None,
    ) -> None:
        """augmented: apply §3.1's training transforms; otherwise images are only normalised, as for validation.
        fewer_identities: take a smaller P where `samples` has fewer than `identities`; otherwise that is an error.
        ahead: prepare each batch while the one before is computed with; None does so on CUDA, where the two run side
            by side. The batches are the same either way."""
        label_of = class_labels(samples)
        labels = [label_of[sample.pid] for sample in samples]
        self.classes = len(label_of)
        if fewer_identities:
            identities = min(identities, self.classes)
        self.sampler = ClassBalancedSampler(labels, identities, images, seed)
        self.batch_size = identities * images
        pixels = stored(samples, data.height, data.width)
        self.pixels = pixels.permute(0, 2, 3, 1)  # as they lie in memory: an image is one long piece
        self.labels = torch.tensor(labels)
        self.augmentation = (
            Augmentation(flip=data.flip, padding=data.padding, erasing=data.erasing) if augmented else None
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device
        self.ahead = device.type == "cuda" if ahead is None else ahead
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._waiting: tuple[Tensor, Tensor] | None = None  # the batch prepared ahead
        self._handed_out: dict[str, Any] = {}  # the state before that batch was prepared

    def __len__(self) -> int:
        """Batches in one pass over the samples."""
        return self.sampler.batches_per_epoch

    def check_triplets(self) -> None:
        """Raise `NasdaError` if these batches have no triplet; before anything is computed."""
        check_triplets(torch.arange(self.sampler.identities).repeat_interleave(self.sampler.images))

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch: images (P·K, 3, H, W) as float32, channels-last in memory, and labels (P·K,) in
        0..classes-1, both on the device."""
        batch = self._waiting or self._prepare()
        self._receive(batch)
        if self.ahead:
            self._handed_out = self._state()
            self._waiting = self._prepare()
        return batch

    def _prepare(self) -> tuple[Tensor, Tensor]:
        """Sample and make a batch; on CUDA in a stream beside the other computation, without waiting for it."""
        indices = self.sampler.next_batch()
        with torch.cuda.stream(self._stream):  # does nothing where there is no stream
            images = self._to_device(self.pixels, indices).permute(0, 3, 1, 2)
            labels = self._to_device(self.labels, indices)
            if self.augmentation is None:
                return normalize(images), labels
            return augment(images, self.generator, self.augmentation), labels

    def _to_device(self, values: Tensor, indices: Tensor) -> Tensor:
        """`values[indices]` on the device; through pinned memory, from which a GPU copies while the host continues."""
        shape = (len(indices), *values.shape[1:])
        picked = torch.empty(shape, dtype=values.dtype, pin_memory=self.device.type == "cuda")
        torch.index_select(values, 0, indices, out=picked)
        return picked.to(self.device, non_blocking=True)

    def _receive(self, batch: tuple[Tensor, Tensor]) -> None:
        """Let later computation wait for `batch`, and keep its memory until that computation is done."""
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._stream)
            for values in batch:
                values.record_stream(current)

    def _state(self) -> dict[str, Any]:
        return {"sampler": self.sampler.state_dict(), "generator": self.generator.get_state()}

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that `next` returned; a batch prepared ahead does not count."""
        return self._handed_out if self._waiting else self._state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._waiting = None
        self.sampler.load_state_dict(state["sampler"])
        self.generator.set_state(state["generator"])
