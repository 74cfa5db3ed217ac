"""nasda.settings: the paper's numbers, and numbers that make no sense."""

import ast
import dataclasses
import inspect
import math
from typing import Any, get_args

import pytest

from nasda import settings as settings_module
from nasda.genotypes import PRIMITIVES
from nasda.settings import (
    PROFILE_NAMES,
    TASK_NAMES,
    EvaluateSettings,
    ProfileName,
    SearchSettings,
    SpaceSettings,
    SPGANSettings,
    TaskName,
    TrainSettings,
    check_settings,
    profile,
)
from nasda.spgan.networks import check_size
from tests.data.test_reading import message_of


def settings_classes() -> list[ast.ClassDef]:
    tree = ast.parse(inspect.getsource(settings_module))
    return [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")]


def fields_with_docstrings(node: ast.ClassDef) -> dict[str, str]:
    """Field name → the string that follows it ("" where there is none)."""
    found = {}
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = following.value if isinstance(following, ast.Expr) else None
            text = value.value if isinstance(value, ast.Constant) else ""
            found[statement.target.id] = text if isinstance(text, str) else ""
    return found


def test_the_paper_profile_builds_the_network_of_section_3_3() -> None:
    paper = profile("paper", "person")
    assert paper.space.space == "reid"
    assert (paper.space.channels, paper.space.cells_per_block) == (32, 2)
    assert paper.space.nodes == 4
    assert paper.search.identities * paper.search.images == 64
    assert paper.search.epochs == 50


def test_the_paper_profile_optimises_as_section_3_3_says() -> None:
    search = profile("paper", "vehicle").search
    assert (search.weights_lr, search.momentum, search.weights_decay) == (0.001, 0.9, 0.0005)
    assert (search.alphas_lr, search.alphas_decay) == (0.005, 0.0005)
    assert (search.margin, search.balance) == (0.3, 0.5)
    assert (search.mode, search.order) == ("S+R", "first")


def test_the_paper_profile_translates_as_spgan_does() -> None:
    spgan = profile("paper", "person").spgan
    assert (spgan.channels, spgan.blocks, spgan.lr, spgan.pool) == (64, 9, 0.0002, 50)
    assert (spgan.cycle, spgan.identity, spgan.similarity, spgan.margin) == (10, 5, 2, 2)


def test_the_papers_image_sizes_are_those_of_section_3_1() -> None:
    sizes = {task: (profile("paper", task).data.height, profile("paper", task).data.width) for task in TASK_NAMES}
    assert sizes == {"person": (256, 128), "vehicle": (256, 256)}


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_a_persons_box_is_twice_as_high_as_wide_and_a_vehicles_square(name: ProfileName) -> None:
    person, vehicle = profile(name, "person"), profile(name, "vehicle")
    assert person.data.height == 2 * person.data.width
    assert vehicle.data.height == vehicle.data.width == person.data.height
    assert dataclasses.replace(vehicle, data=person.data) == person  # nothing else differs


@pytest.mark.parametrize(
    ("name", "channels", "nodes", "cells"),
    [("tiny", 4, 2, 1), ("laptop", 8, 3, 1), ("gpu", 16, 4, 2), ("paper", 32, 4, 2)],
)
def test_profiles_grow_as_documented(name: ProfileName, channels: int, nodes: int, cells: int) -> None:
    space = profile(name, "person").space
    assert (space.channels, space.nodes, space.cells_per_block) == (channels, nodes, cells)


def test_the_four_profiles_and_two_tasks_are_the_documented_ones() -> None:
    assert get_args(ProfileName) == PROFILE_NAMES == ("tiny", "laptop", "gpu", "paper")
    assert get_args(TaskName) == TASK_NAMES == ("person", "vehicle")


@pytest.mark.parametrize("name", PROFILE_NAMES)
@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_profile_makes_sense(name: ProfileName, task: TaskName) -> None:
    chosen = profile(name, task)
    check_settings(chosen.space, chosen.search, chosen.train, chosen.data, chosen.toy, chosen.evaluate, chosen.spgan)
    check_size(chosen.data.height, chosen.data.width)
    assert 1 < chosen.spgan.similarity_epoch <= chosen.spgan.epochs
    assert chosen.search.sample_images >= 2  # or the triplet term is dead


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_the_deepest_cell_has_a_row_for_every_part(name: ProfileName) -> None:
    chosen = profile(name, "person")
    height = math.ceil(chosen.data.height / chosen.space.stem_stride)
    for _ in range(3):
        height = math.ceil(height / 2)
    assert height >= chosen.space.parts


def test_there_are_settings_to_document() -> None:
    names = {node.name for node in settings_classes()}
    assert {
        "SpaceSettings",
        "SearchSettings",
        "TrainSettings",
        "DataSettings",
        "ToySettings",
        "EvaluateSettings",
        "ComputeSettings",
        "SPGANSettings",
    } <= names


@pytest.mark.parametrize("operations", [("none,skip_connect,sep_conv_3x3",), ["none,skip_connect", "sep_conv_3x3"]])
def test_a_space_of_ones_own_is_alphas_columns(operations: Any) -> None:
    space = SpaceSettings(operations=operations)
    assert space.primitives == space.operations == ("none", "skip_connect", "sep_conv_3x3")
    assert SpaceSettings(space="plain").primitives == PRIMITIVES["plain"]


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (("none", "sep_conv_5x5"), "--operations: 'sep_conv_5x5' is unknown; expected some of none, max_pool_3x3"),
        (("none", "skip_connect", "none"), "--operations: none stands twice"),
        (("none",), "--operations: expected at least one besides none"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(operations: tuple[str, ...], message: str) -> None:
    assert message_of(lambda: check_settings(SpaceSettings(operations=operations))).startswith(message)


@pytest.mark.parametrize("node", settings_classes(), ids=lambda node: node.name)
def test_every_setting_says_what_it_is(node: ast.ClassDef) -> None:
    documented = fields_with_docstrings(node)
    assert list(documented) == [field.name for field in dataclasses.fields(getattr(settings_module, node.name))]
    for name, text in documented.items():
        assert len(text) > 10, name
        assert text.endswith("."), name
        assert "\n" not in text, name


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        (SearchSettings(epochs=0), "--epochs is 0"),
        (SearchSettings(epochs=-3), "--epochs is -3"),
        (SearchSettings(steps=0), "--steps is 0"),
        (SearchSettings(identities=0), "--identities is 0"),
        (SearchSettings(weights_lr=0.0), "--weights-lr is 0.0"),
        (SearchSettings(alphas_lr=math.nan), "--alphas-lr is nan"),
        (SearchSettings(margin=-0.1), "--margin is -0.1"),
        (SearchSettings(balance=1.5), "--balance is 1.5: expected at most 1"),
        (SearchSettings(balance=-0.5), "--balance is -0.5"),
        (SearchSettings(momentum=1.1), "--momentum is 1.1: expected at most 1"),
        (SpaceSettings(dropout=1.01), "--dropout is 1.01: expected at most 1"),
        (SpaceSettings(nodes=0), "--nodes is 0"),
        (SpaceSettings(cells_per_block=-1), "--cells-per-block is -1"),
        (TrainSettings(lr=-1.0), "--lr is -1.0"),
        (TrainSettings(warmup=2.0), "--warmup is 2.0: expected at most 1"),
        (EvaluateSettings(memory=0), "--memory is 0"),
        (SPGANSettings(blocks=0), "--blocks is 0"),
        (SPGANSettings(identity=-1.0), "--identity is -1.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_number_that_makes_no_sense_is_named_as_its_option(settings: Any, option: str) -> None:
    assert option in message_of(lambda: check_settings(SpaceSettings(), settings))


def test_zero_is_allowed_where_it_means_off() -> None:
    check_settings(
        SearchSettings(momentum=0, weights_decay=0, alphas_decay=0, margin=0, balance=0),
        SpaceSettings(dropout=0),
        TrainSettings(warmup=0, decay=0),
    )
    check_settings(SearchSettings(balance=1, steps=None), SPGANSettings(cycle=0, identity=0, similarity=0, pool=0))
