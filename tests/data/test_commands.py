"""The commands run as the README of the scripts says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from nasda.data.check import Check
from nasda.data.datasets import DATASETS
from nasda.data.prepare import Prepare
from nasda.data.subset import Subset

ROOT = Path(__file__).parents[2]
README = (ROOT / "data_scripts" / "README.md").read_text(encoding="utf-8")
KINDS = {kind.__name__.lower(): kind for kind in (Prepare, Check, Subset)}


@pytest.mark.parametrize("command", re.findall(r"^    python -m data_scripts\.(.+)$", README, flags=re.MULTILINE))
def test_every_command_parses(command: str) -> None:
    name, *arguments = shlex.split(command)
    tyro.cli(KINDS[name], args=arguments)


def test_the_readme_names_every_data_set_and_every_script() -> None:
    for name, dataset in DATASETS.items():
        assert f"`{name}`" in README
        assert f"| {dataset.layout.dataset} |" in README
    scripts = {path.stem for path in (ROOT / "data_scripts").glob("*.py") if "__main__" in path.read_text()}
    assert scripts == {"make_toy", *KINDS}
    assert all(name in README for name in scripts)


@pytest.mark.parametrize("name", list(KINDS))
def test_each_script_starts_and_needs_no_torch(name: str) -> None:
    code = f"import sys; import data_scripts.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    asked = subprocess.run(
        [sys.executable, "-m", f"data_scripts.{name}", "--help"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert asked.returncode == 0
    assert "Which of the four" in asked.stdout
