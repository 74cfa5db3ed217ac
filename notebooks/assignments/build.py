"""Make the release and the solution of each problem set from its source.

    python notebooks/assignments/build.py          # writes release/ and solution/ beside this file
    python notebooks/assignments/build.py --out FOLDER

A release has no solution in it, and a file of visible cases: arguments, and what the answer should be, drawn by another
seed than the hidden cases. In a source the cell of an answer has `answer="ps1-1" points=6`; nbgrader's metadata is made
of that.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

from nasda.files import make_folder, write_json, write_text
from nasda.grading import wire
from nasda.grading.problem_set import ProblemSet, load_problem_set
from nasda.grading.submission import NO_ANSWER

HERE = Path(__file__).resolve().parent
VISIBLE_SEED = 1_000_003
VISIBLE = 3  # cases a part
_SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?### END SOLUTION[ \t]*$", re.MULTILINE | re.DOTALL)
_DELIMITER = re.compile(r"^[ \t]*### (?:BEGIN|END) SOLUTION\n?", re.MULTILINE)
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def release(source: Path) -> NotebookNode:
    """The notebook that is handed out."""
    notebook = read(source)
    for cell in notebook.cells:
        stub = NO_ANSWER if cell.cell_type == "markdown" else None
        cell.source = _SOLUTION.sub(lambda match, stub=stub: stub or _stub(match[1]), cell.source)
    return notebook


def _stub(indent: str) -> str:
    """In a function it says that there is no answer yet; between statements a comment does."""
    return f"{indent}# YOUR CODE HERE" + (f"\n{indent}raise NotImplementedError()" if indent else "")


def solution(source: Path) -> NotebookNode:
    """The notebook with its solutions."""
    notebook = read(source)
    for cell in notebook.cells:
        cell.source = _DELIMITER.sub("", cell.source).rstrip("\n")
    return notebook


def read(source: Path) -> NotebookNode:
    """The source as a notebook; a cell's id is its number, so that the same source gives the same file."""
    notebook = jupytext.read(source)
    notebook.metadata = _KERNEL
    for number, cell in enumerate(notebook.cells):
        cell.id, given = f"cell-{number:03d}", cell.metadata
        cell.metadata = {}
        if "answer" in given:  # "manual" for nbgrader: `nasda grade` gives the marks
            kind = {"grade": True, "solution": True, "task": False, "locked": False, "schema_version": 3}
            cell.metadata = {"nbgrader": {"grade_id": given["answer"], "points": given["points"], **kind}}
    return notebook


def visible_cases(problem_set: ProblemSet) -> dict[str, dict[str, Any]]:
    """For each question the answer's name, and cases: arguments and what is expected, as texts of `wire`."""
    return {
        question.cell_id: {
            "name": question.name,
            "cases": [
                {"arguments": wire.to_text(dict(case)), "expected": wire.to_text(expected)}
                for part in question.parts
                for case, expected in part.exercise.examples(VISIBLE)
            ],
        }
        for question in problem_set.questions
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Make the release and the solution of each problem set.")
    parser.add_argument("--out", type=Path, default=HERE)
    out = parser.parse_args().out
    for source in sorted((HERE / "source").glob("ps*.py")):
        for kind, made in (("release", release(source)), ("solution", solution(source))):
            folder = make_folder(out / kind / source.stem)
            write_text(folder / f"{source.stem}.ipynb", jupytext.writes(made, "ipynb"))
            write_json(folder / f"{source.stem}_cases.json", visible_cases(load_problem_set(source.stem, VISIBLE_SEED)))
            print(f"{kind}: {folder / source.stem}.ipynb")


if __name__ == "__main__":
    main()
