"""Notebook 04: the toy problem's field, what a finite difference sees, a search at one epoch, α's paths; and a small
run to save and to resume."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
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
from torch import Tensor, nn
from torch.optim import Optimizer

from nasda.bilevel import frozen_statistics, restored
from nasda.course.judges import SECONDS, Exercise, NotAttempted, Wrong, attempted, difference, is_stub, like, show
from nasda.course.limits import within
from nasda.course.predict import Question
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample
from nasda.errors import NasdaError
from nasda.genotypes import (
    CELL_KINDS,
    EDGES_PER_NODE,
    CellKind,
    Genotype,
    derive,
    entropy,
    node_count,
    node_slices,
    softmax,
)
from nasda.losses import retrieval_loss, triplet_loss
from nasda.networks import Supernet
from nasda.operations import operation_colour, operation_label, operation_style
from nasda.pictures.graphs import cell_graph, render, state_label
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILLION, tint
from nasda.pictures.plots import SMALL, Plot, dress, weight_scale, whole_numbers
from nasda.settings import SearchSettings, SpaceSettings

History: TypeAlias = Sequence[Mapping[str, Any]]
Gradient: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
_MARKERS = "os^vDPX*<>"
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
    looks = dict(zip(errors, ((BLUE, "s", "-"), (ORANGE, "o", "--"), (VERMILLION, "^", "-.")), strict=False))
    for name, values in errors.items():
        colour, marker, line = looks[name]
        left.loglog(radii, values, color=colour, marker=marker, linestyle=line, label=name)
    left.axhline(1, color=GREY, linestyle=":")
    left.text(min(radii), 1.5, "as wrong as leaving it out", fontsize=SMALL)
    left.axvline(0.01, color=INK, linestyle="--", linewidth=1)
    left.text(0.008, left.get_ylim()[0] * 3, "usual radius", fontsize=SMALL, ha="right")
    for name, values in slopes.items():
        centred = np.asarray(values) - np.mean(values)
        colour, marker, line = looks[name]
        share = centred / np.abs(centred).max()
        right.plot(distances, share, color=colour, marker=marker, linestyle=line, markersize=3)
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
    """The softmax weights over the epochs, a column for each search, a row for each kind of cell: thick and marked the
    mean of an operation over all edges, thin (with `edges`) every edge on which it ever gets twice the undecided
    share."""
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
                look = {"linestyle": line, "marker": _MARKERS[index % len(_MARKERS)], "markersize": 5}
                panel.plot(epochs, mean, **look, color=colour, linewidth=2, label=operation_label(name))
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


_PRODUCT = like(
    _product,
    _DIFFERENCE_CASES,
    [(partial(_product, slip=slip), words) for slip, words in _DIFFERENCE_ADVICE.items()],
    tolerance=1e-7,
    praise="Two gradients of L_train, however many entries ω and α have.",
)


def _judge_product(answer: Any) -> Any:
    wrong = _PRODUCT.judge(answer)
    for words, case in {} if wrong else _DIFFERENCE_CASES.items():
        changed = _overwritten(answer, case)
        if changed:
            return Wrong(
                f"for {words}: the product is right, but afterwards `{changed}` is not what it was, and the search "
                "goes on with it. Evaluate `gradient` at new tensors, or put everything back",
                case,
            )
    return wrong


def _overwritten(answer: Any, case: Mapping[str, Any]) -> str | None:
    """The name of the first tensor among a case's arguments that an answer has changed."""
    given = {name: value.clone() if isinstance(value, Tensor) else value for name, value in case.items()}
    within(SECONDS, answer, *given.values())
    tensors = [name for name, value in case.items() if isinstance(value, Tensor)]
    return next((name for name in tensors if not torch.allclose(given[name], case[name], 0, 1e-12)), None)


# 04.4: a step of first order

Loss: TypeAlias = Callable[[], Tensor]


def first_order_step(
    network: nn.Module, weight_loss: Loss, alpha_loss: Loss, sgd: Optimizer, adam: Optimizer
) -> tuple[Tensor, Tensor]:
    """ω a step down its loss, then α a step down its own, which leaves batch norm's running statistics as they were.

    Returns both losses as they were before their steps.
    """
    return _stepped(network, weight_loss, alpha_loss, sgd, adam)


def _stepped(
    network: nn.Module, weight_loss: Loss, alpha_loss: Loss, sgd: Optimizer, adam: Optimizer, slip: str = ""
) -> tuple[Tensor, Tensor]:
    """`slip` names the mistakes that are recognised."""
    turns = [(sgd, weight_loss), (adam, alpha_loss)]
    seen, waiting = [], []
    for optimizer, loss_of in reversed(turns) if slip == "α first" else turns:
        keeps = optimizer is adam and slip != "not frozen"
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        with frozen_statistics(network) if keeps else nullcontext():
            loss = loss_of()
            if slip in ("backward", "the other's .grad"):
                if slip != "backward":
                    optimizer.zero_grad()
                loss.backward()
            else:
                for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter.grad = gradient
        waiting.append(optimizer) if slip == "at once" else optimizer.step()
        seen.append(loss.detach())
    for optimizer in waiting:
        optimizer.step()
    first, second = reversed(seen) if slip == "α first" else seen
    return first, second


_STEP_ADVICE = {
    "α first": "The paper's Algorithm 1 updates ω first: α's loss is taken with the new ω",
    "at once": "α's loss is computed after ω has moved, not before",
    "backward": "`backward` adds to every `.grad`, of both learners: take `torch.autograd.grad`, or clear them all",
    "the other's .grad": "`backward` fills the other learner's `.grad` too: take `torch.autograd.grad` of your own",
    "not frozen": "The target's images must not move batch norm's running statistics: `frozen_statistics(network)`",
}
_ROUNDS = 3


def _rounds(step: Callable[..., Any], problem: str) -> list[Any]:
    """What a small problem in double precision is like after a few steps: ω, α, statistics, losses on the way."""
    draw = torch.Generator().manual_seed(len(problem))
    images, of_target, goal, weights, alphas = (
        torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((5, 3), (5, 3), (5, 3), (3, 3), (3,))
    )
    norm, w, a = nn.BatchNorm1d(3, affine=False).double(), weights.requires_grad_(), alphas.requires_grad_()
    momentum, decay = ("momentum" in problem) * 0.9, ("decay" in problem) * 0.1
    sgd = torch.optim.SGD([w] if "groups" not in problem else [{"params": [w]}], 0.1, momentum, weight_decay=decay)
    adam = (torch.optim.Adam if "Adam" in problem else torch.optim.SGD)([a], 0.05, weight_decay=decay)

    def loss(images: Tensor) -> Tensor:
        return (norm(images * torch.softmax(a, 0)) @ w - goal).square().mean() + (a.sum() - w.sum()).square()

    def slope(images: Tensor, of: Tensor) -> Tensor:
        with frozen_statistics(norm):
            return torch.autograd.grad(loss(images), of)[0]

    seen, foreign = [], []
    of_alpha = 2 * of_target + 1
    for _ in range(_ROUNDS):
        before, own = a.detach().clone(), slope(images, w)
        found = step(norm, partial(loss, images), partial(loss, of_alpha), sgd, adam)
        if found is None:
            return ["your function returned None"]
        seen.append([float(number) for number in found])
        foreign += [w.grad is not None and not torch.allclose(w.grad, own)]
        with restored([a]):
            a.data.copy_(before)
            own = slope(of_alpha, a)
        foreign += [a.grad is not None and not torch.allclose(a.grad, own)]
    return [w.detach(), a.detach(), norm.running_mean, norm.running_var, seen, foreign]


_STEP_CASES = [
    {"problem": words}
    for words in (
        "plain descent for ω and α",
        "momentum for ω, Adam for α",
        "momentum, weight decay and Adam",
        "parameters in groups, Adam",
    )
]


def judged_by(
    run: Callable[..., Any],
    reference: Callable[..., Any],
    cases: Sequence[Mapping[str, Any]],
    mistakes: Sequence[tuple[Callable[..., Any], str]],
    **words: Any,
) -> Exercise:
    """A function to write that is judged by what `run` makes with it: `run(answer, **case)` is compared."""
    inner = like(
        partial(run, reference), cases, [(partial(run, made), said) for made, said in mistakes], tolerance=1e-9
    )

    def judge(answer: Any) -> Any:
        if not callable(answer):
            return f"expected a function, found {show(answer)}"
        if is_stub(answer):
            raise NotAttempted
        return inner.judge(partial(run, answer))

    return Exercise(judge, library=reference, **words)


# 04.5: the whole search


def search(net: Any, source: Any, target: Any, settings: Any, steps: int) -> Genotype:
    """Algorithm 1: ω by SGD on the source's retrieval loss, α by Adam on the target's triplet loss; the cells that α
    ends with."""
    return _searched(net, source, target, settings, steps)


def _searched(net: Any, source: Any, target: Any, settings: Any, steps: int, slip: str = "") -> Genotype:
    """`slip` names the mistakes that are recognised."""
    weights, alphas = net.weight_parameters(), net.architecture_parameters()
    decay = 0.0 if slip == "decay" else settings.weights_decay
    sgd = torch.optim.SGD(weights, settings.weights_lr, settings.momentum, weight_decay=decay)
    adam = torch.optim.Adam(alphas, settings.alphas_lr, weight_decay=0.0 if slip == "decay" else settings.alphas_decay)
    for _ in range(steps):
        images, labels = source.next()

        def weight_loss(images: Tensor = images, labels: Tensor = labels) -> Tensor:
            f, h = net(images)
            return retrieval_loss(f, h, labels, margin=settings.margin, balance=settings.balance)

        seen, names = (source if slip == "source for both" else target).next()

        def alpha_loss(images: Tensor = seen, labels: Tensor = names) -> Tensor:
            if slip == "retrieval for both":
                return weight_loss(images, labels)
            return triplet_loss(net.features(images), labels, settings.margin)

        first_order_step(net, weight_loss, alpha_loss, sgd, adam)
    found: Genotype = net.genotype()
    return found


_SEARCH_ADVICE = {
    "source for both": "α learns on the target's batches, ω on the source's (eqs. 3 and 4)",
    "retrieval for both": "α goes down the triplet loss alone: the classifier's names mean nothing on the target",
    "decay": "Both optimizers have a weight decay in the settings",
}


class Repeated:
    """A few batches, handed out one after the other, again and again."""

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches
        self.given = 0

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch: images (B, 3, H, W), labels (B,)."""
        self.given += 1
        return self.batches[(self.given - 1) % len(self.batches)]


def _after_search(answer: Callable[..., Any], steps: int, images: int) -> list[Any]:
    """α, ω and batch norm's statistics of a small supernet after a search, and the cells that it returned."""
    space = SpaceSettings(
        channels=2, nodes=2, cells_per_block=1, blocks=2, stem_stride=2, parts=2, embedding=4, dropout=0
    )
    net = Supernet(space, 3, seed=images, form="clear").double().train()
    draw = torch.Generator().manual_seed(steps)
    labels = torch.arange(3).repeat_interleave(images)
    source, target = (
        Repeated([(torch.randn(len(labels), 3, 16, 8, generator=draw, dtype=torch.float64), labels) for _ in range(2)])
        for _ in range(2)
    )
    settings = SearchSettings(weights_lr=0.05, alphas_lr=0.05, alphas_decay=0.02, weights_decay=0.01)
    found = answer(net, source, target, settings, steps)
    if found is None:
        return ["your function returned None"]
    alphas = [alpha.detach() for alpha in net.alphas.values()]
    sums = [sum(float(p.detach().abs().sum()) for p in net.weight_parameters())]
    running = [sum(float(b.double().sum()) for b in net.buffers())]
    return [*alphas, sums, running, [source.given, target.given], str(found)]


# 04.6: checkpoint


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
    if different:
        return f"three epochs later α is not the same: {different}"
    again = SmallRun(seed=2)
    load(again, state)  # a checkpoint may be read twice
    different = next((name for name, value in _parts(again).items() if value != as_saved[name]), None)
    return different and (
        f"{different}: loading a second time gives another run. The resumed run works on the memory of what was saved: "
        "`load` copies, too"
    )


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
    "04.3": Exercise(_judge_product, _PRODUCT.praise),
    "04.4": judged_by(
        _rounds,
        first_order_step,
        _STEP_CASES,
        [(partial(_stepped, slip=slip), words) for slip, words in _STEP_ADVICE.items()],
        part="the first-order step",
        praise="ω and α each go down their own loss, and neither leaves a trace in the other's gradient.",
    ),
    "04.5": judged_by(
        _after_search,
        search,
        [{"steps": 1, "images": 2}, {"steps": 3, "images": 3}],
        [(partial(_searched, slip=slip), words) for slip, words in _SEARCH_ADVICE.items()],
        part="the search",
        praise="α, ω and batch norm's statistics are those of the library's search, step for step.",
    ),
    "04.6": Exercise(_judge_checkpoint, "Bit for bit: nothing that the future depends on is missing."),
}

RECALL = (
    Question(
        "b",
        "The softmax runs over the operations of one edge, and none is one of them: notebook 02, eq. 6 and deriving.",
    ),
    Question(
        "c",
        "A batch of P identities with K ≥ 2 images each gives every image a positive and a negative: notebook 03, the "
        "P×K sampler.",
    ),
    Question(
        "a",
        "A derived cell keeps two edges a node and one operation an edge, and has no α: notebook 01, *A cell is a "
        "directed acyclic graph*.",
    ),
)
