"""nasda.data.datasets: the official figures, stated here a second time."""

import pytest

from nasda.data.datasets import DATASETS, DataSetName

# images, identities, cameras, distractors, junk
OFFICIAL = [
    ("market1501", 0, "train", (12936, 751, 6, 0, 0)),
    ("market1501", 0, "query", (3368, 750, 6, 0, 0)),
    ("market1501", 0, "gallery", (19732, 750, 6, 2798, 3819)),
    ("veri776", 0, "train", (37778, 576, 20, 0, 0)),
    ("veri776", 0, "query", (1678, 200, 19, 0, 0)),
    ("veri776", 0, "gallery", (11579, 200, 19, 0, 0)),
    ("personx", 0, "train", (9840, 410, 6, 0, 0)),
    ("personx", 0, "query", (5136, 856, None, 0, 0)),
    ("personx", 0, "gallery", (30816, 856, None, 0, 0)),
    ("personx", 1, "train", (20280, 700, None, 0, 0)),
    ("vehiclex", 0, "train", (75516, 1362, None, 0, 0)),
    ("vehiclex", 1, "train", (192150, 1362, None, 0, 0)),
]


@pytest.mark.parametrize(("name", "release", "split", "figures"), OFFICIAL)
def test_the_official_figures(name: DataSetName, release: int, split: str, figures: tuple[int | None, ...]) -> None:
    assert DATASETS[name].releases[release].splits[split] == figures


def test_no_other_figures_are_claimed() -> None:
    claimed = {
        (name, number, split)
        for name, dataset in DATASETS.items()
        for number, release in enumerate(dataset.releases)
        for split in release.splits
    }
    assert claimed == {row[:3] for row in OFFICIAL}


def test_the_figures_agree_with_each_other() -> None:
    gallery = DATASETS["market1501"].releases[0].splits["gallery"]
    assert gallery.images - gallery.distractors - gallery.junk == 13115
    train, test = (DATASETS["market1501"].releases[0].splits[split].identities or 0 for split in ("train", "query"))
    assert train + test == 1501
    train, test = (DATASETS["veri776"].releases[0].splits[split].identities or 0 for split in ("train", "query"))
    assert train + test == 776
    train, test = (DATASETS["personx"].releases[0].splits[split].identities or 0 for split in ("train", "query"))
    assert train + test == 1266


def test_every_figure_has_a_source_and_every_data_set_its_terms() -> None:
    for dataset in DATASETS.values():
        assert all(release.source for release in dataset.releases)
        assert dataset.layout.is_called(dataset.folder)
        assert "ask the authors" in dataset.how_to_obtain
