"""nasda.course.nb07_beyond_the_paper: digits, a search for classification, and an experiment over seeds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nasda.course import nb07_beyond_the_paper as lesson
from nasda.course.nb07_beyond_the_paper import SPACE, Digits, Size
from nasda.genotypes import CELL_KINDS, Genotype, derive
from nasda.networks import Supernet
from nasda.operations import OPERATIONS, operation_colour, register_operation
from nasda.pictures.graphs import cell_graph

PLAIN = lesson.PLAIN
SMALL = Size(space=dataclasses.replace(SPACE, channels=4), search_epochs=1, train_epochs=1, partial=2, each=2, batch=16)


def small_world() -> lesson.World:
    return lesson.World(lesson.printed(32, 0), lesson.printed(20, 1), *(lesson.printed(40, seed) for seed in (2, 3)))


def test_printed_digits_are_counts_of_ink_of_every_class() -> None:
    digits = lesson.printed(60, 3)
    assert digits.images.shape == (60, 3, 8, 8)
    assert torch.equal(digits.images, digits.images[:, :1].expand(-1, 3, -1, -1))
    assert torch.bincount(digits.labels).tolist() == [6] * 10
    assert torch.equal(digits.images * 16, (digits.images * 16).round())  # blocks of 16 pixels, as in optdigits
    assert digits.images.amin() == 0
    assert digits.images.amax() == 1
    assert torch.equal(lesson.printed(60, 3).images, digits.images)
    assert not torch.equal(lesson.printed(60, 4).images, digits.images)


def test_handwriting_is_tested_on_rows_that_nothing_learns_from() -> None:
    world = lesson.world(source=20)
    everything = lesson.handwritten()
    assert len(everything) == len(world.target) + len(world.target_test) == 1797
    assert torch.equal(torch.cat([world.target.images, world.target_test.images]), everything.images)


def test_a_sample_has_as_many_of_every_digit() -> None:
    assert torch.bincount(lesson.sample(lesson.handwritten(), 7, 0).labels).tolist() == [7] * 10


def test_batches_are_whole_and_go_through_every_image() -> None:
    digits = Digits(torch.arange(10.0).reshape(10, 1, 1, 1), torch.arange(10))
    drawn = lesson.batches(digits, 5, 0)
    assert sorted(torch.cat([next(drawn).labels, next(drawn).labels]).tolist()) == list(range(10))


def test_a_sheet_shows_each_digit_in_its_row() -> None:
    digits = lesson.printed(40, 0)
    image = lesson.digit_sheet({"print": digits}, columns=3).axes[0].images[0].get_array()
    assert image.shape == (89, 26)
    second_seven = digits.images[digits.labels == 7][1, 0].numpy()
    np.testing.assert_array_equal(image[63:71, 9:17], second_seven)
    assert np.isnan(np.ma.filled(image, np.nan)[71, :]).all()


@pytest.mark.parametrize("partial", [1, 2])
def test_a_search_moves_alpha_and_says_so(partial: int) -> None:
    digits = lesson.printed(32, 0)
    network, history = lesson.search(digits, digits, SMALL, seed=0, partial=partial)
    assert [row["epoch"] for row in history] == [0, 1]
    for kind in CELL_KINDS:
        assert not np.allclose(history[0]["alphas"][kind], history[1]["alphas"][kind])
    assert network.genotype() == derive(history[-1]["alphas"], PLAIN, history[-1]["betas"])


def test_an_operation_is_added_in_one_place(tmp_path: Path) -> None:
    """What the notebook's cell does: it is searched, derived, drawn in its own colour, saved, loaded and trained."""
    digits = lesson.printed(32, 0)
    space = ("none", "conv_1x1")

    def build(channels: int, stride: int, parts: int, affine: bool) -> torch.nn.Module:
        convolution = torch.nn.Conv2d(channels, channels, 1, stride, bias=False)
        return torch.nn.Sequential(torch.nn.ReLU(), convolution, torch.nn.BatchNorm2d(channels, affine=affine))

    with register_operation("conv_1x1", build, colour="#F0E442"):
        network, history = lesson.search(digits, digits, SMALL, seed=0, operations=space)
        network.genotype().save(tmp_path / "cell.json")
        genotype = Genotype.load(tmp_path / "cell.json")
        assert {edge.operation for node in genotype.normal for edge in node} == {"conv_1x1"}
        reader = lesson.train(genotype, digits, SMALL, seed=0)
        assert "#F0E442" in cell_graph(genotype, "normal", history[-1]["alphas"], space).source
        assert operation_colour("conv_1x1") == "#F0E442"
    assert "conv_1x1" not in OPERATIONS
    assert 0 <= lesson.accuracy(reader, digits) <= 1


def test_selection_changes_weights_and_leaves_alpha() -> None:
    digits, network = lesson.printed(32, 0), Supernet(SMALL.space, 10, seed=0)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    assert lesson.select(network, digits, digits, SMALL, seed=1).nodes == 2
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed
    assert not any("alpha" in name for name in changed)


def test_what_has_been_compared_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lesson.results(small_world(), SMALL, 0, tmp_path)
    assert list(first) == list(lesson.METHODS)
    assert first["random"].genotype == first["weights"].genotype
    monkeypatch.setattr(lesson, "train", None)
    assert lesson.results(small_world(), SMALL, 0, tmp_path) == first
    with pytest.raises(TypeError):
        lesson.results(small_world(), dataclasses.replace(SMALL, each=3), 0, tmp_path)
