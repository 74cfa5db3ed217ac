"""nasda.data.prepare: from what people hold to what nasda reads, whole or not at all."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasda.cli import main
from nasda.data import archives
from nasda.data.datasets import DATASETS, DataSetName
from nasda.data.prepare import prepare
from nasda.data.task import load_task
from tests.data import layouts
from tests.data.test_reading import message_of
from tests.data.trees import MAKERS, contents, tarred, tree, zip_of, zipped

SIZE = 10**7
NAMES = list(DATASETS)


def sources_of(folder: Path, name: str, parent: Path) -> dict[str, Path]:
    """A data set's folder in all the wrappings that it comes in."""
    return {
        "folder": folder,
        "zip": zipped(folder, parent / "a.zip", name),
        "zip without a top folder": zipped(folder, parent / "b.zip"),
        "zip in a folder of unknown name": zipped(folder, parent / "c.zip", f"downloads/my {name} copy"),
        "zip in a wrapper": zipped(folder, parent / "d.zip", f"{name}/{name}"),
        "tar": tarred(folder, parent / "a.tar", name, "w"),
        "tar.gz without a top folder": tarred(folder, parent / "a.tar.gz"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_wrapping_gives_the_same_folder(name: DataSetName, tmp_path: Path) -> None:
    folder = tree(name, tmp_path)
    dataset = DATASETS[name]
    for wrapping, source in sources_of(folder, MAKERS[name][1], tmp_path).items():
        domain = prepare(dataset, [source], tmp_path / wrapping, SIZE)
        assert domain.root == tmp_path / wrapping / dataset.folder
        assert contents(domain.root) == contents(folder), wrapping
        assert os.listdir(tmp_path / wrapping) == [dataset.folder]


def test_what_is_prepared_is_a_task(tmp_path: Path) -> None:
    for name in NAMES:
        archive = zipped(tree(name, tmp_path), tmp_path / f"{name}.zip", MAKERS[name][1])
        prepare(DATASETS[name], [archive], tmp_path / "real", SIZE)
    assert load_task("person", tmp_path / "real").target.name == "Market-1501"
    assert load_task("vehicle", tmp_path / "real").source.name == "VehicleX"


@pytest.mark.parametrize(
    ("name", "make", "top", "images"),
    [
        ("personx", layouts.personx_backgrounds, "PersonX_v1", 24),
        ("personx", layouts.personx_backgrounds, "", 24),
        ("personx", layouts.personx_visda, "challenge_datasets/personX", 4),
        ("vehiclex", layouts.vehiclex, "AIC20_track2/AIC20_ReID_Simulation", 4),
        ("veri776", layouts.veri776, "VeRi_with_plate", 4),
        ("market1501", layouts.market1501, "market1501/Market-1501-v15.09.15", 6),
    ],
)
def test_the_other_layouts(
    name: DataSetName, make: Callable[[Path], Path], top: str, images: int, tmp_path: Path
) -> None:
    archive = zipped(make(tmp_path / "made"), tmp_path / "a.zip", top)
    assert len(prepare(DATASETS[name], [archive], tmp_path / "real", SIZE).train) == images


def test_the_generators_own_folder_names(tmp_path: Path) -> None:
    layouts.images(tmp_path / "x" / "VeRi_ReID_Simulation", ["00001_c001_1.jpg", "00001_c002_2.jpg"])
    archive = zipped(tmp_path / "x", tmp_path / "a.zip", "VehicleX_VeRi")
    assert len(prepare(DATASETS["vehiclex"], [archive], tmp_path / "real", SIZE).train) == 2


def test_images_and_labels_may_come_apart(tmp_path: Path) -> None:
    folder = tree("veri776", tmp_path)
    expected = contents(folder)
    labels = {f"VeRi/{file.name}": file.read_bytes() for file in folder.glob("*_label.xml")}
    for file in folder.glob("*_label.xml"):
        file.unlink()
    sources = [zipped(folder, tmp_path / "images.zip", "VeRi"), zip_of(tmp_path / "labels.zip", labels)]
    assert contents(prepare(DATASETS["veri776"], sources, tmp_path / "real", SIZE).root) == expected


def test_the_real_images_beside_the_rendered_ones_are_not_taken_for_them(tmp_path: Path) -> None:
    layouts.veri776(tmp_path / "x" / "AIC20_track2" / "AIC20_ReID")
    layouts.vehiclex(tmp_path / "x" / "AIC20_track2" / "AIC20_ReID_Simulation")
    archive = zipped(tmp_path / "x", tmp_path / "a.zip")
    assert len(prepare(DATASETS["vehiclex"], [archive], tmp_path / "real", SIZE).train) == 4
    shutil.rmtree(tmp_path / "x" / "AIC20_track2" / "AIC20_ReID_Simulation")
    layouts.vehiclex(tmp_path / "x" / "AIC20_track2" / "simulation")
    archive = zipped(tmp_path / "x", tmp_path / "b.zip")
    message = message_of(lambda: prepare(DATASETS["vehiclex"], [archive], tmp_path / "other", SIZE))
    assert message.startswith(f"{archive}: AIC20_ReID, simulation: each may be VehicleX")


@pytest.mark.parametrize("wrapping", ["folder", "zip"])
@pytest.mark.parametrize(("name", "other"), [("vehiclex", "veri776"), ("personx", "market1501")])
def test_another_data_set_is_not_taken_for_it(
    name: DataSetName, other: DataSetName, wrapping: str, tmp_path: Path
) -> None:
    source = sources_of(tree(other, tmp_path), MAKERS[other][1], tmp_path)[wrapping]
    message = message_of(lambda: prepare(DATASETS[name], [source], tmp_path / "real", SIZE))
    assert message.startswith(f"{source}: no {DATASETS[name].layout.dataset} in there")
    assert not (tmp_path / "real").exists()


def test_a_data_set_that_is_there_is_not_touched(tmp_path: Path) -> None:
    folder = tree("market1501", tmp_path / "real")
    (folder / "mine.txt").write_text("kept")
    before = contents(tmp_path / "real")
    archive = zipped(tree("market1501", tmp_path), tmp_path / "a.zip")
    for place in (folder.name, "Market", "market1501/Market-1501-v15.09.15"):
        (tmp_path / "real" / place).parent.mkdir(exist_ok=True)
        folder = folder.rename(tmp_path / "real" / place)
        message = message_of(lambda: prepare(DATASETS["market1501"], [archive], tmp_path / "real", SIZE))
        assert f"{folder}: there already, and left as it is" in message
    assert sorted(contents(tmp_path / "real").values()) == sorted(before.values())


def test_an_empty_folder_of_that_name_is_not_touched_either(tmp_path: Path) -> None:
    archive = zipped(tree("veri776", tmp_path), tmp_path / "a.zip")
    (tmp_path / "real" / "VeRi").mkdir(parents=True)
    assert "there already" in message_of(lambda: prepare(DATASETS["veri776"], [archive], tmp_path / "real", SIZE))
    assert os.listdir(tmp_path / "real" / "VeRi") == []


def test_a_data_set_that_contradicts_itself_does_not_appear(tmp_path: Path) -> None:
    folder = tree("veri776", tmp_path)
    (folder / "image_train" / layouts.VERI_TRAIN[0]).unlink()
    archive = zipped(folder, tmp_path / "a.zip", "VeRi")
    message = message_of(lambda: prepare(DATASETS["veri776"], [archive], tmp_path / "real", SIZE))
    assert message.startswith(f"{archive}: VeRi/image_train/{layouts.VERI_TRAIN[0]}: no such file")
    assert not (tmp_path / "real").exists()


def test_without_an_archive_it_says_where_to_ask() -> None:
    for dataset in DATASETS.values():
        message = message_of(lambda dataset=dataset: prepare(dataset, [], Path("real"), SIZE))
        assert dataset.paper in message
        assert "ask the authors" in message


def interrupted(after: int, raises: Callable[[], object]) -> Callable[..., None]:
    """A stand-in for the writing of entries that gives up after some of them."""
    real, done = archives._write, []

    def write(*args: Any) -> None:
        real(*args)
        done.append(args)
        if len(done) == after:
            raises()

    return write


def raising(error: BaseException) -> Callable[[], object]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize("there_before", [True, False])
@pytest.mark.parametrize(
    ("raises", "status", "words"),
    [
        (raising(OSError(errno.ENOSPC, "No space")), 2, "the disk is full"),
        (raising(KeyboardInterrupt()), 130, "interrupted"),
        (lambda: signal.raise_signal(signal.SIGTERM), 143, ""),
    ],
    ids=["full disk", "Ctrl-C", "SIGTERM"],
)
def test_a_run_that_ends_early_leaves_nothing(
    raises: Callable[[], object],
    status: int,
    words: str,
    there_before: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = zipped(tree("market1501", tmp_path), tmp_path / "a.zip")
    root = tmp_path / "new" / "real"
    if there_before:
        (root / "PersonX").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(archives, "_write", interrupted(5, raises))
    with pytest.raises(SystemExit) as caught:
        main(["data", "prepare", "market1501", str(archive), "--data-root", str(root)])
    assert caught.value.code == status
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("extra", [{"bomb": bytes(2 * SIZE)}, {"../../evil": b""}], ids=["bomb", "slip"])
def test_a_bomb_and_a_slip_leave_nothing(extra: dict[str, bytes], tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", contents(tree("market1501", tmp_path)) | extra)
    message_of(lambda: prepare(DATASETS["market1501"], [archive], tmp_path / "real", SIZE))
    assert sorted(os.listdir(tmp_path)) == ["Market-1501-v15.09.15", "a.zip"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = zipped(tree("personx", tmp_path), tmp_path / "a.zip", "PersonX")
    arguments = ["data", "prepare", "personx", str(archive), "--data-root", str(tmp_path / "real")]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--max-size", "0.000001"])
    assert caught.value.code == 2
    assert "grows beyond 1e-06 GB" in capsys.readouterr().err
    main(arguments)
    assert f"prepared: {tmp_path / 'real' / 'PersonX'}" in capsys.readouterr().out


def test_help_says_where_each_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "prepare", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "none is downloaded" in said
    for name, dataset in DATASETS.items():
        assert f"{name}: {dataset.layout.dataset} ({dataset.paper})" in said
