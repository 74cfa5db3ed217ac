"""What a student has built is kept as source that stands alone, and comes back in another process."""

import linecache
import subprocess
import sys
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from nasda.course import check as course
from nasda.course.judges import Exercise, like
from nasda.course.workbook import Workbook
from nasda.errors import NasdaError

_NUMBER = count()


def run_cell(text: str, space: dict[str, Any]) -> None:
    """As a notebook does: the source is known to `linecache` alone."""
    name = f"<cell {next(_NUMBER)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), space)


NOTEBOOK = [
    "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
    "from nasda.losses import triplet_loss as eq_8\nSCALE = 2.0\nHELD = object()",
    "def helper(x):\n    return SCALE * x\n",
    "class Doubling(nn.Module):\n    def forward(self, x):\n        return helper(F.relu(x))\n",
    "def recursive(n):\n    return 1 if n == 0 else n * recursive(n - 1)\n",
    "def wide(f, labels):\n    return eq_8(helper(f), labels, 0.3) + np.float64(0)\n",
    "def tied(x):\n    return x, HELD\n",
    "x = HELD\n",  # a local of all the others has the same name
]


@pytest.fixture
def space() -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "__main__"}
    for cell in NOTEBOOK:
        run_cell(cell, found)
    return found


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbook:
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return Workbook.here()


def test_an_answer_is_kept_with_all_that_it_uses(book: Workbook, space: dict[str, Any]) -> None:
    book.keep("02.1", space["Doubling"])
    book.keep("01.2", space["recursive"])
    book.keep("03.1", space["wide"])
    assert book.names() == ["01.2", "02.1", "03.1"]
    x = torch.tensor([-1.0, 3.0])
    assert book.load("02.1")()(x).tolist() == [0, 6]
    assert book.load("01.2")(5) == 120
    assert book.load("04.1") is None
    f, labels = torch.rand(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1])
    assert torch.equal(torch.as_tensor(book.load("03.1")(f, labels)), torch.as_tensor(space["wide"](f, labels)))
    code = "import sys; sys.path.insert(0, 'runs'); import my_nasda; print(my_nasda.recursive(4))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout == "24\n"


def test_a_decorated_answer_is_kept_with_what_it_uses(book: Workbook, space: dict[str, Any]) -> None:
    run_cell("@torch.no_grad()\ndef quiet(x):\n    return helper(x)\n", space)
    book.keep("02.1", space["quiet"])
    assert book.load("02.1")(torch.ones(1, requires_grad=True)).tolist() == [2.0]


def test_a_second_answer_takes_the_place_of_the_first(book: Workbook, space: dict[str, Any]) -> None:
    book.keep("02.1", space["Doubling"])
    run_cell("def again(x):\n    return 7\n", space)
    book.keep("02.1", space["again"])
    assert book.names() == ["02.1"]
    assert book.load("02.1")(0) == 7


def test_what_only_the_notebook_has_cannot_be_kept(book: Workbook, space: dict[str, Any]) -> None:
    with pytest.raises(NasdaError, match="your tied uses `HELD`, which only this notebook has"):
        book.keep("02.1", space["tied"])
    assert not book.path.exists()


def test_a_part_that_uses_another_part_asks_for_it_by_name(
    book: Workbook, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    exercises = {name: like(len, [], part="a part") for name in ("01.2", "01.4")}
    monkeypatch.setattr(course, "of_notebook", lambda _: exercises)
    book.keep("01.2", space["recursive"])
    space["factorial"] = book.load("01.2")
    run_cell("def choose(n, k):\n    return factorial(n) // (factorial(k) * factorial(n - k))\n", space)
    book.keep("01.4", space["choose"])
    assert 'factorial = mine("01.2")' in book.path.read_text(encoding="utf-8")
    assert book.load("01.4")(5, 2) == 10
    book.keep("01.4", book.load("01.4"))  # an answer that was loaded can be kept again
    book.keep("01.2", book.load("01.2"))
    assert (book.load("01.4")(5, 2), book.load("01.2")(4)) == (10, 24)
    run_cell("def recursive(n):\n    return 1\n", space)
    book.keep("01.2", space["recursive"])
    assert book.load("01.4")(5, 2) == 1, "the newer answer is the one that is used"


def test_check_never_raises_where_an_answer_cannot_be_kept(
    book: Workbook, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    exercise = like(lambda x: 2 * x, [{"x": 3.0}], part="a part")
    monkeypatch.setattr(course, "of_notebook", lambda _: {"98.1": exercise})
    verdict = course.check("98.1", partial(lambda y, x: y * x, 2.0))
    assert verdict.outcome == "right"
    assert "Not kept: expected a function or a class" in verdict.words
    book.path.parent.mkdir(exist_ok=True)
    book.path.with_suffix(".lock").mkdir()  # a lock that cannot be opened, also by root
    assert "Not kept: " in course.check("98.1", space["helper"]).words


def test_a_file_that_cannot_be_run_is_told_by_its_cell(book: Workbook, space: dict[str, Any]) -> None:
    book.keep("02.1", space["helper"])
    book.keep("03.1", space["recursive"])
    book.path.write_text(book.path.read_text().replace("return SCALE", "return ("))
    with pytest.raises(NasdaError, match=r"my_nasda.py: the cell 02.1 cannot be run \(SyntaxError"):
        book.load("02.1")
    assert book.load("03.1")(3) == 6


def test_check_keeps_a_part_and_mine_hands_it_on(
    book: Workbook, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def library(x: float) -> float:
        return 2 * x

    exercises: dict[str, Exercise] = {
        "98.1": like(library, [{"x": 3.0}], part="helper"),
        "98.2": like(library, [{"x": 3.0}]),
    }
    monkeypatch.setattr(course, "modules", lambda: {"98": "nb98"})
    monkeypatch.setattr(course, "of_notebook", lambda _: exercises)
    assert course.mine("98.1") is library
    assert course.your_searcher() == "Your searcher: 0 of 1 parts are yours"
    run_cell("def wrong(x):\n    return 0.0\n", space)
    assert course.check("98.1", space["wrong"]).outcome == "wrong"
    assert book.names() == []
    verdict = course.check("98.1", space["helper"])
    assert verdict.outcome == "right"
    assert verdict.words == "Kept in my_nasda.py. Your searcher: 1 of 1 parts are yours: helper (98.1)"
    assert course.mine("98.1")(4.0) == 8.0
    assert course.mine("98.1") is not library
    assert course.check("98.2", space["helper"]).words == ""
    with pytest.raises(NasdaError, match=r"98\.2 is no part of the searcher: expected one of 98.1"):
        course.mine("98.2")
    run_cell("def held(x):\n    return 2 * x if HELD else 0\n", space)
    assert "Not kept: your held uses `HELD`" in course.check("98.1", space["held"]).words
