"""A run is a folder: config.json, log.jsonl, checkpoint.pt, genotype.json, metrics.json.

Whatever happens to the process, the folder holds a whole checkpoint and everything that came before it. One process at
a time works in it.
"""

import dataclasses
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm.auto import tqdm

from nasda.data.domain import fingerprint
from nasda.data.task import Task
from nasda.devices import synchronize
from nasda.errors import NasdaError
from nasda.files import explain_os_error, load_tensors, make_folder, read_json, write_json, write_text, written_whole

_MISSING = "(nothing)"
Settings = TypeVar("Settings")
Side = Literal["source", "target"]


class RunFolder:
    """One run's files. Opening it with another configuration than it was begun with is an error, not a mixture."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.log = self.path / "log.jsonl"
        self.checkpoint = self.path / "checkpoint.pt"
        self.genotype = self.path / "genotype.json"
        self.metrics = self.path / "metrics.json"

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise `NasdaError` where the folder was begun with another config, naming the first setting, or the data,
        that differs; and where another process works in the folder."""
        if not self.config.exists():
            if self.checkpoint.exists():
                raise NasdaError(f"{self.checkpoint}: a checkpoint without its config.json: choose another --out")
            return
        if difference := first_difference(self.read_config(), _as_read(config)):
            name, found, asked = difference
            setting, kept = "settings", f"begun with {name} = {found}, not {asked}"
            if name.startswith("seen"):
                setting, kept = "--data-root", f"begun on other data: {name} = {found}, not {asked}"
            raise NasdaError(
                f"{self.config}: the run here was {kept}: give the same {setting} to go on with it, "
                "or choose another --out"
            )
        with self.held():
            pass

    def begin(self, config: Mapping[str, Any]) -> None:
        """Make the folder and write `config`, or `check` that the folder was begun with an equal one."""
        with self.held():
            self.check(config)
            if not self.config.exists():
                write_json(self.config, _as_read(config))

    @contextmanager
    def held(self, wait: bool = False) -> Iterator[None]:
        """Keep other processes out of the folder, which is made where it is missing.

        Where another process holds it already, raises `NasdaError` at once, or waits for it. The block may hold the
        folder again. The operating system frees what a killed process held.
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
        """The settings the run was begun with; raises `NasdaError` where one of `fields` is not among them."""
        return _with_fields(read_json(self.config, "a run's settings"), fields, self.config, "a run's settings")

    def read_settings(self, name: str, kind: type[Settings]) -> Settings:
        """The config's group `name` as the dataclass `kind`; raises `NasdaError` where a field is unknown to it."""
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
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        with written_whole(self.checkpoint, "wb") as file:
            file.write(buffer.getbuffer())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint on the CPU, or None where there is none yet."""
        if not self.checkpoint.exists():
            return None
        return load_tensors(self.checkpoint, "a run's checkpoint")

    def write_log(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write the whole log, one JSON object an epoch. It is small, and so never ends in half a line."""
        write_text(self.log, "".join(json.dumps(row) + "\n" for row in history))

    def read_log(self, *fields: str) -> list[dict[str, Any]]:
        """The log's rows, oldest first; raises `NasdaError` where one lacks any of `fields`."""
        try:
            rows = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            raise NasdaError(f"{self.log}: a run's log expected here, but there is no such file") from None
        except (OSError, ValueError) as error:
            raise NasdaError(f"{self.log}: a run's log expected here, but it is broken: {error}") from error
        return [_with_fields(row, fields, self.log, "a row of a run's log") for row in rows]


def _as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it comes back from the file: tuples are lists."""
    return json.loads(json.dumps(config))


def _with_fields(value: Any, fields: Sequence[str], path: Path, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NasdaError(f"{path}: {what} expected here, found {type(value).__name__}")
    missing = [field for field in fields if field not in value]
    if missing:
        raise NasdaError(f"{path}: {what} expected here, but {', '.join(missing)} is missing: it is of another run")
    return value


@contextmanager
def taking_back(path: Path) -> Iterator[None]:
    """Let the block restore what `path` holds; what does not fit becomes one `NasdaError` line that names `path`."""
    try:
        yield
    except (LookupError, RuntimeError, ValueError, TypeError) as error:
        first_line = str(error).split("\n", 1)[0]
        raise NasdaError(f"{path}: this checkpoint belongs to another run: {first_line}") from error


def first_difference(found: Any, asked: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two nested configurations differ: its dotted name and both values, or None."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in [*asked, *(key for key in found if key not in asked)]:
            inner = f"{name}.{key}" if name else key
            difference = first_difference(found.get(key, _MISSING), asked.get(key, _MISSING), inner)
            if difference is not None:
                return difference
        return None
    return None if found == asked else (name, found, asked)


def as_config(**parts: Any) -> dict[str, Any]:
    """Settings dataclasses and plain values as one nested dictionary."""
    config = {}
    for name, part in parts.items():
        is_settings = dataclasses.is_dataclass(part) and not isinstance(part, type)
        # An empty tuple is a choice not made: left out, so that runs from before there was the choice still go on.
        config[name] = {k: v for k, v in dataclasses.asdict(part).items() if v != ()} if is_settings else part
    return config


def seen(task: Task, *sides: Side) -> dict[str, str]:
    """The fingerprint of the training split of each of `sides`, for the config of a run that learns on these."""
    return {side: fingerprint(getattr(task, side), "train") for side in sides}


class Resumable(Protocol):
    """What `run_epochs` drives: something that lives through epochs and can say, and take back, its whole state."""

    def epoch(self, index: int) -> dict[str, Any]:
        """Run epoch `index` and return its row of the log."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        ...


def run_epochs(
    folder: RunFolder, run: Resumable, epochs: int, describe: Callable[[dict[str, Any]], str]
) -> list[dict[str, Any]]:
    """Take `run` up where `folder` left it, and on to `epochs`, with a checkpoint after each; returns the log.

    Killed at any moment, the next call repeats the epoch that was cut short from the same state, and so ends where an
    uninterrupted run ends: bit for bit on a CPU.
    """
    history: list[dict[str, Any]] = []
    with folder.held():
        for leftover in folder.path.glob(".*.tmp"):  # of a process that was killed while it wrote
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
    """Take `steps` steps of an epoch. Returns the mean of what `step(index)` returns, which stays on the device within
    the epoch, and the log's `seconds` and `images_per_second`, at so many `images` a step."""
    begun, total = time.perf_counter(), torch.zeros((), device=device)
    for index in tqdm(range(steps), desc=name, leave=False):
        total = total + step(index)
    synchronize(device)  # a GPU is still at work when the last step returns
    seconds = time.perf_counter() - begun
    return total / steps, {"images_per_second": steps * images / seconds, "seconds": seconds}


def finite(value: torch.Tensor, name: str, advice: str) -> float:
    """`value` as a number; raises `NasdaError` with `advice` when it is nan or infinite."""
    number = float(value)
    if not math.isfinite(number):
        raise NasdaError(f"{name} became {number}: {advice}, and begin again with another --out")
    return number
