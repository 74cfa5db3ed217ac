"""The losses of §2.2: softmax with cross-entropy (eq. 7), batch-hard triplet (eq. 8), both together (eq. 9).

The printed equations have errors; each function says how it reads them. Below them are losses that the paper does not
have, for α alone: contrast with class centres, distance between two domains, and β-DARTS' regulariser.
"""

from collections.abc import Iterable
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


def squared_distances(features: Tensor) -> Tensor:
    """Squared Euclidean distances within a batch: (B, D) → (B, B).

    From differences, not from the faster |a|² + |b|² − 2ab, which loses all digits between near neighbours, the pairs
    that matter most in a triplet loss.
    """
    return (features.unsqueeze(1) - features.unsqueeze(0)).square().sum(dim=2)


def pairwise_distances(features: Tensor) -> Tensor:
    """Euclidean distances within a batch: (B, D) → (B, B)."""
    return squared_distances(features).clamp(min=1e-12).sqrt()  # the slope of a square root at 0 is infinite


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


MEMORY_MOMENTUM = 0.2  # of a centre's old value, as in MSINet (Gu et al., CVPR 2023) and Cluster Contrast


def memory_loss(features: Tensor, labels: Tensor, centres: Tensor, temperature: float) -> Tensor:
    """Contrast with a memory of class centres (Cluster Contrast: Dai et al., ACCV 2022; MSINet: Gu et al., CVPR 2023).

    Cross-entropy, in nats, over the cosine similarities of f (B, D) and the unit `centres` (C, D), divided by
    `temperature`. The centre of labels[i] (B,) is the right one. Centres are constants: no gradient reaches them.
    """
    centres = centres.detach().to(features.dtype)
    return F.cross_entropy(F.normalize(features) @ centres.T / temperature, labels)


def class_centres(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The normalised mean of f/‖f‖ over the images of each label 0..classes−1: (B, D) and (B,) → (classes, D). A label
    without an image has zeros."""
    members = (labels == torch.arange(classes, device=labels.device).unsqueeze(1)).to(features.dtype)
    return F.normalize(members @ F.normalize(features))  # the sum has the mean's direction


def move_centres(centres: Tensor, of_batch: Tensor) -> None:
    """Move the unit `centres` (C, D), in place, towards the `class_centres` of a batch, (C, D), where it has some.

    The old centre counts `MEMORY_MOMENTUM`, the batch's the rest, and the sum is normalised. The published code moves a
    centre image by image, so that the last one counts most; here an identity's images count the same.
    """
    moved = F.normalize(MEMORY_MOMENTUM * centres + (1 - MEMORY_MOMENTUM) * of_batch)
    centres.copy_(torch.where(of_batch.any(dim=1, keepdim=True), moved, centres))


BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, as multiples of the mean squared distance


def mmd(one: Tensor, other: Tensor) -> Tensor:
    """Multi-kernel MMD² between two sets of features (m, D) and (n, D): a scalar from 0 to 2.

    Mean k(x, x') + mean k(y, y') − 2 · mean k(x, y), where k is the mean of the Gaussian kernels exp(−‖x − y‖² / b).
    The bandwidths b are a geometric family around the mean squared distance of all pairs (Long et al., ICML 2015, take
    the median; their code the mean). Two choices:

    - The biased V-statistic (Gretton et al., JMLR 2012, eq. 5), with the pairs (x, x): never negative, and 0 for equal
      sets. The unbiased one is negative for sets that are nearer than chance, and α would be rewarded for it.
    - The gradient also goes through the bandwidth (their code detaches it). So MMD² does not change when all features
      are scaled, and α gains nothing by making them small.
    """
    squared = squared_distances(torch.cat([one, other]))
    mean = squared.sum() / (len(squared) * (len(squared) - 1))
    ratio = squared / mean.clamp(min=1e-12)  # all features equal: MMD² is 0
    kernel = torch.stack([torch.exp(-ratio / bandwidth) for bandwidth in BANDWIDTHS]).mean(dim=0)
    m = len(one)
    return kernel[:m, :m].mean() + kernel[m:, m:].mean() - 2 * kernel[:m, m:].mean()


def beta_regulariser(alphas: Iterable[Tensor]) -> Tensor:
    """β-DARTS' regulariser (Ye et al., CVPR 2022): the mean of log Σ exp α over all edges, a scalar in nats.

    `alphas`: (edges, operations) for each kind of cell. Its gradient is softmax(α) / edges, so the largest α shrinks
    most. The paper weighs it by a λ that grows linearly from 0.
    """
    return torch.logsumexp(torch.cat(list(alphas)), dim=1).mean()
