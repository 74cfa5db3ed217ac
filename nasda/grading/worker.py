"""The other side of the wall: a keeper forks a confined worker for each answer, and the worker runs the student's code.

    python -m nasda.grading.worker              # a keeper; nasda.grading.remote starts it
    python -m nasda.grading.worker --limits     # without namespaces

The keeper reads jobs from its standard input and answers on its standard output, a line of JSON each. It never runs a
student's code, and hands on what the worker says as text, without reading it, beside what it says itself: so a
student's code cannot speak for the keeper. Only the keeper can end a worker, and it does so with all that the worker
has started.
"""

import json
import linecache
import os
import selectors
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

import torch

from nasda.course.judges import in_words, is_stub
from nasda.grading import confine, wire
from nasda.grading.visible import is_template  # imported here, so that no worker has to

_STARTING = 60  # seconds until a worker is confined
_FAILED = "__failed__"  # in a submission's names: what one of its pieces raised


# -------------------------------------------------------------------------------------------------------- the keeper


class Worker:
    """A confined process, and the pipes to it. `how` it is confined it says before it has read any code."""

    def __init__(self, root: Path, namespaces: bool) -> None:
        to_read, self.to_worker = os.pipe()
        self.from_worker, to_write = os.pipe()
        alive, self.lifeline = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for ours in (self.to_worker, self.from_worker, self.lifeline):
                os.close(ours)
            _guard(root, namespaces, to_read, to_write, alive)
        for theirs in (to_read, to_write, alive):
            os.close(theirs)
        self.rest = b""
        try:
            self.how: dict[str, str] = json.loads(_read_line(self, time.monotonic() + _STARTING))
        except (OSError, ValueError) as error:
            self.how = {"broken": str(error)}

    def ask(self, line: bytes, seconds: float) -> dict[str, str]:
        """What the worker says to a line, or why there is no answer within `seconds`."""
        try:
            _write(self.to_worker, line, time.monotonic() + seconds)
            return {"said": _read_line(self, time.monotonic() + seconds).decode("utf-8", "replace")}
        except TimeoutError:
            self.end()
            return {"stopped": "time"}
        except OSError:
            self.end()
            return {"stopped": "died"}

    def end(self) -> None:
        """End the worker and all that it has started."""
        if self.pid:
            os.close(self.lifeline)
            os.waitpid(self.pid, 0)
            os.close(self.to_worker)
            os.close(self.from_worker)
            self.pid = 0


def _write(pipe: int, data: bytes, until: float) -> None:
    os.set_blocking(pipe, False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_WRITE)
        while data:
            if not selector.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
            data = data[os.write(pipe, data[:65536]) :]


def _read_line(worker: Worker, until: float) -> bytes:
    with selectors.DefaultSelector() as selector:
        selector.register(worker.from_worker, selectors.EVENT_READ)
        while b"\n" not in worker.rest:
            if len(worker.rest) > wire.LARGEST or not selector.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
            found = os.read(worker.from_worker, 65536)
            if not found:
                raise OSError("the worker has ended")
            worker.rest += found
    line, worker.rest = worker.rest.split(b"\n", 1)
    return line + b"\n"


def _guard(root: Path, namespaces: bool, to_read: int, to_write: int, alive: int) -> NoReturn:
    """In the first fork: start the worker in namespaces of its own, and end it when the keeper lets go of `alive`."""
    how: confine.How = "limits"
    with suppress(confine.Unavailable, OSError):
        if namespaces:
            confine.leave_namespaces()
            how = "namespaces"
    worker = os.fork()
    if worker == 0:
        os.close(alive)
        os.setsid()
        _confined(root, how, to_read, to_write)
    os.close(to_read)
    os.close(to_write)
    with suppress(OSError):
        os.read(alive, 1)  # until the keeper closes its end
    for end in (os.kill, os.killpg):
        with suppress(OSError):
            end(worker, signal.SIGKILL)  # the first process of a namespace takes all others with it
    with suppress(OSError):
        os.waitpid(worker, 0)
    os._exit(0)


def _confined(root: Path, how: confine.How, to_read: int, to_write: int) -> NoReturn:
    """In the second fork: give everything up, then serve."""
    code = 1
    try:
        if how == "namespaces":
            confine.narrow_the_disk(root)
            confine.give_up_rights()
        else:
            folder = root / "tmp"
            folder.mkdir(exist_ok=True)
            os.chdir(folder)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.environ.clear()
        os.environ.update({"HOME": os.getcwd(), "TMPDIR": os.getcwd(), "PATH": "/usr/bin:/bin"})
        tempfile.tempdir = None
        confine.set_limits()
        with os.fdopen(to_read, "rb") as asked, os.fdopen(to_write, "wb") as answers:
            answers.write(json.dumps({"how": how}).encode() + b"\n")
            answers.flush()
            serve(asked, answers)
        code = 0
    except BaseException as error:
        with suppress(BaseException):
            os.write(to_write, json.dumps({"broken": f"{type(error).__name__}: {error}"}).encode() + b"\n")
    finally:
        os._exit(code)


def keep(jobs: IO[bytes], answers: IO[bytes], namespaces: bool) -> None:
    """Read jobs until they end. A job is `{"seconds": …, "open": pieces}` or `{"seconds": …, "call": …}`."""
    worker: Worker | None = None
    with tempfile.TemporaryDirectory(prefix="nasda-grading-", ignore_cleanup_errors=True) as folder:
        for number, line in enumerate(jobs):
            job = json.loads(line)
            if "open" in job:
                if worker:
                    worker.end()
                worker = _started(Path(folder, str(number)), namespaces)
                if "broken" in worker.how and namespaces:  # there are namespaces, but no mounts in them
                    worker.end()
                    namespaces = False
                    worker = _started(Path(folder, f"{number}-limits"), namespaces)
            found = worker.ask(line, job["seconds"]) if worker and worker.pid else {"stopped": "died"}
            answers.write(json.dumps(found | (worker.how if worker else {})).encode() + b"\n")
            answers.flush()
        if worker:
            worker.end()


def _started(root: Path, namespaces: bool) -> Worker:
    root.mkdir()
    root.chmod(0o755)
    return Worker(root, namespaces)


# -------------------------------------------------------------------------------------------------------- the worker


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Run the submitted code, then answer calls."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for line in asked:
        job = json.loads(line)
        work = partial(_run, job["open"], space) if "open" in job else partial(_answer, job, space)
        found = _said(work)
        answers.write(json.dumps(found).encode() + b"\n")
        answers.flush()


def _said(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except wire.NotPlain as error:
        return {"raised": f"expected numbers, words, arrays or lists of them, yours gave {error}"}
    except NotImplementedError:
        return {"stub": True}
    except MemoryError:
        return {"raised": f"it needs more than {confine.MEMORY // 2**30} GB of memory"}
    except BaseException as error:
        return {"raised": in_words(error)[:1000]}


def _run(pieces: Sequence[str], space: dict[str, Any]) -> dict[str, Any]:
    """Run the submitted pieces; what the last one raised is kept for names that are then missing."""
    for number, code in enumerate(pieces):
        name = f"<piece {number} of the submission>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        try:
            exec(compile(code, name, "exec"), space)
        except BaseException as error:
            space[_FAILED] = in_words(error)[:1000]
    return {}


def _answer(job: dict[str, Any], space: dict[str, Any]) -> dict[str, Any]:
    """A call of a submitted function, or the value of another submitted name."""
    name = job["call"]
    if name not in space:
        return {"missing": True, "failed": space.get(_FAILED, "")}
    thing = space[name]
    if is_template(thing):
        return {"stub": True}
    if not callable(thing):
        return {"value": wire.to_text(thing), "is_value": True}
    if is_stub(thing):
        return {"stub": True}
    if "arguments" not in job:
        return {"callable": True}
    arguments, keywords = wire.from_text(job["arguments"])
    return {"value": wire.to_text(thing(*arguments, **keywords))}


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep(sys.stdin.buffer, sys.stdout.buffer, "--limits" not in sys.argv)
