"""nasda.genotypes: the two spaces, and what a genotype is derived from, drawn from and read from."""

import json
import math
from collections import Counter
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasda.genotypes import (
    CELL_KINDS,
    NAMED,
    PRIMITIVES,
    Edge,
    Genotype,
    Node,
    Space,
    derive,
    edge_count,
    entropy,
    node_slices,
    random_genotype,
    skip_count,
    softmax,
    strengths,
)
from tests.data.test_reading import message_of

SPACES: list[Space] = ["plain", "reid"]
MAX, AVG, SEP, DIL, NONE, SKIP = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "sep_conv_3x3",
    "dil_conv_3x3",
    "none",
    "skip_connect",
)


def genotype_of(*nodes: list[tuple[str, int]]) -> Genotype:
    """A genotype with the same nodes in both kinds of cell."""
    cell = tuple(tuple(Edge(*edge) for edge in node) for node in nodes)
    return Genotype(normal=cell, reduce=cell)


def derive_in_the_papers_words(alphas: list[list[float]], primitives: tuple[str, ...], nodes: int) -> list[Node]:
    """§2.1, read slowly: the strength of H to node i is its largest softmax weight over o ≠ none; the two inputs of
    maximum strength are taken, each with its operation of maximum weight."""
    row, cell = 0, []
    for node in range(nodes):
        candidates = []
        for state in range(2 + node):
            total = sum(math.exp(a) for a in alphas[row])
            weights = {
                name: math.exp(a) / total for name, a in zip(primitives, alphas[row], strict=True) if name != NONE
            }
            operation = max(weights, key=lambda name: weights[name])
            candidates.append((weights[operation], state, operation))
            row += 1
        first, second = sorted(candidates, key=lambda c: c[0], reverse=True)[:2]
        cell.append(tuple(sorted((Edge(c[2], c[1]) for c in (first, second)), key=lambda e: e.input)))
    return cell


def test_the_spaces_are_the_papers_two_lists() -> None:
    of_section_2_1 = {MAX, AVG, SEP, DIL, NONE, SKIP}
    assert len(PRIMITIVES["plain"]) == 6
    assert set(PRIMITIVES["plain"]) == of_section_2_1
    assert len(PRIMITIVES["reid"]) == 7
    assert set(PRIMITIVES["reid"]) == of_section_2_1 | {"part_aware"}


@pytest.mark.parametrize("nodes", range(1, 7))
def test_every_node_is_fed_by_both_inputs_and_every_earlier_node(nodes: int) -> None:
    pairs = [(state, node) for node in range(nodes) for state in range(2 + node)]
    assert edge_count(nodes) == len(pairs)
    rows = [list(range(len(pairs)))[s] for s in node_slices(nodes)]
    assert rows == [[i for i, (_, node) in enumerate(pairs) if node == n] for n in range(nodes)]


def test_the_papers_four_nodes_have_fourteen_edges() -> None:
    assert edge_count(4) == 14


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_deriving_follows_the_papers_words(space: Space, nodes: int) -> None:
    primitives = PRIMITIVES[space]
    for seed in range(40):
        rng = np.random.default_rng([nodes, seed])
        scale = [0.001, 1.0, 10.0][seed % 3]
        alphas = {
            kind: scale * rng.standard_normal((edge_count(nodes), len(primitives))) for kind in ("normal", "reduce")
        }
        found = derive(alphas, primitives)
        assert list(found.normal) == derive_in_the_papers_words(alphas["normal"].tolist(), primitives, nodes)
        assert list(found.reduce) == derive_in_the_papers_words(alphas["reduce"].tolist(), primitives, nodes)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("height", [5.0, 50.0, 500.0])
def test_none_is_never_chosen_and_does_not_blur_the_choice(space: Space, height: float) -> None:
    rng = np.random.default_rng(0)
    primitives = PRIMITIVES[space]
    alphas = rng.standard_normal((14, len(primitives)))
    alphas[:, primitives.index(NONE)] = height
    found = derive({"normal": alphas, "reduce": alphas}, primitives)
    # The same α_none on all edges: the order of the rest is the order of α_o − log Σ exp α, nearly of α_o.
    assert list(found.normal) == derive_in_the_papers_words(alphas.tolist(), primitives, 4)
    assert NONE not in {edge.operation for node in found.normal for edge in node}


def test_none_weakens_the_edge_it_is_strong_on() -> None:
    """`none` is never chosen, but its softmax share makes an edge lose against another."""
    primitives = PRIMITIVES["plain"]
    alphas = np.zeros((5, 6))  # two nodes: rows 0 1 | 2 3 4
    alphas[:, primitives.index(SEP)] = 1.0
    alphas[3, primitives.index(NONE)] = 4.0
    found = derive({"normal": alphas, "reduce": alphas}, primitives)
    assert [edge.input for edge in found.normal[1]] == [0, 2]


def test_equal_strengths_go_to_the_earlier_input_and_the_operation_named_first() -> None:
    primitives = PRIMITIVES["reid"]
    alphas = np.zeros((14, 7))
    found = derive({"normal": alphas, "reduce": alphas}, primitives)
    first = next(name for name in primitives if name != NONE)
    assert found == genotype_of(*[[(first, 0), (first, 1)]] * 4)


def test_deriving_does_not_change_when_a_constant_is_added_to_an_edge() -> None:
    rng = np.random.default_rng(1)
    alphas = rng.standard_normal((14, 7))
    moved = alphas + rng.uniform(-300, 300, (14, 1))
    primitives = PRIMITIVES["reid"]
    assert (
        derive({"normal": alphas, "reduce": moved}, primitives).normal
        == derive({"normal": moved, "reduce": alphas}, primitives).normal
    )


def test_the_strength_is_the_largest_softmax_weight_but_nones() -> None:
    alphas = np.log([[0.5, 0.1, 0.05, 0.3, 0.03, 0.02], [0.1, 0.1, 0.1, 0.1, 0.15, 0.45]])
    strength, operation = strengths(alphas, PRIMITIVES["plain"])
    np.testing.assert_allclose(strength, [0.3, 0.45], rtol=1e-14)
    assert operation == [PRIMITIVES["plain"][3], PRIMITIVES["plain"][5]]


@pytest.mark.parametrize("shape", [(3, 6), (13, 6), (14, 7), (15, 6), (0, 6)])
def test_alphas_of_an_impossible_shape_are_refused(shape: tuple[int, int]) -> None:
    alphas = np.zeros(shape)
    message = message_of(lambda: derive({"normal": alphas, "reduce": alphas}, PRIMITIVES["plain"]))
    assert str(shape) in message


def test_softmax_is_eq_6s_weight_and_bears_large_alphas() -> None:
    alphas = np.random.default_rng(2).standard_normal((14, 7))
    expected = [[math.exp(a) / sum(math.exp(b) for b in row) for a in row] for row in alphas.tolist()]
    np.testing.assert_allclose(softmax(alphas), expected, rtol=1e-14)
    np.testing.assert_allclose(softmax(alphas + 1e4), expected, rtol=1e-10)


# Drawn at random


@pytest.mark.parametrize("space", SPACES)
def test_a_random_genotype_has_two_different_inputs_and_no_none(space: Space) -> None:
    for seed in range(100):
        drawn = random_genotype(4, PRIMITIVES[space], seed)
        for index, node in [*enumerate(drawn.normal), *enumerate(drawn.reduce)]:
            assert len({edge.input for edge in node}) == len(node) == 2
            assert all(0 <= edge.input < 2 + index for edge in node)
            assert all(edge.operation in PRIMITIVES[space] and edge.operation != NONE for edge in node)


def test_random_genotypes_are_uniform() -> None:
    """χ² of the last of three nodes: 6 pairs of inputs × 5 × 5 operations, 150 equally likely outcomes."""
    primitives = PRIMITIVES["plain"]
    real = [name for name in primitives if name != NONE]
    outcomes = [((a, i), (b, j)) for i, j in combinations(range(4), 2) for a, b in product(real, real)]
    draws = [random_genotype(3, primitives, seed) for seed in range(3000)]
    for kind in ("normal", "reduce"):
        seen = Counter(tuple(map(tuple, getattr(draw, kind)[2])) for draw in draws)
        assert set(seen) <= set(outcomes)
        expected = len(draws) / len(outcomes)
        chi_square = sum((seen[outcome] - expected) ** 2 / expected for outcome in outcomes)
        assert chi_square < 222.0  # the 99.99 % quantile of χ² with 149 degrees of freedom


def test_a_seed_gives_the_same_genotype_and_another_seed_another(global_rng_untouched: None) -> None:
    primitives = PRIMITIVES["reid"]
    assert random_genotype(4, primitives, 7) == random_genotype(4, primitives, 7)
    assert len({random_genotype(4, primitives, seed) for seed in range(50)}) == 50


# Measured


def test_entropy_is_log_of_the_operations_when_undecided_and_zero_when_decided() -> None:
    np.testing.assert_allclose(entropy(np.zeros((14, 7))), math.log(7), rtol=1e-14)
    decided = np.zeros((14, 7))
    decided[:, 3] = 1e5
    np.testing.assert_array_equal(entropy(decided), 0.0)


def test_entropy_is_minus_the_sum_of_p_log_p() -> None:
    p = np.array([[0.5, 0.25, 0.125, 0.125]])
    np.testing.assert_allclose(entropy(np.log(p) + 3), [1.75 * math.log(2)], rtol=1e-14)


def test_skips_are_counted_in_the_normal_cell_only() -> None:
    skips = tuple(tuple(Edge(SKIP, i) for i in (0, 1)) for _ in range(3))
    convolutions = tuple(tuple(Edge(SEP, i) for i in (0, 1)) for _ in range(3))
    assert skip_count(Genotype(normal=skips, reduce=convolutions)) == 6
    assert skip_count(Genotype(normal=convolutions, reduce=skips)) == 0


# Read and written


@pytest.mark.parametrize("seed", range(5))
def test_a_genotype_comes_back_from_json_as_it_was(seed: int, tmp_path: Path) -> None:
    genotype = random_genotype(1 + seed, PRIMITIVES["reid"], seed)
    genotype.save(tmp_path / "genotype.json")
    assert Genotype.load(tmp_path / "genotype.json") == genotype
    assert Genotype.from_dict(json.loads(genotype.to_json())) == genotype
    assert "\n" not in genotype.to_json()
    assert genotype.nodes == 1 + seed


def test_named_genotypes_are_whole_and_fit_the_papers_four_nodes() -> None:
    for genotype in NAMED.values():
        assert genotype.nodes == 4
        assert all(len(node) == 2 for node in genotype.normal + genotype.reduce)
        assert Genotype.from_dict(genotype.to_dict()) == genotype


def one_node(operation: Any = SEP, state: Any = 0) -> list[list[dict[str, Any]]]:
    return [[{"operation": operation, "input": state}, {"operation": SEP, "input": 1}]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"normal": one_node("conv_7x7"), "reduce": one_node()}, "unknown operation 'conv_7x7'"),
        ({"normal": one_node(), "reduce": one_node(NONE)}, "unknown operation 'none'"),
        ({"normal": one_node(), "reduce": one_node(state=2)}, "reduce node 0: input 2 does not exist"),
        ({"normal": one_node(state=-1), "reduce": one_node()}, "normal node 0: input -1 does not exist"),
        ({"normal": one_node() * 2, "reduce": one_node()}, "normal has 2 nodes, reduce 1"),
        ({"normal": [[]], "reduce": one_node()}, "normal node 0 has 0 edges: expected 2"),
        ({"normal": one_node()}, "reduce"),
        ({"normal": one_node(state="first"), "reduce": one_node()}, "expected"),
        ({"normal": one_node(state=None), "reduce": one_node()}, "expected"),
        ({"normal": 3, "reduce": 3}, "expected"),
        ({"normal": [["abc"]], "reduce": [["abc"]]}, "expected"),
        ({"normal": [[{"operation": SEP}]], "reduce": one_node()}, "input"),
        ([1, 2], "expected"),
        (None, "expected"),
        ("genotype", "expected"),
    ],
)
def test_a_file_that_holds_no_genotype_is_named_with_what_is_wrong(value: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(value))
    message = message_of(lambda: Genotype.load(path))
    assert message.startswith(f"{path}: ")
    assert words in message


@pytest.mark.parametrize("content", ["", "{", "Genotype(normal=[])"])
def test_a_file_that_is_not_json_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "genotype.json"
    path.write_text(content)
    assert message_of(lambda: Genotype.load(path)).startswith(f"{path}: a genotype expected here")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "genotype.json") in message_of(lambda: Genotype.load(tmp_path / "genotype.json"))


# As others write them


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("flat", [True, False], ids=["DARTS", "Auto-ReID"])
def test_pairs_are_taken_two_a_node(seed: int, flat: bool) -> None:
    genotype = random_genotype(3, PRIMITIVES["reid"], seed)
    cells = {
        kind: [(edge.operation, edge.input) for node in genotype.cell(kind) for edge in node]
        if flat
        else [[tuple(edge) for edge in node] for node in genotype.cell(kind)]
        for kind in CELL_KINDS
    }
    assert Genotype.from_darts(**cells) == genotype


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        ([(SEP, 0)], "genotype: normal has 1 pairs: expected 2 a node"),
        ([(SEP, 0), ("sep_conv_5x5", 1)], "genotype: normal node 0: unknown operation 'sep_conv_5x5'"),
        ([(SEP, 0), (SEP, 2)], "genotype: normal node 0: input 2 does not exist"),
        ([[(SEP, 0)]], "genotype: normal node 0 has 1 edges: expected 2"),
        ([(SEP, 0), (SEP, "1")], "genotype: normal: expected pairs such as"),
        ([(SEP, 0, 0.4), (SEP, 1, 0.3)], "genotype: normal: expected pairs such as"),
        ([[], []], "genotype: normal: expected pairs such as"),
        (3, "genotype: normal: expected pairs such as"),
        ([], "genotype: no nodes"),
    ],
)
def test_pairs_that_are_no_cell_are_named(normal: Any, message: str) -> None:
    assert message_of(lambda: Genotype.from_darts(normal, [(SEP, 0), (SEP, 1)])).startswith(message)


@pytest.mark.parametrize("value", [{"normal": [[SEP, 0], [SEP, 1]]}, [[[SEP, 0], [SEP, 1]], [2]], [[["conv_7x7", 1]]]])
def test_a_genotype_of_darts_in_json_is_told_from_ours(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(value))
    message = message_of(lambda: Genotype.load(path))
    assert message == f"{path}: a genotype as DARTS writes it; read it with: nasda convert {path} --out genotype.json"
