"""nasda.errors: an error is one line, whatever it quotes."""

import os
from pathlib import Path

import nbformat
import papermill
import pytest

from nasda.errors import NasdaError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("α: 64×32, “so” …", "α: 64×32, “so” …"),
        ("two\nlines.jpg", r"two\nlines.jpg"),
        ("\x1b[31mred\r.jpg", r"\x1b[31mred\r.jpg"),
        (os.fsdecode(b"\xff.jpg"), r"\udcff.jpg"),  # a name that is no UTF-8
        ("next\u2028line", r"next\u2028line"),
    ],
)
def test_a_message_stays_on_one_line(said: str, shown: str) -> None:
    assert str(NasdaError(said)) == shown
    assert len(str(NasdaError(said)).splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("pass the folder as --data-root", "pass the folder as DATA_ROOT"),
        ("a run on other data: give the same --data-root", "a run on other data: give the same DATA_ROOT"),
        ("ω became nan: lower --weights-lr", "ω became nan: lower weights_lr"),
        ("runs/a: not empty: choose another --out", "runs/a: not empty: move that folder away"),
        ("run `nasda data make --task person` or --seed 1", "run `nasda data make --task person` or SEED 1"),
        ("delete it: nasda data make --seed 1; or --seed 2", "delete it: nasda data make --seed 1; or SEED 2"),
        ("a--b and PROFILE", "a--b and PROFILE"),
    ],
)
def test_in_a_notebook_a_message_speaks_of_the_notebook(said: str, shown: str) -> None:
    assert NasdaError(said).in_a_notebook() == shown


def test_a_notebook_shows_the_line_alone_and_papermill_fails_with_it(tmp_path: Path) -> None:
    source = 'from nasda.errors import NasdaError\ndef fail():\n    raise NasdaError("none: give --data-root")\nfail()'
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    cells = [nbformat.v4.new_code_cell(source)]
    before, after = str(tmp_path / "before.ipynb"), str(tmp_path / "after.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), before)
    with pytest.raises(papermill.PapermillExecutionError, match="NasdaError: none: give DATA_ROOT"):
        papermill.execute_notebook(before, after, kernel_name="python3", progress_bar=False)
    (output,) = nbformat.read(after, as_version=4).cells[-1].outputs
    assert output.traceback == ["NasdaError: none: give DATA_ROOT"]
