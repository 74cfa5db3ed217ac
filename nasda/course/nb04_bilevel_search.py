"""Notebook 04: the toy problem's field, what a finite difference sees, a search at one epoch, α's paths; and a small
run to save and to resume."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from nasda.course.judges import Exercise, attempted, difference, like, show
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample
from nasda.errors import NasdaError
from nasda.genotypes import CELL_KINDS, EDGES_PER_NODE, CellKind, derive, entropy, node_count, node_slices, softmax
from nasda.operations import operation_colour, operation_label, operation_style
from nasda.pictures.graphs import cell_graph, render, state_label
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILLION, tint
from nasda.pictures.plots import SMALL, Plot, dress, weight_scale, whole_numbers

History: TypeAlias = Sequence[Mapping[str, Any]]
Gradient: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
_LOW, _HIGH = -2.4, 3.4  # of the toy problem's plane


def hypergradient_field(panels: Mapping[str, tuple[Gradient, ArrayLike]]) -> Plot:
    """The plane of the toy problem, a panel for each title: (the α-gradient as a function of (ω, α), a path).

    Shaded is L_train = (ω − α)²; arrows point where α's step goes, dashed is where it stands still. A path is an array
    (n, 2) of points (α, ω).
    """
    figure = Plot(min(9, 1 + 4 * len(panels) + (1.6 if len(panels) == 1 else 0)), 4.7)
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for panel, (title, (gradient, path)) in zip(row, panels.items(), strict=True):
        _field(panel, gradient, np.asarray(path, dtype=np.float64))
        panel.set(title=title, xlabel="architecture α")
    row[0].set_ylabel("weight ω")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _field(panel: Axes, gradient: Gradient, path: NDArray[np.float64]) -> None:
    fine = np.linspace(_LOW, _HIGH, 150)
    alpha, weight = np.meshgrid(fine, fine)
    shades = [tint(SKY, share) for share in (0.55, 0.4, 0.28, 0.18, 0.1, 0.04)]
    panel.contourf(alpha, weight, (weight - alpha) ** 2, levels=[0, 0.3, 1, 2.5, 6, 12, 60], colors=shades)
    panel.plot(fine, fine, color=BLUE, linewidth=1.5, label="ω*(α): best for the source")
    coarse = np.linspace(_LOW + 0.3, _HIGH - 0.3, 10)
    at_alpha, at_weight = np.meshgrid(coarse, coarse)
    slope = gradient(at_weight, at_alpha)
    panel.quiver(at_alpha, at_weight, -slope, 0 * slope, color=GREY, scale=85, width=0.005)
    panel.contour(alpha, weight, gradient(weight, alpha), levels=[0], colors=[INK], linestyles="--", linewidths=1.5)
    panel.add_line(Line2D([], [], color=INK, linestyle="--", label="α stands still"))
    panel.plot(*path.T, color=VERMILLION, linewidth=1.6, marker=".", markersize=4, label="path of (α, ω)")
    panel.plot(*path[0], "s", color=VERMILLION, markersize=7, label="start")
    panel.plot(*path[-1], "o", color=VERMILLION, markersize=9, markeredgecolor="white", label="end")
    panel.plot(1, 1, "*", color=GREEN, markersize=17, markeredgecolor="white", label="solution (1, 1)")
    panel.set(xlim=(_LOW, _HIGH), ylim=(_LOW, _HIGH), aspect="equal")


def what_a_difference_sees(
    radii: Sequence[float],
    errors: Mapping[str, Sequence[float]],
    distances: Sequence[float],
    slopes: Mapping[str, Sequence[float]],
) -> Plot:
    """Left: the error of the curvature term over the radius of the difference, relative to its length. Right: one
    entry of ∇α L_train along the line that the difference is taken on, centred and scaled to ±1."""
    figure = Plot(9, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    colours = dict(zip(errors, (BLUE, ORANGE, VERMILLION), strict=False))
    for (name, values), marker in zip(errors.items(), "so^", strict=False):
        left.loglog(radii, values, color=colours[name], marker=marker, label=name)
    left.axhline(1, color=GREY, linestyle=":")
    left.text(min(radii), 1.5, "as wrong as leaving it out", fontsize=SMALL)
    left.axvline(0.01, color=INK, linestyle="--", linewidth=1)
    left.text(0.008, left.get_ylim()[0] * 3, "usual radius", fontsize=SMALL, ha="right")
    for name, values in slopes.items():
        centred = np.asarray(values) - np.mean(values)
        right.plot(distances, centred / np.abs(centred).max(), color=colours[name], marker=".", markersize=3)
    dress(left, "radius = ε · ‖v‖ (length in ω)", "relative error of the curvature term", grid="both")
    slope = "∇α of the training loss,\none entry (centred, scaled)"
    dress(right, "distance from ω along v (length in ω)", slope, grid="both")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(errors), frameon=False)
    return figure


def search_at(history: History, primitives: Sequence[str], kind: CellKind, epoch: int) -> Plot:
    """A search at one epoch (counted from 1): its softmax weights, what they derive to, and entropy, skips and the
    share of `none` over all epochs. Raises `NasdaError` for an epoch that the history does not have."""
    if not 1 <= epoch <= len(history):
        raise NasdaError(f"epoch {epoch}: the search has epochs 1 to {len(history)}")
    alphas = history[epoch - 1]["alphas"]
    figure = Plot(8.5, 6.4)
    above, below = figure.subfigures(2, 1, height_ratios=[1, 0.55], squeeze=False)[:, 0]
    heat, curves = above.subplots(1, 2, width_ratios=[1.25, 1])
    _heat_map(heat, history, primitives, kind, epoch)
    _curves(curves, history, kind, epoch)
    cell = below.subplots()
    cell.set_axis_off()
    cell.set_title(f"the {kind} cell derived at epoch {epoch}")
    try:
        graph = cell_graph(derive(alphas, primitives), kind, alphas, primitives)
        cell.imshow(Image.open(BytesIO(render(graph, "png"))), interpolation="lanczos")
    except NasdaError as error:  # no Graphviz: the rest of the picture still stands
        cell.text(0.5, 0.5, str(error)[:120], ha="center", fontsize=SMALL)
    return figure


def _heat_map(panel: Axes, history: History, primitives: Sequence[str], kind: CellKind, epoch: int) -> None:
    every = softmax([row["alphas"][kind] for row in history])
    weights, norm = every[epoch - 1], weight_scale(every)
    panel.imshow(weights, cmap="PuOr_r", norm=norm, aspect="auto")
    cell = derive(history[epoch - 1]["alphas"], primitives).cell(kind)
    names = []
    for node, rows in enumerate(node_slices(len(cell))):
        picked = {edge.input: list(primitives).index(edge.operation) for edge in cell[node]}
        for state in range(rows.stop - rows.start):
            names.append(f"{state_label(state)} → {node}")
            if state in picked:
                corner = (picked[state] - 0.5, rows.start + state - 0.5)
                panel.add_patch(Rectangle(corner, 1, 1, fill=False, color=VERMILLION, linewidth=2.5))
    for (edge, operation), weight in np.ndenumerate(weights):
        dark = abs(float(norm(weight)) - 0.5) > 0.3
        text = f"{weight:.2f}"[1:] if weight < 0.995 else "1"
        panel.text(operation, edge, text, ha="center", va="center", fontsize=SMALL, color="white" if dark else INK)
    panel.set_yticks(range(len(names)), names, fontsize=SMALL)
    labels = [operation_label(name).replace(" ", "\n").replace("-", "-\n") for name in primitives]
    panel.set_xticks(range(len(primitives)), labels, fontsize=SMALL)
    panel.set(ylabel="edge (into node)", title=f"softmax of α, {kind} cell (framed: derived)")


def _curves(panel: Axes, history: History, kind: CellKind, epoch: int) -> None:
    epochs = [int(row["epoch"]) for row in history]
    undecided = np.log(len(history[0]["alphas"][kind][0]))
    none = [softmax(row["alphas"][kind])[:, 0].mean() for row in history]
    share = [float(entropy(row["alphas"][kind]).mean() / undecided) for row in history]
    edges = EDGES_PER_NODE * node_count(np.asarray(history[0]["alphas"]["normal"]))
    skips = [row["skips"] / edges for row in history]
    panel.plot(epochs, share, color=BLUE, marker="o", label="entropy / ln |O|")
    panel.plot(epochs, none, color=GREY, marker="^", label="mean weight of none")
    panel.step(epochs, skips, where="mid", color=INK, linestyle=":", label="skips, normal cell (share of edges)")
    panel.axvline(epoch, color=VERMILLION, linewidth=2)
    panel.set_ylim(-0.03, 1.06)
    whole_numbers(panel)
    dress(panel, "epoch", "share", grid="", legend="above")


def alpha_paths(histories: Mapping[str, History], primitives: Sequence[str], *, edges: bool = True) -> Plot:
    """The softmax weights over the epochs, a column for each search, a row for each kind of cell: thick the mean of an
    operation over all edges, thin (with `edges`) every edge on which it ever gets twice the undecided share."""
    figure = Plot(8.5, 5 if edges else 4)
    panels = figure.subplots(2, len(histories), squeeze=False, sharex="col", sharey=True)
    for column, (title, history) in enumerate(histories.items()):
        epochs = [int(row["epoch"]) for row in history]
        for row, kind in enumerate(CELL_KINDS):
            panel = panels[row, column]
            weights = softmax([entry["alphas"][kind] for entry in history])  # (epochs, edges, operations)
            for index, name in enumerate(primitives):
                colour, line = operation_colour(name), operation_style(name)
                strong = weights[:, :, index].max(axis=0) > 2 / len(primitives)
                if edges and strong.any():
                    panel.plot(
                        epochs, weights[:, strong, index], linestyle=line, color=colour, alpha=0.3, linewidth=0.8
                    )
                mean = weights[:, :, index].mean(axis=1)
                panel.plot(epochs, mean, linestyle=line, color=colour, linewidth=2.6, label=operation_label(name))
            panel.axhline(1 / len(primitives), color=INK, linestyle=":", linewidth=1)
            whole_numbers(panel)
            names = "epoch" if row == 1 else "", "softmax weight" if column == 0 else ""
            dress(panel, *names, f"{title}, {kind} cell", grid="")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def losses_over_none(steps: ArrayLike, found: Sequence[Mapping[str, float]], here: float, margin: float) -> Plot:
    """What becomes of the triplet loss, of f and of f/‖f‖, and of f's length, over what is added to the logits of
    `none`. `found` has "loss", "of f/‖f‖" and "length" for each of `steps`; `here` is marked."""
    figure = Plot(8, 3.2)
    left, right = figure.subplots(1, 2)
    left.plot(steps, [row["loss"] for row in found], color=VERMILLION, label="of f")
    left.plot(steps, [row["of f/‖f‖"] for row in found], color=BLUE, linestyle="--", label="of f/‖f‖")
    left.axhline(margin, color=GREEN, linestyle=":", label="margin")
    right.plot(steps, [row["length"] for row in found], color=VERMILLION)
    for panel, height, legend in ((left, "triplet loss", "best"), (right, "mean ‖f‖", "")):
        panel.axvline(here, color=INK, linewidth=1)
        panel.set_ylim(bottom=0)
        dress(panel, "added to the logits of none", height, grid="", legend=legend)
    return figure


class SmallRun:
    """A bilevel search of five numbers that has all that a real one has: ω with momentum, α with Adam, batches drawn at
    random, and a learning rate that depends on the epoch."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(3, generator=self.generator, dtype=torch.float64).requires_grad_()
        self.alphas = torch.randn(2, generator=self.generator, dtype=torch.float64).requires_grad_()
        self.weights_optimizer = torch.optim.SGD([self.weights], lr=0.1, momentum=0.9)
        self.alphas_optimizer = torch.optim.Adam([self.alphas], lr=0.05)
        self.epoch = 0

    def run_epoch(self) -> None:
        """One step down each loss, on a batch of its own."""
        self.weights_optimizer.param_groups[0]["lr"] = 0.1 / (1 + self.epoch)
        for parameter, optimizer in ((self.weights, self.weights_optimizer), (self.alphas, self.alphas_optimizer)):
            batch = torch.randn(4, 3, generator=self.generator, dtype=torch.float64)
            shares = torch.softmax(self.alphas, dim=0)
            loss = (shares[0] * batch @ self.weights - shares[1] * batch.sum(dim=1)).square().mean()
            (parameter.grad,) = torch.autograd.grad(loss, parameter)
            optimizer.step()
        self.epoch += 1


# ---------------------------------------------------------------------------------------------------------- exercises

# 04.1: what leaks


def _images(split: str, pids: dict[int, int]) -> list[Sample]:
    return [Sample(Path(split) / f"{p:04d}_c{c}.png", p, c) for p, n in pids.items() for c in range(1, n + 1)]


_TARGET = Domain(
    "target",
    Path("target"),
    train=_images("train", {2: 3, 5: 3, 8: 3}),
    query=_images("query", {3: 1, 7: 1, 4: 1}),
    gallery=_images("gallery", {JUNK: 1, DISTRACTOR: 2, 3: 3, 7: 3, 9: 2}),
)
_SAMPLES = {
    "a sample of the training split": _TARGET.train[:6],
    "a sample with a query image": [*_TARGET.train[:2], _TARGET.query[1]],
    "a sample with another photograph of somebody who is a query": [Sample(Path("more/7_c9.png"), 7, 9)],
    "a sample with gallery images of somebody who is no query": _TARGET.gallery[-2:],
    "a sample with somebody who is a query, but not in the gallery": [Sample(Path("more/4_c9.png"), 4, 9)],
    "a sample of the whole gallery, junk (-1) and distractors (0) included": _TARGET.gallery,
}
_LEAK_ADVICE = (
    "The training split shares nobody with the test",
    "A query that α has seen is no longer new to it",
    "It is the person that leaks, not the file: compare identities",
    "Whoever stands in the gallery is tested too",
    "Queries are tested too, also those of whom the gallery has nothing",
    "Junk is never counted, and distractors are nobody in particular",
)


def _leaked(samples: Sequence[Sample], target: Domain) -> set[int]:
    tested = {sample.pid for sample in [*target.query, *target.gallery]}
    return ({sample.pid for sample in samples} & tested) - {JUNK, DISTRACTOR}


# 04.2: where a search rests

_REST_ADVICE = {
    0.0: "At rest ω no longer moves, so ω = ω*(α): put that into the gradient and ask where it is 0",
    0.5: "ω' = ω − ξ · 2(ω − α) is ω itself at rest; what is left of the second term there?",
    0.1: "The step must come into the answer for every ξ, and only ξ = 1/2 is exact",
    1.0: "The step must come into the answer for every ξ, and only ξ = 1/2 is exact",
}


def _rest(xi: float) -> tuple[float, float]:
    return 2 / (1 + 2 * xi), 2 / (1 + 2 * xi)


# 04.3: finite difference


def _cubic(weights: Tensor) -> Tensor:
    """∇α of L_train = Σ α ω³: three numbers, not linear in ω, so that the radius matters."""
    return weights**3


def _linear(weights: Tensor) -> Tensor:
    return torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64) @ weights


_DIFFERENCES = {
    "a gradient that is linear in ω": (_linear, [1.0, -2.0], [3.0, 4.0], 0.01),
    "a gradient that is cubic in ω": (_cubic, [1.0, 2.0, -1.0], [2.0, 1.0, -2.0], 0.5),
    "the same with a v ten times as long": (_cubic, [1.0, 2.0, -1.0], [20.0, 10.0, -20.0], 0.5),
}
_DIFFERENCE_CASES = {
    words: {
        "gradient": gradient,
        "weights": torch.tensor(weights, dtype=torch.float64),
        "v": torch.tensor(v, dtype=torch.float64),
        "radius": radius,
    }
    for words, (gradient, weights, v, radius) in _DIFFERENCES.items()
}


def _product(
    gradient: Callable[[Tensor], Tensor], weights: Tensor, v: Tensor, radius: float, slip: str = "none"
) -> Tensor:
    """The central difference; `slip` names the mistakes that are recognised."""
    epsilon = radius / v.norm() if slip != "not normalised" else torch.tensor(radius, dtype=torch.float64)
    plus, minus = gradient(weights + epsilon * v), gradient(weights - epsilon * v)
    if slip == "parentheses":
        return (plus - minus) / 2 * epsilon
    if slip == "one-sided":
        return (plus - gradient(weights)) / epsilon
    if slip == "no half":
        return (plus - minus) / epsilon
    return (plus - minus) / (2 * epsilon)


_DIFFERENCE_ADVICE = {
    "parentheses": "That is (p − n)/2 · ε, the slip of several public implementations: divide by (2ε)",
    "no half": "It is twice too long: ω + εv and ω − εv lie 2ε apart",
    "one-sided": "That is a one-sided difference: take both sides, its error shrinks with ε², not with ε",
    "not normalised": "ε is radius / ‖v‖: the step taken in ω has the length radius, however long v is",
}


# 04.4: checkpoint


def _judge_checkpoint(answer: Any) -> str | None:
    if not (isinstance(answer, tuple) and len(answer) == 2 and all(map(callable, answer))):
        return f"expected the two functions (save, load), found {show(answer)}"
    save, load = answer
    whole = SmallRun(seed=0)
    for _ in range(3):
        whole.run_epoch()
    state = attempted(save(whole))
    as_saved = _parts(whole)
    for _ in range(3):
        whole.run_epoch()
    resumed = SmallRun(seed=1)
    load(resumed, state)
    for name, expected in as_saved.items():
        found = _parts(resumed)[name]
        if found == expected:
            continue
        if found == _parts(whole)[name]:
            return (
                f"{name}: what you saved changed while the run went on. state_dict() and tensors hand out the memory "
                "that the run works on: save copies"
            )
        return f"after load, {name} is not what it was when you saved: {_MISSING[name]}"
    for _ in range(3):
        resumed.run_epoch()
    different = difference(whole.alphas.detach(), resumed.alphas.detach(), 0)
    return None if different is None else f"three epochs later α is not the same: {different}"


_MISSING = {
    "ω": "without the weights everything begins anew",
    "α": "α is a parameter like ω; left out, the search forgets its decisions",
    "ω's optimizer": "SGD remembers its momentum",
    "α's optimizer": "Adam remembers two running means of each entry, and how many steps it took",
    "the generator": "the next batches would be others",
    "the epoch": "the learning rate depends on it",
}


def _parts(run: SmallRun) -> dict[str, Any]:
    """What a run's future depends on, as plain values that do not change afterwards."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    return {
        "ω": run.weights.tolist(),
        "α": run.alphas.tolist(),
        "ω's optimizer": plain(run.weights_optimizer.state_dict()["state"]),
        "α's optimizer": plain(run.alphas_optimizer.state_dict()["state"]),
        "the generator": run.generator.get_state().tolist(),
        "the epoch": run.epoch,
    }


EXERCISES = {
    "04.1": like(
        _leaked,
        {words: {"samples": samples, "target": _TARGET} for words, samples in _SAMPLES.items()},
        advice=_LEAK_ADVICE,
        praise="A sample passes this test only where α has met nobody who is tested: neither a query nor the gallery.",
    ),
    "04.2": like(
        _rest,
        [{"xi": xi} for xi in _REST_ADVICE],
        advice=list(_REST_ADVICE.values()),
        praise="The longer the step, the nearer to the solution; at ξ = 1/2 one step solves the inner problem, and "
        "beyond that the search overshoots.",
    ),
    "04.3": like(
        _product,
        _DIFFERENCE_CASES,
        [(partial(_product, slip=slip), words) for slip, words in _DIFFERENCE_ADVICE.items()],
        tolerance=1e-7,
        praise="Two gradients of L_train, however many entries ω and α have.",
    ),
    "04.4": Exercise(_judge_checkpoint, "Bit for bit: nothing that the future depends on is missing."),
}
