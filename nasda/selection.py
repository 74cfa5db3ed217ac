"""Selection by perturbation (DARTS-PT: Wang et al., ICLR 2021): keep the operations that a searched supernet needs.

`derive` keeps the operation with the largest weight. Here each operation is removed in turn, and the loss of the
supernet is measured; the operation whose removal makes the loss largest is kept.
"""

from collections.abc import Callable, Mapping
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from nasda.bilevel import Loss, frozen_statistics
from nasda.data.task import Task
from nasda.fast.graphs import BatchLoss
from nasda.genotypes import CELL_KINDS, EDGES_PER_NODE, NONE, CellKind, Edge, Genotype, Node, node_slices
from nasda.networks import Supernet
from nasda.runs import RunFolder, finite
from nasda.search import finished_search

Weights = Mapping[CellKind, Tensor]


def without(weights: Weights, kind: CellKind, edge: int, operation: int | None = None) -> Weights:
    """The mixture with the weight of one operation at zero, or of a whole edge; all other weights stay the same."""
    changed = {name: matrix.detach().clone() for name, matrix in weights.items()}
    changed[kind][edge, slice(None) if operation is None else operation] = 0
    return changed


@torch.no_grad()
def loss_with(network: Supernet, weights: Weights, loss: Loss) -> float:
    """`loss()` with the cells of `network` mixed by `weights`; running statistics stay as they are.

    The loss chooses its statistics, as in the α step. Running ones (--alpha-statistics source) were taken with all
    operations in place. So they measure a removal together with what it shifts behind it, which training afterwards
    would mend. Tuning ω between decisions moves them to the network as it then is.
    """
    with frozen_statistics(network), network.mixed_by(weights):
        return finite(loss(), "the loss of α without an operation", "lower --weights-lr")


def losses_without(network: Supernet, loss: Loss) -> dict[CellKind, NDArray[np.float64]]:
    """α's loss without each operation of each edge of `network`: (edges, operations) for each kind of cell."""
    weights = {kind: network.mixture(kind) for kind in CELL_KINDS}
    found = {kind: np.zeros(tuple(weights[kind].shape)) for kind in CELL_KINDS}
    for kind in CELL_KINDS:
        for edge, operation in np.ndindex(found[kind].shape):
            found[kind][edge, operation] = loss_with(network, without(weights, kind, edge, operation), loss)
    return found


def select_by_perturbation(
    network: Supernet, loss: Loss, tune: Callable[[], object] = lambda: None, *, seed: int
) -> Genotype:
    """The cells of the operations that `network` needs most.

    Edge by edge in random order: of the operations other than `none`, keep the one whose removal makes `loss` largest,
    and give it the weight of the whole edge. Then node by node in random order: keep the two edges whose removal makes
    `loss` largest. After each decision, `tune` can train the network's ω; α does not change.

    `loss` is α's loss and must be the same function each time: same images, same dropout. Of equal losses, the first
    operation and the earlier input win. Raises `NasdaError` if a loss is not finite.
    """
    rng = np.random.default_rng(seed)
    weights = {kind: network.mixture(kind).detach().clone() for kind in CELL_KINDS}

    def keep(kind: CellKind, edge: int, operation: int | None) -> None:
        """Give the edge's weight to one operation or, without one, remove the edge."""
        share = weights[kind][edge].sum()
        weights[kind][edge] = 0
        if operation is not None:
            weights[kind][edge, operation] = share

    def tuned() -> None:
        with network.mixed_by(weights):
            tune()

    real = [index for index, name in enumerate(network.primitives) if name != NONE]
    edges = [(kind, edge) for kind in CELL_KINDS for edge in range(len(weights[kind]))]
    chosen: dict[tuple[CellKind, int], int] = {}
    for kind, edge in (edges[i] for i in rng.permutation(len(edges))):
        losses = [loss_with(network, without(weights, kind, edge, operation), loss) for operation in real]
        chosen[kind, edge] = real[int(np.argmax(losses))]
        keep(kind, edge, chosen[kind, edge])
        tuned()

    of_node = [range(rows.start, rows.stop) for rows in node_slices(network.nodes)]
    cells: dict[CellKind, list[Node]] = {kind: [()] * len(of_node) for kind in CELL_KINDS}
    nodes = [(kind, node) for kind in CELL_KINDS for node in range(len(of_node))]
    for kind, node in (nodes[i] for i in rng.permutation(len(nodes))):
        into = of_node[node]
        losses = [loss_with(network, without(weights, kind, edge), loss) for edge in into]
        order = np.argsort(-np.array(losses), kind="stable").tolist()
        inputs, others = sorted(order[:EDGES_PER_NODE]), order[EDGES_PER_NODE:]
        cells[kind][node] = tuple(Edge(network.primitives[chosen[kind, into[i]]], i) for i in inputs)
        for i in others:
            keep(kind, into[i], None)
        if others:
            tuned()
    return Genotype(**{kind: tuple(cells[kind]) for kind in CELL_KINDS})


def run_selection(folder: RunFolder, task: Task, *, steps: int, seed: int, device: torch.device) -> Genotype:
    """Select the cells of the finished search in `folder` by perturbation. The folder stays as it is.

    The loss is α's, on one pass over α's sample; that of memory keeps the centres of the searched ω. After each
    decision, ω takes `steps` of the search's steps on the source, starting from the searched ω. Raises `NasdaError` if
    the search is not finished.
    """
    search = finished_search(folder, task, device)
    batches = [search.next_alpha_batch() for _ in range(len(search.alpha_batches))]
    losses = [BatchLoss(search.alpha_loss, batch, (seed, index)) for index, batch in enumerate(batches)]
    seeds = ((seed, step, 0) for step in count())  # of dropout, another one for each step of ω

    def loss() -> Tensor:
        return torch.stack([of_batch() for of_batch in losses]).mean()

    search.network.train()
    with tqdm(desc="decisions", leave=False) as bar:

        def tune() -> None:
            for _ in range(steps):
                search.bilevel.weights_step(BatchLoss(search.weight_loss, search.weight_batches.next(), next(seeds)))
            bar.update()

        return select_by_perturbation(search.network, loss, tune, seed=seed)
