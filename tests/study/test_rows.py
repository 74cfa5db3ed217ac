"""nasda.study.rows: which rows there are, and random cells of a given size."""

import dataclasses
import pickle
from collections import Counter

import pytest
from torch.utils.flop_counter import FlopCounterMode

from nasda.errors import NasdaError
from nasda.genotypes import PRIMITIVES, Genotype, random_genotype
from nasda.networks import DerivedNetwork
from nasda.settings import changed, profile
from nasda.study import rows
from nasda.study.factors import FACTORS, contrasts, entries_of
from nasda.study.rows import CONTROLS, IN_DOMAIN_ROWS, PAIRS, PRETRAINED_ROWS, ROWS, matched_genotype, rows_named

LAPTOP = changed(profile("laptop", "person"), space={"space": "style"})
EVERY = (*ROWS, *IN_DOMAIN_ROWS, *PRETRAINED_ROWS, *CONTROLS)


def test_rows_by_name() -> None:
    assert rows_named([], ROWS[:2], ROWS) == ROWS[:2]
    both = rows_named(["NAS (S+R), trained on the target", "NAS (S+R)"], ROWS, IN_DOMAIN_ROWS)
    assert both == (ROWS[1], *IN_DOMAIN_ROWS)
    with pytest.raises(NasdaError, match=r"--only NAS: expected rows among 'NAS \(S\)'"):
        rows_named(["NAS"], ROWS)


def test_names_are_unique_and_pairs_name_rows() -> None:
    names = Counter(row.name for row in EVERY)
    assert max(names.values()) == 1
    assert {name for pair in PAIRS for name in pair} <= names.keys()


def test_settings_of_every_row_exist_and_rows_go_to_other_processes() -> None:
    for row in EVERY:
        assert pickle.loads(pickle.dumps(row)) == row
        settings = changed(LAPTOP, **row.changes)
        assert settings.space.primitives


def test_s_and_s_plus_r_of_the_style_space_differ_in_the_mode_alone() -> None:
    of_s, of_sr = rows_named([rows.STYLE_S, rows.STYLE_SR], ROWS)
    assert dataclasses.replace(of_s, name="", mode="S+R") == dataclasses.replace(of_sr, name="")
    assert of_s.changes["search"]["hold_out"]


def multiply_adds(genotype: Genotype) -> int:
    """Counted on an image, by a network that is put together anew."""
    import torch

    network = DerivedNetwork(genotype, LAPTOP.space, 7, seed=3).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.features(torch.zeros(1, 3, LAPTOP.data.height, LAPTOP.data.width))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("seed", range(3))
def test_matched_cells_have_the_size_and_are_other_cells(seed: int) -> None:
    wanted = random_genotype(3, PRIMITIVES["style"], seed)
    found = [matched_genotype(wanted, LAPTOP, other) for other in (seed, seed, seed + 1, 1000 + seed)]
    assert all(abs(multiply_adds(one) / multiply_adds(wanted) - 1) <= 0.05 for one in found)
    assert found[0] == found[1]
    assert len({one.to_json() for one in found}) == 3
    assert all(one != wanted for one in found)


def test_a_size_that_no_random_cell_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_DRAWS", 3)
    monkeypatch.setattr(rows, "SIZE_TOLERANCE", -1)
    with pytest.raises(NasdaError, match="multiply-adds, to 5 %: choose other controls"):
        matched_genotype(random_genotype(3, PRIMITIVES["style"], 0), LAPTOP, 0)


def test_rows_with_factors_make_a_factorial_study() -> None:
    """Space × data × statistics of α, each level once; then other losses and selections of the last of these."""
    levels = [tuple(row.factors.values()) for row in EVERY if row.factors]
    assert len(levels) == len(set(levels))
    whole = {(space, data, s) for space in ("reid", "style") for data in ("S", "S+R") for s in ("batch", "source")}
    assert whole == {level[:3] for level in levels}
    assert {level[3] for level in levels} == {"triplet", "memory", "mmd"}
    named = {row.name: row.factors for row in EVERY}
    assert named["NAS (S+R)"] is None  # its ω sees more images
    assert named["NAS (S), IBN everywhere"] is None
    assert named["random style cells"] is None


def test_without_such_rows_there_is_nothing_to_contrast() -> None:
    assert contrasts(entries_of({"random cells": [{"seed": 3}]}, EVERY)) == []


def test_entries_take_the_factors_of_their_rows() -> None:
    entries = entries_of({"NAS (S)": [{"seed": 3}], "random cells": [{"seed": 3}]}, EVERY)
    (entry,) = entries
    assert entry["seed"] == 3
    assert set(FACTORS) < entry.keys()
