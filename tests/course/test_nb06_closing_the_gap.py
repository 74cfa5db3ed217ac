"""nasda.course.nb06_closing_the_gap: what its pictures draw, and the references of its judges against other code."""

from typing import Any

import numpy as np
import pytest
import torch

from nasda.course import nb06_closing_the_gap as lesson
from nasda.course.open import shipped
from nasda.pictures.plots import to_png
from nasda.spgan.distances import image_distance
from nasda.study.gaps import tables_of
from nasda.study.statistics import sign_flip_p
from nasda.study.table import Table


def table(**rows: list[float]) -> Table:
    scores = {
        name.replace("_", " "): [
            {"seed": seed, "mAP": value, "mAP_trapezoid": value, "multiply_adds": 1e6 + seed, "parameters": 1e4}
            for seed, value in enumerate(values)
        ]
        for name, values in rows.items()
    }
    return Table("person", [0, 1, 2, 3, 4], scores)


SEARCHED: dict[str, Any] = {"NAS (S)": [0.2, 0.3, 0.25, 0.21, 0.2], "NAS (S+R)": [0.25, 0.24, 0.3, 0.3, 0.28]}


@pytest.mark.parametrize("seed", range(20))
def test_the_library_s_test_counts_as_exact_fractions_do(seed: int) -> None:
    differences = (np.random.default_rng(seed).integers(-9, 10, 1 + seed % 8) / 100).tolist()
    assert float(sign_flip_p(differences)) == lesson._by_hand(differences)


def test_every_plot_draws() -> None:
    made = table(**SEARCHED, random_cells=[0.1, 0.2, 0.1, 0.1, 0.15])
    made.scores["floor: colour histogram"] = [{"seed": 0, "mAP": 0.09, "mAP_trapezoid": 0.08}]
    (controls,) = tables_of(shipped("style-controls-person").content).values()
    plots = [
        lesson.flip_plot([0.1, -0.02, 0.03], "differences"),
        lesson.power_plot({2: 0.0, 3: 0.1, 4: 0.5}, {2: 0.0, 3: 0.05, 4: 0.05}, 4),
        lesson.turn_plot({"source": {0: 0.1, 1: -0.1}, "target": {0: 0.0, 1: 0.2}}, "seed", "differences"),
        lesson.shift_plot({"first": 0.5, "second": 0.2}),
        lesson.study_plot(made, "NAS (S)", "floor: colour histogram"),
        lesson.study_plot(controls, "NAS (S), IBN everywhere", "NAS (S)", "mAP_target"),
        lesson.statistics_plot(controls),
        lesson.cost_plot(made),
        lesson.best_of_plot(made, [0.13, 0.15]),
        lesson.paper_plot("person", made),
    ]
    assert all(len(to_png(plot)) > 5000 for plot in plots)


def test_a_table_of_worlds_has_a_bar_for_each_world_s_mean() -> None:
    (controls,) = tables_of(shipped("style-controls-person").content).values()
    left, right = lesson.study_plot(controls, "NAS (S), IBN everywhere", "NAS (S)", "mAP_source").axes
    assert len(left.patches) == len(controls.scores)
    assert right.get_xlabel() == "world"
    assert len(right.get_xticks()) == 6


def test_a_translation_is_drawn_with_its_distances() -> None:
    names = ("x", "G(x)", "F(G(x))", "y", "F(y)", "G(F(y))")
    drawn = torch.randint(0, 256, (2, 6, 6, 3, 16, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    kept = [dict(zip(names, images, strict=True)) for images in drawn]
    distances = [image_distance(seen["G(x)"], seen["y"]) for seen in kept]
    assert len(to_png(lesson.translation_plot(kept, distances, 1, 2))) > 5000
