"""nasda.data.task: reading a task, counting it, checking it, and drawing samples from it."""

import pickle
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from nasda.data.domain import Domain, Sample
from nasda.data.task import (
    Counts,
    Task,
    TaskName,
    class_labels,
    count,
    hold_out,
    load_task,
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


@pytest.mark.parametrize("lacking", ["PersonX", "Market-1501-v15.09.15"])
def test_each_side_is_read_when_it_is_asked_for_and_once(lacking: str, data_root: Path) -> None:
    (data_root / lacking).rename(data_root / "elsewhere")
    task = pickle.loads(pickle.dumps(load_task("person", data_root)))  # as it goes to a process that works beside
    there, gone = ("target", "source") if lacking == "PersonX" else ("source", "target")
    assert getattr(task, there).train
    assert getattr(task, there) is getattr(task, there)
    assert f"no {lacking[:7].removesuffix('-')}" in message_of(lambda: getattr(task, gone))


def test_a_task_may_have_another_source() -> None:
    def no_target() -> Domain:
        raise AssertionError

    task = Task("person", SOUND, no_target)
    other = domain(train=[(3, 1), (3, 2)], query=[], gallery=[], name="other")
    assert task.with_source(other).source is other
    assert task.source is SOUND


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


def test_hold_out_says_how_many_images_an_identity_needs_and_has() -> None:
    for n in (9, 10, 12):
        message = message_of(lambda n=n: hold_out(TARGET.train, n, seed=0))
        assert message.startswith(f"--sample-images {n}: ")
        assert f"it needs {n + 2}, but none has more than 10" in message


@pytest.mark.parametrize("n", [1, 2, 3, 8])
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
