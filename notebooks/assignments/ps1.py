"""Problem set 1, the lecturer's side: what each question is marked by. It is not handed out.

The references here are what `nasda grade` compares with; hidden cases are drawn by its seed.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasda.genotypes import PRIMITIVES, node_slices
from nasda.grading.problem_set import Part, Question, drawn, in_band

Rng = np.random.Generator

# 1: how far a stack of layers sees


def receptive_side(layers: Sequence[tuple[int, int, int]]) -> int:
    """The side, in input pixels, of what one output pixel sees through layers of (kernel, stride, dilation)."""
    side, jump = 1, 1
    for kernel, stride, dilation in layers:
        side += (kernel - 1) * dilation * jump
        jump *= stride
    return side


def _no_jump(layers: Sequence[tuple[int, int, int]]) -> int:
    return 1 + sum((kernel - 1) * dilation for kernel, _, dilation in layers)


def _early_jump(layers: Sequence[tuple[int, int, int]]) -> int:
    side, jump = 1, 1
    for kernel, stride, dilation in layers:
        jump *= stride
        side += (kernel - 1) * dilation * jump
    return side


def _no_dilation(layers: Sequence[tuple[int, int, int]]) -> int:
    return receptive_side([(kernel, stride, 1) for kernel, stride, _ in layers])


def _layers(rng: Rng, most: int, strides: Sequence[int]) -> dict[str, Any]:
    count = int(rng.integers(1, most + 1))
    draw = [(int(rng.choice([1, 3, 5, 7])), int(rng.choice(strides)), int(rng.integers(1, 4))) for _ in range(count)]
    return {"layers": draw}


_SEES = [
    (_no_dilation, "A dilated kernel's taps stand `dilation` pixels apart"),
    (_no_jump, "Behind a stride of 2, neighbours of the map lie two input pixels apart"),
    (_early_jump, "A layer's own stride moves the layers behind it, not itself"),
]

# 2: how deep a cell is


def depths(nodes: Sequence[tuple[int, int]]) -> list[int]:
    """For each node, the most operations on a way from an input of the cell to it; states 0 and 1 are the inputs."""
    found = [0, 0]
    for first, second in nodes:
        found.append(1 + max(found[first], found[second]))
    return found[2:]


def _shallow(nodes: Sequence[tuple[int, int]]) -> list[int]:
    found = [0, 0]
    for first, second in nodes:
        found.append(1 + min(found[first], found[second]))
    return found[2:]


def _with_inputs(nodes: Sequence[tuple[int, int]]) -> list[int]:
    return [0, 0, *depths(nodes)]


_DEPTHS = [
    (_shallow, "The deepest way counts, not the shortest"),
    (_with_inputs, "One number a node: the two inputs are no nodes"),
]


def _nodes(rng: Rng, most: int) -> dict[str, Any]:
    count = int(rng.integers(1, most + 1))
    pairs = [tuple(int(state) for state in rng.choice(2 + node, 2, replace=False)) for node in range(count)]
    return {"nodes": pairs}


# 3: the gradient at a temperature


def temperature_gradient(alphas: Tensor, outputs: Tensor, upstream: Tensor, temperature: float) -> Tensor:
    """dL/dα of a node, (edges, operations): eq. 6 with softmax(α / T). `outputs` are (edges, operations, values)."""
    weights = torch.softmax(alphas / temperature, dim=1)
    gains = outputs @ upstream
    return weights * (gains - (weights * gains).sum(dim=1, keepdim=True)) / temperature


def _one_softmax(alphas: Tensor, outputs: Tensor, upstream: Tensor, temperature: float) -> Tensor:
    shape = alphas.shape
    return temperature_gradient(alphas.reshape(1, -1), outputs.flatten(0, 1)[None], upstream, temperature).reshape(
        shape
    )


def _no_inner(alphas: Tensor, outputs: Tensor, upstream: Tensor, temperature: float) -> Tensor:
    return temperature * temperature_gradient(alphas, outputs, upstream, temperature)


def _no_mean(alphas: Tensor, outputs: Tensor, upstream: Tensor, temperature: float) -> Tensor:
    return torch.softmax(alphas / temperature, dim=1) * (outputs @ upstream) / temperature


_GRADIENTS = [
    (_no_mean, "A softmax's weights share: one can only grow at the others' cost"),
    (_no_inner, "α is divided by T before the softmax: the chain rule brings a factor"),
    (_one_softmax, "Each edge has a softmax of its own, over its operations"),
]


def _node(rng: Rng, edges: int, temperature: float | None) -> dict[str, Any]:
    operations, values = int(rng.integers(2, 8)), int(rng.integers(1, 6))
    draw = partial(rng.normal, size=(edges, operations, values))
    return {
        "alphas": torch.tensor(draw()[..., 0]),
        "outputs": torch.tensor(draw()),
        "upstream": torch.tensor(rng.normal(size=values)),
        "temperature": temperature or float(rng.uniform(0.2, 4)),
    }


# 4: sigmoids in the place of a softmax


def fair_gradient(alphas: Tensor, outputs: Tensor, upstream: Tensor, pull: float) -> Tensor:
    """dL/dα, (operations), of an edge that mixes by sigmoid(α), with FairDARTS' zero-one loss.

    L = task(Σ_o σ(α_o) y_o) − pull · mean_o (σ(α_o) − ½)² (Chu et al., ECCV 2020, eq. 4).
    """
    weights = torch.sigmoid(alphas)
    slope = outputs @ upstream - pull * 2 / len(alphas) * (weights - 0.5)
    return weights * (1 - weights) * slope


def _softmax_slope(alphas: Tensor, outputs: Tensor, upstream: Tensor, pull: float) -> Tensor:
    return temperature_gradient(alphas[None], outputs[None], upstream, 1.0)[0]


def _push(alphas: Tensor, outputs: Tensor, upstream: Tensor, pull: float) -> Tensor:
    return fair_gradient(alphas, outputs, upstream, -pull)


def _sum(alphas: Tensor, outputs: Tensor, upstream: Tensor, pull: float) -> Tensor:
    return fair_gradient(alphas, outputs, upstream, pull * len(alphas))


_FAIR = [
    (_softmax_slope, "That is the gradient through a softmax: a sigmoid looks at its own α alone"),
    (_push, "The zero-one loss is a negative square: it pulls away from ½"),
    (_sum, "The zero-one loss is a mean over the operations, not a sum"),
]


def _edge(rng: Rng, pull: float | None) -> dict[str, Any]:
    found = _node(rng, 1, 1.0)
    pull = float(rng.uniform(0.5, 10)) if pull is None else pull
    return {"alphas": found["alphas"][0], "outputs": found["outputs"][0], "upstream": found["upstream"], "pull": pull}


# 5: deriving with a weight for each edge


def derive_node(alphas: Tensor, betas: Tensor, primitives: Sequence[str]) -> list[tuple[str, int]]:
    """The two (operation, input) of a node, by input: an edge's strength is its share, softmax(β), times the largest
    softmax weight among its operations but none (PC-DARTS: Xu et al., ICLR 2020, §3.2). Ties: the earlier input."""
    real = [column for column, name in enumerate(primitives) if name != "none"]
    weights = torch.softmax(alphas, dim=1)[:, real]
    strength = torch.softmax(betas, dim=0) * weights.max(dim=1).values
    kept = sorted(torch.argsort(strength, descending=True, stable=True)[:2].tolist())
    return [(primitives[real[int(weights[edge].argmax())]], edge) for edge in kept]


def _no_share(alphas: Tensor, betas: Tensor, primitives: Sequence[str]) -> list[tuple[str, int]]:
    return derive_node(alphas, torch.zeros_like(betas), primitives)


def _none_out(alphas: Tensor, betas: Tensor, primitives: Sequence[str]) -> list[tuple[str, int]]:
    real = [column for column, name in enumerate(primitives) if name != "none"]
    return derive_node(alphas[:, real], betas, [primitives[column] for column in real])


_DERIVES = [
    (_no_share, "An edge's share of its node, softmax(β), comes into its strength"),
    (_none_out, "None cannot be chosen, but its weight stays in the softmax's denominator"),
]


def _choice(rng: Rng, share: bool) -> dict[str, Any]:
    edges = int(rng.integers(2, 6))
    alphas = rng.normal(size=(edges, 7)) * 2
    return {
        "alphas": torch.tensor(alphas),
        "betas": torch.tensor(rng.normal(size=edges) * 1.5 if share else np.zeros(edges)),
        "primitives": list(PRIMITIVES["reid"]),
    }


# 6: a small experiment


def measure(cells: int, seed: int) -> dict[str, float]:
    """What the question asks for, on so many random cells: the reference of the bands below."""
    rng = np.random.default_rng(seed)
    none, inputs, kept = 0.0, 0.0, 0
    for _ in range(cells):
        alphas = torch.tensor(rng.normal(size=(14, 7)))
        none += float((alphas.argmax(dim=1) == 0).double().mean()) / cells
        for rows in node_slices(4):
            pairs = derive_node(alphas[rows], torch.zeros(rows.stop - rows.start), PRIMITIVES["reid"])
            inputs += sum(state < 2 for _, state in pairs)
            kept += 2
    return {"none is strongest": none, "from the cell's inputs": inputs / kept}


# Edges are alike: an operation is the strongest on one in seven, and of node k, with 2 + k edges, 2 · 2 / (2 + k) come
# from the inputs.
BANDS = {"none is strongest": (1 / 7, 0.02), "from the cell's inputs": (sum(4 / (2 + k) for k in range(4)) / 8, 0.03)}


def questions(seed: int) -> list[Question]:
    """The questions of the set, their hidden cases drawn by `seed`."""

    part = partial(drawn, seed=seed)
    sees = partial(part, reference=receptive_side, mistakes=_SEES)
    deep = partial(part, reference=depths, mistakes=_DEPTHS)
    slope = partial(part, reference=temperature_gradient, mistakes=_GRADIENTS)
    fair = partial(part, reference=fair_gradient, mistakes=_FAIR)
    derives = partial(part, reference=derive_node, mistakes=_DERIVES)
    return [
        Question(
            "ps1-1",
            "receptive_side",
            [
                sees(1, "one layer", draw=lambda rng: _layers(rng, 1, [1, 2])),
                sees(2, "several layers of stride 1", draw=lambda rng: _layers(rng, 5, [1])),
                sees(3, "strides", draw=lambda rng: _layers(rng, 5, [1, 2, 3])),
            ],
        ),
        Question(
            "ps1-2",
            "depths",
            [
                deep(2, "cells of up to two nodes", draw=lambda rng: _nodes(rng, 2)),
                deep(3, "cells of up to eight nodes", draw=lambda rng: _nodes(rng, 8)),
            ],
        ),
        Question(
            "ps1-3",
            "temperature_gradient",
            [
                slope(2, "one edge at temperature 1", draw=lambda rng: _node(rng, 1, 1.0)),
                slope(2, "one edge at any temperature", draw=lambda rng: _node(rng, 1, None)),
                slope(2, "several edges", draw=lambda rng: _node(rng, int(rng.integers(2, 5)), None)),
            ],
        ),
        Question(
            "ps1-4",
            "fair_gradient",
            [
                fair(3, "the task's loss alone", draw=lambda rng: _edge(rng, 0.0)),
                fair(3, "with the zero-one loss", draw=lambda rng: _edge(rng, None)),
            ],
        ),
        Question(
            "ps1-5",
            "derive_node",
            [
                derives(3, "equal shares", draw=lambda rng: _choice(rng, False)),
                derives(3, "shares of β", draw=lambda rng: _choice(rng, True)),
            ],
        ),
        Question("ps1-6", "measured", [Part(2, f"{key}: in its band", in_band(key, *BANDS[key])) for key in BANDS]),
        Question("ps1-7", "", written=4),
    ]
