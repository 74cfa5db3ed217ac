"""nasda.data.archives: only plain files come out, only inside the folder, only so many bytes."""

import bz2
import gzip
import lzma
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from nasda.data.archives import unpack
from tests.data.test_reading import message_of
from tests.data.trees import contents, tar_of, tarred, zip_of, zipped

SIZE = 10**6
Make = Callable[[Path, dict[str, bytes]], Path]
FILES = {"top/a.txt": b"a", "top/deep/b.txt": b"bb", "c.txt": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "source"


def refused(archive: Path, size: int = SIZE) -> str:
    """The message with which `archive` is refused; nothing was written beside or above the folder."""
    place = archive.parent / "place"
    place.mkdir()
    message = message_of(lambda: unpack([archive], place / "inside", size))
    assert str(archive) in message
    assert os.listdir(place) == ["inside"]
    assert not list(archive.parent.glob("evil*"))
    return message


def test_zips_tars_and_folders_come_out_as_they_went_in(folder: Path, tmp_path: Path) -> None:
    sources = [
        folder,
        zipped(folder, tmp_path / "a.zip"),
        tarred(folder, tmp_path / "a.tar", mode="w"),
        tarred(folder, tmp_path / "a.tar.gz"),
        tarred(folder, tmp_path / "a.tar.bz2", mode="w:bz2"),
        tarred(folder, tmp_path / "a.tar.xz", mode="w:xz"),
        zipped(folder, tmp_path / "b.zip", method=zipfile.ZIP_STORED),
        zipped(folder, tmp_path / "c.zip", method=zipfile.ZIP_BZIP2),
        zipped(folder, tmp_path / "d.zip", method=zipfile.ZIP_LZMA),
    ]
    for number, source in enumerate(sources):
        unpack([source], tmp_path / f"out{number}", SIZE)
        top = "source/" if source == folder else ""
        assert contents(tmp_path / f"out{number}") == {top + name: content for name, content in FILES.items()}


def test_several_sources_are_merged(tmp_path: Path) -> None:
    first, second = zip_of(tmp_path / "1.zip", {"VeRi/a": b"1"}), tar_of(tmp_path / "2.tgz", {"VeRi/b": b"2"})
    unpack([first, second], tmp_path / "out", SIZE)
    assert contents(tmp_path / "out") == {"VeRi/a": b"1", "VeRi/b": b"2"}


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    first, second = zip_of(tmp_path / "1.zip", {"a": b"1"}), zip_of(tmp_path / "2.zip", {"a": b"2"})
    message = message_of(lambda: unpack([first, second], tmp_path / "out", SIZE))
    assert message.startswith(f"{second}: a: there twice")
    assert contents(tmp_path / "out") == {"a": b"1"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "a/../../evil.jpg",
        "/tmp/evil.jpg",
        "C:/evil.jpg",
        "C:evil.jpg",
        "..\\evil.jpg",
        "a/.. /../evil.jpg",
        "a/.. /evil.jpg",
        "\\evil.jpg",
    ],
)
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_paths_that_leave_the_folder_are_refused(make: Make, name: str, tmp_path: Path) -> None:
    message = refused(make(tmp_path / "archive", {name: b"evil"}))
    assert "outside" in message
    assert "refused" in message


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_zips_are_refused(kind: int, tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"link": b"..", "link/evil": b""}, {"link": kind})
    assert "link is a link or a device: refused" in refused(archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["..", "/etc", "a"])
def test_links_and_devices_in_tars_are_refused(kind: bytes, target: str, tmp_path: Path) -> None:
    assert "refused" in refused(tar_of(tmp_path / "a.tar", {"a": b"", "b": b""}, type=kind, linkname=target))


def test_links_in_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "top" / "link").symlink_to(tmp_path)
    assert "top/link is a link" in refused(folder)


def test_a_bomb_is_stopped_by_what_it_writes_whatever_its_header_claims(tmp_path: Path) -> None:
    honest = zip_of(tmp_path / "bomb.zip", {"a": bytes(10 * SIZE)})
    assert honest.stat().st_size < SIZE / 10
    data = honest.read_bytes()
    claim = (10 * SIZE).to_bytes(4, "little")
    assert data.count(claim) == 2  # in the file's own header, and in the archive's
    for name, archive in (("liar.zip", data.replace(claim, (5).to_bytes(4, "little"))), ("honest.zip", data)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.zip").write_bytes(archive)
        refused(tmp_path / name / "a.zip")
        assert sum(map(len, contents(tmp_path / name / "place").values())) <= SIZE
    assert "grows beyond 0.001 GB" in refused(tar_of(tmp_path / "a.tgz", {"a": bytes(10 * SIZE)}))


def test_sources_share_one_allowance(tmp_path: Path) -> None:
    archives = [zip_of(tmp_path / f"{n}.zip", {str(n): bytes(SIZE // 2 - 1000)}) for n in range(3)]
    unpack(archives[:2], tmp_path / "two", SIZE)
    assert message_of(lambda: unpack(archives, tmp_path / "three", SIZE)).startswith(str(archives[2]))


def test_a_flood_of_empty_files_ends_too(tmp_path: Path) -> None:
    assert "grows beyond" in refused(zip_of(tmp_path / "a.zip", {f"{n}": b"" for n in range(300)}))


def test_a_damaged_archive_is_named(folder: Path, tmp_path: Path) -> None:
    noise = os.urandom(50_000)
    (folder / "noise").write_bytes(noise)
    for number, whole in enumerate(
        [
            tarred(folder, tmp_path / "a.tar", mode="w"),
            tarred(folder, tmp_path / "a.tar.gz"),
            tarred(folder, tmp_path / "a.tar.bz2", mode="w:bz2"),
            tarred(folder, tmp_path / "a.tar.xz", mode="w:xz"),
            zipped(folder, tmp_path / "a.zip"),
        ]
    ):
        cut = tmp_path / f"cut{number}"
        cut.write_bytes(whole.read_bytes()[:30_000])
        message = message_of(lambda cut=cut: unpack([cut], tmp_path / f"{cut.name}-out", SIZE))
        assert message.startswith(f"{cut}: ")
        assert "damaged archive" in message or "not an archive" in message


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_large_files_come_out_whole_and_a_wrong_checksum_is_named(method: int, tmp_path: Path) -> None:
    content = os.urandom(700_001) + bytes(700_001)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as file:
        file.writestr("a", content)
    unpack([tmp_path / "a.zip"], tmp_path / "out", 2 * SIZE)
    assert (tmp_path / "out" / "a").read_bytes() == content
    data = (tmp_path / "a.zip").read_bytes()
    checksum = zipfile.ZipFile(tmp_path / "a.zip").getinfo("a").CRC.to_bytes(4, "little")
    (tmp_path / "b.zip").write_bytes(data.replace(checksum, b"oops"))
    assert "damaged archive" in refused(tmp_path / "b.zip", 2 * SIZE)


def test_streams_one_after_the_other_are_one_tar(folder: Path, tmp_path: Path) -> None:
    data = tarred(folder, tmp_path / "a.tar", mode="w").read_bytes()
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        archive = tmp_path / f"{pack.__module__}.tar"
        archive.write_bytes(pack(data[:700]) + pack(data[700:]))
        unpack([archive], tmp_path / f"out-{archive.name}", SIZE)
        assert contents(tmp_path / f"out-{archive.name}") == FILES
    archive.write_bytes(archive.read_bytes() + bytes(8))  # xz files may be padded
    unpack([archive], tmp_path / "padded", SIZE)


# What a few bytes may do to the memory

LARGE = 480  # MiB
ZEROS = bytes(2**20)


def packed(path: Path, pieces: Iterable[bytes], method: int) -> Path:
    """A zip of one file."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("a", "w") as file:
        for piece in pieces:
            file.write(piece)
    return path


def header(kind: bytes, size: int, name: str = "h") -> bytes:
    """A tar's header, with the type and the size that it claims."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def extended(record: bytes) -> bytes:
    """The content of a pax header, whole blocks."""
    length = len(record) + 1
    while len(b"%d %s" % (length, record)) != length:
        length += 1
    content = b"%d %s" % (length, record)
    return content + bytes(-len(content) % 512)


def global_headers() -> Iterator[bytes]:
    """Many small files, each after a global header of 200 kB with another keyword."""
    for number in range(LARGE * 3):
        content = extended(b"key%d=" % number + b"x" * 200_000 + b"\n")
        yield header(tarfile.XGLTYPE, len(content)) + content + header(tarfile.REGTYPE, 0, f"{number}")


def sparse_map() -> Iterator[bytes]:
    """A file that says it has holes, millions of them."""
    content = extended(b"GNU.sparse.major=1\n") + extended(b"GNU.sparse.minor=0\n")
    pax = b"".join(part.rstrip(b"\0") for part in (content[:512], content[512:]))
    yield header(tarfile.XHDTYPE, len(pax)) + pax + bytes(-len(pax) % 512)
    yield header(tarfile.REGTYPE, LARGE * 2**20, "holes") + b"99999999\n"
    for _ in range(LARGE // 4):
        yield b"0\n" * 2**19


def gzipped(path: Path, pieces: Iterable[bytes]) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    "deflate": lambda path: packed(path, [ZEROS] * LARGE, zipfile.ZIP_DEFLATED),
    "bzip2": lambda path: packed(path, [ZEROS] * LARGE, zipfile.ZIP_BZIP2),
    "lzma": lambda path: packed(path, [ZEROS] * LARGE, zipfile.ZIP_LZMA),
    "pax": lambda path: gzipped(path, [header(tarfile.XHDTYPE, LARGE * 2**20), *[ZEROS] * LARGE]),
    "global pax": lambda path: gzipped(path, global_headers()),
    "long name": lambda path: gzipped(path, [header(tarfile.GNUTYPE_LONGNAME, LARGE * 2**20), *[ZEROS] * LARGE]),
    "holes": lambda path: gzipped(path, sparse_map()),
}
UNPACK = """
import resource, sys
from pathlib import Path
from nasda.data.archives import unpack
from nasda.errors import NasdaError

def memory(name):
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024

limit = memory("VmSize") + 1500 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = memory("VmRSS")
try:
    unpack([Path(sys.argv[1])], Path(sys.argv[2]), 10**7)
except NasdaError as error:
    print(error)
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process needs as Linux tells it")
@pytest.mark.parametrize("kind", list(BOMBS))
def test_a_bomb_does_not_fill_the_memory(kind: str, tmp_path: Path) -> None:
    bomb = BOMBS[kind](tmp_path / "bomb")
    words = [sys.executable, "-c", UNPACK, str(bomb), str(tmp_path / "out")]
    *refused, growth = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    if kind != "global pax":  # its headers mean nothing, and its files are small
        (line,) = refused
        assert line.startswith(f"{bomb}: ")
        assert "grows beyond 0.01 GB" in line or "has a header of more than 256 KiB" in line
    assert int(growth) <= 300 * 2**20


def test_an_xz_file_may_not_ask_for_a_huge_dictionary(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(bytes(10_240), filters=filters))
    assert "damaged archive (Memory usage limit exceeded)" in refused(tmp_path / "a.tar.xz")


def test_a_zip_with_changed_content_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr("a", b"the content")
    archive.write_bytes(archive.read_bytes().replace(b"the content", b"CHANGED ...."[:11]))
    assert "damaged archive" in refused(archive)


def test_what_a_decoder_did_not_foresee_is_damage_too(tmp_path: Path) -> None:
    assert "damaged archive" in refused(zip_of(tmp_path / "a.zip", {"": b"no name"}))


def test_what_is_no_archive_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>404</html>")
    assert "not an archive: expected a zip, tar or tar.gz" in refused(tmp_path / "a.zip")
    message = message_of(lambda: unpack([tmp_path / "b.zip"], tmp_path / "out", SIZE))
    assert message == f"{tmp_path / 'b.zip'}: cannot be read: No such file or directory"


def test_a_zip_with_a_password_is_explained(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a": b"1"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # the encryption flag, in both headers
    data[data.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(data)
    assert "needs a password" in refused(archive)


def test_a_zip_of_an_unknown_method_is_explained(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a": b"1"})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\1\2") + 10] = 98  # PPMd
    archive.write_bytes(data)
    assert "compressed by a method that nasda does not know: unpack it yourself" in refused(archive)


def test_a_folder_is_not_copied_into_itself(folder: Path) -> None:
    message = message_of(lambda: unpack([folder], folder / "top" / "out", SIZE))
    assert "where its copy would go" in message
