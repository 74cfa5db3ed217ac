"""nasda.bilevel: hypergradients against problems whose answer is known."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from nasda.bilevel import (
    Bilevel,
    VirtualStep,
    first_order_gradient,
    frozen_statistics,
    gradients,
    restored,
    second_order_gradient,
)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Problem(NamedTuple):
    """A bilevel problem: parameters, and its two losses as functions of given ω and α."""

    weights: list[Tensor]
    alphas: list[Tensor]
    train: Callable[[list[Tensor], list[Tensor]], Tensor]
    val: Callable[[list[Tensor], list[Tensor]], Tensor]

    def train_loss(self) -> Tensor:
        return self.train(self.weights, self.alphas)

    def val_loss(self) -> Tensor:
        return self.val(self.weights, self.alphas)

    def second_order(self, step: VirtualStep, radius: float = 0.01) -> tuple[Tensor, ...]:
        return second_order_gradient(self.train_loss, self.val_loss, self.weights, self.alphas, step, radius=radius)[1]


def quadratic(seed: int = 0) -> Problem:
    """L_train = ½ ωᵀAω − ωᵀBα with ω in two tensors; L_val = ½‖ω − t‖² + cᵀα + ½‖α‖². The mixed second derivative is
    constant, so the central difference is exact but for rounding."""
    a = numbers(5, 5, seed=seed)
    hessian, mixed = a @ a.T + torch.eye(5, dtype=torch.float64), numbers(5, 3, seed=seed + 1)
    target, slope = numbers(5, seed=seed + 2), numbers(3, seed=seed + 3)

    def train(weights: list[Tensor], alphas: list[Tensor]) -> Tensor:
        w = torch.cat([p.flatten() for p in weights])
        return 0.5 * w @ hessian @ w - w @ mixed @ alphas[0]

    def val(weights: list[Tensor], alphas: list[Tensor]) -> Tensor:
        w = torch.cat([p.flatten() for p in weights])
        return 0.5 * (w - target).square().sum() + slope @ alphas[0] + 0.5 * alphas[0].square().sum()

    weights = [numbers(2, 1, seed=seed + 4).requires_grad_(), numbers(3, seed=seed + 5).requires_grad_()]
    return Problem(weights, [numbers(3, seed=seed + 6).requires_grad_()], train, val)


def curved(seed: int = 0) -> Problem:
    """A small network, tanh after tanh, its hidden units mixed by a softmax over α; nothing quadratic about it."""
    x, y, x_val, y_val = (numbers(6, 3, seed=seed + i) for i in range(4))

    def loss(weights: list[Tensor], alphas: list[Tensor], images: Tensor, wanted: Tensor) -> Tensor:
        hidden = torch.tanh(images @ weights[0]) * torch.softmax(alphas[0], dim=0) * 4
        return (torch.tanh(hidden @ weights[1] + alphas[1]) - wanted).square().mean()

    weights = [numbers(3, 4, seed=seed + 5).requires_grad_(), numbers(4, 3, seed=seed + 6).requires_grad_()]
    alphas = [numbers(4, seed=seed + 7).requires_grad_(), numbers(3, seed=seed + 8).requires_grad_()]
    return Problem(weights, alphas, lambda w, a: loss(w, a, x, y), lambda w, a: loss(w, a, x_val, y_val))


def unrolled(problem: Problem, step: VirtualStep) -> tuple[Tensor, ...]:
    """The exact ∇α L_val(ω'(α), α): autograd through the virtual step, twice differentiated."""
    found = torch.autograd.grad(problem.train_loss(), problem.weights, create_graph=True)
    buffers = step.buffers or [torch.zeros_like(w) for w in problem.weights]
    ahead = [
        w - step.lr * (step.momentum * b + g + step.decay * w)
        for w, g, b in zip(problem.weights, found, buffers, strict=True)
    ]
    return torch.autograd.grad(problem.val(ahead, problem.alphas), problem.alphas)


def some_steps(problem: Problem) -> dict[str, VirtualStep]:
    buffers = [numbers(*w.shape, seed=90 + i) for i, w in enumerate(problem.weights)]
    return {
        "plain": VirtualStep(0.1),
        "decay": VirtualStep(0.1, decay=0.3),
        "momentum": VirtualStep(0.05, momentum=0.9, buffers=buffers),
        "both": VirtualStep(0.05, momentum=0.9, decay=0.3, buffers=buffers),
    }


def assert_all_close(
    found: tuple[Tensor, ...], expected: tuple[Tensor, ...], *, rtol: float, atol: float = 0.0
) -> None:
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=rtol, atol=atol)


def error(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """The largest difference, relative to the largest entry."""
    differences = (float((f - e).abs().max()) for f, e in zip(found, expected, strict=True))
    return max(differences) / max(float(e.abs().max()) for e in expected)


# The second-order gradient


@pytest.mark.parametrize("name", ["plain", "decay", "momentum", "both"])
@pytest.mark.parametrize("seed", [0, 20, 40])
def test_second_order_equals_autograd_through_the_virtual_step(name: str, seed: int) -> None:
    problem = quadratic(seed)
    step = some_steps(problem)[name]
    assert_all_close(problem.second_order(step), unrolled(problem, step), rtol=1e-9, atol=1e-10)


def test_the_virtual_step_is_the_one_that_sgd_would_take() -> None:
    """ω' as L_val sees it, against `torch.optim.SGD` with a momentum buffer from earlier steps."""
    problem = quadratic()
    optimizer = torch.optim.SGD(problem.weights, 0.05, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        problem.train_loss().backward()
        optimizer.step()
    buffers = [optimizer.state[w]["momentum_buffer"].clone() for w in problem.weights]
    seen: list[Tensor] = []

    def val_loss() -> Tensor:
        seen.extend(w.detach().clone() for w in problem.weights)
        return problem.val_loss()

    step = VirtualStep(0.05, 0.9, 0.01, buffers)
    second_order_gradient(problem.train_loss, val_loss, problem.weights, problem.alphas, step)
    optimizer.zero_grad()
    problem.train_loss().backward()
    optimizer.step()
    assert_all_close(tuple(seen), tuple(problem.weights), rtol=1e-14, atol=1e-15)


def test_the_loss_returned_is_the_validation_loss_at_the_virtual_weights() -> None:
    problem, step = quadratic(), VirtualStep(0.1)
    loss, _ = second_order_gradient(problem.train_loss, problem.val_loss, problem.weights, problem.alphas, step)
    ahead = [
        w - 0.1 * g for w, g in zip(problem.weights, gradients(problem.train_loss(), problem.weights), strict=True)
    ]
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(problem.val(ahead, problem.alphas).item(), rel=1e-14)


def test_where_only_the_weights_are_validated_first_order_is_blind_and_second_order_is_not() -> None:
    """L_train = ½‖ω − Cα‖², L_val = ½‖ω − t‖². By hand: ω' = ω − ξ(ω − Cα), dL_val/dα = ξ Cᵀ(ω' − t)."""
    c, t = numbers(4, 2, seed=0), numbers(4, seed=1)
    w, alpha = numbers(4, seed=2).requires_grad_(), numbers(2, seed=3).requires_grad_()
    problem = Problem(
        [w],
        [alpha],
        lambda weights, alphas: 0.5 * (weights[0] - c @ alphas[0]).square().sum(),
        lambda weights, alphas: 0.5 * (weights[0] - t).square().sum(),
    )
    loss, first = first_order_gradient(problem.val_loss, [alpha])
    assert loss.item() == problem.val_loss().item()
    assert torch.equal(first[0], torch.zeros(2, dtype=torch.float64))
    ahead = w - 0.2 * (w - c @ alpha)
    assert_all_close(problem.second_order(VirtualStep(0.2)), (0.2 * c.T @ (ahead - t),), rtol=1e-9, atol=1e-11)


def test_a_step_that_solves_the_inner_problem_gives_the_implicit_gradient() -> None:
    """L_train = ½ h‖ω‖² − ωᵀBα is solved by one step of length 1/h from anywhere: ω*(α) = Bα/h. The implicit function
    theorem then says dL_val/dα = ∂L_val/∂α − ∂²αω L_train (∂²ωω L_train)⁻¹ ∂L_val/∂ω = c + Bᵀ(ω* − t)/h."""
    h, b, t, c = 2.5, numbers(4, 3, seed=0), numbers(4, seed=1), numbers(3, seed=2)
    w, alpha = numbers(4, seed=3).requires_grad_(), numbers(3, seed=4).requires_grad_()
    problem = Problem(
        [w],
        [alpha],
        lambda weights, alphas: 0.5 * h * weights[0].square().sum() - weights[0] @ b @ alphas[0],
        lambda weights, alphas: 0.5 * (weights[0] - t).square().sum() + c @ alphas[0],
    )
    optimum = b @ alpha / h
    assert_all_close(problem.second_order(VirtualStep(1 / h)), (c + b.T @ (optimum - t) / h,), rtol=1e-9, atol=1e-11)


def test_the_missing_parentheses_of_public_code_would_be_noticed() -> None:
    """(p − n)/2·ε in place of (p − n)/(2ε): the curvature vanishes, and what is left is far from the truth."""
    problem, step = quadratic(), VirtualStep(0.1)
    exact = unrolled(problem, step)
    ahead = [
        w - 0.1 * g for w, g in zip(problem.weights, gradients(problem.train_loss(), problem.weights), strict=True)
    ]
    leaves = [w.detach().requires_grad_() for w in ahead]
    at_virtual = gradients(problem.val(leaves, problem.alphas), [*problem.alphas, *leaves])
    v = at_virtual[1:]
    epsilon = 0.01 / torch.cat([g.flatten() for g in v]).norm()
    plus, minus = (
        gradients(
            problem.train([w + sign * epsilon * d for w, d in zip(problem.weights, v, strict=True)], problem.alphas),
            problem.alphas,
        )[0]
        for sign in (1, -1)
    )
    right, wrong = (
        at_virtual[0] - 0.1 * (plus - minus) / (2 * epsilon),
        at_virtual[0] - 0.1 * (plus - minus) / 2 * epsilon,
    )
    assert error((right,), exact) < 1e-9
    assert error((wrong,), exact) > 0.1
    assert error(problem.second_order(step), exact) < 1e-9


@pytest.mark.parametrize("name", ["plain", "both"])
@pytest.mark.parametrize("seed", [0, 20, 40])
def test_on_a_curved_problem_the_error_shrinks_with_the_square_of_the_radius(name: str, seed: int) -> None:
    problem = curved(seed)
    step = some_steps(problem)[name]
    exact = unrolled(problem, step)
    errors = [error(problem.second_order(step, radius), exact) for radius in (0.04, 0.02, 0.01)]
    assert errors[2] < 1e-4  # at the radius that is used
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.02)
    _, first = first_order_gradient(problem.val_loss, problem.alphas)
    assert error(first, exact) > 100 * errors[2]


def test_weights_come_back_to_the_bit_and_alphas_are_not_touched() -> None:
    problem = curved()
    before = [p.detach().clone() for p in (*problem.weights, *problem.alphas)]
    problem.second_order(VirtualStep(0.1))
    assert all(torch.equal(p, b) for p, b in zip((*problem.weights, *problem.alphas), before, strict=True))
    assert all(p.grad is None for p in (*problem.weights, *problem.alphas))


def test_weights_come_back_when_a_loss_raises() -> None:
    problem = curved()
    before = [w.detach().clone() for w in problem.weights]

    def broken() -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        second_order_gradient(problem.train_loss, broken, problem.weights, problem.alphas, VirtualStep(0.1))
    assert all(torch.equal(w, b) for w, b in zip(problem.weights, before, strict=True))


def test_restored_puts_back_what_rounding_would_lose() -> None:
    w = torch.tensor([1e-8, 1.0, -3.0])
    before = w.clone()
    with restored([w]) as saved:
        w += 1e8
        w -= 1e8
        assert not torch.equal(w, before)
        assert torch.equal(saved[0], before)
    assert torch.equal(w, before)


def test_a_validation_loss_that_ignores_the_weights_gives_its_own_gradient() -> None:
    problem = quadratic()
    alone = problem._replace(val=lambda weights, alphas: alphas[0].pow(3).sum() + 0.0 * weights[0].sum())
    assert_all_close(alone.second_order(VirtualStep(0.1)), (3 * problem.alphas[0].detach() ** 2,), rtol=1e-14)
    alone = problem._replace(val=lambda weights, alphas: alphas[0].pow(3).sum())
    assert_all_close(alone.second_order(VirtualStep(0.1)), (3 * problem.alphas[0].detach() ** 2,), rtol=1e-14)


def test_the_first_order_gradient_is_the_partial_one_and_leaves_no_other() -> None:
    problem = curved()
    loss, found = first_order_gradient(problem.val_loss, problem.alphas)
    assert not loss.requires_grad
    problem.val_loss().backward()
    assert_all_close(found, tuple(a.grad for a in problem.alphas), rtol=1e-14)


def test_gradients_are_zero_where_the_loss_does_not_depend() -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    assert [g.tolist() for g in gradients((2 * x).sum(), [x, y])] == [[2.0, 2.0], [0.0, 0.0, 0.0]]
    assert x.grad is None


# Batch norm's statistics


@pytest.fixture
def normed() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=None), nn.Flatten(2)
        ).double()
        network.append(nn.BatchNorm1d(4, track_running_stats=False).double())
    network(numbers(6, 3, 2, 2, seed=1))
    return network


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_frozen_statistics_are_used_from_the_batch_and_not_remembered(normed: nn.Sequential) -> None:
    before, batch = statistics(normed), numbers(6, 3, 2, 2, seed=2)
    with frozen_statistics(normed):
        inside = normed(batch)
    assert len(before) == 6
    assert equal(statistics(normed), before)
    outside = normed(batch)
    assert torch.equal(inside, outside)  # training mode: the batch's own mean and variance
    assert not equal(statistics(normed), before)


def test_statistics_run_on_as_if_the_frozen_block_had_not_been(normed: nn.Sequential) -> None:
    def broken(network: nn.Module) -> None:
        with frozen_statistics(network):
            network(numbers(6, 3, 2, 2, seed=2))
            raise KeyError

    other = copy.deepcopy(normed)
    with pytest.raises(KeyError):
        broken(normed)
    for network in (normed, other):
        network(numbers(6, 3, 2, 2, seed=3))
    assert equal(statistics(normed), statistics(other))


# A whole step


class Toy(nn.Module):
    """One α-weighted layer with batch norm, so that a step has all it should and should not change."""

    def __init__(self) -> None:
        super().__init__()
        self.alphas = nn.Parameter(numbers(2, seed=1))
        self.layer = nn.Linear(3, 4, dtype=torch.float64)
        self.other = nn.Linear(3, 4, dtype=torch.float64)
        self.norm = nn.BatchNorm1d(4, dtype=torch.float64)
        self.unused = nn.Parameter(numbers(2, seed=2))
        for seed, parameter in enumerate((*self.layer.parameters(), *self.other.parameters())):
            parameter.data = numbers(*parameter.shape, seed=10 + seed)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.softmax(self.alphas, dim=0)
        return self.norm(torch.tanh(a * self.layer(x) + b * self.other(x)))

    def loss(self, seed: int) -> Callable[[], Tensor]:
        x, y = numbers(6, 3, seed=seed), numbers(6, 4, seed=seed + 1)
        return lambda: (self(x) - y).square().mean()

    def omega(self) -> list[nn.Parameter]:
        return [p for name, p in self.named_parameters() if name != "alphas"]


ORDERS = ["first", "second"]


def make(order: str, extra: nn.Linear | None = None) -> tuple[Toy, Bilevel]:
    toy = Toy()
    bilevel = Bilevel(
        toy,
        torch.optim.SGD(toy.omega(), 0.05, momentum=0.9, weight_decay=0.01),
        torch.optim.Adam([toy.alphas], 0.02, weight_decay=0.001),
        order=order,  # type: ignore[arg-type]
        extra_optimizer=None if extra is None else torch.optim.SGD(extra.parameters(), 0.1),
    )
    return toy, bilevel


BATCHES = [(100, 200), (110, 210), (120, 220)]  # seeds of ω's and of α's


def by_hand(toy: Toy, order: str) -> None:
    """Algorithm 1 in plain tensors: SGD with momentum and decay on ω; then Adam on α at the new ω."""
    lr, momentum, decay = 0.05, 0.9, 0.01
    buffers: list[Tensor] | None = None
    m, v = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for t, (train, val) in enumerate(BATCHES, start=1):
        omega = toy.omega()
        found = torch.autograd.grad(toy.loss(train)(), omega, allow_unused=True)
        d = [torch.zeros_like(w) if g is None else g for w, g in zip(omega, found, strict=True)]
        d = [g + decay * w.detach() for w, g in zip(omega, d, strict=True)]
        buffers = d if buffers is None else [momentum * b + g for b, g in zip(buffers, d, strict=True)]
        for w, b in zip(omega, buffers, strict=True):
            w.data -= lr * b
        mean, variance = toy.norm.running_mean.clone(), toy.norm.running_var.clone()
        if order == "first":
            g = torch.autograd.grad(toy.loss(val)(), toy.alphas)[0]
        else:
            step = VirtualStep(lr, momentum, decay, buffers)
            g = second_order_gradient(toy.loss(train), toy.loss(val), omega, [toy.alphas], step)[1][0]
        toy.norm.running_mean.copy_(mean)
        toy.norm.running_var.copy_(variance)
        g = g + 0.001 * toy.alphas.detach()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        toy.alphas.data -= 0.02 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)


@pytest.mark.parametrize("order", ORDERS)
def test_steps_equal_algorithm_1_by_hand(order: str) -> None:
    """Three steps: ω by SGD, then α by Adam with its gradient at the *new* ω; batch norm remembers the source only."""
    toy, bilevel = make(order)
    expected = Toy()
    by_hand(expected, order)
    for train, val in BATCHES:
        bilevel.step(toy.loss(train), toy.loss(val))
    for (name, p), e in zip(toy.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, e, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(toy.norm.running_mean, expected.norm.running_mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(toy.norm.running_var, expected.norm.running_var, rtol=1e-9, atol=1e-12)


def test_the_weights_step_is_sgds_to_the_bit_and_does_not_depend_on_the_order() -> None:
    expected = Toy()
    optimizer = torch.optim.SGD(expected.omega(), 0.05, momentum=0.9, weight_decay=0.01)
    expected.loss(100)().backward()
    expected.unused.grad = torch.zeros_like(expected.unused)
    optimizer.step()
    for order in ORDERS:
        toy, bilevel = make(order)
        bilevel.step(toy.loss(100), toy.loss(200))
        assert all(torch.equal(p, e) for p, e in zip(toy.omega(), expected.omega(), strict=True))
        assert not torch.equal(toy.alphas, expected.alphas)


def test_the_alpha_loss_first_sees_the_new_weights() -> None:
    toy, bilevel = make("first")
    seen: list[Tensor] = []

    def alpha_loss() -> Tensor:
        seen.extend(w.detach().clone() for w in toy.omega())
        return toy.loss(200)()

    before = [w.detach().clone() for w in toy.omega()]
    losses = bilevel.step(toy.loss(100), alpha_loss)
    assert all(torch.equal(s, w) for s, w in zip(seen, toy.omega(), strict=True))
    assert not any(torch.equal(s, b) for s, b in zip(seen, before, strict=True))
    assert losses.weights.item() == pytest.approx(Toy().loss(100)().item(), rel=1e-14)
    assert not losses.weights.requires_grad
    assert not losses.alphas.requires_grad


@pytest.mark.parametrize("order", ORDERS)
def test_only_the_weights_step_shapes_the_running_statistics(order: str) -> None:
    toy, bilevel = make(order)
    expected = Toy()
    expected.loss(100)()
    bilevel.step(toy.loss(100), toy.loss(200))
    assert equal(statistics(toy), statistics(expected))
    assert toy.norm.num_batches_tracked == 1


def test_a_learning_rate_that_a_schedule_changed_is_the_one_looked_ahead_by() -> None:
    """The virtual step reads the optimizer as it is now."""
    results = []
    for lr in (0.05, 0.0005):
        toy, bilevel = make("second")
        bilevel.optimizers["weights"].param_groups[0]["lr"] = lr
        seen: list[Tensor] = []

        def alpha_loss(toy: Toy = toy, seen: list[Tensor] = seen) -> Tensor:
            seen.append(toy.layer.weight.detach().clone())
            return toy.loss(200)()

        bilevel.step(toy.loss(100), alpha_loss)
        results.append(float((seen[0] - toy.layer.weight).detach().abs().max()))
    assert results[1] < results[0] / 50


@pytest.mark.parametrize("order", ORDERS)
def test_extra_parameters_learn_from_the_alpha_loss_and_from_nothing_else(order: str) -> None:
    head = nn.Linear(4, 1, bias=False, dtype=torch.float64)
    head.weight.data = numbers(1, 4, seed=50)
    toy, bilevel = make(order, head)
    x, start, seen = numbers(6, 3, seed=200), head.weight.detach().clone(), []

    def alpha_loss() -> Tensor:
        features = toy(x)
        seen.append(features.detach())
        return head(features).sum()

    bilevel.step(toy.loss(100), alpha_loss)
    # d/dW of the sum of W·f is the sum of f, where the α loss saw it
    torch.testing.assert_close(
        head.weight.detach(), start - 0.1 * seen[0].sum(dim=0, keepdim=True), rtol=1e-12, atol=1e-12
    )
