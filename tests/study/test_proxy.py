"""nasda.study.proxy: cells cut out of a supernet against its corner; Kendall's τ against counting and SciPy."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from nasda.bilevel import copies
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.evaluation import for_statistics, reestimate_statistics
from nasda.genotypes import CELL_KINDS, Genotype, node_slices, random_genotype
from nasda.losses import mmd, triplet_loss
from nasda.networks import Supernet
from nasda.runs import RunFolder
from nasda.search import finished_search, run_search
from nasda.settings import SearchSettings, SpaceSettings, changed
from nasda.study.proxy import (
    SUPERNETS,
    AlphaImages,
    Losses,
    Proxy,
    cheap_test,
    estimate,
    inherited,
    kendall,
    losses_of,
    markdown,
    partial_kendall,
    rankings,
    rows_of,
    supernet_losses,
    trained_losses,
)
from nasda.training import load_trained, run_training
from tests.tasks import SEARCH, SPACE, make_task, profile_with

STYLE = dataclasses.replace(SPACE, space="style", channels=4, nodes=3)
CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)


def one_hot(genotype: Genotype, network: Supernet) -> dict[str, Tensor]:
    """The mixture that is this cell: weight 1 for each chosen operation, 0 for all else."""
    weights = {kind: torch.zeros_like(network.alphas[kind]) for kind in CELL_KINDS}
    for kind in CELL_KINDS:
        for rows, node in zip(node_slices(genotype.nodes), genotype.cell(kind), strict=True):
            for edge in node:
                weights[kind][rows.start + edge.input, network.primitives.index(edge.operation)] = 1
    return weights


def images_of(seed: int = 0) -> AlphaImages:
    drawn = torch.Generator().manual_seed(seed)

    def batches(shift: float) -> list[tuple[Tensor, Tensor]]:
        return [(torch.randn(8, 3, 32, 16, generator=drawn) + shift, torch.arange(8) % 4) for _ in range(2)]

    of_weights = torch.randint(0, 256, (20, 3, 32, 16), generator=drawn, dtype=torch.uint8)
    return AlphaImages(batches(0), batches(1), of_weights, SearchSettings(mmd_weight=2.0))


@torch.no_grad()
def supernet() -> Supernet:
    network = Supernet(STYLE, 4, seed=0, form="clear")
    network(torch.randn(8, 3, 32, 16, generator=torch.Generator().manual_seed(9)))  # running statistics of its own
    return network


@pytest.mark.parametrize("seed", range(3))
def test_an_inherited_cells_losses_are_those_of_the_supernet_restricted_to_it(seed: int) -> None:
    network, images = supernet(), images_of()
    genotype = random_genotype(3, network.primitives, seed)
    cell = inherited(network, genotype, STYLE)
    reestimate_statistics(cell, for_statistics(images.of_weights, CPU))
    with network.mixed_by(one_hot(genotype, network)):  # type: ignore[arg-type]
        reestimate_statistics(network, for_statistics(images.of_weights, CPU))
        expected = losses_of(network, images)
    found = losses_of(cell, images)
    assert found.keys() == expected.keys()
    assert len(found) == 2 * (2 * 3 + 2)
    for proxy, value in expected.items():
        assert found[proxy] == pytest.approx(value, rel=1e-3, abs=1e-5), proxy


def test_the_losses_are_alphas_own() -> None:
    network, images = supernet().train(), images_of()
    found = losses_of(network, images)
    of_batches, of_both = [], []
    for (source, labels), (target, _) in zip(images.source, images.target, strict=True):
        with torch.no_grad():
            of_batches.append(triplet_loss(functional.normalize(network.features(source)), labels, 0.3))
            together = network.features(torch.cat([source, target]))
        of_both.append(triplet_loss(together[:8], labels, 0.3) + 2.0 * mmd(together[:8], together[8:]))
    assert found["unit-triplet", "source", "batch"] == pytest.approx(float(torch.stack(of_batches).mean()))
    assert found["mmd", "both", "batch"] == pytest.approx(float(torch.stack(of_both).mean()))
    # With running statistics it makes no difference which images come together.
    network.eval()
    with torch.no_grad():
        apart = [
            mmd(network.features(a), network.features(b))
            for (a, _), (b, _) in zip(images.source, images.target, strict=True)
        ]
    assert losses_of(network, images)["mmd alone", "both", "source"] == pytest.approx(
        float(torch.stack(apart).mean()), rel=1e-4
    )


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_network_as_it_was(training: bool) -> None:
    network = supernet().train(training)
    before = copies([*network.parameters(), *network.buffers()])
    losses_of(network, images_of())
    inherited(network, random_genotype(3, network.primitives, 0), STYLE)(torch.randn(4, 3, 32, 16))
    after = [*network.parameters(), *network.buffers()]
    assert all(torch.equal(was, now) for was, now in zip(before, after, strict=True))
    assert all(module.training == training for module in network.modules())


# Whole runs


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("task"))


def test_cells_of_a_finished_search_and_trained_ones_are_measured(task: Task, tmp_path: Path) -> None:
    search = dataclasses.replace(SEARCH, mode="S")
    profile = profile_with(space=dataclasses.replace(STYLE, nodes=2), search=search)
    folder = RunFolder(tmp_path / "search")
    run_search(folder, task, profile, seed=3, device=CPU)
    genotypes = [random_genotype(2, profile.space.primitives, seed) for seed in range(2)]
    found = list(supernet_losses(folder, task, genotypes, CPU))
    assert found == list(supernet_losses(folder, task, genotypes, CPU))
    assert found[0] != found[1]

    images = AlphaImages.of_search(folder, task, CPU)
    of_weights = finished_search(folder, task, CPU).weight_batches.pixels
    assert torch.equal(images.of_weights, of_weights.permute(0, 3, 1, 2))  # what ω learnt, and nothing that was held
    trained = RunFolder(tmp_path / "train")
    run_training(trained, task, genotypes[0], profile, seed=0, device=CPU)
    (own,) = trained_losses([trained], images, CPU)
    assert own == losses_of(load_trained(trained, CPU), images)
    assert own.keys() == found[0].keys()


def test_a_search_that_does_not_suit_is_refused(task: Task, tmp_path: Path) -> None:
    for name, groups, match in (
        ("seen", {"space": SPACE}, "no source images are held back .*--hold-out"),
        (
            "partial",
            {
                "space": SpaceSettings(
                    space="style", channels=4, nodes=2, partial=2, cells_per_block=1, stem_stride=1, embedding=16
                ),
                "search": dataclasses.replace(SEARCH, hold_out=True),
            },
            "--partial above 1 a cell can't inherit",
        ),
    ):
        folder = RunFolder(tmp_path / name)
        run_search(folder, task, profile_with(**groups), seed=0, device=CPU)
        with pytest.raises(NasdaError, match=match):
            list(supernet_losses(folder, task, [], CPU))


# τ


@pytest.mark.parametrize("ties", [False, True])
def test_tau_is_scipys_and_a_count_of_pairs(ties: bool) -> None:
    x, y = (RANDOM.integers(0, 4, (2, 12)) if ties else RANDOM.normal(size=(2, 12))).astype(float)
    assert float(kendall(x, y)) == pytest.approx(stats.kendalltau(x, y).statistic)
    if not ties:
        pairs = list(itertools.combinations(range(12), 2))
        concordant = sum((x[i] < x[j]) == (y[i] < y[j]) for i, j in pairs)
        assert float(kendall(x, y)) == pytest.approx((2 * concordant - len(pairs)) / len(pairs))
    both = np.stack([x, y])
    assert kendall(both, both[::-1]) == pytest.approx([float(kendall(x, y))] * 2)
    assert np.isnan(kendall(x, np.zeros(12)))


def test_partial_tau_takes_away_what_a_third_variable_explains() -> None:
    z = RANDOM.normal(size=2000)
    x, y = z + RANDOM.normal(size=(2, 2000))
    assert float(kendall(x, y)) > 0.25
    # τ of these normal variables is 1/3, 1/2 and 1/2. So a little stays, as τ is not linear in ρ.
    assert float(partial_kendall(x, y, z)) == pytest.approx((1 / 3 - 1 / 4) / (3 / 4), abs=0.04)
    xy, xz, yz = (stats.kendalltau(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    inverse = np.linalg.inv([[1, xy, xz], [xy, 1, yz], [xz, yz, 1]])  # the same from the matrix of τ
    expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    assert float(partial_kendall(x, y, z)) == pytest.approx(expected)
    assert float(partial_kendall(3 * z, y, z)) == 0.0
    few = [np.argsort(RANDOM.normal(size=6)).astype(float) for _ in range(2)]
    assert np.isfinite(estimate(partial_kendall, few[0], few[1], few[0] + few[1] / 100)).all()


def test_the_interval_holds_tau_about_as_often_as_it_says() -> None:
    correlation, rng = 0.5, np.random.default_rng(1)
    true = 2 / np.pi * np.arcsin(correlation)  # of two normal variables (Greiner)
    held = []
    for _ in range(200):
        x, y = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], 30).T
        found = estimate(kendall, x, y)
        assert found.low < found.value < found.high
        held.append(found.low <= true <= found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.045)


def test_rows_rank_what_was_planted() -> None:
    """The target's loss knows the mAP, the source's does not, and multiply-adds know half of it."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=30)
    cells = [
        {"mAP_source": q, "mAP_target": rng.normal(), "multiply_adds": float(np.exp(q + rng.normal()))} for q in quality
    ]
    losses: list[Losses] = [
        {Proxy("triplet", "target", "batch"): -q, Proxy("triplet", "source", "batch"): rng.normal()} for q in quality
    ]
    rows = {(row.network, row.proxy, row.score): row for row in rows_of({"S": losses}, cells)}
    target, source = (rows["S", Proxy("triplet", side, "batch"), "mAP_source"] for side in ("target", "source"))
    assert target.tau.value == 1.0
    assert target.gain is not None
    assert target.gain.value == pytest.approx(1 - source.tau.value)
    assert target.gain.low > 0
    assert source.gain is None
    assert abs(source.tau.value) < 0.3
    assert 0.2 < rows["", None, "mAP_source"].tau.value < 0.8
    assert abs(rows["S", Proxy("triplet", "target", "batch"), "mAP_target"].tau.value) < 0.3
    lines = markdown(list(rows.values())).splitlines()
    assert len(lines) == 2 + 3
    assert "log multiply-adds" in lines[2]
    assert "+1.00 (+1.00 to +1.00)" in lines[3]


def test_the_cheap_test_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells trained, supernets searched, every loss measured on every cell; and a second call trains nothing."""
    task = make_task(tmp_path / "data")
    once = {"epochs": 1, "steps": 1}
    settings = changed(profile_with(search=SEARCH), space={"space": "style", "nodes": 2}, search=once, train=once)
    options: dict[str, Any] = {"seed": 0, "jobs": 1, "device": CPU}
    found = cheap_test(tmp_path / "out", task, settings, 3, **options)
    assert {ranking.network for ranking in found} == {"", *SUPERNETS, "trained cells"}
    written = json.loads((tmp_path / "out" / "proxy.json").read_text())
    assert str(rankings(written)) == str(found)
    assert {proxy[0] for proxy in written["losses"]["trained cells"][0]} == {
        *("triplet", "unit-triplet", "memory", "mmd", "mmd alone")
    }
    assert (tmp_path / "out" / "proxy.md").read_text().strip() == markdown(found)
    cells = [Genotype.load(path) for path in (tmp_path / "out" / "runs").glob("train-*/genotype.json")]
    assert {cell.to_json() for cell in cells} == {
        random_genotype(2, settings.space.primitives, 1000 + i).to_json() for i in range(3)
    }
    monkeypatch.setattr("nasda.study.table.run_training", None)  # whoever calls it, fails
    assert str(cheap_test(tmp_path / "out", task, settings, 3, **options)) == str(found)
