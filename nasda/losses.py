"""The losses of §2.2: softmax with cross-entropy (eq. 7), batch-hard triplet (eq. 8), both together (eq. 9).

The printed equations have errors; each function says how it reads them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nasda.data.sampling import check_triplets


def softmax_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Eq. 7: cross-entropy of logits h (B, C) and labels (B,), a scalar in nats.

    The paper prints a sum over the batch; this is the mean, so that λ of eq. 9 does not depend on the batch size.
    """
    return F.cross_entropy(logits, labels)


def pairwise_distances(features: Tensor) -> Tensor:
    """Euclidean distances within a batch: (B, D) → (B, B).

    From differences, not from the faster |a|² + |b|² − 2ab, which loses all digits between near neighbours, the pairs
    that matter most in a triplet loss.
    """
    squared = (features.unsqueeze(1) - features.unsqueeze(0)).square().sum(dim=2)
    return squared.clamp(min=1e-12).sqrt()  # the slope of a square root at 0 is infinite


class Mined(NamedTuple):
    """For every anchor of a batch, the distances to its hardest positive and hardest negative, and their indices in the
    batch, (B,) each. `valid` is False if an anchor has no positive or no negative."""

    positive: Tensor
    negative: Tensor
    positive_index: Tensor
    negative_index: Tensor
    valid: Tensor


def mine_hardest(distances: Tensor, labels: Tensor) -> Mined:
    """Batch-hard mining (Hermans et al. 2017): the farthest image of the same identity, the nearest of another."""
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    positives = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = distances.masked_fill(~positives, -torch.inf).max(dim=1)
    negative = distances.masked_fill(same, torch.inf).min(dim=1)
    valid = positives.any(dim=1) & (~same).any(dim=1)
    return Mined(positive.values, negative.values, positive.indices, negative.indices, valid)


def triplet_loss(features: Tensor, labels: Tensor, margin: float, *, literal: bool = False) -> Tensor:
    """Eq. 8 on the feature f (B, D): mean over anchors of max(0, margin + d(hardest positive) − d(hardest negative)).

    The paper prints max(margin, d_p − d_n), whose gradient is 0 if d_p − d_n < margin, and mines only the positive;
    this is the usual form (Hermans et al. 2017). Anchors without a positive or a negative do not count. Raises
    `NasdaError` if no anchor has both, unless `literal`: then the loss is 0, with gradient 0. Labels on an accelerator
    are not checked, because the host would have to wait for them; `Batches.check_triplets` checks them beforehand.
    """
    if not literal and labels.device.type == "cpu":
        check_triplets(labels)
    mined = mine_hardest(pairwise_distances(features), labels)
    hinge = F.relu(margin + mined.positive - mined.negative)
    hinge = torch.where(mined.valid, hinge, torch.zeros_like(hinge))
    return hinge.sum() / mined.valid.sum().clamp(min=1)


def retrieval_loss(
    features: Tensor, logits: Tensor, labels: Tensor, *, margin: float, balance: float, literal: bool = False
) -> Tensor:
    """Eq. 9: λ · softmax loss + (1 − λ) · triplet loss."""
    triplet = triplet_loss(features, labels, margin, literal=literal)
    return balance * softmax_loss(logits, labels) + (1 - balance) * triplet
