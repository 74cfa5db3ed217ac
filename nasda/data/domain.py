"""What every data set becomes: lists of `Sample`, joined to a `Domain`."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

JUNK = -1  # Market-1501's id for boxes that are neither right nor wrong: never counted
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

    def splits(self) -> dict[str, list[Sample]]:
        """The three lists by their names, train first."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}


def identities(samples: list[Sample]) -> list[int]:
    """The identities that occur, ascending, without junk."""
    return sorted({sample.pid for sample in samples} - {JUNK})


def cameras_of_each(samples: list[Sample]) -> dict[int, set[int]]:
    """By identity, the cameras that see it; none for an identity that does not occur."""
    found: dict[int, set[int]] = defaultdict(set)
    for sample in samples:
        found[sample.pid].add(sample.camid)
    return found


def cameras(samples: list[Sample]) -> list[int]:
    """The cameras that occur, ascending."""
    return sorted({sample.camid for sample in samples})
