"""How images look in figures: against brute force, and against sets whose figures are known in closed form."""

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from nasda.cli import main
from nasda.data.colours import colour_histogram
from nasda.data.look import MARKET, Look, look, look_of, mean_look, shares
from nasda.data.task import load_task
from nasda.errors import NasdaError
from nasda.settings import ToySettings
from nasda.toy.make import make_toy

PIDS = np.array([1, 1, 1, 1, 2, 2, 2, 2])
CAMIDS = np.array([1, 1, 4, 4, 1, 1, 4, 4])


def random_images(count: int = 8, height: int = 12, width: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def test_shares_are_those_of_an_analysis_of_variance() -> None:
    """Effects of cameras ±3, of identities in a camera ±2 and of images ±1: variances 9, 4 and 1."""
    camera, identity, image = np.meshgrid([-3, 3], [-2, 2], [-1, 1], indexing="ij")
    values = (10 + camera + identity + image).ravel().astype(float)
    found = shares(values, identity.ravel(), camera.ravel())
    assert found == pytest.approx((9 / 14, 4 / 14, 1 / 14))
    assert shares(np.ones(8), PIDS, CAMIDS) == (0, 0, 0)


def test_shares_of_unequal_groups_add_up_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    pids, camids, values = rng.integers(0, 5, 60), rng.integers(0, 3, 60), rng.normal(size=60)
    groups = {(c, p): values[(camids == c) & (pids == p)] for c in range(3) for p in range(5)}
    within = sum(((group - group.mean()) ** 2).sum() for group in groups.values() if len(group))
    between = sum((camids == c).sum() * (values[camids == c].mean() - values.mean()) ** 2 for c in range(3))
    whole = ((values - values.mean()) ** 2).sum()
    expected = (between / whole, 1 - (between + within) / whole, within / whole)
    assert shares(values, pids, camids) == pytest.approx(expected)


def test_brightness_contrast_and_steps_of_images_known_by_heart() -> None:
    images = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
    images[..., 2:6] = 255  # the middle half is white, the sides are black
    found = look_of(images, PIDS, CAMIDS)
    assert found["brightness: mean"] == found["contrast: mean"] == 0.5
    assert found["middle's brightness: mean"] == 1
    assert found["step to the right"] == pytest.approx(2 / 7)
    assert found["step down"] == found["brightness: sd"] == 0


@pytest.mark.parametrize(("cycles", "expected"), [(1, 0.0), (2, 0.0), (3, 1.0)])
def test_power_of_a_wave_lies_where_its_frequency_is(cycles: int, expected: float) -> None:
    """Of 8 pixels: 2 cycles are a quarter of a cycle a pixel, half of what 8 pixels can show."""
    wave = torch.cos(2 * torch.pi * cycles * torch.arange(8) / 8)
    images = (128 + 100 * wave).round().to(torch.uint8).expand(8, 3, 8, 8)
    assert look_of(images, PIDS, CAMIDS)["power above half Nyquist"] == pytest.approx(expected, abs=1e-4)


def test_figures_by_brute_force() -> None:
    images = random_images()
    found = look_of(images, PIDS, CAMIDS)
    pixels = images.numpy() / 255
    grey = pixels.mean(1)
    assert found["contrast: mean"] == pytest.approx(np.mean([[plane.std() for plane in image] for image in pixels]))
    assert found["step to the right"] == pytest.approx(np.abs(grey[:, :, 1:] - grey[:, :, :-1]).mean())
    assert found["step down"] == pytest.approx(np.abs(grey[:, 1:] - grey[:, :-1]).mean())
    features = colour_histogram(images, margin=0).double().numpy()
    pairs: dict[str, list[float]] = {}
    for a, b in combinations(range(8), 2):
        kind = f"{'same' if PIDS[a] == PIDS[b] else 'other'} identity, "
        kind += f"{'same' if CAMIDS[a] == CAMIDS[b] else 'other'} camera"
        pairs.setdefault(kind, []).append(float(np.linalg.norm(features[a] - features[b])))
    assert len(pairs) == 4
    for kind, distances in pairs.items():
        assert found[f"{kind}: mean"] == pytest.approx(np.mean(distances))
        assert found[f"{kind}: sd"] == pytest.approx(np.std(distances))


def test_how_many_are_taken_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = look_of(random_images(), PIDS, CAMIDS)
    monkeypatch.setattr("nasda.data.look._AT_ONCE", 3)
    assert look_of(random_images(), PIDS, CAMIDS) == pytest.approx(at_once)
    assert at_once.keys() == MARKET.keys()


def test_the_whole_width_counts_without_a_margin() -> None:
    image = random_images(1, height=12, width=32)
    whole = colour_histogram(image, margin=0)
    image[..., 0] = 255 - image[..., 0]
    assert not torch.equal(colour_histogram(image, margin=0), whole)


def test_a_kind_of_pairs_that_does_not_occur_is_named() -> None:
    with pytest.raises(NasdaError, match="no two images of same identity, other camera"):
        look_of(random_images(), PIDS, PIDS)


def test_the_mean_is_that_of_each_figure() -> None:
    one, other = Look(a=1.0, b=2.0), Look(a=3.0, b=2.0)
    assert mean_look([one, other]) == {"a": 2, "b": 2}


def test_the_command_prints_a_column_for_each_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ToySettings(source_identities=2, target_identities=4, test_identities=2)
    roots = [tmp_path / name for name in ("one", "copy")]
    make_toy(roots[0], "person", height=64, width=32, settings=settings)
    shutil.copytree(*roots)
    main(["data", "look", *map(str, roots)])
    header, _, first, *others = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.split("|")[2:-1]] == ["Market-1501", *map(str, roots), "mean"]
    brightness = look(load_task("person", roots[0]).target.train)["brightness: mean"]
    assert [cell.strip() for cell in first.split("|")[1:4]] == ["brightness: mean", "0.396", f"{brightness:.3f}"]
    assert len(others) == len(MARKET) - 1
