"""Whole searches: what learns on what, what is left behind, and that a killed one goes on as if nothing had been."""

import dataclasses
import json
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasda.bilevel import frozen_statistics
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.genotypes import Genotype
from nasda.runs import RunFolder
from nasda.search import Search, run_search, split_for_search
from nasda.settings import SearchSettings
from tests.tasks import SEARCH, make_task, profile_with

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("task"))


def search(folder: Path, task: Task, settings: SearchSettings = SEARCH, seed: int = 0) -> RunFolder:
    run_search(RunFolder(folder), task, profile_with(search=settings), seed=seed, device=CPU)
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


@pytest.mark.parametrize("mode", ["S", "S+R"])
def test_neither_mode_ever_sees_a_query_or_gallery_image(task: Task, mode: str) -> None:
    tested = {s.path for domain in (task.source, task.target) for s in [*domain.query, *domain.gallery]}
    for samples in split_for_search(task, dataclasses.replace(SEARCH, mode=mode), seed=0):
        assert not tested & {sample.path for sample in samples}


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


@pytest.mark.parametrize("changes", [{}, {"order": "second", "alpha_loss": "retrieval"}], ids=str)
def test_a_search_stopped_within_any_epoch_resumes_to_the_bit(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    settings = dataclasses.replace(SEARCH, **changes)
    whole = search(tmp_path / "whole", task, settings)
    step = Search.step
    for epoch in range(settings.epochs):

        def stop_in_epoch(self: Search, at: int, index: int, epoch: int = epoch) -> object:
            if (at, index) == (epoch, 1):
                raise KeyboardInterrupt
            return step(self, at, index)

        monkeypatch.setattr(Search, "step", stop_in_epoch)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "stopped", task, settings)
    monkeypatch.setattr(Search, "step", step)
    stopped = search(tmp_path / "stopped", task, settings)
    assert alphas(stopped) == alphas(whole)
    states = [folder.load_checkpoint()["run"]["network"] for folder in (stopped, whole)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


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
