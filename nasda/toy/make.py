"""The built-in data: people and vehicles, rendered in the four data sets' own layouts.

A task's source looks like a game engine, its target like a street or a campus; `gap` says how far apart the two are.
Folders and file names are those of PersonX, Market-1501, VehicleX and VeRi-776, so the ordinary reader reads them.
"""

import dataclasses
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np

from nasda.data.datasets import DATASETS, OF_TASK, Side, index_lines
from nasda.data.domain import DISTRACTOR, JUNK, TOY_MARKER, Sample
from nasda.errors import NasdaError
from nasda.files import explain_os_error, make_folder, read_json
from nasda.settings import Style, TaskName, ToySettings, check_settings
from nasda.toy.canvas import Canvas
from nasda.toy.people import Person, Step, draw_person, in_everyday_clothes
from nasda.toy.people import draw_attributes as draw_person_attributes
from nasda.toy.style import STYLES, Camera, Pixels, View, compose, draw_camera, draw_conditions, draw_walk, to_jpeg
from nasda.toy.vehicles import COLOUR_IDS, TYPE_IDS, Vehicle, draw_vehicle
from nasda.toy.vehicles import draw_attributes as draw_vehicle_attributes

MARKER = TOY_MARKER  # holds what the images of its folder were rendered with
DRAWING = 1  # version: raise it when the same arguments give other images than before
SMALLEST = 16  # pixels; in a smaller image nothing can be recognised
VIEWPOINTS = 36  # PersonX turns its people in steps of ten degrees
SOURCE, TARGET = 0, 1

# As in the real data sets: the source's cameras do not start at 1, leave gaps, and have up to two digits.
CAMERAS: dict[TaskName, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "person": ((3, 4, 8, 10, 11, 12), (1, 2, 3, 4, 5, 6)),
    "vehicle": ((6, 9, 16, 22, 29, 36), (1, 2, 4, 8, 13, 20)),
}
FOLDERS: dict[TaskName, tuple[str, str]] = {
    "person": ("PersonX", "Market-1501-v15.09.15"),
    "vehicle": ("AIC20_ReID_Simulation", "VeRi"),
}
SIDES: tuple[Side, Side] = ("source", "target")


@dataclass(frozen=True)
class Shot:
    """One image to render: of whom (`pid` as the data set numbers it; `who` decides the looks), by which camera."""

    path: str  # relative to the data root
    pid: int
    who: int
    camid: int
    number: int
    domain: int

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[1]


class Drawing(NamedTuple):
    """What all images of one `make_toy` share."""

    root: Path
    task: TaskName
    height: int
    width: int
    gap: float
    world: int
    style: Style = "street"


@lru_cache(maxsize=256)
def person(world: int, domain: int, who: int) -> Person:
    """The looks of one person; `domain` 0 is the source, 1 the target: nobody is in both."""
    return draw_person_attributes(np.random.default_rng((world, 0, domain, who)))


@lru_cache(maxsize=256)
def _dressed(world: int, domain: int, who: int, everyday: float) -> Person:
    """The same person in their domain's clothes; see `Strengths`."""
    rng = np.random.default_rng((world, 5, domain, who))
    return in_everyday_clothes(person(world, domain, who), rng, everyday)


@lru_cache(maxsize=256)
def vehicle(world: int, domain: int, who: int) -> Vehicle:
    """The looks of one vehicle; see `person`."""
    return draw_vehicle_attributes(np.random.default_rng((world, 1, domain, who)))


@lru_cache(maxsize=64)
def camera(task: TaskName, world: int, domain: int, camid: int) -> Camera:
    """A camera of a task's source (0) or target (1); raises `NasdaError` where `camid` is not in `CAMERAS`."""
    if camid not in CAMERAS[task][domain]:
        raise NasdaError(f"no camera {camid}: expected one of {CAMERAS[task][domain]}")
    number = CAMERAS[task][domain].index(camid)
    return draw_camera(number, np.random.default_rng((world, 2, domain, camid)))


def render(
    task: TaskName,
    who: int,
    camid: int,
    number: int = 0,
    *,
    domain: int = TARGET,
    gap: float = 1.0,
    height: int = 128,
    width: int = 64,
    world: int = 0,
    badly_cropped: bool = False,
    style: Style = "street",
) -> Pixels:
    """Image `number` of `who` from camera `camid`: uint8 (height, width, 3), the same for the same arguments.

    `who` and `number` may be any number from 0; `camid` is one of `CAMERAS[task][domain]`; each `world` has its people,
    vehicles and cameras. `gap` in [0, 1] moves the same image from a game engine's looks to those of `style`.
    Raises `NasdaError` if the gap, the camera or the size is out of range.
    """
    _check(height, width, gap)
    return _picture(task, who, camid, number, domain, float(gap), height, width, world, badly_cropped, style)[0]


def _picture(
    task: TaskName,
    who: int,
    camid: int,
    number: int,
    domain: int,
    gap: float,
    height: int,
    width: int,
    world: int,
    badly_cropped: bool,
    style: Style,
) -> tuple[Pixels, bytes]:
    """The image, and the same as a JPEG file."""
    rng = np.random.default_rng((world, 3, domain, who, camid, number))
    seen_by, strengths = camera(task, world, domain, camid), STYLES[style]
    walk = draw_walk(np.random.default_rng((world, 6, domain, who, camid)))
    view = View(seen_by, walk, draw_conditions(rng), strengths, gap)
    yaw = seen_by.yaw + rng.normal(0, 14) + gap * strengths.walk_heading * walk.heading
    phase = rng.uniform(0, 2 * np.pi)
    shift_x, shift_y, zoom = rng.normal(0, 0.02), rng.normal(0, 0.015), rng.normal(1, 0.02)
    if badly_cropped:  # as by a detector that found half a body
        shift_x, shift_y, zoom = shift_x + rng.choice((-0.3, 0.3)), shift_y + rng.uniform(-0.5, 0.4), zoom * 1.6
    missed = gap * strengths.shot_crop * rng.standard_normal(3)
    shift_x, shift_y, zoom = shift_x + missed[0], shift_y + missed[1], zoom + missed[2]
    canvas = Canvas(height, width, sun=seen_by.light)
    zoom *= seen_by.zoom * (1 if task == "vehicle" else 0.96)  # hats need some room
    canvas.place(zoom, zoom, shift_x, (1 - zoom) / 2 + shift_y)
    if task == "person":
        draw_person(canvas, _dressed(world, domain, who, gap * strengths.everyday), Step(float(yaw), float(phase)))
    else:
        draw_vehicle(canvas, vehicle(world, domain, who), float(yaw))
    pixels = compose(canvas.finished(), view)
    return pixels, to_jpeg(pixels, view.conditions, gap)


def _write(drawing: Drawing, shots: Iterable[Shot]) -> None:
    for shot in shots:
        gap = drawing.gap if shot.domain == TARGET else 0.0
        where = (shot.domain, gap, drawing.height, drawing.width, drawing.world, shot.pid == JUNK, drawing.style)
        _, jpeg = _picture(drawing.task, shot.who, shot.camid, shot.number, *where)
        (drawing.root / shot.path).write_bytes(jpeg)


def make_toy(
    root: Path,
    task: TaskName,
    *,
    height: int,
    width: int,
    settings: ToySettings = ToySettings(),
    only: Side | None = None,
    processes: int = 1,
) -> None:
    """Render the source and the target of `task` below `root`, or `only` one: images of `height` × `width` pixels.

    The same arguments give the same bytes, with any number of processes. A second call with the same arguments does
    nothing. Raises `NasdaError`, and leaves nothing behind, if an argument is out of range, if `root` holds other data,
    real or built-in, where this would go, or if it cannot be written.
    """
    _check(height, width, settings.gap)
    check_settings(settings)
    if settings.images_per_camera >= VIEWPOINTS:
        raise NasdaError(
            f"--images-per-camera is {settings.images_per_camera}: expected at most {VIEWPOINTS - 1}, "
            f"since PersonX has {VIEWPOINTS} viewpoints and a query takes one"
        )
    root = Path(root)
    parameters = {"drawing": DRAWING, "task": task, "height": height, "width": width, **dataclasses.asdict(settings)}
    folders = [folder for side, folder in zip(SIDES, FOLDERS[task], strict=True) if only in (None, side)]
    if _is_there(root, task, folders, parameters):
        return
    is_new = not root.exists()
    make_folder(root)
    temporary = root
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".toy-{task}-", suffix=".tmp", dir=root))
        drawing = Drawing(temporary, task, height, width, settings.gap, settings.world, settings.style)
        _draw_all(drawing, folders, settings, processes)
        for folder in folders:
            (temporary / folder / MARKER).write_text(json.dumps(parameters, indent=2) + "\n")
        if not _is_there(root, task, folders, parameters):  # another process may have made the same meanwhile
            for folder in folders:
                (temporary / folder).rename(root / folder)
    except OSError as error:
        raise explain_os_error(error, root) from error
    except BrokenProcessPool as error:
        raise NasdaError(
            "a process that made the toy data has died, perhaps because memory ran out: pass --processes 1"
        ) from error
    finally:
        if temporary != root:
            shutil.rmtree(temporary, ignore_errors=True)
        if is_new and not any(root.iterdir()):
            root.rmdir()


def _check(height: int, width: int, gap: float) -> None:
    if min(height, width) < SMALLEST:
        raise NasdaError(f"toy data of {height}×{width} pixels: expected at least {SMALLEST}×{SMALLEST}")
    if not 0 <= gap <= 1:
        raise NasdaError(f"--gap is {gap}: expected a number from 0 (like the source) to 1 (like its style)")


def _is_there(root: Path, task: TaskName, folders: Sequence[str], parameters: dict[str, object]) -> bool:
    """Whether all `folders` hold exactly this data already. Raises `NasdaError` if `root` holds other such data,
    real or built-in, which is never touched."""
    if not root.is_dir():
        return False
    for side, folder in zip(SIDES, FOLDERS[task], strict=True):
        same = DATASETS[OF_TASK[task][side]].layout.folders(root)  # under any of its names
        for place in {root / folder, *same} if folder in folders else ():
            if place.exists():
                _refuse_other(place, root, task, side, parameters)
    there = [root / folder for folder in folders if (root / folder).exists()]
    if len(there) == len(folders):
        return True
    for place in there:  # killed between the two renames: one is there, and is made again
        shutil.rmtree(place)
    return False


def _refuse_other(there: Path, root: Path, task: TaskName, side: Side, parameters: dict[str, object]) -> None:
    marker = there / MARKER
    if not marker.exists():
        other = SIDES[1 - SIDES.index(side)]
        raise NasdaError(
            f"{there}: not made by nasda, perhaps real data: choose another --data-root, or make the {other} alone "
            f"beside it: nasda data make --task {task} --only {other} --data-root {root}"
        )
    found = {"style": "street", **read_json(marker, "how the toy data was made")}  # which once was the only one
    different = [name for name, value in parameters.items() if found.get(name) != value]
    if different:
        name = different[0]
        raise NasdaError(
            f"{there}: made with {name} = {found.get(name)}, not {parameters[name]}: "
            "delete the folder, or choose another --data-root"
        )


def _draw_all(drawing: Drawing, folders: Sequence[str], settings: ToySettings, processes: int) -> None:
    writers: dict[TaskName, Callable[[Drawing, ToySettings], list[Shot]]] = {"person": _people, "vehicle": _vehicles}
    shots = [shot for shot in writers[drawing.task](drawing, settings) if shot.path.split("/")[0] in folders]
    for folder in {shot.path.rsplit("/", 1)[0] for shot in shots}:
        (drawing.root / folder).mkdir(parents=True, exist_ok=True)
    copies = _first_of_name(shots)
    once = [shot for shot in shots if shot.path not in copies]
    if processes <= 1:
        _write(drawing, once)
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            batches = [once[start : start + 64] for start in range(0, len(once), 64)]
            list(pool.map(_write, repeat(drawing), batches))  # the list raises the error of a process
    for path, original in copies.items():
        shutil.copyfile(drawing.root / original, drawing.root / path)


def _first_of_name(shots: list[Shot]) -> dict[str, str]:
    """VeRi-776 has every query in its gallery too: the second file of a name is a copy of the first."""
    first: dict[str, str] = {}
    copies = {}
    for shot in shots:
        original = first.setdefault(shot.name, shot.path)
        if original != shot.path and original.split("/")[0] == shot.path.split("/")[0]:
            copies[shot.path] = original
    return copies


class _Sighting(NamedTuple):
    """An identity seen by a camera: `number` counts its images there."""

    pid: int
    camid: int
    number: int


def _sightings(
    drawing: Drawing, domain: int, pids: Iterable[int], settings: ToySettings, extra: int = 0
) -> Iterator[_Sighting]:
    """Which cameras see whom: in the source all of them, in the target four to six."""
    cameras = CAMERAS[drawing.task][domain]
    for pid in pids:
        rng = np.random.default_rng((drawing.world, 4, domain, pid))
        often = len(cameras) if domain == SOURCE else int(rng.integers(4, len(cameras) + 1))
        for camid in sorted(rng.permutation(cameras)[:often].tolist()):
            for number in range(settings.images_per_camera + extra):
                yield _Sighting(pid, camid, number)


def _market_name(pid: int, camid: int, frame: int, box: int) -> str:
    identity = "-1" if pid == JUNK else f"{pid:04d}"
    return f"{identity}_c{camid}s1_{frame:06d}_{box:02d}.jpg"


def _people(drawing: Drawing, settings: ToySettings) -> list[Shot]:
    """PersonX and Market-1501."""
    source, target = FOLDERS["person"]
    return [*_personx(drawing, settings, source), *_market1501(drawing, settings, target)]


def _personx(drawing: Drawing, settings: ToySettings, folder: str) -> Iterator[Shot]:
    train = range(1, settings.source_identities + 1)
    test = range(train.stop, train.stop + max(2, settings.source_identities // 4))
    viewpoint = count(1)

    def shot(split: str, seen: _Sighting) -> Shot:
        # The viewpoint changes from image to image, so that no two images of a camera have the same name.
        name = f"{seen.pid:04d}_c{seen.camid}s1_{next(viewpoint) % VIEWPOINTS + 1:02d}.jpg"
        return Shot(f"{folder}/{split}/{name}", seen.pid, seen.pid, seen.camid, seen.number, SOURCE)

    for seen in _sightings(drawing, SOURCE, train, settings):
        yield shot("bounding_box_train", seen)
    for seen in _sightings(drawing, SOURCE, test, settings, extra=1):
        yield shot("query" if seen.number == 0 else "bounding_box_test", seen)


def _market1501(drawing: Drawing, settings: ToySettings, folder: str) -> Iterator[Shot]:
    train = range(1, settings.target_identities + 1)
    test = range(train.stop, train.stop + settings.test_identities)
    strangers = range(test.stop, test.stop + max(2, settings.test_identities // 4))
    frame = count(1)

    def shot(split: str, seen: _Sighting, pid: int, box: int) -> Shot:
        name = _market_name(pid, seen.camid, 25 * next(frame), box)
        return Shot(f"{folder}/{split}/{name}", pid, seen.pid, seen.camid, seen.number, TARGET)

    for seen in _sightings(drawing, TARGET, train, settings):
        yield shot("bounding_box_train", seen, seen.pid, seen.number + 1)
    for seen in _sightings(drawing, TARGET, test, settings, extra=1):
        yield shot("query" if seen.number == 0 else "bounding_box_test", seen, seen.pid, seen.number)
        if seen.number == 0 and seen.pid % 3 == 0:  # the same people again, cut in half: neither right nor wrong
            yield shot("bounding_box_test", seen._replace(number=100), JUNK, 0)
    for seen in _sightings(drawing, TARGET, strangers, settings):
        yield shot("bounding_box_test", seen, DISTRACTOR, 0)


def _vehicles(drawing: Drawing, settings: ToySettings) -> list[Shot]:
    """VehicleX and VeRi-776, with their label files and indices."""
    source, target = FOLDERS["vehicle"]
    train = list(_vehiclex(drawing, settings, source))
    _write_names(drawing.root / source / "name_train.txt", train)
    _write_labels(drawing, source, "train", "utf-8", train)
    splits = _veri776(drawing, settings, target)
    for split, shots in splits.items():
        _write_names(drawing.root / target / f"name_{split}.txt", shots)
    _write_labels(drawing, target, "train", "gb2312", splits["train"])
    _write_labels(drawing, target, "test", "gb2312", splits["test"])
    _write_indices(drawing.root / target, splits["query"], splits["test"])
    return [*train, *(shot for shots in splits.values() for shot in shots)]


def _vehiclex(drawing: Drawing, settings: ToySettings, folder: str) -> Iterator[Shot]:
    number: dict[tuple[int, int], Iterator[int]] = defaultdict(lambda: count(1))
    for seen in _sightings(drawing, SOURCE, range(1, settings.source_identities + 1), settings):
        name = f"{seen.pid:04d}_c{seen.camid:03d}_{next(number[seen.pid, seen.camid])}.jpg"
        yield Shot(f"{folder}/image_train/{name}", seen.pid, seen.pid, seen.camid, seen.number, SOURCE)


def _veri776(drawing: Drawing, settings: ToySettings, folder: str) -> dict[str, list[Shot]]:
    train = range(1, settings.target_identities + 1)
    test = range(train.stop, train.stop + settings.test_identities)
    frame = count(1)

    def shot(split: str, seen: _Sighting) -> Shot:
        name = f"{seen.pid:04d}_c{seen.camid:03d}_{30 * next(frame):08d}_0.jpg"
        return Shot(f"{folder}/image_{split}/{name}", seen.pid, seen.pid, seen.camid, seen.number, TARGET)

    splits = {
        "train": [shot("train", seen) for seen in _sightings(drawing, TARGET, train, settings)],
        "test": [shot("test", seen) for seen in _sightings(drawing, TARGET, test, settings, extra=1)],
    }
    queries = [shot for shot in splits["test"] if shot.number == 0]
    splits["query"] = [
        dataclasses.replace(shot, path=shot.path.replace("/image_test/", "/image_query/")) for shot in queries
    ]
    return splits


def _write_names(path: Path, shots: list[Shot]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{shot.name}\n" for shot in shots))


def _write_labels(drawing: Drawing, folder: str, split: str, encoding: str, shots: list[Shot]) -> None:
    """The label file, with the encoding that the real ones declare (ElementTree cannot read gb2312 by itself)."""
    lines = [f'<?xml version="1.0" encoding="{encoding}"?>', '<TrainingImages Version="1.0">']
    lines += [f'<Items number="{len(shots)}">']
    for shot in shots:
        looks = vehicle(drawing.world, shot.domain, shot.who)
        attributes = {
            "imageName": shot.name,
            "vehicleID": f"{shot.pid:04d}",
            "cameraID": f"c{shot.camid:03d}",
            "colorID": str(COLOUR_IDS[looks.colour_name]),
            "typeID": str(TYPE_IDS[looks.body]),
        }
        lines.append("<Item " + " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items()) + " />")
    lines += ["</Items>", "</TrainingImages>"]
    path = drawing.root / folder / f"{split}_label.xml"
    path.write_bytes("\n".join(lines).encode(encoding))


def _write_indices(folder: Path, queries: list[Shot], gallery: list[Shot]) -> None:
    """gt_index.txt and jk_index.txt."""
    as_samples = [[Sample(Path(shot.path), shot.pid, shot.camid) for shot in shots] for shots in (queries, gallery)]
    for file, lines in index_lines(*as_samples).items():
        (folder / file).write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
