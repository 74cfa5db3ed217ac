"""nasda.course.nb06_closing_the_gap: its small statistics against others' and against exact values."""

import itertools
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import permutation_test

from nasda.course import nb06_closing_the_gap as lesson
from nasda.devices import seeded
from nasda.pictures.plots import to_png
from nasda.runs import RunFolder
from nasda.settings import DataSettings, SPGANSettings
from nasda.spgan.training import make_translators
from nasda.study.table import Table, paired


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


@pytest.mark.parametrize("values", [[0.1, 0.2], [0.3, -0.1, 0.02], [0.1, 0.1, -0.1, 0.4, 0.0], [1.0] * 6])
def test_sign_flips_are_scipys_permutations_of_pairs(values: list[float]) -> None:
    found = permutation_test(
        (np.array(values), np.zeros(len(values))),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert lesson.sign_flip_p(values) == pytest.approx(found.pvalue)
    assert lesson.flipped_means(values)[0] == pytest.approx(np.mean(values))


@pytest.mark.parametrize("seeds", [1, 2, 5, 8])
def test_the_smallest_p_is_reached_where_all_seeds_agree(seeds: int) -> None:
    assert lesson.sign_flip_p([0.1] * seeds) == lesson.smallest_p(seeds)


def test_seeds_needed_is_the_first_with_which_the_level_can_be_reached() -> None:
    for level, tests in itertools.product((0.3, 0.05, 0.01), (1, 3, 9)):
        seeds = lesson.seeds_needed(level, tests)
        assert lesson.smallest_p(seeds) * tests <= level < lesson.smallest_p(seeds - 1) * tests


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


def test_differences_are_of_seeds_that_both_have_and_cells_count_as_one() -> None:
    made = table(a=[0.2, 0.4, 0.1], b=[0.1, 0.1])
    made.scores["b"].append({"seed": 1, "mAP": 0.3})
    assert lesson.differences(made, "a", "b") == pytest.approx({0: 0.1, 1: 0.2})


def test_a_sentence_says_what_the_library_finds_and_no_more() -> None:
    made = table(**SEARCHED)
    found = paired(made, "NAS (S+R)", "NAS (S)")
    assert found is not None
    words = lesson.sentence(made, "NAS (S+R)", "NAS (S)")
    assert f"{100 * found['mean_difference']:+.1f} points" in words
    assert "nothing is shown" in words
    clear = table(a=[0.3] * 5, b=[0.1] * 5)
    assert "as much as 5 seeds can say" in lesson.sentence(clear, "a", "b")
    assert "nothing can be said" in lesson.sentence(table(a=[0.3], b=[0.1]), "a", "b")


def test_tables_come_back_from_a_study() -> None:
    made = table(**SEARCHED)
    tables = lesson.tables_of({"1": made.to_dict(), "0.5": made.to_dict()})
    assert list(tables) == [0.5, 1.0]
    assert tables[1.0].scores == made.scores


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
