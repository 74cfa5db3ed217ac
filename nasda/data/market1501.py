"""Market-1501 (Zheng et al. 2015): the target of the person task, 1,501 people before six cameras."""

from pathlib import Path

from nasda.data.domain import Domain
from nasda.data.reading import Layout, read_market_tree

LAYOUT = Layout(
    dataset="Market-1501",
    task="person",
    folder_names=("Market-1501-v15.09.15", "Market-1501", "Market"),
    markers=("bounding_box_train", "bounding_box_test", "query"),
)


def read_names(data_root: Path) -> Domain:
    """Market-1501 below `data_root`: `bounding_box_train`, `query` and `bounding_box_test` (the gallery).

    The gallery keeps its 2,798 distractors (pid 0) and 3,819 junk boxes (pid −1): the evaluation counts the former as
    wrong answers and drops the latter. `gt_bbox` and `gt_query` are not needed.
    Raises `NasdaError` when a folder is missing or empty, or a file's name is not understood.
    """
    root = LAYOUT.find(data_root)
    train, query, gallery = read_market_tree(root, needs_test=True)
    return Domain(LAYOUT.dataset, root, train, query, gallery)
