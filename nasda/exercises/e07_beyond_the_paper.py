"""Exercises of notebook 07: beyond the paper."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from nasda.exercises import Exercise, NotAttempted, like, show, value
from nasda.lessons.l07_beyond_the_paper import shuffle

# 07.1: a new operation


def _judge_operation(answer: Any) -> str | None:
    if not callable(answer):
        return f"expected a function, found {show(answer)}"
    for channels, stride, affine, size in [(4, 1, False, (8, 8)), (4, 2, False, (8, 8)), (6, 2, True, (7, 5))]:
        call = f"conv_1x1({channels}, {stride}, 4, {affine})"
        operation = answer(channels, stride, 4, affine)
        if operation is None or operation is ...:
            raise NotAttempted
        if not isinstance(operation, nn.Module):
            return f"{call}: expected a torch module, yours returned {show(operation)}"
        words = _broken_contract(operation, channels, affine, size, stride)
        if words:
            return f"{call}: {words}"
    return None


def _broken_contract(
    operation: nn.Module, channels: int, affine: bool, size: tuple[int, int], stride: int
) -> str | None:
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
    given = x.clone()
    with torch.no_grad():
        made = operation.train()(given)
    found = tuple(made.shape)
    expected = (2, channels, ceil(size[0] / stride), ceil(size[1] / stride))
    if found != expected:
        return f"an input {tuple(x.shape)} must come out as {expected}, yours gives {found}"
    if not torch.equal(given, x):
        return "it changes its input, which all candidates of an edge share: nn.ReLU() without inplace"
    convolutions = [module for module in operation.modules() if isinstance(module, nn.Conv2d)]
    if [convolution.kernel_size for convolution in convolutions] != [(1, 1)]:
        return f"expected one convolution with a 1×1 kernel, found {[c.kernel_size for c in convolutions]}"
    if convolutions[0].groups != 1:
        return "the convolution has groups: every output channel must see all input channels"
    norms = [module for module in operation.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return "the output has no batch norm: the mixture's terms would come at different scales"
    if norms[-1].affine != affine:
        return (
            f"affine is {affine}, but your batch norm has affine={norms[-1].affine}: "
            "in a search it must not learn a scale of its own"
        )
    means, variances = made.mean(dim=(0, 2, 3)), made.var(dim=(0, 2, 3), correction=0)
    if means.abs().max() > 1e-4 or (variances - 1).abs().max() > 0.02:
        return "the batch norm must come last: the output's channels have not mean 0 and variance 1"
    if convolutions[0].bias is not None:
        return "the convolution has a bias, which the batch norm behind it takes away again: bias=False"
    if not _starts_with_relu(operation, x):
        return "it must begin with a ReLU, as all operations with weights do here: negative inputs must count as zero"
    return None


def _starts_with_relu(operation: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        return torch.allclose(operation(x), operation(x.clamp(min=0)), atol=1e-6)


# 07.3: partial channels


class Tenfold:
    """A stand-in for a mixed operation, whose work is easy to see."""

    def __call__(self, x: Tensor) -> Tensor:
        return 10 * x

    def __repr__(self) -> str:
        return "ten times"


def partial_channels(x: Tensor, mixed: Any, partial: int) -> Tensor:
    """The first C/K channels through `mixed`, the others past it, then the shuffle."""
    first = x.shape[1] // partial
    return shuffle(torch.cat([mixed(x[:, :first]), x[:, first:]], dim=1), partial)


def _channels(count: int) -> Tensor:
    return torch.arange(1.0, count + 1).reshape(1, count, 1, 1)


# 07.4: experiments' controls

_CONTROLS = {"A": 3, "B": 1, "C": 2, "D": 4}
_ADVICE = {
    "A": "the claim is that choosing at all pays: what would no choice have given, in the same space?",
    "B": "the claim is about where α looks: everything stays as it is, but α looks at the other domain",
    "C": "the claim is about how the cell is read off: keep the searched network, read it off the other way",
    "D": "the claim is about what ten labels a digit are best used for: give the same labels to the other parameters",
}


def _judge_controls(answer: Any) -> str | None:
    if not isinstance(answer, Mapping):
        return f'expected a dictionary such as {{"A": 1, "B": 2, "C": 3, "D": 4}}, found {show(answer)}'
    if answer and all(control is ... for control in answer.values()):
        raise NotAttempted
    for claim, control in _CONTROLS.items():
        if claim not in answer:
            return f"claim {claim} has no control yet"
        if str(answer[claim]) != str(control):
            return f"claim {claim}: control {show(answer[claim])} does not answer it; {_ADVICE[claim]}"
    return None


# 07.5: enough seeds


def seeds_needed(spread: float, effect: float) -> int:
    """The smallest n with 2 · spread / √n ≤ |effect|, at least 2."""
    return max(2, ceil((2 * spread / abs(effect)) ** 2 - 1e-9))


EXERCISES = {
    "07.1": Exercise(
        _judge_operation,
        "Any module that keeps this contract can be searched: nothing else in the library has to change.",
    ),
    "07.2": value(
        ("sep_conv_3x3", "skip_connect"),
        {
            ("skip_connect", "max_pool_3x3"): "Those have the largest weights: that is plain DARTS' choice.",
            ("avg_pool_3x3", "dil_conv_3x3"): (
                "Without those the accuracy stays highest: they are missed least. Look for the largest drop."
            ),
        },
        praise="On neither edge is it the operation with the largest weight.",
    ),
    "07.3": like(
        partial_channels,
        [
            {"x": _channels(4), "mixed": Tenfold(), "partial": 2},
            {"x": _channels(8), "mixed": Tenfold(), "partial": 4},
            {"x": _channels(6).repeat(2, 1, 2, 3), "mixed": Tenfold(), "partial": 3},
        ],
        praise="Without the shuffle the next partial edge would mix the same channels again.",
    ),
    "07.4": Exercise(
        _judge_controls, "A control differs from the experiment in one thing: in what the claim is about."
    ),
    "07.5": like(
        seeds_needed,
        [
            {"spread": 3.0, "effect": 3.0},
            {"spread": 3.0, "effect": 1.0},
            {"spread": 2.5, "effect": -2.0},
            {"spread": 0.1, "effect": 5.0},
        ],
        praise="Half the effect takes four times as many seeds.",
    ),
}
