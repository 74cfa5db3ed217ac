"""Notebook 00: pictures of one style or another drawn to order, and what the first lesson shows about the gap.

The lesson's experiment draws its own pictures, with any gap, so that people and cameras stay and the style alone
changes: no data set can do that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import graphviz
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nasda.course.judges import Case, Exercise, attempted, difference, like, show
from nasda.data.colours import colour_histogram
from nasda.pictures.graphs import FONT, text_width
from nasda.pictures.palette import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION, tint
from nasda.pictures.plots import SMALL, Plot, dress
from nasda.settings import Mode, TaskName
from nasda.study.paper import TABLE_1, PaperRow
from nasda.toy.make import CAMERAS, TARGET, render

HEIGHT = 64  # pixels; people are half as wide as high, vehicles as wide as high
HOME = -0.3  # where curves over the gap put the source's own cameras


class Pictures(NamedTuple):
    """Images, uint8 (N, 3, H, W), with identity and camera of each, (N,)."""

    images: Tensor
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]


def draw_pictures(task: TaskName, domain: int, gap: float, people: Iterable[int], shots: int = 2) -> Pictures:
    """Draw each of `people` (or vehicles) before each camera of a domain, `shots` times, in the style that `gap` sets.

    `domain` is SOURCE or TARGET and decides who there is, and which cameras. The same arguments give the same poses,
    places and cameras at every gap.
    """
    who = [(pid, camid, shot) for pid in people for camid in CAMERAS[task][domain] for shot in range(shots)]
    width = HEIGHT // 2 if task == "person" else HEIGHT
    images = np.stack([render(task, *each, domain=domain, gap=gap, height=HEIGHT, width=width) for each in who])
    pids, camids, _ = np.array(who).T
    return Pictures(torch.from_numpy(images).permute(0, 3, 1, 2), pids + 1, camids)  # identity 0 marks distractors


# ---------------------------------------------------------------------------------------------------------- pictures


def style_figure(task: TaskName, who: int, gap: float) -> tuple[Plot, float, float]:
    """One identity of the target before each of its cameras: as a game engine, with `gap`, and as a street shows it;
    beside it how far the style moves these pictures, in the eyes of a colour histogram.

    Returns the figure, how far `gap` moves the pictures, and how far another identity would, both on average.
    """
    figure = Plot(9, 4.2 if task == "person" else 3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1, 0.9])
    rows = {"game engine": 0.0, f"gap {gap:.2f}": gap, "street": 1.0}
    _show_rows(left, [_strip(task, who, of_row) for of_row in rows.values()], list(rows))
    left.set_xlabel("one column for each of its six cameras")

    plain = _histograms(task, who, 0.0)
    gaps = np.linspace(0, 1, 11)
    moved = [_apart(plain, _histograms(task, who, float(each))) for each in gaps]
    now, other = _apart(plain, _histograms(task, who, gap)), _apart(plain, _histograms(task, who + 1, 0.0))
    right.plot(gaps, moved, color=BLUE, linewidth=2, label="the same one, in another style")
    right.plot([gap], [now], "o", color=BLUE, markersize=10)
    right.axhline(other, color=VERMILLION, linestyle="--", linewidth=2, label="another one, in the same style")
    right.set_ylim(0, 1.35 * max(*moved, other))
    dress(right, "gap (0: game engine, 1: street)", "distance of colour histograms", legend="upper left")
    return figure, now, other


def _histograms(task: TaskName, who: int, gap: float) -> Tensor:
    return colour_histogram(draw_pictures(task, TARGET, gap, [who], shots=1).images)


def _apart(first: Tensor, second: Tensor) -> float:
    return float((first - second).norm(dim=1).mean())


def _strip(task: TaskName, who: int, gap: float) -> NDArray[np.uint8]:
    width = 48 if task == "person" else 96
    cameras = CAMERAS[task][TARGET]
    shots = [render(task, who, camid, domain=TARGET, gap=gap, height=96, width=width) for camid in cameras]
    return np.concatenate([np.pad(shot, ((3, 3), (2, 2), (0, 0)), constant_values=255) for shot in shots], axis=1)


def _show_rows(axes: Axes, strips: Sequence[NDArray[np.uint8]], labels: Sequence[str]) -> None:
    axes.imshow(np.concatenate(strips))
    axes.set_yticks([(row + 0.5) * len(strip) for row, strip in enumerate(strips)], labels)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


_CURVES = [(VERMILLION, "o", "-"), (BLUE, "s", "-"), (GREY, "^", "--")]


def crossing_figure(scores: Mapping[str, Mapping[float, Sequence[float]]]) -> Plot:
    """Rank-1 of each learner over the gap between what it is shown and a game engine; a point for each seed.

    `scores` maps a learner to its rank-1 by gap, each a list over seeds of fractions; `HOME` stands for the source's
    own cameras.
    """
    figure = Plot(8.5, 4.4)
    axes = figure.subplots()
    for (name, by_gap), (colour, marker, style) in zip(scores.items(), _CURVES, strict=False):
        gaps = sorted(gap for gap in by_gap if gap != HOME)
        means = {gap: 100 * float(np.mean(by_gap[gap])) for gap in by_gap}
        axes.plot(gaps, [means[gap] for gap in gaps], color=colour, marker=marker, linestyle=style, label=name)
        axes.plot([HOME], [means[HOME]], color=colour, marker=marker, markersize=9)
        for gap, seeds in by_gap.items():
            axes.plot([gap] * len(seeds), 100 * np.array(seeds), marker, color=colour, alpha=0.35, markersize=4)
    axes.axvline(HOME / 2, color=GREY, linewidth=1, linestyle=":")
    axes.set_xticks([HOME, *gaps], ["source's own\ncameras", *(f"{gap:g}" for gap in gaps)])
    axes.set_ylim(0, 103)
    of_gap = "the target's cameras, drawn with gap (0: game engine, 1: street)"
    dress(axes, of_gap, "rank-1 on identities never seen (%)", legend="beside")
    return figure


Distances = tuple[NDArray[np.float32], NDArray[np.float32]]


def distances_figure(before: Distances, now: Distances, title: str) -> Plot:
    """How far apart two pictures of one identity lie, and two of different ones: `now`, and in outline `before`."""
    figure = Plot(8, 3.4)
    axes = figure.subplots()
    bins = np.linspace(0, 2**0.5, 50).tolist()
    kinds = ("one identity, two cameras", BLUE, "", "-"), ("two identities", VERMILLION, "////", "--")
    for (name, colour, hatch, line), values, old in zip(kinds, now, before, strict=True):
        axes.hist(values, bins, density=True, color=colour, alpha=0.5, hatch=hatch, label=name)
        name = "the same, at gap 0"
        axes.hist(old, bins, density=True, histtype="step", color=colour, linestyle=line, linewidth=1.6, label=name)
    axes.set_ylim(0, 5)
    apart = "distance between two pictures' features (both of length 1)"
    dress(axes, apart, "share of pairs (density)", title, legend="beside")
    return figure


# ------------------------------------------------------------------------------------------------------------- paper


def search_graph(mode: Mode) -> graphviz.Digraph:
    """Fig. 1 of the paper: space, algorithm and evaluation, and which images α and ω learn from.

    Mode "S" is the ordinary search, all on the source; "S+R" the paper's.
    """
    graph = graphviz.Digraph(
        "search",
        graph_attr={"rankdir": "LR", "ranksep": "0.5", "nodesep": "0.4", "bgcolor": "white", "pad": "0.1"},
        node_attr={"shape": "box", "style": "rounded,filled", "fixedsize": "true", "fontname": FONT, "fontcolor": INK},
        edge_attr={"fontname": FONT, "fontsize": "11", "fontcolor": INK, "color": "#5B6573", "arrowsize": "0.7"},
    )
    real = mode == "S+R"
    of_alpha = ORANGE if real else BLUE
    for_weights = "all training images" if real else "most training images"
    for_alphas = "target (real)\na few labelled images" if real else "source (synthetic)\nimages held out"
    _box(graph, "space", "search space\nwhich networks\nthere are", tint(GREY, 0.2))
    _box(graph, "algorithm", "search algorithm\none step for ω, one for α,\nand again", tint(SKY, 0.3))
    _box(graph, "evaluation", "evaluation strategy\nhow good is\nthis network?", tint(GREEN, 0.2))
    _box(graph, "weights", f"ω learns on the\nsource (synthetic)\n{for_weights}", tint(BLUE, 0.25))
    _box(graph, "alphas", f"α learns on the\n{for_alphas}", tint(of_alpha, 0.35))
    _box(graph, "test", "test on the target\nidentities never\nseen before", tint(ORANGE, 0.35))
    with graph.subgraph() as data:
        data.attr(rank="same")
        data.edge("weights", "algorithm", color=BLUE, penwidth="2.5")
        data.edge("algorithm", "alphas", dir="back", color=of_alpha, penwidth="2.5")
    graph.edge("space", "algorithm")
    graph.edge("algorithm", "evaluation", label="a network")
    graph.edge("evaluation", "algorithm", label="what to try next")
    with graph.subgraph() as end:
        end.attr(rank="same")
        end.edge("evaluation", "test", style="dashed")
    return graph


def _box(graph: graphviz.Digraph, name: str, label: str, fill: str) -> None:
    lines = label.split("\n")
    width, height = max(text_width(line, 12) for line in lines) + 20, 16 * len(lines) + 12
    graph.node(name, label, width=f"{width / 72:.3f}", height=f"{height / 72:.3f}", fillcolor=fill, fontsize="12")


def lettered() -> dict[str, PaperRow]:
    """Table 1's rows by letter, from A."""
    return {chr(ord("A") + number): row for number, row in enumerate(TABLE_1)}


def conditions(row: PaperRow) -> tuple[str, str, str]:
    """What has to be equal for two rows to be compared: task, weights to start from, images to test on."""
    start = "ImageNet's weights" if "b" in row.notes else "nothing"
    own = "Market-1501" if row.task == "person" else "VeRi-776"
    return row.task, start, "VisDA-2020's target" if "c" in row.notes else own


def comparable_pairs() -> list[str]:
    """Pairs of Table 1's rows, such as "AB", that were measured under the same `conditions`."""
    pairs = combinations(lettered().items(), 2)
    return [a + b for (a, first), (b, second) in pairs if conditions(first) == conditions(second)]


def table_1_figure() -> Plot:
    """Table 1 as printed: a colour for each set of conditions, a bracket around rows that can be compared."""
    rows = lettered()
    figure = Plot(9, 4.8)
    axes = figure.subplots()
    colours = dict(zip(dict.fromkeys(map(conditions, rows.values())), (SKY, GREY, BLUE, PURPLE), strict=True))
    for height, row in enumerate(rows.values()):
        colour = colours[conditions(row)]
        axes.barh(height - 0.19, row.mAP, 0.34, color=colour)
        axes.barh(height + 0.19, row.rank1, 0.34, color=tint(colour, 0.45), edgecolor=colour)
        axes.text(row.mAP + 0.6, height - 0.19, f"mAP {row.mAP:.2f}", va="center", fontsize=SMALL, color=INK)
        axes.text(row.rank1 + 0.6, height + 0.19, f"rank-1 {row.rank1:.2f}", va="center", fontsize=SMALL, color=INK)
    letters = list(rows)
    for pair in comparable_pairs():
        ends = [letters.index(letter) for letter in pair]
        axes.plot([62.5, 64, 64, 62.5], [ends[0], ends[0], ends[1], ends[1]], color=INK, linewidth=1.5)
        axes.text(64.7, sum(ends) / 2, "comparable", va="center", fontsize=SMALL, color=INK)
    axes.set_yticks(range(len(rows)), [f"{k}   {row.method}, {row.data}" for k, row in rows.items()])
    axes.invert_yaxis()
    axes.set_xlim(0, 74)
    axes.set_xticks(range(0, 61, 10))
    dress(axes, "as Table 1 prints it (%); upper bar mAP, lower bar rank-1", "row: method, data", grid="")
    patches = [Patch(color=colour, label=f"tested on {on}, from {start}") for (_, start, on), colour in colours.items()]
    figure.legend(handles=patches, frameon=False, loc="outside upper center", ncols=2)
    return figure


# ---------------------------------------------------------------------------------------------------------- exercises


def rank_gallery(query: ArrayLike, gallery: ArrayLike) -> NDArray[np.int64]:
    """Gallery numbers, nearest first; of two equally far the first one counts as nearer."""
    return np.linalg.norm(np.asarray(gallery) - np.asarray(query), axis=1).argsort(kind="stable")


_RANKED: list[Case] = [
    {"query": np.array([0.0, 1.0]), "gallery": np.array([[2.0, 3.0], [0.0, 2.0], [1.0, 3.0]])},
    {"query": np.array([1.0, 0.0, 0.0]), "gallery": np.eye(3)[[1, 0]] * np.array([[1.0], [3.0]])},
    {"query": np.array([0.0, 0.0]), "gallery": np.array([[3.0, 0.0], [2.0, 2.0], [1.0, 0.0]])},
    {"query": np.array([0.5]), "gallery": np.array([[0.9], [0.4], [0.8], [0.0], [0.5]])},
]


def _gallery(rng: np.random.Generator) -> Case:
    images, length = rng.integers(2, 9), rng.integers(1, 5)
    return {"query": rng.normal(size=length), "gallery": rng.normal(size=(images, length))}


_RANK_MISTAKES: list[tuple[Callable[..., Any], str]] = [
    (
        lambda query, gallery: np.argsort(-np.linalg.norm(gallery - query, axis=1)),
        "The nearest picture comes first",
    ),
    (
        lambda query, gallery: np.linalg.norm(gallery - query, axis=1),
        "These are the distances; return the pictures' numbers in their order: `np.argsort`",
    ),
    (
        lambda query, gallery: np.argsort(np.linalg.norm(gallery, axis=1)),
        "This orders by the features' own lengths, and forgets the query",
    ),
    (
        lambda query, gallery: np.argsort(np.abs(gallery - query).sum(axis=1), kind="stable"),
        "This is the sum of absolute differences; Euclidean distance squares them",
    ),
    (
        lambda query, gallery: np.argsort(-(gallery @ query), kind="stable"),
        "Products order like distances only where all features have one length; here they have not",
    ),
    (
        lambda query, gallery: np.argsort(rank_gallery(query, gallery)),
        "This is the place of each picture in the order; return which picture stands at each place",
    ),
    (
        lambda query, gallery: np.argsort(np.abs((gallery - query).sum(axis=1)), kind="stable"),
        "Square the differences before you add them: otherwise they cancel",
    ),
]


def _rank_1(answer: Any) -> str | None:
    """Rank-1 with the rule and without it, on the four queries that the exercise prints."""
    if difference([0.25, 0.5], answer) is None:
        return None
    pair = list(answer.values()) if isinstance(answer, dict) else answer
    if isinstance(pair, (str, int, float)) or not hasattr(pair, "__len__") or len(pair) != 2:
        return f"expected two shares, (with, without); found {show(answer)}"
    for part in pair:
        attempted(part)
    with_rule, without = pair

    def is_share(found: Any, share: float) -> bool:
        return difference(share, found) is None

    if any(is_share(part, number) for part in pair for number in (2, 3, 4, 25, 50, 75, 100)):
        return "a share of the queries lies between 0 and 1: divide by the number of queries, not by 1 or by 100"
    if is_share(with_rule, 0.5) and is_share(without, 0.25):
        return "the two are the wrong way round: first with the rule, then without it"
    if is_share(with_rule, 1):
        return (
            "with the rule: an image is dropped where identity AND camera are the query's own. Query d may not drop "
            "the image of identity 2, although its own camera took it"
        )
    if not is_share(with_rule, 0.25):
        return "with the rule: for each query cross out its own identity before its own camera, then look for the least"
    return "without the rule: nothing is crossed out, and the least distance of each line decides"


def transfer_loss(scores: Mapping[str, Mapping[str, float]]) -> float:
    """What a learner loses on the target because it learnt on the source; scores[learnt on][tested on]."""
    return scores["target"]["target"] - scores["source"]["target"]


_SCORES: list[Case] = [
    {"scores": {"source": {"source": 0.9, "target": 0.3}, "target": {"source": 0.6, "target": 0.8}}},
    {"scores": {"source": {"source": 0.9, "target": 0.4}, "target": {"source": 0.5, "target": 0.4}}},
    {"scores": {"source": {"source": 0.9, "target": 0.7}, "target": {"source": 0.5, "target": 0.6}}},
]


def _four(rng: np.random.Generator) -> Case:
    values = rng.integers(1, 100, (2, 2)) / 100
    names = "source", "target"
    return {"scores": {a: dict(zip(names, map(float, row), strict=True)) for a, row in zip(names, values, strict=True)}}


_OTHER_LOSSES: list[tuple[Callable[..., Any], str]] = [
    (
        lambda scores: scores["source"]["source"] - scores["source"]["target"],
        "Think again: this compares two tests, of which one may simply be harder",
    ),
    (
        lambda scores: scores["target"]["target"] - scores["target"]["source"],
        "Think again: this keeps the learner and changes the test",
    ),
    (
        lambda scores: scores["source"]["source"] - scores["target"]["source"],
        "Think again: this is what the target's learner loses on the source, the other way round",
    ),
    (
        lambda scores: scores["source"]["target"] - scores["target"]["target"],
        "Think again about the sign: what is lost counts as positive",
    ),
    (
        lambda scores: scores["source"]["source"] - scores["target"]["target"],
        "Think again: this changes the learner and the test at once",
    ),
    (lambda scores: abs(transfer_loss(scores)), "A loss may be negative: then learning on the source was better"),
    (lambda scores: max(0.0, transfer_loss(scores)), "A loss may be negative: then learning on the source was better"),
    (
        lambda scores: transfer_loss(scores) / scores["target"]["target"],
        "This is the share that is lost; return the difference itself",
    ),
]


def _pairs(answer: Any) -> str | None:
    if isinstance(answer, str):
        answer = answer.replace(",", " ").split()
    if not isinstance(answer, (set, frozenset, list, tuple)):
        return f"expected a set of pairs such as {{'AG'}}, found {show(answer)}"
    answer = ["".join(filter(str.isalpha, "".join(map(str, pair)))) for pair in answer]
    rows, expected = lettered(), set(comparable_pairs())
    given = {"".join(sorted(pair.upper())) for pair in answer}
    for pair in sorted(given):
        if len(pair) != 2 or not set(pair) <= set(rows):
            return f"{pair!r} is no pair of two of the rows {''.join(rows)}"
    for pair in sorted(given - expected):
        differing = [
            f"{what} ({a} against {b})"
            for what, a, b in zip(
                ("the task", "the weights they start from", "the images they are tested on"),
                *(conditions(rows[letter]) for letter in pair),
                strict=True,
            )
            if a != b
        ]
        return f"{pair}: the two rows differ in {', and in '.join(differing)}"
    missing = len(expected - given)
    return f"so far all pairs are right, but {missing} more can be compared" if missing else None


EXERCISES = {
    "00.1": like(
        rank_gallery,
        _RANKED,
        _RANK_MISTAKES,
        draw=_gallery,
        part="a ranking",
        praise="Everything that this course measures is this line, asked many times.",
    ),
    "00.2": Exercise(
        _rank_1,
        "Query a is the case the rule is made for: its nearest picture is nearly the same photograph. Query c shows "
        "that the rule is not “drop what my camera took”: that stranger stays, and wins.",
    ),
    "00.3": like(
        transfer_loss,
        _SCORES,
        _OTHER_LOSSES,
        draw=_four,
        part="the transfer loss",
        praise="In the second case the target is harder than the source, and yet nothing was lost on the way.",
    ),
    "00.4": Exercise(
        _pairs,
        "Three comparisons are left. The abstract's, of the paper's best network with a ResNet-50, is none of them.",
    ),
}
