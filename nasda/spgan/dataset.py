"""The translated source as a data set: the source's layout, names and labels with other pixels, for the same reader."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from nasda.data.datasets import TRANSLATION_MARKER
from nasda.data.domain import Domain, Sample
from nasda.data.store import stored
from nasda.data.task import Task, load_task
from nasda.errors import NasdaError
from nasda.files import folder_written_whole, make_folder, read_json, write_json
from nasda.settings import DataSettings
from nasda.spgan.distances import ImageDistance, image_distance
from nasda.spgan.networks import Generator, to_bytes, to_range

_AT_ONCE = 32  # images that are translated and written together
_LISTS = (".txt", ".xml")  # name lists and label files beside the folders of images


def translate(generator: Generator, images: Tensor, device: torch.device) -> Tensor:
    """`images`, uint8 (N, 3, H, W), in the other domain's style: the same, on the CPU. `generator` is on `device`."""
    with torch.inference_mode():
        return torch.cat([to_bytes(generator(to_range(batch.to(device)))).cpu() for batch in images.split(_AT_ONCE)])


def write_translation(
    folder: Path, source: Domain, generator: Generator, data: DataSettings, *, device: torch.device
) -> Path:
    """Translate `source`'s training images and write them in `folder` as a data set in `source`'s layout: the same
    folders, file names and label files, without query and gallery. Returns the data set's folder.

    Images have `data`'s height and width. The data set is written whole or not at all; a second call with the same
    arguments does nothing. Raises `NasdaError` if another data set is there, or if it cannot be written.
    """
    finished = Path(folder) / source.name
    description = _describe(source, generator, data)
    if finished.exists():
        marker = finished / TRANSLATION_MARKER
        if not marker.exists():
            raise NasdaError(f"{finished}: nasda translate has not written this data set: choose another --out")
        if read_json(marker, "how the source was translated") != description:
            raise NasdaError(
                f"{finished}: translated from other images or by another generator: delete the folder, "
                "or choose another --out"
            )
        return finished
    pixels = stored(source.train, data.height, data.width)
    with folder_written_whole(finished) as place:
        new = place / source.name
        for start in tqdm(range(0, len(pixels), _AT_ONCE), desc="writing the translation", leave=False):
            some = slice(start, start + _AT_ONCE)
            translated = translate(generator, pixels[some], device).permute(0, 2, 3, 1)
            for sample, image in zip(source.train[some], translated, strict=True):
                path = new / sample.path.relative_to(source.root)
                make_folder(path.parent)
                # Small images keep their colour without subsampling. Formats other than JPEG ignore both options.
                Image.fromarray(image.contiguous().numpy()).save(path, quality=95, subsampling=0)
        for path in source.root.iterdir():
            if path.suffix in _LISTS and path.is_file():
                shutil.copyfile(path, new / path.name)
        write_json(new / TRANSLATION_MARKER, description)
    return finished


def _describe(source: Domain, generator: Generator, data: DataSettings) -> dict[str, Any]:
    """What a translation depends on."""
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


def with_translated_source(task: Task, folder: Path) -> Task:
    """`task` with the source that `write_translation` wrote in `folder`. Raises `NasdaError` if there is none, or if it
    is a translation of other images."""
    translated = Path(folder) / task.source.name
    if not translated.is_dir():
        raise NasdaError(f"{translated}: expected the translated source here: run nasda translate with the same --out")
    source = load_task(task.name, folder).source
    if _names(source) != _names(task.source):
        raise NasdaError(
            f"{translated}: translated from other images than those in {task.source.root}: give the --data-root that "
            "it was translated from, or choose another --out"
        )
    return task.with_source(source)


def _names(source: Domain) -> list[str]:
    """The training images' paths in their data set; their labels are in these names."""
    return [sample.path.relative_to(source.root).as_posix() for sample in source.train]


def distances_to_target(task: Task, translated: Sequence[Sample], data: DataSettings) -> dict[str, ImageDistance]:
    """The distances to the target from the source and from its `translated` images: training splits, at `data`'s size.

    A translation should make all three distances smaller.
    """
    target = stored(task.target.train, data.height, data.width)
    sides = {"source → target": task.source.train, "translated → target": translated}
    return {name: image_distance(stored(samples, data.height, data.width), target) for name, samples in sides.items()}
