"""The built-in data: the same bytes every time, in the real layouts, never on top of other data."""

import dataclasses
import errno
import hashlib
import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from nasda.data.datasets import Side
from nasda.data.domain import DISTRACTOR, JUNK, Sample, cameras, identities
from nasda.data.look import MARKET, look, mean_look
from nasda.data.task import load_task
from nasda.errors import NasdaError
from nasda.settings import TASK_NAMES, Style, TaskName, ToySettings
from nasda.toy import make as toy
from tests.data import layouts

SMALL = ToySettings(source_identities=6, target_identities=5, test_identities=4, images_per_camera=2)
TINY = ToySettings(source_identities=2, target_identities=2, test_identities=2, images_per_camera=1)
CLEARLY_NEARER = {
    "brightness: sd",
    "brightness: share of cameras",
    "brightness: share of identities",
    "middle's brightness: share of identities",
    "same identity, same camera: mean",
    "same identity, other camera: mean",
    "other identity, other camera: mean",
    "power above half Nyquist",
}
SIZE = {"person": (32, 16), "vehicle": (32, 32)}


def make(root: Path, task: TaskName, settings: ToySettings = SMALL, processes: int = 1) -> Path:
    height, width = SIZE[task]
    toy.make_toy(root, task, height=height, width=width, settings=settings, processes=processes)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tasks, for reading only."""
    folder = tmp_path_factory.mktemp("toy")
    for task in TASK_NAMES:
        make(folder, task)
    return folder


# ------------------------------------------------------------------------------------------------------- determinism


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.usefixtures("global_rng_untouched")
def test_the_same_arguments_give_the_same_bytes(task: TaskName, root: Path, tmp_path: Path) -> None:
    again = contents(make(tmp_path, task))
    assert again == {name: data for name, data in contents(root).items() if name in again}
    assert {name.split("/")[0] for name in again} == set(toy.FOLDERS[task])


def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    alone = contents(make(tmp_path / "alone", "vehicle", TINY))
    assert contents(make(tmp_path / "together", "vehicle", TINY, processes=2)) == alone


def test_another_world_has_other_people_and_another_gap_another_target_only(tmp_path: Path) -> None:
    here = contents(make(tmp_path / "here", "person", TINY))
    elsewhere = contents(make(tmp_path / "elsewhere", "person", dataclasses.replace(TINY, world=1)))
    closer = contents(make(tmp_path / "closer", "person", dataclasses.replace(TINY, gap=0.5)))
    images = [name for name in here if name.endswith(".jpg")]
    assert not any(here[name] == elsewhere.get(name) for name in images)
    assert all((here[name] == closer[name]) == name.startswith("PersonX") for name in images)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_an_image_on_disk_is_what_render_draws(task: TaskName, root: Path) -> None:
    sample = load_task(task, root).source.train[0]
    height, width = SIZE[task]
    drawn = toy.render(task, sample.pid, sample.camid, 0, domain=toy.SOURCE, gap=0.0, height=height, width=width)
    assert drawn.shape == (height, width, 3)
    assert drawn.dtype == np.uint8
    with Image.open(sample.path) as image:
        assert np.abs(np.asarray(image, dtype=float) - drawn).mean() < 10  # what JPEG loses, most of it in colour


# ------------------------------------------------------------------------------------------------------------ layout


@pytest.mark.parametrize("task", TASK_NAMES)
def test_the_readers_of_the_real_data_read_it(task: TaskName, root: Path) -> None:
    read = load_task(task, root)
    assert identities(read.source.train) == list(range(1, SMALL.source_identities + 1))
    assert len(identities(read.target.train)) == SMALL.target_identities
    assert len(identities(read.target.query)) == SMALL.test_identities
    for domain in (read.source, read.target):
        assert not {sample.pid for sample in domain.train} & {sample.pid for sample in domain.query + domain.gallery}
        assert set(identities(domain.query)) <= set(identities(domain.gallery))
    for sample in read.target.query:  # each has been seen by another camera too
        assert any(other.pid == sample.pid and other.camid != sample.camid for other in read.target.gallery)
    with Image.open(read.target.query[0].path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", SIZE[task][::-1])


@pytest.mark.parametrize(
    ("folders", "pattern"),
    [
        ("PersonX/{bounding_box_train,query,bounding_box_test}", r"\d{4}_c(3|4|8|10|11|12)s1_([1-9]|[1-3]\d|0\d)\.jpg"),
        ("Market-1501-v15.09.15/{bounding_box_train,query}", r"(?!0000)\d{4}_c[1-6]s\d_\d{6}_\d{2}\.jpg"),
        ("Market-1501-v15.09.15/{bounding_box_test}", r"(\d{4}|-1)_c[1-6]s\d_\d{6}_\d{2}\.jpg"),
        ("VeRi/{image_train,image_query,image_test}", r"\d{4}_c0(0[1-9]|1\d|20)_\d{8}_\d\.jpg"),
        ("AIC20_ReID_Simulation/{image_train}", r"\d{4}_c0(0[6-9]|[12]\d|3[0-6])_\d+\.jpg"),
    ],
)
def test_names_are_those_of_the_real_data(root: Path, folders: str, pattern: str) -> None:
    dataset, inside = folders.rstrip("}").split("/{")
    for folder in inside.split(","):
        found = names(root / dataset / folder)
        assert found
        assert [name for name in found if not re.fullmatch(pattern, name)] == []


def test_market_has_distractors_and_junk_in_its_gallery_only(root: Path) -> None:
    market = load_task("person", root).target
    assert {JUNK, DISTRACTOR} <= {sample.pid for sample in market.gallery}
    assert not {JUNK, DISTRACTOR} & {sample.pid for sample in market.query + market.train}


def test_source_cameras_are_neither_contiguous_nor_all_of_one_digit(root: Path) -> None:
    for task in TASK_NAMES:
        found = cameras(load_task(task, root).source.train)
        assert found != list(range(found[0], found[0] + len(found)))
        assert found[0] < 10 <= found[-1]


def test_veri_indices_say_what_the_camera_rule_says(root: Path) -> None:
    """By brute force: gt lists the same identity before other cameras, jk before the same; both count from 1."""
    veri = root / "VeRi"
    queries, gallery = lines(veri / "name_query.txt"), lines(veri / "name_test.txt")
    right, junk = lines(veri / "gt_index.txt"), lines(veri / "jk_index.txt")
    assert len(queries) == len(right) == len(junk) > 0
    for query, gt, jk in zip(queries, right, junk, strict=True):
        pid, camid = query.split("_")[:2]
        same = [(i, name) for i, name in enumerate(gallery, start=1) if name.split("_")[0] == pid]
        assert [int(word) for word in gt.split()] == [i for i, name in same if name.split("_")[1] != camid]
        assert [int(word) for word in jk.split()] == [i for i, name in same if name.split("_")[1] == camid]


def test_veri_has_every_query_in_its_gallery_too(root: Path) -> None:
    veri = root / "VeRi"
    for name in names(veri / "image_query"):
        assert (veri / "image_query" / name).read_bytes() == (veri / "image_test" / name).read_bytes()


@pytest.mark.parametrize(
    ("dataset", "split", "encoding"),
    [("VeRi", "train", "gb2312"), ("VeRi", "test", "gb2312"), ("AIC20_ReID_Simulation", "train", "utf-8")],
)
def test_label_files_agree_with_the_names(root: Path, dataset: str, split: str, encoding: str) -> None:
    text = (root / dataset / f"{split}_label.xml").read_bytes().decode(encoding)
    declaration, _, body = text.partition("\n")
    assert f'encoding="{encoding}"' in declaration
    items = list(ElementTree.fromstring(body).iter("Item"))
    assert sorted(item.attrib["imageName"] for item in items) == names(root / dataset / f"image_{split}")
    for item in items:
        assert item.attrib["imageName"].startswith(f"{item.attrib['vehicleID']}_{item.attrib['cameraID']}_")
        assert 1 <= int(item.attrib["colorID"]) <= 10
        assert 1 <= int(item.attrib["typeID"]) <= 9
    listed = lines(root / dataset / f"name_{split}.txt")
    assert sorted(listed) == names(root / dataset / f"image_{split}")


# --------------------------------------------------------------------------------------------------------------- gap


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.parametrize("style", get_args(Style))
@pytest.mark.parametrize("who", [1, 2, 3])
def test_the_gap_changes_a_picture_smoothly(task: TaskName, who: int, style: Style) -> None:
    camid = toy.CAMERAS[task][toy.TARGET][who]
    gaps = np.linspace(0, 1, 21)
    sweep = [
        toy.render(task, who, camid, gap=float(gap), height=64, width=48, style=style).astype(float) for gap in gaps
    ]
    steps = [np.abs(b - a).mean() for a, b in pairwise(sweep)]
    whole = np.abs(sweep[-1] - sweep[0]).mean()
    assert whole > 12
    assert max(steps) < 0.25 * whole  # no step does what five should do
    assert max(steps) < {"street": 5, "campus": 10}[style]  # a campus turns the figure too


@pytest.mark.parametrize("task", TASK_NAMES)
def test_without_a_gap_the_styles_are_one(task: TaskName) -> None:
    camid = toy.CAMERAS[task][toy.TARGET][2]
    street, campus = (
        [toy.render(task, 1, camid, gap=gap, height=32, width=16, style=style) for gap in (0, 0.1, 1)]
        for style in get_args(Style)
    )
    assert np.array_equal(street[0], campus[0])
    assert not np.array_equal(street[1], campus[1])
    assert not np.array_equal(street[2], campus[2])


# ------------------------------------------------------------------------------------------------------------- style


@pytest.mark.parametrize(("task", "expected"), [("person", "dbf09142fd4b8a59"), ("vehicle", "fd83e9b121e97ab1")])
def test_the_street_is_drawn_as_before_there_was_a_campus(task: TaskName, expected: str) -> None:
    """The hash of pictures and JPEG files, taken before. Where another Pillow draws otherwise, take it anew."""
    digest = hashlib.sha256()
    for domain in (toy.SOURCE, toy.TARGET):
        for gap in (0.0, 0.5, 1.0):
            for number, camid in enumerate(toy.CAMERAS[task][domain]):
                for badly_cropped in (False, True):
                    where = (domain, gap, 48, 32, 1, badly_cropped, "street")
                    pixels, jpeg = toy._picture(task, number, camid, number, *where)  # type: ignore[arg-type]
                    digest.update(pixels.tobytes())
                    digest.update(jpeg)
    assert digest.hexdigest()[:16] == expected


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_campus_is_deterministic_with_any_number_of_processes(task: TaskName, tmp_path: Path) -> None:
    campus = dataclasses.replace(TINY, style="campus")
    alone = contents(make(tmp_path / "alone", task, campus))
    assert contents(make(tmp_path / "together", task, campus, processes=2)) == alone
    street = contents(make(tmp_path / "street", task, TINY))
    source = toy.FOLDERS[task][toy.SOURCE]
    images = [name for name in street if name.endswith(".jpg")]
    assert all((street[name] == alone[name]) == name.startswith(source) for name in images)


def test_data_made_before_there_were_styles_is_a_street(tmp_path: Path) -> None:
    before = contents(make(tmp_path, "person", TINY))
    for marker in tmp_path.glob(f"*/{toy.MARKER}"):
        entries = json.loads(marker.read_text())
        del entries["style"]
        marker.write_text(json.dumps(entries))
    make(tmp_path, "person", TINY)  # the same data
    with pytest.raises(NasdaError, match="made with style = street, not campus"):
        make(tmp_path, "person", dataclasses.replace(TINY, style="campus"))
    assert contents(tmp_path).keys() == before.keys()


def test_a_campus_is_nearer_to_real_images_than_a_street(tmp_path: Path) -> None:
    """Beyond what forty people of two worlds leave to chance: light, and the distances of colours."""
    settings = ToySettings(source_identities=2, target_identities=40, test_identities=2)
    off = {}
    for style in get_args(Style):
        looks = []
        for world in range(2):
            root = tmp_path / f"{style}-{world}"
            chosen = dataclasses.replace(settings, style=style, world=world)
            toy.make_toy(root, "person", height=64, width=32, settings=chosen, only="target")
            looks.append(look(load_task("person", root).target.train))
        found = mean_look(looks)
        off[style] = {name: abs(found[name] - real) for name, real in MARKET.items()}
    nearer = {name for name in MARKET if off["campus"][name] < off["street"][name]}
    assert nearer >= CLEARLY_NEARER
    assert len(nearer) >= 18  # of the 26 figures


# ------------------------------------------------------------------------------------------------------------- looks


def histogram(sample: Sample) -> np.ndarray:
    """Which colours are where: 4 values a channel, in each of four stripes from top to bottom; only for this test."""
    with Image.open(sample.path) as image:
        stripes = np.array_split(np.asarray(image.convert("RGB")) // 64, 4)
    codes = [(stripe @ np.array([16, 4, 1])).ravel() for stripe in stripes]
    return np.sqrt(np.concatenate([np.bincount(code, minlength=64) / code.size for code in codes]))


@pytest.mark.parametrize("task", TASK_NAMES)
def test_one_identity_looks_more_alike_than_two(task: TaskName, root: Path) -> None:
    described = [(sample.pid, histogram(sample)) for sample in load_task(task, root).source.train]
    alike: dict[bool, list[float]] = {True: [], False: []}
    for (one, a), (other, b) in combinations(described, 2):
        alike[one == other].append(float(a @ b))
    assert np.mean(alike[True]) > np.mean(alike[False]) + 0.05


def test_nobody_lives_in_both_domains_or_twice() -> None:
    people = [toy.person(0, domain, who) for domain in (toy.SOURCE, toy.TARGET) for who in range(200)]
    vehicles = [toy.vehicle(0, domain, who) for domain in (toy.SOURCE, toy.TARGET) for who in range(200)]
    assert len(set(people)) == len(people)
    assert len(set(vehicles)) == len(vehicles)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_front_is_not_a_back(task: TaskName) -> None:
    """Cameras 0 and 1 look at the front and at the back."""
    front, back = (
        np.mean(
            [toy.render(task, who, camid, domain=toy.SOURCE, gap=0.0, height=64, width=48) for who in range(12)], axis=0
        )
        for camid in toy.CAMERAS[task][toy.SOURCE][:2]
    )
    assert np.abs(front - back).max() > 20


# --------------------------------------------------------------------------------------------- what is there already


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_second_call_touches_nothing(task: TaskName, tmp_path: Path) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.rglob("*"))}

    make(tmp_path, task, TINY)
    before = state()
    make(tmp_path, task, TINY)
    assert state() == before


@pytest.mark.parametrize("change", [{"gap": 0.5}, {"world": 7}, {"images_per_camera": 3}, {"style": "campus"}])
def test_other_parameters_never_mix_with_what_is_there(change: dict[str, Any], tmp_path: Path) -> None:
    before = contents(make(tmp_path, "person", TINY))
    (name, value), *_ = change.items()
    with pytest.raises(NasdaError, match=rf"made with {name} = .*, not {value}.*delete the folder.*") as error:
        make(tmp_path, "person", dataclasses.replace(TINY, **change))
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


def test_a_folder_that_may_hold_real_data_is_left_alone(tmp_path: Path) -> None:
    real = tmp_path / "Market-1501-v15.09.15" / "query"
    real.mkdir(parents=True)
    (real / "0001_c1s1_001051_00.jpg").write_bytes(b"real")
    with pytest.raises(NasdaError, match=r"not made by nasda, perhaps real data"):
        make(tmp_path, "person", TINY)
    assert list(contents(tmp_path).values()) == [b"real"]
    assert names(tmp_path) == ["Market-1501-v15.09.15"]


@pytest.mark.parametrize("name", ["Market-1501-v15.09.15", "Market"])
def test_the_source_alone_is_drawn_beside_a_real_target(name: str, root: Path, tmp_path: Path) -> None:
    target = layouts.market1501(tmp_path / name)
    before = contents(target)
    with pytest.raises(NasdaError, match="not made by nasda") as error:
        make(tmp_path, "person", TINY)
    assert str(error.value).startswith(f"{target}: ")
    assert f"nasda data make --task person --only source --data-root {tmp_path}" in str(error.value)
    assert names(tmp_path) == [name]
    for _ in range(2):
        toy.make_toy(tmp_path, "person", height=32, width=16, settings=SMALL, only="source")
        assert names(tmp_path) == sorted([name, "PersonX"])
        assert contents(tmp_path / "PersonX") == contents(root / "PersonX")
        assert contents(target) == before
    assert len(load_task("person", tmp_path).target.query) == len(layouts.MARKET_QUERY)


def test_the_target_alone_and_then_the_source_are_the_whole(root: Path, tmp_path: Path) -> None:
    sides: tuple[Side, Side] = ("target", "source")
    for only in sides:
        toy.make_toy(tmp_path, "vehicle", height=32, width=32, settings=SMALL, only=only)
    for folder in toy.FOLDERS["vehicle"]:
        assert contents(tmp_path / folder) == contents(root / folder)


def test_the_marker_tells_how_it_was_drawn(root: Path) -> None:
    for folder in (*toy.FOLDERS["person"], *toy.FOLDERS["vehicle"]):
        told = json.loads((root / folder / toy.MARKER).read_text())
        assert (told["gap"], told["world"], told["height"]) == (1.0, 0, 32)


# ------------------------------------------------------------------------------------------------------------- wrong


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 0
    write_bytes = Path.write_bytes

    def full_disk(path: Path, data: bytes) -> int:
        nonlocal drawn
        drawn += 1
        if drawn > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(NasdaError, match="the disk is full") as error:
        make(tmp_path / "new", "person", TINY)
    assert "\n" not in str(error.value)
    assert drawn == 10
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(toy, "to_jpeg", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "vehicle", TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gap": 1.5}, "gap is 1.5"),
        ({"gap": -0.1}, "gap is -0.1"),
        ({"gap": float("nan")}, "gap is nan"),
        ({"source_identities": 0}, "source-identities is 0"),
        ({"target_identities": -3}, "target-identities is -3"),
        ({"test_identities": 0}, "test-identities is 0"),
        ({"images_per_camera": 0}, "images-per-camera is 0"),
        ({"images_per_camera": 36}, "--images-per-camera is 36: expected at most 35"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, float], said: str, tmp_path: Path) -> None:
    with pytest.raises(NasdaError, match=re.escape(said)):
        make(tmp_path / "new", "person", dataclasses.replace(TINY, **settings))  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_images_too_small_to_show_anything(tmp_path: Path) -> None:
    with pytest.raises(NasdaError, match="15×64 pixels: expected at least 16×16"):
        toy.make_toy(tmp_path, "person", height=15, width=64)
    with pytest.raises(NasdaError, match="64×8 pixels"):
        toy.render("person", 1, 1, height=64, width=8)


def test_render_says_which_gaps_and_cameras_there_are() -> None:
    with pytest.raises(NasdaError, match="gap is 2"):
        toy.render("person", 1, 1, gap=2)
    with pytest.raises(NasdaError, match=re.escape("no camera 7: expected one of (1, 2, 3, 4, 5, 6)")):
        toy.render("person", 1, 7)
