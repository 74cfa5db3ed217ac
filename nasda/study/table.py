"""Table 1, and the controls that the paper lacks, over seeds: every row under one recipe.

Budget and initialisation are the same for all rows. A run's folder is named after its configuration and data: so an
interrupted table continues, and rows and tables share equal runs. If a row fails, the others still run.
"""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partialmethod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from tqdm.auto import tqdm

from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.files import read_json, write_json, write_text
from nasda.genotypes import NAMED, Genotype, random_genotype
from nasda.runs import RunFolder, as_config, seen
from nasda.search import run_search, search_config
from nasda.selection import run_selection
from nasda.settings import Profile, changed
from nasda.spgan.dataset import with_translated_source, write_translation
from nasda.spgan.training import run_spgan
from nasda.study.experiments import score_runs, table_text, test_set
from nasda.study.paper import NOTES, paper_row
from nasda.study.rows import MATCHED, PAIRS, PRETRAINED_ROWS, RANDOM, ROWS, Row, matched_genotype
from nasda.study.statistics import Comparison, Unit, by_seed, by_world, compare, mean_sd, sentence
from nasda.training import SIDES, Architecture, described, run_training

Scores = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)
TUNE_STEPS = 5  # of ω after each decision of a selection by perturbation, as `nasda derive` takes by default
STATISTICS = ("mAP_source", "mAP_target")  # names of the mAP under either batch-norm statistics

COLUMNS = {
    "mAP": "mAP",
    "mAP_source": "mAP, source statistics",
    "mAP_target": "mAP, target statistics",
    "mAP_trapezoid": "mAP (trapezoid)",
    "rank1": "rank-1",
    "rank5": "rank-5",
    "parameters": "parameters (M)",
    "multiply_adds": "multiply-adds (G)",
    "search_seconds": "search or translation (min)",
    "train_seconds": "training (min)",
}
_SCALE = {
    "parameters": 1e-6,
    "multiply_adds": 1e-9,
    "search_seconds": 1 / 60,
    "train_seconds": 1 / 60,
}  # else percent


@dataclass
class Table:
    """Scores by row, one list entry a seed (and a random cell), and the reasons of failed rows."""

    task: str
    seeds: list[int]
    scores: dict[str, list[Scores]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The content of table.json."""
        comparisons = [
            {"first": a, "second": b, "score": score, **found._asdict()}
            for a, b, _ in self.comparisons()
            for score in self.maps
            if (found := self.compare(a, b, score))
        ]
        of_rows = {"rows": self.scores, "failures": self.failures, "comparisons": comparisons}
        return {"task": self.task, "seeds": self.seeds, **of_rows}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Table":
        """The inverse of `to_dict`."""
        return cls(found["task"], found["seeds"], found["rows"], found["failures"])

    @property
    def unit(self) -> Unit:
        """What comparisons pair by: the world, if the table has several, else the seed."""
        several = any("world" in entry for entries in self.scores.values() for entry in entries)
        return "world" if several else "seed"

    def by_seed(self, row: str, score: str = "mAP") -> dict[int, float]:
        """A row's score for each seed, the mean over the seed's random cells; empty if there is no such row."""
        return by_seed(self.scores.get(row, []), score)

    def by_unit(self, row: str, score: str = "mAP") -> dict[int, float]:
        """A row's score for each `unit`, the mean over what it has; empty if there is no such row."""
        entries = [entry for entry in self.scores.get(row, []) if score in entry]
        return by_world(entries, score) if self.unit == "world" else by_seed(entries, score)

    def compare(self, first: str, second: str, score: str = "mAP") -> Comparison | None:
        """One row against another, paired by unit. None if they share fewer than two."""
        return compare(self.by_unit(first, score), self.by_unit(second, score), self.unit)

    def comparisons(self) -> Iterator[tuple[str, str, Comparison]]:
        """The pairs of `PAIRS` that share two units or more, and their comparisons."""
        found = ((*pair, self.compare(*pair)) for pair in PAIRS)
        return ((first, second, comparison) for first, second, comparison in found if comparison)

    def sentence(self, first: str, second: str, score: str = "mAP") -> str:
        """The result of `compare` in words."""
        return sentence(first, second, self.compare(first, second, score), COLUMNS[score], self.unit)

    @property
    def maps(self) -> tuple[str, ...]:
        """The mAPs that its entries have: under both batch-norm statistics or, in an older table, under one."""
        both = any(STATISTICS[0] in entry for entries in self.scores.values() for entry in entries)
        return STATISTICS if both else ("mAP",)

    def sentences(self) -> list[str]:
        """The results of the comparisons, and which rows failed."""
        said = [self.sentence(a, b, score) for a, b, _ in self.comparisons() for score in self.maps]
        return said + [f"{name} failed: {why}" for name, why in self.failures.items()]


class _Shared(NamedTuple):
    """What all pieces have in common."""

    runs: Path
    tasks: Mapping[Any, Task]
    settings: Profile
    device: torch.device
    weights: str | None


class _Piece(NamedTuple):
    """One row with one seed on one task, which one process runs."""

    row: Row
    seed: int
    cell: int  # the number of the random cell, from 0
    key: Hashable  # of the task; None if there is one task only

    @property
    def name(self) -> str:
        """Within its table."""
        return f"{self.row.name}, seed {self.seed}" + (f", cell {self.cell}" if self.cell else "")

    def __str__(self) -> str:
        return self.name if self.key is None else f"{self.key}, {self.name}"


_Found = tuple[Scores, dict[str, Scores]] | str  # scores of a row and of the floors, or why it failed


def make_table(
    out: Path, task: Task, settings: Profile, seeds: Sequence[int], *, runs: Path | None = None, **options: Any
) -> Table:
    """Run and score rows over `seeds`: `fill_tables` for one task, with the same `options`.

    Writes table.json, table.md and table.csv to `out` after every row and seed, and runs to `runs`, which tables may
    share (by default `out`/runs).
    """
    tables = {None: Table(task.name, list(seeds))}
    for _ in fill_tables(tables, {None: task}, runs or out / "runs", settings, **options):
        write(tables[None], out)
    return tables[None]


def fill_tables(
    tables: Mapping[Key, Table],
    tasks: Mapping[Key, Task],
    runs: Path,
    settings: Profile,
    *,
    random_cells: int = 1,
    rows: Sequence[Row] = ROWS,
    weights: str | None = None,
    jobs: int = 1,
    device: torch.device,
) -> Iterator[Key]:
    """Run and score `rows` over the seeds of `tables` on the task of the same key, with `random_cells` a seed. Yields
    the key of each table that has grown. Finished runs in `runs` are not repeated.

    Pretrained rows start from `weights` (see `networks.ResNet`). `jobs` processes work at the same time; the results do
    not depend on their number.
    """
    pieces = [
        _Piece(row, seed, cell, key)
        for seed in sorted({seed for table in tables.values() for seed in table.seeds})
        for key, table in tables.items()
        if seed in table.seeds
        for row in rows
        for cell in range(random_cells if row.is_random else 1)
    ]
    for piece, found in _results(pieces, _Shared(runs, tasks, settings, device, weights), jobs):
        table = tables[cast(Key, piece.key)]
        if isinstance(found, str):
            table.failures[piece.name] = found
            tqdm.write(f"{piece} failed: {found}")
        else:
            scores, floors = found
            table.scores.setdefault(piece.row.name, []).append({"seed": piece.seed, **scores})
            for name, floor in floors.items():
                of_floor = table.scores.setdefault(f"floor: {name}", [])
                if piece.seed not in [earlier["seed"] for earlier in of_floor]:
                    of_floor.append({"seed": piece.seed, **floor, **dict.fromkeys(STATISTICS, floor["mAP"])})
            tqdm.write(f"{piece}: mAP {100 * scores['mAP']:.1f}")
        yield cast(Key, piece.key)


def _results(pieces: Sequence[_Piece], shared: _Shared, jobs: int) -> Iterator[tuple[_Piece, _Found]]:
    """The result of each piece, in order."""
    if jobs <= 1:
        for piece in pieces:
            tqdm.write(f"— {piece}")
            yield piece, _try_piece(piece, shared)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(jobs, context, _begin_worker, (os.getpid(),)) as pool:
        futures: list[Future[_Found]] = [pool.submit(_try_piece, piece, shared) for piece in pieces]
        try:
            for piece, future in zip(pieces, futures, strict=True):
                yield piece, future.result()
        except BrokenProcessPool as error:
            raise NasdaError(
                "a worker process died, perhaps because memory was full: run the same command again with --jobs 1; it "
                "continues where it stopped"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker(parent: int) -> None:
    """Hide a worker's progress bars, which would overwrite each other, and end the worker when its parent ends."""
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _try_piece(piece: _Piece, shared: _Shared) -> _Found:
    """`_run_piece` on one thread: with more threads sums have another order, and after some epochs other results."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run_piece(piece, shared)
    except (NasdaError, RuntimeError) as error:  # RuntimeError: torch is out of memory
        return str(error).split("\n", 1)[0]
    finally:
        torch.set_num_threads(before)


def _run_piece(piece: _Piece, shared: _Shared) -> tuple[Scores, dict[str, Scores]]:
    """Search if the row does, train and test, unless that is done. Returns the scores of the row and of the floors."""
    row, seed, _, key = piece
    runs, tasks, settings, device, weights = shared
    task = tasks[key]
    settings = changed(settings, **row.changes)
    architecture, search_seconds = _architecture(piece, task, runs, settings, device)
    settings = changed(
        settings,
        train={"train_on": row.train_on or settings.train.train_on},
        space={"norm": row.norm or settings.space.norm},
    )
    data = settings.data
    initial = weights if row.pretrained else None
    if row.translated:
        both = seen(task, "source", "target")
        folder = _folder(runs, "spgan", seed=seed, spgan=settings.spgan, data=data, seen=both)
        with folder.held(wait=True):
            generator = run_spgan(folder, task, settings, seed=seed, device=device)
            write_translation(folder.path / "translated", task.source, generator, data, device=device)
        task = with_translated_source(task, folder.path / "translated")
        search_seconds = _seconds(folder)
    chosen = described(architecture)
    folder = _folder(
        runs,
        "train",
        seed=seed,
        space=settings.space,
        train=settings.train,
        data=data,
        architecture=chosen,
        precision=settings.compute.precision,
        weights=initial,
        seen=seen(task, *SIDES[settings.train.train_on]),
    )
    statistics = settings.evaluate.statistics
    tested = _folder(runs, "test", training=folder.path.name, data=test_set(task), statistics=statistics)
    with folder.held(wait=True):
        if not tested.metrics.exists():
            run_training(folder, task, architecture, settings, seed=seed, device=device, weights=initial)
            scores = score_runs([folder], task, settings.evaluate, seed=seed, device=device)
            write_json(tested.metrics, scores[folder.path.name])
    metrics = read_json(tested.metrics, "a run's scores")
    floors = metrics.pop("floors")
    times = {"search_seconds": search_seconds, "train_seconds": _seconds(folder)}
    return {**metrics, **times, "cell": chosen, "run": folder.path.name}, floors


def _architecture(
    piece: _Piece, task: Task, runs: Path, settings: Profile, device: torch.device
) -> tuple[Architecture, float]:
    """The architecture of a row, and the seconds that its search took, which is run unless it is done."""
    row, seed, cell, _ = piece
    if isinstance(row.architecture, Genotype):
        return row.architecture, 0.0
    if row.architecture == RANDOM:
        return random_genotype(settings.space.nodes, settings.space.primitives, seed=seed + 1000 * cell), 0.0
    if row.mode is None:
        return NAMED.get(row.architecture, row.architecture), 0.0
    searching = changed(settings, search={"mode": row.mode})
    folder = search_folder(runs, task, searching, seed)
    with folder.held(wait=True):
        found = run_search(folder, task, searching, seed=seed, device=device)
        seconds = _seconds(folder)
        if row.by == "perturbation":
            found, more = _selected(folder, task, seed, device)
            seconds += more
    if row.architecture == MATCHED:
        return matched_genotype(found, settings, seed + 1000 * cell), 0.0
    return found, seconds


def _selected(folder: RunFolder, task: Task, seed: int, device: torch.device) -> tuple[Genotype, float]:
    """The cells that perturbation selects in a finished search, kept beside it, and the seconds that it took."""
    kept = folder.path / "selected.json"
    if not kept.exists():
        started = time.perf_counter()
        found = run_selection(folder, task, steps=TUNE_STEPS, seed=seed, device=device)
        write_json(kept, {"genotype": found.to_dict(), "seconds": time.perf_counter() - started})
    selected = read_json(kept, "cells selected by perturbation")
    return Genotype.from_dict(selected["genotype"]), selected["seconds"]


def search_folder(runs: Path, task: Task, settings: Profile, seed: int) -> RunFolder:
    """The folder of a table's search. A search of S does not see the target, so it is one run for all targets."""
    config = search_config(task, settings, seed=seed)
    return _folder(runs, config.pop("kind"), **config)


def _folder(runs: Path, kind: str, **parts: Any) -> RunFolder:
    """The folder of the run with this configuration, its data included. Two rows may need the same run at once: the
    first holds the folder (`RunFolder.held`), the second waits and then finds it finished."""
    configuration = json.dumps(as_config(**parts), sort_keys=True)
    return RunFolder(runs / f"{kind}-{hashlib.sha256(configuration.encode()).hexdigest()[:16]}")


def _seconds(folder: RunFolder) -> float:
    """How long a run took, by its log."""
    return sum(entry["seconds"] for entry in folder.read_log("seconds"))


def ranked(table: Table) -> dict[str, list[Scores]]:
    """The rows, worst mAP first."""
    return dict(sorted(table.scores.items(), key=lambda row: float(np.mean([found["mAP"] for found in row[1]]))))


def lines_of(table: Table) -> tuple[list[str], list[list[str]]]:
    """The table's header and its lines: mean ± standard deviation, scores in percent."""
    hidden = {"mAP", *STATISTICS} - set(table.maps)
    shown = [key for key in COLUMNS if key not in hidden]
    header = ["", *(COLUMNS[key] for key in shown), "paper: mAP", "rank-1", "rank-5"]
    lines = []
    for name, scores in ranked(table).items():
        cells = [_cell([found[key] for found in scores if key in found], key) for key in shown]
        lines.append([name, *cells, *_of_paper(table.task, name)])
    return header, lines


def _cell(values: Sequence[float], key: str) -> str:
    if not values:
        return ""
    if key in _SCALE and len(set(values)) == 1:
        values = values[:1]  # no "± 0" for sizes and times
    return mean_sd(values, _SCALE.get(key, 100.0), ".3g" if key in ("parameters", "multiply_adds") else ".1f")


def _of_paper(task: str, name: str) -> list[str]:
    named = next((row.paper for row in (*ROWS, *PRETRAINED_ROWS) if row.name == name), None)
    printed = paper_row(task, *named) if named else None  # type: ignore[arg-type]
    if printed is None:
        return ["", "", ""]
    rank5 = "" if printed.rank5 is None else f"{printed.rank5:.2f}"
    return [f"{printed.mAP:.2f} [{', '.join(printed.notes)}]", f"{printed.rank1:.2f}", rank5]


def markdown(table: Table, form: str = "pipe") -> str:
    """The table with its comparisons, failures and notes, as Markdown; `form` "simple" suits a terminal."""
    header, lines = lines_of(table)
    used = [note for note in NOTES if any(f"{note}," in line[-3] or f"{note}]" in line[-3] for line in lines)]
    said = [table.sentences(), [f"[{note}] {NOTES[note]}" for note in used]]
    lists = ["\n".join(f"- {line}" for line in part) for part in said if part]
    return "\n\n".join([table_text(header, lines, form), *lists])


def write(table: Table, out: Path) -> None:
    """Write table.json, table.md and table.csv to `out`, each whole or not at all."""
    write_json(out / "table.json", table.to_dict())
    write_text(out / "table.md", markdown(table) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, ["row", "seed", *COLUMNS], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"row": name, **scores} for name, found in table.scores.items() for scores in found)
    write_text(out / "table.csv", text.getvalue())
