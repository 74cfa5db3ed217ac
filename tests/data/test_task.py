"""nasda.data.task: reading a task, counting it, checking it, and drawing samples from it."""

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from nasda.data.domain import Domain, Sample
from nasda.data.task import (
    Counts,
    Problem,
    Task,
    TaskName,
    check_images,
    check_split,
    check_task,
    class_labels,
    count,
    hold_out,
    load_task,
    require_sound,
    table_of_counts,
    target_sample,
)
from nasda.errors import NasdaError
from tests.data import layouts
from tests.data.test_reading import message_of


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """All four data sets, side by side."""
    layouts.market1501(tmp_path / "Market-1501-v15.09.15")
    layouts.personx_backgrounds(tmp_path / "PersonX", ["1"])
    layouts.veri776(tmp_path / "VeRi")
    layouts.vehiclex(tmp_path / "AIC20_ReID_Simulation")
    return tmp_path


def samples(*labels: tuple[int, int], split: str = "train") -> list[Sample]:
    """Samples of these (pid, camid), on paths where no file lies."""
    return [Sample(Path(split) / f"{pid:04}_c{camid}_{n}.jpg", pid, camid) for n, (pid, camid) in enumerate(labels)]


def domain(
    train: list[tuple[int, int]], query: list[tuple[int, int]], gallery: list[tuple[int, int]], name: str = "mine"
) -> Domain:
    """A domain of these (pid, camid)."""
    return Domain(
        name,
        Path("root"),
        samples(*train),
        samples(*query, split="query"),
        samples(*gallery, split="gallery"),
    )


SOUND = domain(train=[(1, 1), (1, 2), (2, 1), (2, 3)], query=[(7, 1)], gallery=[(7, 2), (0, 1), (-1, 1)])


def lines(problems: list[Problem]) -> list[str]:
    """The problems as a person sees them."""
    text = [str(problem) for problem in problems]
    assert not any("\n" in line for line in text)
    return text


# Reading


def test_a_task_is_its_two_domains(data_root: Path) -> None:
    person = load_task("person", data_root)
    assert (person.name, person.source.name, person.target.name) == ("person", "PersonX", "Market-1501")
    vehicle = load_task("vehicle", data_root)
    assert (vehicle.name, vehicle.source.name, vehicle.target.name) == ("vehicle", "VehicleX", "VeRi-776")


def test_another_task_name_is_an_error(data_root: Path) -> None:
    message = message_of(lambda: load_task("people", data_root))  # type: ignore[arg-type]
    assert "'people'" in message
    assert "person, vehicle" in message


def test_the_real_layouts_are_sound(data_root: Path) -> None:
    assert check_task(load_task("vehicle", data_root)) == []
    assert check_task(load_task("person", data_root)) == []


def test_counts_is_an_aligned_table(data_root: Path) -> None:
    table = load_task("person", data_root).counts().splitlines()
    assert len({len(line) for line in table}) == 1
    cells = [line.split() for line in table]
    assert cells[0] == ["domain", "split", "images", "identities", "cameras", "distractors", "junk"]
    assert cells[1] == ["PersonX", "train", "4", "2", "4", "0", "0"]
    assert cells[4] == ["Market-1501", "train", "6", "3", "4", "0", "0"]
    assert cells[5] == ["Market-1501", "query", "2", "2", "2", "0", "0"]
    assert cells[6] == ["Market-1501", "gallery", "6", "2", "3", "1", "2"]


def test_counts_take_zero_for_an_identity_except_in_the_gallery() -> None:
    zero = domain(train=[(0, 1), (1, 1)], query=[], gallery=[(0, 1), (1, 1)])
    rows = [line.split()[2:] for line in Task("vehicle", zero, zero).counts().splitlines()]
    assert rows[1] == ["2", "2", "1", "0", "0"]
    assert rows[3] == ["2", "1", "1", "1", "0"]


def test_the_counts_of_one_split_have_names() -> None:
    assert count("gallery", SOUND.gallery) == Counts(images=3, identities=1, cameras=2, distractors=1, junk=1)
    assert count("query", []) == Counts(0, 0, 0)


def test_one_domain_has_a_table_too() -> None:
    table = table_of_counts(SOUND).splitlines()
    assert [line.split()[1] for line in table] == ["split", "train", "query", "gallery"]


def test_counts_group_thousands() -> None:
    big = domain(train=[(1, 1)] * 12_936, query=[], gallery=[])
    assert "12,936" in Task("person", big, big).counts()


def test_nothing_here_imports_torch() -> None:
    code = "import sys, nasda.data.task; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
        query=[(7, 3), (8, 1), (9, 1), (0, 1)],
        gallery=[(7, 3), (7, 3), (9, 1), (9, 2), (0, 1), (0, 2)],
    )
    text = lines(check_split(lost))
    assert len(text) == 3
    assert text[0].startswith(f"warning: {lost.query[0].path}: ")  # the evaluation skips and reports them
    assert "only camera 3, the query's own, sees identity 7" in text[0]
    assert str(lost.query[1].path) in text[1]
    assert "identity 8 is not in the gallery" in text[1]
    assert str(lost.query[3].path) in text[2]
    assert "identity 0 marks boxes of nobody" in text[2]


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
        (b"", "empty file (0 bytes)"),
        (b"<html>404 Not Found\n</html>", "not an image: it begins with b'<html>404 Not F"),
        (layouts.jpeg()[:100], "damaged image"),  # cut in its head
        (layouts.jpeg(size=(64, 64))[:-200], "damaged image"),  # cut in its pixels: only decoding shows it
        (b"BM" + bytes(3), "image"),
    ],
)
def test_a_bad_image_is_named_with_its_cause(content: bytes, cause: str, tmp_path: Path) -> None:
    layouts.images(tmp_path, ["0001_c1_0.jpg", "0001_c2_0.jpg"])
    bad = Sample(tmp_path / "0001_c1_0.jpg", 1, 1)
    bad.path.write_bytes(content)
    (problem,) = check_images([bad, Sample(tmp_path / "0001_c2_0.jpg", 1, 2)])
    assert (problem.severity, problem.file) == ("error", bad.path)
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
    assert [problem.file for problem in problems] == paths


# Checking tasks


def test_check_task_opens_the_images_unless_told_not_to(data_root: Path) -> None:
    bad = data_root / "Market-1501-v15.09.15" / "query" / layouts.MARKET_QUERY[0]
    bad.write_bytes(b"")
    task = load_task("person", data_root)
    assert [problem.file for problem in check_task(task)] == [bad]
    assert check_task(task, images=False) == []


def test_the_target_needs_a_test_and_the_source_none() -> None:
    trained = domain(train=[(1, 1), (1, 2)], query=[], gallery=[])
    assert check_task(Task("person", trained, SOUND), images=False) == []
    text = lines(check_task(Task("person", trained, trained), images=False))
    assert len(text) == 2
    assert "no query images, but the target needs them" in text[0]


def test_sound_tasks_pass_and_warnings_do_not_matter() -> None:
    lonely = domain(train=[(1, 1), (1, 2), (2, 1)], query=[(7, 1)], gallery=[(7, 2)])
    assert check_split(lonely)
    require_sound(Task("person", lonely, lonely))


def test_errors_stop_with_the_first_in_full_and_the_number_of_others() -> None:
    broken = domain(train=[(7, 1), (7, 2)], query=[(7, 1), (8, 1)], gallery=[(7, 1)])
    message = message_of(lambda: require_sound(Task("person", SOUND, broken)))
    assert message.startswith(str(broken.train[0].path))
    assert "both training and test" in message
    assert "and 3 more" in message


# Drawing samples

TARGET = domain(
    train=[(1, 1)] * 8 + [(1, 2), (1, 3)] + [(2, 1), (2, 1), (2, 2), (2, 2)] + [(5, 4)],
    query=[(7, 1)],
    gallery=[(7, 2), (8, 1)],
)


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_the_target_sample_has_n_images_of_each_identity(n: int) -> None:
    chosen = target_sample(TARGET, n, seed=0)
    assert Counter(sample.pid for sample in chosen) == {1: min(n, 10), 2: min(n, 4), 5: 1}
    assert len(set(chosen)) == len(chosen)
    assert chosen == sorted(chosen)


@pytest.mark.parametrize("seed", range(20))
def test_the_target_sample_prefers_different_cameras(seed: int) -> None:
    cameras = defaultdict(set)
    for sample in target_sample(TARGET, 3, seed):
        cameras[sample.pid].add(sample.camid)
    assert cameras == {1: {1, 2, 3}, 2: {1, 2}, 5: {4}}


def test_the_target_sample_never_sees_the_test(data_root: Path) -> None:
    names: tuple[TaskName, ...] = ("person", "vehicle")
    for name in names:
        target = load_task(name, data_root).target
        for seed in range(5):
            chosen = target_sample(target, 2, seed)
            assert set(chosen) <= set(target.train)
            assert not set(chosen) & {*target.query, *target.gallery}
            assert not {sample.pid for sample in chosen} & {sample.pid for sample in (*target.query, *target.gallery)}


def test_the_target_sample_hangs_on_the_seed_alone() -> None:
    reversed_target = Domain("mine", Path("root"), TARGET.train[::-1], TARGET.query, TARGET.gallery)
    assert target_sample(TARGET, 2, seed=3) == target_sample(reversed_target, 2, seed=3)
    assert len({tuple(target_sample(TARGET, 2, seed)) for seed in range(20)}) > 5


def test_a_larger_target_sample_holds_the_smaller() -> None:
    assert set(target_sample(TARGET, 1, seed=3)) < set(target_sample(TARGET, 2, seed=3))


def test_every_image_may_be_chosen() -> None:
    assert set().union(*(target_sample(TARGET, 1, seed) for seed in range(200))) == set(TARGET.train)


@pytest.mark.parametrize("n", [0, -1])
def test_samples_of_nothing_are_errors(n: int) -> None:
    assert f"images_per_identity is {n}" in message_of(lambda: target_sample(TARGET, n, seed=0))
    assert f"images_per_identity is {n}" in message_of(lambda: hold_out(TARGET.train, n, seed=0))
    with pytest.raises(NasdaError, match="no training images"):
        target_sample(domain([], [], []), 1, seed=0)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_hold_out_parts_the_images_and_keeps_pairs(n: int) -> None:
    kept, held = hold_out(TARGET.train, n, seed=0)
    assert sorted(kept + held) == sorted(TARGET.train)
    assert not set(kept) & set(held)
    of_identity = {1: 10, 2: 4, 5: 1}
    assert Counter(sample.pid for sample in held) == {pid: n for pid, size in of_identity.items() if size - n >= 2}
    assert {sample.pid for sample in kept} == {1, 2, 5}
    assert (kept, held) == (sorted(kept), sorted(held))


def test_hold_out_hangs_on_the_seed_alone() -> None:
    assert hold_out(TARGET.train, 2, seed=1) == hold_out(TARGET.train[::-1], 2, seed=1)
    assert hold_out(TARGET.train, 2, seed=1) != hold_out(TARGET.train, 2, seed=2)


def test_class_labels_count_from_zero() -> None:
    assert class_labels(samples((1488, 1), (2, 6), (7, 1), (2, 1), (-1, 1))) == {2: 0, 7: 1, 1488: 2}
    assert class_labels([]) == {}
