"""nasda.data.check: good data sets pass, oddities and all, and every single damage is named."""

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasda.cli import main
from nasda.data.check import (
    Problem,
    check_images,
    check_split,
    examine,
    load_sound_task,
    names_digest,
    require_sound,
)
from nasda.data.datasets import DATASETS, Counts, DataSetName, Release
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample
from nasda.data.task import count
from nasda.errors import NasdaError
from nasda.evaluation import rank
from nasda.settings import TaskName, ToySettings
from nasda.toy.make import make_toy
from tests.data import layouts
from tests.data.test_reading import message_of
from tests.data.test_task import SOUND, domain
from tests.data.trees import MAKERS, tree

Damage = Callable[[Path], object]


def release_of(name: DataSetName, folder: Path) -> Release:
    """The counts that this very tree has."""
    splits = DATASETS[name].layout.read(folder).splits()
    return Release("this tree", "this test", {split: count(split, samples) for split, samples in splits.items()})


def checked(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and lines of `nasda data check DATASET DATA_ROOT`."""
    name, data_root, *options = arguments
    status = 0
    try:
        main(["data", "check", name, "--data-root", data_root, *options])
    except SystemExit as error:
        status = int(error.code or 0)
    said = capsys.readouterr()
    return status, [*said.out.splitlines(), *said.err.splitlines()]


def damaged(name: DataSetName, damage: Damage, parent: Path, releases: bool = True) -> list[Problem]:
    """What is found after `damage` was done to a good tree."""
    folder = tree(name, parent)
    release = release_of(name, folder)
    damage(folder)
    dataset = DATASETS[name]
    return list(examine(dataset, dataset.layout.read(folder), [release] if releases else []))


def lines(problems: list[Problem]) -> list[str]:
    """The problems as a person sees them."""
    text = [str(problem) for problem in problems]
    assert not any("\n" in line for line in text)
    return text


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_good_tree_passes_with_its_own_counts(
    name: DataSetName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tree(name, tmp_path)
    for wanted in (folder, tmp_path):
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], releases=(release_of(name, folder),)))
        status, lines = checked([name, str(wanted)], capsys)
        assert status == 0
        assert lines[-1] == f"{DATASETS[name].layout.dataset}: good"
        assert not [line for line in lines if line.startswith(("error", "warning"))]


@pytest.mark.parametrize("name", list(DATASETS))
def test_other_counts_are_wrong_unless_any_will_do(
    name: DataSetName, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tree(name, tmp_path)
    status, lines = checked([name, str(tmp_path)], capsys)
    official = DATASETS[name].releases[0].splits["train"].images
    assert status == 2
    train = DATASETS[name].layout.read(folder).train
    assert any(
        line.startswith(f"error: {train[0].path.parent}: train has {len(train)} images, expected {official:,} ")
        for line in lines
    )
    status, lines = checked([name, str(tmp_path), "--counts", "none"], capsys)
    assert (status, lines[-1]) == (0, f"{DATASETS[name].layout.dataset}: good")


def test_the_nearest_release_is_the_one_that_is_meant(tmp_path: Path) -> None:
    folder = tree("vehiclex", tmp_path)
    near = release_of("vehiclex", folder)
    far = Release("far", "nowhere", {"train": Counts(10**6)})
    domain = DATASETS["vehiclex"].layout.read(folder)
    assert not list(examine(DATASETS["vehiclex"], domain, [far, near]))
    assert list(examine(DATASETS["vehiclex"], domain, [far]))


def test_known_oddities_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree("market1501", tmp_path)
    lines = checked(["market1501", str(tmp_path), "--counts", "none"], capsys)[1]
    known = [line for line in lines if line.startswith("known: ")]
    assert f"known: {folder / 'query' / '.DS_Store'}: no image, so ignored; and 4 more" in known
    double = folder / "bounding_box_train" / "1488_c1s6_011321_01.jpg.jpg"
    assert f"known: {double}: two endings, read like any other" in known
    assert f"known: {folder}: gt_bbox and gt_query: not needed" in known
    assert len(known) == 5
    tree("veri776", tmp_path)
    lines = checked(["veri776", str(tmp_path), "--counts", "none"], capsys)[1]
    assert any("its queries lie in the gallery too" in line for line in lines)


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_truncated_image_is_named(name: DataSetName, tmp_path: Path) -> None:
    def cut(folder: Path) -> None:
        nonlocal path
        path = DATASETS[name].layout.read(folder).train[0].path
        path.write_bytes(layouts.jpeg(size=(64, 64))[:-200])

    path = Path()
    (problem,) = damaged(name, cut, tmp_path)
    assert str(problem).startswith(f"error: {path}: ")
    assert "image file is truncated" in problem.message


def test_images_need_not_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree("market1501", tmp_path) / "query" / layouts.MARKET_QUERY[0]).write_bytes(b"")
    assert checked(["market1501", str(tmp_path), "--counts", "none"], capsys)[0] == 2
    assert checked(["market1501", str(tmp_path), "--counts", "none", "--no-images"], capsys)[0] == 0


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_missing_image_is_counted_and_named_where_a_list_names_it(name: DataSetName, tmp_path: Path) -> None:
    def remove(folder: Path) -> None:
        nonlocal path
        path = DATASETS[name].layout.read(folder).train[-1].path
        path.unlink()

    path = Path()
    lines = [str(problem) for problem in damaged(name, remove, tmp_path) if problem.severity == "error"]
    assert any(line.startswith(f"error: {path.parent}: train has") for line in lines)
    assert any(str(path) in line for line in lines) == (name in ("veri776", "vehiclex"))


@pytest.mark.parametrize("split", ["train", "query", "test"])
def test_each_missing_image_of_veri_is_named(split: str, tmp_path: Path) -> None:
    def remove(folder: Path) -> None:
        for path in sorted((folder / f"image_{split}").glob("0*.jpg"))[1:]:
            if path.is_file():
                path.unlink()
                gone.append(path)

    gone: list[Path] = []
    lines = [str(problem) for problem in damaged("veri776", remove, tmp_path, releases=False)]
    assert gone
    assert all(any(line.startswith(f"error: {path}: no such file") for line in lines) for path in gone)


def test_labels_without_an_image_are_named_where_there_is_no_list(tmp_path: Path) -> None:
    def remove(folder: Path) -> None:
        (folder / "name_train.txt").unlink()
        (folder / "image_train" / layouts.VERI_TRAIN[1]).unlink()

    lines = [str(problem) for problem in damaged("veri776", remove, tmp_path, releases=False)]
    expected = f"error: {tmp_path / 'VeRi' / 'train_label.xml'}: labels {layouts.VERI_TRAIN[1]}, but"
    assert any(line.startswith(expected) for line in lines)


def test_images_without_a_label_are_no_error(tmp_path: Path) -> None:
    def shorten(folder: Path) -> None:
        layouts.label_file(folder / "train_label.xml", [layouts.item(layouts.VERI_TRAIN[0])])

    (problem,) = damaged("veri776", shorten, tmp_path)
    assert str(problem).startswith(f"warning: {tmp_path / 'VeRi' / 'train_label.xml'}: has no label for 3 images")
    assert layouts.VERI_TRAIN[1] in problem.message


@pytest.mark.parametrize(("attribute", "value"), [("vehicleID", "0999"), ("cameraID", "c017")])
def test_each_label_that_disagrees_is_named(attribute: str, value: str, tmp_path: Path) -> None:
    def relabel(folder: Path) -> None:
        wrong = [layouts.item(name, **{attribute: value}) for name in layouts.VERI_TRAIN[:2]]
        right = [layouts.item(name) for name in layouts.VERI_TRAIN[2:]]
        layouts.label_file(folder / "train_label.xml", wrong + right)

    problems = damaged("veri776", relabel, tmp_path)
    assert len(problems) == 2
    for problem, name in zip(problems, layouts.VERI_TRAIN[:2], strict=True):
        assert str(problem).startswith(f"error: {tmp_path / 'VeRi' / 'image_train' / name}: its name says {attribute}")
        assert f"train_label.xml says {int(value.removeprefix('c'))}" in problem.message


def test_a_broken_label_file_and_a_broken_list_are_both_named(tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        (folder / "train_label.xml").write_bytes(b"<Items><Item")
        (folder / "name_query.txt").write_text("no name\n")

    lines = [str(problem) for problem in damaged("veri776", spoil, tmp_path)]
    assert any(f"{tmp_path / 'VeRi' / 'train_label.xml'}: cannot be read as XML" in line for line in lines)
    assert any(f"{tmp_path / 'VeRi' / 'image_query' / 'no name'}: name not understood" in line for line in lines)


def test_a_camera_swapped_in_a_name_is_named(tmp_path: Path) -> None:
    old, new = layouts.VERI_GALLERY[2], layouts.VERI_GALLERY[2].replace("c004", "c002")

    def rename(folder: Path) -> None:
        (folder / "image_test" / old).rename(folder / "image_test" / new)

    lines = [str(problem) for problem in damaged("veri776", rename, tmp_path, releases=False)]
    assert any(f"{old}: no such file" in line for line in lines)
    assert any(f"{new}: not listed" in line for line in lines)


def test_a_camera_swapped_everywhere_but_in_the_indices_is_named(tmp_path: Path) -> None:
    old, new = layouts.VERI_GALLERY[2], layouts.VERI_GALLERY[2].replace("c004", "c002")

    def rename(folder: Path) -> None:
        (folder / "image_test" / old).rename(folder / "image_test" / new)
        for file in (folder / "name_test.txt", folder / "test_label.xml"):
            file.write_bytes(file.read_bytes().replace(old.encode(), new.encode()).replace(b"c004", b"c002"))

    lines = [str(problem) for problem in damaged("veri776", rename, tmp_path, releases=False)]
    query = layouts.VERI_QUERY[0]
    assert lines[0].startswith(f"error: {tmp_path / 'VeRi' / 'gt_index.txt'}: line 1, of query {query}, ")
    assert "it has 3, expected nothing" in lines[0]
    assert lines[1].startswith(f"error: {tmp_path / 'VeRi' / 'jk_index.txt'}: line 1, of query {query}, ")
    assert "it has 1, expected 1, 3" in lines[1]


@pytest.mark.parametrize("file", ["gt_index.txt", "jk_index.txt"])
@pytest.mark.parametrize(("content", "words"), [("1 2\n4 \n", "line 1"), ("x\n9\n", "line 2"), ("3\n", "1 lines")])
def test_a_wrong_index_is_named(file: str, content: str, words: str, tmp_path: Path) -> None:
    problems = damaged("veri776", lambda folder: (folder / file).write_text(content), tmp_path)
    assert problems
    assert {problem.file for problem in problems} == {tmp_path / "VeRi" / file}
    assert any(words in problem.message for problem in problems)


def test_empty_lines_at_the_end_of_an_index_mean_nothing(tmp_path: Path) -> None:
    assert damaged("veri776", lambda folder: (folder / "gt_index.txt").write_text("3 \n4 \n\n \n"), tmp_path) == []


def test_indices_count_in_the_order_of_the_lists(tmp_path: Path) -> None:
    def reorder(folder: Path) -> None:
        (folder / "name_test.txt").write_text("\n".join(reversed(layouts.VERI_GALLERY)))
        (folder / "gt_index.txt").write_text("2\n1\n")
        (folder / "jk_index.txt").write_text("4\n3\n")

    assert damaged("veri776", reorder, tmp_path) == []


def test_a_query_that_is_not_in_the_gallery_is_named(tmp_path: Path) -> None:
    def remove(folder: Path) -> None:
        for file in folder.glob("*_*.*"):  # the lists and label files
            file.unlink()
        (folder / "image_test" / layouts.VERI_QUERY[1]).unlink()

    (problem,) = damaged("veri776", remove, tmp_path, releases=False)
    assert (problem.severity, problem.file) == ("error", tmp_path / "VeRi" / "image_query" / layouts.VERI_QUERY[1])
    assert "a query, so expected in" in problem.message


def test_an_identity_on_both_sides_is_named(tmp_path: Path) -> None:
    def leak(folder: Path) -> None:
        layouts.images(folder / "bounding_box_train", ["0001_c4s1_000001_01.jpg", "0001_c5s1_000001_01.jpg"])

    problems = damaged("market1501", leak, tmp_path, releases=False)
    assert any(problem.severity == "error" and "identity 1" in problem.message for problem in problems)


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_name_that_is_not_understood_and_a_missing_folder_are_named(
    name: DataSetName, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = DATASETS[name].layout.read(tree(name, tmp_path)).train[0].path.parent
    (train / "holiday.jpg").write_bytes(layouts.jpeg())
    status, lines = checked([name, str(tmp_path)], capsys)
    assert status == 2
    assert lines[-1].startswith(f"nasda: {train / 'holiday.jpg'}: name not understood")
    status, lines = checked([name, str(tmp_path / "nowhere")], capsys)
    assert status == 2
    assert "no such folder" in lines[-1]


@pytest.mark.parametrize("name", ["market1501", "personx", "veri776"])
def test_a_lost_test_folder_is_named(name: DataSetName, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = DATASETS[name].layout.read(tree(name, tmp_path)).query[0].path.parent
    query.rename(tmp_path / "away")
    status, lines = checked([name, str(tmp_path / MAKERS[name][1])], capsys)
    assert status == 2
    assert lines[-1].startswith(f"nasda: {query}: no such folder")


@pytest.mark.parametrize("task", ["person", "vehicle"])
def test_toy_data_is_good(task: TaskName, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ToySettings(source_identities=4, target_identities=3, test_identities=4)
    make_toy(tmp_path, task, height=24, width=16, settings=settings)
    names: dict[TaskName, tuple[DataSetName, DataSetName]] = {
        "person": ("personx", "market1501"),
        "vehicle": ("vehiclex", "veri776"),
    }
    for name in names[task]:
        status, lines = checked([name, str(tmp_path)], capsys)
        assert status == 0, lines
        assert checked([name, str(tmp_path), "--counts", "official"], capsys)[0] == 2
    main(["data", "check", "--task", task, "--data-root", str(tmp_path)])
    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith(": good")] == [
        f"{DATASETS[name].layout.dataset}: good" for name in names[task]
    ]


# What is known of a release


def test_a_name_that_is_not_the_official_one_is_seen_though_the_counts_agree(tmp_path: Path) -> None:
    folder = tree("market1501", tmp_path)
    market = DATASETS["market1501"]
    listed = sorted(
        f"{split}/{name}"
        for split, names in (
            ("bounding_box_train", layouts.MARKET_TRAIN),
            ("query", layouts.MARKET_QUERY),
            ("bounding_box_test", layouts.MARKET_GALLERY),
        )
        for name in names
    )
    digest = hashlib.sha256("\n".join(listed).encode()).hexdigest()
    release = replace(release_of("market1501", folder), names=digest)
    assert names_digest(market.read(folder)) == digest
    assert list(examine(market, market.read(folder), [release])) == []
    name = folder / "bounding_box_train" / layouts.MARKET_TRAIN[0]
    for other in ("0002_c3s1_000451_03.jpg", "0002_c1s1_000452_03.jpg"):  # another camera, another frame
        name = name.rename(name.with_name(other))
        (problem,) = examine(market, market.read(folder), [release])
        assert (problem.severity, problem.file) == ("error", folder)
        assert "names differ from the official list" in problem.message
    name.unlink()
    assert all("names differ" not in str(problem) for problem in examine(market, market.read(folder), [release]))


# What one command needs


def test_only_what_is_asked_for_is_read_and_checked(tmp_path: Path) -> None:
    tree("market1501", tmp_path)
    assert load_sound_task("person", tmp_path).target.train
    leak = tree("personx", tmp_path) / "query" / "0001_c3s1_2.jpg"
    leak.write_bytes(layouts.jpeg())
    task = pickle.loads(pickle.dumps(load_sound_task("person", tmp_path)))  # as it goes to a worker
    assert task.target.train
    assert "both training and test of PersonX" in message_of(lambda: task.source)


def test_a_data_set_is_checked_without_the_other_of_its_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree("market1501", tmp_path)
    assert checked(["market1501", str(tmp_path), "--counts", "none"], capsys)[0] == 0
    with pytest.raises(SystemExit):
        main(["data", "check", "--data-root", str(tmp_path)])
    assert "no PersonX found" in capsys.readouterr().err


def test_errors_stop_with_the_first_in_full_and_the_number_of_others() -> None:
    broken = domain(train=[(7, 1), (7, 2)], query=[(7, 1), (8, 1)], gallery=[(7, 1)])
    message = message_of(lambda: require_sound(broken))
    assert message.startswith(str(broken.train[0].path))
    assert "both training and test" in message
    assert "and 3 more" in message


def test_warnings_do_not_stop() -> None:
    lonely = domain(train=[(1, 1), (1, 2), (2, 1)], query=[(7, 1)], gallery=[(7, 2)])
    assert check_split(lonely)
    require_sound(lonely)


@pytest.mark.parametrize("name", ["0002_c1s1_\n000451_03.jpg", "0002_c1s1_\x1b[31m.jpg", "holi\nday.jpg"])
def test_a_name_with_a_line_break_stays_on_its_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree("market1501", tmp_path) / "query" / name).write_bytes(b"")
    status, lines = checked(["market1501", str(tmp_path), "--counts", "none"], capsys)
    assert status == 2
    (line,) = [line for line in lines if repr(name)[1:-1] in line and line.startswith(("error: ", "nasda: "))][:1]
    assert line.endswith(("or remove it", "remove the file"))
    assert "\x1b" not in "".join(lines)


# Checking splits


def test_a_sound_split_has_no_problems() -> None:
    assert check_split(SOUND) == []


def test_an_identity_in_training_and_test_is_an_error() -> None:
    leaky = domain(train=[(1, 1), (1, 2), (7, 1), (7, 2)], query=[(7, 1)], gallery=[(7, 2)])
    (problem,) = check_split(leaky)
    assert problem.severity == "error"
    assert problem.file == leaky.train[2].path
    assert "both training and test of mine have identity 7, so" in problem.message


def test_junk_and_distractors_on_both_sides_are_no_overlap() -> None:
    assert check_split(domain([(0, 1), (0, 2), (-1, 1), (-1, 2)], [(7, 1)], [(7, 2), (0, 1), (-1, 1)])) == []


def test_each_query_without_a_right_answer_is_named_with_its_cause() -> None:
    lost = domain(
        train=[(1, 1), (1, 2)],
        query=[(7, 3), (8, 1), (9, 1)],
        gallery=[(7, 3), (7, 3), (9, 1), (9, 2), (0, 1), (0, 2)],
    )
    text = lines(check_split(lost))
    assert len(text) == 2
    assert text[0].startswith(f"warning: {lost.query[0].path}: ")  # the evaluation skips and reports them
    assert "only camera 3, the query's own, sees identity 7" in text[0]
    assert str(lost.query[1].path) in text[1]
    assert "identity 8 is not in the gallery" in text[1]


@pytest.mark.parametrize("pid", [DISTRACTOR, JUNK])
def test_a_query_of_nobody_is_an_error_as_it_is_to_the_evaluation(pid: int) -> None:
    nobody = domain(train=[(1, 1), (1, 2)], query=[(7, 1), (pid, 1)], gallery=[(7, 2), (pid, 2)])
    (problem,) = check_split(nobody)
    assert (problem.severity, problem.file) == ("error", nobody.query[1].path)
    assert f"query of identity {pid}, which marks boxes of nobody" in problem.message
    features, ids = np.zeros((2, 1), np.float32), [[each.pid for each in nobody.query], [1, 1], [7, pid], [2, 2]]
    with pytest.raises(NasdaError, match="a query needs an identity"):
        rank(features, features, *map(np.array, ids))


def test_if_no_query_has_a_right_answer_it_is_an_error() -> None:
    problems = check_split(domain([(1, 1), (1, 2)], query=[(7, 3), (8, 1)], gallery=[(7, 3), (9, 1)]))
    assert [problem.severity for problem in problems] == ["error", "error"]


def test_long_lists_are_capped_with_their_total() -> None:
    many = domain([(1, 1), (1, 2)], query=[(pid, 1) for pid in range(100, 130)] + [(7, 1)], gallery=[(7, 2)])
    text = lines(check_split(many))
    assert len(text) == 11
    assert text[-1] == "warning: … and 20 more: 30 of 31 queries have no right answer in all"


def test_one_camera_names_cause_and_remedy() -> None:
    single = domain(train=[(1, 1), (1, 1), (2, 1), (2, 1)], query=[(7, 1)], gallery=[(7, 1), (8, 1)])
    problems = check_split(single)
    assert [problem.severity for problem in problems] == ["warning", "error", "error"]
    train, test, query = lines(problems)
    assert "all 4 training images are from camera 1" in train
    assert "all 3 query and gallery images are from camera 1" in test
    assert "all query identities do not appear in gallery" in test  # what people search for
    assert "write the true camera into the file names" in test
    assert "only camera 1, the query's own" in query


def test_an_identity_with_one_training_image_is_a_warning() -> None:
    lonely = domain(train=[(1, 1), (1, 2), (2, 1)], query=[(7, 1)], gallery=[(7, 2)])
    (problem,) = check_split(lonely)
    assert (problem.severity, problem.file) == ("warning", lonely.train[2].path)
    assert "identity 2 has this one training image" in problem.message


def test_a_file_listed_twice_is_an_error() -> None:
    twice = Domain("mine", Path("root"), SOUND.train + SOUND.train[:1], SOUND.query, SOUND.gallery)
    (problem,) = check_split(twice)
    assert (problem.severity, problem.file) == ("error", SOUND.train[0].path)
    assert "2 times in train" in problem.message


def test_a_source_without_test_is_sound() -> None:
    assert check_split(domain(train=[(1, 1), (1, 2)], query=[], gallery=[])) == []


# Checking images


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"<html>404 Not Found\n</html>", "it begins with b'<html>404 Not Fo'"),
        (layouts.jpeg()[:100], "it cannot be read"),  # cut in its head
        (
            layouts.jpeg(size=(64, 64))[:-200],
            "(image file is truncated",
        ),  # cut in its pixels: only decoding shows it
        (b"BM" + bytes(3), "image"),
    ],
)
def test_a_bad_image_is_named_with_its_cause(content: bytes, cause: str, tmp_path: Path) -> None:
    layouts.images(tmp_path, ["0001_c1_0.jpg", "0001_c2_0.jpg"])
    bad = Sample(tmp_path / "0001_c1_0.jpg", 1, 1)
    bad.path.write_bytes(content)
    (problem,) = check_images([bad, Sample(tmp_path / "0001_c2_0.jpg", 1, 2)])
    assert str(problem).startswith(f"error: {bad.path}: ")
    assert cause in problem.message
    assert "unpack it again" in problem.message
    lines([problem])


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    (problem,) = check_images([Sample(tmp_path / "0001_c1_0.jpg", 1, 1)])
    assert "cannot be read (No such file or directory)" in problem.message


def test_the_same_file_under_two_names_is_a_warning(tmp_path: Path) -> None:
    names = ["0001_c1_0.jpg", "0001_c1_1.jpg", "0001_c1_1.jpg.jpg", "0002_c1_1.jpg"]
    layouts.images(tmp_path, names)
    for copy in names[2:]:
        (tmp_path / copy).write_bytes((tmp_path / names[1]).read_bytes())
    problems = check_images([Sample(tmp_path / name, int(name[:4]), 1) for name in names])
    assert [(problem.severity, problem.file) for problem in problems] == [
        ("warning", tmp_path / names[2]),
        ("warning", tmp_path / names[3]),
    ]
    assert "same file as 0001_c1_1.jpg: " in problems[0].message
    assert "under another identity (1, here 2)" in problems[1].message


def test_problems_come_in_the_order_of_the_samples(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n:04}_c1_0.jpg" for n in range(1, 40)]
    for path in paths:
        path.write_bytes(b"")
    problems = check_images([Sample(path, 1, 1) for path in paths])
    assert [problem.message.split(": ")[0] for problem in problems] == [str(path) for path in paths]
