"""nasda.course.nb04_bilevel_search: the pictures hold what they claim, and the small run depends on all it should."""

import numpy as np
import pytest
import torch

from nasda.course.nb04_bilevel_search import SmallRun, alpha_paths, hypergradient_field, search_at
from nasda.errors import NasdaError
from nasda.genotypes import PRIMITIVES, derive, skip_count
from nasda.pictures.plots import to_png

NAMES = PRIMITIVES["reid"]


def history(epochs: int = 3) -> list[dict]:
    rng = np.random.default_rng(0)
    rows = []
    for epoch in range(1, epochs + 1):
        alphas = {kind: rng.normal(0, epoch, (5, len(NAMES))).tolist() for kind in ("normal", "reduce")}
        rows.append({"epoch": epoch, "alphas": alphas, "skips": skip_count(derive(alphas, NAMES))})
    return rows


def test_the_field_has_a_panel_for_each_gradient_and_draws_each_path() -> None:
    path = [(2.0, -2.0), (1.5, 0.0), (1.0, 1.0)]
    figure = hypergradient_field({"one": (lambda w, a: w - 2, path), "two": (lambda w, a: 2 * a - 2, path)})
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    for axes in figure.axes:
        assert any(np.array_equal(line.get_xydata(), path) for line in axes.lines)


def test_a_search_at_an_epoch_frames_the_derived_edges_of_that_epoch() -> None:
    rows = history()
    for epoch in (1, 3):
        heat = search_at(rows, NAMES, "reduce", epoch).axes[0]
        cell = derive(rows[epoch - 1]["alphas"], NAMES).reduce
        framed = {(round(p.get_x() + 0.5), round(p.get_y() + 0.5)) for p in heat.patches}
        starts = (0, 2)
        assert framed == {
            (NAMES.index(edge.operation), starts[n] + edge.input) for n, node in enumerate(cell) for edge in node
        }
    with pytest.raises(NasdaError, match="epochs 1 to 3"):
        search_at(rows, NAMES, "normal", 4)


def test_paths_show_the_mean_softmax_weight_of_each_operation() -> None:
    rows = history()
    axes = alpha_paths({"S": rows, "S+R": rows}, NAMES, edges=False).axes
    assert len(axes) == 4
    weights = torch.softmax(torch.tensor([row["alphas"]["normal"] for row in rows], dtype=torch.float64), dim=2)
    for index, line in enumerate(axes[0].lines[: len(NAMES)]):
        np.testing.assert_allclose(line.get_ydata(), weights[:, :, index].mean(dim=1))


def test_pictures_become_png() -> None:
    assert to_png(search_at(history(), NAMES, "normal", 2))[:4] == b"\x89PNG"


def test_a_small_run_is_decided_by_its_seed() -> None:
    runs = [SmallRun(seed) for seed in (0, 0, 1)]
    for run in runs:
        for _ in range(3):
            run.run_epoch()
    assert torch.equal(runs[0].alphas, runs[1].alphas)
    assert not torch.equal(runs[0].alphas, runs[2].alphas)
