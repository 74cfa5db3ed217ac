"""Archives and folders from strangers, unpacked without trust.

Whatever an archive claims, only plain files and folders come out of it, only inside the folder asked for, and only so
many bytes: the bytes written are counted, not those that a header promises. Every format is unpacked in small pieces,
so memory stays small however large the content is.
"""

import bz2
import copy
import gzip
import io
import lzma
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

from nasda.data.reading import entries_of
from nasda.errors import NasdaError

_CHUNK = 2**18  # bytes in memory at a time; no header of a tar may be longer
_BLOCK = 4096  # bytes that even an empty file takes on disk, so that a flood of those ends too
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_LZMA_MEMORY = 2**27  # bytes that an LZMA decoder may ask for: `xz -9` needs 65 MiB


class Entry(NamedTuple):
    """One plain file in an archive, or a folder, which has nothing to open."""

    name: str
    open: Callable[[], IO[bytes]] | None


class Allowance:
    """The bytes that may still be written."""

    def __init__(self, size: int) -> None:
        self.size = self.left = size

    def take(self, count: int, source: Path) -> None:
        """Use up `count` bytes; raises `NasdaError` if fewer are left."""
        self.left -= count
        if self.left < 0:
            grows = f"{source}: grows beyond {self.size / 10**9:,.3g} GB"
            raise NasdaError(f"{grows}: if you trust it, allow more with --max-size")


def unpack(sources: Sequence[Path], folder: Path, max_size: int) -> None:
    """Unpack or copy `sources`, archives (zip, tar, tar.gz, tar.bz2, tar.xz) and folders, into one new `folder`.

    Raises `NasdaError` for any other source; for a path outside `folder`, a link, a device, or a second file of the
    same name; for damage; and when more than `max_size` bytes would be written. It does not clean up.
    """
    allowance = Allowance(max_size)
    folder.mkdir()
    for source in sources:
        if folder.resolve().is_relative_to(source.resolve()):
            raise NasdaError(f"{source}: holds {folder.parent.parent}, where its copy would go: choose another folder")
        with _readable(source):
            for entry in tqdm(_entries(source), desc=source.name, unit=" files", leave=False):
                _write(entry, _target(folder, entry.name, source), allowance, source)


def _write(entry: Entry, target: Path, allowance: Allowance, source: Path) -> None:
    if entry.open is None:
        target.mkdir(parents=True, exist_ok=True)
        return allowance.take(_BLOCK, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise NasdaError(f"{source}: {entry.name}: there twice, expected every file once: leave one of them out")
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
    leaves = any(":" in part or not part.strip(" .") for part in path.parts)  # Windows reads ".. " as ".."
    if path.is_absolute() or leaves or "\0" in name:
        raise NasdaError(f"{source}: {name!r} would lie outside the folder: refused; get the archive from its authors")
    return folder / path


def _entries(source: Path) -> Iterator[Entry]:
    if source.is_dir():
        return _of_folder(source.resolve(), source.resolve().name, source)
    if (members := _of_tar(source)) is not None:  # first, since a tar that ends with a zip looks like a zip
        return members
    if zipfile.is_zipfile(source):
        return _of_zip(source)
    raise NasdaError(f"{source}: not an archive: expected a zip, tar or tar.gz file, whole, or a folder")


def _of_folder(folder: Path, name: str, source: Path) -> Iterator[Entry]:
    """What is in `folder`, with its own `name` on top, as most archives have it."""
    for each in sorted(entries_of(folder), key=lambda each: each.name):
        kind, within = stat.S_IFMT(each.stat(follow_symlinks=False).st_mode), f"{name}/{each.name}"
        _refuse_all_but_plain(kind, within, source)
        if kind == stat.S_IFDIR:
            yield Entry(within, None)
            yield from _of_folder(Path(each.path), within, source)
        else:
            yield Entry(within, partial(_open, Path(each.path)))


def _of_zip(source: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 if the archive was not made on Unix
            _refuse_all_but_plain(kind or stat.S_IFREG, info.filename, source)
            for unfit, what in (
                (info.flag_bits & 1, "needs a password"),
                (info.compress_type not in _ZIP_METHODS, "compressed by a method that nasda does not know"),
            ):
                if unfit:
                    raise NasdaError(f"{source}: {what}: unpack it yourself, and give the folder instead")
            yield Entry(info.filename, None if info.is_dir() else partial(_zip_member, archive, info))


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A file in a zip. `zipfile` would unpack a whole piece of bzip2 or LZMA at once, so it gives only the compressed
    bytes of those."""
    if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return archive.open(info)
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC  # it is that of the content, which `_Inflated` compares
    raw = archive.open(packed)
    if info.compress_type == zipfile.ZIP_BZIP2:
        return cast(IO[bytes], _Inflated(raw, bz2.BZ2Decompressor, crc=info.CRC))
    # Outside a zip LZMA begins with the coder's properties, and the size or a sign that the end is marked.
    _, length = struct.unpack("<HH", raw.read(4))
    head = raw.read(length) + struct.pack("<Q", 2**64 - 1 if info.flag_bits & 2 else info.file_size)
    return cast(IO[bytes], _Inflated(raw, _lzma_decompressor, head, info.CRC))


def _lzma_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)


class _Inflated(io.RawIOBase):
    """The content of `head` and then `packed`: one stream of `decompressor()` after the other, of which each `read`
    unpacks only as much as it asks for.

    Raises `zlib.error` at the end if `crc` is given and is not the CRC-32 of the content.
    """

    def __init__(
        self, packed: IO[bytes], decompressor: Callable[[], Any], head: bytes = b"", crc: int | None = None
    ) -> None:
        self.packed, self.start, self.head, self.crc = packed, decompressor, head, crc
        self.decompressor = decompressor()
        self.found = 0

    def read(self, size: int = -1) -> bytes:
        data = self._unpack(size)
        self.found = zlib.crc32(data, self.found)
        if not data and self.crc not in (None, self.found):
            raise zlib.error("wrong checksum")
        return data

    def _unpack(self, size: int) -> bytes:
        while True:
            packed, self.head = self.head, b""
            if self.decompressor.eof:
                packed = (self.decompressor.unused_data or self.packed.read(io.DEFAULT_BUFFER_SIZE)).lstrip(b"\0")
                if not packed:  # the end, or the padding of an xz file
                    return b""
                self.decompressor = self.start()
            elif self.decompressor.needs_input and not packed:
                packed = self.packed.read(io.DEFAULT_BUFFER_SIZE)
                if not packed:
                    raise EOFError("it is cut short")
            if data := self.decompressor.decompress(packed, size):
                return data


_UNPACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {  # by the first bytes of the file
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lambda file: _Inflated(file, _lzma_decompressor),
}


class _TarBytes:
    """The bytes of a tar, read once from beginning to end.

    `tarfile` reads a header as long as it claims to be, and several in a row, so it may read only `left` bytes.
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
            found = f"has a header of more than {_CHUNK // 1024} KiB"
            raise NasdaError(f"{self.source}: {found}: refused; get the archive from its authors")
        self.left -= size
        return self._pull(size)

    def _pull(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.unpacked.read(size - len(data))):
            data += piece
        self.position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Forwards only."""
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
    """What is in a tar; None if `source` is none."""
    file = _TarBytes(source)
    try:
        return _members(tarfile.open(fileobj=cast(IO[bytes], file), mode="r:"), file)
    except tarfile.ReadError:
        file.close()
        return None


def _members(archive: tarfile.TarFile, file: _TarBytes) -> Iterator[Entry]:
    with closing(file):
        while (member := archive.next()) is not None:
            kind = stat.S_IFDIR if member.isdir() else stat.S_IFREG if member.isreg() else 0
            _refuse_all_but_plain(kind, member.name, file.source)
            file.left = sys.maxsize
            content = cast(Callable[[], IO[bytes]], partial(archive.extractfile, member))
            yield Entry(member.name, None if member.isdir() else content)
            vars(archive).update(members=[], pax_headers={})  # else they fill the memory
            file.left = _CHUNK


def _refuse_all_but_plain(kind: int, name: str, source: Path) -> None:
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise NasdaError(f"{source}: {name} is a link or a device: refused; expected plain files and folders only")


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise NasdaError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    """Whatever the decoders raise over a damaged archive becomes one line."""
    try:
        yield
    except NasdaError:
        raise
    except Exception as error:  # BadZipFile, TarError, zlib.error, EOFError, IndexError: each in its own way
        if isinstance(error, OSError) and error.errno is not None:  # from the disk, not from a decoder
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NasdaError(f"{source}: damaged archive ({reason}): get it again") from error
