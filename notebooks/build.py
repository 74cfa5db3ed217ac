"""Execute the notebooks' sources with papermill, and keep the copies that a student meets first.

    python notebooks/build.py            # all: writes notebooks/NN_title.ipynb, thumbnails and times
    python notebooks/build.py 03 05      # some
    python notebooks/build.py --task vehicle --out runs/notebooks      # elsewhere; the copies here stay as they are

Notebooks run one after the other in an empty folder of their own, so that neither outputs nor times depend on what an
earlier run has left.
"""

import argparse
import base64
import datetime
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import papermill
from nbformat import NotebookNode
from PIL import Image
from tabulate import tabulate

from nasda.course.open import this_machine
from nasda.files import read_json, write_json, write_text, written_whole
from nasda.pictures.widgets import WIDGET

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "source"
TIMES = HERE / "times.json"
THUMBNAILS = HERE.parent / "docs" / "thumbnails"
USUAL = {"PROFILE": "tiny", "TASK": "person"}
MARKER = "*Times are filled in here when the notebook is executed.*"
TIMES_LINE = re.compile(rf"^(\*Executed in\* — .*|{re.escape(MARKER)})$", re.MULTILINE)
_HEAD = r"^# (.+)$", r"^\*\*(.+\?)\*\*$", r"\*\*Lesson time\*\*: about (.+? (?:hours?|minutes))"
_THUMBNAIL = (360, 270)
_LARGE = 80_000  # bytes of a picture
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def sources(numbers: list[str]) -> list[Path]:
    """The sources of these notebooks, of all without a number."""
    found = sorted(SOURCES.glob("[0-9]*.py"))
    unknown = set(numbers) - {path.name[:2] for path in found}
    if unknown:
        sys.exit(f"{', '.join(sorted(unknown))}: no such notebook in {SOURCES}")
    return [path for path in found if not numbers or path.name[:2] in numbers]


def workplace(folder: Path) -> Path:
    """Make `folder` look like the project to a notebook, without data or runs; returns where notebooks run."""
    (folder / "notebooks" / "source").mkdir(parents=True)
    shutil.copytree(HERE / "shipped", folder / "notebooks" / "shipped")
    return folder / "notebooks"


def write_unexecuted(source: Path, path: Path) -> None:
    """The notebook of `source`, without outputs, as `path`."""
    notebook = jupytext.read(source)
    notebook.metadata = _KERNEL
    jupytext.write(notebook, path)


def execute(source: Path, parameters: Mapping[str, Any], cwd: Path) -> tuple[NotebookNode, float]:
    """The executed notebook of `source`, and how many seconds that took. Raises what papermill raises on an error."""
    given = {name: value for name, value in parameters.items() if USUAL.get(name) != value}
    unexecuted, executed = cwd / f".{source.stem}.ipynb", cwd / f"{source.stem}.ipynb"
    write_unexecuted(source, unexecuted)
    begun = time.perf_counter()
    quiet = ["--IPKernelApp.log_level=ERROR"]  # or else each kernel warns that it talks to us without encryption
    papermill.execute_notebook(
        str(unexecuted),
        str(executed),
        given,
        cwd=str(cwd),
        kernel_name="python3",
        progress_bar=False,
        extra_arguments=quiet,
        coalesce_streams=True,  # or else where printed text is cut into pieces differs from run to run
    )
    seconds = time.perf_counter() - begun
    return jupytext.read(executed), seconds


def tidied(notebook: NotebookNode) -> NotebookNode:
    """Without what only a running kernel can show (a widget's model, a progress bar) and what differs from run to run.
    Of a widget there stay its static picture and, below it, its text."""
    notebook.metadata = _KERNEL
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        cell.id = f"cell-{number:03d}"
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = lighter(output.data["image/png"])
            is_widget = output.get("data", {}).pop(WIDGET, None) is not None
            if not is_widget or "image/png" in output.data:
                kept.append(output)
            if is_widget and "image/png" in output.data:
                kept.append(
                    NotebookNode(output_type="stream", name="stdout", text=output.data.pop("text/plain") + "\n")
                )
        cell.outputs = kept
    return notebook


def lighter(png: str) -> str:
    """A large picture with 256 colours, if that is lighter; base64 in, base64 out."""
    data = base64.b64decode(png)
    if len(data) < _LARGE:
        return png
    small = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return base64.b64encode(min(data, small.getvalue(), key=len)).decode()


def times_of(name: str) -> str:
    """How long the notebook took, by profile, as its head says it."""
    of_notebook = (read_json(TIMES, "the notebooks' times") if TIMES.exists() else {}).get(name, {})
    said = [f"{key}: {_duration(run['seconds'])}" for key, run in of_notebook.items()]
    dates: dict[str, set[str]] = {}
    for run in of_notebook.values():
        dates.setdefault(run["machine"], set()).add(run["date"])
    where = [f"{machine}, {' and '.join(sorted(days))}" for machine, days in dates.items()]
    return f"*Executed in* — {'; '.join(said)} ({'; '.join(where)})" if said else MARKER


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def record(name: str, parameters: Mapping[str, Any], seconds: float) -> None:
    """Keep the time of a run in times.json."""
    times = read_json(TIMES, "the notebooks' times") if TIMES.exists() else {}
    key = f"{parameters['PROFILE']}, {parameters['TASK']}"
    run = {"seconds": round(seconds, 1), "machine": this_machine(), "date": datetime.date.today().isoformat()}
    times.setdefault(name, {})[key] = run
    write_json(TIMES, dict(sorted(times.items())))


def with_times(notebook: NotebookNode, name: str) -> NotebookNode:
    """The notebook with its times in the place of `MARKER`, or of earlier times."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = TIMES_LINE.sub(lambda _: times_of(name), cell.source)
    return notebook


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """The notebook as JSON in which only what changed differs from run to run."""
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def thumbnail(notebook: NotebookNode) -> bytes | None:
    """The picture of the cell that is tagged `thumbnail`, made small, as PNG."""
    for cell in notebook.cells:
        if "thumbnail" in cell.metadata.get("tags", []):
            pictures = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            image = Image.open(io.BytesIO(base64.b64decode(pictures[-1]))).convert("RGB")
            image.thumbnail(_THUMBNAIL, Image.Resampling.LANCZOS)
            small = io.BytesIO()
            image.quantize(256).save(small, "PNG", optimize=True)
            return small.getvalue()
    return None


def build(source: Path, parameters: Mapping[str, Any], cwd: Path, out: Path | None) -> float:
    """Execute one notebook and write it; returns the seconds it took."""
    notebook, seconds = execute(source, parameters, cwd)
    record(source.stem, parameters, seconds)
    notebook = with_times(tidied(notebook), source.stem)
    kept = HERE / f"{source.stem}.ipynb"
    write_notebook(notebook, out / kept.name if out else kept)
    if out and kept.exists():  # its head says the times of every profile
        write_notebook(with_times(jupytext.read(kept), source.stem), kept)
    picture = thumbnail(notebook)
    if picture and out is None:
        with written_whole(THUMBNAILS / f"{source.stem[:2]}.png", "wb") as file:
            file.write(picture)
    return seconds


def course_map() -> str:
    """The table of the course in the README: picture, notebook, question, lesson hours, and a machine's seconds."""
    times = read_json(TIMES, "the notebooks' times") if TIMES.exists() else {}
    lines = []
    for source in sources([]):
        title, question, lesson = head_of(source)
        runs = times.get(source.stem, {})
        took = [
            _duration(runs[f"{size}, person"]["seconds"]) if f"{size}, person" in runs else ""
            for size in ("tiny", "laptop")
        ]
        picture = f'<img src="docs/thumbnails/{source.stem[:2]}.png" alt="{title}" width="200">'
        lines.append([picture, f"[{title}](notebooks/{source.stem}.ipynb)", question, lesson, *took])
    head = ["", "notebook", "its question", "lesson", "run at `tiny`", "at `laptop`"]
    return tabulate(lines, head, tablefmt="pipe", disable_numparse=True)


def head_of(source: Path) -> tuple[str, str, str]:
    """A notebook's first heading, the question below it, and how long the lesson takes."""
    text = jupytext.read(source).cells[0].source
    found = [re.search(pattern, text, re.M) for pattern in _HEAD]
    if not all(found):
        sys.exit(f"{source}: expected a heading, below it a question in bold, and a line **Lesson time**: about …")
    title, question, lesson = (match[1] for match in found if match)
    return title, question, lesson


def write_course_map() -> None:
    """Put the table of the course into the README."""
    readme = HERE.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, after = text.split("<!-- course -->\n")[0], text.split("\n<!-- /course -->")[1]
    write_text(readme, f"{before}<!-- course -->\n{course_map()}\n<!-- /course -->{after}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Execute the notebooks with papermill.")
    parser.add_argument("numbers", nargs="*", help="which ones: 00, 03, …; all if none is given")
    parser.add_argument("--profile", default=USUAL["PROFILE"])
    parser.add_argument("--task", default=USUAL["TASK"])
    parser.add_argument("--out", type=Path, help="where executed copies go; notebooks/ if not given")
    asked = parser.parse_args()
    parameters = {"PROFILE": asked.profile, "TASK": asked.task}
    if parameters != USUAL and asked.out is None:
        asked.out = HERE.parent / "runs" / "notebooks" / f"{asked.task}-{asked.profile}"
    total = 0.0
    with tempfile.TemporaryDirectory(prefix="nasda-notebooks-") as folder:
        os.environ["NASDA_CACHE"] = str(Path(folder) / "cache")
        cwd = workplace(Path(folder))
        for source in sources(asked.numbers):
            seconds = build(source, parameters, cwd, asked.out)
            total += seconds
            print(f"{source.stem}: {_duration(seconds)}", flush=True)
    write_course_map()
    print(f"together: {_duration(total)}")


if __name__ == "__main__":
    main()
