"""nasda.data.domain: a fingerprint tells data from other data, and knows a copy."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from nasda.data.datasets import DATASETS
from nasda.data.domain import TOY_MARKER, Domain, fingerprint
from nasda.data.task import load_task
from nasda.errors import NasdaError
from nasda.runs import seen
from nasda.settings import ToySettings
from nasda.toy.make import make_toy

SPLITS = ("train", "query", "gallery")
TOY = ToySettings(source_identities=3, target_identities=3, test_identities=3, images_per_camera=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_toy(folder, "person", height=32, width=16, settings=TOY, processes=1)
    return folder


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "copy"))


def target(root: Path) -> Domain:
    return DATASETS["market1501"].read(root)


def test_a_copy_of_another_time_is_the_same_data(root: Path, copy: Path) -> None:
    for path in copy.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert fingerprint(target(copy), *SPLITS) == fingerprint(target(root), *SPLITS)


def test_it_names_the_data_set_and_counts_its_images(root: Path) -> None:
    name, count, digest = fingerprint(target(root), "query").split(", ")
    assert (name, count) == (target(root).name, f"{len(target(root).query)} images")
    assert len(digest) == 16


def spoil(copy: Path, how: str) -> None:
    image = sorted((copy / target(copy).root.name / "bounding_box_train").glob("*.jpg"))[0]
    if how == "another size":
        image.write_bytes(image.read_bytes() + b"x")
    elif how == "gone":
        image.unlink()
    elif how == "another camera":
        camera = image.name.index("_c") + 2
        image.rename(image.with_name(f"{image.name[:camera]}6{image.name[camera + 1 :]}"))


@pytest.mark.parametrize("how", ["another size", "gone", "another camera"])
def test_a_change_of_one_image_is_seen_in_its_split_alone(root: Path, copy: Path, how: str) -> None:
    spoil(copy, how)
    assert fingerprint(target(copy), "train") != fingerprint(target(root), "train")
    assert fingerprint(target(copy), "query", "gallery") == fingerprint(target(root), "query", "gallery")


def test_other_labels_are_other_data(root: Path) -> None:
    domain = target(root)
    relabelled = dataclasses.replace(domain, train=[s._replace(pid=s.pid + 1) for s in domain.train])
    assert fingerprint(relabelled, "train") != fingerprint(domain, "train")


def test_the_order_of_the_images_does_not_matter(root: Path) -> None:
    domain = target(root)
    assert fingerprint(dataclasses.replace(domain, train=domain.train[::-1]), "train") == fingerprint(domain, "train")


def test_an_image_that_is_missing_is_named(copy: Path) -> None:
    domain = target(copy)
    domain.train[1].path.unlink()
    with pytest.raises(NasdaError, match=f"{domain.train[1].path.name}: an image expected here"):
        fingerprint(domain, "train")


def test_a_run_saw_the_sides_that_it_names(root: Path) -> None:
    task = load_task("person", root)
    assert seen(task, "source") == {"source": fingerprint(task.source, "train")}
    assert set(seen(task, "source", "target")) == {"source", "target"}


def test_drawn_images_do_not_bear_the_name_of_real_ones_alone(tmp_path: Path) -> None:
    domain = Domain("Market-1501", tmp_path, [], [], [])
    assert domain.title == "Market-1501"
    (tmp_path / TOY_MARKER).touch()
    assert domain.title == "drawn, in the layout of Market-1501"
