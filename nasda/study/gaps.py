"""When does searching on the target help? Table 1's rows on the built-in data, at several gaps between its domains.

What learns on the source alone, the search of S and every training, is one run for all gaps: only its test differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nasda.data.check import load_sound_task
from nasda.errors import NasdaError
from nasda.files import write_json, write_text
from nasda.settings import Profile, TaskName
from nasda.study.experiments import table_text
from nasda.study.statistics import mean_sd
from nasda.study.table import ROWS, Row, Table, make_table
from nasda.toy.make import make_toy

STUDY_ROWS = tuple(row for row in ROWS if not row.translated)


def gap_study(
    out: Path,
    data_root: Path,
    task: TaskName,
    settings: Profile,
    gaps: Sequence[float],
    seeds: Sequence[int],
    *,
    rows: Sequence[Row] = STUDY_ROWS,
    jobs: int = 1,
    **options: Any,
) -> dict[float, Table]:
    """A table for each gap. The data of each is drawn beside `data_root` where it is missing; `jobs` and `options` are
    as for `make_table`.

    Tables lie in `out`/gap-…, the runs that they share in `out`/runs; study.json holds them all, study.md says it. A
    call that was cut off is gone on with.
    """
    tables: dict[float, Table] = {}
    for gap in gaps:
        root, toy = root_of(data_root, gap), replace(settings.toy, gap=gap)
        make_toy(root, task, height=settings.data.height, width=settings.data.width, settings=toy, processes=jobs)
        drawn = load_sound_task(task, root)
        shared = {"rows": rows, "runs": out / "runs", "jobs": jobs, **options}
        tables[gap] = make_table(out / f"gap-{gap:g}", drawn, settings, seeds, **shared)
        write_json(out / "study.json", {f"{gap:g}": table.to_dict() for gap, table in tables.items()})
        write_text(out / "study.md", markdown(tables) + "\n")
    return tables


def tables_of(study: Mapping[str, Mapping[str, Any]]) -> dict[float, Table]:
    """What study.json holds: a table for each gap, the smallest gap first."""
    return {float(gap): Table.from_dict(study[gap]) for gap in sorted(study, key=float)}


def markdown(tables: Mapping[float, Table], score: str = "mAP") -> str:
    """A study as a table of one score: rows by gaps, in percent, mean ± standard deviation over seeds (and random
    cells), worst at the widest gap first; then what the paired tests say, and what failed."""
    gaps = sorted(tables)
    rows = curves(tables, score)
    names = sorted(rows, key=lambda name: float(np.mean(rows[name].get(gaps[-1], [0]))))
    lines = [[name, *(mean_sd(rows[name][gap]) if gap in rows[name] else "" for gap in gaps)] for name in names]
    said = [f"- gap {gap:g}: {sentence}" for gap in gaps for sentence in tables[gap].sentences()]
    return "\n".join([table_text([f"{score} (%)", *(f"gap {gap:g}" for gap in gaps)], lines), "", *said]).strip()


def root_of(data_root: Path, gap: float) -> Path:
    """Where the data of one gap is drawn: beside `data_root`. Raises `NasdaError` where that has no name."""
    if data_root.name in ("", ".."):
        raise NasdaError(
            f"--data-root {data_root}: the data of each gap is drawn beside this folder and named after it, but it has "
            "no name: give another, such as --data-root data/toy/tiny"
        )
    return data_root.with_name(f"{data_root.name}-gap-{gap:g}")


def curves(tables: Mapping[float, Table], score: str = "mAP") -> dict[str, dict[float, list[float]]]:
    """A score of every row, for each gap that has the row a list over seeds (and random cells)."""
    found: dict[str, dict[float, list[float]]] = {}
    for gap, table in sorted(tables.items()):
        for name, scores in table.scores.items():
            found.setdefault(name, {})[gap] = [entry[score] for entry in scores]
    return found
