"""nasda.data.datasets, Market-1501: the target of the person task."""

from pathlib import Path

import pytest

from nasda.data.datasets import DATASETS
from nasda.data.domain import DISTRACTOR, JUNK, Sample, cameras, identities
from tests.data import layouts
from tests.data.test_reading import message_of

MARKET = DATASETS["market1501"]


def test_every_split_is_read(tmp_path: Path) -> None:
    root = layouts.market1501(tmp_path / "Market-1501-v15.09.15")
    domain = MARKET.read(tmp_path)
    assert domain.name == "Market-1501"
    assert domain.query == [
        Sample(root / "query" / "0001_c1s1_001051_00.jpg", 1, 1),
        Sample(root / "query" / "0003_c4s6_015641_00.jpg", 3, 4),
    ]
    assert identities(domain.train) == [2, 7, 1488]
    assert cameras(domain.train) == [1, 2, 3, 6]
    assert {sample.path.parent.name for sample in domain.gallery} == {"bounding_box_test"}


def test_names_with_a_double_extension_are_images(tmp_path: Path) -> None:
    layouts.market1501(tmp_path / "Market-1501")
    names = [sample.path.name for sample in MARKET.read(tmp_path).train]
    assert "1488_c1s6_011321_01.jpg.jpg" in names


def test_what_is_not_an_image_is_passed_over(tmp_path: Path) -> None:
    root = layouts.market1501(tmp_path / "Market-1501")
    assert (root / "query" / "Thumbs.db").exists()
    domain = MARKET.read(tmp_path)
    assert [len(split) for split in (domain.train, domain.query, domain.gallery)] == [6, 2, 6]


def test_the_gallery_keeps_junk_and_distractors(tmp_path: Path) -> None:
    layouts.market1501(tmp_path / "Market-1501")
    pids = [sample.pid for sample in MARKET.read(tmp_path).gallery]
    assert pids.count(JUNK) == 2
    assert pids.count(DISTRACTOR) == 1


def test_training_leaves_out_junk_and_distractors(tmp_path: Path) -> None:
    train = layouts.market1501(tmp_path / "Market-1501") / "bounding_box_train"
    layouts.images(train, ["-1_c1s1_000401_03.jpg", "0000_c2s1_000151_01.jpg"])
    domain = MARKET.read(tmp_path)
    assert identities(domain.train) == [2, 7, 1488]
    assert len(domain.train) == 6


def test_training_on_nobody_is_an_error(tmp_path: Path) -> None:
    root = layouts.market1501(tmp_path / "Market-1501")
    (root / "bounding_box_train").rename(root / "away")
    layouts.images(root / "bounding_box_train", ["0000_c1s1_000151_01.jpg"])
    assert str(root / "bounding_box_train") in message_of(lambda: MARKET.read(tmp_path))


@pytest.mark.parametrize(
    "lacking", [["bounding_box_train"], ["query"], ["bounding_box_test"], ["query", "bounding_box_test"]]
)
def test_all_three_splits_are_needed(lacking: list[str], tmp_path: Path) -> None:
    root = layouts.market1501(tmp_path / "Market-1501")
    for name in lacking:
        (root / name).rename(root / f"no {name}")
    assert f"{root / lacking[0]}: no such folder" in message_of(lambda: MARKET.read(tmp_path))
