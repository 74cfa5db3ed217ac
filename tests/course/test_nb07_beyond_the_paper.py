"""nasda.course.nb07_beyond_the_paper: digits, cells for classification, and two ways to search better."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nasda.cells import MixedOp
from nasda.course import nb07_beyond_the_paper as lesson
from nasda.course.nb07_beyond_the_paper import Digits, SearchClassifier, Size
from nasda.devices import seeded
from nasda.genotypes import CELL_KINDS, EDGES_PER_NODE, PRIMITIVES, derive, node_slices
from nasda.operations import OPERATIONS, ReLUConvBN

PLAIN = PRIMITIVES["plain"]
SMALL = Size(channels=4, search_epochs=1, train_epochs=1, partial=2, each=2, batch=16)


def small_world() -> lesson.World:
    return lesson.World(lesson.printed(32, 0), lesson.printed(20, 1), *(lesson.printed(40, seed) for seed in (2, 3)))


def test_printed_digits_are_counts_of_ink_of_every_class() -> None:
    digits = lesson.printed(60, 3)
    assert digits.images.shape == (60, 1, 8, 8)
    assert torch.bincount(digits.labels).tolist() == [6] * 10
    assert torch.equal(digits.images * 16, (digits.images * 16).round())  # blocks of 16 pixels, as in optdigits
    assert digits.images.amin() == 0
    assert digits.images.amax() == 1
    assert torch.equal(lesson.printed(60, 3).images, digits.images)
    assert not torch.equal(lesson.printed(60, 4).images, digits.images)


def test_handwriting_is_tested_on_rows_that_nothing_learns_from() -> None:
    world = lesson.world(source=20)
    everything = lesson.handwritten()
    assert len(everything) == len(world.target) + len(world.target_test) == 1797
    assert torch.equal(torch.cat([world.target.images, world.target_test.images]), everything.images)


def test_a_sample_has_as_many_of_every_digit() -> None:
    assert torch.bincount(lesson.sample(lesson.handwritten(), 7, 0).labels).tolist() == [7] * 10


def test_the_shuffle_is_torchs() -> None:
    x = torch.randn(2, 12, 3, 5)
    for groups in (1, 2, 3, 4):
        assert torch.equal(lesson.shuffle(x, groups), F.channel_shuffle(x, groups))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_first_channels_are_mixed_and_the_others_go_past(stride: int) -> None:
    with seeded(0):
        edge = lesson.PartialMixedOp(PLAIN, 8, stride, partial=4)
    whole = MixedOp(PLAIN, 2, stride, 4)
    whole.load_state_dict(edge.mixed.state_dict())
    x, weights = torch.randn(3, 8, 8, 6), torch.softmax(torch.randn(len(PLAIN)), 0)
    found = F.channel_shuffle(edge(x, weights), 2)  # dealing into C/K groups takes dealing into K back
    torch.testing.assert_close(found[:, :2], whole(x[:, :2], weights))
    torch.testing.assert_close(found[:, 2:], F.adaptive_max_pool2d(x[:, 2:], (8 // stride, 6 // stride)))


@pytest.mark.parametrize("stride", [1, 2])
def test_an_edge_with_half_its_share_gives_half(stride: int) -> None:
    edge = lesson.PartialMixedOp(PLAIN, 8, stride, partial=4)
    x, weights = torch.randn(3, 8, 7, 5), torch.softmax(torch.randn(len(PLAIN)), 0)
    torch.testing.assert_close(edge(x, weights / 2), edge(x, weights) / 2)
    assert edge(x, weights).shape == (3, 8, -(-7 // stride), -(-5 // stride))


def test_the_edges_of_a_node_share_it() -> None:
    shares = lesson.edge_shares(torch.randn(9))
    for rows in node_slices(3):
        assert shares[rows].sum().item() == pytest.approx(1)


def test_cells_are_derived_from_weights_as_from_alphas() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        alphas = {kind: torch.randn(9, len(PLAIN), generator=generator) for kind in CELL_KINDS}
        weights = {kind: torch.softmax(alpha, dim=1) for kind, alpha in alphas.items()}
        assert lesson.derive_from_weights(weights, PLAIN) == derive(alphas, PLAIN)


@pytest.mark.parametrize("partial", [1, 2])
def test_alphas_and_weights_are_all_parameters_and_all_learn(partial: int) -> None:
    network = SearchClassifier(2, 4, partial=partial, seed=0)
    architecture, weights = network.architecture_parameters(), network.weight_parameters()
    assert len(architecture) == (2 if partial == 1 else 4)
    assert {*architecture, *weights} == set(network.parameters())
    lesson.loss(network, lesson.printed(10, 0)).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in architecture)


def test_perturbation_keeps_what_is_missed_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose accuracy is the sum of what its operations are worth, whatever their weights."""
    rng = np.random.default_rng(0)
    worth = {kind: rng.random((5, len(PLAIN))) for kind in CELL_KINDS}

    def score(_: object, __: object, weights: dict) -> tuple[float, float]:
        return sum((worth[kind] * (weights[kind].numpy() > 0)).sum() for kind in CELL_KINDS), 0.0

    monkeypatch.setattr(lesson, "supernet_score", score)
    digits = lesson.printed(40, 0)
    found = lesson.select_by_perturbation(SearchClassifier(2, 4, seed=0), digits, digits, SMALL, seed=1)
    for kind in CELL_KINDS:
        best = worth[kind][:, 1:].argmax(axis=1) + 1  # never `none`
        for node, rows in zip(found.cell(kind), node_slices(2), strict=True):
            value = [worth[kind][e, best[e]] for e in range(rows.start, rows.stop)]
            kept = sorted(np.argsort(value)[-EDGES_PER_NODE:])
            assert node == tuple((PLAIN[best[rows.start + i]], i) for i in kept)


def test_a_removal_that_changes_nothing_leaves_the_accuracy() -> None:
    network, digits = SearchClassifier(2, 4, seed=0), lesson.printed(40, 0)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    whole, _ = lesson.supernet_score(network, digits)
    left = lesson.removals(network, digits)
    assert left["normal"].shape == (5, len(PLAIN))
    assert left["normal"][:, PLAIN.index("none")] == pytest.approx(whole)  # zeros, whether weighted or not
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


def test_an_operation_is_known_within_its_block_only() -> None:
    with lesson.operation_added("conv_1x1", lambda c, stride, parts, affine: ReLUConvBN(c, c, affine)) as space:
        assert SearchClassifier(2, 4, primitives=space, seed=0).alphas["normal"].shape == (5, 7)
    assert "conv_1x1" not in OPERATIONS


def test_what_is_compared_once_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lesson.compare(small_world(), SMALL, 0, tmp_path)
    assert list(first) == list(lesson.METHODS)
    assert first["random"].genotype == first["weights"].genotype
    monkeypatch.setattr(lesson, "train", None)
    assert lesson.compare(small_world(), SMALL, 0, tmp_path) == first


def test_batches_are_whole_and_go_through_every_image() -> None:
    digits = Digits(torch.arange(10.0).reshape(10, 1, 1, 1), torch.arange(10))
    drawn = lesson.batches(digits, 5, 0)
    assert sorted(torch.cat([next(drawn).labels, next(drawn).labels]).tolist()) == list(range(10))
