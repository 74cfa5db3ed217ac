"""Ranks without sorting the gallery, exact to the bit, in bounded memory.

The rank of a positive is one plus the number of gallery images that are nearer. Of two images at the same distance the
one that comes first in the gallery counts as nearer, as in a stable sort.

Ties do occur (VeRi-776 has every query in its gallery too), and floating point breaks them at random: a matrix product
rounds differently for other shapes, chunks, threads and machines. So features are first rounded to integers of 25 bits,
held in float64. Each product and each sum of a squared distance then is an integer below 2⁵³, so it is exact in any
order. The rounding is at most 2⁻²⁵ of the longest feature's length, which is less than the error of float32.

Queries and gallery are compared tile by tile: less than 2 GB of memory rank a million images from a `FeatureFile`. The
gallery is read twice, once for the longest feature and once to compare.
"""

from collections.abc import Iterator, Sequence
from math import frexp
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nasda.data.domain import DISTRACTOR, JUNK
from nasda.errors import NasdaError
from nasda.fast.features import FeatureFile

MEMORY = 256 * 2**20  # bytes that ranking may use, beside the features themselves

# The largest tile. The matrix product runs at full speed, and one query's distances still fit in the CPU's cache.
_QUERY_ROWS, _GALLERY_ROWS = 2**8, 2**14

_BITS = 25  # features are at most 2²⁵ long: squared distances are near 2⁵² at most, exact in float64

Ids = Sequence[int] | np.ndarray | Tensor
Features = Tensor | np.ndarray | FeatureFile


def positive_ranks(
    query_features: Features,
    gallery_features: Features,
    *ids: Ids,
    memory: int = MEMORY,
    device: torch.device | str = "cpu",
) -> list[np.ndarray]:
    """The ranks, ascending from 1, of each query's positives; arguments (four `ids`) and errors as for `rank`."""
    test = _TestSet.checked(*ids)
    grid = _Grid.checked(query_features, gallery_features, test, memory, device)
    matches = test.matches()
    if not len(matches.positives.query):
        raise NasdaError(f"evaluation: no query has a positive in the gallery: {test.why_no_positives()}")
    thresholds = grid.distances_of(matches.positives)
    nearer = torch.zeros(len(thresholds), dtype=torch.int64, device=grid.device)
    for tile in grid.tiles():
        _count_nearer(nearer, tile, matches, thresholds)
    return matches.positives.ranks(nearer.cpu().numpy())


def ranked_gallery(
    query_features: Features, gallery_features: Features, *ids: Ids, query: int, top: int, memory: int = MEMORY
) -> np.ndarray:
    """The indices of the `top` gallery images nearest to the query numbered `query`, the nearest first.

    Junk is left out, and so are images of the query's identity from its own camera. Ties are broken as in `rank`. A
    query without positives has such a list, too. The other arguments and errors are those of `rank`.
    """
    test = _TestSet.checked(*ids)
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
    """N pairs of a query and a gallery image, ascending."""

    query: np.ndarray  # (N,): the query's number
    place: np.ndarray  # (N,): the gallery image's place among those kept
    starts: np.ndarray  # (Q + 1,): where each query's pairs start, and where the last one's end

    @classmethod
    def sorted(cls, query: np.ndarray, place: np.ndarray, queries: int) -> "_Pairs":
        return cls(query, place, np.searchsorted(query, np.arange(queries + 1)))

    def of(self, first: int, last: int) -> slice:
        """The pairs of the queries `first` to `last` - 1."""
        return slice(self.starts[first], self.starts[last])

    def ranks(self, nearer: np.ndarray) -> list[np.ndarray]:
        """For each query its pairs' ranks, ascending; `nearer` (N,): how many images are nearer than each pair's."""
        return [np.sort(of_query) + 1 for of_query in np.split(nearer, self.starts[1:-1])]


class _Matches(NamedTuple):
    """Queries with gallery images of the same identity."""

    positives: _Pairs  # from another camera
    dropped: _Pairs  # from the query's own camera: these do not count


class _Tile(NamedTuple):
    """Distances (q, g) of q queries, the first of them `query`, to g kept gallery images, the first of them `place`."""

    distances: Tensor
    query: int
    place: int


def _count_nearer(nearer: Tensor, tile: _Tile, matches: _Matches, thresholds: Tensor) -> None:
    """Add to `nearer` (N,) how many of the tile's images are nearer than each positive of its queries.

    `thresholds` (N,): the positives' distances. The tile is overwritten. An image at the same distance as the positive
    counts as nearer if it comes before it.
    """
    if nearer.device.type == "cpu":
        _count_nearer_by_row(nearer.numpy(), tile.distances.numpy(), *tile[1:], matches, thresholds.numpy())
    else:
        _count_nearer_at_once(nearer, *tile, matches, thresholds)


def _count_nearer_by_row(
    nearer: np.ndarray, distances: np.ndarray, query: int, place: int, matches: _Matches, thresholds: np.ndarray
) -> None:
    """`_count_nearer` for a CPU: one positive at a time, while the query's row is in the cache."""
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
    """`_count_nearer` for a GPU: as many positives at a time as the tile has rows, without waiting for the result."""

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
    """Identities and cameras of query and gallery."""

    query_pids: np.ndarray
    query_camids: np.ndarray
    gallery_pids: np.ndarray
    gallery_camids: np.ndarray
    kept: np.ndarray  # indices of the gallery images that are not junk

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
        """The gallery images of each query's identity."""
        pids = self.gallery_pids[self.kept]
        by_pid = np.argsort(pids, kind="stable")
        first, last = (np.searchsorted(pids, self.query_pids, side, sorter=by_pid) for side in ("left", "right"))
        counts = last - first
        query = np.repeat(np.arange(len(counts)), counts)
        # The images of query q are by_pid[first[q]:last[q]].
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
    """Features and how they are rounded."""

    query: Features  # (Q, D)
    gallery: Features  # (G, D)
    kept: np.ndarray  # as in `_TestSet`
    scale: float  # a power of two: the longest feature times this is between 2²⁴ and 2²⁵ long
    memory: int  # bytes
    device: torch.device

    @classmethod
    def checked(
        cls, query: Features, gallery: Features, test: _TestSet, memory: int, device: torch.device | str
    ) -> "_Grid":
        longest_query = _longest("query", query, len(test.query_pids), memory)
        longest = max(longest_query, _longest("gallery", gallery, len(test.gallery_pids), memory))
        if query.shape[1] != gallery.shape[1]:
            raise NasdaError(
                f"evaluation: query features have {query.shape[1]} dimensions, gallery features {gallery.shape[1]}: "
                "extract both with the same network"
            )
        device = torch.device(device)
        if device.type == "mps":  # has no float64
            device = torch.device("cpu")
        _, exponent = frexp(longest)
        return cls(query, gallery, test.kept, 2.0 ** (_BITS - exponent), memory, device)

    def tiles(self) -> Iterator[_Tile]:
        """Every query against every gallery image kept. Distances are squared, less the query's own squared length.

        All tiles share memory: use each before the next.
        """
        dimension = self.query.shape[1]
        query_rows, gallery_rows = _chunk_sizes(self.memory, dimension)
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
        """Some of the features, scaled and rounded: float64 (n, D) on the device, in `room` if that is given."""
        part = _read(features, rows).to(self.device)
        if room is None:
            room = torch.empty(part.shape, dtype=torch.float64, device=self.device)
        return room[: len(part)].copy_(part).mul_(self.scale).round_()


def _longest(name: str, features: Features, count: int, memory: int) -> float:
    """The length of the longest feature; raises `NasdaError` if there are not `count`, or if one is not finite."""
    if len(features.shape) != 2 or len(features) != count:
        raise NasdaError(
            f"evaluation: {name} features have shape {tuple(features.shape)}, expected ({count}, D): "
            "one row for each image"
        )
    longest, broken = 0.0, 0
    size, _ = _chunk_sizes(memory, features.shape[1])
    for rows in _chunks(0, count, size):
        # NumPy on the CPU adds up row by row: the result depends neither on chunks nor on the device.
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
    return torch.from_numpy(np.require(part, requirements="W"))  # torch warns of arrays that are read-only


def _chunk_sizes(memory: int, dimension: int) -> tuple[int, int]:
    """How many queries and gallery images to compare at a time, at least one: half of `memory` for each."""
    row = 16 * dimension + 16  # bytes: a float32 or float64 copy, its rounded float64 form, its square
    cell = 24  # bytes: a distance; on a GPU also its copies for other positives, and the comparison's result
    gallery_rows = max(1, min(_GALLERY_ROWS, memory // 2 // row))
    query_rows = max(1, min(_QUERY_ROWS, memory // 2 // (row + cell * gallery_rows)))
    return query_rows, gallery_rows


def _chunks(start: int, stop: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, stop)) for first in range(start, stop, size))
