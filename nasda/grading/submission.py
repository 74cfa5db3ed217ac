"""What is taken out of a submitted notebook: the definitions of its cells, and the answer to each question.

Nothing of a notebook is run but imports, functions, classes, plain values and the answers themselves. Its checks do not
count: an edited or deleted one changes nothing. An answer is found by the id of its cell, or by its name.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from nasda.errors import NasdaError

LARGEST = 50 * 2**20
"""Bytes of the largest notebook that is read."""
NO_ANSWER = "YOUR ANSWER HERE"
"""What stands in the place of a written answer in the release."""
_PARSING = Lock()  # Python 3.11 counts the depth of a syntax tree for all threads together, and raises SystemError
_MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A code cell, the id that nbgrader or the notebook gives it, and why it cannot be read if it cannot."""

    source: str
    ids: frozenset[str] = frozenset()
    broken: str = ""


@dataclass(frozen=True)
class Submission:
    """One student's notebook."""

    student: str
    path: Path
    cells: Sequence[Cell] = ()
    texts: dict[str, str] = field(default_factory=dict)  # written answers by their cell's id
    note: str = ""  # what the lecturer should know

    def pieces(self, name: str, cell_id: str) -> list[str]:
        """Code that defines the answer `name`: all definitions in order, those of the cell with this id last."""
        others = [definitions(cell.source, {name}) for cell in self.cells if cell_id not in cell.ids]
        own = [definitions(cell.source, {name}) for cell in self.cells if cell_id in cell.ids]
        return [piece for piece in (*others, *own) if piece]

    def own_cell(self, cell_id: str) -> str:
        """The code of the cell with this id; "" if there is none, or if it cannot be read."""
        return "\n".join(cell.source for cell in self.cells if cell_id in cell.ids)

    def broken(self, cell_id: str) -> str:
        """Why the cell with this id cannot be read; "" if it can."""
        return next((cell.broken for cell in self.cells if cell_id in cell.ids and cell.broken), "")


def read_submission(student: str, path: Path) -> Submission:
    """A submitted file. Raises `NasdaError` if it is no notebook."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST // 2**20} MB")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found = [cell for cell in cells if cell["cell_type"] == "code"]
        code = tuple(_cell(_source(cell), _ids(cell)) for cell in found)
        texts = {name: _source(cell) for cell in cells if cell["cell_type"] == "markdown" for name in _ids(cell)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise NasdaError(f"{path}: no notebook can be read from it ({error}): ask for the file again") from error
    return Submission(student, path, code, texts)


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _ids(cell: dict[str, Any]) -> frozenset[str]:
    metadata = cell.get("metadata", {})
    found = [cell.get("id"), metadata.get("nbgrader", {}).get("grade_id")]
    return frozenset(name for name in found if isinstance(name, str))


def _cell(source: str, ids: frozenset[str]) -> Cell:
    code = _MAGIC.sub("", source)
    try:
        parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Cell("", ids, f"the cell cannot be read: {error}")
    return Cell(code, ids)


def parsed(code: str) -> ast.Module:
    """The syntax tree of code; raises `SyntaxError`. Fit for several threads."""
    with _PARSING:
        return ast.parse(code)


def definitions(source: str, wanted: set[str]) -> str:
    """The imports, functions, classes and plain values of a cell, and what it gives to the `wanted` names."""
    lines = source.splitlines()
    kept = [node for node in parsed(source).body if _is_definition(node, wanted)]
    return "\n".join("\n".join(lines[_first_line(node) - 1 : node.end_lineno]) for node in kept)


def _is_definition(node: ast.stmt, wanted: set[str]) -> bool:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
        plain = node.value is not None and not any(isinstance(inner, ast.Call) for inner in ast.walk(node.value))
        return bool(names & wanted) or plain
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def _first_line(node: Any) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def find_submissions(folder: Path, assignment: str) -> list[Submission]:
    """The submissions to `assignment` in a folder, by student: `STUDENT/ASSIGNMENT/….ipynb` as nbgrader collects them,
    or `STUDENT….ipynb` side by side.

    Of several files of one student, the one with the assignment's name counts, else the last by name; a note says so.
    A file that is no notebook is a submission without cells, whose note says why. Raises `NasdaError` if there is none.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.ipynb")):
        inner = path.relative_to(folder).parts
        if any(part.startswith(".") for part in inner):
            continue
        if len(inner) > 1 and (len(inner) < 3 or inner[1] == assignment):
            found.setdefault(inner[0], []).append(path)
        elif len(inner) == 1:
            found.setdefault(path.stem, []).append(path)
    if not found:
        raise NasdaError(
            f"{folder}: no submission to {assignment}: expected STUDENT/{assignment}/{assignment}.ipynb, as nbgrader "
            "collects them, or notebooks side by side"
        )
    return [_chosen(student, paths, assignment) for student, paths in sorted(found.items())]


def _chosen(student: str, paths: Sequence[Path], assignment: str) -> Submission:
    named = [path for path in paths if path.stem == assignment]
    path = (named or list(paths))[-1]
    notes = [] if named or path.stem == student else [f"the file is named {path.name}"]
    if len(paths) > 1:
        notes.append(f"{len(paths)} files: {path.name} counts")
    try:
        submission = read_submission(student, path)
    except NasdaError as error:
        return Submission(student, path, note="; ".join([*notes, str(error)]))
    return Submission(student, path, submission.cells, submission.texts, "; ".join(notes))
