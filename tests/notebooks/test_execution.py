"""Every notebook runs under papermill and says nothing a student should not see: alone and without answers, and one
after the other with half or all of the exercises answered from the folded solutions, for both tasks."""

import re
from pathlib import Path

import jupytext
import pytest
from nbformat import NotebookNode

from nasda.course.check import parts
from nasda.course.workbook import Workbook
from tests.notebooks.sources import SOURCES, answer, code_cells, read, stubs
from tests.notebooks.test_form import build


@pytest.mark.timeout(900)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_it_runs_alone_without_answers(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASDA_CACHE", str(tmp_path / "cache"))
    cwd = build.workplace(tmp_path / "project")
    notebook, seconds = build.execute(source, {"PROFILE": "tiny", "TASK": "person"}, cwd)
    print(f"{source.stem}: {seconds:.0f} s")
    assert problems(notebook) == []
    left = [path for path in tmp_path.iterdir() if path.name not in ("cache", "project")]
    assert left == []
    assert not (tmp_path / "project" / "runs" / "my_nasda.py").exists()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("task", "every"), [("person", 1), ("vehicle", 2)], ids=["person, all", "vehicle, half"])
def test_a_student_answers(task: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He answers each exercise, or each second one, notebook by notebook in one kernel each: his searcher grows."""
    monkeypatch.setenv("NASDA_CACHE", str(tmp_path / "cache"))
    cwd = build.workplace(tmp_path / "project")
    book = Workbook(tmp_path / "project" / "runs" / "my_nasda.py")
    chosen = sorted(name for source in SOURCES for name in stubs(read(source)))[::every]
    for source in SOURCES:
        given = [name for name in chosen if name.startswith(source.name[:2])]
        answered = tmp_path / source.name
        jupytext.write(answer(read(source), given), answered)
        notebook, seconds = build.execute(answered, {"PROFILE": "tiny", "TASK": task}, cwd)
        print(f"{source.stem}: {seconds:.0f} s")
        assert problems(notebook) == []
        assert verdicts(notebook) == dict.fromkeys(given, "right")
        kept = {name for name in parts() if name in chosen and name[:2] <= source.name[:2]}
        assert set(book.names()) == kept
        if source.name.startswith("04"):
            assert "equal to 1e-9" in code_cells(notebook)[-1].outputs[0].text
    assert len(kept) == sum(name in chosen for name in parts()) > 0


def verdicts(notebook: NotebookNode) -> dict[str, str]:
    """What `check` said of the exercises that were attempted."""
    said = [
        re.match(r"[✓✗] (\d\d\.\d): (\w+)", output.data["text/plain"])
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "text/plain" in output.get("data", {})
    ]
    return {match[1]: match[2] for match in said if match}


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
