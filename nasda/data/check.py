"""Say whether a data set is whole and sound: `python -m nasda.data.check market1501 data/real`.

A line for each finding. Exits with 0 when the data set is good, warnings or not, and with 1 when it is not.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from nasda.data.datasets import DATASETS, DataSet, DataSetName, Release
from nasda.data.domain import Domain, Sample
from nasda.data.reading import IMAGE_SUFFIXES, contradictions, read_labels, read_name_list, sample_of
from nasda.data.task import Problem, check_images, check_split, count, table_of_counts
from nasda.data.veri776 import index_lines
from nasda.errors import NasdaError


@dataclass(frozen=True)
class Check:
    """Check a data set: counts, splits, lists and label files, and that every image decodes. Exits with 0 or 1."""

    dataset: Positional[DataSetName]
    """Which of the four."""
    data_root: Positional[Path]
    """The data set's own folder, or the one that holds it."""
    counts: Literal["official", "none"] = "official"
    """Hold the counts against the official ones; none for a subset, for toy data, for a release unknown here."""
    images: bool = True
    """Decode every image: minutes, for the large ones."""

    def run(self) -> int:
        dataset = DATASETS[self.dataset]
        domain = dataset.read_names(self.data_root)
        print(f"{domain.root}\n{table_of_counts(domain)}")
        for line in oddities(dataset, domain):
            print(f"known: {line}")
        errors = 0
        for problem in examine(dataset, domain, dataset.releases if self.counts == "official" else (), self.images):
            print(problem)
            errors += problem.severity == "error"
        print(f"{dataset.layout.dataset}: " + (f"not good, errors: {errors:,}" if errors else "good"))
        return 1 if errors else 0


def examine(dataset: DataSet, domain: Domain, releases: Sequence[Release], images: bool = True) -> Iterator[Problem]:
    """Everything that is wrong with a data set, in the order of the work it takes to find.

    domain: as `dataset.read_names` read it.
    releases: the counts have to be those of one of these; any counts will do where there are none.
    images: whether to decode every image.
    """
    yield from _wrong_counts(domain, releases)
    yield from (Problem("error", None, message) for message in contradictions(domain, dataset.lists))
    yield from _incomplete_labels(dataset, domain)
    if dataset.queries_in_gallery:
        yield from _queries_not_in_gallery(domain)
        yield from _wrong_indices(domain)
    yield from check_split(domain)
    if images:
        for samples in domain.splits().values():
            yield from check_images(samples)


def _wrong_counts(domain: Domain, releases: Sequence[Release]) -> Iterator[Problem]:
    if not releases:
        return
    release = min(releases, key=lambda release: abs(release.train.images - len(domain.train)))
    for split, figures in release.splits().items():
        samples = domain.splits()[split]
        found = count(split, samples)._asdict()
        place = samples[0].path.parent if samples else domain.root
        for what, expected in dataclasses.asdict(figures).items():
            if expected not in (None, found[what]):
                yield Problem(
                    "error",
                    place,
                    f"{split} has {found[what]:,} {what}, expected {expected:,} ({release.name}: {release.source}): "
                    "prepare it again, or pass --counts none",
                )


def _incomplete_labels(dataset: DataSet, domain: Domain) -> Iterator[Problem]:
    """Labels without an image, as a half-copied folder has them, and images without a label, which do no harm."""
    for label_file in {label_file: None for lists in dataset.lists for label_file in lists.labels}:
        path = domain.root / label_file
        if not path.exists():
            continue
        splits = [lists.split for lists in dataset.lists if label_file in lists.labels]
        names = {sample.path.name for split in splits for sample in domain.splits()[split]}
        try:
            labelled = set(read_labels(path))
        except NasdaError:  # already among the contradictions
            continue
        for name in sorted(labelled - names):
            yield Problem("error", path, f"labels {name}, but there is no such image: unpack the data set again")
        if bare := sorted(names - labelled):
            yield Problem("warning", path, f"has no label for {len(bare):,} images, the first {bare[0]}")


def _queries_not_in_gallery(domain: Domain) -> Iterator[Problem]:
    gallery = {sample.path.name for sample in domain.gallery}
    folder = domain.gallery[0].path.parent
    for query in domain.query:
        if query.path.name not in gallery:
            yield Problem("error", query.path, f"a query, so expected in {folder} too, but it is not: copy it there")


def _wrong_indices(domain: Domain) -> Iterator[Problem]:
    """Where VeRi-776's files of right and of left-out answers are not what the camera rule says."""
    try:
        queries = _in_listed_order(domain.query, domain.root / "name_query.txt")
        gallery = _in_listed_order(domain.gallery, domain.root / "name_test.txt")
    except NasdaError as error:
        yield Problem("error", None, str(error))
        return
    for file, expected in index_lines(queries, gallery).items():
        path = domain.root / file
        if not path.exists():
            continue
        lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        while len(lines) > len(queries) and not lines[-1]:  # empty lines at the end mean nothing
            lines.pop()
        if len(lines) != len(queries):
            yield Problem("error", path, f"has {len(lines):,} lines, expected one for each of {len(queries):,} queries")
        for number, (query, line, right) in enumerate(zip(queries, lines, expected, strict=False), start=1):
            if line != [str(index) for index in right]:
                yield Problem(
                    "error",
                    path,
                    f"line {number}, of query {query.path.name}, does not follow the camera rule: it has "
                    f"{_some(line)}, expected {_some(right)}: correct the line, or the camera in the name",
                )


def _in_listed_order(samples: list[Sample], name_list: Path) -> list[Sample]:
    """The images in the order that the indices count in; of one that is missing the name is enough."""
    if not name_list.exists():
        return samples
    return [sample_of(samples[0].path.with_name(name)) for name in read_name_list(name_list)]


def _some(numbers: Sequence[object]) -> str:
    return " ".join(map(str, numbers[:8])) + (" …" if numbers[8:] else "") or "nothing"


def oddities(dataset: DataSet, domain: Domain) -> Iterator[str]:
    """What looks wrong about a data set and is not: a line for each kind."""
    folders = sorted({sample.path.parent for samples in domain.splits().values() for sample in samples})
    for folder in folders:
        names = sorted(os.listdir(folder))
        yield from _odd_names(folder, names, "no image, and passed over", lambda name: not _is_image(name))
        yield from _odd_names(folder, names, "two endings, and read like any other", _has_two_endings)
    unused = [name for name in ("gt_bbox", "gt_query") if (domain.root / name).exists()]
    if unused:
        yield f"{domain.root}: {' and '.join(unused)}: not needed"
    if dataset.queries_in_gallery:
        yield f"{domain.root}: its queries lie in the gallery too; the camera rule leaves each out of its own answers"


def _odd_names(folder: Path, names: Sequence[str], what: str, is_odd: Callable[[str], bool]) -> Iterator[str]:
    odd = [name for name in names if is_odd(name)]
    if odd:
        yield f"{folder / odd[0]}: {what}" + (f"; and {len(odd) - 1:,} more" if odd[1:] else "")


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _has_two_endings(name: str) -> bool:
    return _is_image(name) and _is_image(Path(name).stem)
