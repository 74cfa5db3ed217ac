"""The doctor: each check in one line, each trouble with what to do, and no trouble that stops the examination."""

from pathlib import Path

import pytest
import torch
import torchvision

from nasda import doctor
from nasda.devices import choose_device
from nasda.errors import NasdaError

NAMES = ["Python", "torch", "torchvision", "device", "Graphviz", "JupyterLab", "data", "writing"]


def finding(name: str, tmp_path: Path) -> doctor.Finding:
    return next(found for found in doctor.examine(tmp_path, tmp_path) if found.name == name)


def test_everything_is_examined_and_this_machine_is_ready_but_for_its_data(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path, tmp_path)
    assert [found.name for found in findings] == NAMES
    assert [found.name for found in findings if found.remedy] == ["data"]


def test_a_torch_that_torchvision_does_not_fit_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr(torchvision.ops, "nms", broken)
    found = finding("torchvision", tmp_path)
    assert "pip install torch torchvision" in found.remedy
    assert "does not exist" in found.found
    assert "and more" not in found.found  # one line


@pytest.mark.parametrize(
    ("version", "good"), [("2.7.1", False), ("2.8.0", True), ("2.15.0+cu132", True), ("3.0", True)]
)
def test_torch_from_2_8_on_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    assert (finding("torch", tmp_path).remedy == "") == good


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = doctor.check_writing(tmp_path / "new" / "run")
    assert str(tmp_path) in found.found
    assert not found.remedy
    with_file_in_its_way = doctor._run("writing", lambda: doctor.check_writing(tmp_path / "file" / "run"), "elsewhere")
    assert with_file_in_its_way.remedy


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(NasdaError, match=r"--device abacus: not on this machine; expected one of auto, .*cpu"):
        choose_device("abacus")
