"""Exercises of notebook 06: what may be compared, the sign-flip test, its limits, the best of k, SPGAN's pairs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasda.exercises import Exercise, like, show
from nasda.lessons.l06_closing_the_gap import best_of, seeds_needed, sign_flip_p
from nasda.spgan import contrastive_loss

# 06.1

_PAIRS = {"AB", "CD"}
_ABOUT_PAIRS = {
    "AC": "A and C differ in the architecture, in the first weights (note b) and in the test set (note c).",
    "BD": "B and D differ in the architecture, in the first weights (note b) and in the test set (note c).",
    "AD": "A and D differ in everything that can differ.",
    "BC": "B and C differ in everything that can differ.",
}


def _judge_pairs(answer: Any) -> str | None:
    if isinstance(answer, str) or not isinstance(answer, (set, frozenset, list, tuple)):
        return f'expected a set of pairs such as {{"AC", "BD"}}, found {show(answer)}'
    pairs = {"".join(sorted("".join(pair).upper())) for pair in answer}
    unknown = sorted(pairs - _PAIRS - _ABOUT_PAIRS.keys())
    if unknown:
        return f"{show(unknown[0])} is no pair of the rows A, B, C and D"
    wrong = sorted(pairs - _PAIRS)
    if wrong:
        return f"{wrong[0]} is not one. {_ABOUT_PAIRS[wrong[0]]}"
    if "CD" not in pairs:
        return "A pair is missing. Two rows may share a test set even where it is not the one the heading names."
    if "AB" not in pairs:
        return "A pair is missing. Look at the two rows that the paper itself has run."
    return None


# 06.2


def _one_sided(differences: Sequence[float]) -> float:
    signs = itertools.product((1, -1), repeat=len(differences))
    means = [float(np.mean(np.multiply(sign, differences))) for sign in signs]
    return float(np.mean([mean >= means[0] - 1e-12 for mean in means]))


def _strictly(differences: Sequence[float]) -> float:
    signs = itertools.product((1, -1), repeat=len(differences))
    means = [abs(float(np.mean(np.multiply(sign, differences)))) for sign in signs]
    return float(np.mean([mean > means[0] + 1e-12 for mean in means]))


def _sign_test(differences: Sequence[float]) -> float:
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    measured = abs(sum(np.sign(differences)))
    return float(np.mean([abs(sum(sign)) >= measured for sign in signs]))


_DIFFERENCES = [
    {"differences": [0.02, 0.05, 0.01]},
    {"differences": [0.04, -0.01, 0.03]},
    {"differences": [-0.03, -0.02, 0.01, -0.06]},
    {"differences": [0.01, -0.05, 0.02, 0.01, 0.01]},
]
_FLIP_MISTAKES = [
    (_one_sided, "That is one side only: a flip is as far from 0 when its mean is as far below it, too"),
    (_strictly, "The signs as they were measured are one of the choices, and count: p is never 0"),
    (_sign_test, "That counts signs alone: here a large difference weighs more than a small one"),
]


# 06.3

_LEVELS = [
    {"level": 0.05, "tests": 1},
    {"level": 0.5, "tests": 1},
    {"level": 0.01, "tests": 1},
    {"level": 0.05, "tests": 9},
]


def _needed(share: Callable[[int], float], each: Callable[[float, int], float]) -> Callable[[float, int], int]:
    def needed(level: float, tests: int) -> int:
        return next(seeds for seeds in itertools.count(1) if share(seeds) <= each(level, tests))

    return needed


_SEED_MISTAKES = [
    (
        _needed(lambda n: 2.0**-n, lambda level, tests: level / tests),
        "With 2 to the power of −n you leave out that all signs turned lie as far from 0 as the measured ones",
    ),
    (
        _needed(lambda n: 2.0 ** (1 - n), lambda level, tests: level),
        "Right for one test. With more of them each gets its share of the level",
    ),
]


# 06.4

_DRAWN = [0.12, 0.2, 0.13, 0.16, 0.05]
_TRIES = [{"scores": _DRAWN, "k": k} for k in (2, 1, 3, 5)]
_BEST_MISTAKES = [
    (lambda scores, k: max(scores), "That is the best of all of them: which k are tried is left to chance"),
    (lambda scores, k: max(scores[:k]), "That takes the first k; every choice of k is as likely as these"),
    (
        lambda scores, k: float(np.mean([max(some) for some in itertools.product(scores, repeat=k)])),
        "That may draw one network twice: k different networks are trained",
    ),
]


# 06.5


def _embeddings(seed: int, count: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.nn.functional.normalize(torch.randn(2, count, 3, generator=generator), dim=2)
    return {"first": drawn[0], "second": drawn[1]}


_SIAMESE = [
    {"first": torch.tensor([[0.0, 0.0]]), "second": torch.tensor([[0.6, 0.8]]), "same": True, "margin": 2.0},
    {"first": torch.tensor([[0.0, 0.0]]), "second": torch.tensor([[0.3, 0.4]]), "same": False, "margin": 2.0},
    {**_embeddings(0), "same": True, "margin": 2.0},
    {**_embeddings(1), "same": False, "margin": 2.0},
    {**_embeddings(2), "same": False, "margin": 1.0},
]


def _squared_margin(first: Tensor, second: Tensor, same: bool, margin: float) -> Tensor:
    squared = (first - second).square().sum(dim=1)
    return squared.mean() if same else (margin - squared).clamp(min=0).mean()


def _no_hinge(first: Tensor, second: Tensor, same: bool, margin: float) -> Tensor:
    squared = (first - second).square().sum(dim=1)
    return squared.mean() if same else (margin - squared.sqrt()).square().mean()


def _not_squared(first: Tensor, second: Tensor, same: bool, margin: float) -> Tensor:
    distance = (first - second).square().sum(dim=1).sqrt()
    return distance.mean() if same else (margin - distance).clamp(min=0).mean()


def _summed(first: Tensor, second: Tensor, same: bool, margin: float) -> Tensor:
    return contrastive_loss(first, second, same, margin) * len(first)


_SIAMESE_MISTAKES = [
    (_summed, "A mean over pairs: a sum would weigh more in a larger batch"),
    (_squared_margin, "The margin is a distance: take the root before you subtract, and square afterwards"),
    (_no_hinge, "A pair that is further apart than the margin costs nothing: cut off below 0"),
    (_not_squared, "Both branches of equation (c) are squared"),
]


EXERCISES = {
    "06.1": Exercise(_judge_pairs, "Two pairs out of six, and neither crosses from the NAS rows to ResNet's."),
    "06.2": like(
        lambda differences: sign_flip_p(differences),
        _DIFFERENCES,
        _FLIP_MISTAKES,
        praise="It assumes nothing of how scores are distributed.",
    ),
    "06.3": like(
        seeds_needed,
        _LEVELS,
        _SEED_MISTAKES,
        praise="Five seeds can therefore never reach 5 %, however clear they are.",
    ),
    "06.4": like(
        lambda scores, k: best_of(scores, k),
        _TRIES,
        _BEST_MISTAKES,
        praise="Whoever reports the best has to say of how many.",
    ),
    "06.5": like(
        contrastive_loss,
        _SIAMESE,
        _SIAMESE_MISTAKES,
        praise="Unit vectors are 2 apart at most, so a margin of 2 never rests.",
    ),
}
