"""The translated source as a data set: the source's own layout, names and labels, with other pixels.

The ordinary reader reads it, so that training on it is the ordinary training.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from nasda.data.domain import Domain, Sample
from nasda.data.store import stored
from nasda.data.task import Task, read_source
from nasda.errors import NasdaError
from nasda.files import folder_written_whole, make_folder, read_json, write_json
from nasda.settings import DataSettings
from nasda.spgan.distances import ImageDistance, image_distance
from nasda.spgan.networks import Generator, to_bytes, to_range

MARKER = "translation.json"  # says that a folder holds a translation, and by which generator

_AT_ONCE = 32  # images that are translated and written together
_LISTS = (".txt", ".xml")  # a layout's name lists and label files, which lie beside the folders of images


def translate(generator: Generator, images: Tensor, device: torch.device) -> Tensor:
    """uint8 `images` (N, 3, H, W) in the other domain's style, as the same on the CPU. `generator` is on `device`."""
    with torch.inference_mode():
        return torch.cat([to_bytes(generator(to_range(batch.to(device)))).cpu() for batch in images.split(_AT_ONCE)])


def write_translation(
    folder: Path, source: Domain, generator: Generator, data: DataSettings, *, device: torch.device
) -> Path:
    """Translate `source`'s training images and write them below `folder` as a data set in `source`'s layout: the same
    folders, file names and label files. Query and gallery are left out. Returns the data set's folder.

    Images have `data`'s height and width. The data set is there whole or not at all; a second call with the same
    arguments does nothing. Raises `NasdaError` where another data set has the name, and when it cannot be written.
    """
    finished = Path(folder) / source.name
    description = _describe(source, generator, data)
    if finished.exists():
        _check_same(finished, description)
        return finished
    pixels = stored(source.train, data.height, data.width)
    with folder_written_whole(finished) as place:
        new = place / source.name
        for start in tqdm(range(0, len(pixels), _AT_ONCE), desc="writing the translation", leave=False):
            some = slice(start, start + _AT_ONCE)
            paths = [new / sample.path.relative_to(source.root) for sample in source.train[some]]
            _write_images(paths, translate(generator, pixels[some], device))
        for path in source.root.iterdir():
            if path.suffix in _LISTS and path.is_file():
                shutil.copyfile(path, new / path.name)
        write_json(new / MARKER, description)
    return finished


def _describe(source: Domain, generator: Generator, data: DataSettings) -> dict[str, Any]:
    """What decides a translation."""
    weights = hashlib.sha256()
    for tensor in generator.state_dict().values():
        weights.update(tensor.cpu().contiguous().numpy())
    return {
        "generator": weights.hexdigest(),
        "names": hashlib.sha256("\n".join(_names(source)).encode()).hexdigest(),
        "images": len(source.train),
        "height": data.height,
        "width": data.width,
    }


def _check_same(finished: Path, description: dict[str, Any]) -> None:
    marker = finished / MARKER
    if not marker.exists():
        raise NasdaError(f"{finished}: a data set that nasda translate has not written: choose another --out")
    if read_json(marker, "how the source was translated") != description:
        raise NasdaError(
            f"{finished}: translated from other images or by another generator: delete the folder, "
            "or choose another --out"
        )


def _write_images(paths: Sequence[Path], images: Tensor) -> None:
    for path, image in zip(paths, images, strict=True):
        make_folder(path.parent)
        # Small images have no colour to lose. Other formats than JPEG ignore both.
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(path, quality=95, subsampling=0)


def with_translated_source(task: Task, folder: Path) -> Task:
    """`task` with the source that `write_translation` left below `folder` in the place of its own. Raises `NasdaError`
    where there is none, and where it is another source's."""
    translated = Path(folder) / task.source.name
    if not translated.is_dir():
        raise NasdaError(
            f"{translated}: the translated source is expected here, but there is none: run nasda translate with the "
            "same --out first"
        )
    source = read_source(task.name, folder)
    if _names(source) != _names(task.source):
        raise NasdaError(
            f"{translated}: translated from other images than those in {task.source.root}: give the --data-root that "
            "it was translated from, or choose another --out"
        )
    return dataclasses.replace(task, source=source)


def _names(source: Domain) -> list[str]:
    """Where the training images lie in their data set; their labels are in their names."""
    return [sample.path.relative_to(source.root).as_posix() for sample in source.train]


def distances_to_target(task: Task, translated: Sequence[Sample], data: DataSettings) -> dict[str, ImageDistance]:
    """How far the source, and the source as it is `translated`, lie from the target: training splits, at `data`'s size.

    A translation should make all three distances smaller.
    """
    target = stored(task.target.train, data.height, data.width)
    sides = {"source → target": task.source.train, "translated → target": translated}
    return {name: image_distance(stored(samples, data.height, data.width), target) for name, samples in sides.items()}
