"""Which images make a class-balanced batch: some identities, and the same number of images of each (§2.2)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nasda.errors import NasdaError


def sample_batch(labels: Tensor, identities: int, images: int, generator: torch.Generator) -> Tensor:
    """One batch by itself: the indices, int64 (P·K,), of K `images` of each of P `identities` of `labels` (N,).

    The identities are drawn without replacement, uniformly and anew each time; the images as `ClassBalancedSampler`
    draws them. `generator` is the only source of chance. Raises `NasdaError` where there are fewer than P identities.
    """
    images_of = _by_identity(labels)
    if len(images_of) < identities:
        raise NasdaError(f"sampling: {len(images_of)} identities found, but a batch takes {identities}")
    chosen = torch.randperm(len(images_of), generator=generator)[:identities]
    return torch.cat([_draw_images(images_of[identity], images, generator) for identity in chosen])


def _by_identity(label: Tensor) -> tuple[Tensor, ...]:
    """The indices of each identity's images."""
    _, counts = label.unique(return_counts=True)
    return label.argsort(stable=True).split(counts.tolist())


def _draw_images(candidates: Tensor, images: int, generator: torch.Generator) -> Tensor:
    """So many of `candidates`; where they are fewer, all of them and then some again."""
    drawn = candidates[torch.randperm(len(candidates), generator=generator)[:images]]
    missing = images - len(drawn)
    if not missing:
        return drawn
    again = torch.randint(len(candidates), (missing,), generator=generator)
    return torch.cat([drawn, candidates[again]])


class ClassBalancedSampler:
    """Samples batches of P `identities` with K `images` each, as the triplet loss needs them.

    "First uniformly samples certain identities, then randomly samples the same number of images for each identity"
    (§2.2; Hermans et al. 2017). The identities come from a shuffled list that continues from batch to batch; at its end
    it is shuffled again. So no identity is seen twice before all were seen once, and none twice in a batch. The images
    of an identity are sampled without replacement; an identity with fewer than K gives all it has, then some of them
    again. `notice` then says so, and is None otherwise.

    Iterating gives one epoch of `len(sampler)` batches; `next_batch()` gives them one by one, without end.
    Raises `NasdaError` where there are fewer than P identities.
    """

    def __init__(self, labels: Sequence[int] | Tensor, identities: int, images: int, seed: int) -> None:
        """`labels` (N,): the identity of each image; `seed`: of the sampler's own generator."""
        if identities < 1 or images < 1:
            raise NasdaError(f"sampling: {identities} identities with {images} images each: both must be 1 or more")
        self.identities = identities
        self.images = images
        self.batch_size = identities * images
        label = torch.as_tensor(labels, dtype=torch.long)
        self._images_of = _by_identity(label)
        counts = torch.tensor([len(found) for found in self._images_of])
        if len(counts) < identities:
            if not len(counts):
                raise NasdaError("sampling: no identities found: check that the data set's training folder was read")
            raise NasdaError(
                f"sampling: {len(counts)} identities found, but a batch takes {identities}: "
                f"lower the identities per batch to at most {len(counts)}, or use data with more identities"
            )
        self.batches_per_epoch = max(1, len(label) // self.batch_size)
        small = f"{int((counts < images).sum())} of {len(counts)} identities have fewer than {images} images"
        self.notice = f"{small}: some of theirs occur twice in a batch" if (counts < images).any() else None
        self._shape = torch.tensor([len(label), len(counts), identities, images])
        self._generator = torch.Generator().manual_seed(seed)
        self._waiting = torch.empty(0, dtype=torch.long)  # identities of the shuffled list that are still to come

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[Tensor]:
        return (self.next_batch() for _ in range(self.batches_per_epoch))

    def next_batch(self) -> Tensor:
        """Image indices, int64 (P·K,), identity by identity: K of the first, then K of the second, …"""
        drawn = [self._images_of[identity] for identity in self._draw_identities()]
        return torch.cat([_draw_images(candidates, self.images, self._generator) for candidates in drawn])

    def _draw_identities(self) -> Tensor:
        """The next P of the shuffled list; at its end, what is missing comes from the next shuffle."""
        chosen, self._waiting = self._waiting[: self.identities], self._waiting[self.identities :]
        missing = self.identities - len(chosen)
        if missing:
            shuffled = torch.randperm(len(self._images_of), generator=self._generator)
            is_new = ~torch.isin(shuffled, chosen)  # those in this batch already wait for a later one
            taken = is_new & (is_new.cumsum(0) <= missing)
            chosen, self._waiting = torch.cat([chosen, shuffled[taken]]), shuffled[~taken]
        return chosen

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs for the same batches: plain tensors, fit for `torch.load(weights_only=True)`."""
        return {
            "generator": self._generator.get_state(),
            "waiting": self._waiting.clone(),
            "shape": self._shape.clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where the sampler that gave `state` was; raises `NasdaError` if it was made for other batches."""
        if not torch.equal(state["shape"], self._shape):
            saved, now = (
                "{} images, {} identities, batches of {} × {}".format(*s.tolist())
                for s in (state["shape"], self._shape)
            )
            raise NasdaError(
                f"sampling: the checkpoint was written for {saved}, this run has {now}: "
                "resume with the same data and batch settings, or start a new run"
            )
        self._generator.set_state(state["generator"])
        self._waiting = state["waiting"].clone()


def check_triplets(labels: Tensor) -> None:
    """Raise `NasdaError`, saying why, if a batch with these labels has no triplet."""
    _, counts = torch.unique(labels, return_counts=True)
    if len(counts) < 2:
        raise NasdaError("the batch holds a single identity, so no image has a negative: take more identities (P ≥ 2)")
    if int(counts.max()) < 2:
        raise NasdaError(
            "the batch holds one image of each identity, so no image has a positive and the triplet loss is dead: "
            "take K ≥ 2 images an identity, or ask for the paper's literal one-image mode (--literal)"
        )
