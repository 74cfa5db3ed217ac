"""nasda.selection: what a supernet misses most, against brute force and against what was planted."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasda import selection
from nasda.bilevel import Loss
from nasda.cells import edge_stride
from nasda.cli import main
from nasda.data.task import Task
from nasda.errors import NasdaError
from nasda.genotypes import CELL_KINDS, CellKind, Edge, Genotype, node_slices, random_genotype
from nasda.networks import Supernet
from nasda.operations import Zero
from nasda.runs import RunFolder
from nasda.search import run_search
from nasda.selection import loss_with, losses_without, run_selection, select_by_perturbation, without
from nasda.settings import ComputeSettings, Form, SpaceSettings
from tests.tasks import SEARCH, make_task, profile_with

SPACE = SpaceSettings(
    space="plain", channels=4, nodes=2, blocks=2, cells_per_block=1, stem_stride=1, embedding=8, dropout=0.0
)
CPU = torch.device("cpu")
IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4


def supernet(seed: int = 0, form: Form = "fast") -> Supernet:
    network = Supernet(SPACE, 4, seed=seed, form=form).double()
    with torch.no_grad():
        for alphas in network.alphas.values():
            alphas.mul_(1000)
    return network


def cross_entropy(network: Supernet) -> Loss:
    return lambda: functional.cross_entropy(network(IMAGES.double()).logits, LABELS)


class Scaled(nn.Module):
    def __init__(self, operation: nn.Module, scale: Tensor) -> None:
        super().__init__()
        self.operation, self.scale = operation, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.operation(x)


class Surgery:
    """Selection by brute force: operations are cut out of the network's modules; nothing is known of mixtures."""

    def __init__(self, network: Supernet) -> None:
        self.network = network
        self.operations = len(network.primitives)

    def cut(self, kind: CellKind, edge: int, operations: list[int]) -> "Surgery":
        patient = copy.deepcopy(self.network)
        for place, cell in zip(patient.places, patient.cells, strict=True):
            if place.kind == kind:
                state = edge - next(rows.start for rows in cell.rows if rows.start <= edge < rows.stop)
                for operation in operations:
                    cell.edges[edge].operations[operation] = Zero(edge_stride(kind == "reduce", state))
        return Surgery(patient)

    def loss(self) -> float:
        with torch.no_grad():
            return cross_entropy(self.network)().item()  # in training mode running statistics do not matter

    def only(self, kind: CellKind, edge: int, operation: int) -> "Surgery":
        """The operation at full weight, all others gone."""
        after = self.cut(kind, edge, [o for o in range(self.operations) if o != operation])
        weight = torch.softmax(self.network.alphas[kind][edge].detach(), dim=0)[operation]
        for place, cell in zip(after.network.places, after.network.cells, strict=True):
            if place.kind == kind:
                cell.edges[edge].operations[operation] = Scaled(cell.edges[edge].operations[operation], 1 / weight)
        return after

    def select(self, seed: int) -> Genotype:
        now, rng, chosen = self, np.random.default_rng(seed), {}
        everything = list(range(self.operations))
        edges = [(kind, edge) for kind in CELL_KINDS for edge in range(5)]
        for number in rng.permutation(10):
            kind, edge = edges[number]
            losses = {o: now.cut(kind, edge, [o]).loss() for o in everything[1:]}
            chosen[kind, edge] = max(losses, key=lambda o: losses[o])
            now = now.only(kind, edge, chosen[kind, edge])
        cells: dict[str, dict[int, tuple[Edge, ...]]] = {kind: {} for kind in CELL_KINDS}
        nodes = [(kind, node) for kind in CELL_KINDS for node in range(2)]
        for number in rng.permutation(4):
            kind, node = nodes[number]
            into = list(range(5))[node_slices(2)[node]]
            losses = {edge: now.cut(kind, edge, everything).loss() for edge in into}
            kept = sorted(sorted(into, key=lambda edge: -losses[edge])[:2])
            cells[kind][node] = tuple(
                Edge(self.network.primitives[chosen[kind, edge]], edge - into[0]) for edge in kept
            )
            for edge in set(into) - set(kept):
                now = now.cut(kind, edge, everything)
        return Genotype(**{kind: (nodes[0], nodes[1]) for kind, nodes in cells.items()})


@pytest.mark.parametrize("seed", range(2))
def test_it_selects_what_brute_force_selects(seed: int) -> None:
    expected = Surgery(supernet(seed, "clear")).select(seed)
    for network in (supernet(seed, "clear"), supernet(seed, "fast")):
        assert select_by_perturbation(network, cross_entropy(network), seed=seed) == expected
    assert expected != network.genotype()


def test_every_single_removal_is_what_cutting_the_operation_out_gives() -> None:
    network, whole = supernet(), Surgery(supernet(form="clear"))
    found = losses_without(network, cross_entropy(network))
    for kind in CELL_KINDS:
        assert found[kind].shape == (5, 6)
        for edge, operation in np.ndindex(5, 6):
            assert found[kind][edge, operation] == pytest.approx(whole.cut(kind, edge, [operation]).loss(), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_operations_that_were_planted(seed: int) -> None:
    """All operations are silent but two a node; the loss is the distance from what these two alone would say."""
    planted = random_genotype(2, supernet().primitives, seed)
    network = supernet(seed, "clear")
    with torch.no_grad():
        for alphas in network.alphas.values():
            alphas.zero_()
    for place, cell in zip(network.places, network.cells, strict=True):
        for rows, node in zip(cell.rows, planted.cell(place.kind), strict=True):
            useful = {edge.input: edge.operation for edge in node}
            for state, edge in enumerate(cell.edges[rows]):
                for o, name in enumerate(network.primitives):
                    if useful.get(state) != name:
                        edge.operations[o] = Zero(edge_stride(cell.reduction, state))
    alone = {kind: torch.ones(5, 6, dtype=torch.float64) for kind in CELL_KINDS}
    with torch.no_grad(), network.mixed_by(alone):
        wanted = network(IMAGES.double()).features
    found = select_by_perturbation(
        network, lambda: functional.mse_loss(network(IMAGES.double()).features, wanted), seed=seed
    )
    assert found == planted


def test_measuring_leaves_the_network_as_it_was() -> None:
    network = supernet()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    losses_without(network, cross_entropy(network))
    select_by_perturbation(network, cross_entropy(network), seed=0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.replaced is None


def test_weights_are_tuned_after_every_decision_in_the_network_as_it_then_is() -> None:
    network, seen = supernet(), []

    def tune() -> None:
        assert network.replaced is not None
        seen.append({kind: weights.clone() for kind, weights in network.replaced.items()})

    select_by_perturbation(network, cross_entropy(network), tune, seed=0)
    assert len(seen) == 10 + 2  # the first node of each cell has two edges only: nothing to decide
    decided = [sum(int((weights.count_nonzero(dim=1) <= 1).sum()) for weights in of.values()) for of in seen]
    assert decided == [*range(1, 11), 10, 10]
    left = [sum(int(weights.count_nonzero()) for weights in of.values()) for of in seen[-3:]]
    assert left == [10, 9, 8]
    for weights in seen[9].values():
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(5, dtype=torch.float64))


def test_none_is_never_kept_and_nan_is_said() -> None:
    network = supernet()
    none_only = {kind: functional.one_hot(torch.zeros(5, dtype=torch.long), 6).double() for kind in CELL_KINDS}
    with network.mixed_by(none_only):
        assert torch.equal(network.features(IMAGES.double()), torch.zeros(8, 2 * 8, dtype=torch.float64))
    worse_without_none = select_by_perturbation(
        network, lambda: 1 - network.replaced["normal"][:, 0].sum() if network.replaced else None, seed=0
    )
    assert "none" not in worse_without_none.to_json()
    with pytest.raises(NasdaError, match=r"without an operation became nan: lower --weights-lr"):
        select_by_perturbation(network, lambda: torch.tensor(float("nan")), seed=0)


def test_a_removal_sets_one_weight_or_an_edge_to_zero() -> None:
    weights = {kind: torch.full((5, 6), 0.5) for kind in CELL_KINDS}
    assert torch.equal(torch.nonzero(without(weights, "normal", 3, 2)["normal"] == 0), torch.tensor([[3, 2]]))
    assert (without(weights, "reduce", 1)["reduce"] == 0).all(dim=1).tolist() == [False, True, False, False, False]
    assert all(torch.equal(matrix, torch.full((5, 6), 0.5)) for matrix in weights.values())


def test_the_whole_mixture_gives_the_loss_as_it_is() -> None:
    network = supernet()
    mixture = {kind: network.mixture(kind) for kind in CELL_KINDS}
    loss = cross_entropy(network)
    assert loss_with(network, mixture, loss) == loss().item()


# A whole run


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("task"))


def searched(folder: Path, task: Task, **changes: object) -> RunFolder:
    run_search(RunFolder(folder), task, profile_with(space=SPACE, **changes), seed=3, device=CPU)
    return RunFolder(folder)


def test_a_finished_search_is_selected_from_and_stays_as_it_is(task: Task, tmp_path: Path) -> None:
    folder = searched(tmp_path / "run", task, search=dataclasses.replace(SEARCH, alpha_loss="retrieval"))
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    torch.manual_seed(1)
    one = run_selection(folder, task, steps=1, seed=0, device=CPU)
    torch.manual_seed(2)
    assert run_selection(folder, task, steps=1, seed=0, device=CPU) == one
    assert run_selection(folder, task, steps=1, seed=1, device=CPU) != one
    assert before == {path: path.read_bytes() for path in folder.path.iterdir()}


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha_loss": "unit-triplet"},
        {"alpha_loss": "retrieval", "alpha_statistics": "source"},
        {"alpha_loss": "memory", "beta_decay": 5.0},
        {"alpha_loss": "mmd", "alpha_statistics": "source"},
    ],
    ids=str,
)
def test_each_loss_of_alpha_can_be_asked_and_stays_the_same_function(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    """Asked twice of the same ω, with other questions between, it gives the same bits; of another ω, others."""
    settings, asked = dataclasses.replace(SEARCH, epochs=2, margin=5.0, **changes), []
    run_search(RunFolder(tmp_path), task, profile_with(space=SPACE, search=settings), seed=0, device=CPU)

    def watched(network: Supernet, loss: Loss, tune: Callable[[], object], *, seed: int) -> Genotype:
        mixture = {kind: network.mixture(kind) for kind in CELL_KINDS}
        first = loss_with(network, mixture, loss)
        removed = loss_with(network, without(mixture, "normal", 1), loss)
        assert loss_with(network, mixture, loss) == first != removed
        statistics = [buffer.clone() for buffer in network.buffers()]
        found = select_by_perturbation(network, loss, seed=seed)
        assert all(torch.equal(a, b) for a, b in zip(network.buffers(), statistics, strict=True))
        assert loss_with(network, mixture, loss) == first
        tune()
        assert loss_with(network, mixture, loss) != first
        asked.append(first)
        return found

    monkeypatch.setattr(selection, "select_by_perturbation", watched)
    found = [run_selection(RunFolder(tmp_path), task, steps=1, seed=0, device=CPU) for _ in range(2)]
    assert found[0] == found[1]
    assert asked[0] == asked[1]


def test_partial_channels_are_selected_from_by_their_shares(task: Task, tmp_path: Path) -> None:
    space = dataclasses.replace(SPACE, partial=2)
    run_search(RunFolder(tmp_path), task, profile_with(space=space), seed=0, device=CPU)
    assert run_selection(RunFolder(tmp_path), task, steps=1, seed=0, device=CPU).nodes == 2
    network, kept = Supernet(space, 4, seed=0), []
    with torch.no_grad():
        for betas in network.betas.values():
            betas.copy_(torch.arange(5.0))
    shares = network.mixture("normal").detach().sum(dim=1)

    def tune() -> None:
        assert network.replaced is not None
        kept.append(network.replaced["normal"].sum(dim=1))

    select_by_perturbation(network, lambda: network(IMAGES).features.square().mean(), tune, seed=0)
    torch.testing.assert_close(kept[9], shares)  # an operation that is kept has its edge's share


def test_the_fast_form_selects_as_the_clear_one(task: Task, tmp_path: Path) -> None:
    found = [
        run_selection(
            searched(tmp_path / form, task, compute=ComputeSettings(form=form)), task, steps=1, seed=0, device=CPU
        )
        for form in ("clear", "fast")
    ]
    assert found[0] == found[1]


def test_an_unfinished_search_is_refused(task: Task, tmp_path: Path) -> None:
    folder = searched(tmp_path / "run", task)
    state = folder.load_checkpoint()
    assert state is not None
    folder.save_checkpoint({**state, "history": "[]"})
    with pytest.raises(
        NasdaError, match=r"run: the search has run 0 of its 3 epochs: run the nasda search that began it"
    ):
        run_selection(folder, task, steps=1, seed=0, device=CPU)
    folder.checkpoint.unlink()
    with pytest.raises(NasdaError, match="0 of its 3 epochs"):
        run_selection(folder, task, steps=1, seed=0, device=CPU)


@pytest.mark.parametrize("name", ["person", "vehicle"])
def test_the_command_selects_on_both_tasks(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--task", name, "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    size = ["--height", "32", "--width", "16" if name == "person" else "32"]
    toy = ["--source-identities", "6", "--target-identities", "6", "--test-identities", "4", "--images-per-camera", "1"]
    batch = ["--identities", "4", "--images", "2", "--epochs", "2", "--steps", "2", "--sample-images", "2"]
    space = ["--channels", "3", "--stem-stride", "1", "--embedding", "16"]
    main(["data", "make", *shared, *size, *toy, "--processes", "1"])
    main(["search", *shared, *size, *space, *batch, "--padding", "2"])
    genotype = RunFolder(tmp_path / "run" / "search").genotype
    genotype.unlink()
    main(["derive", *shared, "--by", "perturbation", "--tune-steps", "1", "--device", "cpu"])
    assert f"genotype, selected by perturbation: {genotype}" in capsys.readouterr().out
    assert Genotype.load(genotype).nodes == 2
    with pytest.raises(SystemExit):
        main(["derive", *shared, "--by", "perturbation", "--epoch", "1"])
    assert "--epoch is for --by alpha" in capsys.readouterr().err
