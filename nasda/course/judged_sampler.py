"""What judges a student's P×K sampler (exercise 03.5): what must hold in every batch, and shares over many batches."""

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nasda.course.judges import SECONDS, Exercise, NotAttempted, Wrong, difference, is_stub, show
from nasda.course.limits import within
from nasda.data.sampling import sample_batch


class _Asked(NamedTuple):
    """A case of the sampler."""

    labels: Tensor
    identities: int
    images: int

    def case(self, seed: int) -> dict[str, Any]:
        return {**self._asdict(), "generator": torch.Generator().manual_seed(seed)}

    def sizes(self) -> dict[int, int]:
        return dict(zip(*(x.tolist() for x in self.labels.unique(return_counts=True)), strict=True))


def _of_sizes(sizes: Mapping[int, int], seed: int) -> Tensor:
    """Labels, shuffled: so many images of each identity."""
    labels = torch.tensor([identity for identity, size in sizes.items() for _ in range(size)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


_MANY = _Asked(_of_sizes({3: 1, 4: 2, 8: 3, 20: 4, 700: 6, 1501: 8}, 4), 2, 3)
_BATCHES = {
    "sorted labels": _Asked(torch.arange(5).repeat_interleave(4), 3, 2),
    "unsorted labels with gaps in their numbers": _Asked(_of_sizes({2: 4, 7: 5, 40: 4, 1501: 6}, 0), 2, 4),
    "every identity in the batch": _Asked(_of_sizes({0: 3, 1: 3, 2: 4}, 1), 3, 3),
    "one image an identity": _Asked(_of_sizes({3: 2, 5: 1, 6: 4}, 2), 2, 1),
    "identities with fewer than K images": _Asked(_of_sizes({1: 1, 4: 2, 9: 3, 11: 6}, 3), 4, 4),
    "identities of 1 to 8 images": _MANY,
}
_DRAWS = 900
_SIGMAS = 5


def _judge_sampler(answer: Any) -> Wrong | None:
    if not callable(answer):
        return Wrong(f"expected a function, found {show(answer)}")
    if is_stub(answer):
        raise NotAttempted
    for name, asked in _BATCHES.items():
        for seed in range(20):
            case = asked.case(seed)
            words = _wrong_batch(within(SECONDS, answer, *_copied(asked, case["generator"])), asked)
            if words:
                return Wrong(f"{name}, P = {asked.identities}, K = {asked.images}: {words}", case)
    words = _wrong_chance(answer) or _wrong_shares(answer)
    return Wrong(words, _MANY.case(0)) if words else None


def _copied(asked: _Asked, generator: torch.Generator) -> tuple[Any, ...]:
    return asked.labels.clone(), asked.identities, asked.images, generator


def _as_indices(found: Any) -> Tensor | None:
    """A batch as int64 (n,), whatever it was: a tensor, an array, a list of numbers or of tensors; None for others."""
    try:
        if isinstance(found, (list, tuple)):
            found = [int(index) for index in found]
        batch = torch.as_tensor(found)
        return batch.long() if batch.dim() == 1 and torch.equal(batch.long().to(batch.dtype), batch) else None
    except (TypeError, ValueError, RuntimeError):
        return None


def _wrong_batch(found: Any, asked: _Asked) -> str:
    """What is wrong with one batch; "" if nothing is."""
    count = asked.identities * asked.images
    if found is None:
        return "your function returned None: is there a `return`?"
    batch = _as_indices(found)
    if batch is None:
        return f"expected {count} indices in one row, yours gave {show(found)}"
    if len(batch) != count:
        return f"expected P·K = {count} indices, yours gave {len(batch)}: {show(batch)}"
    if not bool(((batch >= 0) & (batch < len(asked.labels))).all()):
        return f"expected indices from 0 to {len(asked.labels) - 1}, yours gave {show(batch)}: are these labels?"
    own = dict(zip(*(x.tolist() for x in asked.labels[batch].unique(return_counts=True)), strict=True))
    if len(own) != asked.identities or set(own.values()) != {asked.images}:
        times = ", ".join(f"{count} × identity {identity}" for identity, count in own.items())
        return f"expected K = {asked.images} images of each of {asked.identities} identities, yours has {times}"
    for identity in own:
        size = asked.sizes()[identity]
        different = len(batch[asked.labels[batch] == identity].unique())
        if different != min(size, asked.images):
            return (
                f"identity {identity} has {size} images, so of the {asked.images} drawn {min(size, asked.images)} are "
                f"different; yours has {different} different ones"
            )
    return ""


def _wrong_chance(answer: Callable[..., Any]) -> str:
    """Does anything but the generator decide; does the generator decide at all? "" if all is well."""

    def batches(seed: int, count: int = 3) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        found = [within(SECONDS, answer, *_copied(_MANY, generator)) for _ in range(count)]
        return [torch.as_tensor(_as_indices(batch)).tolist() for batch in found]

    before, found = _states(), []
    try:
        for seed in (1, 2):
            for seeded_anew in (torch.manual_seed, random.seed, np.random.seed):
                seeded_anew(seed)
            untouched = _states()
            found.append(batches(0))
            if any(difference(was, now, 0) for was, now in zip(untouched, _states(), strict=True)):
                return "your function draws from the global random state: hand `generator` to everything that draws"
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
    if found[0] != found[1]:
        return "generators with the same seed gave different batches: take all chance from `generator`"
    if found[0][0] == found[0][1] == found[0][2]:
        return "three calls with one generator gave the same batch three times: draw from it, and don't seed it anew"
    if found[0] == batches(1) == batches(2):
        return "generators with different seeds gave the same batches: take all chance from `generator`"
    return ""


def _states() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def _wrong_shares(answer: Callable[..., Any]) -> str:
    """Does every identity, pair of identities, image and pair of images come up as often as it should?"""
    generator = torch.Generator().manual_seed(0)
    found = within(SECONDS, lambda: [answer(*_copied(_MANY, generator)) for _ in range(_DRAWS)])
    batches = torch.stack([torch.as_tensor(_as_indices(batch)) for batch in found])
    drawn = torch.stack([(batches == index).sum(dim=1) for index in range(len(_MANY.labels))])  # (images, draws)
    sizes = _MANY.sizes()
    seen = {identity: drawn[_MANY.labels == identity].sum(dim=0) > 0 for identity in sizes}
    share = _MANY.identities / len(sizes)
    for identity, of_identity in seen.items():
        words = _far_off(int(of_identity.sum()), share, _DRAWS)
        if words:
            return f"each identity should be in {share:.0%} of the batches; identity {identity}, {words}"
    for one, other in itertools.combinations(sizes, 2):
        if not bool((seen[one] & seen[other]).any()):
            return f"identities {one} and {other} are never in one batch: draw each identity for itself"
    for identity, size in sizes.items():
        words = _wrong_images(drawn[_MANY.labels == identity][:, seen[identity]], size)
        if words:
            return f"identity {identity} has {size} images: {words}"
    return ""


def _wrong_images(drawn: Tensor, size: int) -> str:
    """`drawn` (images, draws): how often each image of an identity was drawn in the batches that have it."""
    times = drawn.shape[1]
    if size < _MANY.images:
        again = (drawn > 1).sum(dim=1)
        return "the same ones are always drawn again" if size > 1 and int(again.min()) < 0.2 * times else ""
    share = _MANY.images / size
    far = (_far_off(int((image > 0).sum()), share, times) for image in drawn)
    words = next((found for found in far if found), "")
    if words:
        return f"each should be drawn in {share:.0%} of its batches; one {words}"
    together = all(bool(((one > 0) & (other > 0)).any()) for one, other in itertools.combinations(drawn, 2))
    return "" if together else "some two of them are never drawn together"


def _far_off(count: int, share: float, draws: int) -> str:
    """Words where a count is farther from its expectation than chance allows."""
    sigma = (share * (1 - share) * draws) ** 0.5
    return f"was in {count} of {draws}" if abs(count - share * draws) > _SIGMAS * sigma else ""


SAMPLER = Exercise(
    _judge_sampler,
    f"Identities, images and pairs of them come up as often as they should in {_DRAWS} batches, and nothing but the "
    "generator decides",
    "the P×K sampler",
    sample_batch,
)
