"""Files are written whole or not at all."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from nasda.errors import NasdaError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder or change its permissions",
    errno.EPERM: "no permission to write there: choose another folder or change its permissions",
    errno.ENOTDIR: "a part of that path is a file, not a folder: choose another folder",
    errno.EEXIST: "a file stands where a folder is needed: choose another folder",
}


class CannotWrite(NasdaError):
    """A file or folder cannot be written: the disk is full, for instance, or a permission is missing."""


def explain_os_error(error: OSError, path: Path) -> CannotWrite:
    """`error`, raised while `path` was written, as one line that says what to do."""
    return CannotWrite(f"{path}: cannot be written: {_ADVICE.get(error.errno or 0, error.strerror or error)}")


def make_folder(path: Path) -> Path:
    """Make `path` and its parents; raises `CannotWrite` with advice if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, path) from error
    return path


@contextmanager
def written_whole(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`, which is renamed to `path` once it is complete and on disk.

    A reader sees the old file or the new one, never a half. If the block raises, or the process is killed, `path`
    stays as it was. Raises `CannotWrite` if the disk is full or the folder read-only.
    """
    make_folder(path.parent)
    temporary = ""
    try:
        encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")  # the same bytes on Windows
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)  # mkstemp makes private files; others may read a run's files
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        with suppress(FileNotFoundError):  # it was renamed, or never made
            os.unlink(temporary)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path`. In it, the block makes a folder with `path`'s name, which is moved to
    `path` at the end, so that `path` is complete or does not exist.

    If the block raises, the temporary folder and the parents that were made for it are removed; a killed process leaves
    a hidden `.<name>.….tmp`. Raises `CannotWrite` if `path` exists, which then stays as it is, or if the disk is full
    or read-only.
    """
    if os.path.lexists(path):
        raise CannotWrite(f"{path}: there already, and left as it is: choose another folder, or remove this one first")
    made = [parent for parent in path.parents if not parent.exists()]
    temporary = ""
    try:
        make_folder(path.parent)
        temporary = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        yield Path(temporary)
        os.rename(Path(temporary) / path.name, path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # stop at the first that is not empty
            for parent in made:
                parent.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with written_whole(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Let the block read `what` from `path`; anything wrong with the file becomes one `NasdaError` line."""
    try:
        yield
    except FileNotFoundError:
        raise NasdaError(f"{path}: {what} expected here, but there is no such file") from None
    except Exception as error:  # JSON, pickle, zip and torch each raise their own kinds on a broken file
        reason = str(error).split("\n", 1)[0]
        raise NasdaError(f"{path}: {what} expected here, but the file cannot be read: {reason}") from error


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; `what` names its content in the `NasdaError` raised when it is missing or broken."""
    with reading(path, what):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def load_tensors(path: Path, what: str) -> dict:
    """`torch.load` with `weights_only=True`, onto the CPU; raises `NasdaError` as `read_json` does."""
    import torch  # here, because it takes seconds and --help does not need it

    with reading(path, what):
        return torch.load(path, map_location="cpu", weights_only=True)
