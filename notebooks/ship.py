"""Put the results of a finished `nasda study` into notebooks/shipped, labelled, for those who cannot run it.

    python notebooks/ship.py nasda study --profile laptop --seeds 5 --out runs/study     # the command that made it

To be called on the machine that ran it. What ships is small: the tables, under the name of the study's folder, and of
a study of all rows the histories of the first seed's searches on the widest gap. No weights.
"""

import datetime
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from nasda.cli import Study, commands, read_ahead
from nasda.course.open import project_folder, this_machine
from nasda.data.task import load_task
from nasda.files import read_json, write_json
from nasda.runs import RunFolder
from nasda.settings import changed
from nasda.study.gaps import root_of
from nasda.study.table import search_folder


def rounded(value: Any, digits: int = 5) -> Any:
    """Numbers within `value` with so many significant digits: what a picture can show."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def searches(study: Study) -> dict[str, Any]:
    """The histories of the first seed's searches on the widest gap."""
    task = load_task(study.task, root_of(study.data_root, replace(study.toy, gap=max(study.gaps))))
    histories: dict[str, Any] = {"primitives": list(study.space.primitives)}
    for mode in ("S", "S+R"):
        searching = changed(study.settings, search={"mode": mode})
        histories[mode] = search_folder(study.out / "runs", task, searching, study.seed).read_log()
    return histories


def seconds(runs: Path) -> float:
    """What the runs took together, by their logs."""
    folders = [RunFolder(path.parent) for path in runs.glob("*/log.jsonl")]
    return sum(row["seconds"] for folder in folders for row in folder.read_log("seconds"))


def main() -> None:
    """The command."""
    arguments = sys.argv[2:]
    study = tyro.cli(commands(*read_ahead(arguments)), args=arguments)
    if not isinstance(study, Study):
        sys.exit("expected the command of a study: nasda study …")
    tables = study.out / "study.json"
    contents = {study.out.name: (read_json(tables, "a study"), seconds(study.runs or study.out / "runs"))}
    if not study.only:
        found = searches(study)
        contents["search"] = (found, sum(row["seconds"] for mode in ("S", "S+R") for row in found[mode]))
    finished = datetime.date.fromtimestamp(tables.stat().st_mtime)
    for name, (content, took) in contents.items():
        path = project_folder() / "notebooks" / "shipped" / f"{name}-{study.task}.json"
        label = {"machine": this_machine(), "date": finished.isoformat(), "command": shlex.join(sys.argv[1:])}
        write_json(path, {**label, "seconds": round(took), "content": rounded(content)})
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
