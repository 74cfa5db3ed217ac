"""Decoded images, kept from run to run: the same images are decoded once, and memory-mapped afterwards.

A store is one file in the user's cache folder: a fingerprint of the image files, then their pixels, uint8 (N, H, W, 3).
It may be deleted at any time. When a store is written, those that nobody has opened for 30 days are deleted.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL
import torch
from platformdirs import user_cache_path
from torch import Tensor
from tqdm.auto import tqdm

from nasda.data.domain import Sample
from nasda.data.images import decode
from nasda.files import CannotWrite, written_whole

FORMAT = 1  # of the file, and of how `decode` makes pixels: raise it when either changes

_AT_ONCE = 256  # images in memory while a store is written
_ABANDONED = 3600.0  # seconds: an unfinished file this old is from a process that was killed
_FORGOTTEN = 30 * 86400.0  # seconds: a store that nobody has opened for so long is deleted


def cache_folder() -> Path:
    """Where stores lie: $NASDA_CACHE, else the system's place for caches: on Linux ~/.cache/nasda (or
    $XDG_CACHE_HOME/nasda).

    Raises `CannotWrite` if $NASDA_CACHE is not set and the user has no home folder.
    """
    if named := os.environ.get("NASDA_CACHE"):
        return Path(named)
    try:
        return user_cache_path("nasda", appauthor=False)
    except RuntimeError:
        raise CannotWrite("~/.cache/nasda: cannot be written: this user has no home folder") from None


def stored(samples: Sequence[Sample], height: int, width: int) -> Tensor:
    """`images.decode`, done once for the same files: later calls, in this run or another, map what the first one wrote.

    A store is used as long as the files' names, sizes and times of change, the size asked for and Pillow are the same;
    otherwise it is written again. Where the cache folder cannot be written, the images are decoded into memory, and a
    line says so.

    Returns uint8 (N, 3, height, width), channels-last in memory, in the order of `samples`. Writing into it changes
    this process's copy only. Raises what `decode` raises.
    """
    if not samples:
        return decode(samples, height, width)
    fingerprint, shape = _fingerprint(samples, height, width), (len(samples), height, width, 3)
    try:
        path = cache_folder() / _name(samples, height, width)
        images = _opened(path, fingerprint, shape)
        if images is None:
            _write(path, fingerprint, samples, height, width)
            images = _opened(path, fingerprint, shape)
    except CannotWrite as error:
        tqdm.write(f"{error}. Decoding into memory instead; $NASDA_CACHE can name another folder")
        images = None
    return decode(samples, height, width) if images is None else images


def _name(samples: Sequence[Sample], height: int, width: int) -> str:
    """The same for the same list of files at the same size, so that a newer store takes an older one's place."""
    paths = "\0".join(os.path.abspath(sample.path) for sample in samples)
    return f"{hashlib.sha256(os.fsencode(paths)).hexdigest()[:32]}-{height}x{width}.pixels"


def _fingerprint(samples: Sequence[Sample], height: int, width: int) -> bytes:
    """32 bytes that change with the files' names, sizes and times of change, and with how pixels are made of them."""
    fingerprint = hashlib.sha256(f"nasda {FORMAT} Pillow {PIL.__version__} bilinear {height}x{width}".encode())
    for sample in samples:
        try:
            status = os.stat(sample.path)
            stamp = status.st_size, status.st_mtime_ns
        except OSError:
            stamp = None  # no store has this, so `decode` is called and says what is wrong with the file
        fingerprint.update(os.fsencode(f"\0{os.path.abspath(sample.path)} {stamp}"))
    return fingerprint.digest()


def _opened(path: Path, fingerprint: bytes, shape: tuple[int, ...]) -> Tensor | None:
    """The images of the store at `path`; None where there is none, or an old or broken one."""
    try:
        with open(path, "rb") as file:
            whole = os.fstat(file.fileno()).st_size == len(fingerprint) + np.prod(shape)
            if not whole or file.read(len(fingerprint)) != fingerprint:
                return None
            pixels = np.memmap(file, np.uint8, "c", len(fingerprint), shape)  # copy on write: the file stays as it is
        with suppress(OSError):  # the store may be another user's
            os.utime(path)
    except OSError:
        return None
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _write(path: Path, fingerprint: bytes, samples: Sequence[Sample], height: int, width: int) -> None:
    """Decode `samples` into a store at `path`, some at a time, so that memory need not hold them all.

    Several processes may do so at once: each writes its own file, and the last one stays. The file is written, not
    mapped: on a full disk writing raises an error, but a mapping would kill the process.
    """
    with written_whole(path, "wb") as file:
        _make_room(path.parent)
        file.write(fingerprint)
        with tqdm(total=len(samples), desc="reading images", leave=False) as progress:
            for start in range(0, len(samples), _AT_ONCE):
                some = samples[start : start + _AT_ONCE]
                file.write(decode(some, height, width).permute(0, 2, 3, 1).numpy())
                progress.update(len(some))


def _make_room(folder: Path) -> None:
    """Delete the unfinished files of processes that were killed, and stores that are no longer used."""
    for pattern, age in ((".*.pixels.*.tmp", _ABANDONED), ("*.pixels", _FORGOTTEN)):
        for file in folder.glob(pattern):
            with suppress(OSError):  # another process may have removed it
                if time.time() - file.stat().st_mtime > age:
                    file.unlink()
