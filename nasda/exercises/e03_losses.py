"""What is right in notebook 03: eq. 8 corrected, mining by brute force, sums and means, dead and collapsed triplets."""

from typing import Any

import torch

from nasda.exercises import Exercise, like, show
from nasda.losses import mine_hardest


def _triplet(positive: float, negative: float, margin: float) -> float:
    return max(0.0, margin + positive - negative)


def _hardest(distances: torch.Tensor, labels: torch.Tensor) -> list[tuple[int | None, int | None]]:
    mined = mine_hardest(distances, labels)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    some = same.sum(dim=1) > 1, (~same).any(dim=1)
    found = zip(mined.positive_index.tolist(), mined.negative_index.tolist(), *(x.tolist() for x in some), strict=True)
    return [(p if has_p else None, n if has_n else None) for p, n, has_p, has_n in found]


def _distances(count: int, seed: int) -> torch.Tensor:
    points = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cdist(points, points)


def _balance_in_effect(balance: float, batch: int) -> float:
    return balance * batch / (balance * batch + 1 - balance)


def _usable_anchors(labels: list[int]) -> int:
    return sum(1 < labels.count(label) < len(labels) for label in labels)


_STANDSTILL = {
    "a": "Then every d_p − d_n would be below −0.3, and the loss of every anchor 0, not 0.3.",
    "c": "Then the anchors that are not satisfied would have to make up for the others by an exact 0.6, epoch after "
    "epoch. What makes every single anchor's loss 0.3?",
    "d": "Random features that differ have hardest positives farther than hardest negatives, so the loss would lie "
    "above the margin, and it would move.",
}


def _judge_standstill(answer: Any) -> str | None:
    letter = answer.strip().lower() if isinstance(answer, str) else answer
    if letter == "b":
        return None
    advice = _STANDSTILL.get(letter, 'Give one letter in quotes: "a", "b", "c" or "d".')
    return f"{show(answer)} is not it. {advice}"


EXERCISES = {
    "03.1": like(
        _triplet,
        [
            {"positive": 1.0, "negative": 0.5, "margin": 0.3},
            {"positive": 0.5, "negative": 0.6, "margin": 0.3},
            {"positive": 0.2, "negative": 1.0, "margin": 0.3},
            {"positive": 0.5, "negative": 0.5, "margin": 0.0},
        ],
        praise="Now look back at the printed form: it is margin + triplet(positive, negative, −margin). It asks for a "
        "margin, too, but for a negative one",
    ),
    "03.2": like(
        _hardest,
        [
            {"distances": _distances(4, 1), "labels": torch.tensor([0, 0, 1, 1])},
            {"distances": _distances(7, 2), "labels": torch.tensor([0, 1, 0, 2, 1, 0, 0])},
            {"distances": _distances(3, 3), "labels": torch.tensor([5, 5, 5])},
        ],
        praise="Your loops say in plain words what the library's masks say for all anchors at once",
    ),
    "03.3": like(
        _balance_in_effect,
        [
            {"balance": 0.5, "batch": 32},
            {"balance": 0.5, "batch": 1},
            {"balance": 0.1, "batch": 64},
            {"balance": 0.0, "batch": 16},
            {"balance": 1.0, "batch": 16},
        ],
        praise=f"The paper's λ = 0.5 with its batch of 64 would in effect be {_balance_in_effect(0.5, 64):.3f}: hardly "
        "any triplet left",
    ),
    "03.4": like(
        _usable_anchors,
        [
            {"labels": [0, 0, 1, 1]},
            {"labels": [0, 0, 0, 1, 2]},
            {"labels": [3, 3, 3, 3]},
            {"labels": list(range(8))},
        ],
        praise="§3.1's validation set, a picture of each identity, gives 0 in every batch that can be drawn from it",
    ),
    "03.5": Exercise(
        _judge_standstill,
        "All features have fallen on one point, so d_p = d_n = 0 for every anchor. With eq. 8 as printed, the same "
        "number would be its best value: before a loss is watched, its best and its worst standstill have to be known",
    ),
}
