"""Plots show what they are given, carry names and units, and refuse what does not fit with one line."""

import io
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from nasda.data.domain import Domain, Sample
from nasda.errors import NasdaError
from nasda.genotypes import CELL_KINDS, PRIMITIVES, derive, edge_count, entropy, skip_count
from nasda.operations import operation_label
from nasda.pictures import plots
from nasda.pictures.palette import GREEN, VERMILLION
from nasda.pictures.plots import (
    alpha_heatmap,
    contact_sheet,
    light,
    metrics_bars,
    retrieval_gallery,
    save,
    search_curves,
    to_png,
    translation_sheet,
)

PLAIN, REID = PRIMITIVES["plain"], PRIMITIVES["reid"]


def a_history(epochs=5, nodes=2, primitives=PLAIN):
    rng = np.random.default_rng(0)
    shape = (edge_count(nodes), len(primitives))
    direction = {kind: rng.normal(size=shape) for kind in CELL_KINDS}
    history = []
    for epoch in range(epochs):
        alphas = {kind: (epoch * direction[kind] / 3).tolist() for kind in CELL_KINDS}
        history.append(
            {
                "epoch": epoch,
                "alphas": alphas,
                "genotype": derive(alphas, primitives).to_dict(),
                "entropy": {kind: float(entropy(alphas[kind]).mean()) for kind in CELL_KINDS},
                "skips": skip_count(derive(alphas, primitives)),
                "loss_weights": 6.0 / (1 + epoch),
                "loss_alphas": None if epoch == 0 else 1.0 / (1 + epoch),
                "images_per_second": 30.0,
            }
        )
    return history


def random_images(count, height=16, width=8):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def a_gallery(k=3):
    images = random_images(6)
    return retrieval_gallery(
        images[:2], images, [[3, 1, 2], [0, 5, 4]], [[True, False, False], [False, True, True]], k=k
    )


@pytest.fixture
def domains(tmp_path):
    """Two domains of three identities and two cameras, flat colours: red is the identity, blue the camera."""
    made = []
    for name, green in (("source", 0), ("target", 250)):
        train = []
        for pid in (2, 5, 9):
            for camid in (1, 4):
                if (pid, camid) == (9, 4):
                    continue  # camera 4 never saw identity 9
                path = tmp_path / f"{name}_{pid}_{camid}.png"
                Image.new("RGB", (20, 40), (20 * pid, green, 50 * camid)).save(path)
                train.append(Sample(path, pid, camid))
        made.append(Domain(name, tmp_path, train, [], []))
    return made


def a_table():
    return {
        "ResNet-50": {"mAP": [0.10], "rank-1": [0.2]},
        "searched": {"mAP": [0.16, 0.17, 0.15], "rank-1": [0.3, 0.4]},
    }


ALL_PLOTS = {
    "alphas": lambda: alpha_heatmap(a_history(), PLAIN, "normal"),
    "curves": lambda: search_curves(a_history(), PLAIN),
    "gallery": a_gallery,
    "translations": lambda: translation_sheet(
        {"there": {"x": np.ones((2, 16, 8, 3)), "G(x)": np.zeros((2, 16, 8, 3))}}
    ),
    "results": lambda: metrics_bars(a_table(), {"mAP": 0.02}),
}


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


@pytest.mark.parametrize("name", ALL_PLOTS)
def test_every_plot_is_a_figure_with_named_axes_that_draws(name):
    figure = ALL_PLOTS[name]()
    assert isinstance(figure, Figure)
    assert any(axes.get_xlabel() for axes in panels(figure))
    assert any(axes.get_ylabel() for axes in panels(figure))
    image = Image.open(io.BytesIO(figure._repr_png_()[0])).convert("L")
    assert image.getextrema()[0] < 100 < 250 < image.getextrema()[1]


def test_titles_of_the_longest_operations_do_not_touch():
    style = PRIMITIVES["style"]
    alphas = {kind: np.eye(9)[[7] * 5] * 5 for kind in CELL_KINDS}  # sep conv 3×3, IBN on every edge
    figure = alpha_heatmap([{"epoch": 0, "alphas": alphas}], style, "normal")
    figure.draw_without_rendering()
    boxes = [panel.title.get_window_extent() for panel in panels(figure) if "IBN" in panel.get_title()]
    assert len(boxes) == 5
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_notebook_displays_a_plot_without_pyplot():
    data, _ = DisplayFormatter().format(metrics_bars(a_table()))
    assert data["image/png"].startswith(b"\x89PNG")


def test_a_light_picture_keeps_what_is_drawn():
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 32, 3), dtype=np.uint8)
    ranked = images[:1], images, [range(5)], [[True] * 5], ["a query"]
    whole = np.asarray(Image.open(io.BytesIO(to_png(retrieval_gallery(*ranked)))).convert("RGB")).astype(int)
    drawn = np.flatnonzero((whole != 255).any(axis=(1, 2)))
    top, bottom = max(0, drawn[0] - 6), drawn[-1] + 7
    picture = light(retrieval_gallery(*ranked), inches=20)
    assert len(picture.getcolors()) <= 255
    found = np.asarray(picture.convert("RGB")).astype(int)
    assert found.shape == whole[top:bottom].shape
    assert abs(found - whole[top:bottom]).mean() < 8  # of noise, the worst case; three rows aside it would be 39
    assert light(retrieval_gallery(*ranked), inches=4).width == 400


def test_plotting_leaves_pyplot_alone():
    code = "import sys, nasda.pictures.plots; print({'matplotlib.pyplot'} & set(sys.modules))"
    root = Path(plots.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_save_writes_the_same_bytes_each_time(suffix, tmp_path):
    for name in ("first", "second"):
        save(metrics_bars(a_table()), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"first.{suffix}").read_bytes() == (tmp_path / f"second.{suffix}").read_bytes()


def test_save_refuses_other_suffixes(tmp_path):
    with pytest.raises(NasdaError, match=r"saved as \.svg, \.png or \.pdf; found 'no suffix'"):
        save(metrics_bars(a_table()), tmp_path / "results")


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_alpha_heatmap_frames_and_names_the_derived_edges(kind):
    history = a_history(nodes=3, primitives=REID)
    figure = alpha_heatmap(history, REID, kind)
    framed = {
        axes.get_title() for axes in panels(figure) if to_hex(axes.spines["left"].get_edgecolor()) == VERMILLION.lower()
    }
    sources = ["cₖ₋₂", "cₖ₋₁", "node 0", "node 1"]
    expected = {
        f"{sources[edge.input]} → node {node}\n{operation_label(edge.operation)}"
        for node, edges in enumerate(derive(history[-1]["alphas"], REID).cell(kind))
        for edge in edges
    }
    assert {title.rsplit(" ", 1)[0] for title in framed} == expected
    heatmaps = [axes.images[0].get_array() for axes in panels(figure) if axes.get_title()]
    assert [values.shape for values in heatmaps] == [(len(REID), len(history))] * edge_count(3)
    np.testing.assert_allclose(heatmaps[0].sum(axis=0), 1)  # softmax weights
    assert any(axes.get_ylabel() == "softmax weight (white: 1/7, undecided)" for axes in figure.axes)


def test_search_curves_show_the_log():
    history = a_history()
    losses, undecided, skips = search_curves(history, PLAIN).axes
    np.testing.assert_allclose(losses.lines[0].get_ydata(), [entry["loss_weights"] for entry in history])
    assert np.isnan(losses.lines[1].get_ydata()[0])  # no α step in the first epoch: a gap
    np.testing.assert_allclose(undecided.lines[0].get_ydata(), [entry["entropy"]["normal"] for entry in history])
    assert undecided.lines[2].get_ydata()[0] == pytest.approx(np.log(len(PLAIN)))
    np.testing.assert_allclose(skips.lines[0].get_ydata(), [entry["skips"] for entry in history])
    assert skips.lines[1].get_ydata()[0] == 4  # every one of 2 nodes × 2 edges


def test_one_epoch_is_enough_and_none_is_refused():
    search_curves(a_history(epochs=1), PLAIN)
    alpha_heatmap(a_history(epochs=1), PLAIN, "reduce")
    with pytest.raises(NasdaError, match="log is empty"):
        search_curves([], PLAIN)
    with pytest.raises(NasdaError, match="log is empty"):
        alpha_heatmap([], PLAIN, "normal")


def test_a_gallery_frames_right_solid_and_wrong_dashed():
    frames = [
        (patch.get_gid(), to_hex(patch.get_edgecolor()), patch.get_linestyle()) for patch in a_gallery().axes[0].patches
    ]
    right, wrong = ("right", GREEN.lower(), "solid"), ("wrong", VERMILLION.lower(), "dashed")
    assert [frame for frame in frames if frame[0] != "query"] == [right, wrong, wrong, wrong, right, right]


def test_a_gallery_shows_the_ranked_images_in_order():
    axes = a_gallery(k=2).axes[0]
    sheet, images = axes.images[0].get_array(), random_images(6)
    frames = sorted((patch for patch in axes.patches), key=lambda patch: (patch.get_y(), patch.get_x()))
    for patch, index in zip(frames, [0, 3, 1, 1, 0, 5], strict=True):
        top, left = int(patch.get_y()), int(patch.get_x())
        np.testing.assert_array_equal(sheet[top : top + 16, left : left + 8], images[index])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["query", "1", "2"]


def test_a_gallery_takes_floats_and_names():
    image = np.full((16, 8, 3), 0.5)
    axes = retrieval_gallery([image], [image], [[0]], [[True]], titles=["id 7"]).axes[0]
    assert 128 in axes.images[0].get_array()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["id 7"]


def test_a_gallery_refuses_what_does_not_belong_together():
    images = random_images(2)
    with pytest.raises(NasdaError, match="as many of each"):
        retrieval_gallery(images, images, [[0]], [[True]])
    with pytest.raises(NasdaError, match="as many hits as ranked"):
        retrieval_gallery(images[:1], images, [[0, 1]], [[True]])
    with pytest.raises(NasdaError, match="images of one size"):
        retrieval_gallery(images[:1], random_images(1, height=9), [[0]], [[True]])


def test_a_contact_sheet_has_identities_down_and_cameras_across(domains):
    figure = contact_sheet(domains, identities=3, images=2, height=40, width=20)
    assert [axes.get_title() for axes in figure.axes] == ["source", "target"]
    for axes, green in zip(figure.axes, (0, 250), strict=True):
        assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "5", "9"]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]
        assert "camera" in axes.get_xlabel()
        assert "identity" in axes.get_ylabel()
        sheet = np.asarray(axes.images[0].get_array())
        for y, pid in zip(axes.get_yticks(), (2, 5, 9), strict=True):
            for x, camid in zip(axes.get_xticks(), (1, 4), strict=True):
                expected = [255, 255, 255] if (pid, camid) == (9, 4) else [20 * pid, green, 50 * camid]
                assert sheet[int(y), int(x)].tolist() == expected


def test_a_contact_sheet_is_drawn_by_its_seed(domains):
    def rows(seed):
        return [
            label.get_text() for label in contact_sheet(domains[:1], identities=1, seed=seed).axes[0].get_yticklabels()
        ]

    assert rows(0) == rows(0)
    assert len({tuple(rows(seed)) for seed in range(10)}) > 1


def test_a_contact_sheet_says_what_is_missing(domains, tmp_path):
    with pytest.raises(NasdaError, match="empty: no training images"):
        contact_sheet([Domain("empty", tmp_path, [], [], [])])
    domains[0].train[0].path.write_bytes(b"not an image")
    with pytest.raises(NasdaError, match=r"source_2_1\.png: an image expected"):
        contact_sheet(domains)


def test_a_translation_sheet_shows_each_image_in_its_place():
    height, width = 16, 8
    batches = {name: np.stack(random_images(2)) // 2 + shift for name, shift in (("x", 0), ("G(x)", 60), ("back", 120))}
    figure = translation_sheet({"there": batches, "here": batches})
    assert [axes.get_title() for axes in figure.axes] == ["there", "here"]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "G(x)", "back"]
        sheet, gap = axes.images[0].get_array(), 3
        for column, images in enumerate(batches.values()):
            for row, image in enumerate(images):
                top, left = gap + row * (height + gap), gap + column * (width + gap)
                assert np.array_equal(sheet[top : top + height, left : left + width], image)


def test_a_translation_sheet_refuses_images_of_two_sizes():
    batches = {"x": np.zeros((2, 16, 8, 3)), "G(x)": np.zeros((2, 8, 8, 3))}
    with pytest.raises(NasdaError, match="images of one size"):
        translation_sheet({"there": batches})


def test_results_show_each_seed_the_mean_and_the_floor():
    figure = metrics_bars(a_table(), {"mAP": 0.02})
    mean_average_precision, rank1 = figure.axes
    assert (mean_average_precision.get_xlabel(), rank1.get_xlabel()) == ("mAP (%)", "rank-1 (%)")
    assert [bar.get_width() for bar in mean_average_precision.patches] == pytest.approx([10, 16])
    seeds = [line.get_xdata() for line in mean_average_precision.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(np.concatenate(seeds), [10, 16, 17, 15])
    assert [text.get_text() for text in mean_average_precision.texts] == ["10.0", "16.0 ± 1.0"]
    assert mean_average_precision.lines[-1].get_xdata()[0] == pytest.approx(2)  # the floor


def test_results_say_what_was_not_measured():
    figure = metrics_bars({"a": {"mAP": [0.1]}, "b": {"rank-1": [0.1]}})
    assert [text.get_text() for text in figure.axes[0].texts] == ["10.0", "not measured"]
    with pytest.raises(NasdaError, match="at least one row"):
        metrics_bars({})
