"""SPGAN: each loss against its closed form, who learns from what, the pool, and that a run resumes to the bit."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import nasda
from nasda.data.domain import Sample
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.runs import RunFolder
from nasda.settings import DataSettings, SPGANSettings
from nasda.spgan.networks import Generator, Translators
from nasda.spgan.training import (
    SPGAN,
    Batch,
    Crops,
    GeneratorLosses,
    ImagePool,
    adversarial_loss,
    contrastive_loss,
    discriminator_loss,
    enlarged,
    frozen,
    generator_losses,
    run_spgan,
    similarity_loss,
)
from tests.tasks import HEIGHT, WIDTH, make_task, profile_with

CPU = torch.device("cpu")
DATA = DataSettings(height=HEIGHT, width=WIDTH)
SETTINGS = SPGANSettings(epochs=3, steps=2, batch_size=2, channels=2, blocks=1, similarity_epoch=2, pool=3)
PARTS = ("to_target", "to_source", "is_target", "is_source", "siamese")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("task"))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def networks() -> Translators:
    return Translators(2, 1, 16, 8, seed=0).double().eval()  # eval: without the Siamese net's dropout


def weights(translators: Translators) -> dict[str, list[Tensor]]:
    return {part: [p.detach().clone() for p in getattr(translators, part).parameters()] for part in PARTS}


def changed(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> set[str]:
    return {
        part for part in PARTS if any(not torch.equal(a, b) for a, b in zip(before[part], after[part], strict=True))
    }


def test_the_package_under_test_is_the_one_beside_the_tests() -> None:
    assert Path(nasda.__file__).parents[1] == Path(__file__).parents[2]


# ------------------------------------------------------------------------------------------------------------- losses


def test_least_squares_in_closed_form() -> None:
    scores = torch.tensor([[0.0, 1.0], [0.5, 2.0]], dtype=torch.float64)
    assert adversarial_loss(scores, True).item() == pytest.approx((1 + 0 + 0.25 + 1) / 4)
    assert adversarial_loss(scores, False).item() == pytest.approx((0 + 1 + 0.25 + 4) / 4)


def test_the_contrastive_loss_in_closed_form() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    second = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # 0, √2 and 2 apart
    assert contrastive_loss(first, second, True, 2.0).item() == pytest.approx((0 + 2 + 4) / 3)
    unlike = (2**2 + (2 - 2**0.5) ** 2 + 0) / 3
    assert contrastive_loss(first, second, False, 2.0).item() == pytest.approx(unlike, abs=1e-5)
    assert contrastive_loss(first[1:], second[1:], False, 1.0).item() == 0  # farther apart than the margin


def test_the_contrastive_loss_has_a_slope_where_a_pair_is_equal() -> None:
    first = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    contrastive_loss(first, first.detach().clone(), False, 2.0).backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()


def test_the_contrastive_loss_passes_gradcheck() -> None:
    pair = [torch.nn.functional.normalize(random(4, 3, seed=seed)).requires_grad_() for seed in (1, 2)]
    for same in (True, False):
        assert torch.autograd.gradcheck(lambda a, b, same=same: contrastive_loss(a, b, same, 2.0), pair)


def test_every_term_of_the_generators_loss_by_brute_force() -> None:
    made, x, y = networks(), random(2, 3, 16, 8, seed=1), random(3, 3, 16, 8, seed=2)[:2]
    losses, batch = generator_losses(made, x, y, margin=2.0, similar=True)
    g, f = made.to_target, made.to_source
    for found, expected in zip(batch, (x, y, g(x), f(y)), strict=True):
        torch.testing.assert_close(found, expected)
    real = [(made.is_target(g(x)) - 1).square().mean(), (made.is_source(f(y)) - 1).square().mean()]
    assert losses.adversarial.item() == pytest.approx(sum(real).item())
    cycle = (f(g(x)) - x).abs().mean() + (g(f(y)) - y).abs().mean()
    assert losses.cycle.item() == pytest.approx(cycle.item())
    identity = (g(y) - y).abs().mean() + (f(x) - x).abs().mean()
    assert losses.identity.item() == pytest.approx(identity.item())
    pairs = [(x, g(x), True), (y, f(y), True), (g(x), y, False), (f(y), x, False)]
    terms = []
    for first, second, same in pairs:
        for one, other in zip(made.siamese(first), made.siamese(second), strict=True):
            distance = (one - other).square().sum().sqrt().item()
            terms.append(distance**2 if same else max(0.0, 2.0 - distance) ** 2)
    assert losses.similarity.item() == pytest.approx(sum(terms) / len(terms))


def test_the_weighted_sum_is_the_papers() -> None:
    losses = GeneratorLosses(*torch.tensor([1.0, 0.1, 0.01, 0.001]))
    assert losses.total(SPGANSettings()).item() == pytest.approx(1 + 10 * 0.1 + 5 * 0.01 + 2 * 0.001)


def test_without_similarity_there_is_no_such_term() -> None:
    losses, _ = generator_losses(networks(), random(1, 3, 16, 8), random(1, 3, 16, 8, seed=1), 2.0, similar=False)
    assert losses.similarity.item() == 0


def test_the_discriminators_loss_by_brute_force() -> None:
    made, real, fake = networks(), random(2, 3, 16, 8, seed=1), random(2, 3, 16, 8, seed=2)
    expected = ((made.is_target(real) - 1).square().mean() + made.is_target(fake).square().mean()) / 2
    assert discriminator_loss(made.is_target, real, fake).item() == pytest.approx(expected.item())


# --------------------------------------------------------------------------------------------------------------- pool


def numbered(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone()


def values(images: Tensor) -> list[int]:
    return [int(image.mean()) for image in images]


def test_a_pool_hands_back_what_fills_it_and_then_exchanges_about_half() -> None:
    pool = ImagePool(5, seed=0)
    assert values(pool.exchange(numbered(0, 1, 2, 3, 4))) == [0, 1, 2, 3, 4]
    given = list(range(5, 1005))
    handed = values(pool.exchange(numbered(*given)))
    assert 450 < sum(a == b for a, b in zip(given, handed, strict=True)) < 550
    kept = values(torch.stack(pool.images))
    assert len(kept) == 5
    assert sorted(handed + kept) == list(range(1005))  # nothing is lost and nothing handed out twice


def test_a_pool_of_none_hands_back_everything() -> None:
    pool = ImagePool(0, seed=0)
    assert values(pool.exchange(numbered(1, 2, 3))) == [1, 2, 3]
    assert not pool.images


def test_what_is_in_a_pool_has_no_gradient() -> None:
    pool = ImagePool(2, seed=0)
    assert not pool.exchange(numbered(1, 2).requires_grad_()).requires_grad


def test_a_pool_goes_on_from_its_state() -> None:
    pool, other = ImagePool(3, seed=0), ImagePool(3, seed=9)
    pool.exchange(numbered(*range(10)))
    other.load_state_dict(pool.state_dict())
    later = numbered(*range(10, 30))
    assert torch.equal(pool.exchange(later), other.exchange(later))


# ------------------------------------------------------------------------------------------------------------- images


def test_images_are_enlarged_as_in_the_paper() -> None:
    assert (enlarged(256), enlarged(128)) == (286, 144)
    for side in range(8, 260, 4):
        assert enlarged(side) >= side + 2
        assert enlarged(side) % 2 == 0
        assert enlarged(side) / side < 1.26


def grey(folder: Path, levels: range) -> list[Sample]:
    """An image of a single grey for each level."""
    samples = []
    for level in levels:
        samples.append(Sample(folder / f"{level:04d}_c1.png", level, 1))
        Image.new("RGB", (WIDTH, HEIGHT), (level,) * 3).save(samples[-1].path)
    return samples


def test_every_image_comes_once_before_any_comes_twice(tmp_path: Path) -> None:
    crops = Crops(grey(tmp_path, range(100, 106)), DATA, 2, seed=0, device=CPU)
    assert len(crops) == 3
    levels = []
    for _ in range(2 * len(crops)):
        batch = crops.next()
        assert batch.shape == (2, 3, HEIGHT, WIDTH)
        levels += ((batch[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert sorted(levels[:6]) == sorted(levels[6:]) == list(range(100, 106))
    assert levels[:6] != levels[6:]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_crop_is_flipped_as_often_as_asked(task: Task, flip: float) -> None:
    crops = Crops(task.source.train[:1], dataclasses.replace(DATA, flip=flip), 1, seed=0, device=CPU)
    whole = crops.pixels[0].flip(2) if flip else crops.pixels[0]
    windows = whole.unfold(1, HEIGHT, 1).unfold(2, WIDTH, 1)  # (3, places, places, height, width)
    found = ((crops.next()[0] + 1) * 127.5).round().to(torch.uint8)
    assert (windows.permute(1, 2, 0, 3, 4) == found).flatten(2).all(dim=2).any()


def test_a_batch_larger_than_the_data_is_an_error(task: Task) -> None:
    with pytest.raises(NasdaError, match="--batch-size is 37: expected at most 36"):
        Crops(task.source.train, DATA, 37, seed=0, device=CPU)


# ---------------------------------------------------------------------------------------------------------------- run


def spgan(task: Task, settings: SPGANSettings = SETTINGS, seed: int = 0) -> SPGAN:
    return SPGAN(
        task.source.train,
        task.target.train,
        profile_with(spgan=settings),
        seed=seed,
        device=CPU,
    )


def test_each_update_changes_its_own_networks_only(task: Task) -> None:
    run = spgan(task)
    x, y = run.source.next(), run.target.next()
    start = weights(run.networks)
    _, batch = run.step_generators(x, y, similar=True)
    after_generators = weights(run.networks)
    assert changed(start, after_generators) == {"to_target", "to_source"}
    judged = [p.grad for part in PARTS[2:] for p in getattr(run.networks, part).parameters()]
    assert judged == [None] * len(judged)
    batch = Batch(*(images.detach() for images in batch))
    run.step_discriminators(batch)
    after_discriminators = weights(run.networks)
    assert changed(after_generators, after_discriminators) == {"is_target", "is_source"}
    run.step_siamese(batch)
    assert changed(after_discriminators, weights(run.networks)) == {"siamese"}


def test_frozen_networks_thaw_also_after_an_error() -> None:
    made, during = networks(), []

    def interrupted() -> None:
        with frozen(made.siamese):
            during.extend(parameter.requires_grad for parameter in made.siamese.parameters())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(during)
    assert all(parameter.requires_grad for parameter in made.parameters())


def test_similarity_begins_with_its_epoch(task: Task) -> None:
    run = spgan(task)
    start = weights(run.networks)
    assert run.epoch(0)["similarity"] == 0
    assert "siamese" not in changed(start, weights(run.networks))
    assert run.epoch(1)["similarity"] > 0
    assert changed(start, weights(run.networks)) == set(PARTS)


def test_the_similarity_term_reaches_the_generators() -> None:
    made, x, y = networks(), random(2, 3, 16, 8, seed=1), random(2, 3, 16, 8, seed=2)
    with frozen(made.siamese):
        similarity_loss(made.siamese, Batch(x, y, made.to_target(x), made.to_source(y)), 2.0).backward()
    for generator in (made.to_target, made.to_source):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in generator.parameters())


def test_a_run_leaves_global_random_state_alone(task: Task, global_rng_untouched: None) -> None:
    spgan(task).step(1, 0)


def run(folder: Path, task: Task, settings: SPGANSettings = SETTINGS, **others: Any) -> Generator:
    return run_spgan(RunFolder(folder), task, profile_with(spgan=settings), seed=0, device=CPU, **others)


def test_neither_query_nor_gallery_is_looked_at(task: Task, tmp_path: Path) -> None:
    tested = dataclasses.replace(task.target, query=[], gallery=[])
    whole = run(tmp_path / "with", task).state_dict()
    without = run(tmp_path / "without", Task(task.name, task.source, tested)).state_dict()
    assert all(torch.equal(whole[name], without[name]) for name in whole)


def test_a_run_stopped_within_an_epoch_resumes_to_the_bit(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    run(tmp_path / "whole", task)
    step = SPGAN.step

    def stop(self: SPGAN, epoch: int, index: int) -> Tensor:
        if (epoch, index) == (2, 1):
            raise KeyboardInterrupt
        return step(self, epoch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SPGAN, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", task, after_epoch=lambda epoch, _: seen.append(epoch))
    run(tmp_path / "stopped", task, after_epoch=lambda epoch, _: seen.append(epoch))
    assert seen == [1, 2, 3]
    states = [RunFolder(tmp_path / name).load_checkpoint() for name in ("whole", "stopped")]
    same(*(state["run"] for state in states if state is not None))


@pytest.mark.parametrize("side", ["source", "target"])
def test_other_data_is_refused_before_an_image_is_decoded(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    run(tmp_path / "run", task)
    monkeypatch.setattr("nasda.spgan.training.stored", lambda *_: pytest.fail("an image was decoded"))
    domain = getattr(task, side)
    sides = {"source": task.source, "target": task.target}
    other = Task(task.name, **sides | {side: dataclasses.replace(domain, train=domain.train[:-1])})
    with pytest.raises(NasdaError, match=rf"begun on other data: seen\.{side} = {domain.name}"):
        run(tmp_path / "run", other)


def same(found: Any, expected: Any) -> None:
    """Equal to the bit, all the way down: networks, optimizers, pools, random states."""
    assert type(found) is type(expected)
    if isinstance(found, Tensor):
        assert torch.equal(found, expected)
    elif isinstance(found, dict):
        assert list(found) == list(expected)
        for key in found:
            same(found[key], expected[key])
    elif isinstance(found, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected


def test_a_bad_size_leaves_nothing_behind(task: Task, tmp_path: Path) -> None:
    odd = dataclasses.replace(DATA, width=18)
    with pytest.raises(NasdaError, match="--width is 18"):
        run_spgan(
            RunFolder(tmp_path / "run"),
            task,
            profile_with(spgan=SETTINGS, data=odd),
            seed=0,
            device=CPU,
        )
    assert not (tmp_path / "run").exists()


def test_other_settings_in_the_same_folder_are_refused(task: Task, tmp_path: Path) -> None:
    run(tmp_path / "run", task)
    with pytest.raises(NasdaError, match=r"begun with spgan.cycle = 10.0, not 1"):
        run(tmp_path / "run", task, dataclasses.replace(SETTINGS, cycle=1.0))
