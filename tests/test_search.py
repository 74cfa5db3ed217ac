"""Whole searches: what learns on what, what is left behind, and that a killed one goes on as if nothing had been."""

import copy
import dataclasses
import json
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from nasda.bilevel import VirtualStep, first_order_gradient, frozen_statistics, second_order_gradient
from nasda.data.domain import JUNK
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.genotypes import CELL_KINDS, PRIMITIVES, Genotype, derive
from nasda.losses import beta_regulariser, class_centres, memory_loss, mmd, triplet_loss
from nasda.runs import RunFolder, run_epochs
from nasda.search import Search, run_search, search_config, split_for_search
from nasda.settings import ComputeSettings, Form, SearchSettings
from tests.tasks import SEARCH, SPACE, make_task, profile_with

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("task"))


def search(folder: Path, task: Task, settings: SearchSettings = SEARCH, seed: int = 0, partial: int = 1) -> RunFolder:
    space = dataclasses.replace(SPACE, partial=partial, channels=max(SPACE.channels, partial))
    profile = profile_with(space=space, search=settings)
    run_search(RunFolder(folder), task, profile, seed=seed, device=CPU)
    return RunFolder(folder)


def alphas(folder: RunFolder) -> list[dict]:
    return [row["alphas"] for row in folder.read_log()]


def test_s_plus_r_learns_alpha_on_the_targets_training_split_and_weights_on_the_whole_source(task: Task) -> None:
    for_weights, for_alphas = split_for_search(task, SEARCH, seed=0)
    assert for_weights == task.source.train
    assert set(for_alphas) < set(task.target.train)
    assert len(for_alphas) == SEARCH.sample_images * 6


def test_s_learns_alpha_on_held_out_source_images_only(task: Task) -> None:
    for_weights, for_alphas = split_for_search(task, dataclasses.replace(SEARCH, mode="S"), seed=0)
    assert not set(for_weights) & set(for_alphas)
    assert set(for_weights) | set(for_alphas) == set(task.source.train)


def test_with_hold_out_weights_see_the_same_images_in_both_modes(task: Task) -> None:
    alone, both, plain = (
        split_for_search(task, dataclasses.replace(SEARCH, **changes), seed=3)
        for changes in ({"mode": "S"}, {"hold_out": True}, {})
    )
    assert both[0] == alone[0]
    assert len(both[0]) == len(plain[0]) - SEARCH.sample_images * 6
    assert both[1] == plain[1]


def test_mmd_has_the_held_out_source_of_s_and_the_target_without_its_identities(task: Task) -> None:
    for_weights, for_alphas = split_for_search(task, dataclasses.replace(SEARCH, alpha_loss="mmd"), seed=3)
    kept, held = split_for_search(task, dataclasses.replace(SEARCH, mode="S"), seed=3)
    assert for_weights == kept
    assert [sample for sample in for_alphas if sample.pid != JUNK] == held
    assert {s.path for s in for_alphas if s.pid == JUNK} == {s.path for s in task.target.train}


@pytest.mark.parametrize("changes", [{"mode": "S"}, {}, {"hold_out": True}, {"alpha_loss": "mmd"}], ids=str)
def test_no_search_ever_sees_a_query_or_gallery_image(task: Task, changes: dict) -> None:
    tested = {s.path for domain in (task.source, task.target) for s in [*domain.query, *domain.gallery]}
    for samples in split_for_search(task, dataclasses.replace(SEARCH, **changes), seed=0):
        assert not tested & {sample.path for sample in samples}


def test_mmd_without_a_target_is_refused_in_one_line(task: Task, tmp_path: Path) -> None:
    with pytest.raises(NasdaError, match=r"^--alpha-loss mmd compares .* take --mode S\+R, or another --alpha-loss$"):
        search(tmp_path / "run", task, dataclasses.replace(SEARCH, alpha_loss="mmd", mode="S"))
    assert not (tmp_path / "run").exists()


def test_mmd_does_not_know_who_is_who_in_the_target(task: Task, tmp_path: Path) -> None:
    """With other identities at every target image, the search is the same to the bit."""
    target, pids = task.target, [sample.pid for sample in task.target.train]
    mixed = np.random.default_rng(0).permutation(pids).tolist()
    train = [sample._replace(pid=pid) for sample, pid in zip(target.train, mixed, strict=True)]
    other = Task(task.name, task.source, dataclasses.replace(target, train=train))
    settings = dataclasses.replace(SEARCH, alpha_loss="mmd", epochs=2)
    one, two = search(tmp_path / "one", task, settings), search(tmp_path / "two", other, settings)
    assert pids != mixed
    assert same_state(one, two)
    assert alphas(one) == alphas(two)
    labelled = dataclasses.replace(settings, alpha_loss="triplet", margin=5.0)  # which does know
    assert alphas(search(tmp_path / "three", task, labelled)) != alphas(search(tmp_path / "four", other, labelled))


def same_state(one: RunFolder, other: RunFolder) -> bool:
    """Do both end with the same ω, α, running statistics and counts, to the bit?"""
    states = [folder.load_checkpoint()["run"]["network"] for folder in (one, other)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_one_image_an_identity_is_refused_unless_it_is_asked_for_literally(task: Task, tmp_path: Path) -> None:
    one = dataclasses.replace(SEARCH, sample_images=1)
    with pytest.raises(NasdaError, match="--literal"):
        search(tmp_path / "refused", task, one)
    assert not (tmp_path / "refused").exists()
    rows = search(tmp_path / "literal", task, dataclasses.replace(one, literal=True)).read_log()
    assert all(row["loss_alphas"] == 0 for row in rows)  # the triplet term is dead, as the facts say


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mode": "S"},
        {"order": "second"},
        {"alpha_loss": "retrieval"},
        {"alpha_loss": "unit-triplet"},
        {"order": "second", "alpha_loss": "retrieval"},
        {"alpha_statistics": "source"},
        {"alpha_loss": "memory"},
        {"alpha_loss": "mmd"},
        {"beta_decay": 5.0},
    ],
    ids=str,
)
def test_every_kind_of_search_moves_alpha_and_leaves_a_whole_run(task: Task, tmp_path: Path, changes: dict) -> None:
    folder = search(tmp_path / "run", task, dataclasses.replace(SEARCH, **changes))
    first, *_, last = alphas(folder)
    assert not np.allclose(first["normal"], last["normal"])
    assert {path.name for path in folder.path.iterdir()} == {
        ".lock",
        "config.json",
        "log.jsonl",
        "checkpoint.pt",
        "genotype.json",
    }
    row = folder.read_log()[-1]
    assert Genotype.load(folder.genotype) == Genotype.from_dict(row["genotype"])
    assert 0 < row["entropy"]["normal"] <= np.log(7)
    assert row["images_per_second"] > 0


def test_at_unit_length_alpha_gains_nothing_by_making_features_small(task: Task, monkeypatch: Any) -> None:
    """With the plain triplet loss, margin unmet, it does: a tenth of f costs less."""
    weight_samples, alpha_samples = split_for_search(task, SEARCH, 0)
    losses = {}
    for kind in ("triplet", "unit-triplet"):
        settings = dataclasses.replace(SEARCH, alpha_loss=kind, margin=0.0)
        one = Search(
            weight_samples,
            alpha_samples,
            profile_with(search=settings),
            seed=0,
            device=torch.device("cpu"),
        )
        batch = one.alpha_batches.next()
        features = one.features
        at_scale = []
        for scale in (1.0, 0.1):
            monkeypatch.setattr(
                one, "features", lambda images, scale=scale, features=features: scale * features(images)
            )
            with torch.no_grad(), frozen_statistics(one.network):
                at_scale.append(float(one.alpha_loss(*batch)))
        losses[kind] = at_scale
    assert losses["unit-triplet"][1] == pytest.approx(losses["unit-triplet"][0], rel=1e-4)
    assert losses["triplet"][1] == pytest.approx(0.1 * losses["triplet"][0], rel=1e-4)
    assert losses["triplet"][0] > 0


def test_the_seed_decides_everything_and_nothing_else_does(task: Task, tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = alphas(search(tmp_path / "one", task))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = alphas(search(tmp_path / "again", task))
    assert one == again
    assert torch.equal(before, torch.get_rng_state())
    assert one != alphas(search(tmp_path / "other", task, seed=1))


@pytest.mark.parametrize(
    ("changes", "partial"),
    [
        ({}, 1),
        ({"order": "second", "alpha_loss": "retrieval"}, 1),
        ({"alpha_loss": "retrieval"}, 3),
        ({"alpha_statistics": "source"}, 1),
        ({"alpha_statistics": "source"}, 4),
        ({"alpha_loss": "memory"}, 1),
        ({"alpha_loss": "mmd"}, 1),
        ({"beta_decay": 5.0, "hold_out": True}, 1),
    ],
    ids=str,
)
def test_a_search_stopped_within_any_epoch_resumes_to_the_bit(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, partial: int
) -> None:
    settings = dataclasses.replace(SEARCH, **changes)
    whole = search(tmp_path / "whole", task, settings, partial=partial)
    step = Search.step
    for epoch in range(settings.epochs):

        def stop_in_epoch(self: Search, at: int, index: int, epoch: int = epoch) -> object:
            if (at, index) == (epoch, 1):
                raise KeyboardInterrupt
            return step(self, at, index)

        monkeypatch.setattr(Search, "step", stop_in_epoch)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "stopped", task, settings, partial=partial)
    monkeypatch.setattr(Search, "step", step)
    stopped = search(tmp_path / "stopped", task, settings, partial=partial)
    assert alphas(stopped) == alphas(whole)
    assert same_state(stopped, whole)


@pytest.mark.parametrize("order", ["first", "second"])
def test_partial_channels_move_beta_and_what_is_found_follows_from_the_log(
    task: Task, tmp_path: Path, order: str
) -> None:
    settings = dataclasses.replace(SEARCH, order=order, alpha_loss="retrieval")
    folder = search(tmp_path / "run", task, settings, partial=3)
    first, *_, last = folder.read_log("betas")
    for kind in ("normal", "reduce"):
        assert np.abs(np.subtract(first["betas"][kind], last["betas"][kind])).min() > 0
    assert Genotype.load(folder.genotype) == derive(last["alphas"], PRIMITIVES["reid"], last["betas"])
    assert all("betas" not in row for row in search(tmp_path / "whole", task).read_log())


def search_in_a_process(folder: Path, task: Task, settings: SearchSettings) -> None:
    torch.set_num_threads(1)
    search(folder, task, settings)


def test_killed_at_ten_random_moments_a_search_ends_with_the_same_alpha(task: Task, tmp_path: Path) -> None:
    settings = dataclasses.replace(SEARCH, epochs=12, steps=4)
    begun = time.perf_counter()
    whole = search(tmp_path / "whole", task, settings)
    seconds = time.perf_counter() - begun

    context = multiprocessing.get_context("forkserver")  # imports torch once, and has computed nothing when it forks
    context.set_forkserver_preload(["nasda.search"])
    moments = np.random.default_rng(0).uniform(0.05, 0.3, size=10) * seconds
    arguments = (tmp_path / "killed", task, settings)
    for moment in moments:
        process = context.Process(target=search_in_a_process, args=arguments)
        process.start()
        time.sleep(moment + 0.5)  # half a second to fork and to read the images
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
    process = context.Process(target=search_in_a_process, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert alphas(RunFolder(tmp_path / "killed")) == alphas(whole)


def test_a_run_begun_with_other_settings_is_refused_and_stays_as_it_was(task: Task, tmp_path: Path) -> None:
    folder = search(tmp_path / "run", task)
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(NasdaError, match=r"config\.json: the run here was begun with search\.epochs = 3, not 5"):
        search(tmp_path / "run", task, dataclasses.replace(SEARCH, epochs=5))
    assert before == {path: path.read_bytes() for path in folder.path.iterdir()}


def test_a_finished_run_is_not_repeated(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = search(tmp_path / "run", task)
    log = folder.log.read_text()
    monkeypatch.setattr(Search, "step", lambda *_: pytest.fail("a step was taken"))
    assert search(tmp_path / "run", task).log.read_text() == log


def test_a_search_run_by_hand_is_found_by_its_config(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As notebook 04 does, to watch it."""
    folder, profile = RunFolder(tmp_path / "run"), profile_with()
    folder.begin(search_config(task, profile, seed=0))
    one = Search(*split_for_search(task, SEARCH, 0), profile, seed=0, device=CPU)
    run_epochs(folder, one, SEARCH.epochs, str)
    monkeypatch.setattr(Search, "step", lambda *_: pytest.fail("a step was taken"))
    assert search(tmp_path / "run", task).genotype.exists()


def test_a_checkpoint_of_another_network_is_refused_by_name(task: Task, tmp_path: Path) -> None:
    folder = search(tmp_path / "run", task)
    state = folder.load_checkpoint()
    state["run"]["network"].pop("alphas.normal")
    folder.save_checkpoint(state)
    with pytest.raises(NasdaError, match=r"checkpoint\.pt: this checkpoint belongs to another run"):
        search(tmp_path / "run", task)


def test_a_loss_that_is_not_a_number_ends_the_run_in_one_line(task: Task, tmp_path: Path) -> None:
    with pytest.raises(NasdaError, match=r"became (nan|inf).*lower --weights-lr"):
        search(tmp_path / "run", task, dataclasses.replace(SEARCH, weights_lr=1e30))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["search"]["weights_lr"] == 1e30


# α's statistics


def begun(
    task: Task,
    *,
    form: Form = "clear",
    double: bool = True,
    partial: int = 1,
    operations: tuple[str, ...] = (),
    **changes: Any,
) -> Search:
    """A search whose running statistics are not the initial ones any more, by three steps of ω on the source."""
    settings = dataclasses.replace(SEARCH, **{"margin": 5.0, **changes})  # every triplet counts
    space = dataclasses.replace(SPACE, partial=partial, operations=operations)
    profile = profile_with(space=space, search=settings, compute=ComputeSettings(form=form))
    one = Search(*split_for_search(task, settings, 0), profile, seed=0, device=CPU)
    with torch.no_grad():
        for alpha in one.network.architecture_parameters():
            alpha.mul_(300)
        for _ in range(3):
            one.network.features(one.weight_batches.next()[0])
    one.begin_epoch(2)
    if double:
        one.network.double()
    return one


def alpha_batch(one: Search) -> tuple[torch.Tensor, ...]:
    return tuple(x.double() if x.is_floating_point() else x for x in one.next_alpha_batch())


def buffers(one: Search) -> list[torch.Tensor]:
    return [buffer.clone() for buffer in one.network.buffers()]


def test_source_statistics_are_those_of_evaluation_and_the_gradient_is_the_finite_difference(task: Task) -> None:
    one = begun(task, alpha_statistics="source")
    images, labels = alpha_batch(one)
    before = buffers(one)
    tested = copy.deepcopy(one.network).eval()
    loss, found = first_order_gradient(lambda: one.alpha_loss(images, labels), one.bilevel.learners)
    with torch.no_grad():
        assert loss.item() == triplet_loss(tested.features(images), labels, 5.0).item()
        assert loss.item() != triplet_loss(copy.deepcopy(one.network).features(images), labels, 5.0).item()
    assert all(torch.equal(a, b) for a, b in zip(buffers(one), before, strict=True))
    assert all(module.training for module in one.network.modules())
    for alpha, gradient in zip(one.bilevel.learners, found, strict=True):
        for index in [(0, 1), (3, 5)]:
            values = []
            for side in (1e-6, -1e-6):
                with torch.no_grad():
                    alpha[index] += side
                    values.append(one.alpha_loss(images, labels).item())
                    alpha[index] -= side
            assert gradient[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-8)
        assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize("order", ["first", "second"])
def test_alphas_statistics_change_alpha_and_leave_the_running_ones_to_the_source(task: Task, order: str) -> None:
    one, other = (begun(task, double=False, order=order, alpha_statistics=kind) for kind in ("batch", "source"))
    before = buffers(one)
    for search in (one, other):
        search.step(0, 0)
    assert all(torch.equal(a, b) for a, b in zip(buffers(one), buffers(other), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(buffers(one), before, strict=True))
    ws, others = one.network.weight_parameters(), other.network.weight_parameters()
    assert all(torch.equal(a, b) for a, b in zip(ws, others, strict=True))
    assert not torch.equal(one.network.alphas["normal"], other.network.alphas["normal"])


def test_second_order_with_source_statistics_equals_autograd_through_the_virtual_step(task: Task) -> None:
    """L_train with the batch's statistics, L_val at ω' with the running ones that L_train left, as constants. Without
    kinks, across which a finite difference sees what a second derivative does not."""
    smooth = ("none", "sep_conv_3x3", "avg_pool_3x3", "skip_connect", "part_aware")
    one = begun(task, alpha_statistics="source", operations=smooth)
    for module in list(one.network.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(module, name, torch.nn.Softplus())
    train, val = tuple(x.double() if x.is_floating_point() else x for x in one.weight_batches.next()), alpha_batch(one)
    one.network.head.embedding[0].p = one.network.head.classifier[0].p = 0.0
    weights, learners = one.network.weight_parameters(), one.bilevel.learners

    twin = copy.deepcopy(one.network)
    loss = one._retrieval_loss(twin.features(train[0]), train[1], twin.head)  # type: ignore[arg-type]
    slopes = torch.autograd.grad(loss, twin.weight_parameters(), create_graph=True, allow_unused=True)
    names = [name for name, _ in twin.named_parameters() if not name.startswith(("alphas.", "betas."))]
    ahead = {
        name: w if slope is None else w - 0.05 * slope
        for name, w, slope in zip(names, twin.weight_parameters(), slopes, strict=True)
    }
    twin.eval()
    features = torch.func.functional_call(_Features(twin), {f"network.{n}": w for n, w in ahead.items()}, (val[0],))
    expected_loss = triplet_loss(features, val[1], 5.0)
    expected = torch.autograd.grad(expected_loss, twin.architecture_parameters())

    def gradient(**changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
        with frozen_statistics(one.network):
            value, found = second_order_gradient(
                changes.get("train", lambda: one.weight_loss(*train)),
                lambda: one.alpha_loss(*val),
                weights,
                learners,
                VirtualStep(0.05),
                radius=1e-4,
            )
        return value, torch.cat(found)

    value, found = gradient()
    assert value.item() == pytest.approx(expected_loss.item(), rel=1e-10)
    exact = torch.cat(expected)
    assert (found - exact).norm() < 1e-4 * exact.norm()

    def in_evaluation() -> torch.Tensor:
        one.network.eval()
        try:
            return one.weight_loss(*train)
        finally:
            one.network.train()

    assert (gradient(train=in_evaluation)[1] - exact).norm() > 0.01 * exact.norm()  # the test sees the difference


class _Features(torch.nn.Module):
    """`network.features` as a `forward`, for `functional_call`."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.features(images)


@pytest.mark.parametrize("partial", [1, 3])
def test_with_source_statistics_the_fast_form_gives_the_numbers_of_the_clear_one(task: Task, partial: int) -> None:
    found = []
    searches = [begun(task, form=form, partial=partial, alpha_statistics="source") for form in get_args(Form)]
    searches[1].network.load_state_dict(searches[0].network.state_dict())  # the statistics were float32's
    for one in searches:
        batch = alpha_batch(one)
        parameters = [*one.bilevel.learners, *one.network.weight_parameters()]
        loss, slopes = first_order_gradient(lambda one=one, batch=batch: one.alpha_loss(*batch), parameters)
        found.append((loss, *slopes))
    for clear, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, clear, rtol=1e-12, atol=1e-12 * max(1.0, float(clear.abs().max())))


# What α's loss holds fixed


@pytest.mark.parametrize("statistics", ["batch", "source"])
def test_an_epoch_begins_with_the_centres_of_alphas_whole_sample(task: Task, statistics: str) -> None:
    one = begun(task, double=False, alpha_loss="memory", alpha_statistics=statistics)
    before = buffers(one)
    one.centres.zero_()
    one.begin_epoch(0)
    _, samples = split_for_search(task, one.settings, 0)
    twin = copy.deepcopy(one.network).train(statistics == "batch")
    images = _images(one)
    with torch.no_grad():
        parts = images.tensor_split(-(-len(images) // one.alpha_batches.batch_size))
        features = torch.cat([twin.features(part) for part in parts])
    assert len(features) == len(samples) == 12
    for label, pid in enumerate(sorted({sample.pid for sample in samples})):
        own = [f / f.norm() for f, sample in zip(features, samples, strict=True) if sample.pid == pid]
        mean = sum(own) / len(own)  # type: ignore[arg-type]
        torch.testing.assert_close(one.centres[label], mean / mean.norm(), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(buffers(one), before, strict=True))
    assert all(module.training for module in one.network.modules())


def _images(one: Search) -> torch.Tensor:
    """α's sample, in its order, as networks see it."""
    mean, sd = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (one.alpha_batches.pixels.permute(0, 3, 1, 2) / 255 - mean) / sd


def test_centres_move_once_a_step_after_it_and_in_place(task: Task) -> None:
    one = begun(task, alpha_loss="memory", double=False, order="second")
    place, before = one.centres.data_ptr(), one.centres.clone()
    asked: list[torch.Tensor] = []
    loss = one.alpha_loss

    def watched(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        asked.append(one.centres.clone())
        first = loss(images, labels)
        assert torch.equal(loss(images, labels), first)  # the same function, however often it is called
        asked.append(labels)
        return first

    one.alpha_loss = watched  # type: ignore[method-assign]
    one.step(0, 0)
    seen, labels = asked
    assert torch.equal(seen, before)
    absent = sorted(set(range(6)) - set(labels.tolist()))
    assert absent
    assert torch.equal(one.centres[absent], before[absent])
    assert not torch.isclose(one.centres[labels], before[labels]).all(dim=1).any()
    torch.testing.assert_close(one.centres.norm(dim=1), torch.ones(6))
    assert one.centres.data_ptr() == place


def test_the_memory_loss_is_over_all_identities_of_alphas_sample(task: Task) -> None:
    one = begun(task, alpha_loss="memory")
    images, labels = alpha_batch(one)
    twin = copy.deepcopy(one.network)
    expected = memory_loss(twin.features(images), labels, one.centres, SEARCH.temperature)
    assert one.alpha_loss(images, labels).item() == pytest.approx(expected.item(), rel=1e-12)
    assert len(one.centres) == 6 > len(labels.unique())
    assert torch.equal(one.batch_centres, class_centres(twin.features(images), labels, 6).float())


def test_the_mmd_loss_sends_both_domains_through_the_network_together(task: Task) -> None:
    one = begun(task, alpha_loss="mmd", mmd_weight=0.7)
    images, labels, unlabelled = alpha_batch(one)
    assert len(unlabelled) == len(images) == 8
    features = copy.deepcopy(one.network).features(torch.cat([images, unlabelled]))
    expected = triplet_loss(features[:8], labels, 5.0) + 0.7 * mmd(features[:8], features[8:])
    assert one.alpha_loss(images, labels, unlabelled).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("partial", [1, 3])
def test_beta_decay_grows_from_zero_and_adds_its_gradient_to_alpha_alone(task: Task, partial: int) -> None:
    one = begun(task, beta_decay=6.0, partial=partial)
    batch, place = alpha_batch(one), one.decay.data_ptr()
    found = []
    for epoch in range(3):
        one.begin_epoch(epoch)
        assert one.decay.item() == 2.0 * epoch
        with frozen_statistics(one.network):
            found.append(first_order_gradient(lambda: one.alpha_loss(*batch), one.bilevel.learners))
    assert one.decay.data_ptr() == place
    values = [one.network.alphas[kind] for kind in CELL_KINDS]
    assert (found[2][0] - found[0][0]).item() == pytest.approx(4 * beta_regulariser(values).item(), rel=1e-12)
    edges = sum(len(value) for value in values)
    for parameter, plain, more in zip(one.bilevel.learners, found[0][1], found[2][1], strict=True):
        expected = 4 * torch.softmax(parameter, dim=1) / edges if parameter.dim() == 2 else torch.zeros_like(plain)
        torch.testing.assert_close(more - plain, expected, rtol=1e-9, atol=1e-12)
