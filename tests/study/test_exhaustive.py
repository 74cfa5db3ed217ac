"""nasda.study.exhaustive: every cell of a tiny space, trained, and what searches of it find."""

from pathlib import Path

import pytest

from nasda.genotypes import Edge, Genotype
from nasda.settings import changed
from nasda.study import exhaustive
from nasda.study.exhaustive import Exhaustive, every_cell


def test_two_nodes_that_read_the_inputs_alone_may_change_places() -> None:
    cells = every_cell()
    assert len(cells) == 42
    written = {(second, first) for first, second in cells} | set(cells)
    assert len({cell for cell in written if all(edge.input < 2 for edge in cell[0])}) == 48
    assert len(every_cell(("max_pool_3x3", "skip_connect", "sep_conv_3x3"))) == 207
    for cell in cells:
        Genotype(cell, cell)


def test_one_operation_gives_three_cells() -> None:
    alone = [tuple(edge.input for edge in second) for _, second in every_cell(("skip_connect",))]
    assert alone == [(0, 1), (0, 2), (1, 2)]


def test_an_interrupted_experiment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = {"source_identities": 8, "target_identities": 8, "test_identities": 4}
    few = changed(exhaustive.SETTINGS, search={"epochs": 1}, train={"epochs": 1}, toy=toy)
    few = changed(few, space={"operations": ("skip_connect", "max_pool_3x3"), "channels": 4})
    monkeypatch.setattr(exhaustive, "SETTINGS", few)
    monkeypatch.setattr(exhaustive, "SEARCH_SEEDS", range(1))
    monkeypatch.setattr(exhaustive, "every_cell", lambda: [*every_cell(("skip_connect", "max_pool_3x3"))][:2])
    monkeypatch.setattr(Exhaustive, "_number", lambda *_: 1)
    experiment = Exhaustive(tmp_path)
    table = experiment.table()
    assert [(row["cell"], row["seed"]) for row in table["scores"]] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert all(0 < mAP < 1 for row in table["scores"] for gap in row["mAP"].values() for mAP in gap.values())
    assert [(row["search"], row["cell"]) for row in table["searches"]] == [("S", 1), ("S+R", 1)]
    assert [sorted(row) for row in table["losses"]] == [["source", "target"]] * 2
    assert len(table["multiply_adds"]) == 2
    monkeypatch.setattr(Exhaustive, "_trained", None)
    monkeypatch.setattr(Exhaustive, "_searched", None)
    assert experiment.table()["scores"] == table["scores"]


def test_the_number_of_a_mirrored_cell() -> None:
    experiment = object.__new__(Exhaustive)
    experiment.cells = every_cell()
    pool, conv = (tuple(Edge(name, i) for i in (0, 1)) for name in exhaustive.OPERATIONS)
    assert experiment._number((pool, conv)) == experiment._number((conv, pool))
