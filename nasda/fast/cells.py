"""The relaxed cell, fast: `SearchCell`'s parameters and numbers in about a third of the time.

Eq. 6, edge by edge, repeats work. What is saved here, and why the numbers stay the same:

- All edges that leave a state read the same x. Its ReLU, its poolings with their batch norms, and the part-aware
  module's stripe means are computed once, not once an edge.
- The convolutions of those edges are one grouped convolution, their batch norms one batch norm. This starts a third of
  the kernels, and small images on a GPU take as long as starting kernels does.
- `none` adds zeros, so it is left out; its share of the softmax stays.
- w · BN(y) is BN(y) with scale w, so most weights of eq. 6 cost nothing.
- A depth-wise convolution of dilation 2 never mixes even and odd pixels: it is one of dilation 1 on each of the four
  phases (even or odd row, even or odd column). PyTorch differentiates that seven times faster on a CPU.
- IBN: the mean and the variance of each image's channel also give the batch's, so both norms are one.
- Part-aware: W · cat(x, p) = W_x · x + W_p · p, and W_p · p is needed once a part, not once a pixel.
- With partial channels all edges shuffle alike, so only their sum is shuffled; the other channels are pooled once.
- Images are channels-last in memory, with which convolutions and poolings are fastest.

`nasda.fast.operations` computes each operation; one that is not there is computed edge by edge. In evaluation
mode every edge has its own running statistics. α's step may need their gradients (--alpha-statistics source), so it is
computed here; without gradients the cell computes as `SearchCell` does.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nasda.cells import SearchCell, edge_stride
from nasda.fast.operations import Quarters, State, edge_by_edge, factorized_reduce, join_phases
from nasda.operations import OPERATIONS, FactorizedReduce


class Sent(NamedTuple):
    """What a state sends along one edge: the edge's mixture is the weighted sum of `shared`, `own` and `phases`."""

    shared: dict[int, Tensor]  # terms (B, C, H', W') by column of α, the same for all edges of the state
    own: Tensor | None  # a weighted sum of other operations, (B, C, H', W')
    phases: Tensor | None  # a further weighted sum, in the layout of `split_phases`


class FastSearchCell(SearchCell):
    """`SearchCell`, computed state by state instead of edge by edge."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The table's order, not that of α's columns: so rounding depends on the set of operations alone.
        rows = [(name, row.fast or edge_by_edge) for name, row in OPERATIONS.items() if name in self.primitives]
        self.fast = [(self.primitives.index(name), fast) for name, fast in rows]

    def forward(self, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        """Two cell outputs and the softmax weights (edges, operations) → (B, nodes · C, H', W')."""
        if not (self.training or torch.is_grad_enabled()):
            return super().forward(before_last, last, weights)  # as `count_cost` counts it
        of_edge = weights.unbind()
        past: list[Tensor] = []  # with partial channels: of each state, the channels that bypass the operations
        nodes = [range(rows.start, rows.stop) for rows in self.rows]  # the edges into each, by the state they leave
        sent: dict[int, Sent] = {}

        def leave(state: int, x: Tensor) -> None:
            edges = [into[state] for into in nodes if state < len(into)]
            modules: list[Any] = [self.edges[edge] for edge in edges]
            if self.partial > 1:
                past.append(modules[0].past(x))
                x = x[:, : modules[0].first].contiguous(memory_format=torch.channels_last)
            scales = torch.stack([of_edge[edge] for edge in edges], dim=1).repeat_interleave(x.shape[1], dim=1)
            sums = self._send(State(x, len(edges), edge_stride(self.reduction, state)), modules, scales.unbind())
            sent.update(zip(edges, sums, strict=True))

        for state, x in enumerate(self._bring(before_last, last)):
            leave(state, x)
        outputs: list[Tensor] = []
        for edges in nodes:
            if outputs:
                leave(len(edges) - 1, outputs[-1])
            into = [of_edge[edge] for edge in edges]
            output = _node([sent[edge] for edge in edges], into)
            if self.partial > 1:  # one shuffle for all edges
                beside = reduce(torch.add, (row.sum() * x for row, x in zip(into, past, strict=True)))
                first: Any = self.edges[edges[0]]
                output = first.shuffle(output, beside)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    def _bring(self, before_last: Tensor, last: Tensor) -> list[Tensor]:
        """What `CellInputs` does, with channels-last images as the result."""
        before_last, last = (x.contiguous(memory_format=torch.channels_last) for x in (before_last, last))
        bring = self.inputs.before_last
        if isinstance(bring, FactorizedReduce):
            even, odd = (F.relu(quarter) for quarter in Quarters.apply(before_last))
            return [factorized_reduce([bring], even, odd), self.inputs.last(last)]
        return [bring(before_last), self.inputs.last(last)]

    def _send(self, state: State, edges: Sequence[Any], scales: Sequence[Tensor]) -> list[Sent]:
        """What `state` sends along each of `edges`; `scales` are α's softmax for each of their channels."""
        shared: dict[int, Tensor] = {}
        total: list[Tensor | None] = [None, None]
        for column, fast in self.fast:
            terms = fast(state, [edge.operations[column] for edge in edges], scales[column])
            if terms.shared is not None:
                shared[column] = terms.shared
            total = [_added(*pair) for pair in zip(total, (terms.own, terms.phases), strict=True)]
        own, phases = ([None] * len(edges) if x is None else x.chunk(len(edges), dim=1) for x in total)
        return [Sent(shared, *of_edge) for of_edge in zip(own, phases, strict=True)]


def _added(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    """Their sum, in place: no gradient needs the value of either."""
    return term if total is None else total if term is None else total.add_(term)


def _node(edges: Sequence[Sent], weights: Sequence[Tensor]) -> Tensor:
    """Eq. 6: the sum over all earlier states of all their operations, weighted."""
    plain = [edge.own for edge in edges if edge.own is not None]
    phases = [edge.phases for edge in edges if edge.phases is not None]
    if phases:
        plain.append(join_phases(reduce(torch.add, phases)))
    shared = [term for edge in edges for term in edge.shared.values()]
    if not shared:
        return reduce(torch.add, plain)
    of_edge = [row.unbind() for row in weights]
    scales = [row[column] for edge, row in zip(edges, of_edge, strict=True) for column in edge.shared]
    return Mix.apply(torch.stack(scales), len(plain), *plain, *shared)


class Mix(torch.autograd.Function):
    """Σ terms[:plain] + Σ_i weights_i · terms[plain + i], all of one shape, summed in place: no product is stored."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, plain: int, *terms: Tensor) -> Tensor:
        ctx.plain = plain
        ctx.save_for_backward(weights, *terms[plain:])
        total = terms[0].clone() if plain else torch.zeros_like(terms[0])
        for term in terms[1:plain]:
            total += term
        for weight, term in zip(weights, terms[plain:], strict=True):
            total.addcmul_(term, weight.to(term.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        weights, *terms = ctx.saved_tensors
        of_weights = [_inner(gradient, term, weights.dtype) for term in terms]
        of_terms = [gradient * weight.to(gradient.dtype) for weight in weights]
        return torch.stack(of_weights), None, *[gradient] * ctx.plain, *of_terms


def _inner(x: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
    """Σ x · y, summed in `dtype`."""
    if x.dtype != dtype:  # a dot product of bfloat16 would be rounded to bfloat16
        return (x * y).sum(dtype=dtype)
    return torch.dot(x.permute(0, 2, 3, 1).flatten(), y.permute(0, 2, 3, 1).flatten())
