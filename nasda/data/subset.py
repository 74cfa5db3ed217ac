"""A smaller data set of the same layout, for a weak machine or a test.

Its scores are not those of the whole, but it has every part of the protocol.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nasda.data.datasets import SUBSET_MARKER, DataSet, index_lines
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample, answerable, identities
from nasda.data.prepare import refuse_second
from nasda.data.reading import read_xml, xml_bytes
from nasda.errors import NasdaError
from nasda.files import folder_written_whole, write_json


def choose(dataset: DataSet, whole: Domain, trained: int, tested: int, images: int, seed: int) -> Domain:
    """The part of `whole` to keep: `trained` identities of training, `tested` of test, `images` of each in each camera.

    Each camera that sees an identity keeps an image of it, so a query that has a right answer keeps one; a query that
    has none is left out. Distractors and junk are reduced by the share of the rest of the gallery, to one at least.
    Raises `NasdaError` if no query has a right answer.
    """
    random = np.random.default_rng(seed)
    train = _some_images(_of_some_identities(whole.train, trained, random), images, random)
    asked = answerable(whole)
    if whole.query and not asked:
        raise NasdaError(f"{whole.root}: no query has a right answer, so a subset could not be tested: check it")
    query = _some_images(_of_some_identities(asked, tested, random), images, random)
    gallery = _some_gallery(whole, query, images, dataset.queries_in_gallery, random)
    return Domain(whole.name, whole.root, train, query, gallery)


def _of_some_identities(samples: Sequence[Sample], count: int, random: np.random.Generator) -> list[Sample]:
    chosen = set(random.permutation(identities(list(samples)))[:count].tolist())
    return [sample for sample in samples if sample.pid in chosen]


def _some_images(
    samples: Sequence[Sample], images: int, random: np.random.Generator, first: frozenset[str] = frozenset()
) -> list[Sample]:
    """At most `images` of each identity in each camera (and folder: PersonX has one a background), sorted by path.

    Images with a name in `first` are taken before others.
    """
    groups: dict[tuple[Path, int, int], list[Sample]] = defaultdict(list)
    for sample in _shuffled(samples, random):
        groups[sample.path.parent, sample.pid, sample.camid].append(sample)
    ordered = [sorted(group, key=lambda sample: sample.path.name not in first) for group in groups.values()]
    return sorted(sample for group in ordered for sample in group[:images])


def _some_gallery(
    whole: Domain, query: Sequence[Sample], images: int, with_queries: bool, random: np.random.Generator
) -> list[Sample]:
    pids = {sample.pid for sample in query}
    twins = frozenset(sample.path.name for sample in query) if with_queries else frozenset()
    people = _some_images([sample for sample in whole.gallery if sample.pid in pids], images, random, twins)
    nobody: list[Sample] = []
    all_people = sum(sample.pid not in (DISTRACTOR, JUNK) for sample in whole.gallery)
    for pid in (DISTRACTOR, JUNK):
        of_pid = [sample for sample in whole.gallery if sample.pid == pid]
        keep = max(1, round(len(of_pid) * len(people) / max(1, all_people)))
        nobody += _shuffled(of_pid, random)[:keep]
    return sorted([*people, *nobody])


def _shuffled(samples: Sequence[Sample], random: np.random.Generator) -> list[Sample]:
    return [samples[index] for index in random.permutation(len(samples))]


def write(
    dataset: DataSet, chosen: Domain, data_root: Path, copy: Callable[[Path, Path], object] = shutil.copyfile
) -> Domain:
    """Write the images of `chosen`, with their lists and label files, below `data_root`, and read the result.

    It is written whole or not at all. Raises `NasdaError` if `data_root` holds the data set already, or cannot be
    written.
    """
    refuse_second(dataset, data_root)
    place = data_root / dataset.folder
    with folder_written_whole(place) as workshop:
        root = workshop / dataset.folder
        for samples in chosen.splits().values():
            for sample in samples:
                target = root / sample.path.relative_to(chosen.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy(sample.path, target)
        _write_lists(dataset, chosen, root)
        _write_indices(chosen, root)
        write_json(root / SUBSET_MARKER, {"a subset of": chosen.root.name})
    return dataset.read(data_root)


def link(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where that is not possible. A link takes no space; both names share one content."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copyfile(source, target)


def _write_lists(dataset: DataSet, chosen: Domain, root: Path) -> None:
    """The lists and label files that `chosen` was read with, without the images that are left out."""
    labelled: dict[str, set[str]] = defaultdict(set)
    for lists in dataset.lists:
        names = [sample.path.name for sample in chosen.splits()[lists.split]]
        if (chosen.root / lists.names).exists():
            (root / lists.names).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        for label_file in lists.labels:
            labelled[label_file].update(names)
    for label_file, kept in labelled.items():
        if (chosen.root / label_file).exists():
            _write_labels(chosen.root / label_file, root / label_file, kept)


def _write_labels(source: Path, target: Path, kept: set[str]) -> None:
    tree, encoding = read_xml(source)
    for parent in list(tree.iter()):
        for item in list(parent):
            if item.tag == "Item" and item.get("imageName", "") not in kept:
                parent.remove(item)
        if parent.tag == "Items":
            parent.set("number", str(len(parent)))
    target.write_bytes(xml_bytes(tree, encoding))


def _write_indices(chosen: Domain, root: Path) -> None:
    """VeRi-776's files of right and left-out answers give numbers in the gallery, which change."""
    for file, lines in index_lines(chosen.query, chosen.gallery).items():
        if (chosen.root / file).exists():
            (root / file).write_text("".join(" ".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
