"""Archives and folders from elsewhere, unpacked without trust.

Whatever an archive says of itself, only plain files and folders come out of it, only inside the folder asked for, and
only so many bytes: those that are really written are counted, not those that a header promises. What is unpacked passes
through memory in small pieces, however much a few bytes grow to.
"""

import bz2
import copy
import gzip
import io
import lzma
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from tqdm.auto import tqdm

from nasda.errors import NasdaError

_CHUNK = 2**18  # bytes in memory at a time; no header of a tar is longer
_BLOCK = 4096  # bytes that even an empty file takes on disk, so that a flood of those ends too
_LZMA_MEMORY = 2**27  # bytes that an LZMA decoder may ask for: `xz -9` needs 65 MiB


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
    with entry.open() as file, target.open("xb") as copied:
        written = 0
        while chunk := file.read(_CHUNK):
            written += len(chunk)
            allowance.take(len(chunk), source)
            copied.write(chunk)
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
    if (members := _of_tar(source)) is not None:  # first, since a tar that ends with a zip looks like one
        return members
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


# ---------------------------------------------------------------------------------------------------------------------
# Zip


def _of_zip(source: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
            _refuse_all_but_plain(kind or stat.S_IFREG, info.filename, source)
            if info.flag_bits & 1:
                raise NasdaError(f"{source}: needs a password: unpack it yourself, and give the folder instead")
            yield Entry(info.filename, None if info.is_dir() else partial(_zip_member, archive, info))


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A file in a zip. `zipfile` inflates a whole piece of bzip2 or LZMA at once, so of those it gives the packed bytes
    only."""
    if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return archive.open(info)
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC  # of the content, which `_Inflated` compares
    raw = archive.open(packed)
    if info.compress_type == zipfile.ZIP_BZIP2:
        return cast(IO[bytes], _Inflated(raw, bz2.BZ2Decompressor, crc=info.CRC))
    if info.compress_type == zipfile.ZIP_LZMA:
        return cast(IO[bytes], _Inflated(raw, _lzma_decompressor, _lzma_head(raw, info), info.CRC))
    raise NotImplementedError("its method is not understood: unpack it yourself, give the folder instead, or")


def _lzma_head(file: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    """The head that LZMA has outside a zip: the coder's properties, and the size or that the end is marked."""
    _, length = struct.unpack("<HH", file.read(4))
    return file.read(length) + struct.pack("<Q", 2**64 - 1 if info.flag_bits & 2 else info.file_size)


def _lzma_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)


class _Inflated(io.RawIOBase):
    """What is packed in `head` and then `packed`, one stream of `decompressor()` after the other; each `read` unpacks
    as much as it asks for.

    Raises `zlib.error` at the end if the CRC-32 of the content is not `crc`, where one is given.
    """

    def __init__(
        self, packed: IO[bytes], decompressor: Callable[[], Any], head: bytes = b"", crc: int | None = None
    ) -> None:
        self.packed, self.start, self.head, self.crc = packed, decompressor, head, crc
        self.decompressor = decompressor()
        self.found = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self.found = zlib.crc32(data, self.found)
        if not data and self.crc not in (None, self.found):
            raise zlib.error("wrong checksum")
        return len(data)

    def _read(self, size: int) -> bytes:
        while True:
            packed, self.head = self.head, b""
            if self.decompressor.eof:
                packed = (self.decompressor.unused_data or self.packed.read(io.DEFAULT_BUFFER_SIZE)).lstrip(b"\0")
                if not packed:  # nothing, or what an xz file is padded with
                    return b""
                self.decompressor = self.start()
            elif self.decompressor.needs_input and not packed:
                packed = self.packed.read(io.DEFAULT_BUFFER_SIZE)
                if not packed:
                    raise EOFError("it ends before its time")
            if data := self.decompressor.decompress(packed, size):
                return data


# ---------------------------------------------------------------------------------------------------------------------
# Tar

_UNPACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {  # by the first bytes of the file
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lambda file: _Inflated(file, _lzma_decompressor),
}


class _Sparing:
    """A tar's bytes, read once from the beginning to the end.

    `tarfile` reads a header as long as it claims to be, and sums of headers too, so it gets `left` bytes and no more.
    """

    def __init__(self, source: Path) -> None:
        self.source, self.file = source, _open(source)
        start = self.file.read(8)
        self.file.seek(0)
        unpacked = [opened for magic, opened in _UNPACKED.items() if start.startswith(magic)]
        self.unpacked: IO[bytes] = unpacked[0](self.file) if unpacked else self.file
        self.position, self.left = 0, _CHUNK

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise NasdaError(
                f"{self.source}: has a header of more than {_CHUNK // 1024} KiB: refused; get the archive from its "
                "authors"
            )
        self.left -= size
        return self._pull(size)

    def _pull(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.unpacked.read(size - len(data))):
            data += piece
        self.position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Forwards only, past what is not wanted."""
        if position < self.position:
            raise tarfile.ReadError("its parts overlap")
        while self.position < position and self._pull(min(_CHUNK, position - self.position)):
            pass

    def tell(self) -> int:
        return self.position

    def close(self) -> None:
        self.unpacked.close()
        self.file.close()


def _of_tar(source: Path) -> Iterator[Entry] | None:
    """What is in a tar; None if it is none."""
    file = _Sparing(source)
    try:
        return _members(tarfile.open(fileobj=cast(IO[bytes], file), mode="r:"), file)
    except tarfile.ReadError:
        file.close()
        return None


def _members(archive: tarfile.TarFile, file: _Sparing) -> Iterator[Entry]:
    with closing(file):
        while (member := archive.next()) is not None:
            _filter(member, file.source)
            kind = stat.S_IFDIR if member.isdir() else stat.S_IFREG if member.isreg() else 0
            _refuse_all_but_plain(kind, member.name, file.source)
            file.left = sys.maxsize
            yield Entry(member.name, None if member.isdir() else partial(_member, archive, member))
            vars(archive).update(members=[], pax_headers={})  # which would fill the memory
            file.left = _CHUNK


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


# ---------------------------------------------------------------------------------------------------------------------
# What they share


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
