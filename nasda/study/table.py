"""Table 1, and the controls that the paper lacks, over seeds: every row under one recipe.

A row chooses an architecture (searched, drawn at random, ResNet-50) and the source's images (as they are, or as SPGAN
translates them); the training after it, its budget and its initialisation are the same for all. Runs are kept by their
configuration, so that an interrupted table goes on, another table uses what it shares with this one, and a row that
fails leaves the others alone.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.stats import permutation_test
from tabulate import tabulate
from tqdm.auto import tqdm

from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.files import read_json, write_json, write_text
from nasda.genotypes import random_genotype
from nasda.networks import RESNET50
from nasda.runs import RunFolder, as_config
from nasda.search import run_search
from nasda.settings import Mode, Profile, changed
from nasda.spgan.dataset import with_translated_source, write_translation
from nasda.spgan.training import run_spgan
from nasda.study.experiments import score_runs
from nasda.study.paper import NOTES, paper_row
from nasda.toy.make import drawn_with
from nasda.training import Architecture, run_training

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
_UNIT = {"parameters": 1e6, "multiply_adds": 1e9, "search_seconds": 60, "train_seconds": 60}  # others are in percent


@dataclass(frozen=True)
class Row:
    """One row: how its architecture is chosen, and what the paper calls it (method, data), if it has it."""

    name: str
    architecture: str  # "searched", "random" or "resnet50"
    mode: Mode | None = None
    translated: bool = False  # trained on the source as SPGAN translates it
    pretrained: bool = False  # begins with ImageNet's weights, as the paper's ResNet-50 does; all others with nothing
    paper: tuple[str, str] | None = None


ROWS = (
    Row("NAS (S)", "searched", "S", paper=("NAS", "S")),
    Row("NAS (S+R)", "searched", "S+R", paper=("NAS", "S+R")),
    Row("random cells", "random"),
    Row("ResNet-50 (S)", RESNET50, paper=("ResNet-50", "S")),
    Row("ResNet-50 (SPGAN, S+R)", RESNET50, translated=True, paper=("ResNet-50 (SPGAN)", "S+R")),
)
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
    ("ResNet-50 (SPGAN, S+R)", "ResNet-50 (S)"),
)


def rows_named(names: Sequence[str], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Those of `rows` that have these names, all without a name. Raises `NasdaError` where one has none of them."""
    unknown = set(names) - {row.name for row in rows}
    if unknown:
        known = ", ".join(repr(row.name) for row in rows)
        raise NasdaError(f"--only {', '.join(sorted(unknown))}: expected rows among {known}")
    return tuple(row for row in rows if not names or row.name in names)


@dataclass
class Table:
    """Scores by row, one list entry a seed (and a random cell); for rows that failed, why."""

    task: str
    seeds: list[int]
    scores: dict[str, list[Scores]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        comparisons = [paired(self, *pair) for pair in PAIRS]
        return {
            "task": self.task,
            "seeds": self.seeds,
            "rows": self.scores,
            "failures": self.failures,
            "comparisons": [found for found in comparisons if found],
        }


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
    runs = out / "runs" if runs is None else runs
    pieces = [
        _Piece(row, seed, draw)
        for seed in seeds
        for row in rows
        for draw in range(random_cells if row.architecture == "random" else 1)
    ]
    table = Table(task.name, list(seeds))
    for piece, found in _results(pieces, (runs, task, settings, weights, device), jobs):
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


def _results(pieces: Sequence[_Piece], shared: tuple[Any, ...], jobs: int) -> Iterator[tuple[_Piece, _Found]]:
    """What became of each piece, in order."""
    if jobs <= 1:
        for piece in pieces:
            tqdm.write(f"— {piece.name}")
            yield piece, _try_piece(piece, *shared)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # Not forked: a fork of a process that has computed with several threads may hang.
    context = multiprocessing.get_context("spawn")
    with _without_bars(), ProcessPoolExecutor(jobs, context, _begin_worker, (threads, os.getpid())) as pool:
        futures: list[Future[_Found]] = [pool.submit(_try_piece, piece, *shared) for piece in pieces]
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


@contextmanager
def _without_bars() -> Iterator[None]:
    """Processes that are begun within show no bars, which would write over each other; tqdm looks when it is loaded."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before


def _begin_worker(threads: int, parent: int) -> None:
    """A worker shares the cores with the others, and does not outlive who asked for it."""
    torch.set_num_threads(threads)

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _try_piece(
    piece: _Piece, runs: Path, task: Task, settings: Profile, weights: str | None, device: torch.device
) -> _Found:
    try:
        return run_row(runs, piece.row, task, settings, piece.seed, piece.draw, device, weights)
    except (NasdaError, RuntimeError) as error:  # torch says out of memory with a RuntimeError
        return str(error).split("\n", 1)[0]


def run_row(
    runs: Path,
    row: Row,
    task: Task,
    settings: Profile,
    seed: int,
    draw: int,
    device: torch.device,
    weights: str | None = None,
) -> tuple[Scores, dict[str, Scores]]:
    """Search where the row searches, train, test: the scores of this row and of the floors, from what is kept in `runs`
    where that is finished."""
    space, data, compute = settings.space, settings.data, settings.compute
    source, target = identity(task, "source"), identity(task, "target")
    architecture: Architecture = None
    search_seconds = 0.0
    if row.mode is not None:
        folder = search_folder(runs, task, settings, row.mode, seed)
        searching = changed(settings, search={"mode": row.mode})
        architecture = run_search(folder, task, searching, seed=seed, device=device)
        search_seconds = _seconds(folder)
    elif row.architecture == "random":
        architecture = random_genotype(space.nodes, space.primitives, seed=seed + 1000 * draw)
    if row.translated:
        folder = _folder(runs, "spgan", source | target, seed=seed, spgan=settings.spgan, data=data)
        generator = run_spgan(folder, task, settings, seed=seed, device=device)
        write_translation(folder.path / "translated", task.source, generator, data, device=device)
        task = with_translated_source(task, folder.path / "translated")
        source |= {"translated by": folder.path.name}
        search_seconds = _seconds(folder)
    folder = _folder(
        runs,
        "train",
        source if settings.train.train_on == "source" else source | target,
        seed=seed,
        space=space,
        train=settings.train,
        data=data,
        architecture=RESNET50 if architecture is None else architecture.to_dict(),
        precision=compute.precision,
        **({"weights": weights} if row.pretrained else {}),
    )
    tested = _folder(runs, "test", target, training=folder.path.name)
    if not tested.metrics.exists():
        begin_with = weights if row.pretrained else None
        run_training(folder, task, architecture, settings, seed=seed, device=device, weights=begin_with)
        scores = score_runs([folder], task, settings.evaluate, seed=seed, device=device)
        write_json(tested.metrics, scores[folder.path.name])
    metrics = read_json(tested.metrics, "a run's scores")
    floors = metrics.pop("floors")
    times = {"search_seconds": search_seconds, "train_seconds": _seconds(folder)}
    cell = RESNET50 if architecture is None else architecture.to_dict()
    return {**metrics, **times, "cell": cell}, floors


def search_folder(runs: Path, task: Task, settings: Profile, mode: Mode, seed: int) -> RunFolder:
    """Where a table keeps the search of this mode. S has seen nothing of the target, and is one run for all targets."""
    seen = identity(task, "source") if mode == "S" else identity(task, "source") | identity(task, "target")
    search = replace(settings.search, mode=mode)
    parts = {"space": settings.space, "search": search, "data": settings.data, "compute": settings.compute}
    return _folder(runs, "search", seen, seed=seed, **parts)


def _seconds(folder: RunFolder) -> float:
    """What a run took, by its log."""
    return sum(entry["seconds"] for entry in folder.read_log("seconds"))


def identity(task: Task, side: Literal["source", "target"]) -> dict[str, Any]:
    """What tells one task's source, or target, from another's: what the built-in data was drawn with, or where real
    data lies."""
    domain = task.source if side == "source" else task.target
    return {"task": task.name, side: drawn_with(domain.root, side) or str(domain.root.resolve())}


def _folder(runs: Path, kind: str, seen: Mapping[str, Any], **parts: Any) -> RunFolder:
    """The folder of the run with this configuration that has `seen` these data: the same for the same, whichever row
    asks. What learns on the source alone is the same run for every target."""
    configuration = json.dumps({"seen": seen, **as_config(**parts)}, sort_keys=True)
    return RunFolder(runs / f"{kind}-{hashlib.sha256(configuration.encode()).hexdigest()[:16]}")


def paired(table: Table, better: str, worse: str, score: str = "mAP") -> dict[str, Any] | None:
    """Whether one row lies above another, seed by seed (exact sign-flip test). None below two seeds.

    p is the share of all ways to swap the two within seeds that give a mean difference as large, in either direction.
    """
    means = [_by_seed(table.scores.get(name, []), score) for name in (better, worse)]
    seeds = sorted(means[0].keys() & means[1].keys())
    if len(seeds) < 2:
        return None
    pairs = [np.array([of_row[seed] for seed in seeds]) for of_row in means]
    differences = pairs[0] - pairs[1]
    test = permutation_test(
        pairs, lambda x, y: float(np.mean(x - y)), permutation_type="samples", n_resamples=2 ** len(seeds)
    )
    return {
        "better": better,
        "worse": worse,
        "score": score,
        "seeds": len(seeds),
        "mean_difference": float(differences.mean()),
        "above": int((differences > 0).sum()),
        "p": float(test.pvalue),
    }


def _by_seed(scores: Sequence[Scores], name: str) -> dict[int, float]:
    """The mean of a score for each seed, over the cells drawn with it."""
    return {
        seed: float(np.mean([found[name] for found in scores if found["seed"] == seed]))
        for seed in {found["seed"] for found in scores}
    }


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
    scaled = np.array(values) / _UNIT.get(key, 0.01)
    form = ".3g" if key in ("parameters", "multiply_adds") else ".1f"
    if len(values) == 1 or (key in _UNIT and not scaled.std()):  # of sizes and times, a spread of nothing says nothing
        return f"{scaled.mean():{form}}"
    return f"{scaled.mean():{form}} ± {scaled.std(ddof=1):{form}}"


def _of_paper(task: str, name: str) -> list[str]:
    named = next((row.paper for row in (*ROWS, *PRETRAINED_ROWS) if row.name == name), None)
    printed = paper_row(task, *named) if named else None  # type: ignore[arg-type]
    if printed is None:
        return ["", "", ""]
    notes = f" [{', '.join(printed.notes)}]"
    return [
        f"{printed.mAP:.2f}{notes}",
        f"{printed.rank1:.2f}",
        "" if printed.rank5 is None else f"{printed.rank5:.2f}",
    ]


def markdown(table: Table) -> str:
    """The table with its comparisons, failures and notes, as Markdown."""
    header, lines = lines_of(table)
    parts = [tabulate(lines, header, tablefmt="pipe", disable_numparse=True, colalign=_alignment(header))]
    found = [comparison for pair in PAIRS if (comparison := paired(table, *pair))]
    parts += ["\n".join("- " + sentence(comparison) for comparison in found)] if found else []
    parts += ["\n".join(f"- {name} failed: {why}" for name, why in table.failures.items())] if table.failures else []
    used = {note for line in lines for note in NOTES if f"{note}," in line[-3] or f"{note}]" in line[-3]}
    parts += ["\n".join(f"- [{note}] {NOTES[note]}" for note in sorted(used))] if used else []
    return "\n\n".join(parts)


def terminal(table: Table) -> str:
    """The same for a terminal."""
    header, lines = lines_of(table)
    drawn = tabulate(lines, header, tablefmt="simple", disable_numparse=True, colalign=_alignment(header))
    found = [sentence(comparison) for pair in PAIRS if (comparison := paired(table, *pair))]
    return "\n".join([drawn, "", *found, *(f"{name} failed: {why}" for name, why in table.failures.items())])


def _alignment(header: Sequence[str]) -> list[str]:
    return ["left"] + ["right"] * (len(header) - 1)


def sentence(comparison: Mapping[str, Any]) -> str:
    """What `paired` found, in words."""
    return (
        f"{comparison['better']} against {comparison['worse']}: mAP {100 * comparison['mean_difference']:+.1f} points, "
        f"above in {comparison['above']} of {comparison['seeds']} seeds, p = {comparison['p']:.3g} "
        f"(exact sign-flip test; the smallest possible is {2.0 ** (1 - comparison['seeds']):.3g})"
    )


def write(table: Table, out: Path) -> None:
    """table.json, table.md and table.csv in `out`, each whole or not at all."""
    write_json(out / "table.json", table.to_dict())
    write_text(out / "table.md", markdown(table) + "\n")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", "seed", *COLUMNS])
    for name, found in table.scores.items():
        writer.writerows([name, scores["seed"], *(scores.get(key, "") for key in COLUMNS)] for scores in found)
    write_text(out / "table.csv", text.getvalue())
