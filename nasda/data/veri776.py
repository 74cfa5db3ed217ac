"""VeRi-776 (Liu et al. 2016): the target of the vehicle task, 776 cars before twenty cameras."""

from pathlib import Path

from nasda.data.domain import Domain
from nasda.data.reading import Layout, check_labels, check_name_list, read_images, read_train

LAYOUT = Layout(
    dataset="VeRi-776",
    task="vehicle",
    folder_names=("VeRi", "VeRi-776", "VeRi_with_plate", "VeRi-776_with_plate"),
    markers=("image_train", "image_test", "image_query"),
)


def read(data_root: Path) -> Domain:
    """VeRi-776 below `data_root`: `image_train`, `image_query` and `image_test` (the gallery).

    All query images lie in the gallery too, and stay there: same identity and same camera, so the evaluation's camera
    rule drops them. The file names give the labels; `name_*.txt` and `*_label.xml` are held against them where they
    are there. `gt_index.txt` and `jk_index.txt` say what the camera rule says, and are not needed.
    Raises `NasdaError` when a folder is missing or empty, a file's name is not understood, or a list or label file
    contradicts the images.
    """
    root = LAYOUT.find(data_root)
    train = read_train(root / "image_train")
    query = read_images(root / "image_query")
    gallery = read_images(root / "image_test")
    for samples, name_list, labels in (
        (train, "name_train.txt", "train_label.xml"),
        (query, "name_query.txt", "test_label.xml"),
        (gallery, "name_test.txt", "test_label.xml"),
    ):
        check_name_list(samples, root / name_list)
        check_labels(samples, root / labels)
    return Domain(LAYOUT.dataset, root, train, query, gallery)
