"""nasda.operations: shapes, receptive fields, and the part-aware module against plain Python."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasda.errors import NasdaError
from nasda.genotypes import PRIMITIVES, Genotype
from nasda.networks import count_cost
from nasda.operations import (
    IBN,
    OPERATIONS,
    FactorizedReduce,
    PartAware,
    ReLUConvBN,
    make_operation,
    operation_colour,
    operation_label,
    operation_style,
    register_operation,
    rows_to_parts,
    with_ibn,
)
from nasda.pictures.experiment import draw_search
from nasda.pictures.graphs import cell_graph
from nasda.runs import RunFolder
from nasda.search import Search, run_search
from nasda.settings import ComputeSettings
from nasda.training import load_trained, run_training
from tests.data.test_reading import message_of
from tests.tasks import DATA, SPACE, make_task, profile_with

ALL = PRIMITIVES["style"]
IBNS = [name for name in ALL if name.endswith("_ibn")]


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_in_evaluation(operation: nn.Module) -> nn.Module:
    """All weights 1, and positive inputs then pass every ReLU: what is left to see is which pixel reaches which."""
    for parameter in operation.parameters():
        nn.init.ones_(parameter)
    return operation.double().eval()


def pixels_seen(operation: nn.Module, height: int, width: int, row: int, column: int) -> np.ndarray:
    """Which input pixels (height, width) the output pixel (row, column) depends on."""
    x = (1 + images(1, 3, height, width).abs()).requires_grad_()
    operation(x)[:, :, row, column].sum().backward()
    assert x.grad is not None
    return (x.grad.abs().sum(dim=(0, 1)) > 0).numpy()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [2, 5, 8])
@pytest.mark.parametrize("size", [(4, 4), (5, 4), (8, 3), (7, 9)])
@pytest.mark.parametrize("affine", [True, False])
def test_every_operation_gives_the_stated_shape(
    name: str, stride: int, channels: int, size: tuple[int, int], affine: bool
) -> None:
    operation = make_operation(name, channels, stride, affine=affine).double()
    output = operation(images(2, channels, *size))
    assert output.shape == (2, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_operation_works_on_a_single_image_when_testing(name: str, stride: int) -> None:
    operation = make_operation(name, 6, stride).double().eval()
    batch = images(3, 6, 8, 5)
    one_by_one = torch.cat([operation(image) for image in batch.split(1)])
    torch.testing.assert_close(operation(batch), one_by_one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_operations_have_no_learnable_scales_when_searched(name: str) -> None:
    searched, derived = (make_operation(name, 6, 2, affine=affine) for affine in (False, True))
    norms = [m for m in searched.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(norm.weight is None and norm.bias is None for norm in norms)
    assert all(m.weight is not None for m in derived.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


@pytest.mark.parametrize("stride", [1, 2])
def test_zero_is_zero_and_passes_no_gradient(stride: int) -> None:
    x = images(2, 3, 5, 4).requires_grad_()
    zero = make_operation("none", 3, stride)(x)
    assert torch.equal(zero, torch.zeros_like(zero))
    (zero.sum() + x.sum()).backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_skip_is_the_identity() -> None:
    x = images(2, 3, 5, 4)
    assert torch.equal(make_operation("skip_connect", 3)(x), x)


# Which pixels are seen


def test_separable_convolution_sees_five_by_five() -> None:
    seen = pixels_seen(linear_in_evaluation(make_operation("sep_conv_3x3", 3)), 11, 11, 5, 5)
    expected = np.zeros((11, 11), dtype=bool)
    expected[3:8, 3:8] = True
    np.testing.assert_array_equal(seen, expected)


def test_dilated_convolution_sees_five_by_five_with_nine_taps() -> None:
    seen = pixels_seen(linear_in_evaluation(make_operation("dil_conv_3x3", 3)), 11, 11, 5, 5)
    expected = np.zeros((11, 11), dtype=bool)
    expected[3:8:2, 3:8:2] = True
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_pooling_ignores_what_lies_outside_the_image(stride: int, size: tuple[int, int]) -> None:
    """Each output pixel against the window's real pixels in plain Python; in evaluation batch norm only divides."""
    x = images(1, 1, *size) - 3  # negative: padding by zeros would win every maximum
    image, scale = x[0, 0].tolist(), math.sqrt(1 + 1e-5)
    centres = [(i, j) for i in range(0, size[0], stride) for j in range(0, size[1], stride)]
    windows = [
        [image[r][c] for r in range(i - 1, i + 2) for c in range(j - 1, j + 2) if 0 <= r < size[0] and 0 <= c < size[1]]
        for i, j in centres
    ]
    average = make_operation("avg_pool_3x3", 1, stride).double().eval()(x).flatten()
    maximum = make_operation("max_pool_3x3", 1, stride).double().eval()(x).flatten()
    np.testing.assert_allclose(average.detach(), [sum(w) / len(w) / scale for w in windows], rtol=1e-13)
    np.testing.assert_allclose(maximum.detach(), [max(w) / scale for w in windows], rtol=1e-13)


@pytest.mark.parametrize("size", [(6, 4), (7, 5), (5, 8), (1, 3)])
def test_factorized_reduce_keeps_half_the_pixels_where_a_strided_convolution_keeps_a_quarter(
    size: tuple[int, int],
) -> None:
    """The pixels (even, even) and (odd, odd), up to the last row and column: those of DARTS' operation."""
    operation = linear_in_evaluation(FactorizedReduce(3, 4))
    rows, columns = math.ceil(size[0] / 2), math.ceil(size[1] / 2)
    seen = sum(pixels_seen(operation, *size, i, j).astype(int) for i in range(rows) for j in range(columns))
    expected = [[int(r % 2 == c % 2) for c in range(size[1])] for r in range(size[0])]
    np.testing.assert_array_equal(seen, expected)


def test_factorized_reduce_is_two_convolutions_side_by_side() -> None:
    operation = FactorizedReduce(3, 5).double().eval()
    x = images(2, 3, 5, 7)
    output = operation(x)
    for i, j in [(0, 0), (1, 2), (2, 3)]:
        here = x[:, :, 2 * i, 2 * j].clamp(min=0)
        inside = 2 * i + 1 < 5 and 2 * j + 1 < 7
        beside = x[:, :, 2 * i + 1, 2 * j + 1].clamp(min=0) if inside else torch.zeros_like(here)
        expected = torch.cat(
            [here @ operation.even.weight[:, :, 0, 0].T, beside @ operation.odd.weight[:, :, 0, 0].T], dim=1
        )
        torch.testing.assert_close(output[:, :, i, j], expected / math.sqrt(1 + 1e-5), rtol=1e-12, atol=1e-12)


def test_relu_conv_bn_is_what_its_name_says() -> None:
    operation = ReLUConvBN(3, 4, affine=False).double()
    x = images(5, 3, 4, 4)
    y = torch.einsum("oi,bihw->bohw", operation[1].weight[:, :, 0, 0], x.clamp(min=0))
    mean, variance = y.mean(dim=(0, 2, 3), keepdim=True), y.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    torch.testing.assert_close(operation(x), (y - mean) / (variance + 1e-5).sqrt(), rtol=1e-12, atol=1e-12)


# Instance and batch norm


def normed(values: Tensor) -> Tensor:
    return (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_ibn_is_written_in_loops(channels: int, affine: bool, training: bool) -> None:
    """The first half of the channels over each image's pixels, always; the others over the batch in training, and by
    the running statistics in evaluation."""
    norm, x, half = IBN(channels, affine).double().train(training), 2 + images(4, channels, 3, 5), channels // 2
    for seed, tensor in enumerate([*norm.parameters(), norm.batch.running_mean, norm.batch.running_var]):
        with torch.no_grad():
            tensor.copy_(images(*tensor.shape, seed=seed).exp())
    mean, variance = norm.batch.running_mean.clone(), norm.batch.running_var.clone()
    found = norm(x)
    for channel in range(channels):
        of_batch = channel - half
        if channel < half:
            expected = torch.stack([normed(image[channel]) for image in x])
        elif training:
            expected = normed(x[:, channel])
            assert norm.batch.running_mean[of_batch].item() == pytest.approx(
                0.9 * mean[of_batch].item() + 0.1 * x[:, channel].mean().item(), rel=1e-12
            )
        else:
            expected = (x[:, channel] - mean[of_batch]) / (variance[of_batch] + 1e-5).sqrt()
        if affine:
            part, index = (norm.instance, channel) if channel < half else (norm.batch, of_batch)
            expected = expected * part.weight[index] + part.bias[index]
        torch.testing.assert_close(found[:, channel], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("affine", [False, True])
def test_with_ibn_replaces_every_batch_norm_on_images(name: str, stride: int, affine: bool) -> None:
    def norms(module: nn.Module, kind: type) -> list[str]:
        return [name for name, child in module.named_modules() if type(child) is kind]

    own = make_operation(name.removesuffix("_ibn"), 6, stride, affine=affine)
    replaced = make_operation(name, 6, stride, affine=affine, norm="ibn")
    assert norms(replaced, IBN) == norms(own, nn.BatchNorm2d)
    assert norms(replaced, nn.BatchNorm2d) == [f"{place}.batch".lstrip(".") for place in norms(replaced, IBN)]
    assert norms(replaced, nn.BatchNorm1d) == norms(own, nn.BatchNorm1d)
    assert all((norm.batch.weight is None) != affine for norm in replaced.modules() if isinstance(norm, IBN))


def test_a_last_cell_that_ends_in_instance_norm_has_no_feature_and_with_ibn_it_has() -> None:
    """The mean over the pixels of a map that instance norm gives is its bias, whatever the image shows."""
    operation, x = with_ibn(make_operation("dil_conv_3x3", 8)).double(), images(5, 8, 6, 4)
    assert (operation(x).mean(dim=(2, 3))[:, 4:].std(dim=0) > 0.01).all()
    operation[3] = nn.InstanceNorm2d(8, affine=True).double()
    nn.init.normal_(operation[3].bias, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(operation(x).mean(dim=(2, 3)), operation[3].bias.expand(5, 8), rtol=0, atol=1e-14)


@pytest.mark.parametrize("training", [True, False])
def test_ibn_of_a_single_pixel_is_refused_with_advice(training: bool) -> None:
    message = message_of(lambda: IBN(4).train(training)(torch.zeros(8, 4, 1, 1)))
    assert message.startswith("instance norm needs maps of at least 2 pixels, but got 1×1: use larger images")
    assert "\n" not in message


# The part-aware module


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("height", range(1, 18))
def test_stripes_cover_all_rows_without_overlap_and_differ_by_one_row_at_most(parts: int, height: int) -> None:
    if height < parts:
        with pytest.raises(NasdaError, match=r"larger images, a smaller stem stride, or fewer parts"):
            rows_to_parts(height, parts)
        return
    stripe_of_row = rows_to_parts(height, parts).tolist()
    assert len(stripe_of_row) == height
    assert stripe_of_row == sorted(stripe_of_row)
    sizes = [stripe_of_row.count(part) for part in range(parts)]
    assert sum(sizes) == height
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_rows_that_divide_evenly_are_split_evenly() -> None:
    assert rows_to_parts(8, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("height", [4, 5, 6, 7, 8, 9])
def test_pooling_into_parts_is_the_mean_of_each_stripe(height: int) -> None:
    x = images(2, 3, height, 5)
    stripe_of_row = rows_to_parts(height, 4).tolist()
    found = PartAware(3, 1).double().pool(x)
    assert found.shape == (2, 4, 3)
    for b in range(2):
        for part in range(4):
            rows = [row for row in range(height) if stripe_of_row[row] == part]
            for c in range(3):
                pixels = [x[b, c, row, column].item() for row in rows for column in range(5)]
                assert found[b, part, c].item() == pytest.approx(sum(pixels) / len(pixels), rel=1e-12, abs=1e-14)


def affine_map(layer: nn.Linear, vector: list[float]) -> list[float]:
    biases = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    rows = zip(layer.weight.tolist(), biases, strict=True)
    return [sum(w * v for w, v in zip(row, vector, strict=True)) + bias for row, bias in rows]


def attention_in_loops(module: PartAware, vectors: list[list[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """For every part: scores against all parts, their softmax, and the sum of all parts weighted by it."""
    queries = [affine_map(module.query, vector) for vector in vectors]
    keys = [affine_map(module.key, vector) for vector in vectors]
    outputs, weights = [], []
    for query in queries:
        exponentials = [math.exp(sum(q * k for q, k in zip(query, key, strict=True))) for key in keys]
        row = [e / sum(exponentials) for e in exponentials]
        weights.append(row)
        outputs.append([sum(w * v[c] for w, v in zip(row, vectors, strict=True)) for c in range(len(vectors[0]))])
    return outputs, weights


@pytest.mark.parametrize(("channels", "parts"), [(12, 4), (9, 3), (7, 5), (2, 4)])
def test_attention_is_over_parts_as_written_in_loops(channels: int, parts: int) -> None:
    module = PartAware(channels, 1, parts).double()
    vectors = images(3, parts, module.hidden)
    found, weights = module.attend(vectors)
    assert weights.shape == (3, parts, parts)
    assert found.shape == vectors.shape
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, parts, dtype=torch.float64), rtol=0, atol=1e-14)
    for b in range(3):
        expected, expected_weights = attention_in_loops(module, vectors[b].tolist())
        np.testing.assert_allclose(found[b].detach(), expected, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(weights[b].detach(), expected_weights, rtol=1e-11)


def test_permuting_parts_permutes_attention_and_permuting_channels_does_not() -> None:
    """What tells attention over parts from attention over channels."""
    module = PartAware(12, 1).double()
    vectors = images(2, 4, 4)
    order = [2, 0, 3, 1]
    output, weights = module.attend(vectors)
    output_of_permuted, weights_of_permuted = module.attend(vectors[:, order])
    torch.testing.assert_close(output_of_permuted, output[:, order], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(weights_of_permuted, weights[:, order][:, :, order], rtol=1e-12, atol=1e-13)
    assert not torch.allclose(module.attend(vectors[:, :, order])[0], output[:, :, order], rtol=1e-3)


def part_aware_in_loops(module: PartAware, x: Tensor) -> Tensor:
    """The whole module in evaluation, from its description: split, average, project each part by its own weights,
    attend, spread over the stripes, concatenate with x, merge."""
    batch, channels, height, width = x.shape
    parts, hidden, scale = module.parts, module.hidden, math.sqrt(1 + 1e-5)
    projections = module.project[1].weight[:, :, 0].reshape(parts, hidden, channels)
    stripe_of_row = rows_to_parts(height, parts).tolist()
    joined = torch.zeros(batch, channels + hidden, height, width, dtype=x.dtype)
    joined[:, :channels] = x
    for b in range(batch):
        vectors = []
        for part in range(parts):
            rows = [row for row in range(height) if stripe_of_row[row] == part]
            vectors.append((projections[part] @ x[b, :, rows].mean(dim=(1, 2)).clamp(min=0) / scale).tolist())
        attended, _ = attention_in_loops(module, vectors)
        for row in range(height):
            joined[b, channels:, row, :] = torch.tensor(attended[stripe_of_row[row]], dtype=x.dtype)[:, None]
    stride = module.merge.stride[0]
    return torch.einsum("oi,bihw->bohw", module.merge.weight[:, :, 0, 0], joined[:, :, ::stride, ::stride]) / scale


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [4, 7, 9])
def test_the_part_aware_module_is_its_description_in_loops(stride: int, height: int) -> None:
    module = PartAware(7, stride).double().eval()
    x = images(2, 7, height, 3)
    torch.testing.assert_close(module(x), part_aware_in_loops(module, x), rtol=1e-11, atol=1e-12)


def test_global_information_reaches_every_stripe_through_attention_only(monkeypatch: pytest.MonkeyPatch) -> None:
    module = PartAware(12, 1).double().eval()
    x = images(1, 12, 8, 4)
    other_feet = torch.cat([x[:, :, :6], images(1, 12, 2, 4, seed=1)], dim=2)
    change = (module(other_feet) - module(x)).abs().amax(dim=(0, 1, 3))
    assert (change > 1e-6).all()
    monkeypatch.setattr(module, "attend", lambda vectors: (vectors, None))
    change = (module(other_feet) - module(x)).abs().amax(dim=(0, 1, 3))
    assert torch.equal(change[:6], torch.zeros(6, dtype=torch.float64))
    assert (change[6:] > 1e-6).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_too_few_rows_for_the_parts_are_refused_with_advice(stride: int) -> None:
    with pytest.raises(NasdaError, match=r"at least 4 rows for 4 parts, but got 3: use larger images") as caught:
        make_operation("part_aware", 6, stride)(torch.zeros(2, 6, 3, 3))
    assert "\n" not in str(caught.value)


def test_the_number_of_parts_is_the_callers() -> None:
    module = make_operation("part_aware", 6, parts=2)
    assert module(torch.randn(2, 6, 2, 3, generator=torch.Generator().manual_seed(0))).shape == (2, 6, 2, 3)


# The table


def test_the_table_has_the_operations_of_the_spaces_each_with_a_look_of_its_own() -> None:
    assert set(OPERATIONS) == set(ALL)
    assert set(PRIMITIVES["plain"]) < set(PRIMITIVES["reid"]) < set(ALL)
    assert len({(row.colour, row.style) for row in OPERATIONS.values()}) == len(ALL)
    assert len({row.label for row in OPERATIONS.values()}) == len(ALL)
    assert {row.style for row in OPERATIONS.values()} == {"solid", "dashed", "dotted"}
    assert all(row.fast is not None for row in OPERATIONS.values())


@pytest.mark.parametrize("name", IBNS)
def test_a_convolution_has_one_colour_and_two_line_styles_for_its_two_norms(name: str) -> None:
    ibn, plain = OPERATIONS[name], OPERATIONS[name.removesuffix("_ibn")]
    assert ibn.colour == plain.colour
    assert ibn.style != plain.style
    assert ibn.label == f"{plain.label}, IBN"


def test_what_is_registered_can_be_taken_out_again() -> None:
    before = dict(OPERATIONS)
    undo = register_operation("conv_1x1", OPERATIONS["skip_connect"].build)
    assert operation_label("conv_1x1") == "conv 1×1"
    assert operation_colour("conv_1x1") not in {row.colour for row in before.values()}
    message = message_of(lambda: register_operation("conv_1x1", OPERATIONS["skip_connect"].build))
    assert message.startswith("the operation conv_1x1 exists already")
    assert "\n" not in message
    undo.close()
    assert before == OPERATIONS
    message = message_of(lambda: dataclasses.replace(SPACE, operations=("conv_1x1",)).primitives)
    assert "'conv_1x1' is unknown" in message


def test_a_registered_operation_looks_as_it_is_told() -> None:
    with register_operation("mine", PartAware, label="my own", colour="#123456", style="dotted"):
        look = operation_label("mine"), operation_colour("mine"), operation_style("mine")
    assert look == ("my own", "#123456", "dotted")
    assert (operation_label("mine"), operation_style("mine")) == ("mine", "solid")  # in a picture drawn later


def test_a_third_operation_is_grey_rather_than_a_colour_that_is_taken() -> None:
    with register_operation("a", PartAware), register_operation("b", PartAware), register_operation("c", PartAware):
        known = {operation_colour(name) for name in ALL}
        assert not known & {operation_colour("a"), operation_colour("b")}
        assert operation_colour("a") != operation_colour("b")
        assert operation_colour("c") == operation_colour("none")


@pytest.fixture
def conv_1x1() -> Iterator[None]:
    """An operation, added as a notebook's cell would."""

    def one_by_one(channels: int, stride: int, parts: int, affine: bool) -> nn.Module:
        return nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, stride, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )

    added = register_operation("conv_1x1", one_by_one)

    yield
    added.close()


def test_an_operation_of_ones_own_is_searched_derived_drawn_trained_saved_and_loaded(
    conv_1x1: None, tmp_path: Path
) -> None:
    task, cpu = make_task(tmp_path), torch.device("cpu")
    space = dataclasses.replace(SPACE, operations=("none", "conv_1x1"))
    settings = profile_with(space=space)
    folder = RunFolder(tmp_path / "search")
    found = run_search(folder, task, settings, seed=0, device=cpu)
    assert {edge.operation for node in (*found.normal, *found.reduce) for edge in node} == {"conv_1x1"}
    assert Genotype.load(folder.genotype) == found
    clear = Search(
        *(task.source.train, task.target.train),
        dataclasses.replace(settings, compute=ComputeSettings("clear")),
        seed=0,
        device=cpu,
    )
    assert clear.network.state_dict().keys() == folder.load_checkpoint()["run"]["network"].keys()

    assert f'color="{operation_colour("conv_1x1")}"' in cell_graph(found, "normal").source
    assert all(path.stat().st_size for path in draw_search(folder, tmp_path / "pictures"))

    network = run_training(RunFolder(tmp_path / "train"), task, found, settings, seed=0, device=cpu)
    loaded = load_trained(RunFolder(tmp_path / "train"), cpu)
    images = torch.rand(2, 3, DATA.height, DATA.width)
    with torch.no_grad():
        assert torch.equal(loaded.eval().features(images), network.eval().features(images))
    assert count_cost(loaded, DATA.height, DATA.width) > (0, 0)
    convolution = make_operation("conv_1x1", 4)
    assert sum(parameter.numel() for parameter in convolution.parameters()) == 4 * 4 + 2 * 4
