"""nasda.networks: the macro structure of §3.3, α and ω, costs known by hand, and the baselines."""

import dataclasses
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from nasda.devices import seeded
from nasda.files import load_tensors
from nasda.genotypes import NAMED, PRIMITIVES, Edge, Genotype, Space, derive, edge_count, random_genotype
from nasda.losses import retrieval_loss
from nasda.networks import (
    RESNETS,
    Cost,
    DerivedNetwork,
    EmbeddingHead,
    PlainCNN,
    ReIDNetwork,
    ResNet,
    Stem,
    Supernet,
    count_cost,
    macro_structure,
)
from nasda.operations import IBN
from nasda.settings import PROFILE_NAMES, ProfileName, SpaceSettings, profile
from tests.data.test_reading import message_of

SMALL = SpaceSettings(channels=4, nodes=2, cells_per_block=1, stem_stride=2, embedding=8, dropout=0.1)
TWO_A_BLOCK = dataclasses.replace(SMALL, cells_per_block=2, channels=3)
KINDS = ["normal", "normal", "reduce", "normal", "reduce", "normal", "reduce", "normal"]  # §3.3


def images(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


# Seeds


def test_a_seed_gives_the_same_numbers_and_leaves_the_global_state(global_rng_untouched: None) -> None:
    drawn = []
    for numbers in [(0,), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (-1, 5)]:
        with seeded(*numbers):
            drawn.append(tuple(torch.rand(4).tolist()))
    assert drawn[0] == drawn[1]
    assert len(set(drawn[1:])) == len(drawn) - 1


def test_the_global_state_is_put_back_when_the_block_raises(global_rng_untouched: None) -> None:
    def broken() -> None:
        with seeded(3):
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        broken()


def make_network(name: str, seed: int) -> ReIDNetwork:
    if name == "supernet":
        return Supernet(SMALL, 5, seed=seed)
    if name == "derived":
        return DerivedNetwork(random_genotype(2, PRIMITIVES["reid"], 0), SMALL, 5, seed=seed)
    return PlainCNN(SMALL, 5, seed=seed) if name == "plain" else ResNet(name, SMALL, 5, seed=seed)


@pytest.mark.parametrize("name", ["supernet", "derived", "resnet50", "resnet18", "plain"])
def test_the_weights_follow_from_the_seed_alone(name: str, global_rng_untouched: None) -> None:
    one, again, other = (make_network(name, seed).state_dict() for seed in (3, 3, 4))
    assert same(one, again)
    drawn = [key for key, value in one.items() if len(value.unique()) > 1]
    assert drawn
    assert not any(torch.equal(one[key], other[key]) for key in drawn)


# The macro structure


def test_the_macro_structure_is_the_papers() -> None:
    """§3.3: four blocks of two cells; 32 channels, doubling a block; the first cell of blocks 2-4 reduces."""
    places = macro_structure(32, 4, 2)
    assert [place.kind for place in places] == KINDS
    assert [place.channels for place in places] == [32, 32, 64, 64, 128, 128, 256, 256]
    assert [place.inputs for place in places] == [
        (32, 32),
        (32, 128),
        (128, 128),
        (128, 256),
        (256, 256),
        (256, 512),
        (512, 512),
        (512, 1024),
    ]
    assert [place.after_reduction for place in places] == [False, *(kind == "reduce" for kind in KINDS[:-1])]


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_three_cells_reduce_however_many_cells_a_block_has(cells: int) -> None:
    kinds = [place.kind for place in macro_structure(8, 3, cells)]
    assert len(kinds) == 4 * cells
    assert [index for index, kind in enumerate(kinds) if kind == "reduce"] == [cells, 2 * cells, 3 * cells]


@pytest.mark.parametrize(("stride", "size"), [(1, (13, 8)), (2, (7, 4)), (4, (4, 2))])
def test_the_stem_divides_height_and_width_by_its_stride(stride: int, size: tuple[int, int]) -> None:
    stem = Stem(6, stride)
    assert stem(images(2, 13, 8)).shape == (2, 6, *size)
    convolutions = [m for m in stem if isinstance(m, nn.Conv2d)]
    assert convolutions[0].in_channels == 3
    assert all(m.kernel_size == (3, 3) for m in convolutions)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_stem_passes_no_pixel_over(stride: int) -> None:
    x = images(2, 13, 8).requires_grad_()
    Stem(6, stride)(x).pow(3).sum().backward()  # of the sum alone, batch norm would leave nothing
    assert (x.grad.abs().amax(dim=(0, 1)) > 0).all()


@pytest.mark.parametrize("stride", [0, 3, 8])
def test_another_stem_stride_is_refused(stride: int) -> None:
    settings = dataclasses.replace(SMALL, stem_stride=stride)
    assert f"--stem-stride is {stride}: expected 1, 2 or 4" in message_of(lambda: Supernet(settings, 5, seed=0))


# The supernet


@pytest.mark.parametrize(("space", "operations"), [("plain", 6), ("reid", 7)])
def test_alphas_are_two_matrices_in_the_state(space: Space, operations: int) -> None:
    network = Supernet(dataclasses.replace(SMALL, space=space, nodes=4), 5, seed=0)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if "alpha" in name}
    assert shapes == {"alphas.normal": (14, operations), "alphas.reduce": (14, operations)}
    assert [tuple(alpha.shape) for alpha in network.architecture_parameters()] == [(14, operations)] * 2


def test_alpha_and_omega_are_all_parameters_and_share_none() -> None:
    network = Supernet(SMALL, 5, seed=0)
    alphas, weights = ({id(p) for p in ps} for ps in (network.architecture_parameters(), network.weight_parameters()))
    assert not alphas & weights
    assert alphas | weights == {id(p) for p in network.parameters()}


def test_cells_of_a_kind_share_the_softmax_of_their_alphas() -> None:
    network = Supernet(TWO_A_BLOCK, 5, seed=0)
    seen: list[Tensor] = []
    for cell in network.cells:
        cell.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[2].detach()))
    network.features(images(2, 64, 32))
    exponentials = {kind: network.alphas[kind].detach().exp() for kind in ("normal", "reduce")}
    assert len(seen) == len(KINDS)
    for kind, weights in zip(KINDS, seen, strict=True):
        expected = exponentials[kind] / exponentials[kind].sum(dim=1, keepdim=True)
        torch.testing.assert_close(weights, expected)


def test_undecided_alphas_are_nearly_equal_but_not_quite() -> None:
    alphas = torch.cat(Supernet(SMALL, 5, seed=0).architecture_parameters())
    assert len(alphas.unique()) == alphas.numel()
    assert alphas.abs().max() < 0.01


def test_every_weight_and_every_alpha_learns_from_the_loss() -> None:
    network = Supernet(TWO_A_BLOCK, 4, seed=0).double()
    labels = torch.arange(4).repeat_interleave(2)
    loss = retrieval_loss(*network(images(8, 64, 32).double()), labels, margin=0.3, balance=0.5)
    loss.backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]
    assert still == []


@pytest.mark.parametrize("space", ["plain", "reid"])
def test_the_genotype_is_derived_from_the_alphas(space: Space) -> None:
    network = Supernet(dataclasses.replace(SMALL, space=space), 5, seed=1)
    alphas = {kind: network.alphas[kind].detach().numpy() for kind in ("normal", "reduce")}
    assert network.genotype() == derive(alphas, PRIMITIVES[space])
    with torch.no_grad():
        network.alphas["normal"][:, PRIMITIVES[space].index("skip_connect")] = 5.0
    assert {edge.operation for node in network.genotype().normal for edge in node} == {"skip_connect"}
    assert len(network.alpha_values()["normal"]) == edge_count(2)


def test_a_state_dict_carries_alphas_to_another_supernet() -> None:
    one, other = Supernet(SMALL, 5, seed=1), Supernet(SMALL, 5, seed=2)
    other.load_state_dict(one.state_dict())
    assert other.alpha_values() == one.alpha_values()
    batch = images(2, 64, 32)
    assert torch.equal(one.eval()(batch).logits, other.eval()(batch).logits)


# Partial channels


def test_with_partial_channels_the_state_has_beta_and_without_it_does_not() -> None:
    whole, partial = Supernet(SMALL, 5, seed=0), Supernet(dataclasses.replace(SMALL, partial=2), 5, seed=0)
    assert not any("beta" in name for name in whole.state_dict())
    assert {n: tuple(v.shape) for n, v in partial.state_dict().items() if "beta" in n} == {
        "betas.normal": (5,),
        "betas.reduce": (5,),
    }
    assert len(partial.architecture_parameters()) == 4
    both = {id(p) for p in [*partial.architecture_parameters(), *partial.weight_parameters()]}
    assert both == {id(p) for p in partial.parameters()}
    assert len(both) == len(partial.architecture_parameters()) + len(partial.weight_parameters())


def test_weights_of_a_mixture_are_shares_times_softmax_and_the_genotype_follows_them() -> None:
    network = Supernet(dataclasses.replace(SMALL, partial=2), 5, seed=0)
    with torch.no_grad():
        for parameter in network.architecture_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    mixture = network.mixture("reduce").detach()
    assert [round(mixture[rows].sum().item(), 6) for rows in (slice(0, 2), slice(2, 5))] == [1, 1]
    torch.testing.assert_close(mixture[0, 1] / mixture[0, 2], network.alphas["reduce"][0, 1:3].diff().neg().exp()[0])
    assert {edge.input for edge in network.genotype().reduce[1]} == set(
        mixture[2:, 1:].amax(dim=1).topk(2).indices.tolist()
    )


def test_partial_channels_make_the_supernet_several_times_cheaper() -> None:
    settings = SpaceSettings(space="plain", channels=32, stem_stride=1)
    whole, partial = (count_cost(Supernet(dataclasses.replace(settings, partial=k), 5, seed=0), 32, 16) for k in (1, 4))
    assert partial.multiply_adds < whole.multiply_adds / 2
    assert partial.parameters < whole.parameters / 2


# Networks as a whole


@pytest.mark.parametrize("size", [(64, 32), (64, 64), (61, 31), (71, 45)])
@pytest.mark.parametrize("seed", range(2))
def test_a_derived_network_runs_at_any_size(size: tuple[int, int], seed: int) -> None:
    genotype = random_genotype(3, PRIMITIVES["reid"], seed)
    network = DerivedNetwork(genotype, TWO_A_BLOCK, 7, seed=0)
    output = network(images(2, *size))
    assert output.features.shape == (2, 3 * 3 * 8)  # nodes × channels of the last block
    assert output.logits.shape == (2, 7)
    assert torch.isfinite(output.logits).all()


def test_a_derived_network_has_the_genotypes_operations_in_every_cell() -> None:
    genotype = NAMED["resnet-like"]
    network = DerivedNetwork(genotype, TWO_A_BLOCK, 7, seed=0)
    assert len(network.cells) == len(KINDS)
    for kind, cell in zip(KINDS, network.cells, strict=True):
        assert cell.sources == [[edge.input for edge in node] for node in genotype.cell(kind)]
        assert len(cell.sources) == 4


def test_ibn_everywhere_is_in_every_operation_and_nowhere_else() -> None:
    genotype = NAMED["resnet-like"]
    found, ibn = (
        DerivedNetwork(genotype, dataclasses.replace(TWO_A_BLOCK, channels=4, norm=norm), 7, seed=0)
        for norm in ("own", "ibn")
    )
    for cell, plain in zip(ibn.cells, found.cells, strict=True):
        for operation, before in zip(cell.operations, plain.operations, strict=True):
            norms, replaced = (
                [module for module in each.modules() if isinstance(module, kind)]
                for each, kind in ((before, nn.BatchNorm2d), (operation, IBN))
            )
            assert [norm.num_features for norm in norms] == [
                norm.instances + norm.batch.num_features for norm in replaced
            ]
            assert len(replaced) == sum(isinstance(module, nn.BatchNorm2d) for module in operation.modules())
    for name in ("stem", "head"):
        assert same(getattr(found, name).state_dict(), getattr(ibn, name).state_dict())
    assert all(not isinstance(module, IBN) for cell in ibn.cells for module in cell.inputs.modules())
    assert count_cost(found, 32, 16) == count_cost(ibn, 32, 16)


@pytest.mark.parametrize("name", ["supernet", "derived", "resnet50", "resnet18", "plain"])
def test_one_image_gives_the_same_feature_as_within_a_batch_when_testing(name: str) -> None:
    network = make_network(name, 0).double().eval()
    batch = images(3, 64, 32).double()
    with torch.no_grad():
        one_by_one = torch.cat([network.features(image) for image in batch.split(1)])
        torch.testing.assert_close(network.features(batch), one_by_one, rtol=1e-10, atol=1e-10)


def test_forward_returns_the_very_feature_that_testing_compares() -> None:
    network = Supernet(SMALL, 5, seed=0).eval()
    batch = images(2, 64, 32)
    features, logits = network(batch)
    assert torch.equal(features, network.features(batch))
    assert torch.equal(logits, network.head(features))


def test_the_head_is_two_linear_maps_with_dropout_before_each() -> None:
    head = EmbeddingHead(6, 4, 3, dropout=0.5).double()
    f = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    linear = [m for m in head.modules() if isinstance(m, nn.Linear)]
    g = f @ linear[0].weight.T + linear[0].bias
    torch.testing.assert_close(head.eval()(f), g @ linear[1].weight.T + linear[1].bias)
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    with seeded(0):
        assert not torch.allclose(head.train()(f), head(f))


# Costs


def test_the_cost_of_a_small_network_is_what_a_hand_counts() -> None:
    """One node a cell, one cell a block, C = 2 at 16×8; every line is what one module holds, in the cell's order."""
    genotype = Genotype(
        normal=((Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)),),
        reduce=((Edge("max_pool_3x3", 0), Edge("skip_connect", 1)),),
    )
    settings = SpaceSettings(channels=2, nodes=1, cells_per_block=1, stem_stride=1, embedding=8)
    pixels = 16 * 8
    convolutions = [  # (weights, output pixels)
        (9 * 3 * 2, pixels),  # stem
        # block 1, C = 2, normal: two inputs; then a separable convolution, which is depth-wise + point-wise, twice
        *[(2 * 2, pixels)] * 2,
        *[(9 * 2, pixels), (2 * 2, pixels)] * 2,
        # block 2, C = 4: two inputs of 2 channels; the identity that halves
        *[(2 * 4, pixels)] * 2,
        (4 * 4, pixels // 4),
        # block 3, C = 8: inputs of 2 channels (to be halved) and of 4
        (2 * 8, pixels // 4),
        (4 * 8, pixels // 4),
        (8 * 8, pixels // 16),
        # block 4, C = 16: inputs of 4 channels (to be halved) and of 8
        (4 * 16, pixels // 16),
        (8 * 16, pixels // 16),
        (16 * 16, pixels // 64),
    ]
    norms = [
        2,
        *[2] * 4,
        *[4] * 4,
        *[8] * 4,
        *[16] * 4,
    ]  # two inputs and two operations a cell; a scale and a shift each
    cost = count_cost(DerivedNetwork(genotype, settings, 9, seed=0), 16, 8)
    assert cost.parameters == sum(weights for weights, _ in convolutions) + 2 * sum(norms)
    assert cost.multiply_adds == sum(weights * at for weights, at in convolutions)


@pytest.mark.parametrize(("name", "features"), [("resnet50", 2048), ("resnet18", 512)])
def test_the_cost_of_a_resnet_is_the_documented_one(name: str, features: int) -> None:
    """torchvision documents parameters and multiply-adds (in G), with the classifier of 1000 classes."""
    cost = count_cost(ResNet(name, SMALL, 5, seed=0), 224, 224)
    documented = torchvision.models.get_model_weights(name).DEFAULT.meta
    assert cost.parameters + (features + 1) * 1000 == documented["num_params"]
    assert round((cost.multiply_adds + features * 1000) / 1e9, 3) == documented["_ops"]


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_network_as_it_was(training: bool) -> None:
    network = Supernet(SMALL, 5, seed=0).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_cost(network, 64, 32)
    assert same(before, network.state_dict())
    assert network.training is training


def test_a_cost_reads_in_millions() -> None:
    assert str(Cost(23_508_032, 4_089_000_000)) == "23.5 M parameters, 4.09 G multiply-adds an image"
    assert str(Cost(954, 31_900)) == "954 parameters, 31.9 k multiply-adds an image"


# The plain CNN


@pytest.mark.parametrize("profile_name", PROFILE_NAMES)
@pytest.mark.parametrize("space", ["reid", "style"])
def test_a_plain_cnn_has_as_many_parameters_as_random_cells(profile_name: ProfileName, space: Space) -> None:
    settings = dataclasses.replace(profile(profile_name, "person").space, space=space)
    with torch.device("meta"):
        genotypes = (random_genotype(settings.nodes, settings.primitives, seed) for seed in range(20))
        networks = [DerivedNetwork(genotype, settings, 5, seed=0) for genotype in genotypes]
        plain = PlainCNN(settings, 5, seed=0)
    sizes = [
        sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in network.head.parameters())
        for network in (*networks, plain)
    ]
    assert sizes[-1] == pytest.approx(sum(sizes[:-1]) / 20, rel=0.05)


def test_a_plain_cnn_is_a_stack_of_convolutions_that_halves_between_blocks() -> None:
    settings = dataclasses.replace(SMALL, cells_per_block=2, stem_stride=1)
    layers = PlainCNN(settings, 5, seed=0).layers
    convolutions = [module for module in layers.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.stride[0] for conv in convolutions] == [1, *[1] * 4, *[2, 1, 1, 1] * 3]
    assert all(conv.kernel_size == (3, 3) for conv in convolutions)
    widths = [conv.out_channels for conv in convolutions[1:]]
    assert widths == sorted(widths)
    assert widths[::4] == [max(1, round(widths[-1] / divisor)) for divisor in (8, 4, 2, 1)]
    assert layers(images(2, 32, 16)).shape == (2, widths[-1], 4, 2)
    shapes = [type(layer).__name__ for layer in layers]
    assert shapes == ["Stem", "ReLU", *["Conv2d", "BatchNorm2d", "ReLU"] * 16]


# A ResNet's weights


def constant_weights(name: str = "resnet50", **replaced: Any) -> dict[str, Any]:
    """A `state_dict` in torchvision's names, every tensor filled with a number of its own; tiny as a file."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in torchvision.models.get_model(name).state_dict().items()}
    filled = {name: torch.tensor(float(index)).expand(shape) for index, (name, shape) in enumerate(shapes.items())}
    return filled | replaced


def assert_filled(network: ResNet, expected: Mapping[str, Tensor]) -> None:
    found = network.backbone.state_dict()
    assert set(expected) - set(found) == {"fc.weight", "fc.bias"}
    assert all((value == expected[name].flatten()[0]).all() for name, value in found.items())


@pytest.mark.parametrize(("name", "other"), [RESNETS, RESNETS[::-1]])
def test_a_resnet_takes_its_weights_from_a_file_in_torchvisions_names(
    name: str, other: str, tmp_path: Path, global_rng_untouched: None
) -> None:
    weights = constant_weights(name)
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    network = ResNet(name, SMALL, 5, seed=0, weights=str(path))
    assert_filled(network, weights)
    assert same(network.head.state_dict(), ResNet(name, SMALL, 5, seed=0).head.state_dict())
    message = message_of(lambda: ResNet(other, SMALL, 5, seed=0, weights=str(path)))
    assert message.startswith(f"{path}: expected torchvision's {other} with layer1.0.conv1.weight of shape")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            constant_weights(**{"conv1.weight": torch.zeros(64, 1, 7, 7)}),
            "conv1.weight of shape (64, 3, 7, 7), found (64, 1",
        ),
        ({"layer1.0.conv1.weight": torch.zeros(1)}, "conv1.weight of shape (64, 3, 7, 7), found nothing"),
        ({}, "found nothing"),
        ([1, 2], "found nothing"),
        ({"state_dict": constant_weights()}, "found nothing"),
        (torch.zeros(3), "found nothing"),
        (constant_weights(**{"conv1.weight": 3}), "found nothing"),
    ],
    ids=["shape", "names", "empty", "list", "nested", "tensor", "number"],
)
def test_a_file_of_other_weights_is_named(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    message = message_of(lambda: ResNet("resnet50", SMALL, 5, seed=0, weights=str(path)))
    assert message.startswith(str(path))
    assert words in message


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 half a zip"])
def test_a_file_that_holds_no_tensors_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    message = message_of(lambda: load_tensors(tmp_path / "w.pth", "ResNet-50 weights"))
    assert message.startswith(f"{tmp_path / 'w.pth'}: ResNet-50 weights expected here")


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.pth"
    assert f"{path}: weights of resnet50 expected here" in message_of(
        lambda: ResNet("resnet50", SMALL, 5, seed=0, weights=str(path))
    )


class Harmful:
    """Pickles to a call."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("raise SystemExit('code in a weights file was run')",))


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Harmful()}, tmp_path / "w.pth")
    assert str(tmp_path / "w.pth") in message_of(lambda: load_tensors(tmp_path / "w.pth", "weights"))


@pytest.mark.parametrize("name", RESNETS)
def test_imagenet_weights_are_torchvisions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = constant_weights(name)
    of_torchvision = torchvision.models.get_model_weights(name)
    monkeypatch.setattr(of_torchvision, "get_state_dict", lambda self, **options: weights)
    assert_filled(ResNet(name, SMALL, 5, seed=0, weights="imagenet"), weights)


def test_imagenet_weights_without_a_network_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(self: Any, **options: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet50_Weights, "get_state_dict", offline)
    message = message_of(lambda: ResNet("resnet50", SMALL, 5, seed=0, weights="imagenet"))
    assert "no route to host" in message
    assert "--weights FILE" in message


@pytest.mark.parametrize("space", ["plain", "reid", "style"])
def test_a_supernet_costs_the_same_in_either_form(space: Space) -> None:
    """The size that is printed is that of eq. 6, not of the way in which it is computed."""
    settings = dataclasses.replace(SMALL, space=space)
    fast, clear = (count_cost(Supernet(settings, 5, seed=0, form=form), 64, 32) for form in ("fast", "clear"))  # type: ignore[arg-type]
    assert fast == clear
