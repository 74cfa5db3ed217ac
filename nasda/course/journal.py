"""A log of what a student did: exercises, predictions and recall questions, in `my_course.jsonl` in the folder of runs.

It stays on the student's machine. `nasda progress` sums it up.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

from filelock import FileLock
from tabulate import tabulate

from nasda.course.open import project_folder
from nasda.errors import NasdaError
from nasda.files import make_folder, reading

FILE = "my_course.jsonl"
PAUSE = 30 * 60
"""Seconds without an entry after which the next one begins a new sitting: the time between them does not count."""

Kind = Literal["exercise", "prediction", "recall"]


@dataclass(frozen=True)
class Entry:
    """One answer: when (UTC, ISO 8601), to what, whether it was right, and the answer in words."""

    time: str
    kind: Kind
    name: str
    right: bool
    answer: str = ""


@dataclass(frozen=True)
class Journal:
    """The file of entries."""

    path: Path

    @classmethod
    def here(cls) -> "Journal":
        """The student's file, in the folder of runs of the project. Raises `NasdaError` outside of a project."""
        return cls(project_folder() / "runs" / FILE)

    def add(self, kind: Kind, name: str, right: bool, answer: str = "") -> None:
        """Write a line; two notebooks may do so at once. Raises `NasdaError` if the file cannot be written."""
        entry = Entry(datetime.now(UTC).isoformat(timespec="seconds"), kind, name, right, answer)
        make_folder(self.path.parent)
        try:
            with FileLock(self.path.with_suffix(".lock")), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
        except OSError as error:
            raise NasdaError(f"{self.path}: cannot be written ({error.strerror})") from error

    def entries(self) -> list[Entry]:
        """All entries in the order of writing; raises `NasdaError` if the file is broken."""
        if not self.path.exists():
            return []
        with reading(self.path, "the log of your course"):
            return [Entry(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines() if line]


def hours(entries: Sequence[Entry]) -> float:
    """The time between neighbouring entries, without pauses of over `PAUSE`; entries are in the order of time."""
    times = [datetime.fromisoformat(entry.time) for entry in entries]
    gaps = ((later - earlier).total_seconds() for earlier, later in pairwise(times))
    return sum(gap for gap in gaps if gap <= PAUSE) / 3600


def last_answers(entries: Sequence[Entry], kind: Kind) -> dict[str, Entry]:
    """The last entry to each name of a kind."""
    return {entry.name: entry for entry in entries if entry.kind == kind}


def progress(entries: Sequence[Entry], exercises: dict[str, list[str]]) -> str:
    """A table with a row for each notebook of `exercises`, which has the names of all its exercises."""

    def right(kind: Kind, number: str) -> list[bool]:
        answers = last_answers(entries, kind).items()
        return [entry.right for name, entry in answers if name.startswith(number)]

    def solved(number: str) -> int:
        """An exercise that was right once stays solved."""
        return len({entry.name for entry in entries if entry.kind == "exercise" and entry.right} & {*exercises[number]})

    def row(number: str) -> Iterator[str]:
        yield number
        yield f"{solved(number)} of {len(exercises[number])}"
        for made in (right("prediction", number), right("recall", number)):
            yield f"{sum(made)} of {len(made)}" if made else "-"
        yield f"{hours([entry for entry in entries if entry.name.startswith(number)]):.1f}"

    head = ["notebook", "exercises right", "predictions right", "recall right", "hours"]
    return tabulate([list(row(number)) for number in sorted(exercises)], head, disable_numparse=True)
