"""The four data sets in the real layouts, each in the form that most people have, and archives of them."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from nasda.data.datasets import DataSetName
from tests.data import layouts

MAKERS: dict[DataSetName, tuple[Callable[[Path], Path], str]] = {
    "market1501": (layouts.market1501, "Market-1501-v15.09.15"),
    "veri776": (layouts.veri776, "VeRi"),
    "personx": (layouts.personx, "PersonX"),
    "vehiclex": (layouts.vehiclex, "AIC20_ReID_Simulation"),
}


def tree(name: DataSetName, parent: Path) -> Path:
    """The data set's folder, in `parent`."""
    make, folder = MAKERS[name]
    return make(parent / folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too, by its relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(folder: Path, archive: Path, top: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of what is below `folder`, in a folder `top` inside."""
    with zipfile.ZipFile(archive, "w", method) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, Path(top) / path.relative_to(folder))
    return archive


def tarred(folder: Path, archive: Path, top: str = ".", mode: str = "w:gz") -> Path:
    """The same as a tar."""
    with tarfile.open(archive, mode) as file:  # type: ignore[call-overload]
        file.add(folder, top)
    return archive


def zip_of(archive: Path, files: Mapping[str, bytes], kinds: Mapping[str, int] | None = None) -> Path:
    """A zip of these files, whatever they are called; those in `kinds` claim to be of another kind (`stat.S_IF…`)."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = ((kinds or {}).get(name, stat.S_IFREG) | 0o644) << 16
            file.writestr(info, content)
    return archive


def tar_of(archive: Path, files: Mapping[str, bytes], **attributes: object) -> Path:
    """A tar of these files, whatever they are called; the last one with these `TarInfo` attributes."""
    with tarfile.open(archive, "w:gz") as file:
        for number, (name, content) in enumerate(files.items(), start=1):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for attribute, value in attributes.items() if number == len(files) else ():
                setattr(info, attribute, value)
            file.addfile(info, io.BytesIO(content))
    return archive
