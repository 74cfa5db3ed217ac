"""nasda.fast.graphs: a search by recorded steps is the search by computed ones, and on a GPU nothing in it waits."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch

from nasda import search as search_module
from nasda.bilevel import Loss, VirtualStep, differentiate, frozen_statistics, second_order_gradient
from nasda.data.task import Task
from nasda.devices import autocast
from nasda.errors import NasdaError
from nasda.fast.graphs import WARM_UPS, BatchLoss, Compute, Outputs, Recorded
from nasda.losses import triplet_loss
from nasda.runs import RunFolder
from nasda.search import Search, run_search, split_for_search
from nasda.settings import ComputeSettings, Form, Order, Precision, SearchSettings, SpaceSettings
from tests.marks import needs_cuda
from tests.tasks import SEARCH, SPACE, make_task, profile_with

CPU = torch.device("cpu")
KINDS = [
    {},
    {"order": "second"},
    {"alpha_loss": "retrieval"},
    {"order": "second", "alpha_loss": "retrieval"},
    {"order": "second", "alpha_statistics": "source"},
    {"alpha_loss": "memory", "beta_decay": 5.0},
    {"alpha_loss": "mmd", "alpha_statistics": "source"},
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("task"))


def make_search(
    task: Task,
    settings: SearchSettings = SEARCH,
    compute: ComputeSettings = ComputeSettings(),
    device: torch.device = CPU,
) -> Search:
    search = Search(
        *split_for_search(task, settings, 0),
        profile_with(search=settings, compute=compute),
        seed=0,
        device=device,
    )
    search.network.train()
    return search


def record(compute: Compute) -> Compute:
    """What `CudaGraphs` does, without CUDA: warm up, then compute again and again, always into the same memory."""
    for _ in range(WARM_UPS):
        compute()
    value, gradients = compute()

    def replay() -> Outputs:
        new_value, new_gradients = compute()
        for place, new in zip([value, *gradients], [new_value, *new_gradients], strict=True):
            place.copy_(new)
        return value, gradients

    return replay


def run(
    folder: Path, task: Task, settings: SearchSettings, space: SpaceSettings = SPACE
) -> tuple[RunFolder, dict[str, torch.Tensor]]:
    run_search(RunFolder(folder), task, profile_with(search=settings, space=space), seed=0, device=CPU)
    return RunFolder(folder), RunFolder(folder).load_checkpoint()["run"]["network"]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches begun from now on record their steps."""
    monkeypatch.setattr(search_module, "differentiation", lambda network, *_: Recorded(network, record))


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_a_recorded_search_equals_the_plain_one_to_the_bit(
    task: Task, tmp_path: Path, request: pytest.FixtureRequest, changes: dict
) -> None:
    settings = dataclasses.replace(SEARCH, **changes)
    folder, expected = run(tmp_path / "plain", task, settings)
    request.getfixturevalue("recorded")
    other, found = run(tmp_path / "recorded", task, settings)
    assert equal(found, expected)  # ω, α, running statistics and their counts
    assert [row["loss_alphas"] for row in other.read_log()] == [row["loss_alphas"] for row in folder.read_log()]


def test_a_recorded_search_of_the_space_style_equals_the_plain_one_to_the_bit(
    task: Task, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = dataclasses.replace(SEARCH, order="second", alpha_statistics="source")
    space = dataclasses.replace(SPACE, space="style")
    _, expected = run(tmp_path / "plain", task, settings, space)
    request.getfixturevalue("recorded")
    assert equal(run(tmp_path / "recorded", task, settings, space)[1], expected)


def test_a_recorded_search_resumes_to_the_bit(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: None
) -> None:
    settings = dataclasses.replace(SEARCH, order="second", alpha_loss="retrieval")
    _, whole = run(tmp_path / "whole", task, settings)
    step = Search.step

    def stop(self: Search, epoch: int, index: int) -> object:
        if (epoch, index) == (1, 1):
            raise KeyboardInterrupt
        return step(self, epoch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", task, settings)
    assert equal(run(tmp_path / "stopped", task, settings)[1], whole)


@pytest.mark.parametrize(("order", "recordings"), [("first", 2), ("second", 3)])
def test_each_loss_is_recorded_once_for_each_choice_of_gradients(task: Task, order: str, recordings: int) -> None:
    """Second order asks L_train for ∇ω, twice, and for ∇α, twice, and L_val for both: three recordings in all."""
    search = make_search(task, dataclasses.replace(SEARCH, order=order))
    search.bilevel.differentiate = Recorded(search.network, record)
    for index in range(3):
        search.step(0, index)
    assert len(search.bilevel.differentiate.recordings) == recordings


def test_what_a_replay_gave_outlives_the_next_one(task: Task) -> None:
    search = make_search(task)
    recorded, alphas = Recorded(search.network, record), search.network.architecture_parameters()
    losses = [BatchLoss(search.alpha_loss, search.alpha_batches.next(), (0, i)) for i in range(2)]
    found = [recorded(loss, alphas) for loss in losses]
    expected = [differentiate(loss, alphas) for loss in losses]
    assert not torch.equal(found[0][0], found[1][0])
    for (value, gradients), (expected_value, expected_gradients) in zip(found, expected, strict=True):
        assert torch.equal(value, expected_value)
        assert all(torch.equal(g, e) for g, e in zip(gradients, expected_gradients, strict=True))


def test_only_a_loss_that_says_its_batch_can_be_recorded(task: Task) -> None:
    search = make_search(task)
    with pytest.raises(TypeError, match="BatchLoss"):
        Recorded(search.network, record)(lambda: torch.zeros(()), [])


@pytest.mark.parametrize("few", [{"identities": 1}, {"images": 1}], ids=str)
def test_batches_without_triplets_are_refused_before_anything_is_written(task: Task, tmp_path: Path, few: dict) -> None:
    with pytest.raises(NasdaError, match=r"take (more identities|K ≥ 2)"):
        run(tmp_path / "run", task, dataclasses.replace(SEARCH, **few))
    assert not (tmp_path / "run").exists()


def test_how_a_search_was_computed_is_among_its_settings(task: Task, tmp_path: Path) -> None:
    folder, _ = run(tmp_path / "run", task, SEARCH)
    assert folder.read_config()["compute"] == {"form": "fast", "precision": "float32", "graphs": False}


# Precision


@pytest.mark.parametrize("form", get_args(Form))
def test_in_bfloat16_features_come_out_as_float32_and_losses_stay_near(task: Task, form: Form) -> None:
    """On a CPU by force; a user's CPU stays with float32."""
    search = make_search(task, compute=ComputeSettings(form=form))
    images, _ = search.weight_batches.next()
    exact = search.network.features(images)
    with autocast(CPU, "bfloat16", on_cpu=True):
        stem = search.network.stem(images)
        features = search.network.features(images)
    assert stem.dtype == torch.bfloat16
    assert features.dtype == torch.float32
    assert not torch.equal(features, features.bfloat16().float())  # averaged in float32, not rounded afterwards
    error = (features - exact).norm() / exact.norm()
    assert 0 < error < 0.05
    assert search.network.head(features).dtype == torch.float32


def test_the_bfloat16_loss_and_its_gradient_are_near_the_float32_ones(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = make_search(task)
    rough = make_search(task, compute=ComputeSettings(precision="bfloat16"))
    alphas = exact.network.architecture_parameters()
    batch = exact.weight_batches.next()
    value, gradients = differentiate(BatchLoss(exact.weight_loss, batch, (0,)), alphas)

    same, _ = differentiate(BatchLoss(rough.weight_loss, batch, (0,)), rough.network.architecture_parameters())
    assert torch.equal(same, value)  # on a CPU the setting changes nothing

    monkeypatch.setattr(search_module, "autocast", lambda device, precision: autocast(device, precision, on_cpu=True))
    near, found = differentiate(BatchLoss(rough.weight_loss, batch, (0,)), rough.network.architecture_parameters())
    assert near.dtype == torch.float32
    assert not torch.equal(near, value)
    assert near.item() == pytest.approx(value.item(), rel=0.05)
    one, other = torch.cat(gradients).flatten(), torch.cat(found).flatten()
    assert torch.cosine_similarity(one, other, dim=0) > 0.9


def test_the_second_orders_difference_is_float32_whatever_the_precision(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same ω and v: then the difference is the float32 one to the bit. In bfloat16 a fifth of it is rounding,
    even in a network as small as this."""
    monkeypatch.setattr(search_module, "autocast", lambda device, precision: autocast(device, precision, on_cpu=True))

    def difference(precision: Precision, given: bool) -> torch.Tensor:
        search = make_search(task, compute=ComputeSettings(precision=precision))
        train, val = search.weight_batches.next(), search.alpha_batches.next()
        in_float32 = BatchLoss(lambda x, y: triplet_loss(search.network.features(x), y, 0.3), val, (1,))
        sides = []

        def watched(loss: Loss, parameters: Sequence[torch.Tensor]) -> Outputs:
            found = differentiate(loss, parameters)
            sides.append(torch.cat([g.flatten() for g in found[1]]))
            return found

        with frozen_statistics(search.network):
            second_order_gradient(
                BatchLoss(search.weight_loss, train, (0,)),
                in_float32,
                search.network.weight_parameters(),
                search.network.architecture_parameters(),
                VirtualStep(0.0),  # ω' is ω, so that v is the same in every precision
                exact_loss=BatchLoss(search.exact_weight_loss, train, (0,)) if given else None,
                differentiate=watched,
            )
        return sides[-2] - sides[-1]

    expected = difference("float32", False)
    assert torch.equal(difference("bfloat16", True), expected)
    assert (difference("bfloat16", False) - expected).norm() > 0.1 * expected.norm()


@pytest.mark.parametrize("order", ["first", "second"])
def test_a_search_takes_its_second_orders_difference_in_float32(task: Task, order: Order) -> None:
    search = make_search(task, dataclasses.replace(SEARCH, order=order))
    asked, tf32 = [], []

    def watched(loss: BatchLoss, parameters: Sequence[torch.Tensor]) -> Outputs:
        asked.append(loss.function.__name__)
        tf32.append(torch.backends.cudnn.allow_tf32)
        return differentiate(loss, parameters)

    search.bilevel.differentiate = watched
    search.step(0, 0)
    ahead = {"first": ["alpha_loss"], "second": ["weight_loss", "alpha_loss", *2 * ["exact_weight_loss"]]}[order]
    assert asked == ["weight_loss", *ahead]
    assert tf32 == [name != "exact_weight_loss" for name in asked]


# On a GPU


@pytest.fixture
def no_waiting() -> Iterator[object]:
    """Called, it makes every wait of the host for the GPU an error until the test's end."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def alphas_after(steps: int, search: Search) -> torch.Tensor:
    for index in range(steps):
        search.step(0, index)
    return torch.cat([alpha.detach() for alpha in search.network.architecture_parameters()]).cpu()


@needs_cuda
@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_cuda_graphs_lead_to_the_alpha_of_the_eager_search(task: Task, changes: dict) -> None:
    settings, cuda = dataclasses.replace(SEARCH, **changes), torch.device("cuda")
    eager, graphed = (
        make_search(task, settings, ComputeSettings(graphs=graphs), device=cuda) for graphs in (False, True)
    )
    expected, found = alphas_after(5, eager), alphas_after(5, graphed)
    assert len(graphed.bilevel.differentiate.recordings) == (2 if settings.order == "first" else 3)
    assert (found - expected).abs().mean() < 0.02 * settings.alphas_lr  # sums on a GPU come in any order
    for one, other in zip(eager.network.buffers(), graphed.network.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


@needs_cuda
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_no_step_on_cuda_waits_for_the_gpu(
    task: Task, changes: dict, form: Form, graphs: bool, no_waiting: object
) -> None:
    compute = ComputeSettings(form=form, precision="bfloat16", graphs=graphs)
    search = make_search(task, dataclasses.replace(SEARCH, **changes), compute, torch.device("cuda"))
    alphas_after(2, search)  # libraries set themselves up, graphs are recorded
    no_waiting()
    for index in range(2, 5):
        search.step(0, index)


@needs_cuda
def test_dropout_under_replay_follows_the_seed(task: Task) -> None:
    search = make_search(task, compute=ComputeSettings(graphs=True), device=torch.device("cuda"))
    weights, batch = search.network.weight_parameters(), search.weight_batches.next()
    values = [search.bilevel.differentiate(BatchLoss(search.weight_loss, batch, (s,)), weights)[0] for s in (1, 2, 1)]
    torch.testing.assert_close(values[0], values[2])
    assert abs(float(values[0] - values[1])) > 1e-5
