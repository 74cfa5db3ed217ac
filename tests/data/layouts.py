"""Tiny trees in the real data sets' own layouts, oddities included, made without nasda's own renderer.

Each maker writes the data set into the folder that it is given, and returns it.
"""

import io
import random
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

MARKET_TRAIN = (
    "0002_c1s1_000451_03.jpg",
    "0002_c2s1_000801_01.jpg",
    "0007_c3s3_077419_03.jpg",
    "0007_c6s3_077467_05.jpg",
    "1488_c1s6_011321_01.jpg.jpg",  # the real data set has such names
    "1488_c3s3_089428_01.jpg",
)
MARKET_QUERY = ("0001_c1s1_001051_00.jpg", "0003_c4s6_015641_00.jpg")
MARKET_GALLERY = (
    "-1_c1s1_000401_03.jpg",  # junk
    "-1_c5s1_000401_04.jpg",
    "0000_c2s1_000151_01.jpg",  # distractor
    "0001_c1s1_001051_03.jpg",
    "0001_c2s1_000301_01.jpg",
    "0003_c1s6_015971_02.jpg",
)
VERI_TRAIN = (
    "0001_c001_00016450_0.jpg",
    "0001_c020_00016460_0.jpg",
    "0003_c002_00034170_0.jpg",
    "0003_c003_00034180_0.jpg",
)
VERI_QUERY = ("0002_c002_00030600_0.jpg", "0005_c003_00077625_0.jpg")
VERI_GALLERY = (*VERI_QUERY, "0002_c004_00084250_0.jpg", "0005_c019_00078000_0.jpg")
VEHICLEX_TRAIN = ("0001_c006_1.jpg", "0001_c036_2.jpg", "1362_c007_1.jpg", "1362_c008_2.jpg")
PERSONX_TRAIN = ("0001_c3s1_1.jpg", "0001_c12s1_33.jpg", "0410_c4s1_7.jpg", "0410_c10s1_8.jpg")
PERSONX_QUERY = ("0411_c3s1_1.jpg", "1266_c11s1_5.jpg")
PERSONX_GALLERY = ("0411_c3s1_9.jpg", "0411_c12s1_3.jpg", "1266_c8s1_5.jpg")


def jpeg(number: int = 0, size: tuple[int, int] = (4, 8)) -> bytes:
    """A valid JPEG of noise, by default tiny; another one for another number."""
    file = io.BytesIO()
    noise = random.Random(number).randbytes(size[0] * size[1] * 3)
    Image.frombytes("RGB", size, noise).save(file, "JPEG")
    return file.getvalue()


def images(folder: Path, names: Iterable[str]) -> Path:
    """A folder of such images, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(jpeg(number))
    return folder


def clutter(folder: Path) -> None:
    """What lies in real image folders besides the images."""
    for name in ("Thumbs.db", "readme.txt", "0002_c1s1_000451_03.mat", ".DS_Store", "._0002_c1s1_000451_03.jpg"):
        (folder / name).write_bytes(b"\0not an image")
    (folder / "0009_c1s1_000001_00.jpg").mkdir(exist_ok=True)  # a folder, whatever its name says


def market1501(folder: Path) -> Path:
    """Market-1501 as `Market-1501-v15.09.15.zip` unpacks."""
    images(folder / "bounding_box_train", MARKET_TRAIN)
    images(folder / "query", MARKET_QUERY)
    images(folder / "bounding_box_test", MARKET_GALLERY)
    images(folder / "gt_bbox", ["0001_c1s1_001051_00.jpg"])
    (folder / "gt_query").mkdir()
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        clutter(folder / split)
    (folder / "readme.txt").write_text("about")
    return folder


def label_file(path: Path, items: Iterable[dict[str, str]], encoding: str = "gb2312") -> Path:
    """A VeRi-776 label file; its real declaration is the one that ElementTree cannot parse."""
    lines = [f'<?xml version="1.0" encoding="{encoding}"?>', '<TrainingImages Version="1.0">', '<Items number="0">']
    lines += ["<Item " + " ".join(f'{key}="{value}"' for key, value in item.items()) + " />" for item in items]
    lines += ["</Items>", "</TrainingImages>"]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return path


def item(name: str, **attributes: str) -> dict[str, str]:
    """The label of the image `name`, as its name says unless `attributes` say otherwise."""
    pid, camera = name.split("_")[:2]
    return {"imageName": name, "vehicleID": pid, "cameraID": camera, "colorID": "1", "typeID": "4", **attributes}


def veri776(folder: Path, labels: bool = True) -> Path:
    """VeRi-776: three image folders, the name lists (Windows line ends), and the label files unless left out."""
    for split, names in (("train", VERI_TRAIN), ("query", VERI_QUERY), ("test", VERI_GALLERY)):
        clutter(images(folder / f"image_{split}", names))
        (folder / f"name_{split}.txt").write_bytes("\r\n".join([*names, ""]).encode())
    (folder / "gt_index.txt").write_text("3 \n4 \n")
    (folder / "jk_index.txt").write_text("1 \n2 \n")
    if labels:
        label_file(folder / "train_label.xml", [item(name, brand="奥迪") for name in VERI_TRAIN])
        label_file(folder / "test_label.xml", [item(name) for name in VERI_GALLERY])
    return folder


def vehiclex(folder: Path) -> Path:
    """VehicleX as AI City 2020 ships it: training images only."""
    images(folder / "image_train", VEHICLEX_TRAIN)
    (folder / "name_train.txt").write_text("\n".join(VEHICLEX_TRAIN))
    label_file(folder / "train_label.xml", [item(name, orientation="54.2") for name in VEHICLEX_TRAIN])
    return folder


def personx(folder: Path) -> Path:
    """PersonX as one tree, with the counts of the paper."""
    images(folder / "bounding_box_train", PERSONX_TRAIN)
    images(folder / "query", PERSONX_QUERY)
    images(folder / "bounding_box_test", PERSONX_GALLERY)
    return folder


def personx_backgrounds(folder: Path, backgrounds: Iterable[str] = ("1", "2", "3", "4", "5", "6")) -> Path:
    """PersonX as first published: one tree a background, the same names in each."""
    for background in backgrounds:
        personx(folder / background)
    return folder


def personx_visda(folder: Path) -> Path:
    """PersonX as VisDA-2020 ships it: training images only."""
    images(folder / "image_train", PERSONX_TRAIN)
    return folder
