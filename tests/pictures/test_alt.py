"""Every picture has an alt text that says what is drawn: computed from its axes, or from its nodes and edges."""

from pathlib import Path
from typing import Any

import graphviz
import jupytext
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from nasda.errors import NasdaError
from nasda.genotypes import NAMED, PRIMITIVES
from nasda.pictures import alt, graphs
from nasda.pictures.plots import Plot, dress, light
from nasda.settings import SpaceSettings
from tests.notebooks.sources import ROOT, SOURCES, code_cells
from tests.notebooks.test_form import build
from tests.pictures.test_plots import ALL_PLOTS

PICTURES = {"image/png", "image/svg+xml"}


def lacking(notebook: NotebookNode) -> list[str]:
    """The pictures of a notebook without an alt text of 20 characters, by cell."""
    return [
        f"cell {number}: {kind}"
        for number, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        for kind in PICTURES & output.get("data", {}).keys()
        if not 20 <= len(output.metadata.get(kind, {}).get("alt", "")) <= alt.MOST
    ]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_picture_of_an_executed_copy_has_an_alt_text(source: Path) -> None:
    assert lacking(jupytext.read(ROOT / "notebooks" / f"{source.stem}.ipynb")) == []


def test_every_way_to_show_a_picture_keeps_its_alt_text_in_the_copy(tmp_path: Path) -> None:
    cells = [
        "import ipywidgets\nfrom nasda.genotypes import NAMED\nfrom nasda.pictures import graphs\n"
        "from nasda.pictures.plots import Plot, light\nfrom nasda.pictures.widgets import Live, explore\n"
        "def picture(last=2):\n    figure = Plot(3, 2)\n    figure.subplots().plot([1, last], label='the only line')\n"
        "    return figure\npicture()",
        "light(picture())",
        "graphs.show(graphs.cell_graph(NAMED['resnet-like'], 'normal'))",
        "explore(lambda last: (picture(last), 'in words'), last=ipywidgets.IntSlider(2))",
        "live = Live()\nlive.show(picture())\nlive.show(picture(3))",
    ]
    source = tmp_path / "source.py"
    jupytext.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), source, fmt="py:percent")
    (tmp_path / "run").mkdir()
    copy = build.tidied(build.execute(source, {}, tmp_path / "run")[0])
    shown = [[o for o in cell.outputs if PICTURES & o.get("data", {}).keys()] for cell in code_cells(copy)]
    assert [len(outputs) for outputs in shown] == [1] * len(cells)
    assert lacking(copy) == []
    alts = [outputs[0].metadata["image/png"]["alt"] for outputs in shown]
    assert alts[0] == alts[1] == "lines: the only line 1 → 2."
    assert alts[3:] == ["in words. lines: the only line 1 → 2.", "lines: the only line 1 → 3."]


@pytest.mark.parametrize("name", ALL_PLOTS)
def test_a_notebook_is_given_the_alt_text_of_every_plot(name: str) -> None:
    figure = ALL_PLOTS[name]()
    data, metadata = DisplayFormatter().format(figure)
    assert set(metadata) == PICTURES & set(data) == {"image/png"}
    assert metadata["image/png"]["alt"] == alt.of_figure(figure)
    assert 20 <= len(alt.of_figure(figure)) <= alt.MOST


def test_a_plot_says_kind_values_and_axes() -> None:
    figure = Plot(5, 3)
    left, right = figure.subplots(1, 2)
    left.plot([0, 5], [6.0, 1.25], label="ω")
    left.plot([0, 5], [0.5, np.nan], "o", linestyle="none", label="α")
    left.axhline(2, label="limit")
    dress(left, "epoch", "loss", "losses")
    right.barh(["one", "two"], [1, 2])
    dress(right, "images")
    assert alt.of_figure(figure) == (
        "2 panels. losses; lines: ω 6 → 1.25; points: α 0.5 to 0.5; limit at 2. x: epoch, 0 to 5; y: loss, 0.5 to 6. "
        "bars: one 1, two 2. x: images, 0 to 2."
    )


def test_what_the_author_says_comes_instead() -> None:
    figure = Plot(3, 2)
    figure.subplots().plot([1, 2])
    figure.alt = "Two searches,\n$α$ of the first rises."
    assert alt.of_figure(figure) == light(figure).alt == "Two searches, α of the first rises."


def test_nothing_is_said_twice_and_nothing_beyond_400_characters() -> None:
    figure = Plot(9, 9)
    for number, axes in enumerate(figure.subplots(3, 3).flat):
        for line in range(9):
            axes.plot([number, line], color="black", label=f"the line with the number {line}")
        dress(axes, "an axis with a very long name, the same in every panel", "another", f"panel {number}")
    said = alt.of_figure(figure)
    assert len(said) <= alt.MOST
    assert said.count("an axis with a very long name") <= 1
    assert all(f"panel {number}" in said for number in range(9))
    assert len(alt.shortened("word " * 200)) <= alt.MOST


def test_a_map_says_what_its_colours_are() -> None:
    figure = Plot(3, 2)
    axes = figure.subplots()
    figure.colorbar(axes.imshow([[0.0, 1.0, 4.0]]), ax=axes).set_label("weight")
    assert alt.of_figure(figure) == "image: 1 × 3 values, 0 to 4. colour: weight."


def test_a_figure_of_words_is_these_words() -> None:
    figure = Figure()
    figure.text(0, 0, "no graph\ncan be drawn")
    assert alt.of_figure(figure) == "no graph can be drawn."


def test_a_cell_says_what_each_node_is_made_of() -> None:
    said = alt.of_graph(graphs.cell_graph(NAMED["resnet-like"], "normal"))
    for node, edges in enumerate(NAMED["resnet-like"].normal):
        terms = [f"{graphs.operation_label(e.operation)} of {graphs.state_label(e.input)}" for e in edges]
        assert f"node {node} = {' + '.join(terms)}" in said
    assert said.startswith("Graph (normal cell): node 0 = ")


def test_a_relaxed_cell_says_the_strongest_operation_of_each_edge_and_its_weight() -> None:
    plain = PRIMITIVES["plain"]
    alphas = 5 * np.eye(len(plain))[[1, 2]]
    names = [graphs.operation_label(name) for name in plain[1:3]]
    weight = f"{graphs.softmax(alphas)[0, 1]:.2f}"
    said = alt.of_graph(graphs.supercell_graph(alphas, plain))
    assert f"node 0 = {names[0]} {weight} of cₖ₋₂ + {names[1]} {weight} of cₖ₋₁" in said
    assert "node 1 from cₖ₋₂, cₖ₋₁, node 0" in alt.of_graph(graphs.supercell_graph(2, plain))


def test_another_graph_says_what_leads_to_what() -> None:
    graph = graphviz.Digraph("loop")
    graph.node("a", "the first\nof all")
    graph.edge("a", "b", label="then")
    graph.edge("b", "c", dir="back")
    graph.edge("a", "b", style="invis")
    assert alt.of_graph(graph) == "Graph (loop): the first of all → (then) b; c → b."
    network = alt.of_graph(graphs.macro_graph(SpaceSettings(), 64, 32))
    assert network.startswith("Graph (network): image: 3 × 64 × 32 → stem (conv 3×3, stride")


def test_a_graph_that_cannot_be_drawn_has_no_picture_to_describe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> Any:
        raise NasdaError("no Graphviz here")

    monkeypatch.setattr(graphs, "_svg", refuse)
    assert graphs.show(graphviz.Digraph("g"))._repr_mimebundle_()[1] == {}
