"""nasda.course.nb04_bilevel_search: the pictures hold what they claim, and the small run depends on all it should."""

import numpy as np
import pytest
import torch

from nasda.bilevel import Bilevel
from nasda.course.nb04_bilevel_search import (
    Repeated,
    SmallRun,
    alpha_paths,
    first_order_step,
    hypergradient_field,
    search,
    search_at,
)
from nasda.errors import NasdaError
from nasda.genotypes import PRIMITIVES, derive, skip_count
from nasda.networks import Supernet
from nasda.pictures.plots import to_png
from nasda.settings import SearchSettings, SpaceSettings

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


def test_a_step_of_first_order_is_the_librarys() -> None:
    ended = []
    for by_library in (True, False):
        torch.manual_seed(0)
        norm, w, a = torch.nn.BatchNorm1d(3).double(), torch.ones(3, 3).double(), torch.zeros(3).double()
        w, a = w.requires_grad_(), a.requires_grad_()
        x = torch.randn(6, 3, dtype=torch.float64)

        def loss(shift: float) -> torch.Tensor:
            return (norm((x + shift) * torch.softmax(a, 0)) @ w).square().mean() + (a * w[0]).sum()  # noqa: B023

        sgd, adam = torch.optim.SGD([w], 0.1, 0.9), torch.optim.Adam([a], 0.05)
        for _ in range(3):
            if by_library:
                Bilevel(norm, sgd, adam).step(lambda: loss(0), lambda: loss(1))
            else:
                first_order_step(norm, lambda: loss(0), lambda: loss(1), sgd, adam)
        ended.append([w.detach(), a.detach(), norm.running_mean])
    for one, other in zip(*ended, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_search_asks_both_worlds_in_turn_and_moves_alpha() -> None:
    space = SpaceSettings(channels=2, nodes=1, cells_per_block=1, blocks=2, stem_stride=2, parts=2, embedding=4)
    net = Supernet(space, 2, seed=0).train()
    labels = torch.tensor([0, 0, 1, 1])
    worlds = [Repeated([(torch.randn(4, 3, 16, 8), labels)]) for _ in range(2)]
    before = [alpha.detach().clone() for alpha in net.architecture_parameters()]
    found = search(net, *worlds, SearchSettings(), 2)
    assert [world.given for world in worlds] == [2, 2]
    assert all(not torch.equal(a, b) for a, b in zip(before, net.architecture_parameters(), strict=True))
    assert found == net.genotype()
