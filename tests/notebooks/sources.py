"""The notebooks' sources, taken apart."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks" / "source").glob("[0-9]*.py"))
CHECK = re.compile(r'^check\("(\d\d\.\d)", (.+)\)\s*$', re.S | re.M)
SOLUTION = re.compile(r"<summary>Solution</summary>.*?```python\n(.*?)```", re.S)


def read(source: Path) -> NotebookNode:
    return jupytext.read(source)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: NotebookNode) -> Iterator[str]:
    """What can be read in a notebook: its cells, and what they printed."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            yield from (data for kind, data in output.get("data", {}).items() if kind.startswith("text/"))


def imports(notebook: NotebookNode) -> str:
    """All import statements of a notebook: what a stub or a solution may use."""
    found = []
    for cell in code_cells(notebook):
        for node in ast.parse(cell.source).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found.append(ast.unparse(node))
    return "\n".join(found)


class Asked:
    """One exercise as it stands in a notebook: stub, check and solution."""

    def __init__(self, notebook: NotebookNode, index: int) -> None:
        cells = notebook.cells
        match = CHECK.search(cells[index].source)
        assert match, cells[index].source
        self.name, self.answer = match[1], match[2]
        self.stub = cells[index - 1]
        below = "\n".join(cell.source for cell in cells[index + 1 : index + 4] if cell.cell_type == "markdown")
        found = SOLUTION.search(below)
        self.solution = found[1] if found else ""
        self.hints = re.findall(r"<summary>(Hint \d)</summary>", below)
        above = next(cell.source for cell in reversed(cells[: index - 1]) if cell.cell_type == "markdown")
        self.heading = next((line for line in above.splitlines() if line.startswith("### Exercise")), "")
        self.imports = imports(notebook)

    def answered(self, code: str) -> Any:
        """What the check is given when `code` stands in the stub's place."""
        namespace: dict[str, Any] = {"__name__": "answer"}
        exec(self.imports, namespace)
        exec(code, namespace)
        return eval(self.answer, namespace)


def stubs(notebook: NotebookNode) -> dict[str, int]:
    """Where each exercise's stub stands."""
    found = ((CHECK.search(cell.source), index) for index, cell in enumerate(notebook.cells))
    return {match[1]: index - 1 for match, index in found if match}


def answer(notebook: NotebookNode, names: Iterable[str]) -> NotebookNode:
    """The notebook with the folded solutions of these exercises in the place of their stubs."""
    where = stubs(notebook)
    for name in names:
        notebook.cells[where[name]].source = Asked(notebook, where[name] + 1).solution
    return notebook


def exercises_of(source: Path) -> list[Asked]:
    notebook = read(source)
    return [Asked(notebook, i) for i, cell in enumerate(notebook.cells) if CHECK.search(cell.source)]
