"""Graphs of cells and networks, drawn by Graphviz: what a search chose, what it chose from, and where the cells stand.

A drawing needs no program installed beside Python: `render` asks the system's `dot` first, then the Graphviz that
pygraphviz's wheels carry.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from xml.sax.saxutils import escape

import graphviz
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasda.errors import NasdaError
from nasda.files import written_whole
from nasda.genotypes import (
    CELL_INPUTS,
    NONE,
    PRIMITIVES,
    CellKind,
    Genotype,
    edge_count,
    node_slices,
    softmax,
    strengths,
)

Format = Literal["svg", "png", "pdf"]

# Okabe and Ito's palette: its colours stay apart for colour-blind readers, and in grey.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, INK = "#8C8C8C", "#222222"

OPERATION_COLOURS: dict[str, str] = {
    "none": GREY,
    "max_pool_3x3": ORANGE,
    "avg_pool_3x3": GREEN,
    "skip_connect": BLACK,
    "sep_conv_3x3": BLUE,
    "dil_conv_3x3": SKY,
    "part_aware": PURPLE,
}
OPERATION_LABELS: dict[str, str] = {
    "none": "none",
    "max_pool_3x3": "max pool 3×3",
    "avg_pool_3x3": "avg pool 3×3",
    "skip_connect": "skip connect",
    "sep_conv_3x3": "sep conv 3×3",
    "dil_conv_3x3": "dil conv 3×3",
    "part_aware": "part-aware",
}

# The first font is the one matplotlib ships; a browser that lacks it takes one as wide, so text stays in its box.
FONT = "DejaVu Sans,Verdana,sans-serif"
_STATE_FILL = "#EEF1F5"
_INSTALL = "install Graphviz: `pip install pygraphviz`, or your system's or conda's package `graphviz`"


def state_label(state: int) -> str:
    """The name of what feeds an edge: cₖ₋₂ and cₖ₋₁ (the last two cells' outputs), then node 0, node 1, …"""
    return ("cₖ₋₂", "cₖ₋₁")[state] if state < CELL_INPUTS else f"node {state - CELL_INPUTS}"


def operation_label(operation: str) -> str:
    """`operation` as one reads it: "sep conv 3×3"."""
    return OPERATION_LABELS.get(operation, operation.replace("_", " "))


def operation_colour(operation: str) -> str:
    """The operation's colour, "#RRGGBB", the same in every picture of the course."""
    return OPERATION_COLOURS.get(operation, GREY)


def tint(colour: str, share: float) -> str:
    """`colour` ("#RRGGBB") mixed with white; `share` 1 is the colour itself, 0 white."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - channel)):02X}" for channel in channels)


# ---------------------------------------------------------------------------------------------------------- graphs


def cell_graph(
    genotype: Genotype,
    kind: CellKind,
    alphas: Mapping[str, ArrayLike] | None = None,
    primitives: Sequence[str] | None = None,
) -> graphviz.Digraph:
    """A derived cell, left to right: two inputs, the nodes with their operations, the concatenated output.

    `alphas` maps "normal" and "reduce" to (edges, operations), as a search logs them; each operation then carries
    its softmax weight, as a number and as line width. `primitives` names α's columns (default: the space of the
    paper with as many operations). Raises `NasdaError` when α does not belong to the genotype.
    """
    nodes = genotype.cell(kind)
    weights = None if alphas is None else softmax(_checked(alphas[kind], len(nodes)))
    columns = _columns(weights, primitives)
    graph = _digraph(f"{kind} cell", rankdir="LR", ranksep="0.35", nodesep="0.22")
    _draw_states(graph, len(nodes))
    for index, (node, rows) in enumerate(zip(nodes, node_slices(len(nodes)), strict=True)):
        for position, edge in enumerate(node):
            weight = None
            if weights is not None:
                if edge.operation not in columns:
                    raise NasdaError(
                        f"{kind} node {index}: {edge.operation} is none of α's {len(columns)} operations; "
                        "pass the primitives that were searched"
                    )
                weight = float(weights[rows.start + edge.input, columns.index(edge.operation)])
            _draw_operation(graph, f"op_{index}_{position}", edge.operation, edge.input, CELL_INPUTS + index, weight)
    return graph


def supercell_graph(alphas: ArrayLike | int, primitives: Sequence[str]) -> graphviz.Digraph:
    """The cell before anything is decided: every node is fed by every earlier state (2 + 3 + … edges).

    `alphas` of shape (edges, operations) colours each edge by its strongest operation other than `none`, the wider
    and the more opaque the stronger; a number of nodes instead draws every edge as one strand per candidate.
    Raises `NasdaError` when α fits no number of nodes, or other primitives.
    """
    graph = _digraph("all candidates", rankdir="LR", ranksep="0.75", nodesep="0.3")
    if isinstance(alphas, int):
        nodes, shown = alphas, list(primitives)
        styles = [{"color": ":".join(map(operation_colour, primitives)), "arrowhead": "none"}] * edge_count(nodes)
        caption = "every edge holds all candidates:"
    else:
        values = np.asarray(alphas, dtype=np.float64)
        nodes = _node_count(values)
        if values.shape[1] != len(primitives):
            raise NasdaError(
                f"α has {values.shape[1]} columns, but there are {len(primitives)} primitives: expected as many"
            )
        strength, operation = strengths(values, primitives)
        styles = [_strength_style(o, s, len(primitives)) for o, s in zip(operation, strength, strict=True)]
        shown = [name for name in primitives if name != NONE]
        caption = "the strongest operation of each edge; the wider, the larger its softmax weight:"
    graph.attr(label=_legend(caption, shown))
    _draw_states(graph, nodes)
    for index, rows in enumerate(node_slices(nodes)):
        for state, style in enumerate(styles[rows]):
            graph.edge(f"state_{state}", f"state_{CELL_INPUTS + index}", **style)
    return graph


def macro_graph(
    *,
    cells_per_block: int,
    channels: int,
    height: int,
    width: int,
    stem_stride: int,
    embedding: int,
    classes: int | None = None,
    nodes: int = 4,
    blocks: int = 4,
    stem_channels: int | None = None,
) -> graphviz.Digraph:
    """The whole network, top to bottom: stem, `blocks` blocks of cells, pooling, embedding head.

    A cell in block b works with C = `channels` · 2^b channels and puts out `nodes` · C (it concatenates its nodes);
    each box says its output's shape, channels × height × width. `height` and `width` are the image's, in pixels;
    `stem_channels` is the stem's output (default `channels`); without `classes` the logits are left out.
    """
    graph = _digraph("network", rankdir="TB", ranksep="0.2", nodesep="0.3")
    graph.attr(label="sizes: channels × height × width\ndashed: a cell's other input, from the cell before the last")
    shape = (stem_channels or channels, _strided(height, stem_stride), _strided(width, stem_stride))
    _box(graph, "image", "image", _shape((3, height, width)), _STATE_FILL)
    _box(graph, "stem", f"stem: conv 3×3, stride {stem_stride}", _shape(shape), tint(SKY, 0.3))
    graph.edge("image", "stem")
    before, last = "stem", "stem"  # the stem's output serves the first cell as both of its inputs
    for block in range(blocks):
        cell_channels = channels * 2**block
        with graph.subgraph(name=f"cluster_{block}") as cluster:
            cluster.attr(label=f"block {block + 1}", labeljust="l", fontsize="11", style="rounded", color="#C4CBD4")
            for position in range(cells_per_block):
                reduces = block > 0 and position == 0
                stride = 2 if reduces else 1
                shape = (nodes * cell_channels, _strided(shape[1], stride), _strided(shape[2], stride))
                name = f"cell_{block * cells_per_block + position}"
                kind, fill = ("reduction", tint(ORANGE, 0.35)) if reduces else ("normal", tint(BLUE, 0.18))
                _box(cluster, name, f"{kind} cell, C = {cell_channels}", _shape(shape), fill)
                graph.edge(last, name, weight="10")
                if before != last:
                    graph.edge(f"{before}:e", f"{name}:e", style="dashed", color=GREY, constraint="false")
                before, last = last, name
    _draw_head(graph, last, shape[0], embedding, classes)
    return graph


def _draw_head(graph: graphviz.Digraph, last: str, features: int, embedding: int, classes: int | None) -> None:
    """f → dropout → g → dropout → h; retrieval compares f, so the head is there for training."""
    chain = [("f", "global average pooling: f", features), ("g", "dropout, linear: embedding g", embedding)]
    if classes is not None:
        chain.append(("h", "dropout, linear: logits h", classes))
    for name, title, size in chain:
        _box(graph, name, title, str(size), tint(GREEN, 0.2))
        graph.edge(last, name, weight="10")
        last = name


def _digraph(name: str, **layout: str) -> graphviz.Digraph:
    common = {"fontname": FONT, "fontcolor": INK}
    return graphviz.Digraph(
        name,
        graph_attr={**common, "bgcolor": "white", "pad": "0.15", "fontsize": "12", **layout},
        node_attr={**common, "shape": "box", "style": "rounded,filled", "fontsize": "12", "color": "#5B6573"},
        edge_attr={**common, "fontsize": "11", "color": "#5B6573", "arrowsize": "0.7"},
    )


def _draw_states(graph: graphviz.Digraph, nodes: int) -> None:
    with graph.subgraph() as inputs:
        inputs.attr(rank="same")
        inputs.edge("state_0", "state_1", style="invis")  # keeps cₖ₋₂ above cₖ₋₁
        for state in range(CELL_INPUTS):
            inputs.node(f"state_{state}", state_label(state), fillcolor=_STATE_FILL, fontsize="13")
    for state in range(CELL_INPUTS, CELL_INPUTS + nodes):
        graph.node(f"state_{state}", state_label(state), fillcolor="white", penwidth="1.5")
        last = state == CELL_INPUTS + nodes - 1
        graph.edge(
            f"state_{state}", "output", color="#B4BCC7", style="dashed", arrowsize="0.5", weight="8" if last else "1"
        )
    graph.node("output", "cₖ\nconcatenation", fillcolor=_STATE_FILL)


def _draw_operation(
    graph: graphviz.Digraph, name: str, operation: str, source: int, target: int, weight: float | None
) -> None:
    """One edge of a derived cell. Its operation is a small box on the way: Graphviz then keeps other lines off it."""
    colour = operation_colour(operation)
    label = operation_label(operation) + ("" if weight is None else f"\n{weight:.2f}")
    width = "1.6" if weight is None else f"{1 + 5 * weight:.2f}"
    graph.node(name, label, color=colour, fillcolor=tint(colour, 0.16), fontsize="11", height="0.3", margin="0.1,0.04")
    graph.edge(f"state_{source}", name, color=colour, penwidth=width, arrowhead="none")
    graph.edge(name, f"state_{target}", color=colour, penwidth=width)


def _strength_style(operation: str, strength: float, candidates: int) -> dict[str, str]:
    """Width and depth of colour from an even choice (thin, pale) to certainty (wide, full)."""
    decided = max(0.0, (strength - 1 / candidates) / (1 - 1 / candidates))
    return {
        "color": tint(operation_colour(operation), 0.4 + 0.6 * decided),
        "penwidth": f"{1.2 + 6 * decided:.2f}",
        "tooltip": f"{operation_label(operation)} {strength:.2f}",
    }


def _legend(caption: str, operations: Sequence[str]) -> str:
    cells = "".join(
        f'<TD><TABLE BORDER="0" CELLPADDING="0"><TR>'
        f'<TD BGCOLOR="{operation_colour(name)}" WIDTH="20" HEIGHT="7" FIXEDSIZE="TRUE"></TD></TR></TABLE></TD>'
        f'<TD ALIGN="LEFT">{escape(operation_label(name))}  </TD>'
        for name in operations
    )
    return (
        f'<<TABLE BORDER="0" CELLSPACING="4"><TR><TD COLSPAN="{2 * len(operations)}">{escape(caption)}</TD></TR>'
        f"<TR>{cells}</TR></TABLE>>"
    )


def _box(graph: graphviz.Digraph, name: str, title: str, size: str, fill: str) -> None:
    """A layer of the network: what it is on the left, the size of its output on the right."""
    cells = f'<TD ALIGN="LEFT" WIDTH="190">{escape(title)}</TD><TD ALIGN="RIGHT" WIDTH="110">{escape(size)}</TD>'
    table = f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1"><TR>{cells}</TR></TABLE>>'
    graph.node(name, table, fillcolor=fill, margin="0.1,0.02", height="0.32")


def _shape(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))


def _strided(size: int, stride: int) -> int:
    """The output size of a padded 3×3 operation with this stride."""
    return -(-size // stride)


def _node_count(alphas: NDArray[np.float64]) -> int:
    edges = alphas.shape[0] if alphas.ndim == 2 else 0
    nodes = next((n for n in range(1, edges + 1) if edge_count(n) == edges), None)
    if nodes is None:
        raise NasdaError(f"α of shape {alphas.shape} is no cell: expected 2, 5, 9, 14, … edges × operations")
    return nodes


def _checked(alphas: ArrayLike, nodes: int) -> NDArray[np.float64]:
    values = np.asarray(alphas, dtype=np.float64)
    if _node_count(values) != nodes:
        raise NasdaError(
            f"α of shape {values.shape} does not fit a genotype of {nodes} nodes: expected {edge_count(nodes)} edges"
        )
    return values


def _columns(weights: NDArray[np.float64] | None, primitives: Sequence[str] | None) -> list[str]:
    if weights is None:
        return []
    size = weights.shape[1]
    known = primitives or next((names for names in PRIMITIVES.values() if len(names) == size), ())
    if len(known) != size:
        raise NasdaError(f"α has {size} columns, but there are {len(known)} primitives: expected as many")
    return list(known)


# --------------------------------------------------------------------------------------------------------- drawing


class _Engine(NamedTuple):
    """A program that reads DOT on its standard input and writes a picture in `{format}` on its standard output."""

    name: str
    command: tuple[str, ...]


# pygraphviz runs in a process of its own: what native code prints, or breaks, stays out of the notebook's kernel.
_BUNDLED = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
graph.graph_attr["dpi"] = sys.argv[2]
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""
_ENGINES = (
    _Engine("dot", ("dot", "-T{format}", "-Gdpi={dpi}")),
    _Engine("pygraphviz", (sys.executable, "-P", "-c", _BUNDLED, "{format}", "{dpi}")),
)
_DPI: dict[Format, int] = {"svg": 72, "png": 96, "pdf": 72}  # in a notebook a PNG counts against its size
_TIMEOUT = 60  # seconds; our graphs take less than one


def render(graph: graphviz.Digraph, format: Format) -> bytes:
    """Draw `graph` as an SVG, PNG or PDF file's content.

    With the same Graphviz the same graph gives the same bytes, except as PDF: there Graphviz writes the date.

    Raises `NasdaError` when neither the `dot` program nor pygraphviz can draw.
    """
    if format not in get_args(Format):
        raise NasdaError(f"{format!r} is no picture format that graphs can have: expected svg, png or pdf")
    reasons = []
    with _environment() as environment:
        for engine in _ENGINES:
            try:
                return _draw(engine, graph.source, format, environment)
            except (OSError, subprocess.SubprocessError) as error:
                reasons.append(f"{engine.name}: {_reason(error)}")
    raise NasdaError(f"the graph cannot be drawn ({'; '.join(reasons)}): {_INSTALL}")


def save(graph: graphviz.Digraph, path: Path | str) -> None:
    """Draw `graph` to `path`, whole or not at all; its suffix (.svg, .png, .pdf) says as what.

    Raises `NasdaError` with advice for another suffix, where nothing can draw, or where `path` cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in get_args(Format):
        raise NasdaError(f"{path}: graphs are saved as .svg, .png or .pdf; found {path.suffix or 'no suffix'!r}")
    picture = render(graph, suffix)  # type: ignore[arg-type]
    with written_whole(path, "wb") as file:
        file.write(picture)


class Picture:
    """A graph as Jupyter displays it: drawn where something can draw, else DOT text and a line on what to install."""

    def __init__(self, graph: graphviz.Digraph) -> None:
        self.graph = graph

    def __repr__(self) -> str:
        return str(self.graph.source)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """SVG, PNG (for viewers that show no SVG) and text. Never raises: a display must not stop a notebook."""
        try:
            return {
                "image/svg+xml": render(self.graph, "svg").decode(),
                "image/png": render(self.graph, "png"),
                "text/plain": repr(self),
            }
        except NasdaError as error:
            return {"text/plain": f"{error}\n\n{self!r}"}


def show(graph: graphviz.Digraph) -> Picture:
    """`graph` as the last line of a notebook cell, or for `IPython.display.display`."""
    return Picture(graph)


def _draw(engine: _Engine, source: str, format: Format, environment: dict[str, str]) -> bytes:
    command = [part.replace("{format}", format).replace("{dpi}", str(_DPI[format])) for part in engine.command]
    # Windows would open a console window for each picture.
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    drawn = subprocess.run(
        command,
        input=source.encode(),
        capture_output=True,
        check=True,
        timeout=_TIMEOUT,
        env=environment,
        creationflags=flags,
    )
    if not drawn.stdout:
        raise OSError("it drew nothing")
    return drawn.stdout


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """What Graphviz runs with: matplotlib's fonts, so that boxes come out as wide on every machine, and text
    appears on one that has no fonts. (macOS and Windows choose fonts by other means and ignore this.)"""
    fonts = _font_folder()
    if fonts is None:
        yield {**os.environ}
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "fonts.conf")
        settings.write_text(
            '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">'
            f"<fontconfig><dir>{escape(str(fonts))}</dir><cachedir>{escape(folder)}</cachedir></fontconfig>",
            encoding="utf-8",
        )
        yield {**os.environ, "FONTCONFIG_FILE": str(settings)}


def _font_folder() -> Path | None:
    """matplotlib's fonts, found without importing it."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return folder if folder.is_dir() else None


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    """One line: a missing program, or the last thing that it said."""
    if isinstance(error, FileNotFoundError):
        return "not installed"
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"exit status {error.returncode}"
    return str(error)
