"""Notebook 07: what would make it help? A space that is known whole, an operation and a selection of one's own."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasda.course.judges import Built, Exercise, NotAttempted, Wrong, call, difference, is_stub, like, module, show
from nasda.course.predict import Question
from nasda.genotypes import CELL_KINDS, EDGES_PER_NODE, NONE, Edge, Genotype, edge_count, node_slices
from nasda.operations import IBN, operation_colour, operation_label
from nasda.pictures.palette import GREY
from nasda.pictures.plots import Plot
from nasda.toy.digits import CLASSES, Digits

Weights = Mapping[str, Tensor]  # of each kind of cell: (edges, operations)
Loss = Callable[[Weights], float]

RECALL = (
    Question("b", "α is made of logits; each edge's weights are their softmax, so they sum to 1: notebook 02."),
    Question("c", "ω learns from the source, α from a small sample of the target: notebook 04, equations 3 and 4."),
    Question("a", "With n pairs p is at least 2 to the power 1 − n: 0.0625 for five, 0.031 for six: notebook 06."),
)


# ---------------------------------------------------------------------------------------------------------- pictures


def digit_sheet(domains: Mapping[str, Digits], columns: int = 8) -> Plot:
    """Domains side by side: a row is one digit, `columns` examples of it in each domain."""
    figure = Plot(4.4 * len(domains), 5.2)
    row = figure.subplots(1, len(domains), squeeze=False)[0]
    for axes, (title, digits) in zip(row, domains.items(), strict=True):
        rows = [digits.images[digits.labels == label][:columns, 0].numpy() for label in range(CLASSES)]
        framed = np.pad(np.stack(rows), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
        sheet = framed.transpose(0, 2, 1, 3).reshape(CLASSES * 9, columns * 9)[:-1, :-1]
        axes.imshow(sheet, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=12, fontweight="bold")
        axes.set_yticks([9 * label + 3.5 for label in range(CLASSES)], [str(label) for label in range(CLASSES)])
        axes.set_xticks([])
        axes.set_ylabel("digit: each row shows one", fontsize=11)
        axes.tick_params(length=0, labelsize=10)
    return figure


def barcode(results: Mapping[str, Sequence[Genotype]]) -> Plot:
    """Every found cell as a row of coloured fields: one for each chosen operation, with the state that feeds it."""
    rows = [(name, number, genotype) for name, found in results.items() for number, genotype in enumerate(found)]
    nodes = rows[0][2].nodes
    across = 2 * EDGES_PER_NODE * nodes
    figure = Plot(9, 1.8 + 0.27 * len(rows))
    axes = figure.subplots()
    names = ("a", "b", *map(str, range(nodes)))
    for y, (_, _, genotype) in enumerate(rows):
        edges = [edge for kind in CELL_KINDS for node in genotype.cell(kind) for edge in node]
        for position, edge in enumerate(edges):
            x = position + (0.4 if position >= across / 2 else 0)
            colour = operation_colour(edge.operation)
            axes.barh(y, 0.96, 0.86, x, color=colour, align="center")
            axes.text(x + 0.48, y, names[edge.input], color="white", ha="center", va="center", fontsize=9)
    starts = [y for y, (_, number, _) in enumerate(rows) if number == 0]
    for y in starts[1:]:
        axes.axhline(y - 0.5, color=GREY, linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{name}, {number}" for name, number, _ in rows], fontsize=9)
    ticks = [1 + EDGES_PER_NODE * node + (0.4 if node >= nodes else 0) for node in range(2 * nodes)]
    axes.set_xticks(ticks, [f"{kind} cell\nnode {node}" for kind in CELL_KINDS for node in range(nodes)], fontsize=10)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel(
        "letter: fed by the cell before the last (a), the last cell (b), or a node (its number)", fontsize=10
    )
    chosen = dict.fromkeys(e.operation for *_, g in rows for kind in CELL_KINDS for node in g.cell(kind) for e in node)
    for name in chosen:
        axes.barh(0, 0, color=operation_colour(name), label=operation_label(name))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    return figure


# ---------------------------------------------------------------------------------------------------------- exercises

# 07.1: an operation of one's own


class ConvIBN(nn.Module):
    """ReLU, 1×1 convolution, then instance norm on the first half of the channels and batch norm on the others."""

    def __init__(self, channels: int, stride: int, parts: int, affine: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 1, stride, bias=False)
        self.norm = IBN(channels, affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(F.relu(x)))


class _Slip(ConvIBN):
    """A usual mistake: it overrides what differs."""

    norm: Any


class _NoReLU(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x))


class _ReLUAfter(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x)))


class _NormFirst(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(self.norm(F.relu(x)))


class _Swapped(_Slip):
    def __init__(self, channels: int, stride: int, parts: int, affine: bool) -> None:
        super().__init__(channels, stride, parts, affine)
        self.norm.instance = nn.InstanceNorm2d(channels - channels // 2, affine=affine)
        self.norm.batch = nn.BatchNorm2d(channels // 2, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(F.relu(x))
        half = y.shape[1] // 2
        return torch.cat([self.norm.batch(y[:, :half]), self.norm.instance(y[:, half:])], dim=1)


class _BatchAlone(_Slip):
    def __init__(self, channels: int, stride: int, parts: int, affine: bool) -> None:
        super().__init__(channels, stride, parts, affine)
        self.norm = nn.BatchNorm2d(channels, affine=affine)


class _InstanceAlone(_Slip):
    def __init__(self, channels: int, stride: int, parts: int, affine: bool) -> None:
        super().__init__(channels, stride, parts, affine)
        self.norm = nn.InstanceNorm2d(channels, affine=affine)


class _Biased(_Slip):
    def __init__(self, channels: int, stride: int, parts: int, affine: bool) -> None:
        super().__init__(channels, stride, parts, affine)
        self.convolution = nn.Conv2d(channels, channels, 1, stride)


class _Grouped(_Slip):
    def __init__(self, channels: int, stride: int, parts: int, affine: bool) -> None:
        super().__init__(channels, stride, parts, affine)
        self.convolution = nn.Conv2d(channels, channels, 1, stride, groups=channels, bias=False)


class _AlwaysAffine(_Slip):
    def __init__(self, channels: int, stride: int, parts: int, affine: bool) -> None:
        super().__init__(channels, stride, parts, True)


_SLIPS = [
    (_NoReLU, "The ReLU in front is missing: all operations with weights begin with one."),
    (_ReLUAfter, "A ReLU behind the norm as well as in front: the sum of a node should have both signs."),
    (_NormFirst, "The norm stands behind the convolution, not in front of it."),
    (_Swapped, "The halves are swapped: instance norm takes the first half of the channels."),
]
_OTHER_WEIGHTS = [
    (_BatchAlone, "That is batch norm on all channels: the first half needs an instance norm."),
    (_InstanceAlone, "That is instance norm on all channels: the second half needs a batch norm."),
    (_Biased, "The convolution has a bias, which the norm behind it takes away again: bias=False."),
    (_Grouped, "The convolution has groups: every output channel must see all input channels."),
    (_AlwaysAffine, "With affine=False the norms must not learn a scale, which could take over α's part."),
]


def _images(channels: int, height: int, width: int) -> Callable[[torch.Generator], Sequence[Tensor]]:
    return lambda generator: [torch.randn(3, channels, height, width, generator=generator)]


def _operation(channels: int, stride: int, affine: bool, height: int, width: int) -> Built:
    arguments = {"channels": channels, "stride": stride, "parts": 4, "affine": affine}
    return Built(arguments, _images(channels, height, width))


_own_operation = module(
    ConvIBN,
    {
        "stride 1, without scales": _operation(4, 1, False, 6, 5),
        "stride 2, odd height and width": _operation(4, 2, False, 7, 5),
        "an odd number of channels, with scales": _operation(5, 2, True, 8, 6),
    },
    [*_SLIPS],
    praise="Any module that keeps this contract can be searched: nothing else in the library has to change.",
    part="an operation of your own",
)


def _weights_as_in(slip: Any, answer: Any) -> bool:
    """Has the answer the shapes of a slip's weights, with scales and without?"""

    def shapes(made: Any) -> list[tuple[int, ...]]:
        tensors = [*made.parameters(), *(b for b in made.buffers() if b.is_floating_point())]
        return sorted(tuple(tensor.shape) for tensor in tensors)

    arguments = [{"channels": 5, "stride": 1, "parts": 4, "affine": affine} for affine in (False, True)]
    return all(shapes(slip(**case)) == shapes(call(answer, case)) for case in arguments)


def _judge_operation(answer: Any) -> Wrong | str | None:
    wrong = _own_operation.judge(answer)
    if isinstance(wrong, Wrong) and "the shapes" in wrong.words:
        slip = next((words for slip, words in _OTHER_WEIGHTS if _weights_as_in(slip, answer)), "")
        return Wrong(f"{wrong.words}. {slip}".strip(), wrong.case)
    return wrong


# 07.2 to 07.4: selection by perturbation


def most_missed(weights: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> int:
    """The column of the operation, other than none, without which the loss is largest."""
    losses = []
    for column, name in enumerate(operations):
        masked = {key: matrix.clone() for key, matrix in weights.items()}
        masked[kind][edge, column] = 0
        losses.append(-np.inf if name == NONE else loss(masked))
    return int(np.argmax(losses))


def keep_operations(
    weights: Weights,
    edges: Sequence[tuple[str, int]],
    operations: Sequence[str],
    loss: Loss,
    tune: Callable[[Weights], object],
) -> dict[str, Tensor]:
    """The weights after each edge, in this order, has given all its weight to the operation that is missed most."""
    kept = {key: matrix.clone() for key, matrix in weights.items()}
    for kind, edge in edges:
        column = most_missed(kept, kind, edge, operations, loss)
        share = kept[kind][edge].sum()
        kept[kind][edge] = 0
        kept[kind][edge, column] = share
        tune(kept)
    return kept


def keep_inputs(
    weights: Weights,
    nodes: Sequence[tuple[str, int]],
    operations: Sequence[str],
    loss: Loss,
    tune: Callable[[Weights], object],
) -> Genotype:
    """The cells of the two edges of each node, in this order, without which the loss is largest."""
    kept = {key: matrix.clone() for key, matrix in weights.items()}
    cells: dict[str, list[Any]] = {kind: [None] * (len(nodes) // len(CELL_KINDS)) for kind in CELL_KINDS}
    for kind, node in nodes:
        first = edge_count(node)
        losses = []
        for edge in range(first, first + 2 + node):
            masked = {key: matrix.clone() for key, matrix in kept.items()}
            masked[kind][edge] = 0
            losses.append(loss(masked))
        order = np.argsort(-np.array(losses), kind="stable").tolist()
        inputs, others = sorted(order[:EDGES_PER_NODE]), order[EDGES_PER_NODE:]
        cells[kind][node] = tuple(Edge(operations[int(kept[kind][first + i].argmax())], i) for i in inputs)
        for i in others:
            kept[kind][first + i] = 0
        if others:
            tune(kept)
    return Genotype(**{kind: tuple(cell) for kind, cell in cells.items()})


class ToyLoss:
    """A loss of a mixture that is quick to compute: operations are worth something, alone and beside others."""

    def __init__(self, rng: np.random.Generator, nodes: int, operations: int) -> None:
        edges = edge_count(nodes)
        self.worth = {kind: torch.tensor(rng.normal(size=(edges, operations))) for kind in CELL_KINDS}
        self.beside = torch.tensor(rng.normal(size=(edges, edges)))

    def __call__(self, weights: Weights) -> float:
        alone = sum((self.worth[kind] * weights[kind]).sum() for kind in CELL_KINDS)
        shares = [(self.worth[kind] * weights[kind]).sum(dim=1) for kind in CELL_KINDS]
        return float(3 - alone + shares[0] @ self.beside @ shares[1])

    def __repr__(self) -> str:
        return "a toy loss"


class ToyTuning:
    """Changes what operations are worth, as a few steps of ω would."""

    def __init__(self, loss: ToyLoss) -> None:
        self.loss = loss

    def __call__(self, weights: Weights) -> None:
        for kind in CELL_KINDS:
            self.loss.worth[kind] = (self.loss.worth[kind] + torch.cos(7 * weights[kind].double())).roll(1, 0)

    def __repr__(self) -> str:
        return "a toy tuning"


_SPACES = [
    ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"),
    ("max_pool_3x3", "skip_connect", "none", "sep_conv_3x3", "dil_conv_3x3"),
    ("skip_connect", "sep_conv_3x3", "dil_conv_3x3"),
]


def _mixture(rng: np.random.Generator, edges: int, operations: int) -> dict[str, Tensor]:
    """Weights as of a supernet with shares of the edges: rows do not sum to 1."""
    made: dict[str, Tensor] = {}
    for kind in CELL_KINDS:
        weights = torch.softmax(torch.tensor(rng.normal(size=(edges, operations))), dim=1)
        made[kind] = weights * torch.tensor(rng.uniform(0.3, 1, size=(edges, 1)))
    return made


def _start(rng: np.random.Generator) -> tuple[int, tuple[str, ...], ToyLoss]:
    nodes, operations = int(rng.integers(1, 4)), _SPACES[rng.integers(len(_SPACES))]
    return nodes, operations, ToyLoss(rng, nodes, len(operations))


def _one_edge(rng: np.random.Generator) -> dict[str, Any]:
    nodes, operations, loss = _start(rng)
    edges = edge_count(nodes)
    return {
        "weights": _mixture(rng, edges, len(operations)),
        "kind": CELL_KINDS[rng.integers(2)],
        "edge": int(rng.integers(edges)),
        "operations": operations,
        "loss": loss,
    }


def _all_edges(rng: np.random.Generator) -> dict[str, Any]:
    nodes, operations, loss = _start(rng)
    places = [(kind, edge) for kind in CELL_KINDS for edge in range(edge_count(nodes))]
    return {
        "weights": _mixture(rng, edge_count(nodes), len(operations)),
        "edges": [places[i] for i in rng.permutation(len(places))],
        "operations": operations,
        "loss": loss,
        "tune": ToyTuning(loss),
    }


def _all_nodes(rng: np.random.Generator) -> dict[str, Any]:
    nodes, operations, loss = _start(rng)
    weights = _mixture(rng, edge_count(nodes), len(operations))
    for matrix in weights.values():  # as after the edges' decisions: one operation an edge
        chosen = rng.choice([o for o, name in enumerate(operations) if name != NONE], len(matrix))
        shares = matrix.sum(dim=1)
        matrix.zero_()
        matrix[range(len(matrix)), chosen] = shares
    places = [(kind, node) for kind in CELL_KINDS for node in range(nodes)]
    return {
        "weights": weights,
        "nodes": [places[i] for i in rng.permutation(len(places))],
        "operations": operations,
        "loss": loss,
        "tune": ToyTuning(loss),
    }


def _masked(weights: Weights, kind: str, edge: int, column: int) -> dict[str, Tensor]:
    masked = {key: matrix.clone() for key, matrix in weights.items()}
    masked[kind][edge, column] = 0
    return masked


def _by(choose: Callable[..., int]) -> Callable[..., Any]:
    """`keep_operations` with another choice."""

    def keep(weights: Weights, edges: Any, operations: Any, loss: Loss, tune: Any) -> list[Tensor]:
        kept = {key: matrix.clone() for key, matrix in weights.items()}
        for kind, edge in edges:
            column = choose(kept, weights, kind, edge, operations, loss)
            share = kept[kind][edge].sum()
            kept[kind][edge] = 0
            kept[kind][edge, column] = share
            tune(kept)
        return [kept[kind] for kind in CELL_KINDS]

    return keep


def _losses(weights: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> list[float]:
    return [loss(_masked(weights, kind, edge, column)) for column in range(len(operations))]


def _least_missed(w: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> int:
    found = _losses(w, kind, edge, operations, loss)
    return int(np.argmin([np.inf if name == NONE else x for name, x in zip(operations, found, strict=True)]))


def _with_none(w: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> int:
    return int(np.argmax(_losses(w, kind, edge, operations, loss)))


def _heaviest(w: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> int:
    return int(np.argmax([-1 if name == NONE else x for name, x in zip(operations, w[kind][edge], strict=True)]))


def _renormalised(w: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> int:
    losses = []
    for column in range(len(operations)):
        masked = _masked(w, kind, edge, column)
        masked[kind][edge] *= w[kind][edge].sum() / masked[kind][edge].sum()
        losses.append(-np.inf if operations[column] == NONE else loss(masked))
    return int(np.argmax(losses))


def _column_gone(w: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> int:
    losses = []
    for column in range(len(operations)):
        masked = {key: matrix.clone() for key, matrix in w.items()}
        masked[kind][:, column] = 0
        losses.append(-np.inf if operations[column] == NONE else loss(masked))
    return int(np.argmax(losses))


def _kept_alone(w: Weights, kind: str, edge: int, operations: Sequence[str], loss: Loss) -> int:
    losses = []
    for column in range(len(operations)):
        masked = {key: matrix.clone() for key, matrix in w.items()}
        weight = masked[kind][edge, column].clone()
        masked[kind][edge] = 0
        masked[kind][edge, column] = weight
        losses.append(np.inf if operations[column] == NONE else loss(masked))
    return int(np.argmin(losses))


_MISSED_SLIPS = [
    (_least_missed, "That is the operation that is missed least: look for the largest loss."),
    (_with_none, "none was chosen: it takes part in the search, never in a derived cell."),
    (_heaviest, "That is the largest weight: DARTS' own choice. Here the loss decides, not the weight."),
    (_renormalised, "The other weights were scaled up: only one weight becomes 0, the others stay."),
    (_column_gone, "The operation was removed from every edge of the cell: only this edge loses it."),
    (_kept_alone, "That keeps one operation and removes the others. Remove one and keep the others."),
]


def _keep_slip(start: Callable[[Tensor, int], Tensor], tuned: bool = True) -> Callable[..., Any]:
    """`keep_operations` that writes another row for the edge; or never tunes."""

    def keep(weights: Weights, edges: Any, operations: Any, loss: Loss, tune: Any) -> list[Tensor]:
        kept = {key: matrix.clone() for key, matrix in weights.items()}
        for kind, edge in edges:
            kept[kind][edge] = start(kept[kind][edge], most_missed(kept, kind, edge, operations, loss))
            if tuned:
                tune(kept)
        return [kept[kind] for kind in CELL_KINDS]

    return keep


def _only(row: Tensor, column: int, weight: Any) -> Tensor:
    made = torch.zeros_like(row)
    made[column] = weight
    return made


_EDGE_SLIPS = [
    (
        _by(lambda kept, first, *of: most_missed(first, *of)),
        "Every edge was judged with the weights of the start: judge it with those that the decisions before it left.",
    ),
    (_by(lambda kept, first, *of: _heaviest(kept, *of)), "The largest weight was kept: ask `most_missed`."),
    (_keep_slip(lambda row, o: _only(row, o, 1.0)), "The kept operation gets the edge's sum, which need not be 1."),
    (
        _keep_slip(lambda row, o: _only(row, o, row[o])),
        "The kept operation kept its own weight: it gets the weight of the whole edge.",
    ),
    (
        _keep_slip(lambda row, o: _only(row, o, row.sum()), tuned=False),
        "`tune` was not called after each decision: ω has to learn to live without what was removed.",
    ),
]


def _node_slip(
    judged: Callable[[Weights, str, int, Loss], float], *, most: bool = True, remove: bool = True, tuned: bool = True
) -> Callable[..., Any]:
    """`keep_inputs` with another measure of an edge, or another end of its order, or without a removal."""

    def keep(weights: Weights, nodes: Any, operations: Any, loss: Loss, tune: Any) -> tuple[Any, ...]:
        kept = {key: matrix.clone() for key, matrix in weights.items()}
        cells: dict[str, list[Any]] = {kind: [None] * (len(nodes) // 2) for kind in CELL_KINDS}
        for kind, node in nodes:
            rows = node_slices(node + 1)[node]
            measured = np.array([judged(kept, kind, edge, loss) for edge in range(rows.start, rows.stop)])
            order = np.argsort(-measured if most else measured, kind="stable").tolist()
            names = {i: operations[int(kept[kind][rows.start + i].argmax())] for i in order}
            cells[kind][node] = tuple((names[i], i) for i in sorted(order[:2]))
            for i in order[2:] if remove else ():
                kept[kind][rows.start + i] = 0
            if order[2:] and tuned:
                tune(kept)
        return tuple(tuple(cells[kind]) for kind in CELL_KINDS)

    return keep


def _without_edge(weights: Weights, kind: str, edge: int, loss: Loss) -> float:
    masked = {key: matrix.clone() for key, matrix in weights.items()}
    masked[kind][edge] = 0
    return loss(masked)


_NODE_SLIPS = [
    (_node_slip(_without_edge, most=False), "Those two inputs are missed least: keep the two that are missed most."),
    (
        _node_slip(lambda w, kind, edge, loss: float(w[kind][edge].sum())),
        "The edges with the largest weights were kept: here the loss decides.",
    ),
    (_node_slip(_without_edge, remove=False), "The edges that lost must become 0 before the next node is judged."),
    (_node_slip(_without_edge, tuned=False), "`tune` was never called: call it after each node that lost an edge."),
]


def _flattened(answer: Callable[..., Any]) -> Callable[..., Any]:
    """An answer that returns weights by kind, or a genotype, as one that returns them in a list."""

    def flat(*arguments: Any) -> Any:
        made = answer(*arguments)
        if isinstance(made, Genotype):
            return made.normal, made.reduce
        if isinstance(made, Mapping) and set(made) == set(CELL_KINDS):
            return [made[kind] for kind in CELL_KINDS]
        return made

    return flat


def _like_flat(reference: Callable[..., Any], **options: Any) -> Exercise:
    """`like` for functions that return weights by kind, or a genotype."""
    inner = like(_flattened(reference), [], library=reference, **options)

    def judge(answer: Any) -> Wrong | str | None:
        if callable(answer) and is_stub(answer):
            raise NotAttempted
        return inner.judge(_flattened(answer) if callable(answer) else answer)

    return Exercise(judge, inner.praise, inner.part, reference)


# 07.5: partial channels


def partial_channels(x: Tensor, mixed: Any, partial: int) -> Tensor:
    """The first C/K channels through `mixed`, the others past it, then the shuffle."""
    first = x.shape[1] // partial
    return F.channel_shuffle(torch.cat([mixed(x[:, :first]), x[:, first:]], dim=1), partial)


class Tenfold:
    """A stand-in for a mixed operation, whose work is easy to see."""

    def __call__(self, x: Tensor) -> Tensor:
        return 10 * x

    def __repr__(self) -> str:
        return "ten times"


class Negative:
    """Another one, which computes each channel by itself but not in proportion."""

    def __call__(self, x: Tensor) -> Tensor:
        return -x - 1000

    def __repr__(self) -> str:
        return "x → −x − 1000"


def _channels(count: int, images: int = 1, height: int = 1, width: int = 1) -> Tensor:
    pixels = torch.arange(height * width).reshape(height, width) / 100 + torch.arange(images).reshape(-1, 1, 1, 1) / 7
    return torch.arange(1.0, count + 1).reshape(1, count, 1, 1) + pixels


_PARTIAL = [
    {"x": _channels(4), "mixed": Tenfold(), "partial": 2},
    {"x": _channels(8), "mixed": Tenfold(), "partial": 4},
    {"x": _channels(6, 2, 2, 3), "mixed": Negative(), "partial": 3},
    {"x": _channels(4, 2, 3, 1), "mixed": Negative(), "partial": 1},
]


def _judge_partial(answer: Any) -> Wrong | str | None:
    if not callable(answer):
        return f"expected a function, found {show(answer)}"
    if is_stub(answer):
        raise NotAttempted
    for case in _PARTIAL:
        expected, made = partial_channels(**case), call(answer, case)  # type: ignore[arg-type]
        words = difference(expected, made)
        if words and (fault := _fault_of_channels(answer, made, case)):
            given = ", ".join(f"{name} = {show(value)}" for name, value in case.items())
            return Wrong(f"for {given}: {words}. {fault}", case)
    return None


def _fault_of_channels(answer: Any, made: Any, case: Mapping[str, Any]) -> str:
    """What is wrong with an answer that may have chosen other channels than the first ones; "" if nothing is."""
    x, mixed, partial = case["x"], case["mixed"], case["partial"]
    if not isinstance(made, Tensor) or made.shape != x.shape:
        return "The output has as many channels as the input: put the mixed ones and the others together again."
    origin = _origins(made, x, mixed)
    if None in origin:
        return "Some channels of the output are neither a channel of x nor one that went through `mixed`."
    went = [channel for channel, was_mixed in origin if was_mixed]  # type: ignore[misc]
    if sorted(channel for channel, _ in origin) != list(range(x.shape[1])):  # type: ignore[misc]
        return "Each channel of x must occur once in the output, mixed or not."
    if len(went) != x.shape[1] // partial:
        return f"{len(went)} channels went through `mixed`: it must be C/K = {x.shape[1] // partial}."
    if partial > 1 and {place for place, entry in enumerate(origin) if entry[1]} == set(went):  # type: ignore[index]
        return "The mixed channels stand where they stood, so the next edge would mix the same ones: shuffle."
    return ""


def _origins(made: Tensor, x: Tensor, mixed: Any) -> list[tuple[int, bool] | None]:
    """For each channel of the output the channel of x that it is, and whether it went through `mixed`."""
    sources = {(channel, went): f for went, y in ((False, x), (True, mixed(x))) for channel, f in enumerate(_each(y))}
    return [next((key for key, f in sources.items() if torch.allclose(f, g)), None) for g in _each(made)]


def _each(x: Tensor) -> list[Tensor]:
    return list(x.double().unbind(dim=1))


# 07.6: experiments' controls

_CONTROLS = {"A": 3, "B": 1, "C": 2, "D": 4}
_ADVICE = {
    "A": "the claim is that choosing at all pays: what would no choice have given, in the same space?",
    "B": "the claim is about where α looks: everything stays as it is, but α looks at the other domain",
    "C": "the claim is about how the cell is read off: keep the searched network, read it off the other way",
    "D": "the claim is about what ten labels a digit are best used for: give the same labels to the other parameters",
}


def _judge_controls(answer: Any) -> str | None:
    if isinstance(answer, str) and len(answer.strip()) == len(_CONTROLS):
        answer = list(answer.strip())
    if isinstance(answer, (list, tuple, np.ndarray, Tensor)) and len(answer) == len(_CONTROLS):
        answer = dict(zip(_CONTROLS, answer, strict=True))
    if not isinstance(answer, Mapping):
        return f'expected a dictionary such as {{"A": 1, "B": 2, "C": 3, "D": 4}}, found {show(answer)}'
    if answer and all(control is ... for control in answer.values()):
        raise NotAttempted
    given = {str(claim).strip(" ().").upper(): control for claim, control in answer.items()}
    for claim, control in _CONTROLS.items():
        if given.get(claim, ...) is ...:
            return f"claim {claim} has no control yet"
        said = str(given[claim]).casefold().replace("control", "").strip(" ().#")
        if difference(control, said) is not None and difference(control, given[claim]) is not None:
            return f"claim {claim}: control {show(given[claim])} does not answer it; {_ADVICE[claim]}"
    return None


# 07.7: enough seeds


def seeds_for(spread: float, effect: float) -> int:
    """The smallest n with 2 · spread / √n ≤ |effect|, at least 6."""
    return max(6, ceil((2 * spread / abs(effect)) ** 2 - 1e-9))


def _spread_and_effect(rng: np.random.Generator) -> dict[str, float]:
    return {"spread": float(rng.uniform(0.5, 9)), "effect": float(rng.choice([-1, 1]) * rng.uniform(0.4, 9))}


_SEED_SLIPS = [
    (
        lambda spread, effect: max(6, ceil(2 * spread / abs(effect))),
        "Square it: the standard error falls with the root of n.",
    ),
    (
        lambda spread, effect: max(6, int((2 * spread / abs(effect)) ** 2)),
        "A number of seeds is rounded up, or else it is one too few.",
    ),
    (
        lambda spread, effect: max(6, round((2 * spread / abs(effect)) ** 2)),
        "A number of seeds is rounded up, not to the nearest.",
    ),
    (lambda spread, effect: ceil((2 * spread / abs(effect)) ** 2), "Below six seeds the test can show nothing."),
    (
        lambda spread, effect: max(6, ceil((spread / abs(effect)) ** 2)),
        "That is one standard error: the rule asks for twice the standard error.",
    ),
    (
        lambda spread, effect: max(6, ceil(4 * spread / abs(effect) ** 2)),
        "The spread is squared, too.",
    ),
    (
        lambda spread, effect: 6 if effect < 0 else max(6, ceil((2 * spread / effect) ** 2)),
        "An effect may be negative: its size counts.",
    ),
]


EXERCISES = {
    "07.1": Exercise(_judge_operation, _own_operation.praise, _own_operation.part, ConvIBN),
    "07.2": like(
        most_missed,
        [],
        _MISSED_SLIPS,
        draw=_one_edge,
        draws=40,
        praise="One forward pass an operation, and no gradient: the network is asked, not α.",
        part="the most missed operation",
    ),
    "07.3": _like_flat(
        keep_operations,
        mistakes=_EDGE_SLIPS,
        draw=_all_edges,
        draws=15,
        praise="Each decision changes the network that the next one is measured on: that is why the order is random.",
        part="selection by perturbation, edges",
    ),
    "07.4": _like_flat(
        keep_inputs,
        mistakes=_NODE_SLIPS,
        draw=_all_nodes,
        draws=15,
        praise="That is DARTS-PT, whole: the cell is read off the network's losses. α has not been asked once.",
        part="selection by perturbation, inputs",
    ),
    "07.5": Exercise(_judge_partial, "Without the shuffle the next partial edge would mix the same channels again."),
    "07.6": Exercise(
        _judge_controls, "A control differs from the experiment in one thing: in what the claim is about."
    ),
    "07.7": like(
        seeds_for,
        [
            {"spread": 3.0, "effect": 3.0},
            {"spread": 3.0, "effect": 1.0},
            {"spread": 2.5, "effect": -2.0},
            {"spread": 0.1, "effect": 5.0},
        ],
        _SEED_SLIPS,
        draw=_spread_and_effect,
        praise="Half the effect takes four times as many seeds.",
    ),
}
