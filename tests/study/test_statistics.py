"""nasda.study.statistics: against brute force, SciPy's tests, and closed forms."""

import itertools
import time

import numpy as np
import pytest
from scipy import stats

from nasda.study.statistics import (
    Comparison,
    by_seed,
    by_world,
    compare,
    flipped_means,
    interval,
    mean_sd,
    seeds_needed,
    sentence,
    sign_flip_p,
    smallest_p,
)

RANDOM = np.random.default_rng(0)
CASES = [
    [0.1, 0.2],
    [0.3, -0.1, 0.02],
    [0.1, 0.1, -0.1, 0.4, 0.0],
    [1.0] * 6,
    [0.1, 0.2, -0.3],  # its mean is 0 on paper, and 9e-18 here
    *(RANDOM.normal(size=n).tolist() for n in (5, 8, 12)),
]


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("differences", CASES)
def test_the_exact_test_is_scipys_and_brute_force(differences: list[float], scale: float) -> None:
    def difference(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(x - y))

    scaled = [scale * value for value in differences]
    pairs = np.array(scaled), np.zeros(len(scaled))
    theirs = stats.permutation_test(pairs, difference, permutation_type="samples", n_resamples=np.inf)
    thousandths = [round(1e9 * value) for value in differences]  # whole numbers know no rounding
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, thousandths, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(thousandths))
    ]
    counted = np.mean([total >= sums[0] for total in sums])
    assert sign_flip_p(scaled) == counted
    if differences != CASES[4]:  # SciPy guards against rounding relative to the measured mean, which is 0 here
        assert sign_flip_p(scaled) == pytest.approx(theirs.pvalue)


def test_many_studies_at_once_are_each_by_itself() -> None:
    differences = RANDOM.normal(size=(3, 4, 6))
    assert flipped_means(differences).shape == (3, 4, 64)
    found = sign_flip_p(differences)
    assert all(found[i, j] == sign_flip_p(differences[i, j]) for i in range(3) for j in range(4))
    assert np.allclose(flipped_means(differences)[..., 0], differences.mean(axis=-1))


@pytest.mark.parametrize("shift", [0.0, 0.35, 2.0])
def test_beyond_twelve_pairs_the_estimate_is_near_the_exact_value_and_always_the_same(shift: float) -> None:
    differences = np.random.default_rng(1).normal(shift, 1, 14)
    exact = np.mean(np.abs(flipped_means(differences)) >= abs(differences.mean()) - 1e-12)
    assert sign_flip_p(differences) == pytest.approx(exact, abs=0.02)
    assert sign_flip_p(differences) == sign_flip_p(differences)


def test_twenty_seeds_take_no_time() -> None:
    """2²⁰ flips one after the other took twelve seconds."""
    begun = time.process_time()
    assert sign_flip_p(RANDOM.normal(1, 1, 20)) < 0.05
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("seeds", [1, 2, 5, 8])
def test_the_smallest_p_is_reached_where_all_seeds_agree(seeds: int) -> None:
    assert sign_flip_p([0.1] * seeds) == smallest_p(seeds)


def test_seeds_needed_is_the_first_with_which_the_level_can_be_reached() -> None:
    for level, tests in itertools.product((0.3, 0.05, 0.01), (1, 3, 9)):
        seeds = seeds_needed(level, tests)
        assert smallest_p(seeds) * tests <= level < smallest_p(seeds - 1) * tests
    assert seeds_needed() == 6


def test_the_interval_is_scipys_and_holds_the_mean_as_often_as_it_says() -> None:
    low, high = interval([1.0, 2.0, 4.0])
    theirs = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high))
    drawn = np.random.default_rng(2).normal(3, 1, (2000, 5))
    assert np.mean([low <= 3 <= high for low, high in map(interval, drawn)]) == pytest.approx(0.95, abs=0.015)


def test_mean_and_sample_standard_deviation() -> None:
    assert mean_sd([0.123]) == "12.3"
    assert mean_sd([0.1, 0.2, 0.3]) == "20.0 ± 10.0"
    assert mean_sd([1e6, 3e6], 1e-6, ".3g") == "2 ± 1.41"


def test_a_seed_is_one_observation_however_many_cells_were_drawn_with_it() -> None:
    drawn = [{"seed": seed, "mAP": value} for seed, value in ((1, 0.2), (0, 0.1), (0, 0.3), (1, 0.2))]
    assert by_seed(drawn) == pytest.approx({0: 0.2, 1: 0.2})


def test_a_world_is_one_observation_and_each_of_its_seeds_counts_the_same() -> None:
    drawn = [(7, 0, 0.1), (7, 0, 0.3), (7, 1, 0.4), (3, 0, 0.5), (7, 0, 0.2)]  # three random cells with one seed
    entries = [{"world": world, "seed": seed, "mAP": value} for world, seed, value in drawn]
    assert by_world(entries) == pytest.approx({3: 0.5, 7: (0.2 + 0.4) / 2})
    assert by_world([]) == {}


def test_seeds_of_one_world_are_no_independent_pairs() -> None:
    """Twelve seeds that share two worlds make two pairs, with which nothing can be shown."""
    first, second = (
        [{"world": w, "seed": s, "mAP": 0.1 * w + of} for w in range(2) for s in range(6)] for of in (0.1, 0)
    )
    found = compare(by_world(first), by_world(second), "world")
    assert found is not None
    assert not found.shown
    assert (found.pairs, found.unit, found.p) == (2, "world", 0.5)
    assert sentence("a", "b", found) == (
        "a against b: mAP +10.0 points (95 % interval +10.0 to +10.0), above in 2 of 2 worlds, p = 0.5: "
        "nothing can be shown, with 2 worlds p is 0.5 or more"
    )


def test_rows_are_compared_over_the_seeds_that_both_have() -> None:
    first, second = {0: 0.2, 1: 0.4, 2: 0.1, 5: 0.3}, {1: 0.1, 0: 0.3, 2: 0.0, 7: 1.0}
    differences = [-0.1, 0.3, 0.1]
    expected = (3, np.mean(differences), *interval(differences), 2, sign_flip_p(differences))
    found = compare(first, second)
    assert found is not None
    assert found[:-1] == pytest.approx(expected)
    assert found.unit == "seed"
    assert compare({0: 1.0}, {0: 0.5}) is None
    assert compare({}, {}) is None


def of(differences: list[float]) -> Comparison:
    found = compare(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))
    assert found is not None
    return found


def test_one_rule_says_when_a_difference_is_shown() -> None:
    assert of([0.1] * 6).shown  # p = 1/32
    assert not of([0.1] * 5).shown  # p = 1/16, the smallest possible
    assert not of([0.1, 0.1, -0.2, 0.1, 0.1, 0.1]).shown


def test_nine_of_ten_are_shown_where_p_is_small() -> None:
    words = sentence("a", "b", of([0.05] * 9 + [-0.001]))
    assert words.endswith("above in 9 of 10 seeds, p = 0.00391: a difference is shown")
    assert sentence("a", "b", of([0.05] * 9 + [-0.4])).endswith("above in 9 of 10 seeds, p = 1: nothing is shown")


def test_identities_are_pairs_too() -> None:
    found = compare(dict.fromkeys(range(8), 0.3), dict.fromkeys(range(8), 0.2), "identity")
    assert "above in 8 of 8 identities, p = 0.00781: a difference is shown" in sentence("a", "b", found)
    assert "fewer than two identities in common" in sentence("a", "b", None, unit="identity")


@pytest.mark.parametrize(("cells", "most"), [(1, 0.055), (2, 0.075)])
def test_the_test_is_exact_for_scores_made_alike_and_near_against_a_mean_of_two(cells: int, most: float) -> None:
    """False alarms of studies without a difference, with skewed scores: one network a seed against `cells` networks."""
    rng = np.random.default_rng(0)
    first, second = rng.lognormal(0, 1.5, (6000, 8)), rng.lognormal(0, 1.5, (6000, 8, cells)).mean(axis=-1)
    alarms = np.mean(sign_flip_p(first - second) <= 0.05)
    assert alarms <= most
    assert (alarms > 0.06) == (cells == 2)


def test_the_sentence() -> None:
    words = sentence("a", "b", of([0.1] * 6), "rank-1")
    assert words == (
        "a against b: rank-1 +10.0 points (95 % interval +10.0 to +10.0), above in 6 of 6 seeds, p = 0.0312: "
        "a difference is shown"
    )
    assert sentence("a", "b", of([0.1, -0.1] * 4)).endswith("p = 1: nothing is shown")
    assert sentence("a", "b", of([0.1] * 5)).endswith("nothing can be shown, with 5 seeds p is 0.0625 or more")
    assert sentence("a", "b", None) == "a against b: fewer than two seeds in common, so nothing can be said"
    assert "fewer than two worlds in common" in sentence("a", "b", None, unit="world")
