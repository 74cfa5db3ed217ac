"""How good features are at re-identification: ranks, CMC and both average precisions, without sorting the gallery.

The protocol is Market-1501's. For each query, gallery images of the same identity taken by the same camera are dropped,
and so are junk boxes (id −1); distractors (id 0) stay and are always wrong. A query left without a positive is skipped
and reported.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from nasda.data.colours import colour_histogram
from nasda.data.domain import Sample
from nasda.data.images import normalize
from nasda.errors import NasdaError
from nasda.fast.features import FeatureFile
from nasda.fast.ranking import MEMORY, Features, Ids, positive_ranks


@dataclass(frozen=True)
class Metrics:
    """Re-identification scores, as fractions in [0, 1].

    mAP: mean over queries of the mean precision at the positives (torchreid, fast-reid, scikit-learn).
    mAP_trapezoid: mean area under the precision–recall curve by the trapezoid rule (the Market-1501 and VeRi-776 code).
    rank1, rank5, rank10: share of queries with a positive among the first 1, 5, 10 (CMC).
    queries: how many queries were scored. skipped: indices of those that have no positive in the gallery.
    """

    mAP: float
    mAP_trapezoid: float
    rank1: float
    rank5: float
    rank10: float
    queries: int
    skipped: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, fit for JSON."""
        return asdict(self) | {"skipped": list(self.skipped)}

    def __str__(self) -> str:
        return (
            f"mAP {self.mAP:.2%} (trapezoid {self.mAP_trapezoid:.2%}), "
            f"rank-1 {self.rank1:.2%}, rank-5 {self.rank5:.2%}, rank-10 {self.rank10:.2%}, "
            f"{self.queries} queries" + (f" ({len(self.skipped)} skipped: no positive)" if self.skipped else "")
        )


# ----------------------------------------------------------------------------------------------- from ranks to scores


def average_precision(ranks: np.ndarray) -> float:
    """Mean of the precisions p_j = j / r_j, where r_j is the rank of the j-th positive.

    `ranks` (N,): the positives' ranks, ascending, from 1; at least one.
    """
    found = np.arange(1, len(ranks) + 1)
    return float((found / ranks).mean())


def average_precision_trapezoid(ranks: np.ndarray) -> float:
    """Mean of ½ (p_j + q_j), where q_j = (j − 1) / (r_j − 1) is the precision just before the j-th positive.

    At rank 1 there is no before, and q_j is 1. `ranks` as in `average_precision`, which is never smaller.
    """
    found = np.arange(1, len(ranks) + 1)
    before = np.where(ranks == 1, 1.0, (found - 1) / np.maximum(ranks - 1, 1))
    return float(((found / ranks + before) / 2).mean())


def metrics(ranks: Sequence[np.ndarray]) -> Metrics:
    """Average over queries; `ranks` holds, for each, its positives' ranks in ascending order (empty: skipped).

    Raises `NasdaError` when no query has a positive.
    """
    scored = [of_query for of_query in ranks if len(of_query)]
    if not scored:
        raise NasdaError("evaluation: no query has a positive in the gallery, so there is nothing to score")
    best = np.array([of_query[0] for of_query in scored])
    return Metrics(
        mAP=float(np.mean([average_precision(of_query) for of_query in scored])),
        mAP_trapezoid=float(np.mean([average_precision_trapezoid(of_query) for of_query in scored])),
        rank1=float(np.mean(best <= 1)),
        rank5=float(np.mean(best <= 5)),
        rank10=float(np.mean(best <= 10)),
        queries=len(scored),
        skipped=tuple(query for query, of_query in enumerate(ranks) if not len(of_query)),
    )


# --------------------------------------------------------------------------------------------- from features to ranks


def rank(
    query_features: Features,
    gallery_features: Features,
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
    *,
    memory: int = MEMORY,
    device: torch.device | str = "cpu",
) -> Metrics:
    """Rank the gallery for each query by Euclidean distance, and score the ranking.

    query_features (Q, D), gallery_features (G, D): compared as they are; `extract` and the floors give unit length, for
        which cosine similarity has the same order. What memory has no room for may be a `FeatureFile`.
    query_pids, query_camids (Q,), gallery_pids, gallery_camids (G,): identities and cameras.
    memory: bytes to use at most (beside features, ids and the positives' ranks). It changes the time needed, never
        the result, not even by a bit.
    device: where to compare. The result is the same to the bit on all of them; Apple's MPS has no float64 and leaves
        the comparison to the CPU, on as many threads as torch is set to use.

    Raises `NasdaError` for features that are not finite, shapes that do not fit, a query without an identity (id 0 or
    −1), and when no query has a positive; the line names the cause.
    """
    ids = query_pids, query_camids, gallery_pids, gallery_camids
    return metrics(positive_ranks(query_features, gallery_features, *ids, memory=memory, device=device))


# -------------------------------------------------------------------------------------------- from images to features


def extract(
    network: torch.nn.Module, images: Tensor, *, batch_size: int = 256, device: torch.device | str | None = None
) -> Tensor:
    """The features f of `images`, scaled to unit length: what test images are compared by (§2.2).

    network: has a method `features`, from normalised images (B, 3, H, W) to (B, D). It is called in evaluation mode;
        afterwards each of its modules is in the mode it was in.
    images: uint8 (N, 3, H, W).
    device: where the network is; None asks its parameters.

    Returns float32 (N, D) on the CPU.
    """
    return torch.cat(list(_features_of(network, images, batch_size, device)))


def _features_of(
    network: torch.nn.Module, images: Tensor, batch_size: int, device: torch.device | str | None
) -> Iterator[Tensor]:
    device = device or _device_of(network)
    features = cast(Callable[[Tensor], Tensor], network.features)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        for batch in images.split(batch_size):
            with torch.inference_mode():
                found = features(normalize(batch.to(device))).float().cpu()
            yield torch.nn.functional.normalize(found)
    finally:
        for module, training in modes.items():
            module.training = training  # not train(): that would wake what the caller froze inside a training network


def _device_of(network: torch.nn.Module) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def evaluate(
    network: torch.nn.Module,
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    query_images: Tensor,
    gallery_images: Tensor,
    *,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    memory: int = MEMORY,
    features_in: Path | None = None,
) -> Metrics:
    """Extract the features of a test's `query` and `gallery` and score them; see `extract` and `rank`.

    query_images, gallery_images: uint8 (Q, 3, H, W) and (G, 3, H, W), `store.stored` of the samples.
    device: where the network is, and where its features are compared; None asks its parameters.
    features_in: a folder for query.npy and gallery.npy, where memory has no room for features. The scores are the same.
    """
    device = device or _device_of(network)

    def features_of(name: str, images: Tensor) -> Features:
        if features_in is None:
            return extract(network, images, batch_size=batch_size, device=device)
        batches = _features_of(network, images, batch_size, device)
        return FeatureFile.write(features_in / f"{name}.npy", len(images), batches)

    features = features_of("query", query_images), features_of("gallery", gallery_images)
    return rank(*features, *_ids_of(query), *_ids_of(gallery), memory=memory, device=device)


def _ids_of(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    return [sample.pid for sample in samples], [sample.camid for sample in samples]


# --------------------------------------------------------------------------------- floors: what a network has to beat


def floors(
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    query_images: Tensor,
    gallery_images: Tensor,
    *,
    seed: int = 0,
    memory: int = MEMORY,
    device: torch.device | str = "cpu",
) -> dict[str, Metrics]:
    """The scores of features that have learned nothing: "random" and "colour histogram".

    Arguments as for `evaluate`; `seed` is that of the random features.
    """
    ids = (*_ids_of(query), *_ids_of(gallery))
    noise = random_features(len(query) + len(gallery), seed)
    features = {
        "random": (noise[: len(query)], noise[len(query) :]),
        "colour histogram": (colour_histogram(query_images), colour_histogram(gallery_images)),
    }
    return {name: rank(*both, *ids, memory=memory, device=device) for name, both in features.items()}


def random_features(count: int, seed: int, dimension: int = 128) -> Tensor:
    """Directions drawn uniformly at random: float32 (count, dimension), of unit length."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dimension, generator=generator))
