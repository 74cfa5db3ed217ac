"""This course beside four others, counted in their public files: exercises, minutes, lines, words.

    python -m tests.benchmarks.teaching FOLDER     # FOLDER/arena, llms, uva, d2l: pages or notebooks of each

ARENA's pages are Python with markdown in it, d2l's are markdown (its PyTorch tab), the other two are notebooks.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat
from tabulate import tabulate

from tests.notebooks.sources import SOURCES, exercises_of

_FENCE = re.compile(r"^```(?:python|\{\.python \.input.*?\})\n(.*?)^```", re.M | re.S)
_FOLDED = re.compile(r"<details>.*?<summary>\s*Solutions?.*?</details>", re.S)
_MINUTES = re.compile(r"spend up to ~?(?:(\d+)-)?(\d+) minutes")
_PICTURE = re.compile(r"plot|show|draw|figure|hist|heatmap|imshow|bar|scatter|line|svg|test", re.I)


@dataclass
class Counted:
    """What is counted in some pages."""

    words: int = 0
    cells: list[str] = field(default_factory=list)
    exercises: int = 0
    minutes: float = 0.0
    lines: int = 0  # of solutions; 0 where a course has none


def code_lines(code: str) -> int:
    """Lines with code: no blank ones, comments or docstrings."""
    with suppress(SyntaxError):
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        code = ast.unparse(tree)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


def words(text: str) -> int:
    return len(re.findall(r"\w[\w’'-]*", re.sub(r"<[^>]+>|\$[^$]*\$", " ", text)))


def arena(pages: Iterable[Path]) -> Counted:
    found = Counted()
    for page in pages:
        for text in re.findall(r'r"""(.*?)"""', page.read_text(encoding="utf-8"), re.S):
            for solution in _FOLDED.findall(text):
                found.lines += sum(map(code_lines, _FENCE.findall(solution)))
            text = re.sub(r"<details>.*?</details>", "", text, flags=re.S)
            found.cells += _FENCE.findall(text)
            found.exercises += len(re.findall(r"^### Exercise", text, re.M))
            found.minutes += sum((int(low or high) + int(high)) / 2 for low, high in _MINUTES.findall(text))
            found.words += words(_FENCE.sub("", text))
    return found


def d2l(pages: Iterable[Path]) -> Counted:
    found = Counted()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        cells = _FENCE.findall(text)
        found.cells += [cell for cell in cells if re.match(r"%%tab (all|.*pytorch)", cell) or "%%tab" not in cell]
        found.exercises += len(re.findall(r"^\d+\. ", text.split("## Exercises")[-1], re.M))
        found.words += words(_FENCE.sub("", text))
    return found


def notebooks(pages: Iterable[Path], solutions: Iterable[Path] = ()) -> Counted:
    found = Counted()
    for page in pages:
        for cell in nbformat.read(page, as_version=4).cells:
            if cell.cell_type == "code":
                found.cells.append(cell.source)
            else:
                found.words += words(cell.source)
    for page in solutions:
        for cell in nbformat.read(page, as_version=4).cells:
            found.exercises += cell.cell_type == "markdown" and bool(re.match(r"#+ Exercise", cell.source))
            found.lines += code_lines(cell.source) if cell.cell_type == "code" else 0
    return found


def ours() -> Counted:
    found = Counted()
    for source in SOURCES:
        for cell in jupytext.read(source).cells:
            if cell.cell_type == "code":
                found.cells.append(cell.source)
            else:
                found.words += words(re.sub(r"<details>.*?</details>", "", cell.source, flags=re.S))
        for exercise in exercises_of(source):
            found.exercises += 1
            found.lines += code_lines(exercise.solution)
            minutes = re.search(r"\((\d+) minutes\)", exercise.heading)
            found.minutes += int(minutes[1]) if minutes else 0
    return found


def hides(cells: Iterable[str], own: str) -> list[bool]:
    """For each cell: does it call something of the course's `own` modules (a pattern) that is neither picture nor
    test?"""
    names: set[str] = set()
    found = []
    for cell in cells:
        nodes: list[ast.AST] = []
        with suppress(SyntaxError):
            nodes = list(ast.walk(ast.parse(re.sub(r"^[%!].*$", "", cell, flags=re.M))))
        for node in nodes:
            names |= set(_imported(node, own))
        calls = (ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call))
        found.append(any(call.split(".")[0] in names and not _PICTURE.search(call) for call in calls))
    return found


def _imported(node: ast.AST, own: str) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        inner = ((alias, f"{node.module}.{alias.name}") for alias in node.names)
        yield from (alias.asname or alias.name for alias, name in inner if re.match(own, name))
    if isinstance(node, ast.Import):
        yield from (alias.asname or alias.name for alias in node.names if re.match(own, alias.name))


def main(folder: Path) -> None:
    llms = sorted((folder / "llms").glob("*.ipynb"))
    uva = [path for path in sorted((folder / "uva").glob("*.ipynb")) if "empty" not in path.stem]
    courses = {
        "nasda": (ours(), r"nasda\.course\.nb"),
        "ARENA 2.0": (arena(sorted((folder / "arena").glob("*.py"))), r"part\d|utils|solutions"),
        "LLMs-from-scratch": (
            notebooks([path for path in llms if path.stem[:2] == "ch"], [p for p in llms if p.stem[:2] == "ex"]),
            r"previous_chapters|gpt_download|supplementary",
        ),
        "UvA": (notebooks(uva), r"$^"),
        "d2l": (d2l(sorted((folder / "d2l").glob("*.md"))), "d2l"),
    }
    rows = []
    for name, (found, own) in courses.items():
        hidden = hides(found.cells, own)
        row = [name, len(found.cells), f"{found.words / len(found.cells):.0f}", found.exercises]
        row += [f"{found.minutes / 60:.1f}" if found.minutes else "not said", found.lines or "not given"]
        rows.append([*row, f"{sum(hidden) / len(hidden):.0%}"])
    head = ["course", "code cells", "words a code cell", "exercises", "hours of exercises", "lines of solutions"]
    print(tabulate(rows, [*head, "cells that call the course's own module"], tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
