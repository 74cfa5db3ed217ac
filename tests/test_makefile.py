"""`make clean` removes what can be made again, and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no program make here")
def test_clean_leaves_real_data_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    real, toy, run = (
        tmp_path / name for name in ("data/real/VeRi/name.txt", "data/toy/tiny/name.txt", "runs/log.jsonl")
    )
    for file in (real, toy, run):
        file.parent.mkdir(parents=True)
        file.write_text("something")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert real.exists()
    assert not toy.exists()
    assert not run.exists()
