"""The commands run as the README of the scripts says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from nasda.cli import commands, main
from nasda.data.datasets import DATASETS
from tests.data import layouts

ROOT = Path(__file__).parents[2]
README = (ROOT / "data_scripts" / "README.md").read_text(encoding="utf-8")
SCRIPTS = {path.stem: path for path in (ROOT / "data_scripts").glob("*.py") if path.stem != "__init__"}


@pytest.mark.parametrize("command", re.findall(r"^    nasda (.+)$", README, flags=re.MULTILINE))
def test_every_command_parses(command: str) -> None:
    tyro.cli(commands("person", "tiny", 0), args=shlex.split(command))


def test_the_readme_names_every_data_set_and_every_script() -> None:
    for name, dataset in DATASETS.items():
        assert f"`{name}`" in README
        assert f"| {dataset.layout.dataset} |" in README
    assert set(SCRIPTS) == {"make_toy", "prepare", "check", "subset"}
    assert all(f"data_scripts/{name}.py" in README for name in SCRIPTS)


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_each_script_is_the_command(name: str) -> None:
    asked = subprocess.run([sys.executable, SCRIPTS[name], "--help"], check=True, capture_output=True, text=True)
    of_command = [sys.executable, "-m", "nasda.cli", "data", name.removesuffix("_toy"), "--help"]
    assert asked.stdout == subprocess.run(of_command, check=True, capture_output=True, text=True).stdout


def test_asking_for_help_needs_no_torch() -> None:
    rooms = "nasda.cli, nasda.data.check, nasda.data.prepare, nasda.data.subset"
    code = f"import sys; import {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# A command asks for the domain that it needs

NETWORK = ["--channels", "3", "--stem-stride", "1", "--embedding", "16", "--height", "32", "--width", "16"]
RECIPE = [*NETWORK, "--padding", "2", "--identities", "2", "--images", "2", "--epochs", "1", "--steps", "1"]
PEOPLE = [f"{pid:04d}_c{camera}s1_{camera}.jpg" for pid in range(1, 5) for camera in range(1, 5)]


def run(*words: str, root: Path, out: Path) -> None:
    main([*words, "--data-root", str(root), "--out", str(out), "--device", "cpu"])


def test_market1501_alone_is_trained_on_tested_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = {"root": layouts.market1501(tmp_path / "real" / "Market-1501").parent, "out": tmp_path / "out"}
    run("train", "--architecture", "random", "--train-on", "target", *RECIPE, **where)
    run("evaluate", **where)
    assert "floor: colour histogram" in capsys.readouterr().out
    run("draw", "--queries", "1", **where)
    with pytest.raises(SystemExit):
        run("search", *RECIPE, **where)
    assert "no PersonX found" in capsys.readouterr().err


def test_a_source_alone_is_searched_and_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.images(tmp_path / "real" / "PersonX" / "bounding_box_train", PEOPLE)
    where = {"root": tmp_path / "real", "out": tmp_path / "out"}
    run("search", "--mode", "S", "--sample-images", "2", *RECIPE, **where)
    run("train", *RECIPE, **where)
    with pytest.raises(SystemExit):
        run("evaluate", **where)
    assert "no Market-1501 found" in capsys.readouterr().err
