"""PersonX (Sun and Zheng 2019): the source of the person task, 1,266 rendered people.

It is passed round in three forms: the original, with one folder a background; one tree like Market-1501's, from which
the paper's counts come; and VisDA-2020's, which has 20,280 training images of 700 people and no test.
"""

from pathlib import Path

from nasda.data.domain import DISTRACTOR, JUNK, Domain
from nasda.data.reading import Layout, read_market_tree, read_train

BACKGROUNDS = ("1", "2", "3", "4", "5", "6")

LAYOUT = Layout(
    dataset="PersonX",
    task="person",
    folder_names=("PersonX", "PersonX_v1", "subset1", "challenge_datasets"),
    markers=("bounding_box_train", "image_train", *(f"{background}/bounding_box_train" for background in BACKGROUNDS)),
)


def read_names(data_root: Path) -> Domain:
    """PersonX below `data_root`, in whichever of its three forms; identities and cameras as its file names say.

    Of the original form all backgrounds that exist are read, in order. Where there is neither `query` nor
    `bounding_box_test` both lists are empty: a source needs no test.
    Raises `NasdaError` when a folder is missing or empty, or a file's name is not understood.
    """
    root = LAYOUT.find(data_root)
    domain = Domain(LAYOUT.dataset, root, train=[], query=[], gallery=[])
    if (root / "image_train").is_dir():
        domain.train.extend(read_train(root / "image_train", without=(JUNK, DISTRACTOR)))
        return domain
    for tree in [root / background for background in BACKGROUNDS if (root / background).is_dir()] or [root]:
        train, query, gallery = read_market_tree(tree, needs_test=False)
        domain.train.extend(train)
        domain.query.extend(query)
        domain.gallery.extend(gallery)
    return domain
