"""Put the results of a finished run into notebooks/shipped, labelled, for those who cannot run it.

    python notebooks/ship.py nasda study --profile laptop --seeds 5 --out runs/study     # the command that made it
    python notebooks/ship.py exhaustive      # trains every cell of a tiny space first, or what is missing of it
    python notebooks/ship.py digits          # what notebook 07 has left in runs/, with PROFILE = "laptop"

To be called on the machine that ran it. What ships is small: the tables, under the name of the study's folder, and of
a study of all rows the histories of the first seed's searches on the widest gap. No weights.
"""

import datetime
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import tyro

from nasda.cli import Study, commands, read_ahead
from nasda.course.open import project_folder, this_machine
from nasda.data.task import load_task
from nasda.files import read_json, write_json
from nasda.runs import RunFolder
from nasda.settings import changed
from nasda.study.exhaustive import Exhaustive
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


def ship(name: str, content: Any, command: str, took: float, finished: Path) -> None:
    """Write one result with its label. The day is that of the file `finished`."""
    path = project_folder() / "notebooks" / "shipped" / f"{name}.json"
    day = datetime.date.fromtimestamp(finished.stat().st_mtime).isoformat()
    label = {"machine": this_machine(), "date": day, "command": command, "seconds": round(took)}
    write_json(path, {**label, "content": rounded(content)})
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def ship_study(study: Study) -> None:
    """The tables of a study, and of one of all rows some of its searches."""
    tables = study.out / "study.json"
    contents = {study.out.name: (read_json(tables, "a study"), seconds(study.runs or study.out / "runs"))}
    if not study.only:
        found = searches(study)
        contents["search"] = (found, sum(row["seconds"] for mode in ("S", "S+R") for row in found[mode]))
    for name, (content, took) in contents.items():
        ship(f"{name}-{study.task}", content, shlex.join(sys.argv[1:]), took, tables)


def ship_exhaustive() -> None:
    """Every cell of the tiny space, in one thread. The time is the processor's."""
    torch.set_num_threads(1)
    experiment = Exhaustive(project_folder() / "runs" / "exhaustive")
    table = experiment.table()
    command = "python notebooks/ship.py exhaustive"
    ship("exhaustive-person", table, command, table.pop("seconds"), experiment.log)


def ship_digits() -> None:
    """What notebook 07 has left of its digits."""
    results = project_folder() / "runs" / "digits-laptop-seed0" / "results.json"
    content = read_json(results, "the results of notebook 07")
    ship("digits", content, 'notebook 07 with PROFILE = "laptop"', content.pop("seconds"), results)


def main() -> None:
    """The command."""
    arguments = sys.argv[2:]
    own = {"exhaustive": ship_exhaustive, "digits": ship_digits}
    if sys.argv[1:] and sys.argv[1] in own:
        own[sys.argv[1]]()
        return
    study = tyro.cli(commands(*read_ahead(arguments)), args=arguments)
    if not isinstance(study, Study):
        sys.exit("expected the command of a study (nasda study …), exhaustive, or digits")
    ship_study(study)


if __name__ == "__main__":
    main()
