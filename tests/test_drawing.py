"""Graphs say what the genotype says, and are drawn with and without the `dot` program."""

import io
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import graphviz
import numpy as np
import pytest
from PIL import Image

from nasda import drawing
from nasda.drawing import cell_graph, macro_graph, operation_label, render, save, show, supercell_graph
from nasda.errors import NasdaError
from nasda.genotypes import CELL_KINDS, PRIMITIVES, RESNET_LIKE, derive, edge_count, random_genotype, softmax

REID = PRIMITIVES["reid"]


def random_alphas(nodes=4, primitives=REID, seed=0):
    rng = np.random.default_rng(seed)
    return {kind: rng.normal(size=(edge_count(nodes), len(primitives))) for kind in CELL_KINDS}


def a_network(**changed):
    image, head = {"height": 256, "width": 128}, {"embedding": 512, "classes": 702}
    return macro_graph(**{"cells_per_block": 2, "channels": 32, "stem_stride": 4, **image, **head, **changed})


def arrows(graph):
    """The (tail, head) of every arrow in the DOT source, without ports and without the invisible one."""
    lines = [line for line in graph.body if "->" in line and "style=invis" not in line]
    return [tuple(end.split(":")[0] for end in re.match(r"\s*(\S+) -> (\S+)", line).groups()) for line in lines]


def labels(graph):
    """Every text of the DOT source, one entry a line of text."""
    texts = []
    for plain, html in re.findall(r'label=(?:"([^"]*)"|<(<.*>)>|\S+)', graph.source):
        texts += re.split(r"<[^>]*>", html) if html else plain.split("\n")
    unquoted = re.findall(r"label=([^\"<\s\]]+)", graph.source)
    return sorted(unescape(text).strip() for text in texts + unquoted if text.strip())


def texts_of(svg):
    return sorted(
        unescape(text).replace("\N{NO-BREAK SPACE}", " ").strip()
        for text in re.findall(r"<text[^>]*>(.*?)</text>", svg)
    )


@pytest.fixture
def no_dot(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def nothing_draws(monkeypatch):
    monkeypatch.setattr(drawing, "_ENGINES", (drawing._Engine("dot", ("no-such-program",)),))


ALL_GRAPHS = {
    "derived": lambda: cell_graph(RESNET_LIKE, "reduce"),
    "derived with strengths": lambda: cell_graph(derive(random_alphas(), REID), "normal", random_alphas()),
    "candidates": lambda: supercell_graph(4, REID),
    "supercell": lambda: supercell_graph(random_alphas()["normal"], REID),
    "network": a_network,
}


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("genotype", [RESNET_LIKE, *(random_genotype(nodes, REID, seed=nodes) for nodes in (1, 2, 4))])
def test_a_cell_shows_its_genotype(genotype, kind):
    graph = cell_graph(genotype, kind)
    expected = set()
    for index, node in enumerate(genotype.cell(kind)):
        expected.add((f"state_{index + 2}", "output"))
        for position, edge in enumerate(node):
            name = f"op_{index}_{position}"
            expected |= {(f"state_{edge.input}", name), (name, f"state_{index + 2}")}
            assert f'{name} [label="{operation_label(edge.operation)}"' in graph.source.replace("\t", "")
    assert sorted(arrows(graph)) == sorted(expected)


def test_a_cell_shows_the_softmax_weight_of_each_operation():
    alphas = random_alphas()
    genotype = derive(alphas, REID)
    graph = cell_graph(genotype, "reduce", alphas)
    weights = softmax(alphas["reduce"])
    edge = genotype.reduce[3][1]  # node 3's edges are the last five rows
    weight = weights[9 + edge.input, REID.index(edge.operation)]
    assert f'op_3_1 [label="{operation_label(edge.operation)}\n{weight:.2f}"' in graph.source
    assert f"penwidth={1 + 5 * weight:.2f}" in graph.source


def test_alphas_that_do_not_belong_to_the_genotype_are_refused():
    with pytest.raises(NasdaError, match="does not fit a genotype of 4 nodes: expected 14 edges"):
        cell_graph(RESNET_LIKE, "normal", random_alphas(nodes=2))
    with pytest.raises(NasdaError, match="part_aware is none of α's 6 operations"):
        cell_graph(RESNET_LIKE, "reduce", random_alphas(primitives=PRIMITIVES["plain"]))
    with pytest.raises(NasdaError, match="7 columns, but there are 6 primitives"):
        supercell_graph(random_alphas()["normal"], PRIMITIVES["plain"])
    with pytest.raises(NasdaError, match="is no cell"):
        supercell_graph(np.zeros((3, 7)), REID)


@pytest.mark.parametrize("candidates", [4, random_alphas()["normal"]], ids=["nodes", "alphas"])
def test_a_supercell_has_every_edge_and_a_legend(candidates):
    graph = supercell_graph(candidates, REID)
    edges = [(f"state_{source}", f"state_{node}") for node in range(2, 6) for source in range(node)]
    assert sorted(arrows(graph)) == sorted(edges + [(f"state_{node}", "output") for node in range(2, 6)])
    shown = REID if isinstance(candidates, int) else REID[1:]
    assert {operation_label(name) for name in shown} <= set(labels(graph))


def test_a_supercell_is_widest_where_alpha_is_surest():
    alphas = np.zeros((2, 7))
    alphas[1, REID.index("sep_conv_3x3")] = 50.0
    source = supercell_graph(alphas, REID).source
    assert "penwidth=1.20" in source
    assert re.search(rf'state_1 -> state_2 \[color="{drawing.BLUE}" penwidth=7.20', source)


def test_the_network_has_the_papers_cells_and_shapes():
    graph = a_network()
    text = labels(graph)
    assert sum(label.startswith("reduction cell") for label in text) == 3
    assert sum(label.startswith("normal cell") for label in text) == 5
    for size in (
        "3 × 256 × 128",
        "32 × 64 × 32",
        "128 × 64 × 32",
        "256 × 32 × 16",
        "1024 × 8 × 4",
        "1024",
        "512",
        "702",
    ):
        assert size in text
    assert ("stem", "cell_0") in arrows(graph)
    assert ("cell_5", "cell_7") in arrows(graph)  # a cell's other input
    assert ("cell_7", "f") in arrows(graph)


def test_odd_sizes_round_up_and_logits_can_be_left_out():
    text = labels(a_network(height=65, width=33, stem_stride=2, nodes=2, channels=4, cells_per_block=1, classes=None))
    assert {"4 × 33 × 17", "8 × 33 × 17", "16 × 17 × 9", "64 × 5 × 3"} <= set(text)
    assert not any("logits" in label for label in text)


@pytest.mark.parametrize("name", ALL_GRAPHS)
def test_without_dot_the_bundled_graphviz_draws_every_label(name, no_dot):
    graph = ALL_GRAPHS[name]()
    assert texts_of(render(graph, "svg").decode()) == labels(graph)


@pytest.mark.parametrize("name", ALL_GRAPHS)
def test_png_is_a_picture(name, no_dot):
    image = Image.open(io.BytesIO(render(ALL_GRAPHS[name](), "png"))).convert("L")
    assert min(image.size) > 100
    assert image.getextrema()[0] < 100 < 250 < image.getextrema()[1]


def test_dot_is_asked_first(monkeypatch, tmp_path):
    dot = tmp_path / "dot"
    dot.write_text(f'#!{sys.executable}\nimport sys\nprint(sys.argv[1], "state_0" in sys.stdin.read())\n')
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert render(cell_graph(RESNET_LIKE, "normal"), "svg").decode() == "-Tsvg True\n"


def test_a_broken_dot_gives_way_to_the_bundled_one(monkeypatch, tmp_path):
    dot = tmp_path / "dot"
    dot.write_text(f"#!{sys.executable}\nraise SystemExit('Format: \"svg\" not recognized')\n")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert b"<svg" in render(cell_graph(RESNET_LIKE, "normal"), "svg")


@pytest.mark.parametrize("format", ["svg", "png"])
def test_the_same_graph_gives_the_same_bytes(format, no_dot):
    graph = cell_graph(RESNET_LIKE, "normal")
    assert render(graph, format) == render(graph, format)


def test_text_is_drawn_on_a_machine_without_fonts_and_nothing_is_printed(no_dot, monkeypatch, tmp_path, capfd):
    empty = tmp_path / "fonts.conf"
    empty.write_text(f"<fontconfig><dir>{tmp_path}</dir><cachedir>{tmp_path}</cachedir></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(empty))
    graph = graphviz.Digraph(node_attr={"fontname": drawing.FONT, "shape": "plain"})
    graph.node("a", "part-aware")
    image = Image.open(io.BytesIO(render(graph, "png"))).convert("L")
    assert np.asarray(image).min() < 100
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_save_takes_the_format_from_the_suffix(suffix, start, tmp_path):
    path = tmp_path / "new" / f"cell.{suffix}"
    save(cell_graph(RESNET_LIKE, "normal"), path)
    assert path.read_bytes().startswith(start)


def test_save_says_what_to_do(tmp_path, nothing_draws):
    graph = cell_graph(RESNET_LIKE, "normal")
    with pytest.raises(NasdaError, match=r"saved as \.svg, \.png or \.pdf; found '\.gif'"):
        save(graph, tmp_path / "cell.gif")
    with pytest.raises(NasdaError, match="pip install pygraphviz") as error:
        save(graph, tmp_path / "cell.svg")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_show_gives_svg_png_and_text():
    bundle = show(cell_graph(RESNET_LIKE, "normal"))._repr_mimebundle_()
    assert "<svg" in bundle["image/svg+xml"]
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "digraph" in bundle["text/plain"]


def test_show_never_raises(nothing_draws):
    graph = cell_graph(RESNET_LIKE, "normal")
    bundle = show(graph)._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "pip install pygraphviz" in bundle["text/plain"].splitlines()[0]
    assert graph.source in bundle["text/plain"]


def test_jupyter_displays_a_picture():
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is what displays")
    data, _ = formatters.DisplayFormatter().format(show(cell_graph(RESNET_LIKE, "normal")))
    assert {"image/svg+xml", "image/png", "text/plain"} <= set(data)


def test_drawing_needs_neither_torch_nor_matplotlib():
    code = "import sys, nasda.drawing; print({'torch', 'matplotlib'} & set(sys.modules))"
    root = Path(drawing.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"
