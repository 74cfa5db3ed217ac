"""nasda.data.reading: what holds for all four readers, mostly shown on Market-1501."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nasda.data.datasets import DATASETS
from nasda.data.domain import Domain, Sample
from nasda.data.reading import read_name_list, sample_of
from nasda.errors import NasdaError
from tests.data import layouts

MARKET = DATASETS["market1501"]
Maker = Callable[[Path], Path]

ALL: list[tuple[Any, Maker, str, str]] = [
    (DATASETS["market1501"], layouts.market1501, "person", "Market-1501"),
    (DATASETS["personx"], layouts.personx, "person", "PersonX"),
    (DATASETS["veri776"], layouts.veri776, "vehicle", "VeRi-776"),
    (DATASETS["vehiclex"], layouts.vehiclex, "vehicle", "VehicleX"),
]
PLACES: list[tuple[Any, Maker, str]] = [
    (DATASETS["market1501"], layouts.market1501, "Market-1501-v15.09.15"),
    (DATASETS["market1501"], layouts.market1501, "market1501"),
    (DATASETS["market1501"], layouts.market1501, "Market1501"),
    (DATASETS["market1501"], layouts.market1501, "MARKET_1501"),
    (DATASETS["market1501"], layouts.market1501, "market1501/Market-1501-v15.09.15"),
    (DATASETS["market1501"], layouts.market1501, "Market-1501-v15.09.15/Market-1501-v15.09.15"),
    (DATASETS["personx"], layouts.personx, "PersonX"),
    (DATASETS["personx"], layouts.personx, "personx/subset1"),
    (DATASETS["personx"], layouts.personx_backgrounds, "PersonX_v1"),
    (DATASETS["personx"], layouts.personx_visda, "challenge_datasets/personX"),
    (DATASETS["veri776"], layouts.veri776, "VeRi"),
    (DATASETS["veri776"], layouts.veri776, "veri-776"),
    (DATASETS["veri776"], layouts.veri776, "VeRi776"),
    (DATASETS["veri776"], layouts.veri776, "veri/VeRi_with_plate"),
    (DATASETS["vehiclex"], layouts.vehiclex, "AIC20_ReID_Simulation"),
    (DATASETS["vehiclex"], layouts.vehiclex, "VehicleX"),
    (DATASETS["vehiclex"], layouts.vehiclex, "AIC20_track2/AIC20_ReID_Simulation"),
    (DATASETS["vehiclex"], layouts.vehiclex, "AIC20_track2_reid_simulation/AIC20_track2/AIC20_ReID_Simulation"),
]


def message_of(call: Callable[[], object]) -> str:
    """The one line of the `NasdaError` that `call` raises."""
    with pytest.raises(NasdaError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("reader", "make", "place"), PLACES)
def test_the_folder_is_found_by_the_names_people_have(reader: Any, make: Maker, place: str, tmp_path: Path) -> None:
    folder = make(tmp_path / place)
    domain: Domain = reader.read(tmp_path)
    assert domain.root == folder
    assert domain.train
    assert reader.read(folder).train == domain.train  # the data root may be the data set's own folder


@pytest.mark.parametrize(("reader", "make", "task", "dataset"), ALL)
def test_data_sets_side_by_side_are_not_mistaken_for_each_other(
    reader: Any, make: Maker, task: str, dataset: str, tmp_path: Path
) -> None:
    for _, other, _, name in ALL:
        if other is not make:
            other(tmp_path / name)
    # AI City's real images lie next to the rendered ones, in a folder with the same marks
    layouts.veri776(tmp_path / "AIC20_track2" / "AIC20_ReID")
    message = message_of(lambda: reader.read(tmp_path))
    assert f"no {dataset} found" in message
    make(tmp_path / dataset)
    assert reader.read(tmp_path).root == tmp_path / dataset


@pytest.mark.parametrize(("reader", "make", "task", "dataset"), ALL)
def test_a_missing_data_set_is_explained(reader: Any, make: Maker, task: str, dataset: str, tmp_path: Path) -> None:
    for root, found in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "expected a folder named")):
        message = message_of(partial(reader.read, root))
        assert str(root) in message
        assert found in message
        assert dataset in message
        assert f"nasda data make --task {task}" in message
        assert "--data-root" in message
    assert reader.layout.folder_names[0] in message
    assert reader.layout.markers[0] in message


def test_a_data_root_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"")
    assert "is a file" in message_of(lambda: MARKET.read(tmp_path / "data.zip"))


def test_an_empty_folder_of_the_right_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "Market-1501").mkdir()
    message = message_of(lambda: MARKET.read(tmp_path))
    assert str(tmp_path / "Market-1501") in message
    assert "bounding_box_train" in message


def test_a_complete_folder_wins_over_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "Market-1501-v15.09.15").mkdir()
    layouts.market1501(tmp_path / "market1501")
    assert MARKET.read(tmp_path).root == tmp_path / "market1501"


def test_two_of_one_data_set_are_refused(tmp_path: Path) -> None:
    first, second = layouts.market1501(tmp_path / "Market"), layouts.market1501(tmp_path / "x" / "Market-1501")
    assert MARKET.read(tmp_path).root == first  # the other lies in a folder of another name
    second = second.rename(tmp_path / "Market-1501-v15.09.15")
    message = message_of(lambda: MARKET.read(tmp_path))
    assert message.startswith(f"{second} and {first}: each is Market-1501: expected one")
    assert MARKET.read(first).root == first
    shutil.rmtree(second)
    second.symlink_to(first)  # the same one by two names
    assert len(MARKET.read(tmp_path).train) == 6


def test_links_are_followed(tmp_path: Path) -> None:
    layouts.market1501(tmp_path / "store" / "x17")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "store" / "x17", tmp_path / "data" / "Market-1501")
    assert len(MARKET.read(tmp_path / "data").train) == 6
    assert len(MARKET.read(tmp_path / "data" / "Market-1501").train) == 6


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    layouts.market1501(tmp_path / "data" / "Market-1501")
    assert MARKET.read(Path("~/data")).train


@pytest.mark.parametrize("split", ["bounding_box_train", "query", "bounding_box_test"])
def test_a_missing_or_empty_image_folder_is_named(split: str, tmp_path: Path) -> None:
    folder = layouts.market1501(tmp_path / "Market-1501") / split
    for file in folder.iterdir():
        if file.is_file() and file.name.endswith(".jpg") and not file.name.startswith("."):
            file.unlink()
    message = message_of(lambda: MARKET.read(tmp_path))
    assert f"{folder}: no image in this folder" in message
    folder.rename(folder.with_name("elsewhere"))
    message = message_of(lambda: MARKET.read(tmp_path))
    assert f"{folder}: no such folder" in message


@pytest.mark.parametrize("name", ["holiday.jpg", "c1s1_000451_03.jpeg", "0002-c1.PNG", "x0002_c1s1.bmp", "0002_cX.jpg"])
def test_an_image_whose_name_carries_no_labels_is_named(name: str, tmp_path: Path) -> None:
    folder = layouts.market1501(tmp_path / "Market-1501")
    (folder / "query" / name).write_bytes(layouts.jpeg())
    message = message_of(lambda: MARKET.read(tmp_path))
    assert str(folder / "query" / name) in message
    assert "<identity>_c<camera>" in message


def test_all_image_kinds_are_read_in_any_case(tmp_path: Path) -> None:
    folder = layouts.market1501(tmp_path / "Market-1501")
    for name in ("0001_c1.JPG", "0001_c2.jpeg", "0001_c3.png", "0001_c4.bmp"):
        (folder / "query" / name).write_bytes(layouts.jpeg())
    assert len(MARKET.read(tmp_path).query) == 2 + 4


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    folder = layouts.market1501(tmp_path / "Market-1501")
    for pid in (30, 4, 100, 21):
        (folder / "bounding_box_train" / f"{pid:04}_c1s1_0_0.jpg").write_bytes(layouts.jpeg())
    names = [sample.path.name for sample in MARKET.read(tmp_path).train]
    assert names == sorted(names)


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = layouts.market1501(tmp_path / "Market-1501") / "query"
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if path == folder:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert f"{folder}: cannot be listed: Permission denied" in message_of(lambda: MARKET.read(tmp_path))


def test_names_are_read_without_a_look_at_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number % 100 + 1:04}_c{number % 30 + 6:03}_{number}.jpg" for number in range(500)]
    folder = tmp_path / "AIC20_ReID_Simulation" / "image_train"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    stat, asked = os.stat, []

    def counting(*arguments: Any, **options: Any) -> os.stat_result:
        asked.append(arguments)
        return stat(*arguments, **options)

    monkeypatch.setattr(os, "stat", counting)
    assert len(DATASETS["vehiclex"].read(tmp_path).train) == 500
    assert 0 < len(asked) < 20  # a look at each of 192,150 files takes minutes on a network disk


def test_a_layout_knows_its_names_however_they_are_written() -> None:
    assert all(MARKET.layout.is_called(name) for name in ("Market-1501-v15.09.15", "market1501", "MARKET"))
    assert not MARKET.layout.is_called("PersonX")


def test_the_labels_of_a_file_need_no_file() -> None:
    assert sample_of(Path("nowhere/0002_c012_1.jpg")) == Sample(Path("nowhere/0002_c012_1.jpg"), 2, 12)


def test_a_name_list_keeps_its_order(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfb.jpg\r\n\r\n a.jpg \r\nb.jpg")
    assert read_name_list(tmp_path / "names.txt") == ["b.jpg", "a.jpg", "b.jpg"]
    assert "cannot be read" in message_of(lambda: read_name_list(tmp_path / "none.txt"))
