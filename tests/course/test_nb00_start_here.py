"""nasda.course.nb00_start_here: pictures drawn to order, distances of pairs, and which rows of Table 1 go together."""

from pathlib import Path

import numpy as np

from nasda.course.check import check
from nasda.course.nb00_start_here import (
    HOME,
    comparable_pairs,
    crossing_figure,
    distances_figure,
    draw_pictures,
    search_graph,
    style_figure,
    table_1_figure,
)
from nasda.evaluation import Metrics, metrics
from nasda.fast.ranking import positive_ranks
from nasda.pictures.graphs import render as drawn
from nasda.pictures.plots import to_png
from nasda.toy.make import CAMERAS, SOURCE, TARGET, render

ROOT = Path(__file__).parents[2]


def test_pictures_are_the_renderer_s_with_their_labels() -> None:
    pictures = draw_pictures("person", TARGET, 0.5, [7, 3], shots=2)
    assert pictures.images.shape == (2 * 6 * 2, 3, 64, 32)
    assert pictures.pids.tolist() == [8] * 12 + [4] * 12
    assert sorted(set(pictures.camids.tolist())) == list(CAMERAS["person"][TARGET])
    last = render("person", 3, CAMERAS["person"][TARGET][-1], 1, domain=TARGET, gap=0.5, height=64, width=32)
    assert np.array_equal(pictures.images[-1].permute(1, 2, 0), last)
    assert draw_pictures("vehicle", SOURCE, 0.0, [0], shots=1).images.shape == (6, 3, 64, 64)


def test_the_exercise_on_paper_has_the_solution_that_the_evaluation_finds() -> None:
    distances = [
        [0.20, 0.55, 0.60, 0.80, 0.40],
        [0.70, 0.65, 0.50, 0.15, 0.60],
        [0.60, 0.50, 0.45, 0.65, 0.35],
        [0.45, 0.52, 0.48, 0.40, 0.70],
    ]
    notebook = (ROOT / "notebooks" / "source" / "00_start_here.py").read_text()
    for row in distances:
        assert " | ".join(f"{value:.2f}" for value in row) in notebook
    gallery = [1, 1, 2, 2, 0], [1, 2, 2, 3, 1]

    def rank_by(cameras: list[int]) -> Metrics:
        """Each query lies at 0 on a line of its own, and the gallery at its distances."""
        queries = zip(distances, [1, 2, 2, 1], cameras, strict=True)
        own = (([[0.0]], [[value] for value in row], [pid], [camera]) for row, pid, camera in queries)
        return metrics([positive_ranks(np.array(a), np.array(b), *ids, *gallery)[0] for a, b, *ids in own])

    with_rule, without = rank_by([1, 3, 1, 3]), rank_by([9] * 4)
    assert (with_rule.rank1, without.rank1) == (0.25, 0.5)
    assert check("00.2", (with_rule.rank1, without.rank1)).outcome == "right"


def test_three_pairs_of_rows_share_task_start_and_test() -> None:
    assert comparable_pairs() == ["AB", "DE", "FG"]


def test_pictures_can_be_drawn() -> None:
    figure, moved, other = style_figure("person", 0, 0.0)
    assert moved == 0 < other
    distances = np.array([0.2, 0.4, 0.5], dtype=np.float32), np.array([0.6, 1.0], dtype=np.float32)
    scores = {"someone": {HOME: [0.5, 0.6], 0.0: [0.5], 1.0: [0.2]}}
    for each in (figure, distances_figure(distances, distances, ""), crossing_figure(scores), table_1_figure()):
        assert to_png(each).startswith(b"\x89PNG")
    assert drawn(search_graph("S"), "svg") != drawn(search_graph("S+R"), "svg")
