"""nasda.data.datasets, PersonX: the source of the person task, in its three forms."""

from pathlib import Path

from nasda.data.datasets import DATASETS
from nasda.data.domain import cameras, identities
from tests.data import layouts
from tests.data.test_reading import message_of

PERSONX = DATASETS["personx"]


def test_one_tree(tmp_path: Path) -> None:
    layouts.personx(tmp_path / "PersonX")
    domain = PERSONX.read(tmp_path)
    assert [len(split) for split in (domain.train, domain.query, domain.gallery)] == [4, 2, 3]
    assert identities(domain.train) == [1, 410]


def test_cameras_go_to_twelve(tmp_path: Path) -> None:
    layouts.personx(tmp_path / "PersonX")
    assert cameras(PERSONX.read(tmp_path).train) == [3, 4, 10, 12]  # one digit would say 1, 3, 4


def test_every_background_is_read_in_order(tmp_path: Path) -> None:
    root = layouts.personx_backgrounds(tmp_path / "PersonX_v1")
    domain = PERSONX.read(tmp_path)
    assert [len(split) for split in (domain.train, domain.query, domain.gallery)] == [24, 12, 18]
    assert [sample.path.relative_to(root).parts[0] for sample in domain.train[::4]] == ["1", "2", "3", "4", "5", "6"]
    assert identities(domain.train) == [1, 410]


def test_the_backgrounds_that_exist_are_enough(tmp_path: Path) -> None:
    layouts.personx_backgrounds(tmp_path / "PersonX_v1", ["4", "6"])
    assert len(PERSONX.read(tmp_path).train) == 8


def test_a_half_unpacked_background_is_named(tmp_path: Path) -> None:
    root = layouts.personx_backgrounds(tmp_path / "PersonX_v1")
    (root / "3" / "bounding_box_train").rename(root / "away")
    assert f"{root / '3' / 'bounding_box_train'}: no such folder" in message_of(lambda: PERSONX.read(tmp_path))


def test_visda_has_training_images_only(tmp_path: Path) -> None:
    layouts.personx_visda(tmp_path / "personX")
    domain = PERSONX.read(tmp_path)
    assert (len(domain.train), domain.query, domain.gallery) == (4, [], [])


def test_a_source_needs_no_test(tmp_path: Path) -> None:
    root = layouts.personx(tmp_path / "PersonX")
    (root / "query").rename(tmp_path / "query")
    assert f"{root / 'query'}: no such folder" in message_of(lambda: PERSONX.read(tmp_path))  # half a test is a mistake
    (root / "bounding_box_test").rename(tmp_path / "gallery")
    domain = PERSONX.read(tmp_path)
    assert (len(domain.train), domain.query, domain.gallery) == (4, [], [])


def test_training_leaves_out_the_background_identity(tmp_path: Path) -> None:
    for number, make in enumerate((layouts.personx, layouts.personx_visda)):
        root = make(tmp_path / str(number) / "PersonX")
        for train in ("bounding_box_train", "image_train"):
            if (root / train).is_dir():
                layouts.images(root / train, ["0000_c3s1_1.jpg"])
        assert identities(PERSONX.read(root).train) == [1, 410]
