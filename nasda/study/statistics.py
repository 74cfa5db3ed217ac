"""Scores over seeds or worlds: mean ± standard deviation, and for two rows their difference, its interval and a test.

What a study finds holds for what its pairs stand for. Pairs of identities compare two networks, trained once, over
people who might be asked for. A study of one world compares rows seed by seed, and holds for that world: its seeds
share all images. A study of several worlds compares rows world by world, and the seeds of a world only make its score
more exact.

One rule for tables, notebooks and README: a difference **is shown** when the sign-flip test gives p ≤ 0.05. The test
(R. A. Fisher, *The Design of Experiments*, 1935, chapter III) assumes that without a difference the two scores of a
pair could as well be swapped. It is exact where both are made alike, whatever their distribution. Against the mean of
several (two random cells a seed) p is near: of studies without a difference, up to 7 % then show one instead of 5 % in
simulations with skewed scores. With n pairs p is at least 2^(1−n), so fewer than six can show nothing.

The interval says how large the difference may be, and decides nothing. It is Student's t, which assumes that
differences are normal. An interval from the test itself would assume less, but it has no bounds below six seeds.
"""

from collections.abc import Mapping, Sequence
from itertools import count, product
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Unit = Literal["identity", "seed", "world"]

LEVEL = 0.05  # of the rule, and of the interval, which holds the mean difference in 95 of 100 studies
EXACT = 12  # the largest number of pairs for which all sign flips are computed
RESAMPLES = 9_999  # random sign flips for more pairs
_PLURALS: dict[Unit, str] = {"identity": "identities", "seed": "seeds", "world": "worlds"}


def mean_sd(values: Sequence[float] | NDArray[np.float64], scale: float = 100.0, form: str = ".1f") -> str:
    """Mean ± sample standard deviation, times `scale` (by default percent); the mean alone for a single value."""
    mean = f"{scale * np.mean(values):{form}}"
    return mean if np.size(values) == 1 else f"{mean} ± {scale * np.std(values, ddof=1):{form}}"


def unique(entries: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """What the entries have under `key`, each value once, in ascending order."""
    return sorted({entry[key] for entry in entries})


def by_seed(entries: Sequence[Mapping[str, Any]], score: str = "mAP") -> dict[int, float]:
    """A row's score for each seed: the mean if a seed has several entries, such as random cells."""
    seeds = unique(entries, "seed")
    return {seed: float(np.mean([entry[score] for entry in entries if entry["seed"] == seed])) for seed in seeds}


def by_world(entries: Sequence[Mapping[str, Any]], score: str = "mAP") -> dict[int, float]:
    """A row's score for each world: the mean over the world's seeds, each as in `by_seed`."""
    worlds = {world: [entry for entry in entries if entry["world"] == world] for world in unique(entries, "world")}
    return {world: float(np.mean(list(by_seed(of_world, score).values()))) for world, of_world in worlds.items()}


def differences(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """One row's score less another's, for each seed (or world) that both have."""
    return {unit: first[unit] - second[unit] for unit in sorted(first.keys() & second.keys())}


def flipped_means(differences: ArrayLike) -> NDArray[np.float64]:
    """The means of `differences` (…, n) with each of the 2ⁿ choices of signs: (…, 2ⁿ), first the measured one."""
    measured = np.asarray(differences, dtype=np.float64)
    signs = np.array(list(product((1.0, -1.0), repeat=measured.shape[-1])))
    return measured @ signs.T / measured.shape[-1]


def sign_flip_p(differences: ArrayLike) -> NDArray[np.float64]:
    """The share of all sign flips of `differences` (…, n) with a mean at least as far from 0 as the measured one: (…).

    For more than `EXACT` pairs it is estimated by SciPy's permutation test with a fixed seed.
    """
    measured = np.asarray(differences, dtype=np.float64)
    if measured.shape[-1] > EXACT:
        pairs = measured, np.zeros_like(measured)  # swapping a pair flips the sign of its difference
        found = stats.permutation_test(
            pairs,
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            axis=-1,
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        )
        return np.asarray(found.pvalue)
    means = np.abs(flipped_means(measured))
    rounding = 1e-12 * np.abs(measured).mean(axis=-1, keepdims=True)  # means that differ by rounding alone are equal
    return (means >= means[..., :1] - rounding).mean(axis=-1)


def smallest_p(pairs: int) -> float:
    """The smallest p of the exact test: the measured signs and their opposites always count, of 2ⁿ choices."""
    return 2.0 ** (1 - pairs)


def seeds_needed(level: float = LEVEL, tests: int = 1) -> int:
    """The fewest seeds for which p can be at most `level`, divided among `tests` questions (Bonferroni)."""
    return next(seeds for seeds in count(1) if smallest_p(seeds) <= level / tests)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval (Student's t) of the mean of two differences or more."""
    mean, error = np.mean(differences), stats.sem(differences)
    margin = stats.t.ppf(1 - LEVEL / 2, len(differences) - 1) * error
    return float(mean - margin), float(mean + margin)


class Comparison(NamedTuple):
    """One row against another, paired by identity, by seed or by world."""

    pairs: int
    mean: float  # of first − second
    low: float  # the lower end of its 95 % interval
    high: float
    above: int  # in how many pairs the first is larger
    p: float
    unit: Unit = "seed"  # what each pair is one of

    @property
    def shown(self) -> bool:
        """Whether a difference is shown, by the rule above."""
        return self.p <= LEVEL


def compare(first: Mapping[int, float], second: Mapping[int, float], unit: Unit = "seed") -> Comparison | None:
    """Compare two rows, each a score by seed, by world or by identity (`unit` says which), over those that both have.
    None if these are fewer than two."""
    found = list(differences(first, second).values())
    if len(found) < 2:
        return None
    above = sum(difference > 0 for difference in found)
    return Comparison(len(found), float(np.mean(found)), *interval(found), above, float(sign_flip_p(found)), unit)


def sentence(first: str, second: str, found: Comparison | None, score: str = "mAP", unit: Unit = "seed") -> str:
    """The result of `compare` for two rows with these names, in words and in points of 0.01. `unit` is for a result of
    None, which does not say what was too few."""
    if found is None:
        return f"{first} against {second}: fewer than two {_PLURALS[unit]} in common, so nothing can be said"
    verdict = "a difference is shown" if found.shown else "nothing is shown"
    pairs = f"{found.pairs} {_PLURALS[found.unit]}"
    if smallest_p(found.pairs) > LEVEL:
        verdict = f"nothing can be shown, with {pairs} p is {smallest_p(found.pairs):.3g} or more"
    return (
        f"{first} against {second}: {score} {100 * found.mean:+.1f} points (95 % interval {100 * found.low:+.1f} to "
        f"{100 * found.high:+.1f}), above in {found.above} of {pairs}, p = {found.p:.3g}: {verdict}"
    )
