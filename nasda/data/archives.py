"""Archives and folders from elsewhere, unpacked without trust.

Whatever an archive says of itself, only plain files and folders come out of it, only inside the folder asked for, and
only so many bytes: those that are really written are counted, not those that a header promises.
"""

import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from tqdm.auto import tqdm

from nasda.errors import NasdaError

_CHUNK = 2**20  # bytes in memory at a time
_BLOCK = 4096  # bytes that even an empty file takes on disk, so that a flood of those ends too


class Entry(NamedTuple):
    """One thing in an archive: a plain file, or a folder, which has nothing to open."""

    name: str
    open: Callable[[], IO[bytes]] | None


class Allowance:
    """The bytes that may still be written."""

    def __init__(self, size: int) -> None:
        self.size = self.left = size

    def take(self, count: int, source: Path) -> None:
        """Use `count` bytes up; raises `NasdaError` when there are not so many left."""
        self.left -= count
        if self.left < 0:
            raise NasdaError(
                f"{source}: grows beyond {self.size / 10**9:,.3g} GB: if it is not a trick, allow more with --max-size"
            )


def unpack(sources: Sequence[Path], folder: Path, max_size: int) -> None:
    """Unpack or copy `sources`, archives (zip, tar, tar.gz, tar.bz2, tar.xz) and folders, into one new `folder`.

    Raises `NasdaError` for what is neither; for entries that would lie outside `folder` and those that are links,
    devices or there twice; when more than `max_size` bytes would be written; and for damage. It does not clean up.
    """
    allowance = Allowance(max_size)
    folder.mkdir()
    for source in sources:
        if folder.resolve().is_relative_to(source.resolve()):
            raise NasdaError(f"{source}: holds {folder.parent.parent}, into which it is to be copied: choose another")
        with _readable(source):
            for entry in tqdm(_entries(source), desc=source.name, unit=" files", leave=False):
                _write(entry, _target(folder, entry.name, source), allowance, source)


def _write(entry: Entry, target: Path, allowance: Allowance, source: Path) -> None:
    if entry.open is None:
        target.mkdir(parents=True, exist_ok=True)
        return allowance.take(_BLOCK, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise NasdaError(f"{source}: {entry.name}: there twice: expected every file once; leave one of them out")
    with entry.open() as file, target.open("xb") as copy:
        written = 0
        while chunk := file.read(_CHUNK):
            written += len(chunk)
            allowance.take(len(chunk), source)
            copy.write(chunk)
    allowance.take(max(0, _BLOCK - written), source)


def _target(folder: Path, name: str, source: Path) -> Path:
    """Where an entry goes; raises `NasdaError` if that is not inside `folder` on every system."""
    path = PurePosixPath(name.replace("\\", "/"))  # some archives are made on Windows
    leaves = any(":" in part or not part.strip(" .") for part in path.parts)  # Windows takes ".. " for ".."
    if path.is_absolute() or leaves or "\0" in name:
        raise NasdaError(f"{source}: {name!r} would lie outside the folder: refused; get the archive from its authors")
    return folder / path


def _entries(source: Path) -> Iterator[Entry]:
    if source.is_dir():
        return _of_folder(source)
    _open(source).close()  # says why, if it cannot be read
    if tarfile.is_tarfile(source):  # first, since a tar that ends with a zip looks like one
        return _of_tar(source)
    if zipfile.is_zipfile(source):
        return _of_zip(source)
    raise NasdaError(f"{source}: not an archive: expected a zip, tar or tar.gz file, whole, or a folder")


def _of_folder(source: Path) -> Iterator[Entry]:
    """What is in a folder, with the folder's own name on top, as archives mostly have it."""
    top = source.resolve()
    for parent, folders, files in os.walk(top, onerror=_cannot_list):
        folders.sort()
        for name in sorted(folders + files):
            path = Path(parent) / name
            kind = stat.S_IFMT(path.lstat().st_mode)
            within = path.relative_to(top.parent).as_posix()
            _refuse_all_but_plain(kind, within, source)
            content = None if kind == stat.S_IFDIR else partial(_open, path)
            yield Entry(within, content)


def _of_zip(source: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
            _refuse_all_but_plain(kind or stat.S_IFREG, info.filename, source)
            if info.flag_bits & 1:
                raise NasdaError(f"{source}: needs a password: unpack it yourself, and give the folder instead")
            yield Entry(info.filename, None if info.is_dir() else partial(archive.open, info))


def _of_tar(source: Path) -> Iterator[Entry]:
    with tarfile.open(source) as archive:
        for member in archive:
            _filter(member, source)
            kind = stat.S_IFDIR if member.isdir() else stat.S_IFREG if member.isreg() else 0
            _refuse_all_but_plain(kind, member.name, source)
            yield Entry(member.name, None if member.isdir() else partial(_member, archive, member))


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return cast(IO[bytes], archive.extractfile(member))  # None only for what is no file


def _filter(member: tarfile.TarInfo, source: Path) -> None:
    """Python's own judgement comes first; the rules here are stricter still, and hold for zips too."""
    if not hasattr(tarfile, "data_filter"):  # before Python 3.11.4
        return
    try:
        tarfile.data_filter(member, os.curdir)
    except tarfile.FilterError as error:
        raise NasdaError(f"{source}: {error}: refused; get the archive from its authors") from error


def _refuse_all_but_plain(kind: int, name: str, source: Path) -> None:
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise NasdaError(f"{source}: {name} is a link or a device: refused; expected plain files and folders only")


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise NasdaError(f"{path}: cannot be read: {error.strerror or error}") from error


def _cannot_list(error: OSError) -> None:
    raise NasdaError(f"{error.filename}: cannot be listed: {error.strerror or error}; check its permissions") from error


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    """What the decoders say of a damaged archive as one line."""
    try:
        yield
    except NasdaError:
        raise
    except Exception as error:  # BadZipFile, TarError, zlib.error, EOFError, IndexError: each in its own way
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not a decoder's
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NasdaError(f"{source}: damaged archive ({reason}): get it again") from error
