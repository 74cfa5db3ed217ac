"""When does searching on the target help? Table 1's rows and controls on the built-in data: gaps × worlds × seeds.

The search of S and every training on the source are the same runs at all gaps; only their tests differ. With several
worlds the world is the unit of each comparison: a world's seeds share its people, cameras and light.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nasda.data.check import load_sound_task
from nasda.errors import NasdaError
from nasda.files import write_json, write_text
from nasda.settings import Profile, TaskName, ToySettings
from nasda.study.experiments import table_text
from nasda.study.rows import ROWS, Row
from nasda.study.statistics import mean_sd
from nasda.study.table import Table, fill_tables, write
from nasda.toy.make import make_toy


class Where(NamedTuple):
    """One drawn target."""

    gap: float
    world: int

    def __str__(self) -> str:
        return f"gap {self.gap:g}, world {self.world}"


STUDY_ROWS = tuple(row for row in ROWS if not row.translated)


def gap_study(
    out: Path,
    data_root: Path,
    task: TaskName,
    settings: Profile,
    gaps: Sequence[float],
    seeds: Sequence[int],
    *,
    worlds: Sequence[int] = (),
    runs: Path | None = None,
    rows: Sequence[Row] = STUDY_ROWS,
    jobs: int = 1,
    **options: Any,
) -> dict[float, Table]:
    """A table for each gap, over `worlds` (by default that of `settings.toy` alone) and seeds. The data of each gap and
    world is rendered beside `data_root` if it is missing; `jobs` and `options` are as for `fill_tables`.

    Writes each table to `out`/gap-… and all of them to study.json and study.md, after every run, and the runs that they
    share to `runs`, which studies may share (by default `out`/runs). The same call continues an interrupted study.
    """
    drawn = {
        Where(gap, world): replace(settings.toy, gap=gap, world=world)
        for world in worlds or (settings.toy.world,)
        for gap in gaps
    }
    roots = {key: root_of(data_root, toy) for key, toy in drawn.items()}
    for key, toy in drawn.items():
        make_toy(roots[key], task, height=settings.data.height, width=settings.data.width, settings=toy, processes=jobs)
    tasks = {key: load_sound_task(task, root) for key, root in roots.items()}
    tables = {key: Table(task, list(seeds)) for key in drawn}
    by_gap: dict[float, Table] = {}
    for _ in fill_tables(tables, tasks, runs or out / "runs", settings, rows=rows, jobs=jobs, **options):
        by_gap = {gap: pooled({w.world: tables[w] for w in drawn if w.gap == gap}) for gap in gaps}
        for gap, table in by_gap.items():
            write(table, out / f"gap-{gap:g}")
        write_json(out / "study.json", {f"{gap:g}": table.to_dict() for gap, table in by_gap.items()})
        write_text(out / "study.md", markdown(by_gap) + "\n")
    return by_gap


def pooled(tables: Mapping[int, Table]) -> Table:
    """One table of those of several worlds: every entry says its world. Of one world, its table."""
    first, *others = tables.values()
    if not others:
        return first
    found = Table(first.task, first.seeds)
    for world, table in tables.items():
        for name, entries in table.scores.items():
            found.scores.setdefault(name, []).extend({"world": world, **entry} for entry in entries)
        found.failures |= {f"world {world}, {name}": why for name, why in table.failures.items()}
    return found


def tables_of(study: Mapping[str, Mapping[str, Any]]) -> dict[float, Table]:
    """The tables in study.json by gap, the smallest gap first."""
    return {float(gap): Table.from_dict(study[gap]) for gap in sorted(study, key=float)}


def markdown(tables: Mapping[float, Table]) -> str:
    """A study as a table of mAP: a column for each gap and choice of batch-norm statistics, in percent, mean ± standard
    deviation over units (`Table.by_unit`). The worst row at the largest gap comes first. The paired tests and the
    failures follow."""
    gaps = sorted(tables)
    columns = [(gap, score) for gap in gaps for score in tables[gap].maps]
    names = sorted(curves(tables), key=lambda name: float(np.mean(_values(tables, name, gaps[-1], "mAP") or [0])))
    lines = [
        [name, *(mean_sd(found) if (found := _values(tables, name, *column)) else "" for column in columns)]
        for name in names
    ]
    header = [f"gap {gap:g}" + ("" if score == "mAP" else f", {score[4:]} statistics") for gap, score in columns]
    said = [f"- gap {gap:g}: {sentence}" for gap in gaps for sentence in tables[gap].sentences()]
    return "\n".join([table_text(["mAP (%)", *header], lines), "", *said]).strip()


def _values(tables: Mapping[float, Table], name: str, gap: float, score: str) -> list[float]:
    """A row's scores for `mean_sd`: one a world, or, within one world, one a seed (and random cell)."""
    entries = tables[gap].scores.get(name, [])
    if any("world" in entry for entry in entries):
        return list(tables[gap].by_unit(name, score).values())
    return [entry[score] for entry in entries if score in entry]


def root_of(data_root: Path, toy: ToySettings) -> Path:
    """The data root of one gap, world and style, beside `data_root`. Raises `NasdaError` if that has no name."""
    if data_root.name in ("", ".."):
        raise NasdaError(
            f"--data-root {data_root}: the data of each gap is written beside this folder and named after it, but it "
            "has no name: give another, such as --data-root data/toy/tiny"
        )
    style = "" if toy.style == "street" else f"-{toy.style}"
    world = f"-world-{toy.world}" if toy.world else ""
    return data_root.with_name(f"{data_root.name}{style}{world}-gap-{toy.gap:g}")


def curves(tables: Mapping[float, Table]) -> dict[str, dict[float, list[float]]]:
    """The mAP of each row by gap, each a list over worlds, or over seeds (and random cells) of one world."""
    names = dict.fromkeys(name for _, table in sorted(tables.items()) for name in table.scores)
    return {
        name: {gap: found for gap in sorted(tables) if (found := _values(tables, name, gap, "mAP"))} for name in names
    }
