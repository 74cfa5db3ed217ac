"""A run is a folder: config.json, log.jsonl, checkpoint.pt, genotype.json, metrics.json.

If the process is killed, the folder still holds a complete checkpoint and the log up to it. One process at a time works
in a folder.
"""

import dataclasses
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm.auto import tqdm

from nasda.data.datasets import Side
from nasda.data.domain import fingerprint
from nasda.data.task import Task
from nasda.devices import synchronize
from nasda.errors import NasdaError
from nasda.files import (
    explain_os_error,
    load_tensors,
    make_folder,
    read_json,
    reading,
    write_json,
    write_text,
    written_whole,
)

_MISSING = "(nothing)"
Settings = TypeVar("Settings")


class RunFolder:
    """One run's files. To continue it with another configuration than it was begun with is an error."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.log = self.path / "log.jsonl"
        self.checkpoint = self.path / "checkpoint.pt"
        self.genotype = self.path / "genotype.json"
        self.metrics = self.path / "metrics.json"

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise `NasdaError` if the folder was begun with another config, naming the first setting (or the data) that
        differs, or if another process works in the folder."""
        if not self.config.exists():
            if self.checkpoint.exists():
                raise NasdaError(f"{self.checkpoint}: a checkpoint without its config.json: choose another --out")
            return
        if difference := first_difference(self.read_config(), as_config(**config)):
            name, found, asked = difference
            how, setting = ("on other data:", "--data-root") if name.startswith("seen") else ("with", "settings")
            raise NasdaError(
                f"{self.config}: the run here was begun {how} {name} = {found}, not {asked}: "
                f"give the same {setting} to go on with it, or choose another --out"
            )
        with self.held():
            pass

    def begin(self, config: Mapping[str, Any]) -> None:
        """Make the folder and write `config`; in an existing run's folder, `check` it instead."""
        with self.held():
            self.check(config)
            if not self.config.exists():
                write_json(self.config, as_config(**config))

    @contextmanager
    def held(self, wait: bool = False) -> Iterator[None]:
        """Keep other processes out of the folder during the block; makes the folder if it is missing.

        If another process holds it, raises `NasdaError` at once or, with `wait`, waits. The block may hold the folder
        again. When a process is killed, the operating system frees its folder.
        """
        lock = FileLock(make_folder(self.path).resolve() / ".lock", is_singleton=True)
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            raise NasdaError(
                f"{self.path}: another process works in this folder: wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        try:
            yield
        finally:
            lock.release()

    def read_config(self, *fields: str) -> dict[str, Any]:
        """The settings the run was begun with; raises `NasdaError` if one of `fields` is missing."""
        return _with_fields(read_json(self.config, "a run's settings"), fields, self.config, "a run's settings")

    def read_settings(self, name: str, kind: type[Settings]) -> Settings:
        """The config's group `name` as the dataclass `kind`; raises `NasdaError` if `kind` lacks a field."""
        values = self.read_config(name)[name]
        try:
            return kind(**values)
        except TypeError as error:
            reason = str(error).removeprefix(f"{kind.__name__}.__init__() ")
            raise NasdaError(
                f"{self.config}: {name} does not fit this version of nasda ({reason}): use the version that made the "
                "run, or run again with another --out"
            ) from error

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write `state` (tensors, numbers, strings and containers of them) whole or not at all."""
        buffer = io.BytesIO()  # torch.save into the file can hide the reason for which it cannot be written
        torch.save(dict(state), buffer)
        with written_whole(self.checkpoint, "wb") as file:
            file.write(buffer.getbuffer())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint on the CPU, or None if there is none yet."""
        return load_tensors(self.checkpoint, "a run's checkpoint") if self.checkpoint.exists() else None

    def restore(self, part: str, network: torch.nn.Module, advice: str) -> None:
        """Give `network` the weights of the run's `part` in the last checkpoint. Raises `NasdaError` if there is no
        checkpoint (with `advice`), or if it is another network's."""
        state = self.load_checkpoint()
        if state is None:
            raise NasdaError(f"{self.checkpoint}: a trained network expected here, but there is none: {advice}")
        with taking_back(self.checkpoint):
            network.load_state_dict(state["run"][part])

    def write_log(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write the whole log, one JSON object an epoch, so that it never ends in half a line."""
        write_text(self.log, "".join(json.dumps(row) + "\n" for row in history))

    def read_log(self, *fields: str) -> list[dict[str, Any]]:
        """The log's rows, oldest first; raises `NasdaError` if one lacks any of `fields`."""
        with reading(self.log, "a run's log"):
            rows = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [_with_fields(row, fields, self.log, "a row of a run's log") for row in rows]


def _with_fields(value: Any, fields: Sequence[str], path: Path, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NasdaError(f"{path}: {what} expected here, found {type(value).__name__}")
    if missing := [field for field in fields if field not in value]:
        raise NasdaError(
            f"{path}: {what} expected here, but {', '.join(missing)} is missing: it belongs to another run"
        )
    return value


@contextmanager
def taking_back(path: Path) -> Iterator[None]:
    """Let the block restore state from `path`; state that does not fit becomes a `NasdaError` that names `path`."""
    try:
        yield
    except (LookupError, RuntimeError, ValueError, TypeError) as error:
        first_line = str(error).split("\n", 1)[0]
        raise NasdaError(f"{path}: this checkpoint belongs to another run: {first_line}") from error


def first_difference(found: Any, asked: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two nested configurations differ: its dotted name and both values, or None."""
    if not isinstance(found, dict) or not isinstance(asked, dict):
        return None if found == asked else (name, found, asked)
    for key in [*asked, *found]:
        inner = f"{name}.{key}" if name else key
        if difference := first_difference(found.get(key, _MISSING), asked.get(key, _MISSING), inner):
            return difference
    return None


def as_config(**parts: Any) -> dict[str, Any]:
    """Settings dataclasses and plain values as one nested dictionary, as config.json gives it back."""
    return json.loads(json.dumps(parts, default=dataclasses.asdict))


def seen(task: Task, *sides: Side) -> dict[str, str]:
    """The fingerprint of the training split of each of `sides`, for the config of a run that learns on them."""
    return {side: fingerprint(getattr(task, side), "train") for side in sides}


class Run:
    """A run that `run_epochs` drives, epoch by epoch."""

    def epoch(self, index: int) -> dict[str, Any]:
        """Run epoch `index` and return its row of the log."""
        raise NotImplementedError

    def parts(self) -> dict[str, Any]:
        """All that the next epoch depends on: networks, optimizers, batches, each with a `state_dict`."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.parts().items():
            part.load_state_dict(state[name])


def run_epochs(
    folder: RunFolder, run: Run, epochs: int, describe: Callable[[dict[str, Any]], str]
) -> list[dict[str, Any]]:
    """Continue `run` from the last checkpoint in `folder` to `epochs`, with a checkpoint after each; returns the log.

    If a call is killed, the next one repeats the interrupted epoch from the same state, and so ends where an
    uninterrupted run ends: bit for bit on a CPU.
    """
    history: list[dict[str, Any]] = []
    with folder.held():
        for leftover in folder.path.glob(".*.tmp"):  # from a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        state = folder.load_checkpoint()
        if state is not None:
            with taking_back(folder.checkpoint):
                run.load_state_dict(state["run"])
                history = list(json.loads(state["history"]))
            folder.write_log(history)
        while len(history) < epochs:
            history.append(run.epoch(len(history)))
            folder.save_checkpoint({"run": run.state_dict(), "history": json.dumps(history)})
            folder.write_log(history)
            tqdm.write(describe(history[-1]))
    return history


def run_steps(
    step: Callable[[int], Tensor], steps: int, *, images: int, device: torch.device, name: str
) -> tuple[Tensor, dict[str, float]]:
    """Take `steps` steps of an epoch, of `images` images each. Returns the mean of what `step(index)` returns, which
    stays on the device within the epoch, and the log's `seconds` and `images_per_second`."""
    begun, total = time.perf_counter(), torch.zeros((), device=device)
    for index in tqdm(range(steps), desc=name, leave=False):
        total = total + step(index)
    synchronize(device)  # a GPU still computes when the last step returns
    seconds = time.perf_counter() - begun
    return total / steps, {"images_per_second": steps * images / seconds, "seconds": seconds}


def finite(value: torch.Tensor, name: str, advice: str) -> float:
    """`value` as a number; raises `NasdaError` with `advice` if it is nan or infinite."""
    number = float(value)
    if not math.isfinite(number):
        raise NasdaError(f"{name} became {number}: {advice}, and start again with another --out")
    return number
