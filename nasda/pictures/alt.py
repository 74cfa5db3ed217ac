"""Alt texts: what a picture shows, in words that are computed from the picture itself.

A notebook keeps them in an output's metadata, where nbconvert finds them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import graphviz
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.container import BarContainer
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.quiver import Quiver
from matplotlib.ticker import FixedFormatter, FuncFormatter
from numpy.typing import ArrayLike, NDArray

MOST = 400  # characters: what a screen reader says in half a minute
Bundle: TypeAlias = tuple[dict[str, Any], dict[str, Any]]


def bundle(data: dict[str, Any], alt: str) -> Bundle:
    """What `_repr_mimebundle_` returns: `data`, and metadata with the alt text of each picture in it."""
    return data, {kind: {"alt": alt} for kind in data if kind.startswith("image/")}


def shortened(text: str) -> str:
    """`text` on one line, cut between two words where it is longer than an alt text may be."""
    line = one_line(text)
    return line if len(line) <= MOST else line[: MOST - 2].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def one_line(text: str) -> str:
    return " ".join(text.replace("$", "").split())


# --------------------------------------------------------------------------------------------------------------- plots


def of_figure(figure: Figure) -> str:
    """A plot in words, panel by panel, in as much detail as there is room for: kind, values, axes.

    An attribute `alt` of the figure, set by whoever drew it, comes instead.
    """
    if getattr(figure, "alt", ""):
        return shortened(figure.alt)  # type: ignore[attr-defined]
    panels = [axes for axes in figure.axes if not hasattr(axes, "_colorbar") and (axes.axison or axes.images)]
    head = [figure.get_suptitle(), f"{len(panels)} panels" if len(panels) > 1 else ""]
    if not panels:
        head += [text.get_text() for text in figure.texts]
    for detail in ("values axes ranges", "values axes", "values", "axes", ""):
        said = dict.fromkeys(one_line(part) for part in (*head, *(p for axes in panels for p in _panel(axes, detail))))
        text = " ".join(part + "." * (part[-1] not in ".?!") for part in said if part)
        if len(text) <= MOST:
            break
    return shortened(text)


def _panel(axes: Axes, detail: str) -> Iterator[str]:
    """A panel's sentences: its title with what is drawn in it, its axes, and what its colours are."""
    kinds = {
        "image": list(_images(axes)),
        "bars": _series(_bars(axes), detail),
        "lines": _series(_lines(axes), detail),
        "points": _series(_points(axes), detail),
    }
    if kinds["bars"] or kinds["lines"]:
        kinds["points"] = [said for said in kinds["points"] if not said.startswith("set")]  # of each seed, as a rule
    kinds |= {kind: [""] for kind in dict.fromkeys(map(_kind, axes.collections)) if kind}
    drawn = [f"{kind}: {'; '.join(said)}".removesuffix(": ") for kind, said in kinds.items() if said]
    drawn += _levels(axes) or ([] if drawn else [text.get_text() for text in axes.texts])
    title = axes.get_title() or axes.get_title("left")
    yield "; ".join(filter(None, (title.replace("\n", ", "), *drawn)))
    if "axes" in detail:
        if axes.axison:
            said = "; ".join(drawn)
            yield "; ".join(filter(None, (_side(axes.xaxis, "x", detail, said), _side(axes.yaxis, "y", detail, said))))
        for image in axes.images:
            if image.colorbar:
                yield f"colour: {image.colorbar.ax.get_ylabel()}"


def _kind(collection: Collection) -> str:
    if isinstance(collection, Quiver):
        return "arrows"
    return "map of colours" if isinstance(collection, QuadMesh | ContourSet) else ""


def _images(axes: Axes) -> Iterator[str]:
    for image in axes.images:
        values: Any = image.get_array()
        yield f"{' × '.join(map(str, values.shape))} values, {_span(values)}" if values.ndim == 2 else "photographs"


def _lines(axes: Axes) -> Iterator[tuple[str, str]]:
    """The lines' names in the legend with their first and last values."""
    for line in axes.lines:
        y = _finite(line.get_ydata())
        if len(y) and _has_line(line) and line.get_transform() == axes.transData:
            yield str(line.get_label()), f"{y[0]:.3g} → {y[-1]:.3g}" if len(y) > 1 else f"{y[0]:.3g}"


def _points(axes: Axes) -> Iterator[tuple[str, str]]:
    """The names of points without a line, with their extreme values."""
    of_lines = [(line.get_label(), line.get_ydata()) for line in axes.lines if not _has_line(line)]
    scattered = [each for each in axes.collections if isinstance(each, PathCollection)]
    for label, y in of_lines + [(each.get_label(), np.asarray(each.get_offsets())[:, 1]) for each in scattered]:
        if len(_finite(y)):
            yield str(label), _span(y)


def _has_line(line: Line2D) -> bool:
    return line.get_linestyle() not in ("None", "none", " ", "")


def _bars(axes: Axes) -> Iterator[tuple[str, str]]:
    """The groups of bars with their values. A bar is called by the word on its axis, if there is one."""
    groups: dict[str, list[tuple[float, float, str]]] = {}
    for container in axes.containers:
        if isinstance(container, BarContainer):
            lying, labels = container.orientation == "horizontal", [str(container.get_label())]
            labels += [str(bar.get_label()) for bar in container.patches[:1]]  # of a histogram
            label = next((label for label in labels if not label.startswith("_")), "_")
            axis = axes.yaxis if lying else axes.xaxis
            places = np.asarray(axis.get_majorticklocs())
            names = _names(axis)
            for bar, value in zip(container.patches, np.asarray(container.datavalues, dtype=np.float64), strict=True):
                place = bar.get_y() + bar.get_height() / 2 if lying else bar.get_x() + bar.get_width() / 2
                name = names[int(np.abs(places - place).argmin())] if names else ""
                groups.setdefault(label, []).append((float(value), place, name))
    for label, bars in groups.items():
        if len(bars) <= 6 and len({name for *_, name in bars} - {""}) == len(bars):
            yield label, ", ".join(f"{name} {value:.3g}" for value, _, name in bars)
        else:
            low, high = min(bars), max(bars)
            ends = f"{low[0]:.3g} to {high[0]:.3g}"
            yield label, f"({len(bars)}) {ends}, highest at {high[2] or format(high[1], '.3g')}"


def _series(found: Iterator[tuple[str, str]], detail: str, most: int = 6) -> list[str]:
    """What has a name in the legend, with its values; of what has none, how much there is; without detail, no more."""
    everything = list(found)
    if everything and not detail:
        return [str(len(everything))]
    named = [(label, values) for label, values in everything if not label.startswith("_")]
    parts = [f"{label} {values}" if "values" in detail else label for label, values in named[:most]]
    if len(named) > most:
        parts.append(f"and {len(named) - most} more")
    elif everything and not named:
        parts = [everything[0][1]] if len(everything) == 1 else [f"sets: {len(everything)}"]
    return parts


def _levels(axes: Axes) -> list[str]:
    """The straight lines across a panel that the legend names."""
    parts = []
    for line in axes.lines:
        label = str(line.get_label())
        if line.get_transform() != axes.transData and not label.startswith("_"):
            flat = line.get_transform() == axes.get_yaxis_transform()
            parts.append(f"{label} at {_finite(line.get_ydata() if flat else line.get_xdata())[0]:.3g}")
    return parts


def _side(axis: Axis, letter: str, detail: str, said: str) -> str:
    """An axis' name with its range, or with the words on it that are not `said` yet."""
    label, words = axis.get_label_text(), _names(axis)
    names = [word for word in words if word and word not in said]
    span = ""
    if names:
        span = ", ".join(names) if len(names) <= 6 else f"{names[0]} … {names[-1]}"
    elif label and not words and len(axis.get_majorticklocs()):
        data, view = np.sort(axis.get_data_interval()), np.sort(axis.get_view_interval())
        low, high = np.clip(data, *view) if np.isfinite(data).all() else view
        span = f"{low:.3g} to {high:.3g}"
    parts = [label, span if "ranges" in detail else ""]
    return f"{letter}: {', '.join(filter(None, parts))}" if any(parts) else ""


def _names(axis: Axis) -> list[str]:
    """The words on an axis, at its major ticks; none for an axis of numbers."""
    formatter = axis.get_major_formatter()
    if not isinstance(formatter, FixedFormatter | FuncFormatter | StrCategoryFormatter):
        return []
    return [one_line(name) for name in formatter.format_ticks(list(axis.get_majorticklocs()))]


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    return numbers[np.isfinite(numbers)]


def _span(values: ArrayLike) -> str:
    numbers = _finite(values)
    return f"{numbers.min():.3g} to {numbers.max():.3g}" if len(numbers) else "none"


# -------------------------------------------------------------------------------------------------------------- graphs

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ID = rf"(?:{_QUOTED}|[\w.]+)"
_STATEMENT = re.compile(
    rf'^\s*({_ID})(?::\w+)*(?: -> ({_ID})(?::\w+)*)?(?: \[((?:{_QUOTED}|[^\]"])*)\])?\s*$', re.MULTILINE
)
_STATE, _OPERATION = "state_", "op_"  # how names begin of a cell's states, and of operations on the way between them


def of_graph(graph: graphviz.Digraph) -> str:
    """A graph in words: of a cell, what each node is made of, as in "node 0 = sep conv 3×3 of cₖ₋₁ + …"; of another
    graph, what leads to what."""
    labels, edges = _taken_apart(graph.source)
    told: set[str] = set()

    def name(node: str) -> str:
        """A node's label; the second time, the first line of it."""
        lines = labels.get(node, node).splitlines()
        words = lines[0] if node in told else " ".join(lines)
        told.add(node)
        return words.replace(" → ", ": ")

    said = (_sums if any(node.startswith(_STATE) for node in labels) else _chains)(edges, name)
    return shortened(f"Graph ({graph.name}): {'; '.join(said)}.")


def _sums(edges: Sequence["_Edge"], name: Any) -> Iterator[str]:
    """Each state of a cell, the output last, with the sum that it is. An operation is a node, or a word on an edge."""
    into: dict[str, list[_Edge]] = {}
    for edge in edges:
        into.setdefault(edge.head, []).append(edge)
    nodes = [head for head in into if not head.startswith(_OPERATION)]
    for head in sorted(nodes, key=lambda head: not head.startswith(_STATE)):
        terms, relaxed = [], True
        for edge in into[head]:
            of_node = edge.tail in into and edge.tail.startswith(_OPERATION)
            operation = name(edge.tail) if of_node else edge.tip
            state = into[edge.tail][0].tail if of_node else edge.tail
            terms.append(f"{operation} of {name(state)}" if operation else name(state))
            relaxed &= not operation
        yield f"{name(head)} {'from' if relaxed else '='} {(', ' if relaxed else ' + ').join(terms)}"


def _chains(edges: Sequence["_Edge"], name: Any) -> Iterator[str]:
    """The arrows with the words on them, joined where one begins at the end of the one before; dashed ones last."""
    chain, end = "", ""
    for edge in sorted(edges, key=lambda edge: edge.dashed):
        if not chain or edge.tail != end:
            if chain:
                yield chain
            chain = name(edge.tail)
        chain += f" → {f'({edge.words}) ' if edge.words else ''}{name(edge.head)}"
        end = edge.head
    yield chain


class _Edge:
    """An edge that can be seen."""

    def __init__(self, tail: str, head: str, look: Mapping[str, str]) -> None:
        self.tail, self.head = (head, tail) if look.get("dir") == "back" else (tail, head)
        self.words, self.tip = one_line(look.get("label", "")), look.get("tooltip", "")
        self.dashed = look.get("style") == "dashed"


def _taken_apart(source: str) -> tuple[Mapping[str, str], Sequence[_Edge]]:
    """The labels of a DOT source's nodes, and its edges."""
    labels: dict[str, str] = {}
    edges: list[_Edge] = []
    for match in _STATEMENT.finditer(source):
        tail, head = match[1].strip('"'), (match[2] or "").strip('"')
        found = re.findall(rf"(\w+)=({_QUOTED}|[^\s\]]+)", match[3] or "")
        look = {name: value.strip('"') for name, value in found}
        if not head:
            labels[tail] = look.get("label", tail)
        elif look.get("style") != "invis":
            edges.append(_Edge(tail, head, look))
    return labels, edges
