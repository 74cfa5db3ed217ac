"""What notebook 02 draws and measures: descent in a simplex, a node as mixture and as choice, a supernet's corners."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nasda.course.judges import like, value
from nasda.genotypes import CELL_KINDS, EDGES_PER_NODE, NONE, Genotype, node_slices, softmax, strengths
from nasda.networks import Supernet
from nasda.operations import operation_colour, operation_label
from nasda.pictures.graphs import state_label
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION
from nasda.pictures.plots import SMALL, Plot, dress
from nasda.study.proxy import inherited as inherited

Values = NDArray[np.float64]

# ------------------------------------------------------------------------------------------------- within a simplex

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # of the triangle that is drawn
COLOURS, MARKERS = (BLUE, ORANGE, GREEN), ("o", "s", "^")


def descend(outputs: ArrayLike, target: ArrayLike, starts: ArrayLike, steps: int, rate: float = 0.1) -> Values:
    """Gradient descent on α (never on the weights) of ½ |Σ_o softmax(α)_o y_o − target|².

    `outputs` (operations, D) are the y_o, `target` is (D,), `starts` (paths, operations) are α. Returns the softmax
    weights on the way, (steps + 1, paths, operations).
    """
    y, goal, alphas = (np.array(values, dtype=np.float64) for values in (outputs, target, starts))
    path = [softmax(alphas)]
    for _ in range(steps):
        mixture = path[-1] @ y
        slopes = (mixture - goal) @ y.T  # dL/dw_o = (ȳ − t) · y_o
        average = (path[-1] * slopes).sum(axis=1, keepdims=True)
        alphas = alphas - rate * path[-1] * (slopes - average)
        path.append(softmax(alphas))
    return np.stack(path)


def losses(weights: ArrayLike, outputs: ArrayLike, target: ArrayLike) -> Values:
    """½ |Σ_o w_o y_o − target|² for weights (…, operations)."""
    return 0.5 * np.square(np.asarray(weights) @ np.asarray(outputs) - np.asarray(target)).sum(axis=-1)


def simplex_picture(outputs: ArrayLike, target: ArrayLike, path: Values, names: Sequence[str]) -> Plot:
    """Three operations twice: left the plane of their outputs, right the triangle of their weights with the loss.

    `outputs` is (3, 2), `path` what `descend` returned. A path has the colour of the operation that is strongest where
    it ends; a disc is its start, an open circle its end. The black square is the corner with the lowest loss.
    """
    y, goal = np.asarray(outputs, dtype=np.float64), np.asarray(target, dtype=np.float64)
    figure = Plot(9, 4.4)
    plane, triangle = figure.subplots(1, 2, width_ratios=[1, 1.45])
    best = int(np.argmin(losses(np.eye(3), y, goal)))
    _draw_triangle(triangle, y, goal, names)
    plane.fill(*y.T, color=GREY, alpha=0.12)
    for axes, corners in ((plane, y), (triangle, CORNERS)):
        for number in range(path.shape[1]):
            way, end = path[:, number] @ corners, int(path[-1, number].argmax())
            axes.plot(*way.T, color=COLOURS[end], linewidth=1.6)
            axes.plot(*way[0], "o", color=COLOURS[end], markersize=5)
            axes.plot(*way[-1], "o", markerfacecolor="white", markeredgecolor=COLOURS[end], markersize=7, zorder=4)
        axes.plot(*corners[best], "s", markerfacecolor="none", markeredgecolor=INK, markersize=17, markeredgewidth=1.8)
    for corner, name, colour, marker in zip(y, names, COLOURS, MARKERS, strict=True):
        plane.plot(*corner, marker, color=colour, markersize=9, label=name, linestyle="none", zorder=3)
    plane.plot(*goal, "*", color=VERMILLION, markersize=15, label="target", linestyle="none", zorder=3)
    plane.set(xlim=(-2.7, 2.7), ylim=(-1.3, 2.6), aspect="equal")
    names_of_axes = "first number of the output", "second number of the output"
    dress(plane, *names_of_axes, "outputs: the mixture lies in the triangle", grid="")
    plane.legend(frameon=False, ncols=2, loc="upper center")
    return figure


def _draw_triangle(axes: Axes, outputs: Values, target: Values, names: Sequence[str]) -> None:
    grid = np.array([(i, j, 40 - i - j) for i in range(41) for j in range(41 - i)]) / 40
    height = np.sqrt(2 * losses(grid, outputs, target))
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


def kept_edges(alphas: ArrayLike, primitives: Sequence[str]) -> tuple[list[int], list[str]]:
    """One node's derived choice, a row of α an edge: which inputs it keeps, and every edge's operation."""
    strength, operations = strengths(alphas, primitives)
    return sorted(int(i) for i in np.argsort(-strength, kind="stable")[:EDGES_PER_NODE]), operations


def shown(image: Tensor) -> Values:
    """An image (3, H, W) as networks see it, back as (H, W, 3) in 0…1 to be looked at."""
    low, high = image.amin(), image.amax()
    return np.asarray(((image - low) / (high - low)).permute(1, 2, 0).cpu(), dtype=np.float64)


def node_picture(alphas: ArrayLike, primitives: Sequence[str], outputs: Tensor, image: Values) -> tuple[Plot, str]:
    """A node of eq. 6 as weights, as the choice derived from them, and as the two maps that come out.

    `alphas` is (edges, operations), divided by the temperature; `outputs` (edges, operations, H, W) is what each
    operation makes of its edge's input, and `image` (H, W, 3) what all of them look at. Returns the picture, and the
    derived node in words.
    """
    weights = softmax(alphas)
    kept, operations = kept_edges(alphas, primitives)
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

# ------------------------------------------------------------------------------------------------ corners of a supernet


def corner(genotype: Genotype, primitives: Sequence[str]) -> dict[str, Values]:
    """The mixing weights at which a supernet computes what `genotype` does: 1 for each of its operations, and 1 for
    `none` on every edge that it does not use. One (edges, operations) for each kind of cell."""
    weights: dict[str, Values] = {}
    one_hot = dict(zip(primitives, np.eye(len(primitives)), strict=True))
    for kind in CELL_KINDS:
        nodes = genotype.cell(kind)
        rows = node_slices(len(nodes))
        weights[kind] = np.tile(one_hot[NONE], (rows[-1].stop, 1))
        for node, slots in zip(nodes, rows, strict=True):
            for edge in node:
                weights[kind][slots.start + edge.input] = one_hot[edge.operation]
    return weights


def between(start: dict[str, Values], end: dict[str, Values], share: float) -> dict[str, Values]:
    """The weights at `share` (0 to 1) of the straight way from `start` to `end`."""
    return {kind: (1 - share) * start[kind] + share * end[kind] for kind in CELL_KINDS}


def set_weights(network: Supernet, weights: dict[str, Values]) -> None:
    """Give a supernet these mixing weights instead of those it has: α becomes their logarithm. ω stays."""
    with torch.no_grad():
        for kind in CELL_KINDS:
            logarithm = torch.as_tensor(weights[kind]).clamp(min=1e-30).log()  # softmax of log w is w again
            network.alphas[kind].copy_(logarithm)


# ---------------------------------------------------------------------------------------------------------- exercises

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


_NODE_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (
        lambda alphas, outputs: (alphas.flatten().softmax(0).reshape(*alphas.shape, 1) * outputs).sum(dim=(0, 1)),
        "That is one softmax over all edges together; in eq. 6 each edge (H, i) has a softmax of its own, so that its "
        "weights sum to 1",
    ),
    (
        lambda alphas, outputs: (alphas.softmax(0).unsqueeze(2) * outputs).sum(dim=(0, 1)),
        "That normalises over the edges; the operations of one edge are what competes: dim=1",
    ),
    (
        lambda alphas, outputs: alphas[0].softmax(0) @ outputs[0],
        "That is the left side of eq. 6 as it is printed, one operand; the node sums over all candidate inputs H",
    ),
    (
        lambda alphas, outputs: mixed_node(alphas, outputs) / len(alphas),
        "That is the mean over the edges; eq. 6 sums over them, as eq. 5 does",
    ),
]

_GRADIENT_MISTAKES: list[tuple[Callable[..., Any], str]] = [
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
]

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
        _NODE_MISTAKES,
        praise="Edges do not compete with each other during the search, only operations within an edge do.",
    ),
    "02.2": like(
        alpha_gradient,
        _GRADIENT_CASES,
        _GRADIENT_MISTAKES,
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
