"""nasda.fast.cells: the clear cell's numbers, in float64, from the clear cell's state_dict."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasda.bilevel import frozen_statistics
from nasda.cells import SearchCell, edge_shares
from nasda.devices import seeded
from nasda.errors import NasdaError
from nasda.evaluation import reestimate_statistics
from nasda.fast.cells import FastSearchCell, Mix
from nasda.fast.operations import Fast, InstanceBatchNorm, Quarters, Repeat, State, Terms, join_phases, split_phases
from nasda.genotypes import PRIMITIVES, Space
from nasda.networks import Supernet
from nasda.operations import register_operation
from nasda.search import Search
from nasda.settings import AlphaStatistics, ComputeSettings, Form, Order, SpaceSettings
from tests.tasks import SEARCH, SPACE, make_task, profile_with

SPACES: list[Space] = ["plain", "reid", "style"]
FORMS: list[Form] = ["clear", "fast"]
CHANNELS = 6


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_forms(
    space: Space | Sequence[str], reduction: bool, after_reduction: bool, nodes: int = 3, partial: int = 1
) -> tuple[SearchCell, SearchCell]:
    """The same cell twice: clear, and fast with the clear one's `state_dict`."""
    forms = []
    for seed, cell in ((0, SearchCell), (1, FastSearchCell)):
        with seeded(seed):
            primitives = PRIMITIVES.get(space, space)
            place = {"reduction": reduction, "after_reduction": after_reduction, "partial": partial}
            forms.append(cell(nodes, primitives, (7, 5), CHANNELS, **place).double())
    clear, fast = forms
    for seed, (name, buffer) in enumerate(clear.named_buffers()):  # every edge remembers something else
        if name.endswith("running_mean"):
            buffer += numbers(*buffer.shape, seed=seed)
        elif name.endswith("running_var"):
            buffer *= numbers(*buffer.shape, seed=seed).exp()
    fast.load_state_dict(clear.state_dict())
    return clear, fast


def run(cell: nn.Module, inputs: list[Tensor], weights: Tensor) -> dict[str, Tensor]:
    """The output, and the gradients of a sum over it by inputs, weights and every parameter."""
    leaves = {f"input {i}": x.clone().requires_grad_() for i, x in enumerate(inputs)}
    leaves |= {"weights": weights.clone().requires_grad_(), **dict(cell.named_parameters())}
    output = cell(leaves["input 0"], leaves["input 1"], leaves["weights"])
    loss = (output * numbers(*output.shape, seed=9)).sum()
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {"output": output.detach(), **dict(zip(leaves, found, strict=True))}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float = 1e-12) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error, largest = (found[name] - tensor).abs().max(), tensor.abs().max()
        assert error <= relative * largest, f"{name}: {error:.1e} of {largest:.1e}"


def inputs_of(batch: int, height: int, width: int, after_reduction: bool) -> list[Tensor]:
    halved = (math.ceil(height / 2), math.ceil(width / 2)) if after_reduction else (height, width)
    return [numbers(batch, 7, height, width, seed=1), numbers(batch, 5, *halved, seed=2)]


def softmax_of(cell: SearchCell) -> Tensor:
    return torch.softmax(numbers(len(cell.edges), len(cell.primitives), seed=3), dim=1)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("reduction", [False, True], ids=["normal", "reduction"])
@pytest.mark.parametrize("after_reduction", [False, True], ids=["", "after_reduction"])
@pytest.mark.parametrize(("height", "width"), [(16, 8), (17, 9), (16, 9), (13, 8)])
def test_outputs_gradients_and_statistics_are_the_clear_form_s(
    space: Space, reduction: bool, after_reduction: bool, height: int, width: int
) -> None:
    clear, fast = two_forms(space, reduction, after_reduction)
    inputs, weights = inputs_of(8, height, width, after_reduction), softmax_of(clear)
    assert_same(run(fast, inputs, weights), run(clear, inputs, weights))
    assert fast.state_dict().keys() == clear.state_dict().keys()
    for name, value in clear.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, rtol=1e-12, atol=1e-13, msg=name)


@pytest.mark.parametrize("partial", [2, 3])
@pytest.mark.parametrize("reduction", [False, True], ids=["normal", "reduction"])
@pytest.mark.parametrize(("height", "width"), [(16, 8), (13, 9)])
def test_with_partial_channels_too(partial: int, reduction: bool, height: int, width: int) -> None:
    clear, fast = two_forms("reid", reduction, True, partial=partial)
    inputs = inputs_of(8, height, width, True)
    weights = softmax_of(clear) * edge_shares(numbers(9, seed=4), 3)[:, None]
    assert_same(run(fast, inputs, weights), run(clear, inputs, weights))
    assert fast.state_dict().keys() == clear.state_dict().keys()
    for name, value in clear.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, rtol=1e-12, atol=1e-13, msg=name)


OTHER_SPACES = [
    *(("none", name) for name in PRIMITIVES["style"][1:]),
    *((name,) for name in PRIMITIVES["style"][1:]),
    ("skip_connect", "max_pool_3x3"),  # nothing of an edge's own without a stride
    ("dil_conv_3x3", "none", "skip_connect"),  # nothing but phases, and what is shared
    PRIMITIVES["reid"][::-1],
    ("part_aware", "dil_conv_3x3", "none", "avg_pool_3x3"),
    ("dil_conv_3x3_ibn", "dil_conv_3x3"),  # both norms on the same phases
]


@pytest.mark.parametrize("primitives", OTHER_SPACES, ids=" ".join)
@pytest.mark.parametrize("reduction", [False, True], ids=["normal", "reduction"])
@pytest.mark.parametrize("height", [16, 17])
def test_any_choice_of_operations_in_any_order(primitives: tuple[str, ...], reduction: bool, height: int) -> None:
    clear, fast = two_forms(primitives, reduction, True)
    inputs, weights = inputs_of(8, height, 8, True), softmax_of(clear)
    assert_same(run(fast, inputs, weights), run(clear, inputs, weights))


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_columns_does_not_change_a_bit(order: int) -> None:
    """α's columns follow the space; the sums follow the table."""
    _, fast = two_forms("reid", True, True)
    _, other = two_forms(PRIMITIVES["reid"][::order], True, True)
    for ours, theirs in zip(fast.edges, other.edges, strict=True):
        for operation, same in zip(ours.operations[::order], theirs.operations, strict=True):
            same.load_state_dict(operation.state_dict())
    other.inputs.load_state_dict(fast.inputs.state_dict())
    inputs, weights = inputs_of(8, 16, 8, True), softmax_of(fast)
    assert torch.equal(
        run(fast, inputs, weights)["output"],
        run(other, inputs, weights.flip(1) if order < 0 else weights)["output"],
    )


def convolution(channels: int, stride: int, parts: int, affine: bool) -> nn.Module:
    layers = [nn.ReLU(), nn.Conv2d(channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels, affine=affine)]
    return nn.Sequential(*layers)


def fast_convolution(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """`convolution` of all edges at once, as someone might write it who registers it."""
    x = F.conv2d(state.seen_rectified, torch.cat([conv.weight for _, conv, _ in modules])).chunk(len(modules), dim=1)
    outputs = torch.cat([norm(image) for image, (_, _, norm) in zip(x, modules, strict=True)], dim=1)
    return Terms(own=outputs * scale[:, None, None])


@pytest.mark.parametrize("space", [("conv_1x1",), ("conv_1x1", "skip_connect"), (*PRIMITIVES["reid"], "conv_1x1")])
@pytest.mark.parametrize("reduction", [False, True], ids=["normal", "reduction"])
@pytest.mark.parametrize("fast_form", [None, fast_convolution], ids=["unknown to the fast form", "known to it"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_an_operation_that_is_registered(
    space: tuple[str, ...], reduction: bool, fast_form: Fast | None, training: bool
) -> None:
    with register_operation("conv_1x1", convolution, fast=fast_form):
        clear, fast = (cell.train(training) for cell in two_forms(space, reduction, False))
    inputs, weights = inputs_of(8, 16, 8, False), softmax_of(clear)
    assert_same(run(fast, inputs, weights), run(clear, inputs, weights))
    for name, value in clear.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, rtol=1e-12, atol=1e-13, msg=name)


def test_a_registered_operation_under_bfloat16() -> None:
    with register_operation("conv_1x1", convolution):
        clear, fast = (cell.float() for cell in two_forms(("conv_1x1", "sep_conv_3x3", "none"), False, False))
    inputs, weights = inputs_of(8, 16, 8, False), softmax_of(clear).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = (cell(*(x.float() for x in inputs), weights) for cell in (fast, clear))
    assert (found - expected).abs().max() <= 0.03 * expected.abs().max()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_ibn_under_bfloat16(training: bool) -> None:
    space = ("sep_conv_3x3_ibn", "dil_conv_3x3_ibn", "none")
    clear, fast = (cell.float().train(training) for cell in two_forms(space, False, False))
    inputs, weights = [x.float().requires_grad_() for x in inputs_of(8, 16, 8, False)], softmax_of(clear).float()

    def outcome(cell: SearchCell, bfloat16: bool) -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            output = cell(*inputs, weights)
        loss = (output * numbers(*output.shape, seed=9)).sum()
        return [output, torch.autograd.grad(loss, inputs[1])[0]]

    exact = outcome(clear, False)
    for found, same, expected in zip(outcome(fast, True), outcome(clear, True), exact, strict=True):
        assert found.dtype == same.dtype
        assert 0 < (found - expected).norm() <= 1.2 * (same - expected).norm()  # it is no less exact


@pytest.mark.parametrize("reduction", [False, True])
def test_a_batch_of_one_image(reduction: bool) -> None:
    clear, fast = two_forms("plain", reduction, False, nodes=1)
    inputs, weights = inputs_of(1, 16, 8, False), softmax_of(clear)
    assert_same(run(fast, inputs, weights), run(clear, inputs, weights))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("reduction", [False, True], ids=["normal", "reduction"])
@pytest.mark.parametrize("partial", [1, 2])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 8), (3, 17, 9)])
def test_evaluation_uses_the_running_statistics_of_each_edge(
    space: Space, reduction: bool, partial: int, batch: int, height: int, width: int
) -> None:
    clear, fast = (cell.eval() for cell in two_forms(space, reduction, True, partial=partial))
    before = {name: value.clone() for name, value in fast.state_dict().items()}
    inputs, weights = inputs_of(batch, height, width, True), softmax_of(clear)
    assert_same(run(fast, inputs, weights), run(clear, inputs, weights))
    assert all(torch.equal(value, before[name]) for name, value in fast.state_dict().items())


@pytest.mark.parametrize("form", [0, 1], ids=FORMS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["sep_conv_3x3_ibn", "dil_conv_3x3_ibn"])
def test_instance_norm_of_a_single_pixel_is_refused_with_advice(form: int, training: bool, name: str) -> None:
    cell = two_forms((name,), True, False)[form].train(training)
    with pytest.raises(NasdaError, match="at least 2 pixels, but got 1×1: use larger images") as caught:
        run(cell, inputs_of(8, 2, 2, False), softmax_of(cell))
    assert "\n" not in str(caught.value)


def test_one_image_has_no_batch_statistics_for_its_parts_in_either_form() -> None:
    for cell in two_forms("reid", False, False):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            run(cell, inputs_of(1, 16, 8, False), softmax_of(cell))


def test_images_may_lie_in_memory_as_they_like() -> None:
    clear, fast = two_forms("reid", True, True)
    weights = softmax_of(clear)
    inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs_of(4, 16, 8, True)]
    assert_same(run(fast, inputs, weights), run(clear, inputs, weights))


def test_statistics_can_be_estimated_anew_in_the_fast_form_too() -> None:
    """Then batch norm has no momentum, and takes the plain average over batches."""
    settings = dataclasses.replace(SPACE, space="style")
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 3, 32, 16, generator=generator, dtype=torch.float64) for _ in range(3)]
    found = []
    forms: tuple[Form, ...] = ("fast", "clear")
    for form in forms:
        network = Supernet(settings, 4, seed=0, form=form).double()
        reestimate_statistics(network, batches)
        found.append({name: value for name, value in network.state_dict().items() if "running" in name})
    assert_same(*found)


def test_frozen_statistics_stay_as_they_are() -> None:
    _, fast = two_forms("reid", True, False)
    before = {name: value.clone() for name, value in fast.state_dict().items()}
    with frozen_statistics(fast):
        run(fast, inputs_of(4, 16, 8, False), softmax_of(fast))
    assert all(torch.equal(value, before[name]) for name, value in fast.state_dict().items())


@pytest.mark.parametrize(("space", "partial"), [("plain", 1), ("reid", 1), ("style", 1), ("plain", 4), ("reid", 2)])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_whole_supernet(space: Space, partial: int, training: bool) -> None:
    size = {"channels": 8 if partial > 1 else 4, "nodes": 2, "cells_per_block": 2, "stem_stride": 1, "embedding": 8}
    settings = SpaceSettings(space=space, partial=partial, dropout=0, **size)
    results = []
    for form in FORMS:
        network = Supernet(settings, 5, seed=0, form=form).double().train(training)
        features, logits = network(numbers(16, 3, 48, 34, seed=1))
        loss = features.square().sum() + F.cross_entropy(logits, torch.arange(16) % 5)
        found = torch.autograd.grad(loss, list(network.parameters()))
        names = [name for name, _ in network.named_parameters()]
        results.append(
            {"features": features.detach(), "logits": logits.detach(), **dict(zip(names, found, strict=True))}
        )
    clear, fast = results
    # With C/K of 1 batch norm would take a 1×1 convolution's only weight away, and its gradient would be rounding.
    # Eight cells of batch norms on top of one another magnify rounding; a single one is held to 1e-12 above.
    assert_same(fast, clear, relative=1e-9)


@pytest.mark.parametrize(
    ("order", "partial", "space", "statistics"),
    [
        *(("first", 1, "reid", "batch"), ("second", 1, "reid", "batch"), ("first", 3, "reid", "batch")),
        *(("second", 3, "reid", "batch"), ("first", 1, "style", "source"), ("second", 1, "style", "source")),
    ],
)
def test_a_whole_search_finds_the_same_cells(
    tmp_path: Path, order: Order, partial: int, space: Space, statistics: AlphaStatistics
) -> None:
    task = make_task(tmp_path)
    settings = dataclasses.replace(SEARCH, order=order, alpha_statistics=statistics)
    found = []
    for form in FORMS:
        samples = task.source.train, task.target.train
        search = Search(
            *samples,
            profile_with(
                space=dataclasses.replace(SPACE, space=space, partial=partial),
                search=settings,
                compute=ComputeSettings(form),
            ),
            seed=0,
            device=torch.device("cpu"),
        )
        search.network.double()
        for batches in (search.weight_batches, search.alpha_batches):
            batches.next = in_float64(batches.next)
        rows = [search.epoch(epoch) for epoch in range(settings.epochs)]
        numbers = search.network.alpha_values() | {"betas": (search.network.beta_values() or {}).get("normal", [])}
        found.append((numbers, rows[-1]["genotype"]))
    (clear_alphas, clear_genotype), (fast_alphas, fast_genotype) = found
    assert fast_genotype == clear_genotype
    for kind, alphas in clear_alphas.items():
        torch.testing.assert_close(torch.tensor(fast_alphas[kind]), torch.tensor(alphas), rtol=0, atol=1e-9)


def in_float64(batch: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
    def doubled() -> tuple[Tensor, Tensor]:
        images, labels = batch()
        return images.double(), labels

    return doubled


class TestPieces:
    """The differentiable pieces, by finite differences, twice: whoever needs a Hessian may differentiate again."""

    def test_phases(self) -> None:
        x = numbers(2, 3, 6, 4).contiguous(memory_format=torch.channels_last)
        assert torch.equal(join_phases(split_phases(x)), x)
        assert torch.equal(split_phases(x)[2:4], x[:, :, ::2, 1::2])
        kernel = numbers(3, 1, 3, 3, seed=1)
        by_phases = join_phases(F.conv2d(split_phases(x), kernel, padding=1, groups=3))
        torch.testing.assert_close(by_phases, F.conv2d(x, kernel, padding=2, dilation=2, groups=3))

    @pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 4), (3, 5), (1, 1)])
    def test_quarters(self, height: int, width: int) -> None:
        x = numbers(2, 3, height, width).requires_grad_()
        even, odd = Quarters.apply(x)
        padded = F.pad(x, (0, 1, 0, 1))
        assert torch.equal(even, x[:, :, ::2, ::2])
        assert torch.equal(odd, padded[:, :, 1::2, 1::2][:, :, : even.shape[2], : even.shape[3]])
        assert torch.autograd.gradcheck(Quarters.apply, x)
        assert torch.autograd.gradgradcheck(Quarters.apply, x)

    def test_repeat(self) -> None:
        x = numbers(2, 3, 4, 2).requires_grad_()
        assert torch.equal(Repeat.apply(x, 3), x.repeat(1, 3, 1, 1))
        assert torch.autograd.gradcheck(lambda x: Repeat.apply(x, 3), x)
        assert torch.autograd.gradgradcheck(lambda x: Repeat.apply(x, 3), x)

    @pytest.mark.parametrize("phases", [1, 4])
    @pytest.mark.parametrize("fixed", [False, True], ids=["the batch's", "running"])
    @pytest.mark.parametrize("scaled", [False, True])
    def test_instance_and_batch_norm(self, phases: int, fixed: bool, scaled: bool) -> None:
        """First derivatives only: the second order's are differences."""
        x = (3 + numbers(2 * phases, 3, 2, 3)).requires_grad_()
        scale = numbers(3, seed=1).requires_grad_() if scaled else None
        running = torch.stack([numbers(3, seed=2), numbers(3, seed=3).exp()]) if fixed else None
        of_image = torch.tensor([True, False, False])

        def normed(x: Tensor, scale: Tensor | None) -> Tensor:
            return InstanceBatchNorm.apply(x, scale, of_image, running, 1e-5, phases)[0]

        assert torch.autograd.gradcheck(normed, (x, scale))

    def test_mix_sums_the_gradient_of_bfloat16_terms_in_float32(self) -> None:
        weight = torch.ones(1, requires_grad=True)
        zeros, ones = torch.zeros(1, 3, 401, 1).bfloat16(), torch.ones(1, 3, 401, 1).bfloat16()
        (gradient,) = torch.autograd.grad(Mix.apply(weight, 1, zeros, ones).sum(), weight)
        assert gradient.item() == 1203  # which bfloat16 would round to 1200

    @pytest.mark.parametrize("plain", [0, 1, 2])
    def test_mix(self, plain: int) -> None:
        weights = numbers(2).requires_grad_()
        terms = [numbers(2, 3, 4, 2, seed=seed).requires_grad_() for seed in range(plain + 2)]
        expected = sum(terms[:plain], weights[0] * terms[plain] + weights[1] * terms[plain + 1])
        torch.testing.assert_close(Mix.apply(weights, plain, *terms), expected)
        assert torch.autograd.gradcheck(lambda weights, *terms: Mix.apply(weights, plain, *terms), (weights, *terms))
        assert torch.autograd.gradgradcheck(
            lambda weights, *terms: Mix.apply(weights, plain, *terms), (weights, *terms)
        )
