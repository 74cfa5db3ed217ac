"""Notebook 05: what a query's precision–recall curve encloses, and what each image of a gallery is to a query."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from nasda.course.judges import Exercise, NotAttempted, difference, like, show
from nasda.data.domain import DISTRACTOR, JUNK
from nasda.errors import NasdaError
from nasda.evaluation import average_precision, average_precision_trapezoid
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


def roles_sheet(query_image: NDArray[np.uint8], gallery_images: NDArray[np.uint8], of: ArrayLike, top: int = 8) -> Plot:
    """A row for each role that occurs, with up to `top` of its images; `query_image` (H, W, 3) stands above them.

    `gallery_images` (G, H, W, 3) and their roles `of` (G,), as `roles` says them. Raises `NasdaError` where the lengths
    differ.
    """
    kinds = np.asarray(of)
    if len(kinds) != len(gallery_images):
        raise NasdaError(f"roles: {len(gallery_images)} gallery images, but {len(kinds)} roles")
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
        axes.plot([left, right], [after, after], color=VERMILLION, linewidth=1.4)
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

# 05.1


def strict_ranks(distances: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Ranks of the right images if wrong ones win every tie: by a sort, wrong before right at each distance."""
    order = np.lexsort((right, distances))
    return np.flatnonzero(right[order]) + 1


def _case(distances: list[float], right: list[int]) -> dict[str, np.ndarray]:
    return {"distances": np.array(distances), "right": np.array(right, dtype=bool)}


_TIES = [
    _case([0.1, 0.4, 0.2, 0.3], [0, 1, 1, 0]),
    _case([0.5, 0.5, 0.2], [1, 0, 0]),
    _case([0.5, 0.5, 0.2], [0, 1, 0]),
    _case([0.3, 0.3, 0.3, 0.1], [1, 1, 0, 0]),
    _case([1.0, 1.0, 1.0, 1.0, 1.0], [1, 0, 1, 0, 0]),
]


_WRONG_WINS = "A wrong image at the same distance was not counted: it wins the tie"
_TIE_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (lambda away, right: np.flatnonzero(right[np.lexsort((~right, away))]) + 1, _WRONG_WINS),
    (lambda away, right: np.sort([1 + np.count_nonzero(away < own) for own in away[right]]), _WRONG_WINS),
    (
        lambda away, right: np.sort([np.count_nonzero(away <= own) for own in away[right]]),
        "Two right images share a rank: of those at one distance, each stands one place after the other",
    ),
]


# 05.2

_RANKS = np.array([1, 4, 5])
_ROUNDED = 5e-3  # two places are enough
_BY_HAND = average_precision(_RANKS), average_precision_trapezoid(_RANKS)
_SLIPS = {
    (1 + 2 / 4 + 3 / 5) / 5: "divide by the number of right images, 3, not by the last rank",
    (1 + 1 / 4 + 1 / 5) / 3: "the j-th right image has precision j / r, not 1 / r",
    (1 + (2 / 4 + 1) / 2 + (3 / 5 + 2 / 4) / 2) / 3: (
        "q is the precision just before the image, at rank r − 1, not that of the right image before it: "
        "before rank 4 three images had been seen, one of them right"
    ),
    ((1 + 0) / 2 + (2 / 4 + 1 / 3) / 2 + (3 / 5 + 2 / 4) / 2) / 3: "at rank 1 nothing came before, and q is 1 there",
}


def _judge_by_hand(answer: Any) -> str | None:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return f"expected two numbers, (eq. b, eq. c); found {show(answer)}"
    if any(part is ... for part in answer):
        raise NotAttempted
    answer = [float(part) if isinstance(part, Fraction) else part for part in answer]
    if difference(list(_BY_HAND[::-1]), answer, _ROUNDED) is None:
        return "these are the two numbers, but in the other order: eq. (b) comes first, and is never the smaller one"
    for name, right, found in zip(("eq. (b)", "eq. (c)"), _BY_HAND, answer, strict=True):
        if difference(right, found, _ROUNDED) is not None:
            near = [slip for slip in _SLIPS if difference(slip, found, _ROUNDED) is None]
            nearest = min(near, key=lambda slip: abs(slip - found), default=None)
            advice = "write down p and q for each rank" if nearest is None else _SLIPS[nearest]
            return f"{name}: {show(found)} is not it: {advice}"
    return None


# 05.3


def _judge_worst(answer: Any) -> str | None:
    if not callable(answer):
        return f"expected a function, found {show(answer)}"
    for positives in (1, 2, 3, 4, 10):
        found = answer(positives)
        if found is None or found is ...:
            raise NotAttempted
        ranks = np.asarray(found)
        if ranks.shape != (positives,):
            return f"for {positives} right images: expected {positives} ranks, yours gave {show(found)}"
        if not np.issubdtype(ranks.dtype, np.integer) or ranks[0] < 1 or (np.diff(ranks) < 1).any():
            return f"for {positives} right images: expected whole numbers from 1, ascending; yours gave {show(found)}"
        reached, largest = average_precision(ranks) - average_precision_trapezoid(ranks), largest_difference(positives)
        if reached < largest - 1e-9:
            why = " (a right image at rank 1 adds nothing to eq. (d))" if ranks[0] == 1 else ""
            return (
                f"for {positives} right images: your ranks {show(found)} differ by {reached:.4f}, "
                f"but {largest:.4f} is possible{why}"
            )
    return None


# 05.4

_BROKEN = {"A": "junk", "B": "camera", "C": "distractors"}
_WHY = {
    "A": "in A both scores fall a little: there must be more images that count as wrong",
    "B": "in B nearly every query is right at once: images that are almost copies of the query must count as right",
    "C": "in C both scores rise a little: some images that count as wrong must be missing",
}


def _judge_broken(answer: Any) -> str | None:
    if not isinstance(answer, dict) or set(answer) != set(_BROKEN):
        return f"expected an answer for each of A, B and C; found {show(answer)}"
    if all(rule is ... for rule in answer.values()):
        raise NotAttempted
    for line, rule in answer.items():
        if rule not in _BROKEN.values():
            return f'{line}: expected "camera", "junk" or "distractors"; found {show(rule)}'
    return next(
        (f"{line} is not {answer[line]!r}: {_WHY[line]}" for line in "BAC" if answer[line] != _BROKEN[line]), None
    )


# 05.5


def paired_gain(cross: list[float], within: list[float]) -> tuple[float, float]:
    """Mean and standard error of the differences, seed by seed."""
    gains = [b - a for a, b in zip(cross, within, strict=True)]
    mean = sum(gains) / len(gains)
    variance = sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)
    return mean, (variance / len(gains)) ** 0.5


_SEEDS = [
    {"cross": [20.0, 30.0, 40.0], "within": [24.0, 36.0, 45.0]},
    {"cross": [25.0, 19.0], "within": [22.0, 24.0]},
    {"cross": [10.0, 12.0, 15.0, 9.0], "within": [13.0, 15.0, 18.0, 12.0]},
]


def _turned(cross: list[float], within: list[float]) -> tuple[float, float]:
    return paired_gain(within, cross)


def _with(error: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[list[float], list[float]], Any]:
    """The right mean with another error, of the two lists as arrays."""
    return lambda cross, within: (paired_gain(cross, within)[0], error(np.array(cross), np.array(within)))


_GAIN_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (_turned, "The gain is in-domain less cross-domain"),
    (_with(lambda a, b: np.std(b - a) / len(a) ** 0.5), "The standard deviation of a sample divides by n − 1"),
    (
        _with(lambda a, b: np.std(b - a, ddof=1)),
        "That is the standard deviation of the differences; the error of their mean is smaller by √n",
    ),
    (
        _with(lambda a, b: ((np.var(a, ddof=1) + np.var(b, ddof=1)) / len(a)) ** 0.5),
        "Each list swings by itself, but seed by seed they swing together: make the differences first",
    ),
]


EXERCISES = {
    "05.1": like(
        strict_ranks,
        _TIES,
        _TIE_MISTAKES,
        praise="Under this rule a network that sees nothing is last, not first. "
        "Where both rules give the same score, ties do not matter",
    ),
    "05.2": Exercise(_judge_by_hand, "The same ranks, and more than four points between two numbers called AP"),
    "05.3": Exercise(
        _judge_worst,
        "A list in which every second image is right, and the first is wrong, is where two codes differ most",
    ),
    "05.4": Exercise(
        _judge_broken, "B is the one that gets published: the other two move a score by less than its error"
    ),
    "05.5": like(paired_gain, _SEEDS, _GAIN_MISTAKES, praise="Try it on of['cross-domain'] and of['in-domain'] above"),
}
