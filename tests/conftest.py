"""What all tests share."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)  # two threads on a busy machine are slower than one; parallelise by process (-n)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stores of decoded images go to a folder of the test session's own, not to the user's home."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASDA_CACHE", str(folder))
        yield folder


@pytest.fixture
def global_rng_untouched() -> Iterator[None]:
    """Fail when the test's calls leave torch's, numpy's or Python's global random state other than it was."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert all(np.array_equal(x, y) for x, y in zip(before[1], after[1], strict=True))
    assert before[2] == after[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests, half each at first: each begins with one of the two longest."""
    longest = [item for item in items if item.name.startswith("test_a_student_answers")]
    for number, item in enumerate(longest):
        items.remove(item)
        items.insert(number * len(items) // 2, item)


@pytest.fixture(autouse=True)
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`check` keeps answers and a log in the project that it runs in: for tests of the course, an empty one."""
    if not {"course", "notebooks"} & set(request.path.parts[-3:]):
        yield
        return
    notebooks = tmp_path_factory.mktemp("student") / "notebooks"
    (notebooks / "source").mkdir(parents=True)
    (notebooks / "shipped").symlink_to(ROOT / "notebooks" / "shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(notebooks)
        yield


@pytest.fixture(autouse=True)
def plots_made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every plot that a test of a picture or of the course makes has an alt text, and lines that stay apart without
    green cones."""
    if not {"course", "pictures"} & set(request.path.parts[-2:]):
        yield
        return
    from nasda.pictures.alt import of_figure
    from nasda.pictures.plots import Plot
    from tests.pictures.colours import alike

    made: list[Plot] = []
    begin = Plot.__init__

    def remember(plot: Plot, width: float, height: float) -> None:
        made.append(plot)
        begin(plot, width, height)

    monkeypatch.setattr(Plot, "__init__", remember)
    yield
    for plot in made:
        if plot.axes:
            assert len(of_figure(plot)) >= 20, of_figure(plot)
            assert alike(plot) == [], of_figure(plot)
