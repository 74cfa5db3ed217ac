"""VeRi-776 (Liu et al. 2016): the target of the vehicle task, 776 cars before twenty cameras."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from nasda.data.domain import Domain, Sample
from nasda.data.reading import Layout, Lists, read_images, read_train

LAYOUT = Layout(
    dataset="VeRi-776",
    task="vehicle",
    folder_names=("VeRi", "VeRi-776", "VeRi_with_plate", "VeRi-776_with_plate"),
    markers=("image_train", "image_test", "image_query"),
)
LISTS = (
    Lists("train", "name_train.txt", ("train_label.xml",)),
    Lists("query", "name_query.txt", ("test_label.xml",)),
    Lists("gallery", "name_test.txt", ("test_label.xml",)),
)


def read_names(data_root: Path) -> Domain:
    """VeRi-776 below `data_root`: `image_train`, `image_query` and `image_test` (the gallery).

    All query images lie in the gallery too, and stay there: same identity and same camera, so the evaluation's camera
    rule drops them. The file names give the labels. `gt_index.txt` and `jk_index.txt` say what the camera rule says,
    and are not needed.
    Raises `NasdaError` when a folder is missing or empty, or a file's name is not understood.
    """
    root = LAYOUT.find(data_root)
    return Domain(
        LAYOUT.dataset,
        root,
        train=read_train(root / "image_train"),
        query=read_images(root / "image_query"),
        gallery=read_images(root / "image_test"),
    )


def index_lines(queries: Sequence[Sample], gallery: Sequence[Sample]) -> dict[str, list[list[int]]]:
    """What `gt_index.txt` and `jk_index.txt` hold, by file: a line a query, numbers in the gallery, counted from 1.

    By the camera rule: right (gt) is the query's identity under another camera, left out (jk) under its own.
    """
    of_pid: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, image in enumerate(gallery, start=1):
        of_pid[image.pid].append((number, image.camid))
    return {
        "gt_index.txt": [[n for n, camid in of_pid[query.pid] if camid != query.camid] for query in queries],
        "jk_index.txt": [[n for n, camid in of_pid[query.pid] if camid == query.camid] for query in queries],
    }
