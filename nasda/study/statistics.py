"""What scores over seeds say: mean ± standard deviation, and of two rows the difference, its interval and a test.

One rule for tables, notebooks and README: a difference **is shown** when the sign-flip test gives p ≤ 0.05. The test
(R. A. Fisher, *The Design of Experiments*, 1935, chapter III) assumes nothing of how scores are distributed, and with n
seeds its p is 2^(1−n) at least: fewer than six seeds can show nothing, and the sentence says so.

The interval says how large the difference may be, and decides nothing. It is Student's t, which takes the differences
for normal. Turning the test itself into an interval would assume less, but gives no bounds below six seeds, which is
what a laptop can afford.
"""

from collections.abc import Mapping, Sequence
from itertools import count, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.05  # of the rule, and of the interval, which holds the mean difference in 95 of 100 studies
EXACT = 12  # up to so many pairs all flips are gone through; beyond, so many are drawn:
RESAMPLES = 9_999


def mean_sd(values: Sequence[float] | NDArray[np.float64], scale: float = 100.0, form: str = ".1f") -> str:
    """Mean ± sample standard deviation times `scale` (percent, if not given); a single value has no spread."""
    mean = f"{scale * np.mean(values):{form}}"
    return mean if np.size(values) == 1 else f"{mean} ± {scale * np.std(values, ddof=1):{form}}"


def by_seed(entries: Sequence[Mapping[str, Any]], score: str = "mAP") -> dict[int, float]:
    """A row's score for each seed: the mean where one seed has several entries, such as random cells."""
    seeds = sorted({entry["seed"] for entry in entries})
    return {seed: float(np.mean([entry[score] for entry in entries if entry["seed"] == seed])) for seed in seeds}


def differences(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """One row's score less another's, for each seed that both have."""
    return {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}


def flipped_means(differences: ArrayLike) -> NDArray[np.float64]:
    """The means of `differences` (…, n) under each of the 2ⁿ choices of signs: (…, 2ⁿ), first the measured one."""
    measured = np.asarray(differences, dtype=np.float64)
    signs = np.array(list(product((1.0, -1.0), repeat=measured.shape[-1])))
    return measured @ signs.T / measured.shape[-1]


def sign_flip_p(differences: ArrayLike) -> NDArray[np.float64]:
    """The share of all sign flips of `differences` (…, n) whose mean lies as far from 0 as the measured one: (…).

    Beyond `EXACT` pairs an estimate: SciPy's permutation test with a fixed seed.
    """
    measured = np.asarray(differences, dtype=np.float64)
    if measured.shape[-1] > EXACT:
        pairs = measured, np.zeros_like(measured)  # to swap a pair is to flip the sign of its difference
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
    rounding = 1e-12 * np.abs(measured).mean(axis=-1, keepdims=True)  # means that are equal on paper count as equal
    return (means >= means[..., :1] - rounding).mean(axis=-1)


def smallest_p(seeds: int) -> float:
    """The smallest p that the exact test can give: the measured signs count, and all of them turned."""
    return 2.0 ** (1 - seeds)


def seeds_needed(level: float = LEVEL, tests: int = 1) -> int:
    """The fewest seeds with which p can be `level` at most, shared between `tests` questions (Bonferroni)."""
    return next(seeds for seeds in count(1) if smallest_p(seeds) <= level / tests)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean difference (Student's t), of two differences or more."""
    mean, error = np.mean(differences), stats.sem(differences)
    margin = stats.t.ppf(1 - LEVEL / 2, len(differences) - 1) * error
    return float(mean - margin), float(mean + margin)


class Comparison(NamedTuple):
    """One row against another, paired by seed: `mean` is that of first − second, `low` to `high` its 95 % interval,
    `above` in how many seeds the first is larger."""

    seeds: int
    mean: float
    low: float
    high: float
    above: int
    p: float

    @property
    def shown(self) -> bool:
        """The rule."""
        return self.p <= LEVEL


def compare(first: Mapping[int, float], second: Mapping[int, float]) -> Comparison | None:
    """Compare two rows, each a score by seed, over the seeds that both have. None where those are fewer than two."""
    found = list(differences(first, second).values())
    if len(found) < 2:
        return None
    above = sum(difference > 0 for difference in found)
    return Comparison(len(found), float(np.mean(found)), *interval(found), above, float(sign_flip_p(found)))


def sentence(first: str, second: str, found: Comparison | None, score: str = "mAP") -> str:
    """What `compare` found of two rows with these names, in words; scores are fractions, the words say points."""
    if found is None:
        return f"{first} against {second}: fewer than two seeds in common, so nothing can be said"
    verdict = "a difference is shown" if found.shown else "nothing is shown"
    if smallest_p(found.seeds) > LEVEL:
        verdict = f"nothing can be shown, with {found.seeds} seeds p is {smallest_p(found.seeds):.3g} or more"
    return (
        f"{first} against {second}: {score} {100 * found.mean:+.1f} points (95 % interval {100 * found.low:+.1f} to "
        f"{100 * found.high:+.1f}), above in {found.above} of {found.seeds} seeds, p = {found.p:.3g}: {verdict}"
    )
