"""Notebook 05: what each image of a gallery is to a query, what a query's precision–recall curve encloses, and the
evaluation that the student builds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from nasda.course.judges import Case, Exercise, NotAttempted, Wrong, call, like, show
from nasda.course.predict import Question
from nasda.data.domain import DISTRACTOR, JUNK
from nasda.evaluation import average_precision, average_precision_trapezoid
from nasda.fast.ranking import positive_ranks
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION
from nasda.pictures.plots import Plot, dress

ROLES = ("right", "own camera", "junk", "distractor", "another identity")
_COLOURS = (GREEN, GREY, PURPLE, ORANGE, VERMILLION)
_COUNTS = ("counts: right", "does not count", "does not count", "counts: wrong", "counts: wrong")


def roles(query_pid: int, query_camid: int, gallery_pids: ArrayLike, gallery_camids: ArrayLike) -> NDArray[np.int64]:
    """What each gallery image is to one query: (G,) of indices into `ROLES`."""
    pids, camids = np.asarray(gallery_pids), np.asarray(gallery_camids)
    own = pids == query_pid
    kinds = [own & (camids != query_camid), own, pids == JUNK, pids == DISTRACTOR]
    return np.select(kinds, range(len(kinds)), default=len(kinds))


def roles_sheet(
    query_image: NDArray[np.uint8],
    gallery_images: NDArray[np.uint8],
    query: tuple[int, int],
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
    top: int = 8,
) -> Plot:
    """A row for each role that occurs, with up to `top` of its images; `query_image` (H, W, 3) stands above them.

    `query`: its identity and camera; of the gallery there are the images (G, H, W, 3), identities and cameras.
    """
    kinds = roles(*query, gallery_pids, gallery_camids)
    shown = [role for role in range(len(ROLES)) if (kinds == role).any()]
    height, width = query_image.shape[:2]
    row = 0.95 if height > width else 0.8
    figure = Plot(8.5, 0.4 + row * (len(shown) + 1))
    panels = figure.subplots(len(shown) + 1, top, squeeze=False)
    for line, role in enumerate([None, *shown]):
        found = [0] if role is None else np.flatnonzero(kinds == role)
        colour = INK if role is None else _COLOURS[role]
        words = "query" if role is None else f"{ROLES[role]}: {len(found)}\n({_COUNTS[role]})"
        for column, panel in enumerate(panels[line]):
            panel.set_axis_off()
            if column < len(found):
                panel.imshow(query_image if role is None else gallery_images[found[column]])
                frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=colour, linewidth=3, clip_on=False)
                panel.add_patch(frame)
        place = {"xycoords": "axes fraction", "ha": "right", "va": "center", "fontsize": 10, "color": INK}
        panels[line, 0].annotate(words, (-0.25, 0.5), annotation_clip=False, **place)
    said = "; ".join(f"{ROLES[role]} {int((kinds == role).sum())}, {_COUNTS[role]}" for role in shown)
    figure.alt = f"Photographs: a query, and up to {top} gallery images of each kind. How many there are: {said}."
    return figure


def precision_recall(ranks: Sequence[int] | np.ndarray, title: str = "") -> Plot:
    """The precision–recall curve of positives found at `ranks` (ascending, from 1), and both areas called AP.

    The mean of precisions is the area of the rectangles, the trapezoid rule's that under the slanted lines; what lies
    between them, a triangle for each positive, is the difference.
    """
    ranks = np.asarray(ranks)
    count = len(ranks)
    figure = Plot(7.5, 4)
    axes = figure.subplots()
    for j, rank in enumerate(ranks.tolist(), start=1):
        left, right, after = (j - 1) / count, j / count, j / rank
        before = 1.0 if rank == 1 else (j - 1) / (rank - 1)
        axes.fill([left, right, right, left], [0, 0, after, before], color=SKY, alpha=0.55, linewidth=0)
        axes.fill([left, right, left], [before, after, after], facecolor="white", edgecolor=VERMILLION, hatch="////")
        axes.plot([left, right], [before, after], color=BLUE, linewidth=2.2)
        axes.plot([left, right], [after, after], color=VERMILLION, linewidth=1.4, linestyle="--")
        axes.plot(right, after, "o", color=INK, markersize=5, zorder=3)
        if count <= 12:
            axes.annotate(f"rank {rank}", (right, after), (-4, 6), textcoords="offset points", ha="right", fontsize=9)
    both = average_precision(ranks), average_precision_trapezoid(ranks)
    handles = [
        Patch(color=SKY, alpha=0.55, label=f"trapezoids: {both[1]:.3f}"),
        Patch(
            facecolor="white", edgecolor=VERMILLION, hatch="////", label=f"what they leave out: {both[0] - both[1]:.3f}"
        ),
    ]
    label = f"mean of precisions: {both[0]:.3f},\nall that is coloured"
    axes.legend(handles=handles, title=label, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xlim=(0, 1.01), ylim=(0, 1.12), yticks=np.linspace(0, 1, 6))
    dress(axes, "recall: share of the positives found", "precision", title, grid="")
    return figure


def cmc_curves(curves: Mapping[str, ArrayLike]) -> Plot:
    """CMC curves by name: at each k from 1 on, the share of queries with a positive among the first k."""
    figure = Plot(7.5, 3.6)
    axes = figure.subplots()
    styles = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREY, "^", ":"), (GREEN, "D", "-."))
    for number, (name, values) in enumerate(curves.items()):
        colour, marker, line = styles[number % len(styles)]
        shares = 100 * np.asarray(values)
        axes.plot(range(1, len(shares) + 1), shares, marker, linestyle=line, color=colour, label=name, markersize=5)
    longest = max(len(np.asarray(values)) for values in curves.values())
    axes.set(ylim=(0, 103), xticks=[1, *range(5, longest + 1, 5)])
    dress(axes, "k: how many gallery images are looked at", "queries with a hit (%)", legend="beside")
    return figure


def largest_difference(positives: int) -> float:
    """The most by which the two average precisions of a query with so many positives can differ, over all rankings.

    1/(4N) Σ 1/(2j − 1): every second gallery image is right, and the first is wrong.
    """
    return float((1 / (2 * np.arange(1, positives + 1) - 1)).sum() / (4 * positives))


def disagreements(positives: Sequence[int], differences: Sequence[float]) -> Plot:
    """How far the two average precisions of each query lie apart, by how many positives it has, below what is possible.

    The dots are moved sideways a little, so that queries with as many positives stay apart.
    """
    numbers = np.asarray(positives)
    figure = Plot(7, 3.2)
    axes = figure.subplots()
    most = range(1, max(20, int(numbers.max()) + 3))
    largest = [100 * largest_difference(number) for number in most]
    axes.plot(most, largest, color=VERMILLION, label="at most, eq. (e)")
    aside = np.random.default_rng(0).uniform(-0.3, 0.3, len(numbers))
    axes.plot(numbers + aside, 100 * np.asarray(differences), "o", color=BLUE, alpha=0.5, label="a query")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    dress(axes, "right images of a query in the gallery", "AP less trapezoid (points)", grid="", legend="best")
    return figure


# ---------------------------------------------------------------------------------------------------------- exercises

RECALL = (
    Question(
        "b",
        "A target may be hard for everybody. Only two learners on one test show what was lost on the way: notebook 00.",
    ),
    Question(
        "c",
        "The triplet loss pulls and pushes the features f, and the test ranks by their distances: notebook 03.",
    ),
    Question(
        "a",
        "A few labelled images of the target's training split. Query and gallery are for the last test only: "
        "notebook 04.",
    ),
)

# 05.1


def counts(query_pid: int, query_camid: int, gallery_pids: ArrayLike, gallery_camids: ArrayLike) -> NDArray[np.bool_]:
    """Which images of a gallery count for one query: all but junk, and its own identity from its own camera."""
    kinds = roles(query_pid, query_camid, gallery_pids, gallery_camids)
    return ~np.isin(kinds, [ROLES.index("own camera"), ROLES.index("junk")])


def _gallery(rng: np.random.Generator, images: int) -> dict[str, NDArray[np.int64]]:
    return {"gallery_pids": rng.integers(-1, 4, images), "gallery_camids": rng.integers(1, 4, images)}


def _one_query(rng: np.random.Generator) -> Case:
    asked = {"query_pid": int(rng.integers(1, 4)), "query_camid": int(rng.integers(1, 4))}
    return asked | _gallery(rng, int(rng.integers(1, 12)))


_ONE_QUERY: list[Case] = [
    {
        "query_pid": 3,
        "query_camid": 1,
        "gallery_pids": np.array([3, 3, 5, 5, JUNK, JUNK, DISTRACTOR, DISTRACTOR]),
        "gallery_camids": np.array([1, 2, 1, 2, 1, 2, 1, 2]),
    },
    {
        "query_pid": 2,
        "query_camid": 6,
        "gallery_pids": np.array([2, 2, 2, 4]),
        "gallery_camids": np.array([6, 6, 6, 6]),
    },
]


_COUNTED: list[tuple[Callable[..., Any], str]] = [
    (lambda p, c, ps, cs: (ps != p) | (cs != c), "Junk does not count either"),
    (lambda p, c, ps, cs: ps != JUNK, "The query's own identity from its own camera does not count"),
    (
        lambda p, c, ps, cs: (ps != JUNK) & (cs != c),
        "Only the query's own identity is dropped from its camera: other people before it count, as wrong",
    ),
    (
        lambda p, c, ps, cs: (ps != JUNK) & (ps != p),
        "The query's own identity counts where another camera took it: that is what is looked for",
    ),
    (lambda p, c, ps, cs: (ps > DISTRACTOR) & ((ps != p) | (cs != c)), "A distractor counts: it is always wrong"),
    (lambda p, c, ps, cs: (ps == p) & (cs != c), "These are the right ones. The wrong ones count, too"),
    (lambda p, c, ps, cs: (ps == JUNK) | ((ps == p) & (cs == c)), "These are the images that do not count: turn it"),
]


# 05.2


def ranks_of(distances: ArrayLike, right: ArrayLike) -> NDArray[np.int64]:
    """Ranks, ascending from 1, of the images that are right; of two at one distance the first counts as nearer."""
    order = np.argsort(np.asarray(distances), kind="stable")
    return np.flatnonzero(np.asarray(right)[order]) + 1


def _case(distances: list[float], right: list[int]) -> Case:
    return {"distances": np.array(distances), "right": np.array(right, dtype=bool)}


_TIES = [
    _case([0.1, 0.4, 0.2, 0.3], [0, 1, 1, 0]),
    _case([0.5, 0.5, 0.2], [1, 0, 0]),
    _case([0.5, 0.5, 0.2], [0, 1, 0]),
    _case([0.3, 0.3, 0.3, 0.1], [1, 1, 0, 0]),
    _case([1.0, 1.0, 1.0, 1.0, 1.0], [1, 0, 1, 0, 1]),
    _case([0.2, 0.1], [0, 0]),
]


def _tied(rng: np.random.Generator) -> Case:
    images = int(rng.integers(1, 12))
    return {"distances": rng.integers(0, 4, images) / 4, "right": rng.random(images) < 0.4}


_FORGOTTEN = "Of two images at one distance the one that stands first in the gallery counts as nearer"
_RANK_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (lambda away, right: np.sort([1 + np.count_nonzero(away < own) for own in away[right]]), _FORGOTTEN),
    (lambda away, right: np.sort([np.count_nonzero(away <= own) for own in away[right]]), _FORGOTTEN),
    (lambda away, right: np.flatnonzero(right[np.lexsort((right, away))]) + 1, _FORGOTTEN),
    (lambda away, right: np.flatnonzero(right[np.lexsort((~right, away))]) + 1, _FORGOTTEN),
    (lambda away, right: np.flatnonzero(right[np.argsort(away, kind="stable")]), "Ranks begin at 1"),
    (
        lambda away, right: np.argsort(np.argsort(away, kind="stable"))[right] + 1,
        "Return the ranks in ascending order, not in the order of the gallery",
    ),
    (
        lambda away, right: ranks_of(-away, right),
        "The nearest image has rank 1: small distances come first",
    ),
    (
        lambda away, right: ranks_of(away, right) - np.arange(np.count_nonzero(right)),
        "A right image that is nearer takes a place, too",
    ),
    (lambda away, right: ranks_of(away, right)[:1], "All right images have a rank, not the first alone"),
]


# 05.3


def ranks(
    query_features: NDArray[np.float64],
    gallery_features: NDArray[np.float64],
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
) -> list[NDArray[np.int64]]:
    """For each query the ranks of its right images."""
    return _ranks_by(query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids)


def _ranks_by(
    *test: Any,
    away: Callable[[Any, Any], Any] = lambda query, gallery: np.square(gallery - query).sum(axis=1),
    counting: Callable[..., Any] = counts,
) -> list[NDArray[np.int64]]:
    """As `ranks`, with another distance or another rule."""
    query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids = map(np.asarray, test)
    found = []
    for feature, pid, camid in zip(query_features, query_pids, query_camids, strict=True):
        kept = counting(pid, camid, gallery_pids, gallery_camids)
        found.append(ranks_of(away(feature, gallery_features)[kept], (gallery_pids == pid)[kept]))
    return found


def _test_set(rng: np.random.Generator) -> Case:
    """Small numbers, so that distances are exact and ties happen."""
    queries, images = int(rng.integers(1, 5)), int(rng.integers(4, 16))
    features = {f"{side}_features": rng.integers(0, 4, (n, 3)) * 1.0 for side, n in _sides(queries, images)}
    asked = {"query_pids": rng.integers(1, 4, queries), "query_camids": rng.integers(1, 4, queries)}
    return features | asked | _gallery(rng, images)


def _sides(queries: int, images: int) -> tuple[tuple[str, int], ...]:
    return ("query", queries), ("gallery", images)


_TEST_SETS: dict[str, Case] = {
    "one query, whose own camera's picture is the nearest": {
        "query_features": np.array([[0.0, 1.0]]),
        "gallery_features": np.array([[0.0, 1.0], [0.0, 2.0], [3.0, 1.0]]),
        "query_pids": np.array([1]),
        "query_camids": np.array([1]),
        "gallery_pids": np.array([1, 2, 1]),
        "gallery_camids": np.array([1, 1, 2]),
    },
    "two queries; junk and distractors lie near": {
        "query_features": np.array([[0.0, 0.0], [4.0, 4.0]]),
        "gallery_features": np.array([[4.0, 5.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [4.0, 4.0], [7.0, 4.0]]),
        "query_pids": np.array([5, 8]),
        "query_camids": np.array([2, 1]),
        "gallery_pids": np.array([DISTRACTOR, JUNK, DISTRACTOR, 5, 8, 8]),
        "gallery_camids": np.array([1, 2, 2, 1, 1, 2]),
    },
    "a query without a right image": {
        "query_features": np.array([[1.0], [2.0]]),
        "gallery_features": np.array([[1.0], [2.0], [5.0]]),
        "query_pids": np.array([1, 2]),
        "query_camids": np.array([1, 1]),
        "gallery_pids": np.array([1, 2, 2]),
        "gallery_camids": np.array([1, 2, 3]),
    },
}


def _counting_after(*test: Any) -> list[NDArray[np.int64]]:
    """Ranks among all images, of the right ones that count."""
    query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids = test
    found = []
    for feature, pid, camid in zip(query_features, query_pids, query_camids, strict=True):
        right = (gallery_pids == pid) & (gallery_camids != camid)
        found.append(ranks_of(np.square(gallery_features - feature).sum(axis=1), right))
    return found


def _with_rule(number: int) -> Callable[..., Any]:
    """The ranks under one of the wrong rules of 05.1."""
    return lambda *test: _ranks_by(*test, counting=_COUNTED[number][0])


_TEST_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (_with_rule(0), "Junk was kept"),
    (_with_rule(1), "The camera rule is missing"),
    (_with_rule(2), "All that the query's camera took was dropped"),
    (_with_rule(4), "The distractors are missing"),
    (
        _counting_after,
        "What does not count takes no place: drop it first, from the distances and from `right`, then rank",
    ),
    (
        lambda *test: _ranks_by(*test, away=lambda query, gallery: np.abs(gallery - query).sum(axis=1)),
        "These are sums of absolute differences; the distance is Euclidean",
    ),
    (
        lambda *test: _ranks_by(*test, away=lambda query, gallery: -(gallery @ query)),
        "Products of features order like distances only where all features have one length; here they have not",
    ),
    (
        lambda *test: _ranks_by(*test, away=lambda query, gallery: gallery @ query),
        "A product is large where features are near: it is no distance",
    ),
    (lambda *test: [found for found in ranks(*test) if len(found)], "A query without a right image has no ranks: []"),
]


# 05.4


def average_precisions(ranks: ArrayLike) -> tuple[float, float]:
    """The mean of precisions, eq. (b), and the trapezoid's area, eq. (c), of right images at `ranks`."""
    return average_precision(np.asarray(ranks)), average_precision_trapezoid(np.asarray(ranks))


def _some_ranks(rng: np.random.Generator) -> Case:
    return {"ranks": np.sort(rng.permutation(30)[: rng.integers(1, 7)]) + 1}


_RANKS: list[Case] = [{"ranks": np.array(found)} for found in ([1, 4, 5], [2], [1], [1, 2, 3], [5, 6, 40])]


def _areas(before: Callable[[NDArray[Any], NDArray[Any]], Any]) -> Callable[..., Any]:
    """Both scores, with another precision `before` an image: from its number j and its rank."""

    def both(ranks: NDArray[np.int64]) -> tuple[float, float]:
        j = np.arange(1, len(ranks) + 1)
        return average_precision(ranks), float(np.mean((j / ranks + before(j, ranks)) / 2))

    return both


def _with_first(first: Callable[[NDArray[np.int64]], float]) -> Callable[..., Any]:
    """Another first score, and the right second one."""
    return lambda ranks: (first(ranks), average_precision_trapezoid(ranks))


_AP_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (lambda ranks: average_precisions(ranks)[::-1], "The other order: eq. (b) comes first"),
    (
        _with_first(lambda ranks: float(np.mean(1 / ranks))),
        "Eq. (b): the j-th right image has the precision j / r, not 1 / r",
    ),
    (
        _with_first(lambda ranks: float(np.sum(np.arange(1, len(ranks) + 1) / ranks) / ranks[-1])),
        "Eq. (b): divide by the number of right images, not by the last rank",
    ),
    (
        _with_first(lambda ranks: float(len(ranks) / ranks[-1])),
        "Eq. (b): that is the precision at the last right image; take the mean over all of them",
    ),
    (
        _areas(lambda j, ranks: np.concatenate([[1], (j / ranks)[:-1]])),
        "Eq. (c): q is the precision just before the image, at rank r − 1, not that of the right image before it",
    ),
    (
        _areas(lambda j, ranks: (j - 1) / np.maximum(ranks - 1, 1)),
        "Eq. (c): at rank 1 nothing came before, and q is 1 there",
    ),
    (
        _areas(lambda j, ranks: np.where(ranks == 1, 1.0, (j - 1) / ranks)),
        "Eq. (c): before the image, r − 1 images had been seen, not r",
    ),
    (
        _areas(lambda j, ranks: np.where(j == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))),
        "Eq. (c): q is 1 where the image stands at rank 1, not for each first right image",
    ),
]


# 05.5


def _judge_worst(answer: Any) -> Wrong | str | None:
    if not callable(answer):
        return f"expected a function, found {show(answer)}"
    for positives in (1, 2, 3, 4, 10, 25):
        case = {"positives": positives}
        found = call(answer, case)
        if found is None or found is ...:
            raise NotAttempted
        words = _not_worst(positives, list(found) if isinstance(found, Iterator | range) else found)
        if words:
            return Wrong(f"for {positives} right images: {words}", case)
    return None


def _not_worst(positives: int, found: Any) -> str | None:
    """What is wrong with these ranks, if anything."""
    ranks = np.asarray(found)
    if ranks.shape != (positives,):
        return f"expected {positives} ranks, yours gave {show(found)}"
    if (ranks % 1 != 0).any() or ranks[0] < 1 or (np.diff(ranks) < 1).any():
        return f"expected whole numbers from 1, ascending; yours gave {show(found)}"
    reached, largest = average_precision(ranks) - average_precision_trapezoid(ranks), largest_difference(positives)
    if reached >= largest - 1e-9:
        return None
    if ranks[0] == 1:
        hint = "A right image at rank 1 adds nothing to eq. (d)"
    else:
        shares = [(r - j) / (r * (r - 1)) for j, r in enumerate(ranks.tolist(), start=1)]
        number = int(np.argmax([1 / (4 * j - 2) - share for j, share in enumerate(shares, start=1)])) + 1
        hint = f"Look at j = {number}: is its term larger at another rank?"
    return f"your ranks {show(found)} differ by {reached:.4f}, but {largest:.4f} is possible. {hint}"


# 05.6


def evaluate(
    query_features: NDArray[np.float64],
    gallery_features: NDArray[np.float64],
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
    top: int = 10,
) -> tuple[float, float, NDArray[np.float64]]:
    """mAP by eq. (b), mAP by eq. (c), and CMC (top,), over the queries with a right image."""
    found = ranks(query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids)
    return _scored([of_query for of_query in found if len(of_query)], top)


def _scored(scored: Sequence[NDArray[np.int64]], top: int) -> tuple[float, float, NDArray[np.float64]]:
    both = np.mean([average_precisions(of_query) for of_query in scored], axis=0)
    first = np.array([of_query[0] for of_query in scored])
    return float(both[0]), float(both[1]), (first[:, None] <= np.arange(1, top + 1)).mean(axis=0)


def _with_a_right_image(rng: np.random.Generator) -> Case:
    while True:
        case = _test_set(rng)
        if any(map(len, ranks(*case.values()))):
            return {**case, "top": int(rng.integers(2, 6))}


def _found(change: Callable[[list[NDArray[np.int64]], int], Any]) -> Callable[..., Any]:
    """What `change` makes of all queries' ranks and of `top`."""
    return lambda *test: change(ranks(*test[:-1]), test[-1])


def _with_zeros(found: list[NDArray[np.int64]], top: int) -> Any:
    scored = [of_query for of_query in found if len(of_query)]
    return tuple(len(scored) / len(found) * np.asarray(part) for part in _scored(scored, top))


def _with_cmc(cmc: Callable[[list[NDArray[np.int64]], NDArray[np.int64]], Any]) -> Callable[..., Any]:
    """The right mAPs with another CMC, from the scored queries' ranks and k."""

    def change(found: list[NDArray[np.int64]], top: int) -> Any:
        scored = [of_query for of_query in found if len(of_query)]
        return *_scored(scored, top)[:2], cmc(scored, np.arange(1, top + 1))

    return _found(change)


def _pooled(found: list[NDArray[np.int64]], top: int) -> Any:
    scored = [of_query for of_query in found if len(of_query)]
    weights = list(map(len, scored))
    both = np.average([average_precisions(of_query) for of_query in scored], axis=0, weights=weights)
    return *both, _scored(scored, top)[2]


_SCORE_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (_found(_with_zeros), "A query without a right image is left out of every mean; it is no 0"),
    (
        lambda *test: [evaluate(*test)[part] for part in (1, 0, 2)],
        "The other order: the mean of precisions comes first",
    ),
    (
        _with_cmc(lambda found, k: np.mean([of_query[0] == k for of_query in found], axis=0)),
        "CMC: a first hit among the first k, not at k: ≤, not ==",
    ),
    (
        _with_cmc(lambda found, k: np.mean([of_query[0] < k for of_query in found], axis=0)),
        "CMC: a first hit at rank k is among the first k: ≤, not <",
    ),
    (
        _with_cmc(lambda found, k: np.mean(np.concatenate(found)[:, None] <= k, axis=0)),
        "CMC asks for each query's first right image, not for all of them",
    ),
    (_found(_pooled), "Each query counts the same in mAP, however many right images it has"),
]


# 05.7


def paired(first: ArrayLike, second: ArrayLike, pids: ArrayLike) -> tuple[float, float, int]:
    """First less second, averaged within each identity: the mean over identities, its standard error, and for how many
    identities it is above 0."""
    differences = np.asarray(first) - np.asarray(second)
    means = np.array([differences[np.asarray(pids) == pid].mean() for pid in np.unique(pids)])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means))), int((means > 0).sum())


_QUERIES: list[Case] = [
    {
        "first": np.array([0.5, 0.75, 0.25, 1.0]),
        "second": np.array([0.25, 0.5, 0.5, 0.25]),
        "pids": np.array([7, 7, 9, 12]),
    },
    {
        "first": np.array([0.5, 0.5, 0.25]),
        "second": np.array([0.5, 0.25, 0.75]),
        "pids": np.array([3, 1, 3]),
    },
]


def _two_networks(rng: np.random.Generator) -> Case:
    pids = np.concatenate([np.repeat(pid, rng.integers(1, 4)) for pid in range(3, 3 + rng.integers(2, 7))])
    first, second = rng.integers(0, 9, (2, len(pids))) / 8
    return {"first": first, "second": second, "pids": rng.permutation(pids)}


def _other_error(error: Callable[[NDArray[Any], NDArray[Any]], float]) -> Callable[..., Any]:
    """The right mean and count with another error, from both networks' means by identity."""

    def changed(first: NDArray[Any], second: NDArray[Any], pids: NDArray[Any]) -> tuple[float, float, int]:
        by_pid = (np.array([values[pids == pid].mean() for pid in np.unique(pids)]) for values in (first, second))
        mean, _, above = paired(first, second, pids)
        return mean, error(*by_pid), above

    return changed


_PAIRED_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (lambda first, second, pids: paired(second, first, pids), "The difference is first less second"),
    (
        lambda first, second, pids: paired(first, second, np.arange(len(pids))),
        "The queries of one identity are easy or hard together: average within each identity first",
    ),
    (
        _other_error(lambda a, b: float(np.std(a - b) / len(a) ** 0.5)),
        "The standard deviation of a sample divides by n − 1: `ddof=1`",
    ),
    (
        _other_error(lambda a, b: float(np.std(a - b, ddof=1))),
        "That is the standard deviation of the differences; the error of their mean is smaller by √n",
    ),
    (
        _other_error(lambda a, b: float(((np.var(a, ddof=1) + np.var(b, ddof=1)) / len(a)) ** 0.5)),
        "Both scores of an identity rise and fall together: make the differences first",
    ),
    (
        lambda first, second, pids: (*paired(first, second, pids)[:2], int(np.sum(first > second))),
        "`above` counts identities, not queries",
    ),
]


EXERCISES = {
    "05.1": like(
        counts,
        _ONE_QUERY,
        _COUNTED,
        draw=_one_query,
        part="the camera rule",
        praise="One line, and below you will see what a score is worth without it",
    ),
    "05.2": like(
        ranks_of,
        _TIES,
        _RANK_MISTAKES,
        draw=_tied,
        part="the ranks of a query",
        praise="All scores of this notebook are made of these numbers, and of nothing else",
    ),
    "05.3": like(
        ranks,
        _TEST_SETS,
        _TEST_MISTAKES,
        draw=_test_set,
        part="the ranks",
        library=positive_ranks,
        praise="This is an evaluator. What is still missing is how to make one number of it",
    ),
    "05.4": like(
        average_precisions,
        _RANKS,
        _AP_MISTAKES,
        draw=_some_ranks,
        part="both average precisions",
        praise="For ranks 1, 4 and 5 they are more than four points apart, and both are called AP",
    ),
    "05.5": Exercise(
        _judge_worst,
        "A list in which every second image is right, and the first is wrong, is where two codes differ most",
    ),
    "05.6": like(
        evaluate,
        {name: {**case, "top": 4} for name, case in _TEST_SETS.items()},
        _SCORE_MISTAKES,
        draw=_with_a_right_image,
        part="the evaluation",
        praise="Features in, a table's row out: the rest of this notebook is scored by it",
    ),
    "05.7": like(
        paired,
        _QUERIES,
        _PAIRED_MISTAKES,
        draw=_two_networks,
        part="the comparison of two networks",
        praise="Two networks that were asked the same questions are compared question by question",
    ),
}
