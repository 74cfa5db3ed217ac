"""What every data set is once it has been read: lists of `Sample`, joined to a `Domain`."""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nasda.errors import NasdaError

JUNK = -1  # Market-1501's id for boxes that are neither right nor wrong: never counted
TOY_MARKER = "toy.json"  # a file beside images that nasda has drawn, which says how
DISTRACTOR = 0  # Market-1501's id for boxes that belong to nobody: always wrong


class Sample(NamedTuple):
    """One image on disk with its identity `pid` and camera `camid`, as the data set numbers them."""

    path: Path
    pid: int
    camid: int


@dataclass(frozen=True)
class Domain:
    """One data set: `train`, and the `query` and `gallery` of its test (empty where it has no test)."""

    name: str
    root: Path
    train: list[Sample] = field(repr=False)
    query: list[Sample] = field(repr=False)
    gallery: list[Sample] = field(repr=False)

    @property
    def title(self) -> str:
        """What a reader is shown. Images that nasda has drawn do not bear the name of real ones alone."""
        is_drawn = (self.root / TOY_MARKER).exists()
        return f"drawn, in the layout of {self.name}" if is_drawn else self.name

    def splits(self) -> dict[str, list[Sample]]:
        """The three lists by their names, train first."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}


def identities(samples: list[Sample]) -> list[int]:
    """The identities that occur, ascending, without junk."""
    return sorted({sample.pid for sample in samples} - {JUNK})


def cameras_of_each(samples: list[Sample]) -> dict[int, set[int]]:
    """The cameras that see each identity; an identity that does not occur has none."""
    found: dict[int, set[int]] = defaultdict(set)
    for sample in samples:
        found[sample.pid].add(sample.camid)
    return found


def answerable(domain: Domain) -> list[Sample]:
    """The queries that have a right answer: the gallery has their identity under another camera."""
    seen_by = cameras_of_each(domain.gallery)
    people = [query for query in domain.query if query.pid not in (DISTRACTOR, JUNK)]
    return [query for query in people if seen_by[query.pid] - {query.camid}]


def cameras(samples: list[Sample]) -> list[int]:
    """The cameras that occur, ascending."""
    return sorted({sample.camid for sample in samples})


def fingerprint(domain: Domain, *splits: str) -> str:
    """A line that other data does not share with these `splits`, such as "PersonX, 288 images, 0b3f6c2a91d47e58".

    The hash is of every image's path below the domain's root, size in bytes, identity and camera. So a copy in another
    place, or of another date, is the same data. Raises `NasdaError` naming an image that is missing.
    """
    samples = [sample for split in splits for sample in domain.splits()[split]]
    lines = [f"{s.path.relative_to(domain.root).as_posix()}\0{_size(s.path)}\0{s.pid}\0{s.camid}" for s in samples]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()
    return f"{domain.name}, {len(samples):,} images, {digest[:16]}"


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise NasdaError(f"{path}: an image expected here, but {error.strerror}: restore it") from None
