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

Queries and gallery are compared tile by tile, so that memory bounds the time needed and not the gallery: a million
images are ranked from a `FeatureFile` in less than 2 GB. The gallery is read twice, once for the longest feature and
once to compare.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import frexp
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from nasda.data.domain import DISTRACTOR, JUNK, Sample
from nasda.data.images import normalize
from nasda.errors import NasdaError
from nasda.features import FeatureFile

MEMORY = 256 * 2**20  # bytes that ranking may use, beside the features themselves

_BITS = 25  # features no longer than 2²⁵ grid units: squared distances stay near 2⁵² at most, exact in float64

# Compared at a time, at most. Enough for the matrix product to run at full speed, and for counting to be all numpy's;
# yet one query's distances, of which each positive asks anew, stay in the cache.
_QUERY_ROWS, _GALLERY_ROWS = 2**8, 2**14

_STRIPES = 6
_HUES, _SATURATIONS, _VALUES = 8, 4, 4

Ids = Sequence[int] | np.ndarray | Tensor
Features = Tensor | np.ndarray | FeatureFile


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


# ---------------------------------------------------------------------------------------------------------------------
# From features, or from distances, to ranks
# ---------------------------------------------------------------------------------------------------------------------


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
    return metrics(
        positive_ranks(
            query_features,
            gallery_features,
            query_pids,
            query_camids,
            gallery_pids,
            gallery_camids,
            memory=memory,
            device=device,
        )
    )


def positive_ranks(
    query_features: Features,
    gallery_features: Features,
    query_pids: Ids,
    query_camids: Ids,
    gallery_pids: Ids,
    gallery_camids: Ids,
    *,
    memory: int = MEMORY,
    device: torch.device | str = "cpu",
) -> list[np.ndarray]:
    """The ranks, ascending from 1, of each query's positives; arguments and errors as for `rank`."""
    test = _TestSet.checked(query_pids, query_camids, gallery_pids, gallery_camids)
    grid = _Grid.checked(query_features, gallery_features, test, memory, device)
    matches = test.matches()
    matches.require_positives(test)
    thresholds = grid.distances_of(matches.positives)
    nearer = torch.zeros(len(thresholds), dtype=torch.int64, device=grid.device)
    for tile in grid.tiles():
        _count_nearer(nearer, tile, matches, thresholds)
    return matches.positives.ranks(nearer.cpu().numpy())


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
    matches = test.matches()
    matches.require_positives(test)
    precision = np.result_type(matrix, np.float32)
    positives = matches.positives
    thresholds = matrix[positives.query, test.kept[positives.place]].astype(precision)
    nearer = np.zeros(len(thresholds), dtype=np.int64)
    for query in range(len(matrix)):
        row = matrix[query].take(test.kept).astype(precision, copy=False)  # taken, so ours to write to
        if not np.isfinite(row).all():
            raise NasdaError(f"evaluation: the distances of query {query} are not all finite numbers")
        _count_nearer_by_row(nearer, row[None], query, 0, matches, thresholds)
    return metrics(positives.ranks(nearer))


def ranked_gallery(
    query_features: Features,
    gallery_features: Features,
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
    grid = _Grid.checked(query_features, gallery_features, test, memory, "cpu")
    own = grid._replace(query=query_features[query : query + 1])
    distances = torch.cat([tile.distances[0].clone() for tile in own.tiles()]).numpy()
    dropped = test.matches().dropped
    distances[dropped.place[dropped.of(query, query + 1)]] = np.inf
    order = np.argsort(distances, kind="stable")
    return test.kept[order[np.isfinite(distances[order])][:top]]


class _Pairs(NamedTuple):
    """Pairs of a query and a gallery image, by number and by place among those kept, ascending: (N,) and (N,).

    starts (Q + 1,): where each query's pairs start, and the last one's end.
    """

    query: np.ndarray
    place: np.ndarray
    starts: np.ndarray

    @classmethod
    def sorted(cls, query: np.ndarray, place: np.ndarray, queries: int) -> "_Pairs":
        return cls(query, place, np.searchsorted(query, np.arange(queries + 1)))

    def of(self, first: int, last: int) -> slice:
        """The pairs of the queries from `first` on and before `last`."""
        return slice(self.starts[first], self.starts[last])

    def ranks(self, nearer: np.ndarray) -> list[np.ndarray]:
        """For each query the ranks, ascending, of which `nearer` (N,) are better."""
        return [np.sort(of_query) + 1 for of_query in np.split(nearer, self.starts[1:-1])]


class _Matches(NamedTuple):
    """Which gallery images are right, and which do not count because the query's own camera took them, too."""

    positives: _Pairs
    dropped: _Pairs

    def require_positives(self, test: "_TestSet") -> None:
        if not len(self.positives.query):
            raise NasdaError(f"evaluation: no query has a positive in the gallery: {test.why_no_positives()}")


class _Tile(NamedTuple):
    """Distances (q, g) of the queries from `query` on to the kept gallery images from `place` on."""

    distances: Tensor
    query: int
    place: int


def _count_nearer(nearer: Tensor, tile: _Tile, matches: _Matches, thresholds: Tensor) -> None:
    """Add to `nearer` (N,) how many of the tile's images are nearer than each positive of its queries.

    `thresholds` (N,): the positives' distances. The tile is overwritten.

    The tie rule: of the images before a positive the equally distant ones count, too; of those after it they do not.
    """
    if nearer.device.type == "cpu":
        _count_nearer_by_row(nearer.numpy(), tile.distances.numpy(), *tile[1:], matches, thresholds.numpy())
    else:
        _count_nearer_at_once(nearer, *tile, matches, thresholds)


def _count_nearer_by_row(
    nearer: np.ndarray, distances: np.ndarray, query: int, place: int, matches: _Matches, thresholds: np.ndarray
) -> None:
    """`_count_nearer` for a CPU: a row that stays in its cache is compared with one positive after the other."""
    positives, dropped = matches
    for number, row in enumerate(distances, start=query):
        places = dropped.place[dropped.of(number, number + 1)]
        first, last = np.searchsorted(places, (place, place + len(row)))
        row[places[first:last] - place] = np.inf
        own = positives.of(number, number + 1)
        splits = (positives.place[own] - place).clip(0, len(row)).tolist()
        for index, split in enumerate(splits, start=own.start):
            threshold = thresholds[index]
            before = np.count_nonzero(row[:split] <= threshold)
            nearer[index] += before + np.count_nonzero(row[split:] < threshold)


def _count_nearer_at_once(
    nearer: Tensor, distances: Tensor, query: int, place: int, matches: _Matches, thresholds: Tensor
) -> None:
    """`_count_nearer` for a GPU: as many positives at a time as the tile has rows, and no word back to the CPU."""

    def to_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(distances.device)

    rows, columns = distances.shape
    positives, dropped = matches
    wrong = dropped.of(query, query + rows)
    inside = (dropped.place[wrong] >= place) & (dropped.place[wrong] < place + columns)
    distances[to_device(dropped.query[wrong][inside] - query), to_device(dropped.place[wrong][inside] - place)] = np.inf

    numbers = torch.arange(place, place + columns, device=distances.device)
    own = positives.of(query, query + rows)
    for part in _chunks(own.start, own.stop, rows):
        row = distances[to_device(positives.query[part] - query)]
        threshold = thresholds[part, None]
        tied_before = (row == threshold) & (numbers < to_device(positives.place[part])[:, None])
        nearer[part] += ((row < threshold) | tied_before).sum(dim=1)


class _TestSet(NamedTuple):
    """Identities and cameras, and which gallery images are not junk (`kept`)."""

    query_pids: np.ndarray
    query_camids: np.ndarray
    gallery_pids: np.ndarray
    gallery_camids: np.ndarray
    kept: np.ndarray

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
        return cls(q_pids, q_camids, g_pids, g_camids, kept)

    def matches(self) -> _Matches:
        """The gallery images of each query's identity, by the camera that took them."""
        pids = self.gallery_pids[self.kept]
        by_pid = np.argsort(pids, kind="stable")
        first, last = (np.searchsorted(pids, self.query_pids, side, sorter=by_pid) for side in ("left", "right"))
        counts = last - first
        query = np.repeat(np.arange(len(counts)), counts)
        # The n-th pair of all is the (n − counts of earlier queries)-th of its own, which start at `first` in `by_pid`.
        place = by_pid[np.arange(len(query)) + np.repeat(last - np.cumsum(counts), counts)]
        own_camera = self.gallery_camids[self.kept[place]] == self.query_camids[query]
        positives, dropped = (_Pairs.sorted(query[of], place[of], len(counts)) for of in (~own_camera, own_camera))
        return _Matches(positives, dropped)

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


class _Grid(NamedTuple):
    """Features (Q, D) and (G, D), and the power of two that takes the longest of them to length 2²⁵."""

    query: Features
    gallery: Features
    kept: np.ndarray
    scale: float
    memory: int
    device: torch.device

    @classmethod
    def checked(
        cls, query: Features, gallery: Features, test: _TestSet, memory: int, device: torch.device | str
    ) -> "_Grid":
        lengths = [
            _longest("query", query, len(test.query_pids), memory),
            _longest("gallery", gallery, len(test.gallery_pids), memory),
        ]
        if query.shape[1] != gallery.shape[1]:
            raise NasdaError(
                f"evaluation: query features have {query.shape[1]} dimensions, gallery features {gallery.shape[1]}: "
                "extract both with the same network"
            )
        device = torch.device(device)
        if device.type == "mps":  # has no float64
            device = torch.device("cpu")
        _, exponent = frexp(max(lengths))
        return cls(query, gallery, test.kept, 2.0 ** (_BITS - exponent), memory, device)

    def tiles(self) -> Iterator[_Tile]:
        """Every query against every gallery image kept. Distances are squared, less the query's own squared length.

        Each tile is gone with the next one, which takes its place in memory.
        """
        dimension = self.query.shape[1]
        query_rows, gallery_rows = _chunk_sizes(self.memory, dimension)
        # Written anew for every tile: the system takes longer to hand out such memory than we to fill it.
        gallery_room = torch.empty(gallery_rows, dimension, dtype=torch.float64, device=self.device)
        tile_room = torch.empty(query_rows * gallery_rows, dtype=torch.float64, device=self.device)
        for columns in _chunks(0, len(self.kept), gallery_rows):
            gallery = self.rounded(self.gallery, self.kept[columns], gallery_room)
            squares = torch.einsum("gd,gd->g", gallery, gallery)
            for rows in _chunks(0, len(self.query), query_rows):
                query = self.rounded(self.query, rows)
                distances = tile_room[: len(query) * len(gallery)].view(len(query), len(gallery))
                torch.addmm(squares, query, gallery.T, alpha=-2, out=distances)
                yield _Tile(distances, rows.start, columns.start)

    def distances_of(self, pairs: _Pairs) -> Tensor:
        """The same distances (N,), of these pairs alone."""
        size, _ = _chunk_sizes(self.memory, self.query.shape[1])
        distances = []
        for part in _chunks(0, len(pairs.query), size):
            gallery = self.rounded(self.gallery, self.kept[pairs.place[part]])
            query = self.rounded(self.query, pairs.query[part])
            distances.append(query.mul_(-2).add_(gallery).mul_(gallery).sum(dim=1))
        return torch.cat(distances)

    def rounded(self, features: Features, rows: slice | np.ndarray, room: Tensor | None = None) -> Tensor:
        """Some of the features in grid units: float64 (n, D) on the device, in `room` if there is any."""
        part = _read(features, rows).to(self.device)
        if room is None:
            room = torch.empty(part.shape, dtype=torch.float64, device=self.device)
        return room[: len(part)].copy_(part).mul_(self.scale).round_()


def _longest(name: str, features: Features, count: int, memory: int) -> float:
    """The length of the longest of `count` features; raises `NasdaError` if they are not as many, or not finite."""
    if len(features.shape) != 2 or len(features) != count:
        raise NasdaError(
            f"evaluation: {name} features have shape {tuple(features.shape)}, expected ({count}, D): "
            "one row for each image"
        )
    longest, broken = 0.0, 0
    size, _ = _chunk_sizes(memory, features.shape[1])
    for rows in _chunks(0, count, size):
        # On the CPU and by NumPy, which adds up row by row, so that the grid does not depend on chunks or devices.
        squares = np.square(_read(features, rows).cpu().double().numpy()).sum(axis=1)
        broken += int(np.count_nonzero(~np.isfinite(squares)))
        longest = max(longest, float(squares.max()) ** 0.5)
    if broken:
        raise NasdaError(
            f"evaluation: {broken} of {count} {name} features are not finite numbers: "
            "training diverged; lower the learning rate, or use an earlier checkpoint"
        )
    return longest


def _read(features: Features, rows: slice | np.ndarray) -> Tensor:
    part = features[rows]
    if isinstance(part, Tensor):
        return part.detach()
    return torch.from_numpy(np.require(part, requirements="W"))  # torch wants to be allowed to write


def _chunk_sizes(memory: int, dimension: int) -> tuple[int, int]:
    """How many queries and gallery images to compare at a time, at least one: half of `memory` for each."""
    row = 16 * dimension + 16  # a float32 or float64 copy, its rounded float64 form, its square
    cell = 24  # a distance; on a GPU also its copies for other positives, and what comparing them says
    gallery_rows = max(1, min(_GALLERY_ROWS, memory // 2 // row))
    query_rows = max(1, min(_QUERY_ROWS, memory // 2 // (row + cell * gallery_rows)))
    return query_rows, gallery_rows


def _chunks(start: int, stop: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, stop)) for first in range(start, stop, size))


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
    return torch.cat(list(_features_of(network, images, batch_size, device)))


def extract_to_file(
    path: Path,
    network: torch.nn.Module,
    images: Tensor,
    *,
    batch_size: int = 256,
    device: torch.device | str | None = None,
) -> FeatureFile:
    """`extract`, batch by batch into the file `path`, which is written whole or not at all."""
    return FeatureFile.write(path, len(images), _features_of(network, images, batch_size, device))


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
) -> Metrics:
    """Extract the features of a test's `query` and `gallery` and score them; see `extract` and `rank`.

    query_images, gallery_images: uint8 (Q, 3, H, W) and (G, 3, H, W), `store.stored` of the samples.
    device: where the network is, and where its features are compared; None asks its parameters.
    """
    device = device or _device_of(network)
    query_features = extract(network, query_images, batch_size=batch_size, device=device)
    gallery_features = extract(network, gallery_images, batch_size=batch_size, device=device)
    return rank(query_features, gallery_features, *_ids_of(query), *_ids_of(gallery), memory=memory, device=device)


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


def colour_histogram(images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Which colours are where, from top to bottom: an HSV histogram for each of six horizontal stripes.

    images: uint8 (N, 3, H, W).

    Returns float32 (N, 768), 8 hues × 4 saturations × 4 values for each stripe. Entries are square roots of shares, so
    that Euclidean distance is √2 times the Hellinger distance of the histograms; a whole feature has unit length.
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
