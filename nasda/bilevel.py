"""One step of the bilevel problem (eqs. 3 and 4): ω by the source's loss, then α by the target's.

The functions for gradients take parameters and losses, not a network, so that tests can compare them on problems whose
hypergradient is known.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nasda.devices import without_tf32
from nasda.settings import Order

Loss = Callable[[], Tensor]
Gradients = tuple[Tensor, ...]
Differentiate = Callable[[Loss, Sequence[Tensor]], tuple[Tensor, Gradients]]


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Gradients:
    """d loss / d parameters; zeros for a parameter that the loss does not depend on. No other gradient is computed."""
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    return tuple(torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True))


def differentiate(loss: Loss, parameters: Sequence[Tensor]) -> tuple[Tensor, Gradients]:
    """The loss, detached, and its gradients. `graphs.Recorded` does the same by replaying a recorded computation."""
    value = loss()
    return value.detach(), gradients(value, parameters)


@torch.no_grad()
def _move(parameters: Sequence[Tensor], directions: Sequence[Tensor], step: float | Tensor) -> None:
    # A supernet has more than a thousand tensors. The `_foreach` functions need few kernels for all of them, where a
    # loop needs one for each, and compute the same numbers.
    torch._foreach_add_(list(parameters), torch._foreach_mul(list(directions), step))


@contextmanager
def restored(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Let the block change `parameters` in place; afterwards they have their old values, to the bit. Yields the saved
    values. (Adding R and subtracting it again would leave a rounding error in ω at every step.)"""
    saved = copies(parameters)
    try:
        yield saved
    finally:
        _set(parameters, saved)


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of `tensors`, in new memory."""
    copied = [torch.empty_like(tensor, requires_grad=False) for tensor in tensors]
    _set(copied, tensors)
    return copied


@torch.no_grad()
def _set(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    if parameters:
        torch._foreach_copy_(list(parameters), list(values))


class VirtualStep(NamedTuple):
    """The SGD step that the second-order gradient looks ahead by.

    ω' = ω − lr · (momentum · buffer + ∇ω L_train + decay · ω), as `torch.optim.SGD` takes it.
    """

    lr: float
    momentum: float = 0.0
    decay: float = 0.0
    buffers: Sequence[Tensor] | None = None

    @torch.no_grad()
    def direction(self, weights: Sequence[Tensor], train_gradients: Gradients) -> list[Tensor]:
        """For every weight, the direction that `torch.optim.SGD` multiplies by lr and subtracts."""
        direction = torch._foreach_add(list(train_gradients), torch._foreach_mul(list(weights), self.decay))
        if self.buffers is not None:
            torch._foreach_add_(direction, torch._foreach_mul(list(self.buffers), self.momentum))
        return list(direction)


def first_order_gradient(
    alpha_loss: Loss, alphas: Sequence[Tensor], *, differentiate: Differentiate = differentiate
) -> tuple[Tensor, Gradients]:
    """∇α L_val(ω, α) with ω as a constant (DARTS with ξ = 0). Returns the loss and the gradients."""
    return differentiate(alpha_loss, alphas)


def second_order_gradient(
    weight_loss: Loss,
    alpha_loss: Loss,
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    step: VirtualStep,
    *,
    exact_loss: Loss | None = None,
    radius: float = 0.01,
    differentiate: Differentiate = differentiate,
) -> tuple[Tensor, Gradients]:
    """∇α L_val(ω'(α), α) through one virtual step ω' of ω (DARTS eqs. 7 and 8). Returns the loss at ω' and the
    gradients.

    It is ∇α L_val(ω', α) − lr · ∇²αω L_train(ω, α) · v with v = ∇ω' L_val(ω', α). The product with the mixed second
    derivative is a central difference, (∇α L_train(ω + εv) − ∇α L_train(ω − εv)) / (2ε) with ε = radius / ‖v‖; several
    public implementations lack the parentheses around 2ε. If `weight_loss` is computed in fewer bits, their rounding is
    larger than this difference: then `exact_loss` is L_train in float32. Each call of the two must see the same batch
    and the same dropout. `weights` are changed in place and restored to the bit.

    `weight_loss` moves running statistics, as the virtual step would if it were taken. If `alpha_loss` reads them, it
    sees them after that step, as constants.
    """
    with restored(weights) as saved:
        direction = step.direction(weights, differentiate(weight_loss, weights)[1])
        _move(weights, direction, -step.lr)
        loss, at_virtual = differentiate(alpha_loss, [*alphas, *weights])
        direct, ahead = at_virtual[: len(alphas)], at_virtual[len(alphas) :]

        squares = torch._foreach_mul(ahead, ahead)
        norm = torch.sqrt(sum((s.sum() for s in squares), start=torch.zeros((), device=ahead[0].device)))
        epsilon = radius / norm.clamp(min=torch.finfo(norm.dtype).tiny ** 0.5)
        sides = []
        for sign in (1.0, -1.0):
            _set(weights, saved)
            _move(weights, ahead, sign * epsilon)
            with without_tf32():
                sides.append(differentiate(exact_loss or weight_loss, alphas)[1])
    curvature = [(plus - minus) / (2 * epsilon) for plus, minus in zip(*sides, strict=True)]
    return loss, tuple(g - step.lr * h for g, h in zip(direct, curvature, strict=True))


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norm use the batch's statistics in the block, but leave the running statistics as they were.

    Only the ω step on the source may change them, not the target's images or the second order's displaced weights. They
    change in the block and are restored after it, so that the computation stays the same and is recorded only once.
    """
    buffers = list(network.buffers())
    values = [buffer for buffer in buffers if buffer.is_floating_point()]
    counts = [buffer for buffer in buffers if not buffer.is_floating_point()]  # of batches
    with restored(values), restored(counts):
        yield


class Losses(NamedTuple):
    """The two losses of a bilevel step, before its updates: detached scalars on the network's device."""

    weights: Tensor
    alphas: Tensor


class Bilevel:
    """Algorithm 1's loop body as this project reads it: update ω on the source, then α on the target sample.

    `weights_optimizer` is SGD over ω alone, `alphas_optimizer` any optimizer over α alone. `extra_optimizer` is for
    parameters that the α loss trains in addition to α, such as the retrieval loss' head.
    """

    def __init__(
        self,
        network: nn.Module,
        weights_optimizer: torch.optim.SGD,
        alphas_optimizer: torch.optim.Optimizer,
        *,
        order: Order = "first",
        extra_optimizer: torch.optim.Optimizer | None = None,
        differentiate: Differentiate = differentiate,
    ) -> None:
        group, *others = weights_optimizer.param_groups
        if others or group["nesterov"] or group["dampening"]:
            raise ValueError("the virtual step knows plain SGD with momentum on one group of parameters")
        self.network = network
        self.order = order
        self.differentiate = differentiate
        self.optimizers = {"weights": weights_optimizer, "alphas": alphas_optimizer}
        self.weights, self.learners = _parameters(weights_optimizer), _parameters(alphas_optimizer)
        if extra_optimizer is not None:
            self.optimizers["extra"] = extra_optimizer
            self.learners += _parameters(extra_optimizer)

    def step(self, weight_loss: Loss, alpha_loss: Loss, exact_loss: Loss | None = None) -> Losses:
        """Update ω by `weight_loss`, then α and the extra parameters by `alpha_loss`. `exact_loss` is for the second
        order (see `second_order_gradient`)."""
        seen_by_weights = self.weights_step(weight_loss)
        with frozen_statistics(self.network):
            if self.order == "first":
                seen_by_alphas, found = first_order_gradient(
                    alpha_loss, self.learners, differentiate=self.differentiate
                )
            else:
                seen_by_alphas, found = second_order_gradient(
                    weight_loss,
                    alpha_loss,
                    self.weights,
                    self.learners,
                    self._virtual_step(),
                    exact_loss=exact_loss,
                    differentiate=self.differentiate,
                )
        _assign(self.learners, found)
        for name, optimizer in self.optimizers.items():
            if name != "weights":
                optimizer.step()
        return Losses(seen_by_weights, seen_by_alphas)

    def weights_step(self, weight_loss: Loss) -> Tensor:
        """Update ω alone. Returns the loss before the update."""
        seen, found = self.differentiate(weight_loss, self.weights)
        _assign(self.weights, found)
        self.optimizers["weights"].step()
        return seen

    def _virtual_step(self) -> VirtualStep:
        optimizer = self.optimizers["weights"]
        group = optimizer.param_groups[0]
        buffers = [optimizer.state[weight]["momentum_buffer"] for weight in self.weights] if group["momentum"] else None
        return VirtualStep(group["lr"], group["momentum"], group["weight_decay"], buffers)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _assign(parameters: Sequence[Tensor], found: Gradients) -> None:
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
