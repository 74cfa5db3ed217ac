"""nasda.course.nb06_closing_the_gap: what its pictures draw, and its simulations against exact values."""

from math import comb
from typing import Any

import numpy as np
import pytest
import torch

from nasda.course import nb06_closing_the_gap as lesson
from nasda.devices import seeded
from nasda.pictures.plots import to_png
from nasda.runs import RunFolder
from nasda.settings import DataSettings, SPGANSettings
from nasda.spgan.training import make_translators
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


@pytest.mark.parametrize("tries", [1, 2, 3, 4])
def test_the_best_of_some_by_the_order_of_all(tries: int) -> None:
    scores = sorted([0.3, 0.1, 0.15, 0.22])
    shares = [comb(rank, tries - 1) / comb(4, tries) for rank in range(4)]  # that the one of this rank is the best
    assert lesson.best_of(scores, tries) == pytest.approx(float(np.dot(shares, scores)))


def test_false_alarms_keep_to_the_level_and_looking_more_often_breaks_it() -> None:
    assert lesson.power(5, 3.0, 1) == 0  # 2⁻⁴ is above 5 %
    assert lesson.power(8, 0.0, 1) == pytest.approx(0.05, abs=0.03)
    assert lesson.power(8, 0.0, 9) == pytest.approx(1 - 0.95**9, abs=0.12)
    assert lesson.power(8, 2.0, 1) > 0.95


def test_every_plot_draws() -> None:
    made = table(**SEARCHED, random_cells=[0.1, 0.2, 0.1, 0.1, 0.15])
    made.scores["floor: colour histogram"] = [{"seed": 0, "mAP": 0.09, "mAP_trapezoid": 0.08}]
    plots = [
        lesson.flip_plot([0.1, -0.02, 0.03], "differences"),
        lesson.power_plot(4, 1.0, 2, most=6),
        lesson.study_plot(made, "NAS (S)", "floor: colour histogram"),
        lesson.cost_plot(made),
        lesson.best_of_plot(made),
        lesson.paper_plot("person", made),
    ]
    assert all(len(to_png(plot)) > 5000 for plot in plots)


def test_translations_are_kept_by_epoch_and_end_at_their_own_distance(tmp_path: Any) -> None:
    folder = RunFolder(tmp_path)
    with seeded(0):
        source, target = (torch.randint(0, 256, (6, 3, 16, 8), dtype=torch.uint8) for _ in range(2))
    networks = make_translators(SPGANSettings(channels=2, blocks=1), DataSettings(height=16, width=8), seed=0)
    keep = lesson.keep_translations(folder, source, target, torch.device("cpu"))
    keep(0, networks)
    keep(1, networks)
    kept = lesson.kept_translations(folder)
    assert [sorted(seen) for seen in kept] == [["F(G(x))", "F(y)", "G(F(y))", "G(x)", "x", "y"]] * 2
    distances = lesson.distances_over_epochs(kept)
    assert distances[0] != distances[1]
    assert len(to_png(lesson.translation_plot(kept, distances, 1, 2))) > 5000
