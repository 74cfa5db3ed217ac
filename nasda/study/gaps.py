"""When does searching on the target help? Table 1's rows on the built-in data, at several gaps between its domains.

The search of S and every training on the source are the same runs at all gaps; only their tests differ.
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
    """A table for each gap. The data of each gap is rendered beside `data_root` if it is missing; `jobs` and `options`
    are as for `make_table`.

    Writes each table to `out`/gap-…, the runs that they share to `out`/runs, and all tables to study.json and study.md.
    The same call continues an interrupted study.
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
    """The tables in study.json by gap, the smallest gap first."""
    return {float(gap): Table.from_dict(study[gap]) for gap in sorted(study, key=float)}


def markdown(tables: Mapping[float, Table]) -> str:
    """A study as a table of mAP: a column for each gap, in percent, mean ± standard deviation over seeds (and random
    cells). The worst row at the largest gap comes first. The paired tests and the failures follow."""
    gaps = sorted(tables)
    rows = curves(tables)
    names = sorted(rows, key=lambda name: float(np.mean(rows[name].get(gaps[-1], [0]))))
    lines = [[name, *(mean_sd(rows[name][gap]) if gap in rows[name] else "" for gap in gaps)] for name in names]
    said = [f"- gap {gap:g}: {sentence}" for gap in gaps for sentence in tables[gap].sentences()]
    return "\n".join([table_text(["mAP (%)", *(f"gap {gap:g}" for gap in gaps)], lines), "", *said]).strip()


def root_of(data_root: Path, gap: float) -> Path:
    """The data root of one gap, beside `data_root`. Raises `NasdaError` if that has no name."""
    if data_root.name in ("", ".."):
        raise NasdaError(
            f"--data-root {data_root}: the data of each gap is written beside this folder and named after it, but it "
            "has no name: give another, such as --data-root data/toy/tiny"
        )
    return data_root.with_name(f"{data_root.name}-gap-{gap:g}")


def curves(tables: Mapping[float, Table]) -> dict[str, dict[float, list[float]]]:
    """The mAP of each row by gap, each a list over seeds (and random cells)."""
    found: dict[str, dict[float, list[float]]] = {}
    for gap, table in sorted(tables.items()):
        for name, scores in table.scores.items():
            found.setdefault(name, {})[gap] = [entry["mAP"] for entry in scores]
    return found
