"""How good features are at re-identification: ranks, CMC and both average precisions, without sorting the gallery.

The protocol is Market-1501's. For each query, gallery images of the same identity taken by the same camera are dropped,
and so are junk boxes (id −1); distractors (id 0) stay and are always wrong. A query left without a positive is skipped
and reported.

The rank of a positive is one plus the number of gallery images that are nearer. Of two images at the same distance the
one that comes first in the gallery counts as nearer, which is what a stable sort would say.

Such ties are real (VeRi-776 has every query in its gallery too), and floating point cannot be trusted with them: a
matrix product rounds differently for other shapes, chunks, threads and machines. So features are first rounded to
integers of 25 bits, held in float64. Each product and each sum of a squared distance then is an integer below 2⁵³ and
therefore exact, in whatever order it is computed. The rounding is at most 2⁻²⁵ of the longest feature's length, which
moves a distance less than computing it in float32 would.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import frexp
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from nasda.data.domain import DISTRACTOR, JUNK, Sample
from nasda.data.images import normalize
from nasda.errors import NasdaError

MEMORY = 256 * 2**20  # bytes that ranking may use, beside the features themselves

_BITS = 25  # features no longer than 2²⁵ grid units: squared distances stay near 2⁵² at most, exact in float64
_QUERY_ROWS = 256  # at a time: enough for the matrix product to run at full speed, few enough to stay in the cache

_STRIPES = 6
_HUES, _SATURATIONS, _VALUES = 8, 4, 4

Ids = Sequence[int] | np.ndarray | Tensor


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


# ---------------------------------------------------------------------------------------------------------------------
# From ranks to scores
# ---------------------------------------------------------------------------------------------------------------------


def average_precision(ranks: np.ndarray) -> float:
    """Mean of the precisions p_j = j / r_j, where r_j is the rank of the j-th positive.

    `ranks` (N,): the positives' ranks, ascending, from 1; at least one.
    """
    found = np.arange(1, len(ranks) + 1)
    return float(np.mean(found / ranks))


def average_precision_trapezoid(ranks: np.ndarray) -> float:
    """Mean of ½ (p_j + q_j), where q_j = (j − 1) / (r_j − 1) is the precision just before the j-th positive.

    At rank 1 there is no before, and q_j is 1. `ranks` as in `average_precision`, which is never smaller.
    """
    found = np.arange(1, len(ranks) + 1)
    before = np.where(ranks == 1, 1.0, (found - 1) / np.maximum(ranks - 1, 1))
    return float(np.mean((found / ranks + before) / 2))


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


# ---------------------------------------------------------------------------------------------------------------------
# From features, or from distances, to ranks
# ---------------------------------------------------------------------------------------------------------------------


def rank(
    query_features: Tensor,
    gallery_features: Tensor,
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
    *,
    memory: int = MEMORY,
) -> Metrics:
    """Rank the gallery for each query by Euclidean distance, and score the ranking.

    query_features (Q, D), gallery_features (G, D): compared as they are; `extract` and the floors give unit length, for
        which cosine similarity has the same order.
    query_pids, query_camids (Q,), gallery_pids, gallery_camids (G,): identities and cameras.
    memory: bytes to use at most (beside features, ids and the positives' ranks). It changes the time needed, never
        the result, not even by a bit.

    Raises `NasdaError` for features that are not finite, shapes that do not fit, a query without an identity (id 0 or
    −1), and when no query has a positive; the line names the cause.
    """
    return metrics(
        positive_ranks(
            query_features,
            gallery_features,
            query_pids,
            query_camids,
            gallery_pids,
            gallery_camids,
            memory=memory,
        )
    )


def positive_ranks(
    query_features: Tensor,
    gallery_features: Tensor,
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
    *,
    memory: int = MEMORY,
) -> list[np.ndarray]:
    """The ranks, ascending from 1, of each query's positives; arguments and errors as for `rank`."""
    test = _TestSet.checked(query_pids, query_camids, gallery_pids, gallery_camids)
    grid = _Grid.checked(query_features, gallery_features, test)
    matches = test.matches()
    query_rows, gallery_rows = _chunk_sizes(memory, grid.dimension)

    thresholds = [np.empty(len(match.positives)) for match in matches]
    for query, match in enumerate(matches):
        for part in _chunks(len(match.positives), gallery_rows):
            positives = grid.gallery_rows(test.kept[match.positives[part]])
            thresholds[query][part] = positives.distances(grid.query_rows(slice(query, query + 1)))[0]

    nearer = [np.zeros(len(match.positives), dtype=np.int64) for match in matches]
    tile = np.empty((query_rows, min(gallery_rows, len(test.kept))))

    def compare_with(columns: slice) -> None:
        gallery = grid.gallery_rows(test.kept[columns])
        for rows in _chunks(len(matches), query_rows):
            out = tile[: rows.stop - rows.start, : columns.stop - columns.start]
            distances = gallery.distances(grid.query_rows(rows), out)
            for query, row in enumerate(distances, start=rows.start):
                _count_nearer(nearer[query], row, columns.start, matches[query], thresholds[query])

    for columns in _chunks(len(test.kept), gallery_rows):
        compare_with(columns)
    return [np.sort(count) + 1 for count in nearer]


def rank_distances(
    distances: np.ndarray | Tensor,
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
) -> Metrics:
    """Score a given distance matrix (Q, G), such as a re-ranked one, smaller being nearer; else like `rank`."""
    test = _TestSet.checked(query_pids, query_camids, gallery_pids, gallery_camids)
    matrix = np.asarray(distances)
    if matrix.shape != (len(test.query_pids), len(test.gallery_pids)):
        raise NasdaError(
            f"evaluation: distances have shape {matrix.shape}, but there are {len(test.query_pids)} queries and "
            f"{len(test.gallery_pids)} gallery images"
        )
    ranks = []
    for query, match in enumerate(test.matches()):
        row = matrix[query, test.kept].astype(np.result_type(matrix, np.float32))  # a copy, ours to write to
        if not np.isfinite(row).all():
            raise NasdaError(f"evaluation: the distances of query {query} are not all finite numbers")
        nearer = np.zeros(len(match.positives), dtype=np.int64)
        _count_nearer(nearer, row, 0, match, row[match.positives])
        ranks.append(np.sort(nearer) + 1)
    return metrics(ranks)


def ranked_gallery(
    query_features: Tensor,
    gallery_features: Tensor,
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
    *,
    query: int,
    top: int,
    memory: int = MEMORY,
) -> np.ndarray:
    """The gallery indices that the query numbered `query` finds first, nearest first: at most `top` of them.

    Junk and the query's own camera's images of it are left out, ties are broken as in `rank`. For rank lists as
    pictures; a query without positives has one, too. Arguments and errors else as for `rank`.
    """
    test = _TestSet.checked(query_pids, query_camids, gallery_pids, gallery_camids)
    if not 0 <= query < len(test.query_pids):
        raise NasdaError(f"evaluation: there is no query {query}: there are {len(test.query_pids)}, numbered from 0")
    grid = _Grid.checked(query_features, gallery_features, test)
    wanted = grid.query_rows(slice(query, query + 1))
    _, gallery_rows = _chunk_sizes(memory, grid.dimension)
    distances = np.concatenate(
        [
            grid.gallery_rows(test.kept[columns]).distances(wanted)[0]
            for columns in _chunks(len(test.kept), gallery_rows)
        ]
    )
    distances[test.match(query).dropped] = np.inf
    order = np.argsort(distances, kind="stable")
    return test.kept[order[np.isfinite(distances[order])][:top]]


class _Match(NamedTuple):
    """What counts, and what does not, for one query: positions among the kept gallery images, ascending."""

    positives: np.ndarray
    dropped: np.ndarray


def _count_nearer(nearer: np.ndarray, row: np.ndarray, start: int, match: _Match, thresholds: np.ndarray) -> None:
    """Add to `nearer` how many images of a part of the gallery are nearer than each positive.

    `row`: distances of the gallery images `start`, `start + 1`, …; overwritten. `thresholds`: the positives' distances.
    """
    first, last = np.searchsorted(match.dropped, (start, start + len(row)))
    row[match.dropped[first:last] - start] = np.inf
    splits = (match.positives - start).clip(0, len(row)).tolist()
    for index, (split, threshold) in enumerate(zip(splits, thresholds, strict=True)):
        # The tie rule: of those before the positive the equally distant ones count, too; of those after it they do not.
        before = np.count_nonzero(row[:split] <= threshold)
        nearer[index] += before + np.count_nonzero(row[split:] < threshold)


class _TestSet(NamedTuple):
    """Identities and cameras; the gallery images that are not junk (`kept`) and their order by identity (`by_pid`)."""

    query_pids: np.ndarray
    query_camids: np.ndarray
    gallery_pids: np.ndarray
    gallery_camids: np.ndarray
    kept: np.ndarray
    by_pid: np.ndarray

    @classmethod
    def checked(cls, query_pids: Ids, query_camids: Ids, gallery_pids: Ids, gallery_camids: Ids) -> "_TestSet":
        q_pids, q_camids, g_pids, g_camids = map(np.asarray, (query_pids, query_camids, gallery_pids, gallery_camids))
        for name, pids, camids in (("query", q_pids, q_camids), ("gallery", g_pids, g_camids)):
            if pids.ndim != 1 or pids.shape != camids.shape:
                raise NasdaError(
                    f"evaluation: {name} ids have shape {pids.shape} and cameras {camids.shape}: one of each per image"
                )
            if not len(pids):
                raise NasdaError(f"evaluation: the {name} is empty: check that the data set's {name} folder was read")
        nobody = np.flatnonzero((q_pids == JUNK) | (q_pids == DISTRACTOR))
        if len(nobody):
            raise NasdaError(
                f"evaluation: query {nobody[0]} has id {q_pids[nobody[0]]}, which marks junk ({JUNK}) or distractors "
                f"({DISTRACTOR}): a query needs an identity, numbered from 1"
            )
        kept = np.flatnonzero(g_pids != JUNK)
        if not len(kept):
            raise NasdaError(f"evaluation: every gallery image is junk (id {JUNK}): check how identities are read")
        return cls(q_pids, q_camids, g_pids, g_camids, kept, np.argsort(g_pids[kept], kind="stable"))

    def match(self, query: int) -> _Match:
        pids = self.gallery_pids[self.kept]
        first, last = np.searchsorted(pids, self.query_pids[query] + np.array([0, 1]), sorter=self.by_pid)
        same_pid = self.by_pid[first:last]
        own_camera = self.gallery_camids[self.kept[same_pid]] == self.query_camids[query]
        return _Match(same_pid[~own_camera], same_pid[own_camera])

    def matches(self) -> list[_Match]:
        """The match of every query; raises `NasdaError` if there is no positive in any."""
        matches = [self.match(query) for query in range(len(self.query_pids))]
        if not any(len(match.positives) for match in matches):
            raise NasdaError(f"evaluation: no query has a positive in the gallery: {self.why_no_positives()}")
        return matches

    def why_no_positives(self) -> str:
        camids = np.union1d(self.query_camids, self.gallery_camids)
        if not len(np.intersect1d(self.query_pids, self.gallery_pids)):
            return (
                f"they share no identity (query ids {self.query_pids.min()} to {self.query_pids.max()}, gallery ids "
                f"{self.gallery_pids.min()} to {self.gallery_pids.max()}): check that both are of the same test split"
            )
        if len(camids) == 1:
            return (
                f"all images are from one camera only ({camids[0]}), but an image counts as found only under another "
                "camera: check how camera ids are read, or give the images of one identity different ones"
            )
        return (
            "each query's identity occurs in the gallery under the query's own camera only, but must be found under "
            "another: check how query and gallery were split, and how camera ids are read"
        )


class _GalleryRows(NamedTuple):
    """A part of the gallery in grid units: features (g, D) and their squared lengths (g,)."""

    features: np.ndarray
    squares: np.ndarray

    def distances(self, queries: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Squared Euclidean distances (q, g) to grid `queries` (q, D), less the query's own squared length."""
        distances = np.matmul(-2 * queries, self.features.T, out=out)
        distances += self.squares
        return distances


class _Grid(NamedTuple):
    """Features (Q, D) and (G, D), and the power of two that takes the longest of them to length 2²⁵."""

    query: np.ndarray
    gallery: np.ndarray
    scale: float

    @classmethod
    def checked(cls, query: Tensor, gallery: Tensor, test: _TestSet) -> "_Grid":
        query, gallery = _on_cpu(query), _on_cpu(gallery)
        longest = 0.0
        for name, features, count in (
            ("query", query, len(test.query_pids)),
            ("gallery", gallery, len(test.gallery_pids)),
        ):
            if features.ndim != 2 or len(features) != count:
                raise NasdaError(
                    f"evaluation: {name} features have shape {tuple(features.shape)}, expected ({count}, D): "
                    "one row for each image"
                )
            lengths = torch.linalg.vector_norm(features, dim=1, dtype=torch.float64)
            broken = int((~lengths.isfinite()).sum())
            if broken:
                raise NasdaError(
                    f"evaluation: {broken} of {count} {name} features are not finite numbers: "
                    "training diverged; lower the learning rate, or use an earlier checkpoint"
                )
            longest = max(longest, float(lengths.max()))
        if query.shape[1] != gallery.shape[1]:
            raise NasdaError(
                f"evaluation: query features have {query.shape[1]} dimensions, gallery features {gallery.shape[1]}: "
                "extract both with the same network"
            )
        _, exponent = frexp(longest)
        return cls(query.numpy(), gallery.numpy(), 2.0 ** (_BITS - exponent))

    @property
    def dimension(self) -> int:
        return self.query.shape[1]

    def query_rows(self, rows: slice) -> np.ndarray:
        return self._rounded(self.query[rows])

    def gallery_rows(self, rows: np.ndarray) -> _GalleryRows:
        features = self._rounded(self.gallery[rows])
        return _GalleryRows(features, np.einsum("gd,gd->g", features, features))

    def _rounded(self, features: np.ndarray) -> np.ndarray:
        scaled = np.multiply(features, self.scale, dtype=np.float64)
        return np.rint(scaled, out=scaled)


def _on_cpu(features: Tensor) -> Tensor:
    features = features.detach().cpu()
    return features if features.dtype == torch.float64 else features.float()


def _chunk_sizes(memory: int, dimension: int) -> tuple[int, int]:
    """How many queries and gallery images to compare at a time: half of `memory` each, at least one."""
    row = 16 * dimension + 16  # a float32 or float64 copy, its rounded float64 form, its square
    gallery_rows = max(1, memory // 2 // row)
    query_rows = max(1, min(_QUERY_ROWS, memory // 2 // (row + 8 * gallery_rows)))
    return query_rows, gallery_rows


def _chunks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


# ---------------------------------------------------------------------------------------------------------------------
# From images to features
# ---------------------------------------------------------------------------------------------------------------------


def extract(
    network: torch.nn.Module,
    images: Tensor,
    *,
    batch_size: int = 256,
    device: torch.device | str | None = None,
) -> Tensor:
    """The features f of `images`, scaled to unit length: what test images are compared by (§2.2).

    network: has a method `features`, from normalised images (B, 3, H, W) to (B, D). It is called in evaluation mode;
        afterwards each of its modules is in the mode it was in.
    images: uint8 (N, 3, H, W).
    device: where the network is; None asks its parameters.

    Returns float32 (N, D) on the CPU.
    """
    if device is None:
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    features = cast(Callable[[Tensor], Tensor], network.features)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            batches = [features(normalize(batch.to(device))).float().cpu() for batch in images.split(batch_size)]
    finally:
        for module, training in modes.items():
            module.training = training  # not train(): that would wake what the caller froze inside a training network
    return torch.nn.functional.normalize(torch.cat(batches))


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
) -> Metrics:
    """Extract the features of a test's `query` and `gallery` and score them; see `extract` and `rank`.

    query_images, gallery_images: uint8 (Q, 3, H, W) and (G, 3, H, W), `store.stored` of the samples.
    """
    query_features = extract(network, query_images, batch_size=batch_size, device=device)
    gallery_features = extract(network, gallery_images, batch_size=batch_size, device=device)
    return rank(query_features, gallery_features, *_ids_of(query), *_ids_of(gallery), memory=memory)


def _ids_of(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    return [sample.pid for sample in samples], [sample.camid for sample in samples]


# ---------------------------------------------------------------------------------------------------------------------
# Floors: what a network has to beat
# ---------------------------------------------------------------------------------------------------------------------


def floors(
    query: Sequence[Sample],
    gallery: Sequence[Sample],
    query_images: Tensor,
    gallery_images: Tensor,
    *,
    seed: int = 0,
    memory: int = MEMORY,
) -> dict[str, Metrics]:
    """The scores of features that have learned nothing: "random" and "colour histogram".

    Arguments as for `evaluate`; `seed` is that of the random features.
    """
    ids = (*_ids_of(query), *_ids_of(gallery))
    noise = random_features(len(query) + len(gallery), seed)
    return {
        "random": rank(noise[: len(query)], noise[len(query) :], *ids, memory=memory),
        "colour histogram": rank(colour_histogram(query_images), colour_histogram(gallery_images), *ids, memory=memory),
    }


def random_features(count: int, seed: int, dimension: int = 128) -> Tensor:
    """Directions drawn uniformly at random: float32 (count, dimension), of unit length."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dimension, generator=generator))


def colour_histogram(images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Which colours are where, from top to bottom: an HSV histogram for each of six horizontal stripes.

    images: uint8 (N, 3, H, W).

    Returns float32 (N, 768), 8 hues × 4 saturations × 4 values for each stripe. Entries are square roots of shares, so
    that Euclidean distance is the Hellinger distance of the histograms; a whole feature has unit length.
    """
    return torch.cat([_histograms(batch) for batch in images.split(batch_size)])


def _histograms(images: Tensor) -> Tensor:
    count, _, height, _ = images.shape
    hue, saturation, value = hsv(images).unbind(1)
    bins = _HUES * _SATURATIONS * _VALUES
    bin_of_pixel = (_bin(hue, _HUES) * _SATURATIONS + _bin(saturation, _SATURATIONS)) * _VALUES + _bin(value, _VALUES)
    stripe_of_row = torch.arange(height, device=images.device) * _STRIPES // height
    stripe_of_pixel = torch.arange(count, device=images.device)[:, None] * _STRIPES + stripe_of_row
    index = stripe_of_pixel[:, :, None] * bins + bin_of_pixel
    counts = torch.bincount(index.flatten(), minlength=count * _STRIPES * bins).view(count, _STRIPES, bins).float()
    shares = torch.nn.functional.normalize(counts, p=1, dim=2) / _STRIPES
    return shares.sqrt().flatten(1)


def _bin(values: Tensor, bins: int) -> Tensor:
    return (values * bins).long().clamp(max=bins - 1)  # the value 1 belongs to the last bin


def hsv(images: Tensor) -> Tensor:
    """Hue in [0, 1), saturation and value in [0, 1] of uint8 `images` (N, 3, H, W): float32 (N, 3, H, W).

    As in Python's `colorsys`; greys have hue 0.
    """
    red, green, blue = images.float().unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = spread.clamp(min=1)  # values are whole numbers, so only greys are changed by this
    sixths = torch.where(
        value == red,
        (green - blue) / divisor % 6,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return torch.stack([sixths / 6, spread / value.clamp(min=1), value / 255], dim=1)
