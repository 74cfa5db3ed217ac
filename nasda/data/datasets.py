"""What is known of the four real data sets: where to ask for them, what there should be, how large they may grow."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from nasda.data import market1501, personx, vehiclex, veri776
from nasda.data.domain import Domain
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

# Files that say that nasda made a data set, so that its counts are not the official ones.
MARKERS = TOY_MARKER, SUBSET_MARKER, TRANSLATION_MARKER = "toy.json", "subset.json", "translation.json"

GB = 10**9


class Counts(NamedTuple):
    """What there is, or should be, of a split; None where the source of the figures does not say."""

    images: int
    identities: int | None = None  # without distractors and junk
    cameras: int | None = None
    distractors: int = 0
    junk: int = 0


@dataclass(frozen=True)
class Release:
    """The official figures of one release of a data set; a split that it does not have is None.

    names: SHA-256 of the images' names, if known. Hashed are the paths below the data set's folder, such as
        `bounding_box_train/0002_c1s1_000451_03.jpg`, sorted, with a line feed between two and none at the end.
    """

    name: str
    source: str  # of the figures
    train: Counts
    query: Counts | None = None
    gallery: Counts | None = None
    names: str | None = None

    def splits(self) -> dict[str, Counts]:
        """The splits that the release has, by their names."""
        named = {"train": self.train, "query": self.query, "gallery": self.gallery}
        return {split: figures for split, figures in named.items() if figures is not None}


@dataclass(frozen=True)
class DataSet:
    """One of the four. None of them may be passed on, so each is asked for by whoever uses it."""

    layout: Layout
    folder: str  # the name it gets below a data root
    read_names: Callable[[Path], Domain]  # reads it by its file names alone
    paper: str
    obtain: str
    """Where it is asked for, and its terms."""
    max_size: int
    """Bytes that unpacking may write before it looks like a bomb: several times what the largest release takes."""
    releases: tuple[Release, ...]
    lists: tuple[Lists, ...] = ()
    queries_in_gallery: bool = False

    def read(self, data_root: Path) -> Domain:
        """The data set below `data_root`, its names held against the lists and label files that are there.

        Raises `NasdaError` where it is missing or contradicts itself.
        """
        domain = self.read_names(data_root)
        for message in contradictions(domain, self.lists):
            raise NasdaError(message)
        return domain

    @property
    def how_to_obtain(self) -> str:
        """One line: the paper, where to ask, the terms."""
        return f"{self.layout.dataset} ({self.paper}): {self.obtain}"


DATASETS: dict[DataSetName, DataSet] = {
    "market1501": DataSet(
        layout=market1501.LAYOUT,
        folder="Market-1501-v15.09.15",
        read_names=market1501.read_names,
        paper="Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015",
        obtain="ask the authors, or follow Liang Zheng's project page; for research, not to be redistributed.",
        max_size=2 * GB,
        releases=(
            Release(
                "Market-1501-v15.09.15",
                "the paper, held against the real files",
                train=Counts(12_936, 751, 6),
                query=Counts(3_368, 750, 6),
                gallery=Counts(19_732, 750, 6, distractors=2_798, junk=3_819),
                names="4ae22a2b37a0e54cbf877a19897f6a3016ba53c8693ed012755aae437c1efd75",
            ),
        ),
    ),
    "veri776": DataSet(
        layout=veri776.LAYOUT,
        folder="VeRi",
        read_names=veri776.read_names,
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
                train=Counts(37_778, 576, 20),
                query=Counts(1_678, 200, 19),
                gallery=Counts(11_579, 200, 19),
            ),
        ),
        lists=veri776.LISTS,
        queries_in_gallery=True,
    ),
    "personx": DataSet(
        layout=personx.LAYOUT,
        folder="PersonX",
        read_names=personx.read_names,
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
                train=Counts(9_840, 410, 6),
                query=Counts(5_136, 856),
                gallery=Counts(30_816, 856),
            ),
            Release("PersonX of VisDA-2020", "the challenge's training set", train=Counts(20_280, 700)),
        ),
    ),
    "vehiclex": DataSet(
        layout=vehiclex.LAYOUT,
        folder="VehicleX",
        read_names=vehiclex.read_names,
        paper="Yao et al., Simulating Content Consistent Vehicle Datasets with Attribute Descent, ECCV 2020",
        obtain=(
            "github.com/yorkeyao/VehicleX names its forms; the AI City Challenge gives its own to those who sign its "
            "agreement; ask the authors for the set fitted to VeRi-776, which the paper used."
        ),
        max_size=30 * GB,
        releases=(
            Release("VehicleX fitted to VeRi-776", "nasda's paper, §3.1", train=Counts(75_516, 1_362)),
            Release("VehicleX of AI City 2020", "the challenge's description", train=Counts(192_150, 1_362)),
        ),
        lists=vehiclex.LISTS,
    ),
}


def describe() -> str:
    """Where the four are asked for, and their terms, a paragraph each."""
    return "\n\n".join(f"{name}: {dataset.how_to_obtain}" for name, dataset in DATASETS.items())
