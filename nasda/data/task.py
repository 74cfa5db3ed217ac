"""A task is a source domain and a target domain: reading it, counting it, checking it, and drawing samples from it."""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from nasda.data import market1501, personx, vehiclex, veri776
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample, cameras, identities
from nasda.errors import NasdaError
from nasda.settings import TASK_NAMES, TaskName

_READERS: dict[str, tuple[Callable[[Path], Domain], Callable[[Path], Domain]]] = {
    "person": (personx.read, market1501.read),
    "vehicle": (vehiclex.read, veri776.read),
}


class Counts(NamedTuple):
    """What there is of a split."""

    images: int
    identities: int  # without distractors and junk
    cameras: int
    distractors: int = 0
    junk: int = 0


_LISTED = 10  # problems of one kind that are listed one by one before "and 90 more"


@dataclass(frozen=True)
class Task:
    """Learn ω on `source`, learn α on a small part of `target`'s training images, test in `target` (paper, Alg. 1)."""

    name: TaskName
    source: Domain
    target: Domain

    def counts(self) -> str:
        """An aligned table: for each domain and split its images, identities, cameras, distractors and junk."""
        return table_of_counts(self.source, self.target)


def load_task(name: TaskName, data_root: Path) -> Task:
    """Read both domains of a task: person is PersonX → Market-1501, vehicle is VehicleX → VeRi-776 (§3.1).

    Raises `NasdaError` for another name, and what the readers raise.
    """
    if name not in _READERS:
        raise NasdaError(f"no task named {name!r}: choose one of {', '.join(TASK_NAMES)}")
    read_source, read_target = _READERS[name]
    return Task(name, read_source(data_root), read_target(data_root))


def read_source(name: TaskName, data_root: Path) -> Domain:
    """The source of task `name` alone; raises what its reader raises."""
    read, _ = _READERS[name]
    return read(data_root)


def count(split: str, samples: list[Sample]) -> Counts:
    """What there is of `split` ("train", "query" or "gallery"), whose images are `samples`."""
    of_pid = Counter(sample.pid for sample in samples)
    distractors = of_pid[DISTRACTOR] if split == "gallery" else 0  # elsewhere 0 is an identity like any other
    people = len(identities(samples)) - (distractors > 0)
    return Counts(len(samples), people, len(cameras(samples)), distractors, of_pid[JUNK])


def table_of_counts(*domains: Domain) -> str:
    """An aligned table: a line for each domain and split, a column for each of `Counts`."""
    rows: list[tuple[str, ...]] = [("domain", "split", *Counts._fields)]
    for domain in domains:
        for split, samples in domain.splits().items():
            rows.append((domain.name, split, *(f"{number:,}" for number in count(split, samples))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_aligned(row, widths) for row in rows)


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(names + numbers)


# ---------------------------------------------------------------------------------------------------------------------
# Checks


@dataclass(frozen=True)
class Problem:
    """Something wrong with the data. An error makes results meaningless; a warning should be known."""

    severity: Literal["error", "warning"]
    file: Path | None
    message: str

    def __str__(self) -> str:
        return ": ".join([self.severity, *([str(self.file)] if self.file else []), self.message])


def check_split(domain: Domain) -> list[Problem]:
    """What is wrong with a domain's labels and splits, found without opening an image; [] if nothing.

    Queries without a right answer are warnings as long as some query has one, since the evaluation skips and reports
    them; if none has, nothing can be measured, which is an error.
    """
    return [
        *_overlap(domain),
        *_one_camera(domain),
        *_queries_without_positive(domain),
        *_lonely_identities(domain),
        *_listed_twice(domain),
    ]


def _capped(problems: list[Problem], what: str) -> list[Problem]:
    """The first few problems of a kind and, where there are more, a line with their total."""
    if len(problems) <= _LISTED:
        return problems
    rest = f"… and {len(problems) - _LISTED:,} more: {len(problems):,} {what} in all"
    return [*problems[:_LISTED], Problem(problems[0].severity, None, rest)]


def _some(numbers: Iterable[int]) -> str:
    """Numbers for a message, the first few of them."""
    numbers = sorted(numbers)
    more = f" and {len(numbers) - _LISTED:,} more" if len(numbers) > _LISTED else ""
    return ", ".join(map(str, numbers[:_LISTED])) + more


def _overlap(domain: Domain) -> list[Problem]:
    tested = {sample.pid for sample in (*domain.query, *domain.gallery)}
    shared = (tested & {sample.pid for sample in domain.train}) - {DISTRACTOR, JUNK}
    if not shared:
        return []
    example = next(sample for sample in domain.train if sample.pid in shared)
    message = (
        f"both training and test of {domain.name} have identity {_some(shared)}, so the test would measure memory: "
        "give each identity to one side"
    )
    return [Problem("error", example.path, message)]


def _one_camera(domain: Domain) -> list[Problem]:
    problems = []
    if len(domain.train) > 1 and len(cameras(domain.train)) == 1:
        problems.append(
            Problem(
                "warning",
                domain.train[0].path.parent,
                f"all {len(domain.train):,} training images are from camera {domain.train[0].camid}, so nothing can be "
                "learnt across cameras: write the true camera into the file names, as in 0002_c3_…",
            )
        )
    tested = [*domain.query, *domain.gallery]
    if domain.query and len(cameras(tested)) == 1:
        problems.append(
            Problem(
                "error",
                domain.query[0].path.parent,
                f"all {len(tested):,} query and gallery images are from camera {tested[0].camid}, and evaluation drops "
                "what the query's own camera saw, so no query has a right answer (other tools say: all query "
                "identities do not appear in gallery): write the true camera into the file names, as in 0002_c3_…",
            )
        )
    return problems


def _queries_without_positive(domain: Domain) -> list[Problem]:
    seen_by: dict[int, set[int]] = defaultdict(set)
    for sample in domain.gallery:
        seen_by[sample.pid].add(sample.camid)
    causes = [(query, _why_no_positive(query, seen_by.get(query.pid, set()))) for query in domain.query]
    lost = [(query, cause) for query, cause in causes if cause]
    severity: Literal["error", "warning"] = "error" if len(lost) == len(domain.query) else "warning"
    problems = [Problem(severity, query.path, f"query without a right answer: {cause}") for query, cause in lost]
    return _capped(problems, f"of {len(domain.query):,} queries have no right answer")


def _why_no_positive(query: Sample, cameras_of_identity: set[int]) -> str:
    """Why nothing in the gallery can be right for `query` under the protocol; "" if something can."""
    if query.pid in (DISTRACTOR, JUNK):
        return f"identity {query.pid} marks boxes of nobody: remove it from the queries"
    if not cameras_of_identity:
        return f"identity {query.pid} is not in the gallery: add its images there, or remove the query"
    if cameras_of_identity == {query.camid}:
        return (
            f"only camera {query.camid}, the query's own, sees identity {query.pid} in the gallery: add an image from "
            "another camera, or remove the query"
        )
    return ""


def _lonely_identities(domain: Domain) -> list[Problem]:
    images = Counter(sample.pid for sample in domain.train)
    problems = [
        Problem("warning", sample.path, f"identity {sample.pid} has this one training image only, so it forms no pair")
        for sample in domain.train
        if images[sample.pid] == 1
    ]
    return _capped(problems, "training identities with a single image")


def _listed_twice(domain: Domain) -> list[Problem]:
    problems = []
    for split, samples in domain.splits().items():
        times = Counter(sample.path for sample in samples)
        problems += [
            Problem("error", path, f"{n} times in {split}: list it once") for path, n in times.items() if n > 1
        ]
    return _capped(problems, "files listed more than once")


def check_images(samples: Sequence[Sample]) -> list[Problem]:
    """Decode every image to its last pixel; what cannot be read is an error, the same file under two names a warning.

    Problems come in the order of `samples`, each with its cause: missing, empty, cut short, not an image at all.
    """
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(_try_image, [sample.path for sample in samples]))
    problems = []
    first_with: dict[bytes, Sample] = {}
    for sample, (cause, digest) in zip(samples, results, strict=True):
        if cause:
            problems.append(Problem("error", sample.path, f"{cause}: copy or unpack it again, or remove it"))
            continue
        first = first_with.setdefault(digest, sample)
        if first.path != sample.path:
            other = f" under another identity ({first.pid}, here {sample.pid})" if first.pid != sample.pid else ""
            problems.append(Problem("warning", sample.path, f"same file as {first.path.name}{other}: remove one"))
    return problems


def _try_image(path: Path) -> tuple[str, bytes]:
    """Why an image cannot be read ("" if it can), and a digest of its file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror or error})", b""
    if not data:
        return "empty file (0 bytes)", b""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except UnidentifiedImageError:
        return f"not an image: it begins with {data[:16]!r}", b""
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, …
        return f"damaged image ({' '.join(str(error).split())})", b""
    return "", hashlib.sha256(data).digest()


def check_task(task: Task, images: bool = True) -> list[Problem]:
    """Everything that is wrong with a task, source first; with `images` every image is decoded too."""
    problems = [
        Problem("error", domain.root, f"{domain.name}: no {split} images, but the {role} needs them: add some")
        for role, domain, needed in (
            ("source", task.source, ("train",)),
            ("target", task.target, ("train", "query", "gallery")),
        )
        for split, samples in domain.splits().items()
        if split in needed and not samples
    ]
    for domain in (task.source, task.target):
        problems += check_split(domain)
        if images:
            for samples in domain.splits().values():
                problems += check_images(samples)
    return problems


def require_sound(task: Task, images: bool = False) -> None:
    """Raise `NasdaError` if `check_task` finds errors: the first in full, and how many others there are."""
    errors = [problem for problem in check_task(task, images) if problem.severity == "error"]
    if errors:
        others = f" (and {len(errors) - 1:,} more; `nasda data check` lists them)" if errors[1:] else ""
        raise NasdaError(str(errors[0]).removeprefix("error: ") + others)


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def class_labels(samples: Sequence[Sample]) -> dict[int, int]:
    """From `pid` to class label 0..C−1, in ascending order; for training only. Junk has no class."""
    return {pid: label for label, pid in enumerate(identities(list(samples)))}


def target_sample(domain: Domain, images_per_identity: int, seed: int) -> list[Sample]:
    """The few labelled target images on which α are learnt: n random ones of each training identity.

    The paper takes n = 1 (§3.1), which holds no positive pair; losses over pairs need 2 or more.
    Taken from `domain.train` alone: identities of the test are never seen. Each identity gives images of as many
    cameras as possible, so that positive pairs cross cameras; one with fewer than n images gives them all. The same
    seed gives the same sample, and a larger n adds to it. Sorted by path.
    Raises `NasdaError` if n is not positive or there is no training image.
    """
    _require_positive(images_per_identity)
    if not domain.train:
        raise NasdaError(f"{domain.root}: {domain.name} has no training images to take a target sample from: add some")
    chosen = [shuffled[:images_per_identity] for shuffled in _shuffled_by_identity(domain.train, seed)]
    return sorted(sample for images in chosen for sample in images)


def hold_out(samples: Sequence[Sample], images_per_identity: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split source training images into (kept, held): n random images of each identity are held.

    For the search on the source alone, which learns ω on the one and α on the other. At least two are kept of every
    identity, for a pair; one with too few for that stays in kept whole. Both lists are sorted by path.
    Raises `NasdaError` if n is not positive.
    """
    _require_positive(images_per_identity)
    kept: list[Sample] = []
    held: list[Sample] = []
    for shuffled in _shuffled_by_identity(samples, seed):
        n = images_per_identity if len(shuffled) >= images_per_identity + 2 else 0
        held += shuffled[:n]
        kept += shuffled[n:]
    return sorted(kept), sorted(held)


def _require_positive(images_per_identity: int) -> None:
    if images_per_identity < 1:
        raise NasdaError(f"images_per_identity is {images_per_identity}: expected 1 or more")


def _shuffled_by_identity(samples: Sequence[Sample], seed: int) -> list[list[Sample]]:
    """The images of each identity in random order, one of each camera before the second of any."""
    of_pid: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples):  # so that the outcome hangs on the seed, not on the order of the list
        of_pid[sample.pid].append(sample)
    random = np.random.default_rng(seed)
    return [_cameras_in_turn([of_pid[pid][i] for i in random.permutation(len(of_pid[pid]))]) for pid in sorted(of_pid)]


def _cameras_in_turn(samples: list[Sample]) -> list[Sample]:
    """Stably reordered: the first image of every camera, then the second of every camera, and so on."""
    seen: Counter[int] = Counter()
    turns = []
    for sample in samples:
        turns.append(seen[sample.camid])
        seen[sample.camid] += 1
    return [samples[i] for i in sorted(range(len(samples)), key=turns.__getitem__)]
