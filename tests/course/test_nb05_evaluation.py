"""Notebook 05's pictures say what the library computes, and its bound is what trying every ranking finds."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from nasda.course.nb05_evaluation import (
    ROLES,
    cmc_curves,
    disagreements,
    evaluate,
    largest_difference,
    paired,
    precision_recall,
    ranks,
    roles,
    roles_sheet,
)
from nasda.evaluation import average_precision, average_precision_trapezoid, rank
from nasda.fast.ranking import positive_ranks
from nasda.study.statistics import compare


@pytest.mark.parametrize("positives", [1, 2, 3, 4])
def test_the_bound_is_reached_and_never_passed(positives: int) -> None:
    tried = [np.array(ranks) for ranks in combinations(range(1, 15), positives)]
    largest = max(average_precision(ranks) - average_precision_trapezoid(ranks) for ranks in tried)
    assert largest == pytest.approx(largest_difference(positives), abs=1e-12)


def test_the_bound_for_many() -> None:
    every_second = 2 * np.arange(1, 101)
    apart = average_precision(every_second) - average_precision_trapezoid(every_second)
    assert apart == pytest.approx(largest_difference(100), abs=1e-12)


def test_roles() -> None:
    of = roles(7, 1, [7, 7, -1, 0, 8], [2, 1, 1, 2, 1])
    assert [ROLES[role] for role in of] == ["right", "own camera", "junk", "distractor", "another identity"]


def test_right_ones_are_the_library_s_positives() -> None:
    rng = np.random.default_rng(0)
    pids, camids = rng.integers(-1, 5, 50), rng.integers(1, 4, 50)
    found = positive_ranks(np.zeros((1, 2)), np.ones((50, 2)), [3], [2], pids, camids)
    assert len(found[0]) == (roles(3, 2, pids, camids) == 0).sum()


@pytest.mark.parametrize("ranks", [[1], [2], [1, 2, 3], [2, 3, 6], [4, 9, 30, 31]])
def test_the_areas_drawn_are_the_average_precisions(ranks: list[int]) -> None:
    axes = precision_recall(ranks).axes[0]
    trapezoids, triangles = axes.patches[::2], axes.patches[1::2]
    areas = [sum(area(patch.get_xy()) for patch in patches) for patches in (trapezoids, triangles)]
    assert areas[0] == pytest.approx(average_precision_trapezoid(np.array(ranks)))
    assert sum(areas) == pytest.approx(average_precision(np.array(ranks)))
    words = axes.get_legend().get_title().get_text()
    assert f"{average_precision(np.array(ranks)):.3f}" in words


def area(corners: np.ndarray) -> float:
    """By the shoelace formula."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def test_a_sheet_has_a_row_for_each_role_that_occurs() -> None:
    images = np.zeros((5, 8, 4, 3), dtype=np.uint8)
    figure = roles_sheet(images[0], images, (7, 1), [7, 7, 7, 8, 9], [2, 3, 1, 1, 2], top=3)
    assert len(figure.axes) == 4 * 3
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert [line.split("\n")[0] for line in words] == ["query", "right: 2", "own camera: 1", "another identity: 2"]


def test_the_student_s_evaluation_is_the_library_s() -> None:
    """What stands in for the student's parts, against `nasda.evaluation`, with ties, junk and queries to skip."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        features = rng.integers(0, 4, (6, 3)) * 1.0, rng.integers(0, 4, (30, 3)) * 1.0
        ids = rng.integers(1, 4, 6), rng.integers(1, 3, 6), rng.integers(-1, 4, 30), rng.integers(1, 3, 30)
        theirs = rank(*features, *ids)
        mAP, trapezoid, cmc = evaluate(*features, *ids)
        assert (mAP, trapezoid) == pytest.approx((theirs.mAP, theirs.mAP_trapezoid))
        assert cmc[[0, 4, 9]].tolist() == pytest.approx([theirs.rank1, theirs.rank5, theirs.rank10])
        assert all(map(np.array_equal, ranks(*features, *ids), positive_ranks(*features, *ids)))


def test_paired_by_identity_is_the_comparison_of_the_study() -> None:
    rng = np.random.default_rng(2)
    pids = np.array([4, 2, 2, 9, 4, 7])
    first, second = rng.random((2, len(pids)))
    mean, error, above = paired(first, second, pids)
    by_pid = [{int(pid): float(values[pids == pid].mean()) for pid in pids} for values in (first, second)]
    found = compare(*by_pid, "identity")
    assert found is not None
    assert (mean, above) == pytest.approx((found.mean, found.above))
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 3) * error)


def test_cmc_curves_begin_at_one() -> None:
    (line,) = cmc_curves({"histogram": [0.2, 0.5, 1.0]}).axes[0].lines
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata().tolist() == [20, 50, 100]


def test_queries_lie_below_the_bound() -> None:
    bound, queries = disagreements([1, 3], [0.25, 0.01]).axes[0].lines
    assert bound.get_ydata()[0] == pytest.approx(25)
    assert queries.get_ydata().tolist() == pytest.approx([25, 1])
    assert np.round(queries.get_xdata()).tolist() == [1, 3]
