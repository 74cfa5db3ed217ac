"""A student's answer at a distance: it is called like a function, and runs in a confined worker."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from nasda.course.judges import SECONDS, NotAttempted, Told
from nasda.errors import NasdaError
from nasda.grading import wire

OPENING = 60
"""Seconds that the code of a submission may run before its answers are asked for."""


class Raised(Told):
    """What the answer raised, in words."""


class Stopped(Told):
    """The worker had to be ended, or ended itself."""


class Keeper:
    """A process that keeps one confined worker at a time. Use it in a `with`. Raises `NasdaError` on Windows."""

    def __init__(self, *, namespaces: bool = True) -> None:
        """`namespaces`: use them where the system allows it."""
        self.options = [] if namespaces else ["--limits"]
        if not hasattr(os, "fork"):
            raise NasdaError("grading runs answers in forked processes: use Linux, macOS, or Windows' Linux (WSL)")

    def __enter__(self) -> "Keeper":
        self._start()
        return self

    def _start(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nasda.grading.worker", *self.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a job. Raises `Stopped` where the worker did not give one, `Raised` where the code raised."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps({**job, "seconds": seconds}).encode() + b"\n")
            self.process.stdin.flush()
            kept = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError) as error:
            raise Stopped(_STOPPED["died"]) from error
        if "broken" in kept:
            raise NasdaError(f"a worker could not be confined: {kept['broken']}")
        if "stopped" in kept:
            raise Stopped(_STOPPED[kept["stopped"]].format(seconds=seconds))
        found = _read(kept["said"]) | {"how": kept["how"]}
        if "raised" in found:
            raise Raised(str(found["raised"]))
        if found.get("stub"):
            raise NotAttempted
        return found

    def open(self, *pieces: str) -> str:
        """Run pieces of code in a new worker; returns how it is confined. Raises as `ask` does.

        A piece that raises does not stop the next one; `answer` tells of it where a name is missing. A keeper that was
        ended from outside is started again.
        """
        if self.process.poll() is not None:
            self._start()
        return str(self.ask({"open": pieces}, OPENING).get("how", ""))

    def answer(self, name: str) -> Any:
        """The submitted thing of this name: a function that runs in the worker, or a value.

        Raises `NotAttempted` where there is none, and as `ask` does.
        """
        found = self.ask({"call": name}, SECONDS)
        if found.get("failed"):
            raise Raised(str(found["failed"]))
        if found.get("missing"):
            raise NotAttempted
        if found.get("is_value"):
            return _value(found)
        return self._remote(name)

    def _remote(self, name: str) -> Callable[..., Any]:
        def remote(*arguments: Any, **keywords: Any) -> Any:
            asked = wire.to_text([list(arguments), keywords])
            return _value(self.ask({"call": name, "arguments": asked}, SECONDS))

        remote.__name__ = name
        return remote


_STOPPED = {
    "time": "it was stopped after {seconds:g} s: does every loop end?",
    "died": "its process has ended: by exit, by a crash, or by a limit on memory, files or processor time",
}


def _read(line: str) -> dict[str, Any]:
    """What a worker said; a student's code could have written anything in its place."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Stopped(_STOPPED["died"])
    return found


def _value(found: Mapping[str, Any]) -> Any:
    try:
        return wire.from_text(found["value"])
    except (wire.NotPlain, KeyError, TypeError) as error:
        raise Raised("what it returned cannot be read: expected numbers, words, arrays or lists of them") from error
