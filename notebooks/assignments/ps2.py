"""Problem set 2, the lecturer's side: what each question is marked by. It is not handed out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasda.grading.problem_set import Part, Question, drawn, in_band

Rng = np.random.Generator

# 1: a triplet loss without a margin


def soft_margin(distances: Tensor, labels: Tensor) -> Tensor:
    """Mean over anchors of log(1 + exp(d(hardest positive) − d(hardest negative))) (Hermans et al. 2017, §2).

    Anchors without a positive or a negative do not count; without any anchor it is 0.
    """
    return _soft_margin(distances, labels)


def _soft_margin(distances: Tensor, labels: Tensor, slip: str = "") -> Tensor:
    same = labels[:, None] == labels[None, :]
    others = same & ~torch.eye(len(labels), dtype=torch.bool)
    positive = distances.masked_fill(~others, -torch.inf).amax(dim=1)
    negative = distances.masked_fill(same, torch.inf).amin(dim=1)
    if slip == "easiest positive":
        positive = distances.masked_fill(~others, torch.inf).amin(dim=1)
    valid = others.any(dim=1) & ~same.all(dim=1)
    gaps = (positive - negative)[valid]
    each = torch.exp(gaps).log1p() if slip == "overflow" else torch.nn.functional.softplus(gaps)
    if slip == "all anchors":
        return each.sum() / len(labels)
    return each.sum() / valid.sum().clamp(min=1)


_SOFT = [
    (partial(_soft_margin, slip="easiest positive"), "The hardest positive is the farthest image of the identity"),
    (partial(_soft_margin, slip="all anchors"), "An anchor without a positive or a negative is in no mean"),
    (partial(_soft_margin, slip="overflow"), "exp of a large gap overflows: log(1 + e^x) is `softplus`, or logaddexp"),
]


def _images(rng: Rng, labels: Sequence[int], scale: float = 1.0) -> dict[str, Any]:
    points = rng.normal(size=(len(labels), 3)) * scale
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    return {"distances": torch.tensor(distances), "labels": torch.tensor(labels)}


def _sorted(rng: Rng, scale: float = 1.0) -> dict[str, Any]:
    identities, images = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    return _images(rng, sorted(list(range(identities)) * images), scale)


def _shuffled(rng: Rng) -> dict[str, Any]:
    labels = rng.permutation([9, 9, 4, 4, *rng.choice([4, 9, 700], int(rng.integers(0, 5)))])
    return _images(rng, [int(label) for label in labels])


def _lonely(rng: Rng) -> dict[str, Any]:
    return _images(rng, [int(label) for label in rng.permutation([3, 3, *range(20, 20 + int(rng.integers(1, 6)))])])


# 2: how many triplets


def triplets(labels: Sequence[int]) -> int:
    """How many (anchor, positive, negative) a batch has; anchor and positive are different images."""
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return int((counts * (counts - 1) * (counts.sum() - counts)).sum())


def _unordered(labels: Sequence[int]) -> int:
    return triplets(labels) // 2


def _itself(labels: Sequence[int]) -> int:
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return int((counts**2 * (counts.sum() - counts)).sum())


_COUNTS = [
    (_unordered, "Anchor and positive have an order: (a, p) and (p, a) are two triplets"),
    (_itself, "An image is not its own positive"),
]

# 3: label smoothing


def smoothed(logits: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Cross-entropy, in nats, against 1 − ε on the label and ε / C on each of the C classes besides (mean over the
    batch; Szegedy et al. 2016, as "Bag of Tricks" for re-identification takes it)."""
    return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=epsilon)


def _not_the_label(logits: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    classes = logits.shape[1]
    log_shares = torch.log_softmax(logits, dim=1)
    of_label = log_shares[torch.arange(len(labels)), labels]
    others = (log_shares.sum(dim=1) - of_label) / (classes - 1)
    return -((1 - epsilon) * of_label + epsilon * others).mean()


def _bare(logits: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    of_label = shares[torch.arange(len(labels)), labels].log()
    return -((1 - epsilon) * of_label + epsilon * shares.log().mean(dim=1)).mean()


def _summed(logits: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    return smoothed(logits, labels, epsilon) * len(labels)


_SMOOTH = [
    (_not_the_label, "ε / C goes to every class, the label's own included"),
    (_bare, "exp overflows: take log_softmax, or subtract the largest logit"),
    (_summed, "It is the mean over the batch, not the sum"),
]


def _logits(rng: Rng, epsilon: bool, scale: float = 1.0) -> dict[str, Any]:
    images, classes = int(rng.integers(2, 6)), int(rng.integers(2, 7))
    return {
        "logits": torch.tensor(rng.normal(size=(images, classes)) * scale),
        "labels": torch.tensor(rng.integers(0, classes, images)),
        "epsilon": round(float(rng.uniform(0.05, 0.5)), 2) if epsilon else 0.0,
    }


# 4: the step ahead


def virtual_step(
    weights: Tensor, gradient: Tensor, velocity: Tensor, lr: float, momentum: float, decay: float
) -> Tensor:
    """ω' after one step of SGD: v' = momentum · v + (gradient + decay · ω), ω' = ω − lr · v' (PyTorch's rule)."""
    return weights - lr * (momentum * velocity + gradient + decay * weights)


def _no_memory(weights: Tensor, gradient: Tensor, velocity: Tensor, lr: float, momentum: float, decay: float) -> Tensor:
    return virtual_step(weights, gradient, 0 * velocity, lr, momentum, decay)


def _no_decay(weights: Tensor, gradient: Tensor, velocity: Tensor, lr: float, momentum: float, decay: float) -> Tensor:
    return virtual_step(weights, gradient, velocity, lr, momentum, 0.0)


def _velocity_of_lr(
    weights: Tensor, gradient: Tensor, velocity: Tensor, lr: float, momentum: float, decay: float
) -> Tensor:
    return weights - momentum * velocity - lr * (gradient + decay * weights)


_STEPS = [
    (_no_memory, "The velocity of earlier steps goes on, times the momentum"),
    (_no_decay, "Weight decay adds decay · ω to the gradient"),
    (_velocity_of_lr, "In PyTorch's rule the learning rate multiplies the whole velocity, the old one too"),
]


def _sgd(rng: Rng, momentum: bool, decay: bool) -> dict[str, Any]:
    size = int(rng.integers(1, 6))
    weights, gradient, velocity = (torch.tensor(rng.normal(size=size)) for _ in range(3))
    return {
        "weights": weights,
        "gradient": gradient,
        "velocity": velocity,
        "lr": round(float(rng.uniform(0.01, 0.5)), 3),
        "momentum": round(float(rng.uniform(0.3, 0.95)), 2) if momentum else 0.0,
        "decay": round(float(rng.uniform(0.01, 0.3)), 3) if decay else 0.0,
    }


# 5: the gradient that looks ahead


def hypergradient(w: Tensor, a: Tensor, mixing: Tensor, goal: Tensor, xi: float) -> Tensor:
    """dL_val(ω'(α))/dα for L_train = ½‖ω − Mα‖², L_val = ½‖ω − b‖² and ω' = ω − ξ ∇ω L_train (DARTS eq. 6)."""
    ahead = w - xi * (w - mixing @ a)
    return xi * mixing.T @ (ahead - goal)


def _not_ahead(w: Tensor, a: Tensor, mixing: Tensor, goal: Tensor, xi: float) -> Tensor:
    return xi * mixing.T @ (w - goal)


def _no_step(w: Tensor, a: Tensor, mixing: Tensor, goal: Tensor, xi: float) -> Tensor:
    return mixing.T @ (w - xi * (w - mixing @ a) - goal)


_HYPER = [
    (_not_ahead, "The slope of L_val is taken at ω′, not at ω"),
    (_no_step, "ω′ depends on α through ξ: the chain rule brings it as a factor"),
]


def _quadratic(rng: Rng, most: int, xi: float | None = None) -> dict[str, Any]:
    of_w, of_a = (1, 1) if most == 1 else (int(n) for n in rng.integers(2, most + 1, 2))
    return {
        "w": torch.tensor(rng.normal(size=of_w)),
        "a": torch.tensor(rng.normal(size=of_a)),
        "mixing": torch.tensor(rng.normal(size=(of_w, of_a))),
        "goal": torch.tensor(rng.normal(size=of_w)),
        "xi": round(float(rng.uniform(0.05, 1)), 2) if xi is None else xi,
    }


# 6: a small experiment. Of 751 identities with 17 images each: one of 63 others is of the anchor's identity; and an
# identity is in none of an epoch's 199 batches of 16.
_OTHERS, _OWN = 751 * 17 - 1, 16
BANDS = {
    "anchors with a positive": (1 - float(np.prod([1 - _OWN / (_OTHERS - i) for i in range(63)])), 0.012),
    "identities not seen": ((1 - 16 / 751) ** (751 * 17 // 64), 0.006),
}


def questions(seed: int) -> list[Question]:
    """The questions of the set, their hidden cases drawn by `seed`."""

    part = partial(drawn, seed=seed)
    soft = partial(part, reference=soft_margin, mistakes=_SOFT)
    count = partial(part, reference=triplets, mistakes=_COUNTS)
    smooth = partial(part, reference=smoothed, mistakes=_SMOOTH)
    step = partial(part, reference=virtual_step, mistakes=_STEPS)
    hyper = partial(part, reference=hypergradient, mistakes=_HYPER)
    some = partial(np.random.Generator.integers, low=0, high=6)
    return [
        Question(
            "ps2-1",
            "soft_margin",
            [
                soft(2, "sorted labels", draw=_sorted),
                soft(2, "labels in any order", draw=_shuffled),
                soft(2, "anchors without a positive", draw=_lonely),
                soft(1, "large distances", draw=partial(_sorted, scale=3000.0)),
            ],
        ),
        Question(
            "ps2-2",
            "triplets",
            [
                count(
                    1,
                    "P identities with K images each",
                    draw=lambda rng: {"labels": list(range(int(rng.integers(2, 6)))) * int(rng.integers(2, 6))},
                ),
                count(2, "any labels", draw=lambda rng: {"labels": some(rng, size=int(rng.integers(2, 20))).tolist()}),
            ],
        ),
        Question(
            "ps2-3",
            "smoothed",
            [
                smooth(2, "ε = 0", draw=partial(_logits, epsilon=False)),
                smooth(2, "any ε", draw=partial(_logits, epsilon=True)),
                smooth(1, "large logits", draw=partial(_logits, epsilon=True, scale=2000.0)),
            ],
        ),
        Question(
            "ps2-4",
            "virtual_step",
            [
                step(1, "plain descent", draw=partial(_sgd, momentum=False, decay=False)),
                step(2, "with momentum", draw=partial(_sgd, momentum=True, decay=False)),
                step(2, "with weight decay, too", draw=partial(_sgd, momentum=True, decay=True)),
            ],
        ),
        Question(
            "ps2-5",
            "hypergradient",
            [
                hyper(1, "first order (ξ = 0)", draw=partial(_quadratic, most=4, xi=0.0)),
                hyper(2, "one weight, one α", draw=partial(_quadratic, most=1)),
                hyper(3, "several of both", draw=partial(_quadratic, most=5)),
            ],
        ),
        Question("ps2-6", "measured", [Part(2, f"{key}: in its band", in_band(key, *BANDS[key])) for key in BANDS]),
        Question("ps2-7", "", written=4),
    ]
