"""Make a folder that nasda reads from the archives or folders that one has of a real data set."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nasda.data.archives import unpack
from nasda.data.datasets import DATASETS, DataSet
from nasda.data.domain import Domain
from nasda.errors import NasdaError
from nasda.files import folder_written_whole


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
    if data_root.is_dir() and (there := dataset.layout.folders(data_root)):
        raise NasdaError(
            f"{there[0]}: there already, and left as it is: choose another folder, or remove this one first"
        )


def _find(dataset: DataSet, unpacked: Path) -> Path:
    """The folder in an unpacked archive that is the data set: by its name, else by what it holds."""
    layout = dataset.layout
    if layout.folders(unpacked):
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
