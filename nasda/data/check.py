"""Whether data is whole and sound: all checks of a data set."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from nasda.data.datasets import MARKERS, Counting, DataSet, Release, index_lines
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample, answerable, cameras, cameras_of_each
from nasda.data.reading import contradictions, is_image, read_image, read_labels, read_name_list, sample_of
from nasda.data.task import Task, count, load_task, table_of_counts
from nasda.errors import NasdaError, one_line
from nasda.settings import TaskName

_LISTED = 10  # problems of one kind that are listed one by one before "and 90 more"


@dataclass(frozen=True)
class Problem:
    """Something wrong with the data. An error makes results meaningless; a warning is worth knowing."""

    severity: Literal["error", "warning"]
    file: Path | None
    message: str

    def __str__(self) -> str:
        return one_line(": ".join([self.severity, *([str(self.file)] if self.file else []), self.message]))


_error, _warning = partial(Problem, "error"), partial(Problem, "warning")


def load_sound_task(name: TaskName, data_root: Path) -> Task:
    """`load_task`; each side, when it is read, is checked by `require_sound`."""
    return load_task(name, data_root, _read_sound)


def _read_sound(
    dataset: DataSet, data_root: Path
) -> Domain:  # a named function, so that a task can go to other processes
    return require_sound(dataset.read(data_root))


def require_sound(domain: Domain) -> Domain:
    """`domain` itself. Raises `NasdaError` if `check_split` finds errors: the first in full, and how many others."""
    errors = [problem for problem in check_split(domain) if problem.severity == "error"]
    if errors:
        others = f" (and {len(errors) - 1:,} more; `nasda data check` lists them)" if errors[1:] else ""
        raise NasdaError(str(errors[0]).removeprefix("error: ") + others)
    return domain


def report(dataset: DataSet, data_root: Path, counts: Counting, images: bool) -> int:
    """Print the counts of a data set and a line for each finding; returns the number of errors.

    counts: whether they must be the official ones; auto: unless nasda has made the data set itself, by drawing,
        translating or leaving some out.
    images: whether to decode every image, which takes minutes for the large data sets.
    """
    domain = dataset.layout.read(data_root)
    print(f"{domain.root}\n{table_of_counts(domain)}")
    for line in oddities(dataset, domain):
        print(one_line(f"known: {line}"))
    made_by_nasda = any((domain.root / file).exists() for file in MARKERS)
    official = counts == "official" or (counts == "auto" and not made_by_nasda)
    errors = 0
    for problem in examine(dataset, domain, dataset.releases if official else (), images):
        print(problem)
        errors += problem.severity == "error"
    print(f"{dataset.layout.dataset}: " + (f"not good, errors: {errors:,}" if errors else "good"))
    return errors


def examine(dataset: DataSet, domain: Domain, releases: Sequence[Release], images: bool = True) -> Iterator[Problem]:
    """Everything that is wrong with a data set; the quick checks come first.

    domain: as `dataset.layout.read` gave it.
    releases: counts, and names where they are known, must be those of the nearest release; any will do if there are
        none.
    images: whether to decode every image.
    """
    if releases:
        found = len(domain.train)
        nearest = min(releases, key=lambda release: abs(release.splits["train"].images - found))
        yield from _not_as_released(domain, nearest)
    yield from (_error(None, message) for message in contradictions(domain, dataset.lists))
    yield from _incomplete_labels(dataset, domain)
    if dataset.queries_in_gallery:
        gallery, folder = {sample.path.name for sample in domain.gallery}, domain.gallery[0].path.parent
        for query in domain.query:
            if query.path.name not in gallery:
                yield _error(query.path, f"a query, so expected in {folder} too, but it is not there: copy it there")
        yield from _wrong_indices(domain)
    yield from check_split(domain)
    if images:
        for samples in domain.splits().values():
            yield from check_images(samples)


def _not_as_released(domain: Domain, release: Release) -> Iterator[Problem]:
    remedy = "prepare it again, or pass --counts none"
    right = True
    for split, figures in release.splits.items():
        samples = domain.splits()[split]
        found = count(split, samples)._asdict()
        place = samples[0].path.parent if samples else domain.root
        for what, expected in figures._asdict().items():
            if expected not in (None, found[what]):
                right = False
                of = f"{split} has {found[what]:,} {what}, expected {expected:,} ({release.name}: {release.source})"
                yield _error(place, f"{of}: {remedy}")
    if right and release.names not in (None, names_digest(domain)):
        wrong = "an image is missing, renamed, or another camera's"
        yield _error(domain.root, f"names differ from the official list of {release.name}: {wrong}: {remedy}")


def names_digest(domain: Domain) -> str:
    """The SHA-256 of the images' names, as a `Release` states it."""
    paths = [sample.path for samples in domain.splits().values() for sample in samples]
    names = sorted(path.relative_to(domain.root).as_posix() for path in paths)
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def _incomplete_labels(dataset: DataSet, domain: Domain) -> Iterator[Problem]:
    """Labels without an image, as in a half-copied folder; images without a label, which do no harm."""
    for label_file in {label_file: None for lists in dataset.lists for label_file in lists.labels}:
        path = domain.root / label_file
        splits = [lists.split for lists in dataset.lists if label_file in lists.labels]
        names = {sample.path.name for split in splits for sample in domain.splits()[split]}
        try:
            labelled = set(read_labels(path)) if path.exists() else names
        except NasdaError:  # already among the contradictions
            continue
        for name in sorted(labelled - names):
            yield _error(path, f"labels {name}, but there is no such image: unpack the data set again")
        if bare := sorted(names - labelled):
            yield _warning(path, f"has no label for {len(bare):,} images, the first {bare[0]}")


def _wrong_indices(domain: Domain) -> Iterator[Problem]:
    """Where VeRi-776's files of right and of left-out answers contradict the camera rule."""
    try:
        queries = _in_listed_order(domain.query, domain.root / "name_query.txt")
        gallery = _in_listed_order(domain.gallery, domain.root / "name_test.txt")
    except NasdaError as error:
        yield _error(None, str(error))
        return
    for file, expected in index_lines(queries, gallery).items():
        path = domain.root / file
        if not path.exists():
            continue
        lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        while len(lines) > len(queries) and not lines[-1]:  # empty lines at the end mean nothing
            lines.pop()
        if len(lines) != len(queries):
            yield _error(path, f"has {len(lines):,} lines, expected one for each of {len(queries):,} queries")
        for number, (query, line, right) in enumerate(zip(queries, lines, expected, strict=False), start=1):
            if line != [str(index) for index in right]:
                wrong = f"line {number}, of query {query.path.name}, does not follow the camera rule"
                found = f"it has {_some(line)}, expected {_some(right)}"
                yield _error(path, f"{wrong}: {found}: correct the line, or the camera in the name")


def _in_listed_order(samples: list[Sample], name_list: Path) -> list[Sample]:
    """The images in the order that the indices count in; a missing image counts by its name."""
    if not name_list.exists():
        return samples
    return [sample_of(samples[0].path.with_name(name)) for name in read_name_list(name_list)]


def oddities(dataset: DataSet, domain: Domain) -> Iterator[str]:
    """What looks wrong about a data set but is not: a line for each kind."""
    for folder in sorted({sample.path.parent for samples in domain.splits().values() for sample in samples}):
        names = sorted(os.listdir(folder))
        for what, odd in (
            ("no image, so ignored", [name for name in names if not is_image(name)]),
            ("two endings, read like any other", [n for n in names if is_image(n) and is_image(Path(n).stem)]),
        ):
            if odd:
                yield f"{folder / odd[0]}: {what}" + (f"; and {len(odd) - 1:,} more" if odd[1:] else "")
    unused = [name for name in ("gt_bbox", "gt_query") if (domain.root / name).exists()]
    if unused:
        yield f"{domain.root}: {' and '.join(unused)}: not needed"
    if dataset.queries_in_gallery:
        yield f"{domain.root}: its queries lie in the gallery too; the camera rule leaves each out of its answers"


def check_split(domain: Domain) -> list[Problem]:
    """What is wrong with a domain's labels and splits, found without opening an image; [] if nothing.

    Queries without a right answer are warnings as long as some query has one, since the evaluation skips and reports
    them; if none has one, nothing can be measured, which is an error.
    """
    nobody = [query for query in domain.query if query.pid in (DISTRACTOR, JUNK)]
    right = set(answerable(domain))
    lost = [query for query in domain.query if query not in right and query.pid not in (DISTRACTOR, JUNK)]
    severity: Literal["error", "warning"] = "warning" if right else "error"
    seen_by = cameras_of_each(domain.gallery)
    images = Counter(sample.pid for sample in domain.train)
    alone = [sample for sample in domain.train if images[sample.pid] == 1]
    refused = "which marks boxes of nobody, so the evaluation refuses it: correct its name, or remove it"
    kinds = {
        f"of {len(domain.query):,} queries are of nobody": [
            _error(query.path, f"query of identity {query.pid}, {refused}") for query in nobody
        ],
        f"of {len(domain.query):,} queries have no right answer": [
            Problem(severity, query.path, f"query without a right answer: {_why(query, seen_by[query.pid])}")
            for query in lost
        ],
        "training identities with a single image": [
            _warning(one.path, f"identity {one.pid} has this one training image, so it forms no pair") for one in alone
        ],
        "files listed more than once": [
            _error(path, f"{times} times in {split}: list it once")
            for split, samples in domain.splits().items()
            for path, times in Counter(sample.path for sample in samples).items()
            if times > 1
        ],
    }
    capped = [problem for what, found in kinds.items() for problem in _capped(found, what)]
    return [*_overlap(domain), *_one_camera(domain), *capped]


def _capped(problems: list[Problem], what: str) -> list[Problem]:
    """The first few problems of a kind and, where there are more, a line with their total."""
    if len(problems) <= _LISTED:
        return problems
    rest = f"… and {len(problems) - _LISTED:,} more: {len(problems):,} {what} in all"
    return [*problems[:_LISTED], Problem(problems[0].severity, None, rest)]


def _some(numbers: Sequence[object]) -> str:
    """Numbers for a message, the first few of them."""
    more = f" and {len(numbers) - _LISTED:,} more" if len(numbers) > _LISTED else ""
    return (", ".join(map(str, numbers[:_LISTED])) or "nothing") + more


def _overlap(domain: Domain) -> Iterator[Problem]:
    tested = {sample.pid for sample in (*domain.query, *domain.gallery)}
    shared = (tested & {sample.pid for sample in domain.train}) - {DISTRACTOR, JUNK}
    if shared:
        example = next(sample for sample in domain.train if sample.pid in shared)
        both = f"both training and test of {domain.name} have identity {_some(sorted(shared))}"
        yield _error(example.path, f"{both}, so the test would measure memory: give each identity to one side")


def _one_camera(domain: Domain) -> Iterator[Problem]:
    remedy = "write the true camera into the file names, as in 0002_c3_…"
    if len(domain.train) > 1 and len(cameras(domain.train)) == 1:
        first = domain.train[0]
        seen = f"all {len(domain.train):,} training images are from camera {first.camid}"
        yield _warning(first.path.parent, f"{seen}, so nothing can be learnt across cameras: {remedy}")
    tested = [*domain.query, *domain.gallery]
    if domain.query and len(cameras(tested)) == 1:
        seen = f"all {len(tested):,} query and gallery images are from camera {tested[0].camid}"
        why = "evaluation drops what the query's own camera saw, so no query has a right answer"
        elsewhere = "(other tools say: all query identities do not appear in gallery)"
        yield _error(tested[0].path.parent, f"{seen}, and {why} {elsewhere}: {remedy}")


def _why(query: Sample, cameras_of_identity: set[int]) -> str:
    """Why nothing in the gallery can be right for `query` under the protocol."""
    if not cameras_of_identity:
        return f"identity {query.pid} is not in the gallery: add its images there, or remove the query"
    only = f"only camera {query.camid}, the query's own, sees identity {query.pid} in the gallery"
    return f"{only}: add an image from another camera, or remove the query"


def check_images(samples: Sequence[Sample]) -> list[Problem]:
    """Decode every image to its last pixel. An unreadable image is an error, the same file under two names a warning.

    Problems come in the order of `samples`; those of an unreadable image say why: missing, empty, cut short, no image.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        results = list(threads.map(_try_image, [sample.path for sample in samples]))
    problems = []
    first_with: dict[bytes, Sample] = {}
    for sample, (cause, digest) in zip(samples, results, strict=True):
        if cause:
            problems.append(_error(None, cause))
            continue
        first = first_with.setdefault(digest, sample)
        if first.path != sample.path:
            other = f" under another identity ({first.pid}, here {sample.pid})" if first.pid != sample.pid else ""
            problems.append(_warning(sample.path, f"same file as {first.path.name}{other}: remove one"))
    return problems


def _try_image(path: Path) -> tuple[str, bytes]:
    """Why an image cannot be read ("" if it can), and a digest of its file."""
    try:
        read_image(path)
        return "", hashlib.sha256(path.read_bytes()).digest()
    except NasdaError as error:
        return str(error), b""
