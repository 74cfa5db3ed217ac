"""nasda.cells: eq. 6 and eq. 5 as explicit loops."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nasda.cells import Cell, MixedOp, PartialMixedOp, SearchCell, edge_shares, edge_stride
from nasda.devices import seeded
from nasda.errors import NasdaError
from nasda.genotypes import PRIMITIVES, Space, node_slices, random_genotype

SPACES: list[Space] = ["plain", "reid"]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_search_cell(space: Space, nodes: int, *, reduction: bool = False, after_reduction: bool = False) -> SearchCell:
    with seeded(0):
        cell = SearchCell(
            nodes, PRIMITIVES[space], (6, 5), 4, reduction=reduction, after_reduction=after_reduction, parts=2
        )
    return cell.double()


def two_inputs(after_reduction: bool, height: int = 8, width: int = 5) -> tuple[Tensor, Tensor]:
    """Outputs of the cell before the last (6 channels) and of the last (5); the last halved if `after_reduction`."""
    halved = (math.ceil(height / 2), math.ceil(width / 2)) if after_reduction else (height, width)
    return numbers(3, 6, height, width, seed=1), numbers(3, 5, *halved, seed=2)


def eq_6(cell: SearchCell, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
    """I_i = Σ over candidate inputs H of Σ_o w_o^(H,i) · o(H), term by term; the output is all nodes, concatenated."""
    candidates = [cell.inputs.before_last(before_last), cell.inputs.last(last)]
    nodes, edge = 0, 0
    while edge < len(cell.edges):
        terms = []
        for state in candidates:
            operations = cell.edges[edge].operations
            terms += [weights[edge, o].item() * operations[o](state) for o in range(len(operations))]
            edge += 1
        candidates.append(sum(terms))
        nodes += 1
    return torch.cat(candidates[2:], dim=1)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("after_reduction", [False, True])
def test_the_relaxed_cell_is_eq_6(space: Space, nodes: int, reduction: bool, after_reduction: bool) -> None:
    cell = make_search_cell(space, nodes, reduction=reduction, after_reduction=after_reduction)
    weights = torch.softmax(numbers(len(cell.edges), len(PRIMITIVES[space]), seed=3), dim=1)
    inputs = two_inputs(after_reduction)
    output = cell(*inputs, weights)
    torch.testing.assert_close(output, eq_6(cell, *inputs, weights), rtol=1e-11, atol=1e-11)
    size = inputs[1].shape[2:]
    expected = tuple(math.ceil(side / 2) for side in size) if reduction else tuple(size)
    assert output.shape == (3, nodes * 4, *expected)


def test_every_alpha_of_every_edge_reaches_the_output() -> None:
    cell = make_search_cell("reid", 3)
    alphas = numbers(9, 7, seed=3).requires_grad_()
    output = cell(*two_inputs(False), torch.softmax(alphas, dim=1))
    (output * numbers(*output.shape, seed=4)).sum().backward()
    assert (alphas.grad != 0).all()


@pytest.mark.parametrize("reduction", [False, True])
def test_one_hot_weights_leave_the_sum_of_the_chosen_operations(reduction: bool) -> None:
    primitives = PRIMITIVES["reid"]
    cell = make_search_cell("reid", 2, reduction=reduction)
    chosen = torch.tensor([3, 6, 4, 0, 5])  # an operation an edge; edge 3 (last cell → node 1) is `none`
    inputs = two_inputs(False)
    states = [cell.inputs.before_last(inputs[0]), cell.inputs.last(inputs[1])]
    picked = [cell.edges[edge].operations[int(o)] for edge, o in enumerate(chosen)]
    states.append(picked[0](states[0]) + picked[1](states[1]))
    states.append(picked[2](states[0]) + picked[4](states[2]))  # without edge 3
    assert primitives[0] == "none"
    output = cell(*inputs, torch.nn.functional.one_hot(chosen, 7).double())
    torch.testing.assert_close(output, torch.cat(states[2:], dim=1), rtol=1e-12, atol=1e-12)


def test_a_mixed_operation_is_the_weighted_sum() -> None:
    with seeded(0):
        mixed = MixedOp(PRIMITIVES["plain"], 4, 2, 4).double()
    x, weights = numbers(2, 4, 5, 6), numbers(6, seed=1)
    expected = sum(w * operation(x) for w, operation in zip(weights.tolist(), mixed.operations, strict=True))
    torch.testing.assert_close(mixed(x, weights), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("count", [5, 7])
def test_a_wrong_number_of_weights_is_refused(count: int) -> None:
    mixed = MixedOp(PRIMITIVES["plain"], 4, 1, 4)
    with pytest.raises(ValueError, match="argument"):
        mixed(torch.zeros(2, 4, 4, 4), torch.zeros(count))


def test_a_reduction_cell_halves_its_inputs_and_nothing_else() -> None:
    assert [edge_stride(True, state) for state in range(5)] == [2, 2, 1, 1, 1]
    assert [edge_stride(False, state) for state in range(5)] == [1] * 5


def make_cell(nodes: int, seed: int, *, reduction: bool, after_reduction: bool) -> Cell:
    genotype = random_genotype(nodes, PRIMITIVES["reid"], seed)
    with seeded(seed):
        cell = Cell(
            genotype.cell("reduce" if reduction else "normal"),
            (6, 5),
            4,
            reduction=reduction,
            after_reduction=after_reduction,
            parts=2,
        )
    return cell.double()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("after_reduction", [False, True])
def test_the_derived_cell_is_eq_5(seed: int, reduction: bool, after_reduction: bool) -> None:
    nodes = 1 + seed % 4
    cell = make_cell(nodes, seed, reduction=reduction, after_reduction=after_reduction)
    genotype = random_genotype(nodes, PRIMITIVES["reid"], seed)
    inputs = two_inputs(after_reduction)
    states = [cell.inputs.before_last(inputs[0]), cell.inputs.last(inputs[1])]
    for index, (first, second) in enumerate(genotype.cell("reduce" if reduction else "normal")):
        o1, o2 = cell.operations[2 * index : 2 * index + 2]
        states.append(o1(states[first.input]) + o2(states[second.input]))
    output = cell(*inputs)
    torch.testing.assert_close(output, torch.cat(states[2:], dim=1), rtol=1e-12, atol=1e-12)
    assert output.shape[1] == nodes * 4


@pytest.mark.parametrize(("height", "width"), [(8, 4), (9, 5), (7, 8), (5, 11)])
@pytest.mark.parametrize("reduction", [False, True])
def test_cells_after_a_reduction_fit_sizes_that_do_not_divide(height: int, width: int, reduction: bool) -> None:
    inputs = two_inputs(True, height, width)
    halved = tuple(inputs[1].shape[2:])
    expected = tuple(math.ceil(side / 2) for side in halved) if reduction else halved
    searched = make_search_cell("reid", 2, reduction=reduction, after_reduction=True)
    assert searched(*inputs, torch.full((5, 7), 1 / 7).double()).shape[2:] == expected
    assert make_cell(2, 0, reduction=reduction, after_reduction=True)(*inputs).shape[2:] == expected


# Partial channels (PC-DARTS)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("space", SPACES)
def test_the_first_channels_are_mixed_and_the_others_go_past(space: Space, stride: int) -> None:
    primitives = PRIMITIVES[space]
    with seeded(0):
        edge = PartialMixedOp(primitives, 8, stride, 4, partial=4).double()
    whole = MixedOp(primitives, 2, stride, 4).double()
    whole.load_state_dict(edge.state_dict())
    x, weights = numbers(3, 8, 8, 6), torch.softmax(numbers(len(primitives), seed=1), 0)
    dealt = edge(x, weights)
    found = dealt[:, [card * 4 + pile for pile in range(4) for card in range(2)]]  # channel 2 · pile + card is there
    torch.testing.assert_close(found[:, :2], whole(x[:, :2], weights))
    torch.testing.assert_close(found[:, 2:], functional.adaptive_max_pool2d(x[:, 2:], (8 // stride, 6 // stride)))


@pytest.mark.parametrize("stride", [1, 2])
def test_an_edge_with_half_its_share_gives_half(stride: int) -> None:
    edge = PartialMixedOp(PRIMITIVES["plain"], 8, stride, 4, partial=4).double()
    x, weights = numbers(3, 8, 7, 5), torch.softmax(numbers(6, seed=1), 0)
    torch.testing.assert_close(edge(x, weights / 2), edge(x, weights) / 2)
    assert edge(x, weights).shape == (3, 8, -(-7 // stride), -(-5 // stride))


def test_the_edges_of_a_node_share_it_by_the_softmax_of_beta() -> None:
    betas = numbers(9)
    shares = edge_shares(betas, 3)
    for rows in node_slices(3):
        exponentials = betas[rows].exp()
        torch.testing.assert_close(shares[rows], exponentials / exponentials.sum())


@pytest.mark.parametrize("partial", [0, 3, 8])
def test_k_has_to_divide_the_channels(partial: int) -> None:
    with pytest.raises(NasdaError, match=f"--partial is {partial}: expected a number that divides the cells' 4"):
        PartialMixedOp(PRIMITIVES["plain"], 4, 1, 4, partial)
