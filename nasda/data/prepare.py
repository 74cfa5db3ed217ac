"""Make a folder that nasda reads from the archives or folders that one has of a real data set.

`python -m nasda.data.prepare market1501 Market-1501-v15.09.15.zip --data-root data/real`, from the repository's root.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from nasda.data.archives import unpack
from nasda.data.datasets import DATASETS, GB, DataSet, DataSetName
from nasda.data.domain import Domain
from nasda.data.task import table_of_counts
from nasda.errors import NasdaError
from nasda.files import folder_written_whole


@dataclass(frozen=True)
class Prepare:
    """Unpack archives (zip, tar, tar.gz) of a data set, or copy its folders, to where nasda finds it."""

    dataset: Positional[DataSetName]
    """Which of the four."""
    sources: Positional[tuple[Path, ...]] = ()
    """Its archives or folders, in any of the layouts that are passed round; several are laid over each other."""
    data_root: Path = Path("data/real")
    """Folder that is to hold the data set's own folder."""
    max_size: float | None = None
    """Gigabytes that may be written; if not given, several times what the data set's largest release takes."""

    def run(self) -> int:
        dataset = DATASETS[self.dataset]
        max_size = dataset.max_size if self.max_size is None else int(self.max_size * GB)
        domain = prepare(dataset, self.sources, self.data_root, max_size)
        print(table_of_counts(domain))
        print(f"prepared: {domain.root}; now: python -m nasda.data.check {self.dataset} {self.data_root}")
        return 0


def prepare(dataset: DataSet, sources: Sequence[Path], data_root: Path, max_size: int) -> Domain:
    """Lay `sources` out as `dataset` below `data_root`, and read it: whole or not at all.

    Raises `NasdaError`, and leaves nothing behind, when `data_root` holds the data set already, when `sources` do not
    hold it or hold it damaged, and for all that `unpack` refuses.
    """
    if not sources:
        raise NasdaError(f"no archive given. How to come by it: {dataset.how_to_obtain}")
    refuse_second(dataset, data_root)
    place = data_root / dataset.folder
    with folder_written_whole(place) as workshop:
        unpacked = workshop / "unpacked"
        unpack(sources, unpacked, max_size)
        try:
            _find(dataset, unpacked).rename(workshop / dataset.folder)
            dataset.read(workshop)
        except NasdaError as error:  # the workshop will be gone when this is read
            given = ", ".join(map(str, sources))
            raise NasdaError(f"{given}: " + str(error).replace(f"{workshop}{os.sep}", "")) from error
    return dataset.read(data_root)


def refuse_second(dataset: DataSet, data_root: Path) -> None:
    """Raise `NasdaError` if `data_root` holds the data set, by whatever name: of two, readers would take one."""
    try:
        there = dataset.layout.find(data_root)
    except NasdaError:  # there is none
        return
    raise NasdaError(f"{there}: there already, and left as it is: choose another folder, or remove this one first")


def _find(dataset: DataSet, unpacked: Path) -> Path:
    """The folder in an unpacked archive that is the data set: by its name, else by what it holds."""
    layout = dataset.layout
    with suppress(NasdaError):
        return layout.find(unpacked)
    others = [other.layout for other in DATASETS.values() if other is not dataset]
    for folders in _levels(unpacked):
        found = [
            folder
            for folder in folders
            if any((folder / marker).is_dir() for marker in layout.markers)
            and not any(other.is_called(folder.name) for other in others)
        ]
        if len(found) > 1:
            names = ", ".join(folder.name for folder in found)
            raise NasdaError(f"{names}: each may be {layout.dataset}: unpack the archive, and give the right folder")
        if found:
            return found[0]
    raise NasdaError(f"no {layout.dataset} in there: expected a folder that holds {' or '.join(layout.markers[:3])}")


def _levels(folder: Path, depth: int = 4) -> Iterator[list[Path]]:
    """The folder itself, then the folders in it, then those in them, and so on."""
    level = [folder]
    for _ in range(depth):
        yield level
        level = [child for parent in level for child in sorted(parent.iterdir()) if child.is_dir()]
