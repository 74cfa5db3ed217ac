"""What notebook 02 draws, descent in a triangle and a node as mixture and as choice; its exercises and questions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import CodeType
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nasda.cells import CellInputs, MixedOp, SearchCell, edge_stride
from nasda.course.judges import (
    Built,
    Case,
    Exercise,
    Mistakes,
    Wrong,
    copy_weights,
    difference,
    is_stub,
    like,
    module,
    show,
    value,
)
from nasda.course.predict import Question
from nasda.errors import NasdaError
from nasda.genotypes import (
    CELL_INPUTS,
    CELL_KINDS,
    EDGES_PER_NODE,
    NONE,
    PRIMITIVES,
    CellKind,
    Genotype,
    derive,
    node_count,
    node_slices,
    softmax,
    strengths,
)
from nasda.operations import make_operation, operation_colour, operation_label
from nasda.pictures.graphs import state_label
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION
from nasda.pictures.plots import SMALL, Plot, dress

Values = NDArray[np.float64]

# ------------------------------------------------------------------------------------------------- within a simplex

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # of the triangle that is drawn
COLOURS, MARKERS, STYLES = (BLUE, ORANGE, GREEN), ("o", "s", "^"), ("-", "--", "-.")


def simplex_picture(outputs: ArrayLike, target: ArrayLike, path: ArrayLike, names: Sequence[str]) -> Plot:
    """Three operations twice: left the plane of their outputs, right the triangle of their weights with the loss.

    `outputs` is (3, 2), `path` (steps + 1, searches, 3) holds weights; the triangle shows their shares in their sum. A
    path has the colour of the operation that is strongest where it ends; a disc is its start, an open circle its end.
    The black square is the corner with the lowest loss.
    """
    y, goal, weights = (np.asarray(values, dtype=np.float64) for values in (outputs, target, path))
    shares = weights / weights.sum(axis=-1, keepdims=True)
    figure = Plot(9, 4.4)
    plane, triangle = figure.subplots(1, 2, width_ratios=[1, 1.45])
    best = int(np.argmin(np.square(y - goal).sum(axis=1)))
    _draw_triangle(triangle, y, goal, names)
    plane.fill(*y.T, color=GREY, alpha=0.12)
    for axes, corners, of_path in ((plane, y, weights), (triangle, CORNERS, shares)):
        for number in range(weights.shape[1]):
            way, end = of_path[:, number] @ corners, int(weights[-1, number].argmax())
            axes.plot(*way.T, color=COLOURS[end], linestyle=STYLES[end], linewidth=1.6)
            axes.plot(*way[0], "o", color=COLOURS[end], markersize=5)
            axes.plot(*way[-1], "o", markerfacecolor="white", markeredgecolor=COLOURS[end], markersize=7, zorder=4)
        axes.plot(*corners[best], "s", markerfacecolor="none", markeredgecolor=INK, markersize=17, markeredgewidth=1.8)
    for corner, name, colour, marker in zip(y, names, COLOURS, MARKERS, strict=True):
        plane.plot(*corner, marker, color=colour, markersize=9, label=name, linestyle="none", zorder=3)
    plane.plot(*goal, "*", color=VERMILLION, markersize=15, label="target", linestyle="none", zorder=3)
    plane.set(xlim=(-2.7, 2.7), ylim=(-1.3, 2.6), aspect="equal")
    names_of_axes = "first number of the output", "second number of the output"
    dress(plane, *names_of_axes, "outputs: grey, all mixtures", grid="")
    plane.legend(frameon=False, ncols=2, loc="upper center")
    ends = np.bincount(weights[-1].argmax(axis=1), minlength=3)
    words = ", ".join(f"{count} end with {name} the strongest" for count, name in zip(ends, names, strict=True))
    figure.alt = f"Paths of {weights.shape[1]} searches in a triangle: {words}. Best alone: {names[best]}."
    return figure


def _draw_triangle(axes: Axes, outputs: Values, target: Values, names: Sequence[str]) -> None:
    grid = np.array([(i, j, 40 - i - j) for i in range(41) for j in range(41 - i)]) / 40
    height = np.linalg.norm(grid @ outputs - target, axis=1)
    x, y = (grid @ CORNERS).T
    shades = axes.tricontourf(x, y, height, levels=10, cmap="Greys", alpha=0.55)
    axes.figure.colorbar(shades, ax=axes, shrink=0.7, pad=0.02).set_label("distance of mixture and target")
    axes.fill(*CORNERS.T, facecolor="none", edgecolor=INK, linewidth=1.2)
    centre = CORNERS.mean(axis=0)
    for one, other in ((0, 1), (1, 2), (0, 2)):  # where two operations tie for the strongest
        axes.plot(*np.stack([centre, (CORNERS[one] + CORNERS[other]) / 2]).T, color=INK, linewidth=0.9, linestyle="--")
    for corner, name, colour, above in zip(CORNERS, names, COLOURS, (False, False, True), strict=True):
        place = (corner[0], corner[1] + (0.05 if above else -0.05))
        axes.text(*place, name, ha="center", va="bottom" if above else "top", color=colour, weight="bold")
    axes.set(xlim=(-0.06, 1.06), ylim=(-0.08, 0.96), aspect="equal")
    axes.set_title("weights: a corner is a choice")
    axes.set_axis_off()


# ------------------------------------------------------------------------------------------------------------ a node


def kept_edges(weights: ArrayLike, primitives: Sequence[str]) -> tuple[list[int], list[str]]:
    """One node's derived choice, a row of weights an edge: which inputs it keeps, and every edge's operation."""
    strength, operations = strengths(np.log(np.maximum(weights, 1e-300)), primitives)
    return sorted(int(i) for i in np.argsort(-strength, kind="stable")[:EDGES_PER_NODE]), operations


def shown(image: Tensor) -> Values:
    """An image (3, H, W) as networks see it, back as (H, W, 3) in 0…1 to be looked at."""
    low, high = image.amin(), image.amax()
    return np.asarray(((image - low) / (high - low)).permute(1, 2, 0).cpu(), dtype=np.float64)


def node_picture(weights: Values, primitives: Sequence[str], outputs: Tensor, image: Values) -> tuple[Plot, str]:
    """A node of eq. 6 as weights, as the choice derived from them, and as the two maps that come out.

    `weights` is (edges, operations); `outputs` (edges, operations, H, W) is what each
    operation makes of its edge's input, and `image` (H, W, 3) what all of them look at. Returns the picture, and the
    derived node in words.
    """
    kept, operations = kept_edges(weights, primitives)
    chosen = sum(outputs[edge, list(primitives).index(operations[edge])] for edge in kept)
    assert isinstance(chosen, Tensor)
    mixed = (torch.as_tensor(weights, dtype=outputs.dtype)[:, :, None, None] * outputs).sum(dim=(0, 1))
    figure = Plot(9, 3.9)
    bars, graph, photo, *maps = figure.subplots(1, 5, width_ratios=[2.1, 1.9, 0.9, 0.9, 0.9])
    photo.imshow(image, aspect=outputs.shape[2] / image.shape[0] / (outputs.shape[3] / image.shape[1]))
    photo.set_title("image")
    photo.set(xticks=[], yticks=[])
    _draw_weights(bars, weights, primitives, kept, operations)
    _draw_choice(graph, weights, primitives, kept, operations)
    limit = float(outputs.abs().max()) * 0.8
    for axes, title, values in zip(maps, ("mixture", "derived"), (mixed, chosen), strict=True):
        axes.imshow(values.numpy(), cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(title)
        axes.set(xticks=[], yticks=[])
    apart = float((mixed - chosen).norm() / chosen.norm().clamp(min=1e-9))
    node = " + ".join(f"{operation_label(operations[edge])}({state_label(edge)})" for edge in kept)
    figure.alt = f"A node with three edges as weights, as a choice ({node}), and as maps: mixed and derived."
    return figure, f"derived: {node}\ndifference of the two outputs: {apart:.0%} of the derived one's size"


def _draw_weights(
    axes: Axes, weights: Values, primitives: Sequence[str], kept: Sequence[int], operations: Sequence[str]
) -> None:
    ticks, labels = [], []
    for edge, row in enumerate(weights):
        for column, (name, weight) in enumerate(zip(primitives, row, strict=True)):
            place = edge * (len(primitives) + 1) + column
            strongest = edge in kept and name == operations[edge]
            axes.barh(place, weight, color=operation_colour(name), edgecolor=VERMILLION, linewidth=3 * strongest)
            axes.text(weight + 0.02, place, f"{weight:.2f}", va="center", fontsize=SMALL)
            ticks.append(place)
            labels.append(operation_label(name))
        axes.text(1.17, edge * (len(primitives) + 1) - 0.2, f"from {state_label(edge)}", ha="right", fontsize=SMALL)
    axes.set_yticks(ticks, labels, fontsize=SMALL)
    axes.set(xlim=(0, 1.18), xticks=(0, 0.5, 1))
    axes.invert_yaxis()
    dress(axes, "softmax weight (framed: derived)", grid="")


def _draw_choice(
    axes: Axes, weights: Values, primitives: Sequence[str], kept: Sequence[int], operations: Sequence[str]
) -> None:
    for edge, height in enumerate(np.linspace(0.9, 0.1, len(weights))):
        is_kept, strength = edge in kept, weights[edge, list(primitives).index(operations[edge])]
        arrow = {"color": operation_colour(operations[edge]), "linewidth": 1 + 5 * strength}
        dropped = {"color": GREY, "linewidth": 1.2, "linestyle": ":"}
        arrow = {"arrowstyle": "-|>", **(arrow if is_kept else dropped)}
        axes.annotate("", (0.86, 0.5 + 0.12 * (height - 0.5)), (0.2, height), arrowprops=arrow)
        label = f"{operation_label(operations[edge]) if is_kept else 'dropped'}\n{strength:.2f}"
        middle = height + 0.5 * (0.5 - height)
        ink, behind = INK if is_kept else "#666666", {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        axes.text(0.5, middle, label, ha="center", va="center", fontsize=SMALL, color=ink, bbox=behind)
        axes.text(0.09, height, state_label(edge), ha="center", va="center", bbox=_BOX)
    axes.text(0.97, 0.5, "node", ha="center", va="center", bbox=_BOX)
    axes.set(xlim=(-0.05, 1.08), ylim=(-0.05, 1.08))
    axes.set_title("the two strongest edges")
    axes.set_axis_off()


_BOX: dict[str, Any] = {"boxstyle": "round", "facecolor": "white", "edgecolor": INK}

# ---------------------------------------------------------------------------------------------------------- exercises


def alpha_gradient(alphas: Tensor, outputs: Tensor, upstream: Tensor) -> Tensor:
    """dL/dα of one edge (operations,) from its outputs (operations, values) and dL/dȳ (values,)."""
    weights, gains = torch.softmax(alphas, dim=0), outputs @ upstream
    return weights * (gains - weights @ gains)


def weights_at(alphas: ArrayLike, temperature: float) -> Values:
    """softmax(α/T), and its limit for T = 0."""
    values = np.asarray(alphas, dtype=np.float64)
    if temperature == 0:
        winners = values == values.max()
        return np.asarray(winners / winners.sum(), dtype=np.float64)
    return softmax(values / temperature)


# 02.1 and 02.4: modules


Mixing = Callable[[list[Tensor], Tensor], Tensor]


def _mixes(mixing: Mixing, affine: bool = False, stride: int = 0, parts: int = 0) -> type[nn.Module]:
    """A `MixedOp` that mixes the outputs by `mixing`, or builds its operations with other options."""

    class Mistake(nn.Module):
        def __init__(self, primitives: Sequence[str], channels: int, own_stride: int, own_parts: int) -> None:
            super().__init__()
            self.operations = nn.ModuleList(
                make_operation(name, channels, stride or own_stride, parts=parts or own_parts, affine=affine)
                for name in primitives
            )

        def forward(self, x: Tensor, weights: Tensor) -> Tensor:
            return mixing([operation(x) for operation in self.operations], weights)

    return Mistake


def _weighted(outputs: list[Tensor], weights: Tensor) -> Tensor:
    return torch.einsum("o,obchw->bchw", weights, torch.stack(outputs))


_MIXED_MISTAKES: Mistakes = [
    (
        _mixes(lambda outputs, weights: _weighted(outputs, weights.softmax(0))),
        "The weights come out of a softmax already; a second one makes them almost equal",
    ),
    (_mixes(lambda outputs, _: torch.stack(outputs).sum(0)), "That adds the outputs without their weights"),
    (
        _mixes(lambda outputs, _: torch.stack(outputs).mean(0)),
        "That is the mean: every operation takes part by its own weight",
    ),
    (
        _mixes(lambda outputs, weights: _weighted(outputs, weights) / len(weights)),
        "The weights sum to 1 already: do not divide by the number of operations",
    ),
    (
        _mixes(lambda outputs, weights: outputs[int(weights.argmax())]),
        "That is the choice, not the mixture: its loss is the step of the first picture",
    ),
    (
        _mixes(_weighted, affine=True),
        "Build the operations with affine=False: a learnt scale in a norm could take over what α is to express",
    ),
    (_mixes(_weighted, stride=1), "Hand the edge's stride on to make_operation"),
    (_mixes(_weighted, parts=4), "Hand parts on to make_operation: the part-aware module needs it"),
]

_MIXED_CASES = {
    "stride 1": Built(
        {"primitives": ("skip_connect", "none", "sep_conv_3x3"), "channels": 4, "stride": 1, "parts": 4},
        lambda g: (torch.randn(3, 4, 8, 5, generator=g), torch.rand(3, generator=g)),
    ),
    "stride 2, all seven operations": Built(
        {"primitives": PRIMITIVES["reid"], "channels": 4, "stride": 2, "parts": 2},
        lambda g: (torch.randn(2, 4, 8, 6, generator=g), torch.randn(7, generator=g).softmax(0)),
    ),
    "one operation": Built(
        {"primitives": ("dil_conv_3x3",), "channels": 2, "stride": 1, "parts": 4},
        lambda g: (torch.randn(2, 2, 6, 4, generator=g), torch.ones(1)),
    ),
}


class _Cell(nn.Module):
    """A `SearchCell` that makes a mistake in one of its steps."""

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
    ) -> None:
        super().__init__()
        self.inputs = CellInputs(*inputs, channels, after_reduction, affine=False)
        self.rows = node_slices(nodes)
        strides = [edge_stride(reduction, state) for node in range(nodes) for state in range(CELL_INPUTS + node)]
        self.edges = nn.ModuleList(MixedOp(primitives, channels, stride, parts) for stride in strides)

    def node(self, edges: Sequence[nn.Module], states: Sequence[Tensor], weights: Tensor) -> Tensor:
        outputs = [edge(x, w) for edge, x, w in zip(edges, states, weights, strict=False)]
        return torch.stack(outputs).sum(0)

    def end(self, states: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(states[CELL_INPUTS:]), dim=1)

    def forward(self, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        states = self.inputs(before_last, last)
        for rows in self.rows:
            states.append(self.node(list(self.edges)[rows], states, weights[rows]))
        return self.end(states)


class _SoftmaxAgain(_Cell):
    def forward(self, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        return super().forward(before_last, last, weights.softmax(1))


class _MeanOfEdges(_Cell):
    def node(self, edges: Sequence[nn.Module], states: Sequence[Tensor], weights: Tensor) -> Tensor:
        return super().node(edges, states, weights) / len(edges)


class _LastNode(_Cell):
    def end(self, states: Sequence[Tensor]) -> Tensor:
        return states[-1]


class _SumOfNodes(_Cell):
    def end(self, states: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(states[CELL_INPUTS:])).sum(0)


class _SameWeights(_Cell):
    def node(self, edges: Sequence[nn.Module], states: Sequence[Tensor], weights: Tensor) -> Tensor:
        return super().node(edges, states, self.all_weights)

    def forward(self, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        self.all_weights = weights
        return super().forward(before_last, last, weights)


class _Swapped(_Cell):
    def node(self, edges: Sequence[nn.Module], states: Sequence[Tensor], weights: Tensor) -> Tensor:
        return super().node(edges, [states[1], states[0], *states[2:]], weights)


_CELL_MISTAKES: Mistakes = [
    (_SoftmaxAgain, "The weights come out of a softmax already: hand each edge its row as it is"),
    (_MeanOfEdges, "That is the mean over a node's edges; eq. 6 sums over them, as eq. 5 does"),
    (
        _LastNode,
        "That returns the last node; a cell puts out all of its nodes, one after the other: torch.cat(…, dim=1)",
    ),
    (_SumOfNodes, "That adds the nodes; a cell's output is their concatenation: torch.cat(…, dim=1)"),
    (_SameWeights, "Each node has rows of its own: rows 0 and 1 are the first node's, rows 2 to 4 the second's"),
    (_Swapped, "The states are numbered: 0 is the output of the cell before the last, 1 that of the last"),
]

_FEW = ("none", "skip_connect", "sep_conv_3x3")


def _for_cell(nodes: int, before_last: tuple[int, ...], last: tuple[int, ...], operations: int = 3) -> Any:
    edges = node_slices(nodes)[-1].stop

    def inputs(g: torch.Generator) -> tuple[Tensor, ...]:
        weights = torch.randn(edges, operations, generator=g).softmax(1)
        return torch.randn(2, *before_last, generator=g), torch.randn(2, *last, generator=g), weights

    return inputs


_CELL_CASES = {
    "a normal cell of one node": Built(
        {"nodes": 1, "primitives": _FEW, "inputs": (5, 6), "channels": 4}, _for_cell(1, (5, 8, 4), (6, 8, 4))
    ),
    "a normal cell of three nodes": Built(
        {"nodes": 3, "primitives": _FEW, "inputs": (5, 6), "channels": 4}, _for_cell(3, (5, 8, 4), (6, 8, 4))
    ),
    "a reduction cell": Built(
        {"nodes": 2, "primitives": _FEW, "inputs": (5, 6), "channels": 4},
        _for_cell(2, (5, 8, 4), (6, 8, 4)),
        {"reduction": True},
    ),
    "a cell after a reduction cell, all seven operations": Built(
        {"nodes": 2, "primitives": PRIMITIVES["reid"], "inputs": (5, 6), "channels": 4},
        _for_cell(2, (5, 16, 8), (6, 8, 4), 7),
        {"after_reduction": True, "parts": 2},
    ),
}


_CASE_ADVICE = {
    "a normal cell of three nodes": "One node is right: look at which states and which rows of the weights belong to "
    "the second and the third",
    "a reduction cell": "Normal cells are right. A reduction cell halves its two inputs, states 0 and 1; edges between "
    "its nodes keep the size",
    "a cell after a reduction cell, all seven operations": "Hand after_reduction on to CellInputs and parts to MixedOp",
}
_NO_MODULES = "PyTorch sees only the modules that are attributes of self, or in an nn.ModuleList"


def _mixing(judged: Exercise, cases: Mapping[str, Built], mistakes: Mistakes) -> Exercise:
    """The same exercise, of which the mixing weights must get their gradient too: they are what is learnt."""

    def judge(answer: Any) -> Any:
        wrong = judged.judge(answer)
        if isinstance(wrong, Wrong):
            known = any(words in wrong.words for _, words in mistakes)
            advice = "" if known else _CASE_ADVICE.get(wrong.words.split(":")[0], "")
            advice = _NO_MODULES if "of yours (none)" in wrong.words else advice
            return Wrong(f"{wrong.words}. {advice}" if advice else wrong.words, wrong.case)
        for name, built in cases.items():
            words = _weights_difference(judged.library, answer, built)
            if words:
                return Wrong(f"{name}: {words}", {**built.arguments, **built.keywords})
        return None

    return replace(judged, judge=judge)


def _weights_difference(library: Any, answer: Any, built: Built) -> str | None:
    theirs, yours = (make(*built.arguments.values(), **built.keywords).double() for make in (library, answer))
    copy_weights(theirs, yours)
    *inputs, weights = (x.double() for x in built.inputs(torch.Generator().manual_seed(0)))
    slopes = []
    for network in (theirs, yours):
        free = weights.clone().requires_grad_()
        output = network(*inputs, free)
        weighing = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
        slope = (
            torch.autograd.grad((weighing * output).sum(), free, allow_unused=True)[0] if output.requires_grad else None
        )
        slopes.append(torch.zeros_like(free) if slope is None else slope)
    words = difference(slopes[0], slopes[1], 1e-8)
    if words is None:
        return None
    return (
        "the output is right, but its gradient with respect to the weights is not, so α could not learn: "
        f"leave the weights tensors, without .item(), .tolist(), .detach() or float(). {words[0].upper()}{words[1:]}"
    )


# 02.2: the gradient

_GRADIENT_MISTAKES: Mistakes = [
    (
        lambda alphas, outputs, upstream: alphas.softmax(0) * (outputs @ upstream),
        "The baseline is missing: raising one α lowers the other weights, so subtract what the mixture as a whole "
        "contributes",
    ),
    (
        lambda alphas, outputs, upstream: outputs @ upstream,
        "That is dL/dw, the slope with respect to the weight; go on through the softmax to α",
    ),
    (
        lambda alphas, outputs, upstream: alphas.softmax(0) * (1 - alphas.softmax(0)) * (outputs @ upstream),
        "That takes only dw_o/dα_o; the other weights depend on α_o as well, dw_p/dα_o = −w_p w_o",
    ),
    (
        lambda alphas, outputs, upstream: alpha_gradient(alphas, outputs, torch.ones_like(upstream) * upstream.mean()),
        "That takes the mean of the upstream gradient; every number of the output has a slope of its own: ⟨g, y_o⟩",
    ),
    (
        lambda alphas, outputs, upstream: alpha_gradient(alphas, outputs, torch.ones_like(upstream)),
        "The upstream gradient g is missing",
    ),
    (
        lambda alphas, outputs, upstream: alphas.softmax(0) * (outputs @ upstream - (outputs @ upstream).mean()),
        "The baseline is the mixture's, Σ w_p ⟨g, y_p⟩, not the plain mean over the operations",
    ),
    (
        lambda alphas, outputs, upstream: -alpha_gradient(alphas, outputs, upstream),
        "That is the direction of descent; asked is the gradient",
    ),
    (
        lambda alphas, outputs, upstream: outputs @ upstream - alphas.softmax(0) @ (outputs @ upstream),
        "The factor w_o is missing: a weak operation has a small slope",
    ),
]

_GRADIENT_CASES = [
    {
        "alphas": torch.zeros(3),
        "outputs": torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]),
        "upstream": torch.tensor([3.0, -1.0]),
    },
    {
        "alphas": torch.tensor([0.5, -1.0, 2.0]),
        "outputs": torch.tensor([[1.0], [2.0], [-1.0]]),
        "upstream": torch.tensor([0.5]),
    },
]

_AUTOGRAD = {"backward", "grad", "vjp", "jvp", "jacrev", "jacfwd", "jacobian", "requires_grad_"}


def _draw_gradient(rng: np.random.Generator) -> Case:
    operations, values = int(rng.integers(1, 8)), int(rng.integers(1, 6))
    shapes = {"alphas": (operations,), "outputs": (operations, values), "upstream": (values,)}
    return {name: torch.as_tensor(rng.normal(size=shape), dtype=torch.float32) for name, shape in shapes.items()}


def _in_closed_form(judged: Exercise) -> Exercise:
    """The same exercise, of which an answer that asks autograd is refused."""

    def judge(answer: Any) -> Any:
        used = sorted(_AUTOGRAD & set(_names_in(getattr(answer, "__code__", None))))
        if used:
            return (
                f"your function uses autograd (`{used[0]}`), which gives the right numbers but not the reason; asked "
                "is the closed form: put (a) into the chain rule. The next cells use autograd to test it"
            )
        return judged.judge(answer)

    return replace(judged, judge=judge)


def _names_in(code: Any) -> Iterator[str]:
    """The globals and attributes that a function's code uses, with those of the functions in it."""
    if isinstance(code, CodeType):
        yield from code.co_names
        for constant in code.co_consts:
            yield from _names_in(constant)


# 02.3: the temperature

_TEMPERATURE_CASES = [
    {"alphas": [1.0, 2.0, 3.0], "temperature": 1.0},
    {"alphas": [1.0, 2.0, 3.0], "temperature": 50.0},
    {"alphas": [1.0, 2.0, 3.0], "temperature": 0.001},
    {"alphas": [1.0, 1.0625, 0.0], "temperature": 0.03125},
    {"alphas": [1.0, 3.0, 2.0], "temperature": 0.0},
    {"alphas": [2.0, 0.0, 2.0, 1.0], "temperature": 0.0},
    {"alphas": [-3.0, -3.0], "temperature": 0.0},
]

_TEMPERATURE_ADVICE = [
    "At T = 1 it is the softmax itself",
    "Divide α by T before the softmax: a high temperature makes the weights equal",
    "α/T is 3000 here, and e³⁰⁰⁰ is no number: subtract the largest score before you divide",
    "No floor under T: between 0 and 0.05 the weights still change",
    "For T = 0 the limit is asked: all weight on the largest score",
    "Two scores tie for the largest: e⁰ is 1 for both, whatever T is, so that they share the weight",
    "All scores tie, and they are negative: each gets the same share",
]


def _draw_temperature(rng: np.random.Generator) -> Case:
    temperature = 0.0 if rng.random() < 0.2 else float(2.0 ** rng.integers(-10, 8))
    unit = temperature if temperature and rng.random() < 0.7 else 1.0  # so that T matters, however small it is
    alphas = rng.integers(-12, 13, size=int(rng.integers(1, 7))) * unit / 4  # exact in float32; they often tie
    return {"alphas": alphas.tolist(), "temperature": temperature}


_TEMPERATURE_MISTAKES: Mistakes = [
    (
        lambda alphas, temperature: softmax(np.asarray(alphas) * temperature),
        "That multiplies by T: hot weights must become equal, cold ones a choice",
    ),
    (lambda alphas, temperature: softmax(alphas), "T is not used"),
    (
        lambda alphas, temperature: (
            weights_at(alphas, temperature) if temperature else np.eye(len(alphas))[int(np.argmax(alphas))]
        ),
        "argmax takes the first of two equal scores; the softmax treats them alike at every T above 0, and so does "
        "its limit",
    ),
    *(
        (
            lambda alphas, temperature, least=least: softmax(np.asarray(alphas) / max(temperature, least)),
            "That puts a floor under T; the limit at T = 0 can be written down exactly, and every T above 0 counts",
        )
        for least in (0.1, 0.05, 0.01, 1e-3)
    ),
    (
        lambda alphas, temperature: softmax(np.asarray(alphas) / (temperature + 1e-2)),
        "That adds to T, which is another temperature",
    ),
]

# 02.5: derive


def _plain_genotype(genotype: Any) -> Any:
    """A genotype as lists, so that lists and tuples in it compare equal."""
    if not isinstance(genotype, Genotype):
        return genotype
    return {kind: [[tuple(edge) for edge in node] for node in genotype.cell(kind)] for kind in CELL_KINDS}


def _derived(
    choose: Callable[[Values, Sequence[str]], tuple[Values, list[str]]] = strengths,
    pick: Callable[[Values], Sequence[int]] = lambda strength: sorted(np.argsort(-strength, kind="stable")[:2]),
    kinds: Sequence[CellKind] = CELL_KINDS,
) -> Callable[..., Any]:
    """`derive` with another strength or another choice of edges, as plain lists."""

    def derived(alphas: Mapping[str, ArrayLike], primitives: Sequence[str]) -> Any:
        cells = {}
        for kind, source in zip(CELL_KINDS, kinds, strict=True):
            rows = np.asarray(alphas[source])
            strength, names = choose(rows, primitives)
            slots = node_slices(node_count(rows))
            cells[kind] = [[(names[s.start + i], int(i)) for i in pick(strength[s])] for s in slots]
        return cells

    return derived


def _without_none(alphas: Values, primitives: Sequence[str]) -> tuple[Values, list[str]]:
    real = [column for column, name in enumerate(primitives) if name != NONE]
    return softmax(alphas[:, real]).max(axis=1), strengths(alphas, primitives)[1]


def _by_alpha(alphas: Values, primitives: Sequence[str]) -> tuple[Values, list[str]]:
    real = [column for column, name in enumerate(primitives) if name != NONE]
    return alphas[:, real].max(axis=1), strengths(alphas, primitives)[1]


def _none_is_first(alphas: Values, primitives: Sequence[str]) -> tuple[Values, list[str]]:
    return softmax(alphas)[:, 1:].max(axis=1), [primitives[1 + column] for column in alphas[:, 1:].argmax(axis=1)]


def _one_kind(kind: CellKind) -> Callable[..., Any]:
    return _derived(kinds=(kind, kind))


def _two_operations(alphas: Mapping[str, ArrayLike], primitives: Sequence[str]) -> Any:
    """The two largest weights of a node, wherever they are."""
    real = [column for column, name in enumerate(primitives) if name != NONE]
    cells = {}
    for kind in CELL_KINDS:
        weights = softmax(alphas[kind])[:, real]
        cells[kind] = [
            [
                (primitives[real[place % len(real)]], int(place // len(real)))
                for place in sorted(np.argsort(-weights[slots].flatten(), kind="stable")[:2])
            ]
            for slots in node_slices(node_count(np.asarray(alphas[kind])))
        ]
    return cells


_DERIVE_MISTAKES: Mistakes = [
    (
        _derived(_without_none),
        "That divides by the weights without none. none is out of the maximum, but it stays in the denominator: an "
        "edge that is mostly none is weak",
    ),
    (
        _derived(_by_alpha),
        "That compares raw α between edges; compare softmax weights: only within an edge do α compete",
    ),
    (_derived(_none_is_first), "none need not be the first of the primitives: look for its name"),
    (_two_operations, "Those can be two operations of one edge; take each edge's best, then the two strongest edges"),
    (
        _derived(pick=lambda strength: [int(i) for i in np.argsort(-strength, kind="stable")[:2]]),
        "The edges are right; write them in the order of their inputs",
    ),
    (
        _derived(pick=lambda strength: sorted(len(strength) - 1 - np.argsort(-strength[::-1], kind="stable")[:2])),
        "Of equally strong edges the earlier input wins: yours takes the later",
    ),
    (
        _derived(pick=lambda strength: sorted(np.argsort(strength, kind="stable")[:2])),
        "Those are the two weakest edges",
    ),
    (_derived(pick=lambda strength: [0, 1]), "Every node keeps inputs 0 and 1 here: choose the two strongest edges"),
    (_one_kind("normal"), "Both cells are derived from α of the normal cell"),
    (_one_kind("reduce"), "Both cells are derived from α of the reduction cell"),
]

_TIED = [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
_DERIVE_PRIMITIVES = ("none", "skip_connect", "sep_conv_3x3")
_DERIVE_CASES = {
    "one node, two edges": {
        "alphas": {"normal": [[0.0, 1.0, 2.0], [0.0, 2.0, 1.0]], "reduce": [[3.0, 1.0, 0.0], [0.0, 0.0, 1.0]]},
        "primitives": _DERIVE_PRIMITIVES,
    },
    "an edge that is mostly none": {
        "alphas": {
            "normal": [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [5.0, 3.0, 0.0], [0.0, 0.0, 1.0]],
            "reduce": [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [5.0, 0.0, 3.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        },
        "primitives": _DERIVE_PRIMITIVES,
    },
    "edges and operations that tie": {
        "alphas": {"normal": _TIED, "reduce": np.zeros((5, 3))},
        "primitives": _DERIVE_PRIMITIVES,
    },
    "none is not the first operation": {
        "alphas": {"normal": [[2.0, 0.0, 1.0], [1.0, 0.0, 3.0]], "reduce": [[0.0, 1.0, 4.0], [1.0, 0.0, 4.0]]},
        "primitives": ("skip_connect", "sep_conv_3x3", "none"),
    },
}


_DERIVE_ADVICE = [
    "none takes no part in the maximum, and a node keeps its two strongest edges, in the order of their inputs",
    "none is out of the maximum, but it stays in the denominator of a weight",
    "Ties: of equal operations the one named first wins, of equal edges the one with the earlier input",
    "none need not be the first of the primitives: look for its name",
]


def _draw_derive(rng: np.random.Generator) -> Case:
    nodes, names = int(rng.integers(1, 5)), list(PRIMITIVES["reid"])
    rng.shuffle(names)
    shape = node_slices(nodes)[-1].stop, len(names)
    alphas = {kind: np.round(3 * rng.normal(size=shape), int(rng.integers(0, 3))) for kind in CELL_KINDS}
    return {"alphas": alphas, "primitives": tuple(names)}


def _check_json(genotype: Genotype) -> None:
    try:
        genotype.to_json()
    except TypeError as error:
        raise NasdaError(f"this genotype cannot be saved ({error}): make each input a plain int, int(i)") from error


def _as_genotype(judged: Exercise) -> Exercise:
    """The same exercise; what is compared is the genotype in plain lists."""

    def judge(answer: Any) -> Any:
        if not callable(answer) or is_stub(answer):
            return judged.judge(answer)

        def plain(alphas: Any, primitives: Any) -> Any:
            found = answer(alphas, primitives)
            if found is not None and not isinstance(found, Genotype):
                raise NasdaError(f"expected a Genotype, found {show(found)}: return Genotype(normal=…, reduce=…)")
            if found is not None:
                _check_json(found)
            return _plain_genotype(found)

        return judged.judge(plain)

    return replace(judged, judge=judge)


_P = float(softmax([0.0, 1.0])[1])  # the wrong class's probability behind the mixture, in 02.6
_Q = float(softmax([0.0, 2.0])[1])  # and behind the skip alone

EXERCISES = {
    "02.1": _mixing(
        module(
            MixedOp,
            _MIXED_CASES,
            _MIXED_MISTAKES,
            part="MixedOp",
            praise="A weight of 0 costs as much as any other: all operations are computed.",
        ),
        _MIXED_CASES,
        _MIXED_MISTAKES,
    ),
    "02.2": _in_closed_form(
        like(
            alpha_gradient,
            _GRADIENT_CASES,
            _GRADIENT_MISTAKES,
            draw=_draw_gradient,
            tolerance=1e-4,
            part="the gradient of α",
            praise="Add up the entries: a gradient through a softmax always sums to 0.",
        )
    ),
    "02.3": like(
        weights_at,
        _TEMPERATURE_CASES,
        _TEMPERATURE_MISTAKES,
        draw=_draw_temperature,
        advice=_TEMPERATURE_ADVICE,
        part="temperature",
        praise="At T = 0 a tie is shared; any T above 0 breaks it by the smallest difference in α.",
    ),
    "02.4": _mixing(
        module(
            SearchCell,
            _CELL_CASES,
            _CELL_MISTAKES,
            part="SearchCell",
            praise="Edges do not compete with each other during the search: only the operations on one edge do.",
        ),
        _CELL_CASES,
        _CELL_MISTAKES,
    ),
    "02.5": _as_genotype(
        like(
            lambda alphas, primitives: _plain_genotype(derive(alphas, primitives)),
            _DERIVE_CASES,
            _DERIVE_MISTAKES,
            draw=_draw_derive,
            advice=_DERIVE_ADVICE,
            part="derive",
            library=derive,
            praise="With none in the denominator an edge can say that it would rather not be there.",
        )
    ),
    "02.6": value(
        -0.5 * _P,
        {
            0.5 * _P: "Mind the sign of (c): more of none, less of the loss.",
            _P: "That is ⟨g, ȳ⟩; (c) multiplies it by −w_none.",
            -_P: "The factor w_none is missing.",
            0.0: "none puts out zeros, but raising its α lowers the weight of the skip connection, and so the logits.",
            -_Q: "Those are the logits of the skip alone, (0, 2); the mixture's are half of them.",
            -0.5 * _Q: "The probabilities belong to the mixture's logits (0, 1), not to (0, 2).",
            0.5 * (1 - _P): "That takes the second class for the right one.",
            -0.25 * _P: "w_skip is in ȳ already: the mixture's logits are (0, 1).",
        },
        tolerance=4e-3,
        praise="Descent raises none here, although none tells no two people apart.",
    ),
}

RECALL = (
    Question("a", "Because eq. 5 sums two chosen operations, each on an input of its own: notebook 01, the cell."),
    Question("b", "Because a reduction cell halves its two inputs; its nodes have one size: notebook 01, the cell."),
    Question("c", "Because nothing is learnt from the target: notebook 00, the gap between two worlds."),
)
