"""From archives or folders of a real data set, make the folder that nasda reads."""

import os
from collections.abc import Sequence
from pathlib import Path

from nasda.data.archives import unpack
from nasda.data.datasets import DATASETS, DataSet
from nasda.data.domain import Domain
from nasda.errors import NasdaError
from nasda.files import folder_written_whole


def prepare(dataset: DataSet, sources: Sequence[Path], data_root: Path, max_size: int) -> Domain:
    """Unpack `sources` into the folder of `dataset` below `data_root`, and read it: whole or not at all.

    Raises `NasdaError`, and leaves nothing behind, if `data_root` holds the data set already, if `sources` do not
    hold it or hold it damaged, and for all that `unpack` refuses.
    """
    if not sources:
        raise NasdaError(f"no archive given. How to obtain it: {dataset.how_to_obtain}")
    refuse_second(dataset, data_root)
    place = data_root / dataset.folder
    with folder_written_whole(place) as workshop:
        unpacked = workshop / "unpacked"
        unpack(sources, unpacked, max_size)
        try:
            _find(dataset, unpacked).rename(workshop / dataset.folder)
            dataset.read(workshop)
        except NasdaError as error:  # whose path names a folder that is deleted now
            given = ", ".join(map(str, sources))
            raise NasdaError(f"{given}: " + str(error).replace(f"{workshop}{os.sep}", "")) from error
    return dataset.read(data_root)


def refuse_second(dataset: DataSet, data_root: Path) -> None:
    """Raise `NasdaError` if `data_root` holds the data set under any of its names: only one of two would be read."""
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
    level = [unpacked]
    for _ in range(4):  # the folder itself, the folders in it, those in them, and so on
        found = [each for each in level if layout.lies_in(each) and not any(o.is_called(each.name) for o in others)]
        if len(found) > 1:
            names = ", ".join(folder.name for folder in found)
            raise NasdaError(f"{names}: each may be {layout.dataset}: unpack the archive, and give the right folder")
        if found:
            return found[0]
        level = [child for parent in level for child in sorted(parent.iterdir()) if child.is_dir()]
    raise NasdaError(f"no {layout.dataset} in there: expected a folder that holds {' or '.join(layout.markers[:3])}")
