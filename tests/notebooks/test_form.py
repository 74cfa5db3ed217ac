"""Every notebook is made as notebooks here are: parameters, text and code in proportion, pictures, exercises."""

import ast
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import jupytext
import papermill
import pytest

from nasda.course.check import modules
from tests.notebooks.sources import ROOT, SOURCES, code_cells, exercises_of, read, texts

sys.path.insert(0, str(ROOT / "notebooks"))
import build

PARAMETERS = {"PROFILE": ("str", "tiny"), "TASK": ("str", "person"), "DATA_ROOT": ("str", ""), "SEED": ("int", 0)}
every_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def words(text: str) -> int:
    return len(re.findall(r"\w[\w’'-]*", text))


@every_notebook
def test_parameters_exist_by_name(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "notebook.ipynb"
    build.write_unexecuted(source, path)
    found = papermill.inspect_notebook(str(path))
    declared = {name: (p["inferred_type_name"], eval(p["default"])) for name, p in found.items()}
    assert {name: declared.get(name) for name in PARAMETERS} == PARAMETERS


@every_notebook
def test_text_and_code_in_proportion(source: Path) -> None:
    notebook = read(source)
    code = code_cells(notebook)
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert 1.0 <= len(text) / len(code) <= 1.9
    assert 50 <= words("\n".join(text)) / len(code) <= 110
    long = [cell for cell in code if len(cell.source.splitlines()) > 20]
    assert len(long) <= len(code) / 10, [cell.source.splitlines()[0] for cell in long]


@every_notebook
def test_what_a_notebook_opens_and_ends_with(source: Path) -> None:
    text = "\n".join(cell.source for cell in read(source).cells if cell.cell_type == "markdown")
    head = text[:4000].lower()
    for phrase in ("you will be able to", "you need to know", "**lesson time**: about", build.MARKER.lower()):
        assert phrase in head, phrase
    for heading in ("## What did we learn?", "## Further reading"):
        assert heading in text, heading
    learned = text.split("## What did we learn?")[1].split("## Further reading")[0]
    assert len(re.findall(r"^\d\. ", learned, re.M)) == 5, "five sentences, numbered"


@every_notebook
def test_something_to_move_and_pictures_to_remember(source: Path) -> None:
    code = "\n".join(cell.source for cell in code_cells(read(source)))
    assert "explore(" in code
    executed = ROOT / "notebooks" / f"{source.stem}.ipynb"
    pictures = [
        output
        for cell in code_cells(jupytext.read(executed))
        for output in cell.outputs
        if {"image/png", "image/svg+xml"} & output.get("data", {}).keys()
    ]
    assert len(pictures) >= 3
    drawn_live = [cell for cell in code_cells(jupytext.read(executed)) if "Live()" in cell.source]
    assert all(any("image/png" in output.get("data", {}) for output in cell.outputs) for cell in drawn_live)
    tagged = [cell for cell in code_cells(read(source)) if "thumbnail" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1


@every_notebook
def test_no_tricks(source: Path) -> None:
    code = "\n".join(cell.source for cell in code_cells(read(source)))
    for trick in ("sys.path", "!pip", "%pip", "os.chdir", "warnings.filterwarnings", "%load_ext", ".cuda()"):
        assert trick not in code, trick


HEADING = r"### Exercise {} [●○]{{3}} · importance [●○]{{3}} \(\d+ minutes\)"


@every_notebook
def test_exercises_have_a_stub_hints_and_a_solution(source: Path) -> None:
    asked = exercises_of(source)
    assert 3 <= len(asked) <= 7
    assert [exercise.name for exercise in asked] == [f"{source.name[:2]}.{n + 1}" for n in range(len(asked))]
    for exercise in asked:
        assert re.match(HEADING.format(exercise.name), exercise.heading), exercise.heading
        assert "exercise" in exercise.stub.metadata.get("tags", []), exercise.name
        assert exercise.solution, exercise.name
        assert exercise.hints in (["Hint 1", "Hint 2"], ["Hint 1", "Hint 2", "Hint 3"]), exercise.name


@every_notebook
def test_the_student_predicts_before_he_sees(source: Path) -> None:
    number = source.name[:2]
    code = [cell.source for cell in code_cells(read(source))]
    asked = {
        match[2]: (match[1], place)
        for place, cell in enumerate(code)
        for match in re.finditer(r'^(\w+) = predict\("(\d\d\.[a-z])", \.\.\.', cell, re.M)
    }
    assert len(asked) >= 3
    assert list(asked) == [f"{number}.{letter}" for letter in "abcdefghijk"[: len(asked)]]
    for name, (variable, place) in asked.items():
        assert any(f"{variable}.against(" in cell for cell in code[place + 1 :]), f"{name} is never told the truth"


@every_notebook
def test_three_questions_on_earlier_notebooks(source: Path) -> None:
    number = source.name[:2]
    code = [cell.source for cell in code_cells(read(source))]
    asked = [place for place, cell in enumerate(code) if f'recall("{number}", ..., ..., ...)' in cell]
    if number == "00":
        assert not asked
        return
    assert len(asked) == 1
    assert asked[0] <= 4, "at the head"
    questions = importlib.import_module(f"nasda.course.{modules()[number]}").RECALL
    assert len(questions) == 3
    for question in questions:
        earlier = re.findall(r"notebook (\d\d)", question.because)
        assert earlier, question
        assert max(earlier) < number, question


PICTURES = ("Plot", "Figure", "Image", "Digraph", "Picture")


@every_notebook
def test_no_idea_hides_behind_an_import(source: Path) -> None:
    """At most one code cell in eight calls a function of the notebook's module that is no picture."""
    code = code_cells(read(source))
    module = importlib.import_module(f"nasda.course.{modules()[source.name[:2]]}")
    statements = [node for cell in code for node in ast.parse(cell.source).body if isinstance(node, ast.ImportFrom)]
    named = {alias.name for node in statements if node.module == module.__name__ for alias in node.names}
    hiding = []
    for cell in code:
        called = set(re.findall(r"lesson\.(\w+)", cell.source)) | {n for n in named if f"{n}(" in cell.source}
        if any(not is_picture(getattr(module, name)) for name in called):
            hiding.append(cell.source.splitlines()[0])
    assert len(hiding) <= len(code) / 8, hiding


def is_picture(thing: Any) -> bool:
    """Does a function return a picture, or draw into one?"""
    returned = str(getattr(thing, "__annotations__", {}).get("return", ""))
    return any(word in returned for word in PICTURES)


@every_notebook
def test_one_can_walk_to_the_neighbours(source: Path) -> None:
    cells = [cell.source for cell in read(source).cells if cell.cell_type == "markdown"]
    place = SOURCES.index(source)
    for neighbour in (*SOURCES[max(0, place - 1) : place], *SOURCES[place + 1 : place + 2]):
        for cell in (cells[0], cells[-1]):
            assert f"({neighbour.stem}.ipynb)" in cell, neighbour.stem


@every_notebook
def test_a_widget_has_no_list_that_keys_leave(source: Path) -> None:
    assert "Dropdown(" not in "\n".join(cell.source for cell in code_cells(read(source)))


@every_notebook
def test_the_executed_copy_stems_from_its_source(source: Path) -> None:
    executed = jupytext.read(ROOT / "notebooks" / f"{source.stem}.ipynb")
    of_copy = [(cell.cell_type, build.TIMES_LINE.sub(build.MARKER, cell.source)) for cell in executed.cells]
    assert of_copy == [(cell.cell_type, cell.source) for cell in read(source).cells]
    assert all(cell.execution_count for cell in code_cells(executed) if cell.source.strip())
    assert build.times_of(source.stem) in executed.cells[0].source


@every_notebook
def test_the_executed_copy_is_small_and_carries_nothing_of_the_machine(source: Path) -> None:
    path = ROOT / "notebooks" / f"{source.stem}.ipynb"
    text = path.read_text()
    assert len(text) <= 2**20
    assert "papermill" not in text
    assert "widget-view" not in text
    absolute_path = re.compile(r"(?<![\w.:<*])/(?:[\w.-]+/)+[\w.-]+|[A-Z]:\\")
    for said in texts(jupytext.read(path)):
        assert not absolute_path.search(said), said


@every_notebook
def test_equations_of_the_notebook_are_numbered_as_in_the_paper(source: Path) -> None:
    text = "\n".join(cell.source for cell in read(source).cells if cell.cell_type == "markdown")
    tags = re.findall(r"\\tag\{([^}]*)\}", text)
    assert all(re.fullmatch(r"[1-9]|DARTS \d+|[a-z]", tag) for tag in tags), tags


def test_the_readme_s_map_of_the_course_is_up_to_date() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.split("<!-- course -->\n")[1].split("\n<!-- /course -->")[0] == build.course_map()
    for source in SOURCES:
        assert (ROOT / "docs" / "thumbnails" / f"{source.stem[:2]}.png").exists()


def test_a_run_at_another_size_changes_of_the_copy_its_times_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOURCES[0]
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "TIMES", tmp_path / "times.json")
    monkeypatch.setattr(build, "this_machine", lambda: "a machine")
    monkeypatch.setattr(build, "execute", lambda *_: (read(source), 7.0))
    monkeypatch.setattr(build, "thumbnail", lambda _: None)
    build.build(source, {"PROFILE": "tiny", "TASK": "person"}, tmp_path, None)
    copy = tmp_path / f"{source.stem}.ipynb"
    before = jupytext.read(copy)
    monkeypatch.setattr(build, "execute", lambda *_: (read(SOURCES[1]), 150.0))
    build.build(source, {"PROFILE": "laptop", "TASK": "person"}, tmp_path, tmp_path / "elsewhere")
    after = jupytext.read(copy)
    assert after.cells[1:] == before.cells[1:]
    assert "*Executed in* — tiny, person: 7 s; laptop, person: 2 min (a machine, " in after.cells[0].source
    assert (tmp_path / "elsewhere" / copy.name).exists()
