"""Table 1, and the controls that the paper lacks, over seeds: every row under one recipe.

A row chooses an architecture (searched, drawn at random, ResNet-50) and the images to train on (the source's, as they
are or as SPGAN translates them, or the target's own); budget and initialisation are the same for all. Runs are kept by
their configuration and the data that they saw, so that an interrupted table goes on, rows and tables share what is the
same, and a row that fails leaves the others alone.
"""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partialmethod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.files import read_json, write_json, write_text
from nasda.genotypes import random_genotype
from nasda.networks import RESNET50
from nasda.runs import RunFolder, as_config, seen
from nasda.search import run_search, search_config
from nasda.settings import Mode, Profile, TrainOn, changed
from nasda.spgan.dataset import with_translated_source, write_translation
from nasda.spgan.training import run_spgan
from nasda.study.experiments import score_runs, table_text, test_set
from nasda.study.paper import NOTES, paper_row
from nasda.study.statistics import Comparison, by_seed, compare, mean_sd, sentence
from nasda.training import SIDES, Architecture, run_training

Scores = dict[str, Any]

COLUMNS = {
    "mAP": "mAP",
    "mAP_trapezoid": "mAP (trapezoid)",
    "rank1": "rank-1",
    "rank5": "rank-5",
    "parameters": "parameters (M)",
    "multiply_adds": "multiply-adds (G)",
    "search_seconds": "search or translation (min)",
    "train_seconds": "training (min)",
}
_SCALE = {"parameters": 1e-6, "multiply_adds": 1e-9, "search_seconds": 1 / 60, "train_seconds": 1 / 60}  # else percent


@dataclass(frozen=True)
class Row:
    """One row: how its architecture is chosen, and what the paper calls it (method, data), if it has it."""

    name: str
    architecture: str  # "searched", "random" or "resnet50"
    mode: Mode | None = None
    translated: bool = False  # trained on the source as SPGAN translates it
    pretrained: bool = False  # begins with ImageNet's weights, as the paper's ResNet-50 does; all others with nothing
    train_on: TrainOn | None = None  # "target" is in-domain; None is what the settings say: the source, by default
    paper: tuple[str, str] | None = None


ROWS = (
    Row("NAS (S)", "searched", "S", paper=("NAS", "S")),
    Row("NAS (S+R)", "searched", "S+R", paper=("NAS", "S+R")),
    Row("random cells", "random"),
    Row("ResNet-50 (S)", RESNET50, paper=("ResNet-50", "S")),
    Row("ResNet-50 (SPGAN, S+R)", RESNET50, translated=True, paper=("ResNet-50 (SPGAN)", "S+R")),
)
IN_DOMAIN_ROWS = (Row("NAS (S+R), trained on the target", "searched", "S+R", train_on="target"),)
PRETRAINED_ROWS = (
    Row("ResNet-50, from ImageNet (S)", RESNET50, pretrained=True, paper=("ResNet-50", "S")),
    Row(
        "ResNet-50, from ImageNet (SPGAN, S+R)",
        RESNET50,
        translated=True,
        pretrained=True,
        paper=("ResNet-50 (SPGAN)", "S+R"),
    ),
)
PAIRS = (  # the comparisons of interest, named before there is a number
    ("NAS (S+R)", "NAS (S)"),
    ("NAS (S+R)", "random cells"),
    ("NAS (S)", "random cells"),
    ("NAS (S+R), trained on the target", "NAS (S+R)"),
    ("ResNet-50 (SPGAN, S+R)", "ResNet-50 (S)"),
)


def rows_named(names: Sequence[str], usual: Sequence[Row], more: Sequence[Row] = ()) -> tuple[Row, ...]:
    """The rows of these names, among the `usual` ones and `more`; without a name the usual ones. Raises `NasdaError`
    where none has the name."""
    known = {row.name: row for row in (*usual, *more)}
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise NasdaError(f"--only {', '.join(unknown)}: expected rows among {', '.join(map(repr, known))}")
    return tuple(row for row in known.values() if row.name in names) if names else tuple(usual)


@dataclass
class Table:
    """Scores by row, one list entry a seed (and a random cell); for rows that failed, why."""

    task: str
    seeds: list[int]
    scores: dict[str, list[Scores]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As table.json holds it."""
        comparisons = [{"first": a, "second": b, **found._asdict()} for a, b, found in self.comparisons()]
        return {
            "task": self.task,
            "seeds": self.seeds,
            "rows": self.scores,
            "failures": self.failures,
            "comparisons": comparisons,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Table":
        """What `to_dict` gave, or table.json holds."""
        return cls(found["task"], found["seeds"], found["rows"], found["failures"])

    def by_seed(self, row: str, score: str = "mAP") -> dict[int, float]:
        """A row's score for each seed, the mean over cells drawn with it; empty where there is no such row."""
        return by_seed(self.scores.get(row, []), score)

    def compare(self, first: str, second: str, score: str = "mAP") -> Comparison | None:
        """One row against another, paired by seed. None where they share fewer than two seeds."""
        return compare(self.by_seed(first, score), self.by_seed(second, score))

    def comparisons(self) -> Iterator[tuple[str, str, Comparison]]:
        """Those of `PAIRS` that the seeds allow."""
        found = ((*pair, self.compare(*pair)) for pair in PAIRS)
        return ((first, second, comparison) for first, second, comparison in found if comparison)

    def sentence(self, first: str, second: str, score: str = "mAP") -> str:
        """What `compare` finds, in words."""
        return sentence(first, second, self.compare(first, second, score), COLUMNS[score])

    def sentences(self) -> list[str]:
        """What the comparisons say, and which rows failed."""
        said = [self.sentence(first, second) for first, second, _ in self.comparisons()]
        return said + [f"{name} failed: {why}" for name, why in self.failures.items()]


class _Shared(NamedTuple):
    """What the rows of a table have in common."""

    runs: Path
    task: Task
    settings: Profile
    device: torch.device
    weights: str | None


class _Piece(NamedTuple):
    """What is run at once: a row, with a seed, and of random cells the draw."""

    row: Row
    seed: int
    draw: int

    @property
    def name(self) -> str:
        return f"{self.row.name}, seed {self.seed}" + (f", cell {self.draw}" if self.draw else "")


_Found = tuple[Scores, dict[str, Scores]] | str  # scores of a row and of the floors, or why there are none


def make_table(
    out: Path,
    task: Task,
    settings: Profile,
    seeds: Sequence[int],
    *,
    random_cells: int = 1,
    rows: Sequence[Row] = ROWS,
    runs: Path | None = None,
    weights: str | None = None,
    jobs: int = 1,
    device: torch.device,
) -> Table:
    """Run whatever is still missing of `rows` over `seeds`, `random_cells` of them a seed, and score it all.

    Writes table.json, table.md and table.csv into `out` after every piece; runs lie in `runs`, which several tables may
    share, or else in `out`/runs. `weights` are what pretrained rows begin with (see `ResNet50`); `jobs` processes work
    side by side, and their number changes nothing.
    """
    pieces = [
        _Piece(row, seed, draw)
        for seed in seeds
        for row in rows
        for draw in range(random_cells if row.architecture == "random" else 1)
    ]
    table = Table(task.name, list(seeds))
    for piece, found in _results(pieces, _Shared(runs or out / "runs", task, settings, device, weights), jobs):
        if isinstance(found, str):
            table.failures[piece.name] = found
            tqdm.write(f"{piece.name} failed: {found}")
        else:
            scores, floors = found
            table.scores.setdefault(piece.row.name, []).append({"seed": piece.seed, **scores})
            for name, floor in floors.items():
                of_floor = table.scores.setdefault(f"floor: {name}", [])
                if piece.seed not in [earlier["seed"] for earlier in of_floor]:
                    of_floor.append({"seed": piece.seed, **floor})
            tqdm.write(f"{piece.name}: mAP {100 * scores['mAP']:.1f}")
        write(table, out)
    return table


def _results(pieces: Sequence[_Piece], shared: _Shared, jobs: int) -> Iterator[tuple[_Piece, _Found]]:
    """What became of each piece, in order."""
    if jobs <= 1:
        for piece in pieces:
            tqdm.write(f"— {piece.name}")
            yield piece, _try_piece(piece, shared)
        return
    # Not forked: a fork of a process that has computed with several threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin_worker, (os.getpid(),)) as pool:
        futures: list[Future[_Found]] = [pool.submit(_try_piece, piece, shared) for piece in pieces]
        try:
            for piece, future in zip(pieces, futures, strict=True):
                yield piece, future.result()
        except BrokenProcessPool as error:
            raise NasdaError(
                "a process that worked on the table has died, perhaps for want of memory: the same command goes on; "
                "pass --jobs 1"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker(parent: int) -> None:
    """A worker shows no bars, which would write over each other, and does not outlive the process that asked for it."""
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Another number of threads adds up in another order, and after some epochs that is another network: so a piece has
    one thread, however many work side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _try_piece(piece: _Piece, shared: _Shared) -> _Found:
    try:
        with _one_thread():
            return _run_piece(piece, shared)
    except (NasdaError, RuntimeError) as error:  # torch says out of memory with a RuntimeError
        return str(error).split("\n", 1)[0]


def _run_piece(piece: _Piece, shared: _Shared) -> tuple[Scores, dict[str, Scores]]:
    """Search where the row searches, train, test: the scores of this row and of the floors, from what is kept of
    earlier runs where that is finished."""
    (row, seed, draw), (runs, task, settings, device, weights) = piece, shared
    space, data = settings.space, settings.data
    settings = changed(settings, train={"train_on": row.train_on or settings.train.train_on})
    begin_with = weights if row.pretrained else None
    architecture: Architecture = None
    search_seconds = 0.0
    if row.mode is not None:
        searching = changed(settings, search={"mode": row.mode})
        folder = search_folder(runs, task, searching, seed)
        with folder.held(wait=True):
            architecture = run_search(folder, task, searching, seed=seed, device=device)
        search_seconds = _seconds(folder)
    elif row.architecture == "random":
        architecture = random_genotype(space.nodes, space.primitives, seed=seed + 1000 * draw)
    if row.translated:
        both = seen(task, "source", "target")
        folder = _folder(runs, "spgan", seed=seed, spgan=settings.spgan, data=data, seen=both)
        with folder.held(wait=True):
            generator = run_spgan(folder, task, settings, seed=seed, device=device)
            write_translation(folder.path / "translated", task.source, generator, data, device=device)
        task = with_translated_source(task, folder.path / "translated")
        search_seconds = _seconds(folder)
    cell = RESNET50 if architecture is None else architecture.to_dict()
    folder = _folder(
        runs,
        "train",
        seed=seed,
        space=space,
        train=settings.train,
        data=data,
        architecture=cell,
        precision=settings.compute.precision,
        weights=begin_with,
        seen=seen(task, *SIDES[settings.train.train_on]),
    )
    tested = _folder(runs, "test", training=folder.path.name, data=test_set(task))
    with folder.held(wait=True):
        if not tested.metrics.exists():
            run_training(folder, task, architecture, settings, seed=seed, device=device, weights=begin_with)
            scores = score_runs([folder], task, settings.evaluate, seed=seed, device=device)
            write_json(tested.metrics, scores[folder.path.name])
    metrics = read_json(tested.metrics, "a run's scores")
    floors = metrics.pop("floors")
    times = {"search_seconds": search_seconds, "train_seconds": _seconds(folder)}
    return {**metrics, **times, "cell": cell}, floors


def search_folder(runs: Path, task: Task, settings: Profile, seed: int) -> RunFolder:
    """Where a table keeps a search. S has seen nothing of the target, and is one run for all targets."""
    config = search_config(task, settings, seed=seed)
    return _folder(runs, config.pop("kind"), **config)


def _folder(runs: Path, kind: str, **parts: Any) -> RunFolder:
    """The folder of the run with this configuration, which says the data that it sees: the same for the same, whichever
    row asks. Two rows may ask at once, so whoever runs it holds it, and who comes second finds it finished."""
    configuration = json.dumps(as_config(**parts), sort_keys=True)
    return RunFolder(runs / f"{kind}-{hashlib.sha256(configuration.encode()).hexdigest()[:16]}")


def _seconds(folder: RunFolder) -> float:
    """What a run took, by its log."""
    return sum(entry["seconds"] for entry in folder.read_log("seconds"))


def ranked(table: Table) -> dict[str, list[Scores]]:
    """The rows, worst mAP first."""
    return dict(sorted(table.scores.items(), key=lambda row: float(np.mean([found["mAP"] for found in row[1]]))))


def lines_of(table: Table) -> tuple[list[str], list[list[str]]]:
    """Header and cells, a row of the table each; scores in percent, mean ± standard deviation."""
    header = ["", *COLUMNS.values(), "paper: mAP", "rank-1", "rank-5"]
    lines = []
    for name, scores in ranked(table).items():
        cells = [_cell([found[key] for found in scores if key in found], key) for key in COLUMNS]
        lines.append([name, *cells, *_of_paper(table.task, name)])
    return header, lines


def _cell(values: Sequence[float], key: str) -> str:
    if not values:
        return ""
    if key in _SCALE and len(set(values)) == 1:  # of sizes and times, a spread of nothing says nothing
        values = values[:1]
    return mean_sd(values, _SCALE.get(key, 100.0), ".3g" if key in ("parameters", "multiply_adds") else ".1f")


def _of_paper(task: str, name: str) -> list[str]:
    named = next((row.paper for row in (*ROWS, *PRETRAINED_ROWS) if row.name == name), None)
    printed = paper_row(task, *named) if named else None  # type: ignore[arg-type]
    if printed is None:
        return ["", "", ""]
    rank5 = "" if printed.rank5 is None else f"{printed.rank5:.2f}"
    return [f"{printed.mAP:.2f} [{', '.join(printed.notes)}]", f"{printed.rank1:.2f}", rank5]


def markdown(table: Table, form: str = "pipe") -> str:
    """The table with its comparisons, failures and notes, as Markdown; `form` "simple" draws it for a terminal."""
    header, lines = lines_of(table)
    used = [note for note in NOTES if any(f"{note}," in line[-3] or f"{note}]" in line[-3] for line in lines)]
    said = [table.sentences(), [f"[{note}] {NOTES[note]}" for note in used]]
    lists = ["\n".join(f"- {line}" for line in part) for part in said if part]
    return "\n\n".join([table_text(header, lines, form), *lists])


def write(table: Table, out: Path) -> None:
    """table.json, table.md and table.csv in `out`, each whole or not at all."""
    write_json(out / "table.json", table.to_dict())
    write_text(out / "table.md", markdown(table) + "\n")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "seed", *COLUMNS])
    for name, found in table.scores.items():
        writer.writerows([name, scores["seed"], *(scores.get(key, "") for key in COLUMNS)] for scores in found)
    write_text(out / "table.csv", text.getvalue())
