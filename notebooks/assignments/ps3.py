"""Problem set 3, the lecturer's side: what each question is marked by. It is not handed out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from nasda.grading.problem_set import Part, Question, drawn, in_band

Rng = np.random.Generator
Ranks = Sequence[Sequence[int]]

# 1: the curve


def cmc(ranks: Ranks, most: int) -> list[float]:
    """The share of queries whose first right image is among the first k, for k = 1 … most. Queries without a right
    image do not count."""
    firsts = np.array([found[0] for found in ranks if found])
    return [float((firsts <= k).mean()) for k in range(1, most + 1)]


def _all_queries(ranks: Ranks, most: int) -> list[float]:
    share = sum(bool(found) for found in ranks) / len(ranks)
    return [share * value for value in cmc(ranks, most)]


def _every_image(ranks: Ranks, most: int) -> list[float]:
    every = np.array([rank for found in ranks for rank in found])
    return [float((every <= k).mean()) for k in range(1, most + 1)]


_CURVES = [
    (_all_queries, "A query without a right image in the gallery is in no mean"),
    (_every_image, "CMC asks for each query's first right image alone"),
]


def _ranks(rng: Rng, queries: int, empty: bool) -> list[list[int]]:
    found = [sorted(int(r) for r in 1 + rng.choice(20, int(rng.integers(1, 6)), replace=False)) for _ in range(queries)]
    return [*found, *([[]] * int(rng.integers(1, 4)) if empty else [])]


def _curve(rng: Rng, queries: int, empty: bool) -> dict[str, Any]:
    return {"ranks": _ranks(rng, queries, empty), "most": int(rng.integers(1, 15))}


# 2: the hardest right image


def minp(ranks: Ranks) -> float:
    """mINP (Ye et al., TPAMI 2021, eq. 12): the mean over queries of N / (rank of the last of N right images)."""
    return float(np.mean([len(found) / found[-1] for found in ranks]))


def _first(ranks: Ranks) -> float:
    return float(np.mean([len(found) / found[0] for found in ranks]))


def _pooled_ratio(ranks: Ranks) -> float:
    return sum(len(found) for found in ranks) / sum(found[-1] for found in ranks)


_HARDEST = [
    (_first, "The hardest right image is the last one, not the first"),
    (_pooled_ratio, "First the ratio of each query, then the mean over queries"),
]


# 3: statistics of several batches


def pooled(counts: Sequence[int], means: NDArray[Any], variances: NDArray[Any]) -> tuple[Any, Any]:
    """Mean and (biased) variance, (C,) each, of the union of batches: `counts` (N), `means` and `variances` (N, C)."""
    share = np.asarray(counts)[:, None] / np.sum(counts)
    mean = (share * means).sum(axis=0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(axis=0)


def _mean_of_variances(counts: Sequence[int], means: NDArray[Any], variances: NDArray[Any]) -> tuple[Any, Any]:
    share = np.asarray(counts)[:, None] / np.sum(counts)
    return (share * means).sum(axis=0), (share * variances).sum(axis=0)


def _equal_shares(counts: Sequence[int], means: NDArray[Any], variances: NDArray[Any]) -> tuple[Any, Any]:
    return pooled([1] * len(counts), means, variances)


_POOLS = [
    (_mean_of_variances, "Batches with different means spread: that, too, is variance"),
    (_equal_shares, "A batch counts by the number of its values"),
]


def _batches(rng: Rng, equal: bool, channels: int) -> dict[str, Any]:
    number = int(rng.integers(2, 6))
    sizes = [int(rng.integers(2, 50))] * number if equal else [int(n) for n in rng.integers(2, 50, number)]
    shape = (number, channels)
    return {"counts": sizes, "means": rng.normal(size=shape), "variances": rng.uniform(0.1, 2, shape)}


# 4: IBN


def ibn(x: Tensor, epsilon: float) -> Tensor:
    """Instance norm on the first ⌊C/2⌋ channels, batch norm on the others, without scale and shift; x is (B, C, H, W),
    variances are biased (IBN-Net: Pan et al., ECCV 2018)."""
    return _ibn(x, epsilon)


def _ibn(x: Tensor, epsilon: float, slip: str = "") -> Tensor:
    half = (x.shape[1] + (slip == "more instance")) // 2

    def normed(part: Tensor, dims: tuple[int, ...]) -> Tensor:
        variance, mean = torch.var_mean(part, dims, correction=1 if slip == "unbiased" else 0, keepdim=True)
        return (part - mean) / (variance + epsilon).sqrt()

    instance, batch = (2, 3), (0, 2, 3)
    if slip == "exchanged":
        instance, batch = batch, instance
    return torch.cat([normed(x[:, :half], instance), normed(x[:, half:], batch)], dim=1)


_IBN = [
    (partial(_ibn, slip="exchanged"), "The instance norm comes first, on the first half of the channels"),
    (partial(_ibn, slip="unbiased"), "Normalisation divides by the biased variance, as torch's norms do"),
    (partial(_ibn, slip="more instance"), "With an odd number of channels the smaller half gets the instance norm"),
]


def _map(rng: Rng, odd: bool) -> dict[str, Any]:
    channels = 2 * int(rng.integers(1, 4)) + odd
    shape = (int(rng.integers(2, 4)), channels, int(rng.integers(2, 5)), int(rng.integers(2, 5)))
    return {"x": torch.tensor(rng.normal(size=shape) * 2 + 1), "epsilon": 1e-5}


# 5: an interval over worlds


def interval(scores: NDArray[Any], confidence: float) -> tuple[float, float]:
    """Student's interval of the mean over worlds; `scores` (worlds, seeds) are differences. A world's value is the mean
    over its seeds."""
    worlds = np.asarray(scores).mean(axis=1)
    half = stats.t.ppf((1 + confidence) / 2, len(worlds) - 1) * worlds.std(ddof=1) / np.sqrt(len(worlds))
    return float(worlds.mean() - half), float(worlds.mean() + half)


def _seeds_as_worlds(scores: NDArray[Any], confidence: float) -> tuple[float, float]:
    return interval(np.asarray(scores).reshape(-1, 1), confidence)


def _normal(scores: NDArray[Any], confidence: float) -> tuple[float, float]:
    worlds = np.asarray(scores).mean(axis=1)
    half = stats.norm.ppf((1 + confidence) / 2) * worlds.std(ddof=1) / np.sqrt(len(worlds))
    return float(worlds.mean() - half), float(worlds.mean() + half)


def _one_sided(scores: NDArray[Any], confidence: float) -> tuple[float, float]:
    return interval(scores, 2 * confidence - 1)


_INTERVALS = [
    (_seeds_as_worlds, "Seeds of one world are not independent worlds: first the mean over seeds"),
    (_normal, "With so few worlds take Student's t, not the normal distribution"),
    (_one_sided, "The rest of the probability lies on both sides: (1 + confidence) / 2"),
]


def _study(rng: Rng, seeds: int, confidence: float | None = None) -> dict[str, Any]:
    scores = rng.normal(0.03, 0.05, (int(rng.integers(3, 9)), seeds))
    return {"scores": scores, "confidence": confidence or round(float(rng.uniform(0.6, 0.99)), 2)}


# 6: a small experiment. Of 64 flips of six signs two are as extreme as the measured one where all six differences have
# the same sign, and at least four everywhere else: so p ≤ 0.05 where all six are above 0, or all below.
_ABOVE = stats.norm.cdf(1.0)
BANDS = {"effect of one sd": (_ABOVE**6 + (1 - _ABOVE) ** 6, 0.05), "no effect": (2 / 64, 0.02)}


def questions(seed: int) -> list[Question]:
    """The questions of the set, their hidden cases drawn by `seed`."""

    part = partial(drawn, seed=seed)
    curve = partial(part, reference=cmc, mistakes=_CURVES)
    hardest = partial(part, reference=minp, mistakes=_HARDEST)
    pool = partial(part, reference=pooled, mistakes=_POOLS)
    norm = partial(part, reference=ibn, mistakes=_IBN)
    within = partial(part, reference=interval, mistakes=_INTERVALS)
    return [
        Question(
            "ps3-1",
            "cmc",
            [
                curve(1, "one query", draw=partial(_curve, queries=1, empty=False)),
                curve(2, "several queries", draw=partial(_curve, queries=5, empty=False)),
                curve(2, "queries without a right image", draw=partial(_curve, queries=4, empty=True)),
            ],
        ),
        Question(
            "ps3-2",
            "minp",
            [
                hardest(2, "one query", draw=lambda rng: {"ranks": _ranks(rng, 1, False)}),
                hardest(2, "several queries", draw=lambda rng: {"ranks": _ranks(rng, 6, False)}),
            ],
        ),
        Question(
            "ps3-3",
            "pooled",
            [
                pool(2, "batches of one size", draw=partial(_batches, equal=True, channels=1)),
                pool(2, "batches of different sizes", draw=partial(_batches, equal=False, channels=1)),
                pool(2, "several channels", draw=partial(_batches, equal=False, channels=4)),
            ],
        ),
        Question(
            "ps3-4",
            "ibn",
            [
                norm(3, "an even number of channels", draw=partial(_map, odd=False)),
                norm(2, "an odd number of channels", draw=partial(_map, odd=True)),
            ],
        ),
        Question(
            "ps3-5",
            "interval",
            [
                within(2, "95 %, one seed a world", draw=partial(_study, seeds=1, confidence=0.95)),
                within(2, "several seeds a world", draw=partial(_study, seeds=3, confidence=0.95)),
                within(1, "any confidence", draw=partial(_study, seeds=2)),
            ],
        ),
        Question("ps3-6", "measured", [Part(2, f"{key}: in its band", in_band(key, *BANDS[key])) for key in BANDS]),
        Question("ps3-7", "", written=4),
    ]
