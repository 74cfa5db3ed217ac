"""How good features are at re-identification: ranks, CMC and two average precisions.

The protocol is Market-1501's. For each query, gallery images of the same identity from the same camera are dropped, and
so are junk boxes (id −1); distractors (id 0) stay and are always wrong. A query without a positive is skipped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """Re-identification scores, as fractions in [0, 1]."""

    mAP: float  # mean over queries of the mean precision at the positives (torchreid, fast-reid, scikit-learn)
    mAP_trapezoid: float  # mean area under the precision–recall curve (code of Market-1501 and VeRi-776)
    rank1: float  # share of queries whose nearest gallery image is a positive (CMC)
    rank5: float  # the same for a positive among the nearest 5
    rank10: float  # and among the nearest 10
    queries: int  # how many queries were scored
    skipped: tuple[int, ...] = ()  # indices of the queries without a positive in the gallery

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        return asdict(self) | {"skipped": list(self.skipped)}

    def __str__(self) -> str:
        return (
            f"mAP {self.mAP:.2%} (trapezoid {self.mAP_trapezoid:.2%}), "
            f"rank-1 {self.rank1:.2%}, rank-5 {self.rank5:.2%}, rank-10 {self.rank10:.2%}, "
            f"{self.queries} queries" + (f" ({len(self.skipped)} skipped: no positive)" if self.skipped else "")
        )


def average_precision(ranks: np.ndarray) -> float:
    """Mean of the precisions p_j = j / r_j, where r_j is the rank of the j-th positive.

    `ranks` (N,): the positives' ranks, ascending, from 1; at least one.
    """
    found = np.arange(1, len(ranks) + 1)
    return float((found / ranks).mean())


def average_precision_trapezoid(ranks: np.ndarray) -> float:
    """Mean of ½ (p_j + q_j), where q_j = (j − 1) / (r_j − 1) is the precision just before the j-th positive.

    At rank 1, q_j is 1. `ranks` as in `average_precision`, which is never smaller.
    """
    found = np.arange(1, len(ranks) + 1)
    before = np.where(ranks == 1, 1.0, (found - 1) / np.maximum(ranks - 1, 1))
    return float(((found / ranks + before) / 2).mean())


def metrics(ranks: Sequence[np.ndarray]) -> Metrics:
    """Average over queries; `ranks` holds for each query its positives' ranks, ascending; without any it is skipped.

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

    query_features (Q, D), gallery_features (G, D): compared as they are. Those of `extract` and the floors have unit
        length, so that cosine similarity has the same order. Features on disk may be a `FeatureFile`.
    query_pids, query_camids (Q,), gallery_pids, gallery_camids (G,): identities and cameras.
    memory: bytes to use at most, beside features, ids and the positives' ranks. It does not change the result.
    device: where to compare. The result is equal to the bit on all devices. Apple's MPS has no float64, so the CPU
        compares in its place.

    Raises `NasdaError` for features that are not finite, shapes that do not fit, a query without an identity (id 0 or
    −1), and when no query has a positive.
    """
    ids = query_pids, query_camids, gallery_pids, gallery_camids
    return metrics(positive_ranks(query_features, gallery_features, *ids, memory=memory, device=device))


def extract(
    network: torch.nn.Module, images: Tensor, *, batch_size: int = 256, device: torch.device | str | None = None
) -> Tensor:
    """The features f of `images`, which testing compares (§2.2): float32 (N, D) of unit length, on the CPU.

    network: has a method `features`, from normalised images (B, 3, H, W) to (B, D). It is called in evaluation mode;
        afterwards each module is in its earlier mode.
    images: uint8 (N, 3, H, W).
    device: where the network is; None asks its parameters.
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
            module.training = training  # train() would change parts that the caller had set to evaluation mode


@torch.no_grad()
def reestimate_statistics(network: torch.nn.Module, batches: Iterable[Tensor]) -> None:
    """Let every batch norm of `network` forget its running statistics and take the plain average over `batches`, images
    (B, 3, H, W) as `features` takes them. Nothing is learnt: weights, and the modes of all modules, stay.

    With unlabelled training images of the target this is AdaBN (Li et al. 2016). Never give it a query or a gallery.
    """
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    features = cast(Callable[[Tensor], Tensor], network.features)
    modes = {module: module.training for module in network.modules()}
    network.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over all batches
        for images in batches:
            features(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training


def for_statistics(images: Tensor, device: torch.device | str, batch_size: int = 256) -> Iterator[Tensor]:
    """uint8 `images` (N, 3, H, W) in a fixed random order, normalised, as batches of nearly equal size of at most
    `batch_size`: so that each counts the same in an average over batches, and none holds a few identities only."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    count = max(1, -(-len(images) // batch_size))
    return (normalize(images[batch].to(device)) for batch in order.tensor_split(count))


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
    """Extract the features of `query` and `gallery` and score them; see `extract` and `rank`.

    query_images, gallery_images: uint8 (Q, 3, H, W) and (G, 3, H, W), `store.stored` of the samples.
    device: where the network is, and where its features are compared; None asks its parameters.
    features_in: a folder for the features (query.npy, gallery.npy) if memory is too small. The scores are the same.
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
    """The scores of two features without learning, "random" and "colour histogram": a network must be better.

    Arguments as for `evaluate`; `seed` is for the random features.
    """
    ids = (*_ids_of(query), *_ids_of(gallery))
    noise = random_features(len(query) + len(gallery), seed)
    features = {
        "random": (noise[: len(query)], noise[len(query) :]),
        "colour histogram": (colour_histogram(query_images), colour_histogram(gallery_images)),
    }
    return {name: rank(*both, *ids, memory=memory, device=device) for name, both in features.items()}


def random_features(count: int, seed: int) -> Tensor:
    """Uniformly random directions: float32 (count, 128), of unit length."""
    return torch.nn.functional.normalize(torch.randn(count, 128, generator=torch.Generator().manual_seed(seed)))
