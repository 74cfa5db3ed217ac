"""The translated source: read by the ordinary reader with the same samples, and whole or not there at all."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from nasda.data.datasets import DATASETS
from nasda.data.domain import Domain, Sample
from nasda.data.store import stored
from nasda.data.task import Task, load_task
from nasda.errors import NasdaError
from nasda.runs import RunFolder
from nasda.settings import DataSettings, SPGANSettings, TaskName, ToySettings
from nasda.spgan import dataset as translation
from nasda.spgan.dataset import distances_to_target, translate, with_translated_source, write_translation
from nasda.spgan.networks import Generator, Translators
from nasda.spgan.training import run_spgan
from nasda.toy.make import make_toy
from tests.data import layouts
from tests.tasks import profile_with

CPU = torch.device("cpu")
DATA = DataSettings(height=32, width=16)
TOY = ToySettings(source_identities=6, target_identities=6, test_identities=4, images_per_camera=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in data of both tasks, for reading only."""
    folder = tmp_path_factory.mktemp("data")
    for task in ("person", "vehicle"):
        make_toy(folder, task, height=DATA.height, width=DATA.width, settings=TOY)
    return folder


@pytest.fixture(scope="module")
def task(root: Path) -> Task:
    return load_task("person", root)


def generator(seed: int = 0) -> Generator:
    return Translators(2, 1, DATA.height, DATA.width, seed=seed).to_target


def write(folder: Path, source: Domain, seed: int = 0, data: DataSettings = DATA) -> Path:
    return write_translation(folder, source, generator(seed), data, device=CPU)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def labels(samples: list[Sample], root: Path) -> list[tuple[Path, int, int]]:
    return [(sample.path.relative_to(root), sample.pid, sample.camid) for sample in samples]


@pytest.mark.parametrize("name", ["person", "vehicle"])
def test_the_ordinary_reader_finds_the_same_samples(root: Path, tmp_path: Path, name: TaskName) -> None:
    task = load_task(name, root)
    written = write(tmp_path, task.source)
    translated = with_translated_source(task, tmp_path)
    assert translated.target == task.target
    assert translated.source.root == written
    assert labels(translated.source.train, written) == labels(task.source.train, task.source.root)
    assert not translated.source.query
    assert not translated.source.gallery
    lists = [path.name for path in task.source.root.iterdir() if path.suffix in (".txt", ".xml")]
    assert len(lists) == (2 if name == "vehicle" else 0)
    for path in lists:
        assert (written / path).read_bytes() == (task.source.root / path).read_bytes()


@pytest.mark.parametrize(
    ("make", "reader", "folder"),
    [
        (layouts.personx, DATASETS["personx"], "PersonX"),
        (layouts.personx_backgrounds, DATASETS["personx"], "PersonX_v1"),
        (layouts.personx_visda, DATASETS["personx"], "challenge_datasets/personX"),
        (layouts.vehiclex, DATASETS["vehiclex"], "AIC20_ReID_Simulation"),
    ],
)
def test_every_form_of_a_source_keeps_its_layout(
    make: Callable[[Path], Path], reader: Domain, folder: str, tmp_path: Path
) -> None:
    make(tmp_path / "data" / folder)
    source = reader.read(tmp_path / "data")
    written = write(tmp_path / "translated", source)
    again = reader.read(tmp_path / "translated")
    assert labels(again.train, written) == labels(source.train, source.root)


def test_the_pixels_are_the_generators(task: Task, tmp_path: Path) -> None:
    write(tmp_path, task.source)
    samples = with_translated_source(task, tmp_path).source.train
    with Image.open(samples[0].path) as image:
        assert (image.format, image.size) == ("JPEG", (DATA.width, DATA.height))
    expected = translate(generator(), stored(task.source.train, DATA.height, DATA.width), CPU)
    found = stored(samples, DATA.height, DATA.width)
    assert (found.float() - expected.float()).abs().mean() < 6  # what JPEG makes of it
    other = translate(generator(1), stored(task.source.train, DATA.height, DATA.width), CPU)
    assert (found.float() - other.float()).abs().mean() > 12


def test_a_second_call_does_nothing(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(tmp_path, task.source)
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    monkeypatch.setattr(translation, "translate", None)
    assert write(tmp_path, task.source) == written
    assert before == {path: path.stat().st_mtime_ns for path in written.rglob("*")}


def stop_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException) -> None:
    """Raise `error` after the `call`-th image has been written."""
    save, calls = Image.Image.save, iter(range(1, 1000))

    def stopping(self: Image.Image, path: Path, **options: int) -> None:
        save(self, path, **options)
        if next(calls) == call:
            raise error

    monkeypatch.setattr(Image.Image, "save", stopping)


def test_what_was_interrupted_is_no_data_set_and_is_written_anew(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "_AT_ONCE", 8)
    whole = contents(write(tmp_path / "whole", task.source))
    with monkeypatch.context() as patch:
        stop_at(patch, 17, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "stopped", task.source)
    assert not (tmp_path / "stopped").exists()
    with pytest.raises(NasdaError, match="run nasda translate"):
        with_translated_source(task, tmp_path / "stopped")
    assert contents(write(tmp_path / "stopped", task.source)) == whole


def test_a_full_disk_is_one_line_and_leaves_no_data_set(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 1, OSError(28, "No space left on device"))
    with pytest.raises(NasdaError, match="the disk is full"):
        write(tmp_path, task.source)
    assert not (tmp_path / "PersonX").exists()


def test_another_translation_is_not_overwritten(task: Task, tmp_path: Path) -> None:
    before = contents(write(tmp_path, task.source))
    for seed, data in ((1, DATA), (0, dataclasses.replace(DATA, height=28))):
        with pytest.raises(NasdaError, match="translated from other images or by another generator"):
            write(tmp_path, task.source, seed, data)
    assert contents(tmp_path / "PersonX") == before


def test_another_sources_translation_is_refused(task: Task, tmp_path: Path) -> None:
    write(tmp_path, task.source)
    fewer = task.with_source(dataclasses.replace(task.source, train=task.source.train[1:]))
    with pytest.raises(NasdaError, match="translated from other images than those in"):
        with_translated_source(fewer, tmp_path)


def test_data_that_was_not_translated_is_not_touched(task: Task, tmp_path: Path) -> None:
    layouts.personx(tmp_path / "PersonX")
    before = contents(tmp_path)
    with pytest.raises(NasdaError, match="has not written"):
        write(tmp_path, task.source)
    assert contents(tmp_path) == before


def test_translations_at_once_or_one_by_one_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (5, 3, 32, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    whole = translate(generator(), images, CPU)
    assert (whole.dtype, whole.shape) == (torch.uint8, images.shape)
    monkeypatch.setattr(translation, "_AT_ONCE", 2)
    assert (translate(generator(), images, CPU).int() - whole.int()).abs().max() <= 1


def test_a_short_training_brings_the_source_nearer_to_the_target(task: Task, tmp_path: Path) -> None:
    settings = SPGANSettings(epochs=8, batch_size=4, channels=8, blocks=1, lr=0.002, similarity_epoch=2)
    made = run_spgan(RunFolder(tmp_path / "run"), task, profile_with(spgan=settings), seed=0, device=CPU)
    write_translation(tmp_path / "translated", task.source, made, DATA, device=CPU)
    translated = with_translated_source(task, tmp_path / "translated").source.train
    before, after = distances_to_target(task, translated, DATA).values()
    assert after.colour < 0.6 * before.colour
    assert after.histogram < before.histogram
