"""nasda.course.open: where a notebook's runs lie."""

import shutil
from pathlib import Path

import pytest

from nasda.course.open import open_course, this_machine
from nasda.devices import available_cores


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_runs_on_other_data_lie_in_other_folders_and_on_a_copy_in_the_same(project: Path) -> None:
    """The built-in data's are the command's."""
    built_in = open_course()
    assert built_in.experiment.path == project / "runs" / "person-tiny-seed0"
    one, copy, other = (Path(shutil.copytree(built_in.data_root, project / name)) for name in ("one", "copy", "other"))
    image = sorted((other / "Market-1501-v15.09.15" / "query").glob("*.jpg"))[0]
    image.write_bytes(image.read_bytes() + b"x")
    folders = [open_course(data_root=str(root)).experiment.path for root in (one, copy, other)]
    assert folders[0] == folders[1]
    assert len({built_in.experiment.path, *folders}) == 3
    assert all(folder.name.startswith("person-tiny-seed0-data-") for folder in folders)


def test_a_machine_is_named_with_its_cores() -> None:
    assert f"{available_cores()} cores" in this_machine()
