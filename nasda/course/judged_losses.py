"""What judges a student's losses (exercises 03.2 and 03.3): value and gradient on cases that are named after the
exercise's steps, and the usual slips."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasda.course.judges import Draw, Exercise, Wrong, is_stub, like
from nasda.losses import retrieval_loss, softmax_loss, triplet_loss


def number_below(rng: np.random.Generator, most: float) -> float:
    """A random number with three digits, which can be read in a sentence."""
    return round(float(rng.uniform(0, most)), 3)


class _Sloped:
    """A loss as a function that returns its value and its gradients, to be compared with another one's.

    The case's last arguments are given by `keywords`. Where several images are equally hard, `tied`, a gradient is not
    the only right one; then it is only asked whether it consists of numbers.
    """

    def __init__(self, loss: Callable[..., Any], keywords: Sequence[str], tied: bool) -> None:
        self.loss, self.keywords, self.tied = loss, keywords, tied

    def __call__(self, *arguments: Any) -> Any:
        split = len(arguments) - len(self.keywords)
        inputs = [value for value in arguments if isinstance(value, Tensor) and value.is_floating_point()]
        for value in inputs:
            value.requires_grad_()
        loss = self.loss(*arguments[:split], **dict(zip(self.keywords, arguments[split:], strict=True)))
        if loss is None:
            return None
        slopes: list[Tensor | None] = [None] * len(inputs)
        if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1:
            slopes = list(torch.autograd.grad(loss, inputs, allow_unused=True))
        filled = [torch.zeros_like(value) if s is None else s for value, s in zip(inputs, slopes, strict=True)]
        found = float(loss.detach()) if isinstance(loss, Tensor) and loss.numel() == 1 else loss
        return (found, all(bool(s.isfinite().all()) for s in filled)) if self.tied else (found, *filled)


def _judged(
    reference: Callable[..., Tensor],
    smooth: Mapping[str, dict[str, Any]],
    corners: Mapping[str, dict[str, Any]],
    slips: Sequence[tuple[Callable[..., Any], str]],
    *,
    draw: Draw,
    gradients: Sequence[str],
    keywords: Sequence[str] = (),
    advice: Sequence[str],
    praise: str,
    part: str,
    library: Callable[..., Tensor],
) -> Exercise:
    """A loss to write: value and gradients agree on `smooth` and random cases, and on `corners` the values, while the
    gradients are numbers."""
    sloped, tied = (partial(_Sloped, keywords=keywords, tied=ties) for ties in (False, True))
    first = like(
        sloped(reference),
        smooth,
        [(sloped(slip), words) for slip, words in slips],
        draw=draw,
        advice=advice,
        praise=praise,
        part=part,
        library=library,
    )
    second = like(tied(reference), corners, [(tied(slip), words) for slip, words in slips])
    names = {"item 0: ": "the loss: "}
    for number, of_what in enumerate(gradients, 1):
        names[f"item {number}: "] = f"the loss is right, its gradient with respect to the {of_what} is not: "

    def judge(answer: Any) -> Wrong | None:
        for exercise, with_slopes in ((first, sloped), (second, tied)):
            ready = callable(answer) and not is_stub(answer)
            wrong = exercise.judge(with_slopes(answer) if ready else answer)
            if isinstance(wrong, Wrong):
                words = wrong.words.replace("item 1: expected True, yours gave False", "the gradient is not a number")
                for name, shown in names.items():
                    words = words.replace(name, shown)
                return Wrong(words, wrong.case)
        return None

    return dataclasses.replace(first, judge=judge)


def _points(count: int, seed: int, size: int = 3) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _batch(labels: Sequence[int], margin: float = 0.5, seed: int = 0) -> dict[str, Any]:
    return {"features": _points(len(labels), seed), "labels": torch.tensor(labels), "margin": margin}


def _draw_batch(rng: np.random.Generator) -> dict[str, Any]:
    """A batch of 4 to 12 images with at least one positive and one negative in it."""
    labels = [7, 7, *(int(x) for x in rng.choice([3, 7, 12, 1501], rng.integers(1, 10))), 12]
    order = rng.permutation(len(labels))
    features = torch.tensor(rng.normal(size=(len(labels), rng.integers(1, 6))) * rng.choice([0.2, 1.0, 3.0]))
    return {"features": features, "labels": torch.tensor(labels)[order], "margin": number_below(rng, 1.5) - 0.5}


_ONE_POINT_TWICE = torch.tensor([[0, 0], [0.5, 0], [0, 0], [0.62, 0.05], [0.5, 0.3], [0.57, 0.41]], dtype=torch.float64)


_SMOOTH = {
    "step 1, distances (two identities, two images each)": _batch([0, 0, 1, 1]),
    "step 1, the slope at distance 0 (two images with the same feature)": {
        **_batch([0, 1, 0, 1, 2, 2], 0.8),
        "features": _ONE_POINT_TWICE,
    },
    "step 2, the masks (unsorted labels)": _batch([5, 1501, 5, 2, 1501, 2], seed=1),
    "step 3, the hardest (four images of an identity)": _batch([1, 0, 0, 1, 0, 1, 0, 1], seed=2),
    "step 4, the mean (some anchors have no positive)": _batch([0, 3, 1, 0, 2, 0], seed=3),
    "step 4, the mean (no image has a negative: loss and gradient are 0)": _batch([4, 4, 4]),
    "step 4, the mean (no image has a positive: loss and gradient are 0)": _batch([4, 2, 3]),
    "features of length 1": {
        **_batch([0, 1, 1, 0, 2, 2], 1.0),
        "features": nn.functional.normalize(_points(6, 5)),
    },
}
_TRIPLET_ADVICE = (
    "Look at step 1: the root of the sum of squared differences, for all pairs",
    "What is the slope of your distance where it is 0? It has to be a number, best 0",
    "Look at step 2: labels are any numbers in any order; compare each with each",
    "Look at step 3: of several positives the farthest counts, of several negatives the nearest",
    "Look at step 4: an anchor without a positive is in neither the sum nor the number that it is divided by",
    "Look at step 4: where no anchor counts, return 0, and no nan or infinity",
    "Look at step 4: where no anchor counts, return 0, and no nan or infinity",
    "All features have the length 1 here: their distances still differ",
)
_CORNERS = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1], [0, 0]], dtype=torch.float64)
_TIES = {
    "the corners of a square, where several images are equally far": {
        "features": _CORNERS,
        "labels": torch.tensor([0, 1, 1, 0, 0]),
        "margin": 0.3,
    },
    "all features on one point": {**_batch([0, 1, 0, 1], 0.3), "features": torch.ones(4, 2, dtype=torch.float64)},
}


def _variant(
    *,
    positive: str = "amax",
    negative: str = "amin",
    itself: bool = False,
    squared: bool = False,
    bare: bool = False,
    detached: bool = False,
    reduce: Callable[[Tensor, Tensor, float], Tensor],
) -> Callable[..., Tensor]:
    """The batch-hard loss with one thing done otherwise: a usual slip. `reduce` gets gaps, who counts, and margin."""

    def loss(features: Tensor, labels: Tensor, margin: float) -> Tensor:
        square = (features.unsqueeze(1) - features.unsqueeze(0)).square().sum(dim=2)
        distances = square if squared else square.sqrt() if bare else square.clamp(min=1e-12).sqrt()
        same = labels.unsqueeze(1) == labels.unsqueeze(0)
        others = same if itself else same & ~torch.eye(len(labels), dtype=torch.bool)
        lost = {"amax": -torch.inf, "amin": torch.inf}
        farthest = getattr(distances.masked_fill(~others, lost[positive]), positive)(dim=1)
        nearest = getattr(distances.masked_fill(same, lost[negative]), negative)(dim=1)
        gap = (farthest - nearest).detach() if detached else farthest - nearest
        return reduce(gap, others.any(dim=1) & ~same.all(dim=1), margin)

    return loss


def _of_valid(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).sum() / valid.sum().clamp(min=1)


def _of_all(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).sum() / len(gap)


def _empty_is_nan(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).mean()


def _summed(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid]).sum()


def _printed(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return gap[valid].clamp(min=margin).sum() / valid.sum().clamp(min=1)


def _mean_first(gap: Tensor, valid: Tensor, margin: float) -> Tensor:
    return torch.relu(margin + gap[valid].sum() / valid.sum().clamp(min=1)) * valid.any()


_TRIPLET_SLIPS = (
    (_variant(reduce=_printed), "This is eq. 8 as printed: it has no slope where d_p − d_n is below the margin"),
    (_variant(squared=True, reduce=_of_valid), "These are squared distances: take the root"),
    (
        _variant(bare=True, reduce=_of_valid),
        "The slope of a root at 0 is infinite, and each image is at distance 0 from itself: clamp below the root",
    ),
    (_variant(itself=True, reduce=_of_valid), "An image is not its own positive: take the diagonal out of the mask"),
    (_variant(positive="amin", reduce=_of_valid), "The hardest positive is the farthest one"),
    (_variant(negative="amax", reduce=_of_valid), "The hardest negative is the nearest one"),
    (
        _variant(reduce=_of_all),
        "Divide by the number of anchors that have a positive and a negative, not by that of all images",
    ),
    (_variant(reduce=_empty_is_nan), "A mean of nothing is nan: where no anchor counts, the loss is 0"),
    (_variant(reduce=_summed), "This is the sum: take the mean over the anchors that count"),
    (_variant(reduce=_mean_first), "The hinge belongs to each anchor: first max(0, …), then the mean"),
    (
        _variant(detached=True, reduce=_of_valid),
        "Your loss doesn't know where it came from: no .item(), .detach(), .tolist() or no_grad() on the way",
    ),
)


def _logits(count: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _both(labels: Sequence[int], margin: float, balance: float, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    batch = _batch(labels, margin, seed)
    logits = _logits(len(labels), seed + 10, scale)
    return {"features": batch["features"], "logits": logits, "labels": batch["labels"], **_weights(margin, balance)}


def _weights(margin: float, balance: float) -> dict[str, float]:
    return {"margin": margin, "balance": balance}


def _draw_both(rng: np.random.Generator) -> dict[str, Any]:
    labels = [int(x) for x in rng.permutation([0, 0, 5, *rng.integers(0, 6, rng.integers(1, 8))])]
    return _both(
        labels, number_below(rng, 1), number_below(rng, 1), int(rng.integers(1000)), float(rng.choice([0.3, 1, 5]))
    )


_BOTH = {
    "step 1, eq. 7 alone (balance 1)": _both([0, 5, 0, 1, 5, 1], 0.3, 1.0),
    "step 1, eq. 7 with logits near 1000": _both([0, 5, 0, 1, 5, 1], 0.3, 1.0, 1, 1000.0),
    "step 2, eq. 8 alone (balance 0)": _both([0, 5, 0, 1, 5, 1], 0.3, 0.0, 2),
    "step 3, both (balance 0.25)": _both([0, 0, 2, 2, 2, 4, 4], 0.3, 0.25, 3),
}


_RETRIEVAL_ADVICE = (
    "With balance 1 all is eq. 7: the mean over the batch of −log of the share of exp(logit) that the label has",
    "exp of 1000 is infinite: subtract each row's largest logit first, or take log_softmax",
    "With balance 0 all is eq. 8 of the features: triplet_loss(features, labels, margin)",
    "0.25 of eq. 7 and 0.75 of eq. 8",
)


def _mixed(
    names: Callable[[Tensor, Tensor], Tensor] = softmax_loss, *, of_logits: bool = False
) -> Callable[..., Tensor]:
    """Eq. 9 with another first term, or with the second one on the logits."""

    def loss(features: Tensor, logits: Tensor, labels: Tensor, *, margin: float, balance: float) -> Tensor:
        neighbours = triplet_loss(logits if of_logits else features, labels, margin)
        return balance * names(logits, labels) + (1 - balance) * neighbours

    return loss


def _swapped(features: Tensor, logits: Tensor, labels: Tensor, *, margin: float, balance: float) -> Tensor:
    return retrieval_loss(features, logits, labels, margin=margin, balance=1 - balance)


def _added(features: Tensor, logits: Tensor, labels: Tensor, *, margin: float, balance: float) -> Tensor:
    return balance * softmax_loss(logits, labels) + triplet_loss(features, labels, margin)


def _bare_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -shares[torch.arange(len(labels)), labels].log().mean()


def _summed_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, reduction="sum")


def _softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.softmax(dim=1), labels)


_RETRIEVAL_SLIPS = (
    (_mixed(_bare_softmax), "exp overflows: subtract each row's largest logit first, or take log_softmax"),
    (_mixed(_summed_softmax), "Eq. 7 is summed here: take the mean over the batch"),
    (_mixed(_softmax_twice), "Softmax is taken twice: cross_entropy has it inside"),
    (_mixed(of_logits=True), "The triplet loss is taken of the logits: the test compares the feature f"),
    (_swapped, "The two weights are exchanged: balance belongs to eq. 7"),
    (_added, "Eq. 8 has the weight 1 − balance"),
)


TRIPLET = _judged(
    partial(triplet_loss, literal=True),
    _SMOOTH,
    _TIES,
    _TRIPLET_SLIPS,
    draw=_draw_batch,
    gradients=["features"],
    advice=_TRIPLET_ADVICE,
    praise="Value and gradient are the library's, to five digits, in float64",
    part="the triplet loss",
    library=triplet_loss,
)

RETRIEVAL = _judged(
    retrieval_loss,
    _BOTH,
    {"all features on one point": {**_both([0, 1, 0, 1], 0.3, 0.5), "features": torch.ones(4, 2).double()}},
    _RETRIEVAL_SLIPS,
    draw=_draw_both,
    gradients=["features", "logits"],
    advice=_RETRIEVAL_ADVICE,
    keywords=("margin", "balance"),
    praise="This loss trains ω and α in the paper: notebook 04 searches with it",
    part="the retrieval loss",
    library=retrieval_loss,
)
