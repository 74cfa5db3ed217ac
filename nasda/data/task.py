"""A task is a source domain and a target domain: read it, count it, take samples from it."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tabulate import tabulate

from nasda.data.datasets import DATASETS, OF_TASK, Counts, DataSet, Side
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample, cameras, identities
from nasda.errors import NasdaError
from nasda.settings import TASK_NAMES, TaskName


class Task:
    """Learn ω on `source`, learn α on a small part of `target`'s training images, test in `target` (paper, Alg. 1).

    Each side is a domain, or a function that reads it when it is first used. So a command that needs one side only runs
    without the other.
    """

    def __init__(
        self, name: TaskName, source: Domain | Callable[[], Domain], target: Domain | Callable[[], Domain]
    ) -> None:
        self.name = name
        self._sides: dict[Side, Domain | Callable[[], Domain]] = {"source": source, "target": target}

    @property
    def source(self) -> Domain:
        return self._read("source")

    @property
    def target(self) -> Domain:
        return self._read("target")

    def _read(self, side: Side) -> Domain:
        found = self._sides[side]
        if not isinstance(found, Domain):
            found = self._sides[side] = found()
        return found

    def with_source(self, source: Domain) -> "Task":
        """The same task with another source."""
        return Task(self.name, source, self._sides["target"])

    def counts(self) -> str:
        """An aligned table: for each domain and split its images, identities, cameras, distractors and junk."""
        return table_of_counts(self.source, self.target)


def load_task(name: TaskName, data_root: Path, read: Callable[[DataSet, Path], Domain] = DataSet.read) -> Task:
    """The task of this name below `data_root`: person is PersonX → Market-1501, vehicle is VehicleX → VeRi-776 (§3.1).

    Raises `NasdaError` for another name. `read` reads each side when it is first used, and raises then.
    """
    if name not in OF_TASK:
        raise NasdaError(f"no task named {name!r}: choose one of {', '.join(TASK_NAMES)}")
    return Task(name, **{side: partial(read, DATASETS[which], data_root) for side, which in OF_TASK[name].items()})


def count(split: str, samples: list[Sample]) -> Counts:
    """How many images, identities and so on there are in `samples`, which are the `split` train, query or gallery."""
    of_pid = Counter(sample.pid for sample in samples)
    distractors = of_pid[DISTRACTOR] if split == "gallery" else 0  # elsewhere 0 is an identity like any other
    people = len(identities(samples)) - (distractors > 0)
    return Counts(len(samples), people, len(cameras(samples)), distractors, of_pid[JUNK])


def table_of_counts(*domains: Domain) -> str:
    """An aligned table: a line for each domain and split, a column for each of `Counts`."""
    rows = [
        (domain.title, split, *(f"{number:,}" for number in count(split, samples)))
        for domain in domains
        for split, samples in domain.splits().items()
    ]
    alignment = ["left"] * 2 + ["right"] * len(Counts._fields)
    header = ["domain", "split", *Counts._fields]
    return tabulate(rows, header, tablefmt="plain", disable_numparse=True, colalign=alignment)


def class_labels(samples: Sequence[Sample]) -> dict[int, int]:
    """The class label 0..C−1 of each `pid`, in ascending order; for training only. Junk has no class."""
    return {pid: label for label, pid in enumerate(identities(list(samples)))}


def target_sample(domain: Domain, images_per_identity: int, seed: int) -> list[Sample]:
    """The few labelled target images on which α are learnt: n random ones of each training identity.

    The paper takes n = 1 (§3.1), which holds no positive pair; losses over pairs need 2 or more.
    They come from `domain.train` alone: identities of the test are never seen. Each identity gives images of as many
    cameras as possible, so that positive pairs cross cameras; one with fewer than n images gives them all. The same
    seed gives the same images, and a larger n adds to them. Sorted by path.
    Raises `NasdaError` if n is not positive or there is no training image.
    """
    _require_positive(images_per_identity)
    if not domain.train:
        raise NasdaError(f"{domain.root}: {domain.name} has no training images to take a target sample from: add some")
    chosen = [shuffled[:images_per_identity] for shuffled in _shuffled_by_identity(domain.train, seed)]
    return sorted(sample for images in chosen for sample in images)


def hold_out(samples: Sequence[Sample], images_per_identity: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split source training images into (kept, held): n random images of each identity are held.

    For the search on the source alone, which learns ω on kept and α on held. Every identity keeps at least two images,
    for a pair; an identity with too few for that keeps all. Both lists are sorted by path.
    Raises `NasdaError` if n is not positive, or if no identity has enough.
    """
    _require_positive(images_per_identity)
    most = max(Counter(sample.pid for sample in samples).values(), default=0)
    if most < images_per_identity + 2:
        needed = f"to hold out {images_per_identity} images of an identity and keep 2 for a pair"
        found = f"it needs {images_per_identity + 2}, but none has more than {most}"
        raise NasdaError(f"--sample-images {images_per_identity}: {needed}, {found}: take fewer")
    kept: list[Sample] = []
    held: list[Sample] = []
    for shuffled in _shuffled_by_identity(samples, seed):
        n = images_per_identity if len(shuffled) >= images_per_identity + 2 else 0
        held += shuffled[:n]
        kept += shuffled[n:]
    return sorted(kept), sorted(held)


def _require_positive(images_per_identity: int) -> None:
    if images_per_identity < 1:
        raise NasdaError(f"images_per_identity is {images_per_identity}: expected 1 or more")


def _shuffled_by_identity(samples: Sequence[Sample], seed: int) -> list[list[Sample]]:
    """The images of each identity in random order, one of each camera before the second of any."""
    of_pid: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples):  # so that the result depends on the seed, not on the order of the list
        of_pid[sample.pid].append(sample)
    random = np.random.default_rng(seed)
    in_order = []
    for _, images in sorted(of_pid.items()):
        shuffled = [images[i] for i in random.permutation(len(images))]
        turns: dict[int, Iterator[int]] = defaultdict(itertools.count)  # of each camera
        number = [next(turns[sample.camid]) for sample in shuffled]
        in_order.append([shuffled[i] for i in np.argsort(number, kind="stable")])
    return in_order
