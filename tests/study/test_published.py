"""nasda.study.published: the cells of DARTS as its authors print them, and files that hold something else."""

import json
from pathlib import Path

import pytest

from nasda.cli import main
from nasda.genotypes import Edge, Genotype
from nasda.study.published import read_published
from tests.data.test_reading import message_of

# The two cells of DARTS (Liu et al. 2019), as its genotypes.py has them.
DARTS = """
from collections import namedtuple

Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')

PRIMITIVES = ['none', 'max_pool_3x3']

DARTS_V1 = Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1),
  ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=[2, 3, 4, 5],
  reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0),
  ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])
DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
  ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
  reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
  ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])

DARTS = DARTS_V2
"""

# A cell as a public Auto-ReID writes it: a list for each node, and its own name for the part-aware module.
AUTO_REID = """Genotype(
    normal=[[('sep_conv_3x3', 0), ('partial_aware_1x1', 1)], [('sep_conv_3x3', 1), ('dil_conv_3x3', 2)]],
    normal_concat=range(2, 4),
    reduce=[[('max_pool_3x3', 0), ('max_pool_3x3', 1)], [('max_pool_3x3', 0), ('skip_connect', 2)]],
    reduce_concat=range(2, 4))"""


def written(folder: Path, text: str) -> Path:
    path = folder / "theirs"
    path.write_text(text)
    return path


def test_the_second_order_cell_of_darts(tmp_path: Path) -> None:
    found = read_published(written(tmp_path, DARTS), "DARTS_V2")
    sep, skip, pool = "sep_conv_3x3", "skip_connect", "max_pool_3x3"
    assert found.normal == (
        (Edge(sep, 0), Edge(sep, 1)),
        (Edge(sep, 0), Edge(sep, 1)),
        (Edge(sep, 1), Edge(skip, 0)),
        (Edge(skip, 0), Edge("dil_conv_3x3", 2)),
    )
    assert found.reduce == (
        (Edge(pool, 0), Edge(pool, 1)),
        (Edge(skip, 2), Edge(pool, 1)),
        (Edge(pool, 0), Edge(skip, 2)),
        (Edge(skip, 2), Edge(pool, 1)),
    )


def test_the_first_order_cell_of_darts_from_python_from_json_and_by_command(tmp_path: Path) -> None:
    namespace: dict = {}
    exec(DARTS, namespace)  # Python's own reading
    theirs = namespace["DARTS_V1"]
    expected = Genotype.from_darts(theirs.normal, theirs.reduce)
    for text in (DARTS, json.dumps(theirs._asdict()), json.dumps(theirs), repr(theirs)):
        path = written(tmp_path, text)
        name = ["--name", "DARTS_V1"] if text == DARTS else []
        main(["convert", str(path), "--out", str(tmp_path / "new" / "genotype.json"), *name])
        assert Genotype.load(tmp_path / "new" / "genotype.json") == expected


def test_another_name_of_the_same_genotype_is_followed(tmp_path: Path) -> None:
    """As in DARTS' own file, which ends with DARTS = DARTS_V2."""
    path = written(tmp_path, DARTS)
    assert read_published(path, "DARTS") == read_published(path, "DARTS_V2") != read_published(path, "DARTS_V1")
    assert "expected a Genotype(…) named DARTS_V3, found" in message_of(lambda: read_published(path, "DARTS_V3"))
    alone = f"A = Genotype(normal={PAIRS}, reduce={PAIRS})\nB = A\n"
    path = written(tmp_path, alone)
    assert read_published(path) == read_published(path, "B")


def test_a_cell_of_auto_reid(tmp_path: Path) -> None:
    found = read_published(written(tmp_path, AUTO_REID))
    assert found.normal[0] == (Edge("sep_conv_3x3", 0), Edge("part_aware", 1))
    assert found.nodes == 2


PAIRS = "[('sep_conv_3x3', 0), ('skip_connect', 1)]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DARTS, "expected one Genotype(…), found DARTS_V1, DARTS_V2, DARTS: choose one with --name NAME"),
        ("", "expected one Genotype(…), found nothing"),
        ("x = = 3", "neither JSON nor Python"),
        ("(" * 10_000, "neither JSON nor Python"),
        (f"Genotype(normal=[('sep_conv_5x5', 0), ('skip_connect', 1)], reduce={PAIRS})", "operation 'sep_conv_5x5'"),
        (f"Genotype(normal={PAIRS}, reduce={PAIRS[:-1]}, ('skip_connect', 1)])", "reduce has 3 pairs: expected 2"),
        (f"Genotype(normal={PAIRS}, normal_concat=[2, 3], reduce={PAIRS})", "normal_concat is [2, 3]"),
        (f"Genotype(normal={PAIRS}, normal_concat=range(10**12), reduce={PAIRS})", "line 1: expected names and"),
        (f"Genotype(normal={PAIRS}, normal_concat=range(1000000000000), reduce={PAIRS})", "normal_concat is range"),
        (f"Genotype(normal={PAIRS}, normal_concat=range(2, 3), reduce=print('run'))", "found print('run')"),
        (f"Genotype(normal={PAIRS})", "expected Genotype(normal=[…], reduce=[…])"),
        ("7", "expected Genotype(normal=[…], reduce=[…])"),
        ('{"normal": 3, "reduce": 3}', "normal: expected pairs such as"),
    ],
)
def test_what_is_no_such_genotype_is_named_and_never_executed(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    said = message_of(lambda: read_published(path))
    assert said.startswith(f"{path}: ")
    assert message in said
    assert "\n" not in said
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", str(tmp_path / "none"), "--out", str(tmp_path / "genotype.json")])
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
