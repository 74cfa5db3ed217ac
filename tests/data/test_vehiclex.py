"""nasda.data.datasets, VehicleX: the source of the vehicle task."""

from pathlib import Path

import pytest

from nasda.data.datasets import DATASETS
from nasda.data.domain import cameras, identities
from tests.data import layouts
from tests.data.test_reading import message_of

VEHICLEX = DATASETS["vehiclex"]


def test_training_images_and_no_test(tmp_path: Path) -> None:
    layouts.vehiclex(tmp_path / "AIC20_ReID_Simulation")
    domain = VEHICLEX.read(tmp_path)
    assert domain.name == "VehicleX"
    assert (len(domain.train), domain.query, domain.gallery) == (4, [], [])
    assert identities(domain.train) == [1, 1362]
    assert cameras(domain.train) == [6, 7, 8, 36]


def test_the_generator_writes_five_digits_in_names_and_four_in_labels(tmp_path: Path) -> None:
    names = ["00001_c001_1.jpg", "00001_c002_2.jpg", "01362_c001_3.jpg"]
    root = tmp_path / "VehicleX_VeRi"
    layouts.images(root / "VeRi_ReID_Simulation", names)
    items = [layouts.item(name, vehicleID=name[1:5]) for name in names]
    layouts.label_file(root / "VeRi_label.xml", items, "utf-8")
    assert identities(VEHICLEX.read(tmp_path).train) == [1, 1362]
    layouts.label_file(root / "VeRi_label.xml", [layouts.item(names[0], vehicleID="0007")], "utf-8")
    assert "VeRi_label.xml says 7" in message_of(lambda: VEHICLEX.read(tmp_path))


def test_the_folder_name_of_2021(tmp_path: Path) -> None:
    layouts.images(tmp_path / "AIC21" / "AIC21_Track2_ReID_Simulation" / "sys_image_train", layouts.VEHICLEX_TRAIN)
    assert len(VEHICLEX.read(tmp_path).train) == 4


def test_identity_zero_is_a_car_like_any_other_and_junk_is_not(tmp_path: Path) -> None:
    layouts.images(tmp_path / "VehicleX" / "image_train", ["0000_c001_1.jpg", "0001_c001_1.jpg", "-1_c001_1.jpg"])
    assert [sample.pid for sample in VEHICLEX.read(tmp_path).train] == [0, 1]


@pytest.mark.parametrize("lost", ["name_train.txt", "train_label.xml"])
def test_the_lists_are_optional(lost: str, tmp_path: Path) -> None:
    root = layouts.vehiclex(tmp_path / "VehicleX")
    (root / lost).unlink()
    assert len(VEHICLEX.read(tmp_path).train) == 4


def test_a_half_copied_folder_is_noticed(tmp_path: Path) -> None:
    root = layouts.vehiclex(tmp_path / "VehicleX")
    missing = root / "image_train" / layouts.VEHICLEX_TRAIN[2]
    missing.unlink()
    assert f"{missing}: no such file" in message_of(lambda: VEHICLEX.read(tmp_path))
