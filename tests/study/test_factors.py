"""nasda.study.factors: known effects come back, and the estimates are those of the textbook's dummies."""

import itertools
from typing import Any

import numpy as np
import pytest

from nasda.study.factors import Contrast, contrasts, effect, markdown
from nasda.study.statistics import interval, sign_flip_p

LEVELS = {
    "space": ("reid", "style"),
    "data": ("S", "S+R"),
    "statistics": ("batch", "source"),
    "loss": ("triplet",),
    "selection": ("alpha",),
}
EFFECTS = {"space": 0.10, "data": 0.03, "statistics": 0.0}
SLOPE = 0.04  # for a network twice as large
Entry = dict[str, Any]


def study(noise: float, *, seed: int = 0, worlds: int = 6, seeds: int = 2, larger: float = 0.5) -> list[Entry]:
    """Runs of all settings. S+R's networks are larger; a world's runs have errors in common."""
    rng = np.random.default_rng(seed)
    entries = []
    for world in range(worlds):
        base, of_data = rng.normal(0.2, 0.1), rng.normal(0, noise)
        for settings in itertools.product(*LEVELS.values()):
            for number in range(seeds):
                entry: Entry = dict(zip(LEVELS, settings, strict=True)) | {"world": world, "seed": number}
                second = {factor: LEVELS[factor].index(entry[factor]) for factor in EFFECTS}
                size = rng.normal(20, 0.3) + larger * second["data"]
                effects = sum(EFFECTS[factor] * second[factor] for factor in EFFECTS) + of_data * second["data"]
                score = base + effects + SLOPE * (size - 20) + rng.normal(0, noise)
                entries.append(entry | {"multiply_adds": 2**size, "mAP_source": score, "mAP_target": 2 * score})
    return entries


def test_without_noise_effects_and_slope_are_found_exactly() -> None:
    entries = study(0)
    for factor, expected in EFFECTS.items():
        found = effect(entries, Contrast(factor, *LEVELS[factor]))
        assert found.runs == 6 * 2 * 4
        assert found.adjusted is not None
        assert found.slope is not None
        assert found.adjusted == pytest.approx([expected] * 3, abs=1e-10)
        assert found.slope == pytest.approx([SLOPE] * 3, abs=1e-10)
    of_data = effect(entries, Contrast("data", "S", "S+R")).paired
    assert of_data is not None
    assert of_data.mean == pytest.approx(0.03 + SLOPE * 0.5, abs=0.01)  # larger networks come on top


def test_the_paired_effect_is_the_mean_over_worlds_and_the_worlds_are_the_pairs() -> None:
    entries = study(0.05)
    differences = []
    for world in range(6):
        of_level = [
            [e["mAP_target"] for e in entries if e["world"] == world and e["space"] == space]
            for space in ("reid", "style")
        ]
        differences.append(np.mean(of_level[1]) - np.mean(of_level[0]))
    found = effect(entries, Contrast("space", "reid", "style"), "mAP_target").paired
    assert found is not None
    assert found[:-1] == pytest.approx(
        (6, np.mean(differences), *interval(differences), sum(d > 0 for d in differences), sign_flip_p(differences))
    )
    assert found.unit == "world"


def test_the_adjusted_effect_is_least_squares_with_a_dummy_for_each_world_and_setting() -> None:
    entries = study(0.05)
    groups = sorted({(e["world"], e["space"], e["statistics"]) for e in entries})
    rows = [
        [e["data"] == "S+R", np.log2(e["multiply_adds"])]
        + [(e["world"], e["space"], e["statistics"]) == group for group in groups]
        for e in entries
    ]
    expected = np.linalg.lstsq(np.array(rows, dtype=float), np.array([e["mAP_source"] for e in entries]))[0]
    found = effect(entries, Contrast("data", "S", "S+R"))
    assert found.adjusted is not None
    assert found.slope is not None
    assert (found.adjusted.value, found.slope.value) == pytest.approx(tuple(expected[:2]))


def test_the_adjusted_interval_holds_the_effect_as_often_as_it_says_although_a_worlds_runs_are_alike() -> None:
    held = []
    for seed in range(300):
        found = effect(study(0.05, seed=seed, seeds=1), Contrast("data", "S", "S+R")).adjusted
        assert found is not None
        held.append(found.low <= EFFECTS["data"] <= found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.035)


def test_random_cells_of_a_seed_are_one_run() -> None:
    entries = study(0.05)
    twice = [dict(entry, mAP_source=entry["mAP_source"] + by) for entry in entries for by in (-0.01, 0.01)]
    of_one, of_two = (effect(runs, Contrast("space", "reid", "style")) for runs in (entries, twice))
    assert of_two.runs == of_one.runs
    assert of_one.paired is not None
    assert of_two.paired is not None
    assert of_two.paired[:-1] == pytest.approx(of_one.paired[:-1])


def test_a_missing_run_is_left_out_and_said() -> None:
    entries = study(0.05)
    gone = entries.pop(next(i for i, e in enumerate(entries) if e["world"] == 3 and e["space"] == "style"))
    found = effect(entries, Contrast("space", "reid", "style"))
    said = f"{gone['data']}, {gone['statistics']}, triplet, alpha, world 3, seed 0: no space style"
    assert found.left_out == (said,)
    assert found.runs == 6 * 2 * 4 - 1
    assert f"- space: style − reid, left out: {said}" in markdown(entries)
    # Settings that only one level has are the study's plan, and nothing is missing.
    only = [e for e in study(0.05) if e["space"] == "reid" or e["data"] == "S+R"]
    planned = effect(only, Contrast("space", "reid", "style"))
    assert (planned.runs, planned.left_out) == (6 * 2 * 2, ())


def test_what_cannot_be_estimated_is_not() -> None:
    entries = study(0.05)
    same_size = [dict(entry, multiply_adds=1e6) for entry in entries]
    assert effect(same_size, Contrast("space", "reid", "style")).adjusted is None
    one_world = [entry for entry in entries if entry["world"] == 0]
    found = effect(one_world, Contrast("space", "reid", "style"))
    assert found.paired is None
    assert found.adjusted is None
    assert "space: style − reid: fewer than two worlds have both" in markdown(one_world)
    assert effect(one_world, Contrast("loss", "triplet", "memory")).runs == 0


def test_the_table_has_a_line_for_each_factor_that_varies() -> None:
    entries = study(0.02)
    assert contrasts(entries) == [Contrast(factor, *LEVELS[factor]) for factor in EFFECTS]
    lines = markdown(entries).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "space: style − reid",
        "data: S+R − S",
        "statistics: source − batch",
    ]
    assert "| 6 | 48 |" in " ".join(lines[2].split())
