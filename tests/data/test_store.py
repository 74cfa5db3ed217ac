"""`nasda.data.store`: what `decode` gives, decoded once; never stale, never half, never in the way."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasda.data import store
from nasda.data.domain import Sample
from nasda.data.images import decode
from nasda.data.store import cache_folder, stored
from nasda.errors import NasdaError

SIZE = 12, 8


def save(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 10, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NASDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_AT_ONCE", 2)  # five images: three portions, the last one smaller
    return tmp_path / "cache"


@pytest.fixture
def samples(tmp_path: Path, cache: Path) -> list[Sample]:
    paths = [tmp_path / f"{number}.bmp" for number in range(5)]  # of one size in bytes, whatever they show
    for number, path in enumerate(paths):
        save(path, number)
    return [Sample(path, 1, 1) for path in paths]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """Whatever has been decoded so far."""
    seen: list[Sample] = []

    def watched(samples: list[Sample], height: int, width: int) -> torch.Tensor:
        seen.extend(samples)
        return decode(samples, height, width)

    monkeypatch.setattr(store, "decode", watched)
    return seen


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_is_decode_mapped_from_one_file(samples: list[Sample], cache: Path, decoded: list[Sample]) -> None:
    first = stored(samples, *SIZE)
    assert decoded == samples
    second = stored(samples, *SIZE)
    assert decoded == samples  # and nothing more
    for images in (first, second):
        assert torch.equal(images, decode(samples, *SIZE))
        assert images.is_contiguous(memory_format=torch.channels_last)
    assert len(files(cache)) == 1
    assert (cache / files(cache)[0]).stat().st_size == 32 + first.numel()


def test_writing_into_the_images_leaves_the_store_alone(
    samples: list[Sample], recwarn: pytest.WarningsRecorder
) -> None:
    stored(samples, *SIZE).zero_()
    assert torch.equal(stored(samples, *SIZE), decode(samples, *SIZE))
    assert not recwarn.list


def test_nothing_to_store(cache: Path) -> None:
    assert stored([], *SIZE).shape == (0, 3, *SIZE)
    assert not files(cache)


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replace(path: Path) -> None:
    """Another picture of the same size in bytes, in another file."""
    save(path.with_name("new.bmp"), 99)
    path.with_name("new.bmp").replace(path)


@pytest.mark.parametrize("change", [touch, replace, lambda path: save(path, 99)])
def test_a_changed_file_means_a_new_store_in_the_old_ones_place(
    samples: list[Sample], cache: Path, decoded: list[Sample], change: Callable[[Path], None]
) -> None:
    stored(samples, *SIZE)
    before = files(cache)
    change(samples[3].path)
    assert torch.equal(stored(samples, *SIZE), decode(samples, *SIZE))
    assert decoded == 2 * samples
    assert files(cache) == before


@pytest.mark.parametrize("name", ["FORMAT", "PIL.__version__"])
def test_another_version_means_a_new_store_in_the_old_ones_place(
    samples: list[Sample], cache: Path, decoded: list[Sample], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stored(samples, *SIZE)
    before = files(cache)
    monkeypatch.setattr(f"nasda.data.store.{name}", "another")
    stored(samples, *SIZE)
    assert decoded == 2 * samples
    assert files(cache) == before


def test_other_names_another_order_another_size_are_other_images(samples: list[Sample], decoded: list[Sample]) -> None:
    stored(samples, *SIZE)
    shutil.copy2(samples[0].path, samples[0].path.with_name("renamed.bmp"))
    renamed = [Sample(samples[0].path.with_name("renamed.bmp"), 1, 1), *samples[1:]]
    for others, size in ((renamed, SIZE), (samples[::-1], SIZE), (samples[1:], SIZE), (samples, (8, 12))):
        decoded.clear()
        assert torch.equal(stored(others, *size), decode(others, *size))
        assert decoded == others


def test_a_relative_path_is_the_same_file(
    samples: list[Sample], decoded: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(samples, *SIZE)
    monkeypatch.chdir(samples[0].path.parent)
    stored([sample._replace(path=Path(sample.path.name)) for sample in samples], *SIZE)
    assert decoded == samples


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"",
        lambda content: bytes(len(content)),
        lambda content: content[:16],
    ],
)
def test_a_damaged_store_is_written_again(
    samples: list[Sample], cache: Path, decoded: list[Sample], damage: Callable[[bytes], bytes]
) -> None:
    stored(samples, *SIZE)
    [path] = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(stored(samples, *SIZE), decode(samples, *SIZE))
    assert decoded == 2 * samples
    assert len(files(cache)) == 1


@pytest.mark.parametrize("break_it", [Path.unlink, lambda path: path.write_bytes(b"not an image")])
def test_a_broken_image_is_told_as_decode_tells_it_and_leaves_no_store(
    samples: list[Sample], cache: Path, break_it: Callable[[Path], None]
) -> None:
    break_it(samples[3].path)
    lines = []
    for way in (stored, decode):
        with pytest.raises(NasdaError) as caught:
            way(samples, *SIZE)
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    assert lines[0].startswith(f"{samples[3].path}: ")
    assert not files(cache)


def test_an_interrupted_build_leaves_nothing(
    samples: list[Sample], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(some: list[Sample], height: int, width: int) -> torch.Tensor:
        if samples[2] in some:
            raise KeyboardInterrupt
        return decode(some, height, width)

    monkeypatch.setattr(store, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stored(samples, *SIZE)
    assert not files(cache)


class TestWithoutACache:
    @staticmethod
    def check(samples: list[Sample], capsys: pytest.CaptureFixture[str], said: str) -> None:
        assert torch.equal(stored(samples, *SIZE), decode(samples, *SIZE))
        [line] = capsys.readouterr().out.splitlines()
        assert said in line
        assert "NASDA_CACHE" in line

    def test_a_folder_that_cannot_be_made(
        self, samples: list[Sample], cache: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cache.write_text("a file where the folder should be")
        self.check(samples, capsys, f"{cache}: cannot be written: a file stands where a folder is needed")

    @pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
    def test_a_folder_that_cannot_be_written(
        self,
        samples: list[Sample],
        cache: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        code: int,
    ) -> None:
        def refuse(**_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("tempfile.mkstemp", refuse)
        self.check(samples, capsys, "choose another folder")
        assert not files(cache)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has, CI included")
    def test_a_disk_that_fills_up(
        self, samples: list[Sample], cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def on_full_disk(prefix: str, suffix: str, dir: Path) -> tuple[int, str]:
            temporary = dir / f"{prefix}{suffix}"
            temporary.touch()
            return os.open("/dev/full", os.O_WRONLY), str(temporary)

        monkeypatch.setattr("tempfile.mkstemp", on_full_disk)
        self.check(samples, capsys, "the disk is full")
        assert not files(cache)

    def test_a_user_without_a_home(
        self, samples: list[Sample], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NASDA_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it does for a user without one
        self.check(samples, capsys, "no home folder")


def test_where_the_stores_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("NASDA_CACHE", "/here")
    assert cache_folder() == Path("/here")
    monkeypatch.setenv("NASDA_CACHE", "")
    assert cache_folder() == Path("/caches/nasda")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "nasda"


def build_elsewhere(samples: list[Sample], prelude: str = "") -> subprocess.Popen[str]:
    """Another process that opens the same store; it says what it has got by the sum of its pixels."""
    paths = [str(sample.path) for sample in samples]
    code = f"""
import os, sys, time
from pathlib import Path
from nasda.data import store
from nasda.data.domain import Sample
store._AT_ONCE = 2
decode = store.decode
{prelude}
print("ready", flush=True)
sys.stdin.readline()
print(int(store.stored([Sample(Path(path), 1, 1) for path in {paths!r}], *{SIZE!r}).sum()), flush=True)
"""
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


MEETING = """
def slowly(*args):
    time.sleep(0.1)  # long enough for both to be in the middle of it
    return decode(*args)
store.decode = slowly
"""

STOPPING = """
def once(samples, *args):
    if samples[0].path.name != "0.bmp":
        print("in the middle", flush=True)
        time.sleep(60)
    return decode(samples, *args)
store.decode = once
"""


def test_two_processes_at_once_both_get_the_images(samples: list[Sample], cache: Path, decoded: list[Sample]) -> None:
    both = [build_elsewhere(samples, MEETING) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    expected = decode(samples, *SIZE)
    for process in both:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert int(said) == int(expected.sum())
    assert len(files(cache)) == 1
    assert torch.equal(stored(samples, *SIZE), expected)
    assert not decoded


def test_what_a_killed_process_leaves_is_no_store_and_goes_in_time(
    samples: list[Sample], cache: Path, decoded: list[Sample]
) -> None:
    process = build_elsewhere(samples, STOPPING)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "in the middle\n"]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    [left] = cache.iterdir()
    assert left.name.endswith(".tmp")

    assert torch.equal(stored(samples, *SIZE), decode(samples, *SIZE))
    assert decoded == samples
    assert len(files(cache)) == 2  # for all one knows the other still writes

    an_hour_ago = time.time() - 3700
    os.utime(left, (an_hour_ago, an_hour_ago))
    stored(samples[1:], *SIZE)
    assert not left.exists()
    assert len(files(cache)) == 2


def test_a_store_that_nobody_opens_makes_room_after_a_month(samples: list[Sample], cache: Path) -> None:
    stored(samples[:2], *SIZE)
    stored(samples[2:], *SIZE)
    forgotten, used = sorted(cache.iterdir(), key=lambda path: path.stat().st_size)
    for path in (forgotten, used):
        os.utime(path, (time.time() - 31 * 86400,) * 2)
    stored(samples[2:], *SIZE)  # opened: used again
    stored(samples, *SIZE)  # written: room is made
    assert not forgotten.exists()
    assert used.exists()
