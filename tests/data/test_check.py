"""nasda.data.check: good data sets pass, oddities and all, and every single damage is named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from data_scripts.command import main
from nasda.data.check import Check, examine
from nasda.data.datasets import DATASETS, DataSetName, Figures, Release
from nasda.data.task import Problem, count
from nasda.settings import TaskName, ToySettings
from nasda.toy.make import make_toy
from tests.data import layouts
from tests.data.trees import MAKERS, tree

Damage = Callable[[Path], object]


def release_of(name: DataSetName, folder: Path) -> Release:
    """The counts that this very tree has."""
    splits = DATASETS[name].read_names(folder).splits()
    figures = {split: Figures(*count(split, samples)) for split, samples in splits.items()}
    return Release("this tree", "this test", figures["train"], figures["query"], figures["gallery"])


def checked(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and lines of `python -m nasda.data.check`."""
    with pytest.raises(SystemExit) as caught:
        main(Check, arguments)
    if isinstance(caught.value.code, str):  # which Python prints, and turns into 1
        return 1, [*capsys.readouterr().out.splitlines(), caught.value.code]
    return int(caught.value.code or 0), capsys.readouterr().out.splitlines()


def damaged(name: DataSetName, damage: Damage, parent: Path, releases: bool = True) -> list[Problem]:
    """What is found after `damage` was done to a good tree."""
    folder = tree(name, parent)
    release = release_of(name, folder)
    damage(folder)
    dataset = DATASETS[name]
    return list(examine(dataset, dataset.read_names(folder), [release] if releases else []))


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
    release = DATASETS[name].releases[0]
    assert status == 1
    train = DATASETS[name].read_names(folder).train
    assert any(
        line.startswith(
            f"error: {train[0].path.parent}: train has {len(train)} images, expected {release.train.images:,} "
        )
        for line in lines
    )
    status, lines = checked([name, str(tmp_path), "--counts", "none"], capsys)
    assert (status, lines[-1]) == (0, f"{DATASETS[name].layout.dataset}: good")


def test_the_nearest_release_is_the_one_that_is_meant(tmp_path: Path) -> None:
    folder = tree("vehiclex", tmp_path)
    near = release_of("vehiclex", folder)
    far = Release("far", "nowhere", Figures(10**6))
    domain = DATASETS["vehiclex"].read_names(folder)
    assert not list(examine(DATASETS["vehiclex"], domain, [far, near]))
    assert list(examine(DATASETS["vehiclex"], domain, [far]))


def test_known_oddities_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree("market1501", tmp_path)
    lines = checked(["market1501", str(tmp_path), "--counts", "none"], capsys)[1]
    known = [line for line in lines if line.startswith("known: ")]
    assert f"known: {folder / 'query' / '.DS_Store'}: no image, and passed over; and 4 more" in known
    double = folder / "bounding_box_train" / "1488_c1s6_011321_01.jpg.jpg"
    assert f"known: {double}: two endings, and read like any other" in known
    assert f"known: {folder}: gt_bbox and gt_query: not needed" in known
    assert len(known) == 5
    tree("veri776", tmp_path)
    lines = checked(["veri776", str(tmp_path), "--counts", "none"], capsys)[1]
    assert any("its queries lie in the gallery too" in line for line in lines)


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_truncated_image_is_named(name: DataSetName, tmp_path: Path) -> None:
    def cut(folder: Path) -> None:
        nonlocal path
        path = DATASETS[name].read_names(folder).train[0].path
        path.write_bytes(layouts.jpeg(size=(64, 64))[:-200])

    path = Path()
    (problem,) = damaged(name, cut, tmp_path)
    assert (problem.severity, problem.file) == ("error", path)
    assert "damaged image" in problem.message


def test_images_need_not_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree("market1501", tmp_path) / "query" / layouts.MARKET_QUERY[0]).write_bytes(b"")
    assert checked(["market1501", str(tmp_path), "--counts", "none"], capsys)[0] == 1
    assert checked(["market1501", str(tmp_path), "--counts", "none", "--no-images"], capsys)[0] == 0


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_missing_image_is_counted_and_named_where_a_list_names_it(name: DataSetName, tmp_path: Path) -> None:
    def remove(folder: Path) -> None:
        nonlocal path
        path = DATASETS[name].read_names(folder).train[-1].path
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
    assert "it has 1, expected 1 3" in lines[1]


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
    train = DATASETS[name].read_names(tree(name, tmp_path)).train[0].path.parent
    (train / "holiday.jpg").write_bytes(layouts.jpeg())
    status, lines = checked([name, str(tmp_path)], capsys)
    assert status == 1
    assert lines[-1].startswith(f"check: {train / 'holiday.jpg'}: name not understood")
    status, lines = checked([name, str(tmp_path / "nowhere")], capsys)
    assert status == 1
    assert "no such folder" in lines[-1]


@pytest.mark.parametrize("name", ["market1501", "personx", "veri776"])
def test_a_lost_test_folder_is_named(name: DataSetName, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = DATASETS[name].read_names(tree(name, tmp_path)).query[0].path.parent
    query.rename(tmp_path / "away")
    status, lines = checked([name, str(tmp_path / MAKERS[name][1])], capsys)
    assert status == 1
    assert lines[-1].startswith(f"check: {query}: no such folder")


@pytest.mark.parametrize("task", ["person", "vehicle"])
def test_toy_data_is_good(task: TaskName, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ToySettings(source_identities=4, target_identities=3, test_identities=4)
    make_toy(tmp_path, task, height=24, width=16, settings=settings)
    names: dict[TaskName, tuple[DataSetName, DataSetName]] = {
        "person": ("personx", "market1501"),
        "vehicle": ("vehiclex", "veri776"),
    }
    for name in names[task]:
        status, lines = checked([name, str(tmp_path), "--counts", "none"], capsys)
        assert status == 0, lines
