"""A cell is a small directed acyclic graph: relaxed (`SearchCell`, eq. 6) or derived (`Cell`, eq. 5).

States are numbered as in `genotypes.Edge`: 0 and 1 are the outputs of the last two cells, 2 and up this cell's nodes.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasda.genotypes import CELL_INPUTS, Node, check_primitives, node_slices
from nasda.operations import FactorizedReduce, ReLUConvBN, make_operation
from nasda.settings import Norm, check_partial


def edge_stride(reduction: bool, state: int) -> int:
    """A reduction cell halves its two inputs; edges between its nodes keep the size."""
    return 2 if reduction and state < CELL_INPUTS else 1


class MixedOp(nn.Module):
    """All candidate operations of an edge, mixed: Σ_o w_o · o(x) (the inner sum of eq. 6)."""

    def __init__(self, primitives: Sequence[str], channels: int, stride: int, parts: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(
            make_operation(name, channels, stride, parts=parts, affine=False) for name in primitives
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix (B, C, H, W) by `weights` (operations,), a softmax over the edge's α."""
        return reduce(torch.add, (w * operation(x) for w, operation in zip(weights, self.operations, strict=True)))


class PartialMixedOp(MixedOp):
    """Partial channels (PC-DARTS: Xu et al., ICLR 2020): only the first C/K channels are mixed.

    s · shuffle(cat(Σ_o softmax(α)_o · o(x_first), x_rest)), where x_rest is max-pooled on an edge of stride 2, and s,
    the edge's share of its node, is the sum of its weights.
    """

    def __init__(self, primitives: Sequence[str], channels: int, stride: int, parts: int, partial: int) -> None:
        """`partial` is K. Raises `NasdaError` if it does not divide `channels`."""
        check_partial(channels, partial)
        super().__init__(primitives, channels // partial, stride, parts)
        self.partial, self.first = partial, channels // partial
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        mixed = super().forward(x[:, : self.first], weights)
        return self.shuffle(mixed, weights.sum() * self.past(x))

    def past(self, x: Tensor) -> Tensor:
        """The channels that bypass the operations: (B, C, H, W) → (B, C - C/K, H', W')."""
        return self.pool(x[:, self.first :])

    def shuffle(self, mixed: Tensor, past: Tensor) -> Tensor:
        """Concatenate and shuffle the channels, so that the next edge mixes others: (B, C, H', W')."""
        return functional.channel_shuffle(torch.cat([mixed, past], dim=1), self.partial)


def edge_shares(betas: Tensor, nodes: int) -> Tensor:
    """Edge normalisation (PC-DARTS): a softmax of β over the edges into each node, (edges,) → (edges,)."""
    return torch.cat([torch.softmax(betas[rows], dim=0) for rows in node_slices(nodes)])


class CellInputs(nn.Module):
    """Bring the outputs of the last two cells to the same C channels and the same height and width."""

    def __init__(self, before_last: int, last: int, channels: int, after_reduction: bool, affine: bool) -> None:
        super().__init__()
        # After a reduction cell, the output of the cell before it is twice as high and wide.
        self.before_last = (FactorizedReduce if after_reduction else ReLUConvBN)(before_last, channels, affine)
        self.last = ReLUConvBN(last, channels, affine)

    def forward(self, before_last: Tensor, last: Tensor) -> list[Tensor]:
        return [self.before_last(before_last), self.last(last)]


class SearchCell(nn.Module):
    """The relaxed cell (eq. 6, edge by edge): a `MixedOp` leads from every earlier state to every node."""

    def __init__(
        self,
        nodes: int,
        primitives: Sequence[str],
        inputs: tuple[int, int],
        channels: int,
        *,
        reduction: bool = False,
        after_reduction: bool = False,
        parts: int = 4,
        partial: int = 1,
    ) -> None:
        """`inputs` are the channels of the cell before the last and of the last. The output has nodes × channels. With
        `partial` above 1 every edge is a `PartialMixedOp`."""
        super().__init__()
        self.inputs = CellInputs(*inputs, channels, after_reduction, affine=False)
        self.primitives, self.reduction = check_primitives(primitives), reduction
        self.rows, self.partial = node_slices(nodes), partial
        strides = [edge_stride(reduction, state) for node in range(nodes) for state in range(CELL_INPUTS + node)]
        self.edges = nn.ModuleList(
            MixedOp(primitives, channels, stride, parts)
            if partial == 1
            else PartialMixedOp(primitives, channels, stride, parts, partial)
            for stride in strides
        )

    def forward(self, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        """Two cell outputs and the softmax weights (edges, operations) → (B, nodes · C, H', W')."""
        states = self.inputs(before_last, last)
        for rows in self.rows:
            edges = zip(self.edges[rows], states, weights[rows], strict=True)
            states.append(reduce(torch.add, (edge(state, edge_weights) for edge, state, edge_weights in edges)))
        return torch.cat(states[CELL_INPUTS:], dim=1)


class Cell(nn.Module):
    """The derived cell: every node is the sum of its two chosen operations (eq. 5)."""

    def __init__(
        self,
        nodes: Sequence[Node],
        inputs: tuple[int, int],
        channels: int,
        *,
        reduction: bool = False,
        after_reduction: bool = False,
        parts: int = 4,
        norm: Norm = "own",
    ) -> None:
        """`nodes` is one kind's half of a `Genotype`, `norm` as for `make_operation`; the rest is as in
        `SearchCell`."""
        super().__init__()
        self.inputs = CellInputs(*inputs, channels, after_reduction, affine=True)
        self.sources = [[edge.input for edge in node] for node in nodes]
        self.operations = nn.ModuleList(
            make_operation(edge.operation, channels, edge_stride(reduction, edge.input), parts=parts, norm=norm)
            for node in nodes
            for edge in node
        )

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """Two cell outputs → (B, nodes · C, H', W')."""
        states = self.inputs(before_last, last)
        operations = iter(self.operations)
        for sources in self.sources:
            states.append(reduce(torch.add, [next(operations)(states[source]) for source in sources]))
        return torch.cat(states[CELL_INPUTS:], dim=1)
