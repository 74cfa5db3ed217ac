"""When does searching on the target help? Table 1's rows on the built-in data, at several gaps between its domains.

What learns on the source alone, the search of S and every training, is one run for all gaps: only its test differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from nasda.data.task import load_task, require_sound
from nasda.errors import NasdaError
from nasda.files import write_json, write_text
from nasda.settings import Profile, TaskName
from nasda.study.experiments import percent
from nasda.study.table import ROWS, Row, Table, make_table, sentence
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
    random_cells: int = 1,
    rows: Sequence[Row] = STUDY_ROWS,
    jobs: int = 1,
    device: torch.device,
) -> dict[float, Table]:
    """A table for each gap. The data of each is drawn beside `data_root` where it is missing; `jobs` processes work
    side by side.

    Tables lie in `out`/gap-…, the runs that they share in `out`/runs; study.json holds them all, study.md says it. A
    call that was cut off is gone on with.
    """
    tables: dict[float, Table] = {}
    for gap in gaps:
        root = root_of(data_root, gap)
        toy = replace(settings.toy, gap=gap)
        make_toy(root, task, height=settings.data.height, width=settings.data.width, settings=toy, processes=jobs)
        drawn = load_task(task, root)
        require_sound(drawn)
        folder = out / f"gap-{gap:g}"
        tables[gap] = make_table(
            folder,
            drawn,
            settings,
            seeds,
            random_cells=random_cells,
            rows=rows,
            runs=out / "runs",
            jobs=jobs,
            device=device,
        )
        study = {f"{gap:g}": table.to_dict() for gap, table in tables.items()}
        write_json(out / "study.json", study)
        write_text(out / "study.md", markdown(study) + "\n")
    return tables


def markdown(study: Mapping[str, Mapping[str, Any]], score: str = "mAP") -> str:
    """A study, as study.json holds it, as a table of one score: rows by gaps, in percent, mean ± standard deviation
    over seeds (and random cells); then what the paired tests say."""
    gaps = sorted(study, key=float)
    names = list(dict.fromkeys(name for gap in gaps for name in study[gap]["rows"]))
    lines = [[name, *(percent([found[score] for found in study[gap]["rows"][name]]) for gap in gaps)] for name in names]
    lines.sort(key=lambda line: float(line[-1].split(" ")[0]))
    header = [f"{score} (%)", *(f"gap {gap}" for gap in gaps)]
    table = tabulate(lines, header, tablefmt="pipe", disable_numparse=True, colalign=["left"] + ["right"] * len(gaps))
    found = [f"- gap {gap}: {sentence(test)}" for gap in gaps for test in study[gap]["comparisons"]]
    return "\n".join([table, "", *found]).strip()


def root_of(data_root: Path, gap: float) -> Path:
    """Where the data of one gap is drawn: beside `data_root`. Raises `NasdaError` where that has no name."""
    if data_root.name in ("", ".."):
        raise NasdaError(
            f"--data-root {data_root}: the data of each gap is drawn beside this folder and named after it, but it has "
            "no name: give another, such as --data-root data/toy/tiny"
        )
    return data_root.with_name(f"{data_root.name}-gap-{gap:g}")


def curves(tables: Mapping[float, Table], score: str = "mAP") -> dict[str, dict[float, list[float]]]:
    """A score of every row, for each gap a list over seeds (and random cells)."""
    found: dict[str, dict[float, list[float]]] = {}
    for gap, table in sorted(tables.items()):
        for name, scores in table.scores.items():
            found.setdefault(name, {})[gap] = [entry[score] for entry in scores]
    return found
