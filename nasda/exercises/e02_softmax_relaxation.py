"""The exercises of notebook 02: eq. 6, its gradient, its temperature, and the way back to a choice."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nasda.exercises import like, value
from nasda.genotypes import softmax
from nasda.lessons.l02_softmax_relaxation import kept_edges

NAMES = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")


def mixed_node(alphas: Tensor, outputs: Tensor) -> Tensor:
    """Eq. 6 on what the operations put out."""
    return (torch.softmax(alphas, dim=1).unsqueeze(2) * outputs).sum(dim=(0, 1))


def alpha_gradient(alphas: Tensor, outputs: Tensor, upstream: Tensor) -> Tensor:
    """dL/dα of one edge from dL/dȳ."""
    weights, gains = torch.softmax(alphas, dim=0), outputs @ upstream
    return weights * (gains - weights @ gains)


def weights_at(alphas: Sequence[float], temperature: float) -> np.ndarray:
    """softmax(α/T), and its limit for T = 0."""
    values = np.asarray(alphas, dtype=np.float64)
    if temperature == 0:
        winners = values == values.max()
        return winners / winners.sum()
    return softmax(values / temperature)


def _one_softmax_for_all(alphas: Tensor, outputs: Tensor) -> Tensor:
    return (torch.softmax(alphas.flatten(), dim=0).reshape(*alphas.shape, 1) * outputs).sum(dim=(0, 1))


def _across_edges(alphas: Tensor, outputs: Tensor) -> Tensor:
    return (torch.softmax(alphas, dim=0).unsqueeze(2) * outputs).sum(dim=(0, 1))


def _one_operand(alphas: Tensor, outputs: Tensor) -> Tensor:
    return torch.softmax(alphas[0], dim=0) @ outputs[0]


def _mean_over_edges(alphas: Tensor, outputs: Tensor) -> Tensor:
    return mixed_node(alphas, outputs) / len(alphas)


def _no_baseline(alphas: Tensor, outputs: Tensor, upstream: Tensor) -> Tensor:
    return torch.softmax(alphas, dim=0) * (outputs @ upstream)


def _slope_of_the_weight(alphas: Tensor, outputs: Tensor, upstream: Tensor) -> Tensor:
    return outputs @ upstream


def _diagonal_only(alphas: Tensor, outputs: Tensor, upstream: Tensor) -> Tensor:
    weights = torch.softmax(alphas, dim=0)
    return weights * (1 - weights) * (outputs @ upstream)


_EDGES = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
_OUTPUTS = torch.tensor([[[3.0, 0.0], [0.0, 3.0], [3.0, 3.0]], [[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]]])
_NODE_CASES = [
    {"alphas": _EDGES, "outputs": _OUTPUTS},
    {"alphas": torch.tensor([[5.0, 5.0], [0.0, 0.0], [1.0, -1.0]]), "outputs": torch.arange(6.0).reshape(3, 2, 1)},
]

_GRADIENT_CASES = [
    {
        "alphas": torch.zeros(3),
        "outputs": torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]),
        "upstream": torch.tensor([3.0, 3.0]),
    },
    {
        "alphas": torch.tensor([0.5, -1.0, 2.0]),
        "outputs": torch.tensor([[1.0], [2.0], [-1.0]]),
        "upstream": torch.tensor([0.5]),
    },
]

_TEMPERATURE_CASES = [
    {"alphas": [1.0, 2.0, 3.0], "temperature": 1.0},
    {"alphas": [1.0, 2.0, 3.0], "temperature": 50.0},
    {"alphas": [1.0, 2.0, 3.0], "temperature": 0.001},
    {"alphas": [1.0, 3.0, 2.0], "temperature": 0.0},
    {"alphas": [2.0, 0.0, 2.0, 1.0], "temperature": 0.0},
]

# Softmax weights of three edges, printed in the notebook.
TABLE = np.array([[0.10, 0.40, 0.30, 0.20], [0.70, 0.05, 0.05, 0.20], [0.45, 0.10, 0.10, 0.35]])


def _by_hand() -> set[tuple[str, int]]:
    kept, operations = kept_edges(np.log(TABLE), NAMES)
    return {(operations[edge], edge) for edge in kept}


EXERCISES = {
    "02.1": like(
        mixed_node,
        _NODE_CASES,
        [
            (
                _one_softmax_for_all,
                "That is one softmax over all edges together; in eq. 6 each edge (H, i) has a softmax of its own, so "
                "that its weights sum to 1",
            ),
            (_across_edges, "That normalises over the edges; the operations of one edge are what competes: dim=1"),
            (
                _one_operand,
                "That is the left side of eq. 6 as it is printed, one operand; the node sums over all candidate "
                "inputs H",
            ),
            (_mean_over_edges, "That is the mean over the edges; eq. 6 sums over them, as eq. 5 does"),
        ],
        praise="Edges do not compete with each other during the search, only operations within an edge do.",
    ),
    "02.2": like(
        alpha_gradient,
        _GRADIENT_CASES,
        [
            (
                _no_baseline,
                "The baseline is missing: raising one α lowers the other weights, so subtract what the mixture as a "
                "whole contributes",
            ),
            (
                _slope_of_the_weight,
                "That is dL/dw, the slope with respect to the weight; go on through the softmax to α",
            ),
            (
                _diagonal_only,
                "That takes only dw_o/dα_o; the other weights depend on α_o as well, dw_p/dα_o = −w_p w_o",
            ),
        ],
        praise="Add up the entries: a gradient of a softmax always sums to 0.",
    ),
    "02.3": like(
        weights_at,
        _TEMPERATURE_CASES,
        praise="At T = 0 a tie is shared; any T above 0 breaks it by the smallest difference in α.",
    ),
    "02.4": value(
        _by_hand(),
        {
            frozenset({("sep_conv_3x3", 1), ("sep_conv_3x3", 2)}): "You divided by the weights without none. It is out "
            "of the maximum but stays in the denominator: an edge that is mostly none is weak.",
            frozenset({("max_pool_3x3", 0), ("none", 1)}): "none takes no part in the maximum.",
            frozenset(
                {("max_pool_3x3", 0), ("skip_connect", 0)}
            ): "Those are two operations of one edge; take the best one of an edge, then the two strongest edges.",
            frozenset({("max_pool_3x3", 0), ("sep_conv_3x3", 1)}): "Compare the strengths of the edges from inputs 1 "
            "and 2 once more.",
        },
        praise="With none in the denominator an edge can say that it would rather not be there.",
    ),
    "02.5": value(
        -0.1,
        {
            0.1: "Mind the sign: more of none, less of the loss.",
            0.0: "none puts out zeros, but raising its α lowers the weight of the skip connection, and with it f.",
            -0.2: "That is dL/dα without the factor w_none (or w_skip): dw_skip/dα_none = −w_none · w_skip.",
            -0.25: "That is −w_none · L: the margin does not depend on the weights, so it has no slope.",
        },
        praise="Descent raises none here, although none helps nobody to tell two people apart.",
    ),
}
