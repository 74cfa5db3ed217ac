"""nasda.data.datasets, VeRi-776: the target of the vehicle task, with its name lists and label files."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from nasda.data.datasets import DATASETS, index_lines
from nasda.data.domain import Sample, cameras
from nasda.data.reading import contradictions, read_labels, read_xml, xml_bytes
from tests.data import layouts
from tests.data.test_reading import message_of

VERI = DATASETS["veri776"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return layouts.veri776(tmp_path / "VeRi")


def test_every_split_is_read(root: Path) -> None:
    domain = VERI.read(root)
    assert domain.name == "VeRi-776"
    assert domain.query[0] == Sample(root / "image_query" / "0002_c002_00030600_0.jpg", 2, 2)
    assert [len(split) for split in (domain.train, domain.query, domain.gallery)] == [4, 2, 4]
    assert cameras(domain.train) == [1, 2, 3, 20]


def test_the_query_images_stay_in_the_gallery(root: Path) -> None:
    domain = VERI.read(root)
    gallery = {sample.path.name: sample for sample in domain.gallery}
    for query in domain.query:
        twin = gallery[query.path.name]
        assert (twin.pid, twin.camid) == (query.pid, query.camid)  # so the camera rule drops it
        assert twin.path != query.path


def test_label_files_declare_an_encoding_that_elementtree_refuses(root: Path) -> None:
    with pytest.raises(ValueError, match="multi-byte"):
        ElementTree.parse(root / "train_label.xml")
    assert VERI.read(root).train


@pytest.mark.parametrize("encoding", ["gb2312", "GB2312", "gbk", "utf-8"])
def test_label_files_are_read_in_any_encoding(encoding: str, root: Path) -> None:
    name = layouts.VERI_TRAIN[0]
    layouts.label_file(root / "train_label.xml", [layouts.item(name, vehicleID="9", brand="奥迪")], encoding)
    assert "vehicleID" in message_of(lambda: VERI.read(root))  # so it was read


def test_a_byte_order_mark_is_no_obstacle(root: Path) -> None:
    labels = root / "train_label.xml"
    layouts.label_file(labels, [layouts.item(layouts.VERI_TRAIN[0], vehicleID="9")], "utf-8")
    labels.write_bytes(b"\xef\xbb\xbf" + labels.read_bytes())
    assert "vehicleID" in message_of(lambda: VERI.read(root))


def test_characters_beyond_gb2312_are_no_obstacle(root: Path) -> None:
    text = '<?xml version="1.0" encoding="gb2312"?><Items><Item imageName="a.jpg" brand="镕"/></Items>'
    with pytest.raises(UnicodeEncodeError):
        text.encode("gb2312")
    (root / "train_label.xml").write_bytes(text.encode("gbk"))
    assert VERI.read(root).train


@pytest.mark.parametrize(("attribute", "value", "named"), [("vehicleID", "9", "1"), ("cameraID", "c008", "20")])
@pytest.mark.parametrize(("split", "labels"), [("train", "train_label.xml"), ("test", "test_label.xml")])
def test_a_label_that_contradicts_the_name_is_an_error(
    attribute: str, value: str, named: str, split: str, labels: str, root: Path
) -> None:
    names = layouts.VERI_TRAIN if split == "train" else layouts.VERI_GALLERY
    wrong = names[1]
    named = named if split == "train" else {"vehicleID": "5", "cameraID": "3"}[attribute]
    items = [layouts.item(name, **({attribute: value} if name == wrong else {})) for name in names]
    layouts.label_file(root / labels, items)
    message = message_of(lambda: VERI.read(root))
    assert wrong in message
    assert str(root / labels) in message
    assert f"{attribute} {named}," in message
    assert f"says {value.removeprefix('c').lstrip('0')}:" in message


def test_without_label_files_and_lists_the_names_are_enough(root: Path) -> None:
    domain = VERI.read(root)
    for file in (*root.glob("*.xml"), *root.glob("*.txt")):
        file.unlink()
    assert VERI.read(root) == domain


def test_images_that_the_label_file_leaves_out_are_kept(root: Path) -> None:
    layouts.label_file(root / "train_label.xml", [layouts.item(layouts.VERI_TRAIN[0])])
    assert len(VERI.read(root).train) == 4


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "no element found"),
        (b'<?xml version="1.0" encoding="gb2312"?><Items><Item', "unclosed token"),
        (b'<?xml version="1.0" encoding="klingon"?><Items/>', "klingon"),
        (b'<?xml version="1.0" encoding="gb2312"?><Items>\xff\xff</Items>', "decode"),
        (b'<Items><Item imageName="0001_c001_00016450_0.jpg" vehicleID="one"/></Items>', "vehicleID='one'"),
    ],
)
def test_a_broken_label_file_is_named_with_its_cause(content: bytes, cause: str, root: Path) -> None:
    (root / "train_label.xml").write_bytes(content)
    message = message_of(lambda: VERI.read(root))
    assert str(root / "train_label.xml") in message
    assert cause in message


@pytest.mark.parametrize(
    ("split", "name", "total"),
    [("train", layouts.VERI_TRAIN[2], 4), ("query", layouts.VERI_QUERY[1], 2), ("test", layouts.VERI_GALLERY[3], 4)],
)
def test_a_listed_image_that_is_missing_is_named(split: str, name: str, total: int, root: Path) -> None:
    missing = root / f"image_{split}" / name
    missing.unlink()
    message = message_of(lambda: VERI.read(root))
    assert f"{missing}: no such file" in message
    assert f"name_{split}.txt" in message
    assert f"1 of {total} are missing" in message


def test_an_image_that_is_not_listed_is_named(root: Path) -> None:
    extra = root / "image_train" / "0009_c001_00000001_0.jpg"
    extra.write_bytes(layouts.jpeg())
    message = message_of(lambda: VERI.read(root))
    assert f"{extra}: not listed" in message
    assert "name_train.txt" in message


@pytest.mark.parametrize("lacking", ["image_train", "image_query", "image_test"])
def test_all_three_splits_are_needed(lacking: str, root: Path) -> None:
    (root / lacking).rename(root / "away")
    assert f"{root / lacking}: no such folder" in message_of(lambda: VERI.read(root))


def test_every_contradiction_can_be_had_and_reading_stops_at_the_first(root: Path) -> None:
    (root / "image_train" / layouts.VERI_TRAIN[0]).unlink()
    (root / "image_train" / layouts.VERI_TRAIN[3]).unlink()
    wrong = layouts.item(layouts.VERI_GALLERY[0], cameraID="c009")
    layouts.label_file(root / "test_label.xml", [wrong])
    messages = list(contradictions(VERI.layout.read(root), VERI.lists))
    named = [layouts.VERI_TRAIN[0], layouts.VERI_TRAIN[3], layouts.VERI_GALLERY[0], layouts.VERI_GALLERY[0]]
    assert [Path(message.split(": ")[0]).name for message in messages] == named  # the last one is query and gallery
    assert message_of(lambda: VERI.read(root)) == messages[0]


def test_a_file_that_cannot_be_read_contradicts_and_the_others_are_still_compared(root: Path) -> None:
    (root / "train_label.xml").write_bytes(b"<Items")
    (root / "image_test" / layouts.VERI_GALLERY[2]).unlink()
    messages = list(contradictions(VERI.layout.read(root), VERI.lists))
    assert len(messages) == 2
    assert messages[0].startswith(f"{root / 'train_label.xml'}: cannot be read as XML")
    assert messages[1].startswith(f"{root / 'image_test' / layouts.VERI_GALLERY[2]}: no such file")


@pytest.mark.parametrize("encoding", ["gb2312", "utf-8", "gbk"])
def test_label_files_are_written_as_they_are_read(encoding: str, root: Path) -> None:
    path = layouts.label_file(root / "train_label.xml", [layouts.item("0001_c001_1_0.jpg", brand="奥迪")], encoding)
    labels = read_labels(path)
    assert labels == {"0001_c001_1_0.jpg": (1, 1)}
    tree, declared = read_xml(path)
    assert declared == encoding
    path.write_bytes(xml_bytes(tree, declared))
    assert read_labels(path) == labels
    assert read_xml(path)[0].find(".//Item").get("brand") == "奥迪"  # type: ignore[union-attr]


def test_a_label_may_say_half(root: Path) -> None:
    (root / "half.xml").write_text('<Items><Item imageName="a" vehicleID="7"/><Item imageName="b"/></Items>')
    assert read_labels(root / "half.xml") == {"a": (7, None), "b": (None, None)}


def test_the_indices_are_those_that_come_with_the_data_set(root: Path) -> None:
    domain = VERI.read(root)
    lines = index_lines(domain.query, domain.gallery)
    for file in ("gt_index.txt", "jk_index.txt"):  # which count in the order of name_test.txt, not of the names
        in_order = [str(domain.gallery[number - 1].path.name) for line in lines[file] for number in line]
        listed = (root / file).read_text().split()
        assert in_order == [layouts.VERI_GALLERY[int(number) - 1] for number in listed]
