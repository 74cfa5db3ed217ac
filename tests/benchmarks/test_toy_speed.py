"""How fast the toy data is drawn."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from nasda.settings import TaskName
from nasda.toy.make import CAMERAS, TARGET, Drawing, Shot, _write


@pytest.mark.parametrize(
    ("task", "height", "width", "least"),
    [("person", 64, 32, 300), ("person", 256, 128, 60), ("vehicle", 64, 64, 250), ("vehicle", 256, 256, 40)],
)
def test_images_a_second_on_one_core(
    benchmark: BenchmarkFixture, full: bool, tmp_path: Path, task: TaskName, height: int, width: int, least: int
) -> None:
    """JPEG files on disk, in the target's style (the slower one)."""
    drawing = Drawing(tmp_path, task, height, width, gap=1.0, world=0)
    shots = [
        Shot(f"{who}_{camid}.jpg", who, who, camid, number=0, domain=TARGET)
        for who in range(1, 17 if full else 2)
        for camid in CAMERAS[task][TARGET]
    ]
    benchmark.pedantic(_write, (drawing, shots), rounds=5, warmup_rounds=1)
    assert len(list(tmp_path.glob("*.jpg"))) == len(shots)
    if full:
        speed = len(shots) / benchmark.stats["min"]
        benchmark.extra_info["images_per_second"] = round(speed)
        assert speed >= least
