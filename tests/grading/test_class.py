"""A class is played: every kind of submission to problem set 1 gets exactly its marks, and nothing else happens."""

import ast
import importlib.util
import json
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasda.errors import NasdaError
from nasda.grading import marks
from nasda.grading.marks import BY_HAND, NOT_ATTEMPTED, RIGHT, grade
from nasda.grading.problem_set import ProblemSet, load_module, load_problem_set
from nasda.grading.remote import Keeper
from nasda.grading.submission import find_submissions
from nasda.grading.visible import check_notebook
from tests.notebooks.sources import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading forks: Linux and macOS")

_specification = importlib.util.spec_from_file_location("assignments", ROOT / "notebooks" / "assignments" / "build.py")
assert _specification
assert _specification.loader
assignments = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(assignments)
HIDDEN = ROOT / "notebooks" / "assignments" / "ps1.py"
SOURCE = HIDDEN.parent / "source" / "ps1.py"

Notebook = dict[str, Any]
FULL = {"ps1-1": 6.0, "ps1-2": 5.0, "ps1-3": 6.0, "ps1-4": 6.0, "ps1-5": 6.0, "ps1-6": 4.0}


def as_dict(notebook: Any) -> Notebook:
    return json.loads(json.dumps(notebook))


def released() -> Notebook:
    return as_dict(assignments.release(SOURCE))


def solved() -> Notebook:
    return as_dict(assignments.solution(SOURCE))


def cell_of(notebook: Notebook, name: str) -> Notebook:
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def with_answer(name: str, code: str, notebook: Notebook | None = None) -> Notebook:
    """The release, or another notebook, with an answer in its cell."""
    notebook = notebook or released()
    cell_of(notebook, name)["source"] = code
    return notebook


def without_checks(notebook: Notebook) -> Notebook:
    notebook["cells"] = [cell for cell in notebook["cells"] if not cell["source"].startswith("check(")]
    return notebook


def upside_down(notebook: Notebook) -> Notebook:
    notebook["cells"] = notebook["cells"][::-1]
    return notebook


def edited_checks(notebook: Notebook) -> Notebook:
    for cell in notebook["cells"]:
        if cell["source"].startswith("check("):
            cell["source"] = "print('✓ right')"
    return notebook


def added(notebook: Notebook, code: str) -> Notebook:
    notebook["cells"].insert(1, {"cell_type": "code", "metadata": {}, "source": code, "id": "added", "outputs": []})
    return notebook


LOOPS = """
def temperature_gradient(alphas, outputs, upstream, temperature):
    found = np.zeros(tuple(alphas.shape))
    for e in range(alphas.shape[0]):
        powers = [np.exp(float(a) / temperature) for a in alphas[e]]
        weights = [p / sum(powers) for p in powers]
        gains = [sum(float(y) * float(g) for y, g in zip(row, upstream)) for row in outputs[e]]
        mean = sum(w * g for w, g in zip(weights, gains))
        for o in range(alphas.shape[1]):
            found[e, o] = weights[o] * (gains[o] - mean) / temperature
    return found.tolist()
"""
EINSUM = """
def temperature_gradient(alphas, outputs, upstream, temperature):
    w = (alphas / temperature).softmax(1)
    jacobian = torch.diag_embed(w) - torch.einsum("eo,ep->eop", w, w)
    return torch.einsum("eop,epv,v->eo", jacobian, outputs, upstream) / temperature
"""
AUTOGRAD = """
def temperature_gradient(alphas, outputs, upstream, temperature):
    alphas = alphas.clone().requires_grad_()
    node = (torch.softmax(alphas / temperature, 1)[..., None] * outputs).sum((0, 1))
    return torch.autograd.grad(node @ upstream, alphas)[0]
"""

# The points of each submission, by question; "same" is the right answers' number.
CLASS: dict[str, tuple[Callable[[], Notebook], dict[str, float]]] = {
    "right": (solved, FULL),
    "checks deleted": (lambda: without_checks(solved()), FULL),
    "checks edited": (lambda: edited_checks(released()), {}),
    "cells upside down": (lambda: upside_down(solved()), FULL),
    "empty": (released, {}),
    "loops": (lambda: with_answer("ps1-3", LOOPS), {"ps1-3": 6}),
    "einsum": (lambda: with_answer("ps1-3", EINSUM), {"ps1-3": 6}),
    "autograd": (lambda: with_answer("ps1-3", AUTOGRAD), {"ps1-3": 6}),
    "one softmax for all edges": (
        lambda: with_answer(
            "ps1-3",
            "def temperature_gradient(alphas, outputs, upstream, temperature):\n"
            "    w = torch.softmax((alphas / temperature).flatten(), 0).reshape(alphas.shape)\n"
            "    g = outputs @ upstream\n    return w * (g - (w * g).sum()) / temperature",
        ),
        {"ps1-3": 4},
    ),
    "temperature forgotten": (
        lambda: with_answer(
            "ps1-3",
            "def temperature_gradient(alphas, outputs, upstream, temperature):\n"
            "    w = torch.softmax(alphas / temperature, 1)\n    g = outputs @ upstream\n"
            "    return w * (g - (w * g).sum(1, keepdim=True))",
        ),
        {"ps1-3": 2},
    ),
    "strides ignored": (
        lambda: with_answer(
            "ps1-1", "def receptive_side(layers):\n    return 1 + sum((k - 1) * d for k, _, d in layers)"
        ),
        {"ps1-1": 3},
    ),
    "a helper in another cell": (
        lambda: added(
            with_answer("ps1-2", "def depths(nodes):\n    return helper(nodes, [0, 0])"),
            "def helper(nodes, found):\n    for i, j in nodes:\n        found.append(1 + max(found[i], found[j]))\n"
            "    return found[2:]",
        ),
        {"ps1-2": 5},
    ),
    "a syntax error in one cell": (
        lambda: with_answer("ps1-1", "def receptive_side(layers) return 1", solved()),
        {**FULL, "ps1-1": 0},
    ),
    "a cell that raises": (lambda: added(solved(), "1 / 0"), FULL),
    "an import that fails": (lambda: added(solved(), "import nowhere"), FULL),
    "a warning": (
        lambda: with_answer(
            "ps1-2",
            "import sys, warnings\n" + _begun(solved, "ps1-2", "    warnings.warn('careful'); sys.stderr.write('x')"),
        ),
        {"ps1-2": 5},
    ),
    "numbers outside the band": (
        lambda: with_answer("ps1-6", 'measured = {"none is strongest": 0.14, "from the cell\'s inputs": 0.5}'),
        {"ps1-6": 2},
    ),
}
# Bodies of question 2's function.
CHEATS = {
    "endless": "while True: pass",
    "exit": "raise SystemExit",
    "_exit": "os._exit(0)",
    "abort": "os.abort()",
    "memory": "return bytearray(10**10)",
    "fork bomb": "while True: os.fork()",
    "equals everything": "return type('E', (list,), {'__eq__': lambda *_: True, '__len__': lambda _: len(nodes)})()",
    "prints much": "[print('x' * 10**6) for _ in range(10**3)]",
    "frames": "f = sys._getframe()\nwhile f: found = f.f_locals.get('reference'); f = f.f_back\nreturn found(nodes)",
    "patches the judge": "import nasda.course.judges as j\nj.difference = lambda *a: None\nreturn 0",
    "patches torch": "import torch, builtins\ntorch.equal = builtins.all = lambda *a, **k: True\nreturn 0",
    "reads the solutions": f"import runpy\nreturn runpy.run_path({str(HIDDEN)!r})['depths'](nodes)",
    "opens a socket": "import socket\nreturn socket.create_connection(('127.0.0.1', 22), 1)",
    "a forged message": "for d in range(3, 40):\n    try: os.write(d, b'{}\\n')\n    except OSError: pass",
}


def cheating(body: str) -> Notebook:
    return with_answer("ps1-2", "import os, sys\ndef depths(nodes):\n" + textwrap.indent(body, "    "))


def _begun(made: Callable[[], Notebook], name: str, line: str) -> str:
    first, rest = cell_of(made(), name)["source"].split("\n", 1)
    return f"{first}\n{line}\n{rest}"


def problem_set(name: str, seed: int) -> ProblemSet:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return load_problem_set(name, seed)


def hand_in(folder: Path, student: str, notebook: Notebook | str, name: str = "ps1") -> None:
    path = folder / student / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submitted")
    for student, (made, _) in CLASS.items():
        hand_in(folder, student, made())
    for student, body in CHEATS.items():
        hand_in(folder, student, cheating(body))
    hand_in(folder, "no JSON", "PK\x03\x04")
    hand_in(folder, "a list", "[]")
    return folder


@pytest.fixture(scope="module")
def marked(handed_in: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    chosen = problem_set("ps1", 0)
    before = snapshot(handed_in)
    out = tmp_path_factory.mktemp("marks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasda.grading.remote.SECONDS", 3)
        found = grade(find_submissions(handed_in, "ps1"), chosen, out, seed=0, jobs=2)
    assert snapshot(handed_in) == before, "a submission has changed something outside its folder"
    return {one.student: one for one in found} | {"out": out, "set": chosen}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def by_question(found: Any) -> dict[str, float]:
    points: dict[str, float] = {}
    for mark in found.marks:
        points[mark.question] = points.get(mark.question, 0) + (mark.points or 0)
    return {question: given for question, given in points.items() if given}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("student", CLASS)
def test_marks_are_exact(marked: dict[str, Any], student: str) -> None:
    expected = {question: points for question, points in CLASS[student][1].items() if points}
    assert by_question(marked[student]) == expected, marked[student]


@pytest.mark.parametrize("student", CHEATS)
def test_no_cheat_gains_a_point(marked: dict[str, Any], student: str) -> None:
    found = marked[student]
    if student == "reads the solutions" and found.confinement == "limits":
        pytest.skip("without namespaces a worker can read what its user can")
    assert found.points == 0, found


def test_a_file_that_is_no_notebook_costs_its_own_marks_only(marked: dict[str, Any]) -> None:
    for student in ("no JSON", "a list"):
        assert marked[student].points == 0
        assert "no notebook can be read from it" in marked[student].note


def test_words_teach_and_do_not_tell_hidden_cases(marked: dict[str, Any]) -> None:
    words = {mark.part: mark.words for mark in marked["strides ignored"].marks if mark.question == "ps1-1"}
    assert words["strides"] == "Behind a stride of 2, neighbours of the map lie two input pixels apart"
    assert words["one layer"] == RIGHT
    assert {mark.words for mark in marked["empty"].marks} == {NOT_ATTEMPTED}
    assert [mark.words for mark in marked["right"].marks if mark.question == "ps1-7"] == [BY_HAND]
    assert any("it was stopped after 3 s" in mark.words for mark in marked["endless"].marks)
    for page in (marked["out"] / "feedback").glob("*.md"):
        assert "random case" not in page.read_text(encoding="utf-8")


def test_feedback_tells_no_message_and_no_made_up_name() -> None:
    assert marks._without_values("it raised ValueError: x = 3 (line 2 of your cell: `raise E(x)`)") == (
        "it raised ValueError (line 2 of your cell: `raise E(x)`)"
    )
    for words in ("it raised x3: 3", "it raised x = 3: y", "expected numbers, yours gave an object of the class x3"):
        assert "3" not in marks._without_values(words)
    assert marks._without_values("it was stopped after 3 s: does every loop end?").startswith(
        "it was stopped after 3 s"
    )


def test_the_sheet_has_a_row_a_student_and_a_column_a_part(marked: dict[str, Any]) -> None:
    rows = (marked["out"] / "marks.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("student,ps1-1: one layer,ps1-1: several layers of stride 1,")
    right = next(row for row in rows if row.startswith("right,"))
    assert right == "right,1,2,3,2,3,2,2,2,3,3,3,3,2,2,,33,4,"
    assert len(rows) == 1 + len(CLASS) + len(CHEATS) + 2


def test_a_second_run_marks_nothing_again(
    marked: dict[str, Any], handed_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasda.grading.marks.mark", lambda *_: pytest.fail("marked again"))
    found = grade(find_submissions(handed_in, "ps1"), marked["set"], marked["out"], seed=0, jobs=2)
    assert {one.student: one.points for one in found} == {
        student: one.points for student, one in marked.items() if student not in ("out", "set")
    }


every_set = pytest.mark.parametrize("source", sorted(SOURCE.parent.glob("ps*.py")), ids=lambda path: path.stem)


@every_set
def test_nothing_of_a_solution_is_in_the_release(source: Path) -> None:
    release = as_dict(assignments.release(source))
    text = json.dumps(release, ensure_ascii=False)
    lines = {
        line.strip("# ")
        for block in source.read_text(encoding="utf-8").split("### BEGIN SOLUTION\n")[1:]
        for line in block.split("### END SOLUTION")[0].splitlines()
        if len(line.strip("# ")) > 12
    }
    assert len(lines) > 20
    assert [line for line in lines if json.dumps(line, ensure_ascii=False)[1:-1] in text] == []
    for cell in release["cells"]:
        if "nbgrader" in cell["metadata"] and cell["cell_type"] == "code":
            functions = [node for node in ast.parse(cell["source"]).body if isinstance(node, ast.FunctionDef)]
            assert all(len(function.body) == 2 for function in functions), "a docstring, and that nothing is there yet"


@every_set
def test_the_points_of_the_cells_are_those_of_the_judge(source: Path) -> None:
    questions, release = problem_set(source.stem, 0).questions, as_dict(assignments.release(source))
    cells = [cell["metadata"]["nbgrader"] for cell in release["cells"] if "nbgrader" in cell["metadata"]]
    assert {cell["grade_id"]: cell["points"] for cell in cells} == {q.cell_id: q.points for q in questions}
    said = re.search(r"(\d+) points", release["cells"][0]["source"])
    assert said
    assert int(said[1]) == sum(question.points for question in questions)


@every_set
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_solution_is_right_and_the_release_is_not_for_every_seed(source: Path, seed: int, tmp_path: Path) -> None:
    chosen, name = problem_set(source.stem, seed), source.stem
    hand_in(tmp_path / "in", "empty", as_dict(assignments.release(source)), name)
    hand_in(tmp_path / "in", "right", as_dict(assignments.solution(source)), name)
    empty, right = grade(find_submissions(tmp_path / "in", name), chosen, tmp_path / "out", seed=seed, jobs=1)
    assert {mark.words for mark in empty.marks} == {NOT_ATTEMPTED}
    assert right.points == sum(question.points for question in chosen.questions if not question.written), right


@every_set
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a slip is tried on the cases of other questions, too
def test_every_usual_mistake_is_told(source: Path) -> None:
    """A reference's slip, handed in as the answer, loses points in some part, with words of its own."""
    module = load_module(HIDDEN.parent / source.name)
    slips = {words for name, found in vars(module).items() if isinstance(found, list) for _, words in found}
    told = set()
    for question in module.questions(0):
        for mistakes in (found for found in vars(module).values() if isinstance(found, list)):
            for slip, words in mistakes:
                for part in question.parts:
                    wrong = part.exercise.judge(slip)
                    told |= {words} & {getattr(wrong, "advice", "")}
    assert told == slips


def test_a_student_looks_the_notebook_through(tmp_path: Path) -> None:
    cases = assignments.visible_cases(problem_set("ps1", assignments.VISIBLE_SEED))
    (tmp_path / "ps1_cases.json").write_text(json.dumps(cases), encoding="utf-8")
    path = tmp_path / "ps1.ipynb"
    with Keeper() as keeper:
        path.write_text(json.dumps(solved()), encoding="utf-8")
        *functions, written = check_notebook(path, keeper)
        assert all(line.startswith("✓ ps1-") for line in functions), functions
        assert re.fullmatch(r"ps1-7: \d+ words", written)
        path.write_text(json.dumps(released()), encoding="utf-8")
        assert all(line.endswith("not attempted yet") for line in check_notebook(path, keeper))
        path.write_text(json.dumps(with_answer("ps1-2", "def depths(nodes):\n    return [1 for _ in nodes]")), "utf-8")
        line = check_notebook(path, keeper)[1]
        assert line.startswith("✗ ps1-2: wrong. for nodes = [")
        (tmp_path / "ps1_cases.json").unlink()
        with pytest.raises(NasdaError, match=r"ps1_cases\.json is missing: put it beside the notebook"):
            check_notebook(path, keeper)
