"""nasda.data.subset: smaller, of the same layout, and with the whole protocol."""

import errno
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from nasda.cli import main
from nasda.data.check import examine, load_sound_task
from nasda.data.datasets import DATASETS, DataSetName
from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample, identities
from nasda.data.reading import read_labels
from nasda.data.subset import choose, write
from nasda.settings import TaskName, ToySettings
from nasda.toy.make import make_toy
from tests.data import layouts
from tests.data.test_reading import message_of
from tests.data.trees import contents, tree
from tests.test_files import failing

OF_TASK: dict[TaskName, tuple[DataSetName, DataSetName]] = {
    "person": ("personx", "market1501"),
    "vehicle": ("vehiclex", "veri776"),
}
TOY = ToySettings(source_identities=12, target_identities=9, test_identities=9, images_per_camera=3)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy data of both tasks."""
    root = tmp_path_factory.mktemp("toy")
    for task in OF_TASK:
        make_toy(root, task, height=16, width=16, settings=TOY)
    return root


def made(name: DataSetName, data_root: Path, to: Path, *options: str) -> Domain:
    """The subset that the command makes."""
    main(["data", "subset", name, str(to), "--data-root", str(data_root), *options])
    return DATASETS[name].read(to)


def errors(name: DataSetName, domain: Domain) -> list[str]:
    return [str(problem) for problem in examine(DATASETS[name], domain, ()) if problem.severity == "error"]


def lost_queries(domain: Domain) -> list[Sample]:
    seen_by: dict[int, set[int]] = defaultdict(set)
    for sample in domain.gallery:
        seen_by[sample.pid].add(sample.camid)
    return [query for query in domain.query if not seen_by[query.pid] - {query.camid}]


@pytest.mark.parametrize("options", [(), ("--identities", "3", "--images", "1"), ("--link", "--identities", "5")])
@pytest.mark.parametrize("task", list(OF_TASK))
def test_subsets_of_toy_data_are_tasks_and_pass_the_check(
    task: TaskName, options: tuple[str, ...], toy: Path, tmp_path: Path
) -> None:
    for name in OF_TASK[task]:
        assert errors(name, made(name, toy, tmp_path, *options)) == []
    loaded = load_sound_task(task, tmp_path)
    assert loaded.source.train
    assert not lost_queries(loaded.target)
    main(["data", "check", "--task", task, "--data-root", str(tmp_path)])  # which asks for no official counts


@pytest.mark.parametrize("name", list(DATASETS))
def test_subsets_of_the_real_layouts_pass_the_check(name: DataSetName, tmp_path: Path) -> None:
    tree(name, tmp_path / "real")
    domain = made(name, tmp_path / "real", tmp_path / "small", "--identities", "1", "--images", "1")
    assert errors(name, domain) == []
    assert len(identities(domain.train)) == 1
    assert not lost_queries(domain)


def test_subsets_of_the_real_layouts_are_tasks(tmp_path: Path) -> None:
    for task, names in OF_TASK.items():
        for name in names:
            tree(name, tmp_path / "real")
            made(name, tmp_path / "real", tmp_path / "small")
        main(["data", "check", "--task", task, "--data-root", str(tmp_path / "small")])


@pytest.mark.parametrize("name", list(DATASETS))
@pytest.mark.parametrize(("count", "images"), [(1, 1), (4, 2), (9, 100), (1000, 1)])
def test_the_numbers_are_those_asked_for(name: DataSetName, count: int, images: int, toy: Path) -> None:
    whole = DATASETS[name].read(toy)
    part = choose(DATASETS[name], whole, count, count, images, seed=1)
    for split, samples in part.splits().items():
        all_of = whole.splits()[split]
        assert set(samples) <= set(all_of)
        assert samples == sorted(set(samples))
        people = [sample for sample in samples if sample.pid not in (DISTRACTOR, JUNK)]
        assert len(identities(people)) == min(
            count, len({sample.pid for sample in all_of if sample.pid not in (DISTRACTOR, JUNK)})
        )
        there = Counter((sample.pid, sample.camid) for sample in all_of)
        kept = Counter((sample.pid, sample.camid) for sample in people)
        kept_pids = {sample.pid for sample in people}
        assert kept == {seen: min(images, number) for seen, number in there.items() if seen[0] in kept_pids}
    assert {sample.pid for sample in part.query} == {sample.pid for sample in part.gallery} - {DISTRACTOR, JUNK}
    assert not lost_queries(part)


def test_distractors_and_junk_are_kept_in_proportion() -> None:
    people = [
        Sample(Path(f"{pid:04}_c{camid}_{n}.jpg"), pid, camid)
        for pid in range(1, 101)
        for camid in (1, 2)
        for n in (1, 2)
    ]
    nobody = [Sample(Path(f"{pid:04}_c1_{n}.jpg"), pid, 1) for pid, many in ((0, 200), (-1, 40)) for n in range(many)]
    query = [Sample(Path(f"q/{pid:04}_c1_0.jpg"), pid, 1) for pid in range(1, 101)]
    whole = Domain("mine", Path(), people, query, people + nobody)
    for count, images, distractors, junk in ((50, 2, 100, 20), (10, 1, 10, 2), (1, 1, 1, 1), (100, 2, 200, 40)):
        of_pid = Counter(
            sample.pid for sample in choose(DATASETS["market1501"], whole, count, count, images, 0).gallery
        )
        assert (of_pid[DISTRACTOR], of_pid[JUNK]) == (distractors, junk)


def test_queries_without_a_right_answer_are_left_out(tmp_path: Path) -> None:
    folder = tree("market1501", tmp_path)
    layouts.images(folder / "query", ["0100_c1s1_000001_00.jpg", "0200_c1s1_000001_00.jpg", "0001_c2s1_000301_00.jpg"])
    layouts.images(folder / "bounding_box_test", ["0100_c1s1_000009_01.jpg"])  # the query's own camera
    query = made("market1501", tmp_path, tmp_path / "small").query
    assert {sample.path.name for sample in query} == {*layouts.MARKET_QUERY, "0001_c2s1_000301_00.jpg"}
    for path in (folder / "bounding_box_test").glob("000[13]*.jpg"):
        path.unlink()
    whole = DATASETS["market1501"].read(folder)
    assert "no query has a right answer" in message_of(lambda: choose(DATASETS["market1501"], whole, 1, 1, 1, 0))


def test_the_seed_decides_and_nothing_else(toy: Path, tmp_path: Path) -> None:
    options = ("--identities", "4", "--images", "1")
    parts = {
        seed: contents(made("veri776", toy, tmp_path / seed, *options, "--seed", seed[0]).root)
        for seed in ("0", "0 again", "1")
    }
    assert parts["0"] == parts["0 again"]
    assert parts["0"].keys() != parts["1"].keys()


def test_the_same_folders_and_files_are_there(toy: Path, tmp_path: Path) -> None:
    for name, dataset in DATASETS.items():
        whole, part = dataset.read(toy).root, made(name, toy, tmp_path, "--identities", "3").root
        tops = [{path.name for path in root.iterdir()} - {"toy.json", "subset.json"} for root in (whole, part)]
        assert tops[0] == tops[1]
        images = list(part.rglob("*.jpg"))
        assert images
        assert all(path.read_bytes() == (whole / path.relative_to(part)).read_bytes() for path in images)


def test_a_subset_does_not_pass_for_toy_data(toy: Path, tmp_path: Path) -> None:
    for name in OF_TASK["vehicle"]:
        made(name, toy, tmp_path)
    message = message_of(lambda: make_toy(tmp_path, "vehicle", height=16, width=16, settings=TOY))
    assert "not made by nasda" in message


def test_every_background_of_personx_is_kept(tmp_path: Path) -> None:
    layouts.personx_backgrounds(tmp_path / "PersonX")
    domain = made("personx", tmp_path, tmp_path / "small", "--identities", "1", "--images", "1")
    assert {sample.path.relative_to(domain.root).parts[0] for sample in domain.train} == set("123456")
    assert len({sample.path.name.split("_")[0] for sample in domain.train}) == 1


def test_label_files_keep_their_encoding_and_all_that_they_say(tmp_path: Path) -> None:
    tree("veri776", tmp_path)
    root = made("veri776", tmp_path, tmp_path / "small", "--identities", "1", "--images", "1").root
    data = (root / "train_label.xml").read_bytes()
    assert data.startswith(b'<?xml version="1.0" encoding="gb2312"?>')
    assert "奥迪" in data.decode("gb2312")
    kept = {path.name for path in (root / "image_train").iterdir()}
    assert set(read_labels(root / "train_label.xml")) == kept
    assert f'number="{len(kept)}"'.encode() in data
    assert set(read_labels(root / "test_label.xml")) == {path.name for path in (root / "image_test").iterdir()}


def test_what_the_whole_lacks_the_subset_lacks(tmp_path: Path) -> None:
    folder = tree("veri776", tmp_path)
    for file in folder.glob("*_*.*"):
        file.unlink()
    root = made("veri776", tmp_path, tmp_path / "small").root
    assert sorted(os.listdir(root)) == ["image_query", "image_test", "image_train", "subset.json"]


def test_copies_are_copies_and_links_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("personx", tmp_path)
    copies = made("personx", tmp_path, tmp_path / "copies")
    links = made("personx", tmp_path, tmp_path / "links", "--link")
    assert {sample.path.stat().st_nlink for sample in links.train} == {2}
    assert {sample.path.stat().st_nlink for sample in copies.train} == {1}
    monkeypatch.setattr(os, "link", failing(errno.EXDEV))
    elsewhere = made("personx", tmp_path, tmp_path / "another disk", "--link")
    assert contents(elsewhere.root) == contents(copies.root) == contents(links.root)


def test_a_data_set_that_is_there_is_not_touched(tmp_path: Path) -> None:
    folder = tree("market1501", tmp_path)
    before = contents(folder)
    whole = DATASETS["market1501"].read(folder)
    for place in (tmp_path, folder):
        assert "there already" in message_of(lambda place=place: write(DATASETS["market1501"], whole, place, os.link))
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("error", "words"), [(OSError(errno.ENOSPC, "No space"), "the disk is full"), (KeyboardInterrupt(), None)]
)
def test_a_run_that_ends_early_leaves_nothing(error: BaseException, words: str | None, tmp_path: Path) -> None:
    whole = DATASETS["veri776"].read(tree("veri776", tmp_path))
    done: list[Path] = []

    def copy(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())
        done.append(target)
        if len(done) == 3:
            raise error

    def call() -> Domain:
        return write(DATASETS["veri776"], whole, tmp_path / "new" / "small", copy)

    if words:
        assert words in message_of(call)
    else:
        with pytest.raises(KeyboardInterrupt):
            call()
    assert len(done) == 3
    assert os.listdir(tmp_path) == ["VeRi"]


@pytest.mark.parametrize("options", [("--identities", "0"), ("--images", "-1"), ("--test-identities", "0")])
def test_numbers_below_one_are_refused(
    options: tuple[str, str], toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        made("personx", toy, tmp_path / "small", *options)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"nasda: {options[0]} is {options[1]}: expected a number above 0")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("name", ["market1501", "veri776"])
def test_training_and_test_may_have_different_numbers_of_identities(
    name: DataSetName, toy: Path, tmp_path: Path
) -> None:
    domain = made(name, toy, tmp_path, "--identities", "7", "--test-identities", "3")
    assert len(identities(domain.train)) == 7
    assert len(identities(domain.query)) == 3
