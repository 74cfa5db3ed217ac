"""Exercises of notebook 00: what re-ID asks, which pictures count, what a gap is, and what can be compared."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasda.exercises import Exercise, like, show
from nasda.lessons.l00_start_here import comparable_pairs, conditions, lettered


def rank_gallery(query: ArrayLike, gallery: ArrayLike) -> NDArray[np.int64]:
    """Gallery numbers, nearest first; of two equally far the first one counts as nearer."""
    return np.linalg.norm(np.asarray(gallery) - np.asarray(query), axis=1).argsort(kind="stable")


_RANKED = [
    {"query": np.array([0.0, 1.0]), "gallery": np.array([[2.0, 3.0], [0.0, 2.0], [1.0, 3.0]])},
    {"query": np.array([1.0, 0.0, 0.0]), "gallery": np.eye(3)[[1, 0]] * np.array([[1.0], [3.0]])},
    {"query": np.array([0.0, 0.0]), "gallery": np.array([[3.0, 0.0], [2.0, 2.0], [1.0, 0.0]])},
    {"query": np.array([0.5]), "gallery": np.array([[0.9], [0.4], [0.8], [0.1], [0.5]])},
]


def _rank_1(answer: Any) -> str | None:
    """Rank-1 with the rule and without it, on the four queries that the exercise prints."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return f"expected two shares, (with, without); found {show(answer)}"
    if any(isinstance(part, (int, float)) and part > 1 for part in answer):
        return "a share of the queries lies between 0 and 1: divide by the number of queries, not by 1 or by 100"
    if tuple(answer) == (0.5, 0.25):
        return "the two are the wrong way round: first with the rule, then without it"
    if answer[0] == 1:
        return (
            "with the rule: an image is dropped where identity AND camera are the query's own. Query d may not drop "
            "the image of identity 2, although its own camera took it"
        )
    if answer[0] != 0.25:
        return "with the rule: for each query cross out its own identity before its own camera, then look for the least"
    if answer[1] != 0.5:
        return "without the rule: nothing is crossed out, and the least distance of each line decides"
    return None


def domain_gap(scores: Mapping[str, Mapping[str, float]]) -> float:
    """What a learner loses on the target because it learnt on the source; scores[learnt on][tested on]."""
    return scores["target"]["target"] - scores["source"]["target"]


_SCORES = [
    {"source": {"source": 0.9, "target": 0.3}, "target": {"source": 0.6, "target": 0.8}},
    {"source": {"source": 0.9, "target": 0.4}, "target": {"source": 0.5, "target": 0.4}},
]
_OTHER_GAPS: list[tuple[Callable[..., Any], str]] = [
    (
        lambda scores: scores["source"]["source"] - scores["source"]["target"],
        "Think again: this compares two tests, of which one may simply be harder",
    ),
    (
        lambda scores: scores["target"]["target"] - scores["target"]["source"],
        "Think again: this keeps the learner and changes the test",
    ),
    (
        lambda scores: scores["source"]["source"] - scores["target"]["source"],
        "Think again: this is what the target's learner loses on the source, the other way round",
    ),
    (
        lambda scores: scores["source"]["target"] - scores["target"]["target"],
        "Think again about the sign: what is lost counts as positive",
    ),
]


def _pairs(answer: Any) -> str | None:
    if not isinstance(answer, (set, frozenset, list, tuple)) or not all(isinstance(pair, str) for pair in answer):
        return f"expected a set of pairs such as {{'AG'}}, found {show(answer)}"
    rows, expected = lettered(), set(comparable_pairs())
    given = {"".join(sorted(pair.upper())) for pair in answer}
    for pair in sorted(given):
        if len(pair) != 2 or not set(pair) <= set(rows):
            return f"{pair!r} is no pair of two of the rows {''.join(rows)}"
    for pair in sorted(given - expected):
        differing = [
            f"{what} ({a} against {b})"
            for what, a, b in zip(
                ("the task", "the weights they start from", "the images they are tested on"),
                *(conditions(rows[letter]) for letter in pair),
                strict=True,
            )
            if a != b
        ]
        return f"{pair}: the two rows differ in {', and in '.join(differing)}"
    missing = len(expected - given)
    return f"so far all pairs are right, but {missing} more can be compared" if missing else None


EXERCISES = {
    "00.1": like(rank_gallery, _RANKED, praise="Everything that this course measures is this line, asked many times."),
    "00.2": Exercise(
        _rank_1,
        "Query a is the case the rule is made for: its nearest picture is nearly the same photograph. Query c shows "
        "that the rule is not “drop what my camera took”: that stranger stays, and wins.",
    ),
    "00.3": like(
        domain_gap,
        [{"scores": scores} for scores in _SCORES],
        _OTHER_GAPS,
        praise="In the second case the target is harder than the source, and yet there is no gap at all.",
    ),
    "00.4": Exercise(
        _pairs,
        "Three comparisons are left. The abstract's, of the paper's best network with a ResNet-50, is none of them.",
    ),
}
