"""Genotypes: which operation feeds which node, in the paper's two spaces and one more. From α, or chosen at random.

This module does not import torch, so that a genotype is read quickly.
"""

import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasda.errors import NasdaError
from nasda.files import read_json, write_json

Space = Literal["plain", "reid", "style"]
CellKind = Literal["normal", "reduce"]
CELL_KINDS: tuple[CellKind, ...] = get_args(CellKind)

NONE = "none"  # the zero operation: it takes part in the search, never in a derived cell
PART_AWARE = "part_aware"
_PLAIN = (NONE, "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
_REID = (*_PLAIN, PART_AWARE)

PRIMITIVES: dict[Space, tuple[str, ...]] = {
    "plain": _PLAIN,  # §2.1: the six operations of DARTS-like search
    "reid": _REID,  # §2.3: O_reid, with Auto-ReID's part-aware module
    "style": (*_REID, "sep_conv_3x3_ibn", "dil_conv_3x3_ibn"),  # not the paper's: each convolution in two norms
}

# Every operation that a genotype or a space may name; `nasda.operations.register_operation` adds to it.
known_operations: list[str] = list(PRIMITIVES["style"])

_ELSEWHERE = {"partial_aware_1x1": PART_AWARE}  # names in other projects: this one is Auto-ReID's

EDGES_PER_NODE = 2  # eq. 5: a node is the sum of two operations
CELL_INPUTS = 2  # the outputs of the last two cells


class Edge(NamedTuple):
    """One operation of a derived cell and the state that feeds it: `input` is 0 for the cell before the last (I^{c-2}),
    1 for the last cell (I^{c-1}), and 2 or more for this cell's nodes."""

    operation: str
    input: int


Node = tuple[Edge, ...]


@dataclass(frozen=True)
class Genotype:
    """A derived architecture: for each kind of cell its nodes, each the sum of two edges (eq. 5).

    The cell's output is the concatenation of all its nodes. Raises `NasdaError` when an operation is unknown, or when
    an edge comes from a state that does not exist yet.
    """

    normal: tuple[Node, ...]
    reduce: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.normal:
            raise NasdaError("genotype: no nodes: expected at least one in each cell")
        if len(self.normal) != len(self.reduce):
            raise NasdaError(
                f"genotype: normal has {len(self.normal)} nodes, reduce {len(self.reduce)}: expected as many"
            )
        for kind in CELL_KINDS:
            for index, node in enumerate(self.cell(kind)):
                _check_node(kind, index, node)

    @property
    def nodes(self) -> int:
        """Intermediate nodes a cell."""
        return len(self.normal)

    def cell(self, kind: CellKind) -> tuple[Node, ...]:
        """The nodes of one kind of cell."""
        return self.normal if kind == "normal" else self.reduce

    def to_dict(self) -> dict[str, list[list[dict[str, Any]]]]:
        """Plain lists and dictionaries, as they are written to JSON."""
        return {kind: [[edge._asdict() for edge in node] for node in self.cell(kind)] for kind in CELL_KINDS}

    @classmethod
    def from_dict(cls, value: Any) -> "Genotype":
        """The inverse of `to_dict`; raises `NasdaError` on anything else."""
        try:
            cells = {
                kind: tuple(
                    tuple(Edge(str(e["operation"]), operator.index(e["input"])) for e in node) for node in value[kind]
                )
                for kind in CELL_KINDS
            }
        except (KeyError, TypeError, ValueError) as error:
            raise NasdaError(
                'genotype: expected {"normal": [[{"operation": …, "input": …}, …], …], "reduce": …}, '
                f"found something else ({type(error).__name__}: {error})"
            ) from error
        return cls(**cells)

    @classmethod
    def from_darts(cls, normal: Sequence[Any], reduce: Sequence[Any]) -> "Genotype":
        """From (operation, input) pairs: DARTS' genotypes.py has them in one list, two a node; Auto-ReID has a list for
        each node. Raises `NasdaError` when a node has not two pairs, or an operation is unknown."""
        return cls(_nodes_of_pairs("normal", normal), _nodes_of_pairs("reduce", reduce))

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())

    def save(self, path: Path) -> None:
        """Write to `path` as JSON, whole or not at all."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> "Genotype":
        """Read what `save` wrote; raises `NasdaError` naming `path` and what is wrong with it."""
        value = read_json(path, "a genotype")
        if re.search(r'\["\w+", \d+\]', json.dumps(value)):
            raise NasdaError(
                f"{path}: a genotype as DARTS writes it; read it with: nasda convert {path} --out genotype.json"
            )
        try:
            return cls.from_dict(value)
        except NasdaError as error:
            raise NasdaError(f"{path}: {error}") from error


def _nodes_of_pairs(kind: CellKind, cell: Sequence[Any]) -> tuple[Node, ...]:
    try:
        if all(isinstance(pair[0], str) for pair in cell):  # one list: pairs follow one another
            if len(cell) % EDGES_PER_NODE:
                raise NasdaError(f"genotype: {kind} has {len(cell)} pairs: expected {EDGES_PER_NODE} a node (eq. 5)")
            cell = [cell[start : start + EDGES_PER_NODE] for start in range(0, len(cell), EDGES_PER_NODE)]
        return tuple(tuple(Edge(_ELSEWHERE.get(name, name), operator.index(i)) for name, i in node) for node in cell)
    except (LookupError, TypeError, ValueError) as error:
        raise NasdaError(f'genotype: {kind}: expected pairs such as ("sep_conv_3x3", 0), found {cell!r:.80}') from error


def _check_node(kind: CellKind, index: int, node: Node) -> None:
    where = f"genotype: {kind} node {index}"
    known = [name for name in known_operations if name != NONE]
    if len(node) != EDGES_PER_NODE:
        raise NasdaError(f"{where} has {len(node)} edges: expected {EDGES_PER_NODE} (eq. 5)")
    for edge in node:
        if edge.operation not in known:
            raise NasdaError(
                f"{where}: unknown operation {edge.operation!r}; expected one of {', '.join(known)}, "
                "or one that nasda.operations.register_operation has added"
            )
        if not 0 <= edge.input < CELL_INPUTS + index:
            raise NasdaError(f"{where}: input {edge.input} does not exist; expected 0 to {CELL_INPUTS + index - 1}")


def check_primitives(primitives: Sequence[str]) -> tuple[str, ...]:
    """`primitives`, a space's operations in the order of α's columns. Raises `NasdaError` when one is unknown or stands
    twice, or when there is none besides `none`."""
    known = ", ".join(known_operations)
    for name in primitives:
        if name not in known_operations:
            raise NasdaError(f"--operations: {name!r} is unknown; expected some of {known}")
        if primitives.count(name) > 1:
            raise NasdaError(f"--operations: {name} stands twice; name each operation once")
    if not set(primitives) - {NONE}:
        raise NasdaError(f"--operations: expected at least one besides {NONE}; choose from {known}")
    return tuple(primitives)


def edge_count(nodes: int) -> int:
    """Candidate edges of a cell with `nodes` nodes: 2 + 3 + … (14 for the paper's four)."""
    return sum(CELL_INPUTS + node for node in range(nodes))


def node_count(alphas: NDArray[Any]) -> int:
    """Nodes of the cell that `alphas` (edges, operations) belongs to; raises `NasdaError` if there is no such cell."""
    edges = len(alphas) if alphas.ndim == 2 else 0
    nodes = next((n for n in range(1, edges + 1) if edge_count(n) == edges), None)
    if nodes is None:
        raise NasdaError(f"α of shape {tuple(alphas.shape)} is no cell: expected 2, 5, 9, 14, … edges × operations")
    return nodes


def node_slices(nodes: int) -> list[slice]:
    """For each node the rows of α that feed it, in the order of their input states."""
    starts = [edge_count(node) for node in range(nodes + 1)]
    return [slice(start, stop) for start, stop in pairwise(starts)]


def softmax(alphas: ArrayLike) -> NDArray[np.float64]:
    """Softmax over the last axis: the weights of eq. 6, one row an edge."""
    return np.exp(log_softmax(alphas))


def log_softmax(alphas: ArrayLike) -> NDArray[np.float64]:
    """The logarithm of `softmax`. It keeps the order of weights that are too small for a floating-point number."""
    from scipy import special  # imported here: it takes longer than all of `nasda --help`

    return special.log_softmax(np.asarray(alphas, dtype=np.float64), axis=-1)


def strengths(alphas: ArrayLike, primitives: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Each edge's strength, max over o ≠ none of its softmax weight (§2.1), and the operation that has it.

    `alphas` is (edges, operations). Of equal weights the operation named first in `primitives` wins.
    """
    logarithms, operations = _log_strengths(alphas, primitives)
    return np.exp(logarithms), operations


def _log_strengths(alphas: ArrayLike, primitives: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    real = [index for index, name in enumerate(primitives) if name != NONE]
    weights = log_softmax(alphas)[:, real]
    return weights.max(axis=1), [primitives[real[index]] for index in weights.argmax(axis=1)]


def derive(
    alphas: Mapping[str, ArrayLike], primitives: Sequence[str], betas: Mapping[str, ArrayLike] | None = None
) -> Genotype:
    """The discrete architecture of `alphas` (§2.1; DARTS §2.4): per edge the strongest operation other than `none`, per
    node the two strongest edges. Of equally strong edges the one with the earlier input wins.

    `alphas` maps "normal" and "reduce" to (edges, operations), edges ordered node by node, input by input. `betas`
    (PC-DARTS) maps them to (edges,), whose softmax multiplies the strengths.
    Raises `NasdaError` when the shape fits no number of nodes or other primitives, or when α is not finite.
    """
    shares = {kind: 0.0 if betas is None else np.asarray(betas[kind]) for kind in CELL_KINDS}
    return Genotype(**{kind: _derive_cell(np.asarray(alphas[kind]), primitives, shares[kind]) for kind in CELL_KINDS})


def _derive_cell(alphas: NDArray[Any], primitives: Sequence[str], betas: NDArray[Any] | float) -> tuple[Node, ...]:
    nodes = node_count(alphas)
    if alphas.shape[1] != len(primitives):
        raise NasdaError(f"α of shape {tuple(alphas.shape)} does not belong to {len(primitives)} operations")
    if not (np.isfinite(alphas).all() and np.isfinite(betas).all()):
        raise NasdaError("α cannot be derived: it is not finite everywhere; the search diverged: lower --alphas-lr")
    strength, operation = _log_strengths(alphas, primitives)
    strength = strength + betas  # β's softmax divides all edges of a node by the same number
    cell = []
    for rows in node_slices(nodes):
        strongest = np.argsort(-strength[rows], kind="stable")[:EDGES_PER_NODE]
        cell.append(tuple(Edge(operation[rows.start + i], int(i)) for i in sorted(strongest)))
    return tuple(cell)


def random_genotype(nodes: int, primitives: Sequence[str], seed: int) -> Genotype:
    """A genotype chosen uniformly at random, the control that every search has to beat: two different inputs a node,
    and for each one operation other than `none`."""
    rng = np.random.default_rng(seed)
    real = [name for name in primitives if name != NONE]

    def cell() -> tuple[Node, ...]:
        inputs = [sorted(rng.choice(CELL_INPUTS + node, EDGES_PER_NODE, replace=False)) for node in range(nodes)]
        return tuple(tuple(Edge(str(rng.choice(real)), int(i)) for i in pair) for pair in inputs)

    return Genotype(normal=cell(), reduce=cell())


def entropy(alphas: ArrayLike) -> NDArray[np.float64]:
    """Entropy of each edge's choice in nats: log |O| when undecided, 0 when decided."""
    weights = softmax(alphas)
    return -(weights * np.log(np.clip(weights, 1e-300, None))).sum(axis=-1)


def skip_count(genotype: Genotype) -> int:
    """Skip connections in the normal cell: where DARTS collapses, this number rises to 2 × nodes."""
    return sum(edge.operation == "skip_connect" for node in genotype.normal for edge in node)


RESNET_LIKE = Genotype.from_darts(
    # Designed by hand: convolutions with a skip connection beside them.
    normal=[
        [("skip_connect", 0), ("sep_conv_3x3", 1)],
        [("sep_conv_3x3", 1), ("sep_conv_3x3", 2)],
        [("skip_connect", 1), ("sep_conv_3x3", 3)],
        [("skip_connect", 1), ("sep_conv_3x3", 4)],
    ],
    reduce=[
        [("max_pool_3x3", 0), ("sep_conv_3x3", 1)],
        [("max_pool_3x3", 1), ("sep_conv_3x3", 2)],
        [("part_aware", 1), ("skip_connect", 2)],
        [("max_pool_3x3", 1), ("sep_conv_3x3", 2)],
    ],
)

NAMED: dict[str, Genotype] = {"resnet-like": RESNET_LIKE}
