"""What is taken out of a notebook, which file of a student counts, and several threads at once."""

import gc
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nasda.errors import NasdaError
from nasda.grading.submission import definitions, find_submissions

LONG = "\n".join(f"def f{i}(x):\n    return [x + {i} * (x - 1) for x in range(10) if x > {i}]" for i in range(40))


class Cyclic:
    """Its end runs Python code in whatever thread collects it."""

    def __init__(self) -> None:
        self.own = self

    def __del__(self) -> None:
        for _ in range(20):
            pass


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change often, and memory is cleared up often."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("restless")
def test_several_threads_may_read_submissions() -> None:
    def read(_: int) -> int:
        return sum(len([Cyclic() for _ in range(20)]) + len(definitions(LONG, set())) for _ in range(3))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(read, range(8)))) == 1


def test_definitions_and_wanted_names_are_kept_alone() -> None:
    cell = "import os\nN = 3\nrun()\ny = run()\nanswer = run()\n\n@cache\ndef f():\n    return N\n"
    assert definitions(cell, {"answer"}).splitlines() == [
        "import os",
        "N = 3",
        "answer = run()",
        "@cache",
        "def f():",
        "    return N",
    ]


def notebook(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": []}), encoding="utf-8")


def test_which_file_counts(tmp_path: Path) -> None:
    for inner in ("ada/ps1/ps1.ipynb", "ada/ps1/old.ipynb", "ben/ps1/my ps1.ipynb", "ben/ps2/ps2.ipynb", "cy.ipynb"):
        notebook(tmp_path / inner)
    notebook(tmp_path / ".ipynb_checkpoints" / "cy-checkpoint.ipynb")
    found = {one.student: (one.path.name, one.note) for one in find_submissions(tmp_path, "ps1")}
    assert found == {
        "ada": ("ps1.ipynb", "2 files: ps1.ipynb counts"),
        "ben": ("my ps1.ipynb", "the file is named my ps1.ipynb"),
        "cy": ("cy.ipynb", ""),
    }
    with pytest.raises(NasdaError, match=r"no submission to ps1: expected STUDENT/ps1/ps1\.ipynb"):
        find_submissions(tmp_path / "ben" / "ps2" / "nowhere", "ps1")
