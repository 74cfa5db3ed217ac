"""Modules are judged with the library's weights: outputs and gradients, in training and in evaluation."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasda.course.judges import Built, Exercise, NotAttempted, Wrong, copy_weights, module
from nasda.operations import PartAware


class Block(nn.Module):
    """What is to be written: a convolution, a norm, and the input added to them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x))


class OtherNames(Block):
    def __init__(self, channels: int) -> None:
        nn.Module.__init__(self)
        self.layers = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).add(x)


class NoSkip(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class InPlace(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        with torch.no_grad():
            x.add_(1e-3)
        return x + y


class Detached(Block):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() + self.norm(self.conv(x))


class BatchOnly(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        weight, bias = (p.reshape(1, -1, 1, 1) for p in (self.norm.weight, self.norm.bias))
        return x + (y - mean) / (variance + self.norm.eps).sqrt() * weight + bias


class Biased(Block):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.conv = nn.Conv2d(channels, channels, 1)


class NoReturn(Block):
    def forward(self, x: Tensor) -> Any:
        self.conv(x)


class Raises(Block):
    def forward(self, x: Tensor) -> Tensor:
        return x @ x


class Stub(nn.Module):
    def __init__(self, channels: int) -> None:
        """Words."""


def images(generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(2, 3, 4, 5, generator=generator)]


EXERCISE = module(Block, {"3 channels": Built({"channels": 3}, images)}, [(NoSkip, "The input is missing")])


@pytest.mark.parametrize("answer", [Block, OtherNames])
def test_right_modules(answer: type[nn.Module]) -> None:
    before = torch.get_rng_state()
    assert EXERCISE.judge(answer) is None
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NoSkip, "The input is missing"),
        (InPlace, "in training: your module has written into its input"),
        (Detached, "the output is right, its gradient with respect to the input is not"),
        (BatchOnly, "in evaluation: at ["),
        (Biased, "have the shapes 4 × (3,), (3, 3, 1, 1), of yours 5 × (3,), (3, 3, 1, 1)"),
        (NoReturn, "forward returned None: is there a `return`?"),
        (Raises, "of your cell: `return x @ x`"),
        (lambda channels: 3, "expected an nn.Module, yours made 3"),
        (5, "expected a class, found 5"),
    ],
)
def test_wrong_modules(answer: Any, words: str) -> None:
    wrong = EXERCISE.judge(answer)
    assert isinstance(wrong, Wrong)
    assert words in wrong.words, wrong.words


def test_a_stub_is_not_attempted_yet() -> None:
    with pytest.raises(NotAttempted):
        EXERCISE.judge(Stub)


def test_the_library_s_own_modules_are_right() -> None:
    inputs = Built({"channels": 4, "stride": 2, "parts": 2}, lambda g: [torch.randn(2, 4, 6, 5, generator=g)])
    own: Exercise = module(PartAware, {"stride 2": inputs})
    assert own.judge(PartAware) is None


class Nothing(nn.Module):
    """Its output does not depend on its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class TimesZero(Nothing):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


def test_no_gradient_is_a_gradient_of_zeros() -> None:
    exercise = module(Nothing, {"3 channels": Built({"channels": 3}, images)})
    assert exercise.judge(TimesZero) is None
    assert module(TimesZero, {"3 channels": Built({"channels": 3}, images)}).judge(Nothing) is None


def test_weights_are_copied_by_name_or_by_shape() -> None:
    one, other = Block(3), OtherNames(3)
    assert copy_weights(one, other) is None
    x = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(x), other(x))
    assert "1, 1)" in (copy_weights(one, Biased(3)) or "")
