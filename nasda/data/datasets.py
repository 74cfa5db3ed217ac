"""The four real data sets: how they lie on disk, where to ask for them, their official counts, how large they are."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from nasda.data.domain import DISTRACTOR, JUNK, TOY_MARKER, Domain, Sample
from nasda.data.reading import Layout, Lists, contradictions
from nasda.errors import NasdaError
from nasda.settings import TaskName

DataSetName = Literal["market1501", "veri776", "personx", "vehiclex"]
Side = Literal["source", "target"]
Counting = Literal["auto", "official", "none"]

OF_TASK: dict[TaskName, dict[Side, DataSetName]] = {  # §3.1
    "person": {"source": "personx", "target": "market1501"},
    "vehicle": {"source": "vehiclex", "target": "veri776"},
}

# Files that say that nasda made a data set: it does not have the official counts.
SUBSET_MARKER, TRANSLATION_MARKER = "subset.json", "translation.json"
MARKERS = TOY_MARKER, SUBSET_MARKER, TRANSLATION_MARKER

GB = 10**9


class Counts(NamedTuple):
    """How many there are, or should be, in a split; None where the source of the figures does not say."""

    images: int
    identities: int | None = None  # without distractors and junk
    cameras: int | None = None
    distractors: int = 0
    junk: int = 0


@dataclass(frozen=True)
class Release:
    """The official figures of one release of a data set, for each split that it has: train, query, gallery.

    source: of the figures.
    names: SHA-256 of the images' names, if known: of the paths below the data set's folder, such as
        `bounding_box_train/0002_c1s1_000451_03.jpg`, sorted, with a line feed between two and none at the end.
    """

    name: str
    source: str
    splits: dict[str, Counts]
    names: str | None = None


@dataclass(frozen=True)
class DataSet:
    """One of the four. None of them may be passed on, so you ask the authors for your own copy.

    folder: the name that nasda gives its folder below a data root.
    obtain: where to ask for it, and its terms.
    max_size: bytes that unpacking may write before it looks like a bomb: several times what the largest release takes.
    """

    layout: Layout
    folder: str
    paper: str
    obtain: str
    max_size: int
    releases: tuple[Release, ...]
    lists: tuple[Lists, ...] = ()
    queries_in_gallery: bool = False

    def read(self, data_root: Path) -> Domain:
        """The data set below `data_root`, its names compared with the lists and label files that are there.

        Raises `NasdaError` where it is missing or contradicts itself.
        """
        domain = self.layout.read(data_root)
        for message in contradictions(domain, self.lists):
            raise NasdaError(message)
        return domain

    @property
    def how_to_obtain(self) -> str:
        """One line: the paper, where to ask, the terms."""
        return f"{self.layout.dataset} ({self.paper}): {self.obtain}"


DATASETS: dict[DataSetName, DataSet] = {
    "market1501": DataSet(
        layout=Layout(
            dataset="Market-1501",
            task="person",
            folder_names=("Market-1501-v15.09.15", "Market-1501", "Market"),
            train=("bounding_box_train",),
            query="query",
            gallery="bounding_box_test",  # with distractors, which are wrong answers, and junk, which is not counted
            nobody=(JUNK, DISTRACTOR),
        ),
        folder="Market-1501-v15.09.15",
        paper="Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015",
        obtain="ask the authors, or follow Liang Zheng's project page; for research, not to be redistributed.",
        max_size=2 * GB,
        releases=(
            Release(
                "Market-1501-v15.09.15",
                "the paper, checked on the real files",
                {
                    "train": Counts(12_936, 751, 6),
                    "query": Counts(3_368, 750, 6),
                    "gallery": Counts(19_732, 750, 6, distractors=2_798, junk=3_819),
                },
                names="4ae22a2b37a0e54cbf877a19897f6a3016ba53c8693ed012755aae437c1efd75",
            ),
        ),
    ),
    "veri776": DataSet(
        layout=Layout(
            dataset="VeRi-776",
            task="vehicle",
            folder_names=("VeRi", "VeRi-776", "VeRi_with_plate", "VeRi-776_with_plate"),
            train=("image_train",),
            query="image_query",
            gallery="image_test",  # with every query: same identity, same camera, so the camera rule drops it
        ),
        folder="VeRi",
        paper="Liu et al., Large-scale Vehicle Re-identification in Urban Surveillance Videos, ICME 2016",
        obtain=(
            "ask the authors by mail, with name and affiliation; github.com/JDAI-CV/VeRidataset says how; "
            "for non-commercial research, not to be redistributed."
        ),
        max_size=5 * GB,
        releases=(
            Release(
                "VeRi-776",
                "the name lists that come with it",
                {
                    "train": Counts(37_778, 576, 20),
                    "query": Counts(1_678, 200, 19),
                    "gallery": Counts(11_579, 200, 19),
                },
            ),
        ),
        lists=(
            Lists("train", "name_train.txt", ("train_label.xml",)),
            Lists("query", "name_query.txt", ("test_label.xml",)),
            Lists("gallery", "name_test.txt", ("test_label.xml",)),
        ),
        queries_in_gallery=True,
    ),
    "personx": DataSet(
        # Three forms are in circulation: the original, with one folder a background; one tree like Market-1501's, which
        # has the paper's counts; and VisDA-2020's, with training images only.
        layout=Layout(
            dataset="PersonX",
            task="person",
            folder_names=("PersonX", "PersonX_v1", "subset1", "challenge_datasets"),
            train=("bounding_box_train", "image_train"),
            query="query",
            gallery="bounding_box_test",
            needs_test=False,
            parts=("1", "2", "3", "4", "5", "6"),
            nobody=(JUNK, DISTRACTOR),
        ),
        folder="PersonX",
        paper="Sun and Zheng, Dissecting Person Re-identification from the Viewpoint of Viewpoint, CVPR 2019",
        obtain=(
            "github.com/sxzrt/Instructions-of-the-PersonX-dataset names its forms and where they lie; the paper's "
            "counts are those of its more challenging subset; ask the authors for the terms."
        ),
        max_size=30 * GB,
        releases=(
            Release(
                "PersonX, one tree",
                "nasda's paper, §3.1, and public loaders; 410 is the number of training identities",
                {"train": Counts(9_840, 410, 6), "query": Counts(5_136, 856), "gallery": Counts(30_816, 856)},
            ),
            Release("PersonX of VisDA-2020", "the challenge's training set", {"train": Counts(20_280, 700)}),
        ),
    ),
    "vehiclex": DataSet(
        # Two sets go by this name: AI City's, fitted to CityFlow, and the paper's, whose attributes were fitted to
        # VeRi-776 (so "source only" is not quite free of the target there).
        layout=Layout(
            dataset="VehicleX",
            task="vehicle",
            folder_names=(
                "AIC20_ReID_Simulation",
                "AIC21_Track2_ReID_Simulation",
                "VehicleX",
                "VehicleX_VeRi",
                "VeRiX",
                "AIC20_track2",
                "AIC20_track2_reid_simulation",
                "AIC21",
            ),
            train=("image_train", "sys_image_train", "VeRi_ReID_Simulation"),  # AI City 2020, 2021, the authors' own
        ),
        folder="VehicleX",
        paper="Yao et al., Simulating Content Consistent Vehicle Datasets with Attribute Descent, ECCV 2020",
        obtain=(
            "github.com/yorkeyao/VehicleX names its forms; the AI City Challenge gives its own to those who sign its "
            "agreement; ask the authors for the set fitted to VeRi-776, which the paper used."
        ),
        max_size=30 * GB,
        releases=(
            Release("VehicleX fitted to VeRi-776", "nasda's paper, §3.1", {"train": Counts(75_516, 1_362)}),
            Release("VehicleX of AI City 2020", "the challenge's description", {"train": Counts(192_150, 1_362)}),
        ),
        lists=(Lists("train", "name_train.txt", ("train_label.xml", "VeRi_label.xml")),),
    ),
}


def describe() -> str:
    """Where to ask for each of the four, and its terms: a paragraph each."""
    return "\n\n".join(f"{name}: {dataset.how_to_obtain}" for name, dataset in DATASETS.items())


def index_lines(queries: Sequence[Sample], gallery: Sequence[Sample]) -> dict[str, list[list[int]]]:
    """The content of VeRi-776's `gt_index.txt` and `jk_index.txt`: a line a query, numbers in the gallery from 1.

    By the camera rule: right (gt) is the query's identity under another camera, left out (jk) under its own.
    """
    of_pid: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, image in enumerate(gallery, start=1):
        of_pid[image.pid].append((number, image.camid))
    return {
        "gt_index.txt": [[n for n, camid in of_pid[query.pid] if camid != query.camid] for query in queries],
        "jk_index.txt": [[n for n, camid in of_pid[query.pid] if camid == query.camid] for query in queries],
    }
