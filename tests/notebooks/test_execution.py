"""Every notebook runs from nothing under papermill, for both tasks, and says nothing a student should not see."""

from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests.notebooks.sources import SOURCES, code_cells
from tests.notebooks.test_form import build


@pytest.mark.timeout(900)
@pytest.mark.parametrize("task", ["person", "vehicle"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_it_runs(source: Path, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASDA_CACHE", str(tmp_path / "cache"))
    cwd = build.workplace(tmp_path / "project")
    notebook, seconds = build.execute(source, {"PROFILE": "tiny", "TASK": task}, cwd)
    print(f"{source.stem}, {task}: {seconds:.0f} s")
    assert problems(notebook) == []
    left = [path for path in tmp_path.iterdir() if path.name not in ("cache", "project")]
    assert left == []


def problems(notebook: NotebookNode) -> list[str]:
    """What a student should not see: errors, and anything on the error stream (warnings go there)."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"{cell.source.splitlines()[0]}: {output.get('text', output.get('evalue'))}")
    return found


def test_problems_are_seen() -> None:
    cell = {"cell_type": "code", "source": "x", "metadata": {}}
    warned = NotebookNode(output_type="stream", name="stderr", text="UserWarning")
    notebook = NotebookNode(cells=[NotebookNode(cell, outputs=[warned])])
    assert problems(notebook) == ["x: UserWarning"]
