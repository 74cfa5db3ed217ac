"""Exercises of notebook 04: what leaks, where a search rests, the finite difference, what a checkpoint holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample
from nasda.exercises import Exercise, NotAttempted, difference, show
from nasda.lessons.l04_bilevel_search import SmallRun

# 04.1: what leaks


def _images(split: str, pids: dict[int, int]) -> list[Sample]:
    return [Sample(Path(split) / f"{p:04d}_c{c}.png", p, c) for p, n in pids.items() for c in range(1, n + 1)]


_TARGET = Domain(
    "target",
    Path("target"),
    train=_images("train", {2: 3, 5: 3, 8: 3}),
    query=_images("query", {3: 1, 7: 1, 4: 1}),
    gallery=_images("gallery", {JUNK: 1, DISTRACTOR: 2, 3: 3, 7: 3, 9: 2}),
)
_SAMPLES: tuple[tuple[str, list[Sample], list[int]], ...] = (
    ("a sample of the training split", _TARGET.train[:6], []),
    ("a sample with a query image", [*_TARGET.train[:2], _TARGET.query[1]], [7]),
    ("a sample with another photograph of somebody who is a query", [Sample(Path("more/7_c9.png"), 7, 9)], [7]),
    ("a sample with gallery images of somebody who is no query", _TARGET.gallery[-2:], [9]),
    ("a sample with somebody who is a query, but not in the gallery", [Sample(Path("more/4_c9.png"), 4, 9)], [4]),
    ("a sample of the whole gallery, junk (-1) and distractors (0) included", _TARGET.gallery, [3, 7, 9]),
)


def _judge_leak(answer: Any) -> str | None:
    for number, (what, samples, expected) in enumerate(_SAMPLES):
        found = answer(list(samples), _TARGET)
        if found is None or found is ...:
            if number == 0:
                raise NotAttempted
            return f"for {what}: expected {expected}, yours gave nothing"
        try:
            found = sorted(found)
        except TypeError:
            return f"expected a list of identities, yours gave {show(found)}"
        if found != expected:
            return f"for {what}: expected {expected}, yours gave {show(found)}. {_LEAK_ADVICE[number]}"
    return None


_LEAK_ADVICE = (
    "The training split shares nobody with the test.",
    "A query that α has seen is no longer new to it.",
    "It is the person that leaks, not the file: compare identities.",
    "Whoever stands in the gallery is tested too.",
    "Queries are tested too, also those of whom the gallery has nothing.",
    "Junk is never counted, and distractors are nobody in particular.",
)

# 04.2: where a search rests


def _judge_rest(answer: Any) -> str | None:
    for xi in (0.0, 0.5, 0.1, 1.0):
        found = answer(xi)
        if (found is None or found is ...) and xi == 0:
            raise NotAttempted
        if isinstance(found, (np.ndarray, Tensor)):
            found = found.tolist()
        expected = [2 / (1 + 2 * xi)] * 2
        if not (isinstance(found, (tuple, list)) and len(found) == 2):
            return f"for xi = {show(xi)}: expected a pair (α, ω), yours gave {show(found)}"
        different = difference(expected, [float(x) for x in found])
        if different:
            advice = {
                0.0: "At rest ω no longer moves, so ω = ω*(α): put that into the gradient and ask where it is 0.",
                0.5: "ω' = ω − ξ · 2(ω − α) is ω itself at rest; what is left of the second term there?",
            }.get(xi, "The step must come into the answer for every ξ, and only ξ = 1/2 is exact.")
            return f"for xi = {show(xi)}: {different}. {advice}"
    return None


# 04.3: finite difference


def _cubic(weights: Tensor) -> Tensor:
    """∇α of L_train = Σ α ω³: three numbers, not linear in ω, so that the radius matters."""
    return weights**3


def _linear(weights: Tensor) -> Tensor:
    return torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64) @ weights


_DIFFERENCES: tuple[tuple[str, Callable[[Tensor], Tensor], list[float], list[float], float], ...] = (
    ("a gradient that is linear in ω", _linear, [1.0, -2.0], [3.0, 4.0], 0.01),
    ("a gradient that is cubic in ω", _cubic, [1.0, 2.0, -1.0], [2.0, 1.0, -2.0], 0.5),
    ("the same with a v ten times as long", _cubic, [1.0, 2.0, -1.0], [20.0, 10.0, -20.0], 0.5),
)


def _difference(
    gradient: Callable[[Tensor], Tensor], weights: Tensor, v: Tensor, radius: float, kind: str = "right"
) -> Tensor:
    """The central difference; `kind` names the mistakes that are recognised."""
    epsilon = radius / v.norm() if kind != "not normalised" else torch.tensor(radius, dtype=torch.float64)
    plus, minus = gradient(weights + epsilon * v), gradient(weights - epsilon * v)
    if kind == "parentheses":
        return (plus - minus) / 2 * epsilon
    if kind == "one-sided":
        return (plus - gradient(weights)) / epsilon
    if kind == "no half":
        return (plus - minus) / epsilon
    return (plus - minus) / (2 * epsilon)


_DIFFERENCE_ADVICE = {
    "parentheses": "That is (p − n)/2 · ε, the slip of several public implementations: divide by (2ε).",
    "no half": "It is twice too long: ω + εv and ω − εv lie 2ε apart.",
    "one-sided": "That is a one-sided difference: take both sides, its error shrinks with ε², not with ε.",
    "not normalised": "ε is radius / ‖v‖: the step taken in ω has the length radius, however long v is.",
}


def _judge_difference(answer: Any) -> str | None:
    for number, (what, gradient, weights, v, radius) in enumerate(_DIFFERENCES):
        at, along = torch.tensor(weights, dtype=torch.float64), torch.tensor(v, dtype=torch.float64)
        found = answer(gradient, at.clone(), along.clone(), radius)
        if (found is None or found is ...) and number == 0:
            raise NotAttempted
        different = difference(_difference(gradient, at, along, radius), found, 1e-7)
        if different is None:
            continue
        for kind, advice in _DIFFERENCE_ADVICE.items():
            if difference(_difference(gradient, at, along, radius, kind), found, 1e-7) is None:
                return f"for {what}: {different}. {advice}"
        return f"for {what}: {different}"
    return None


# 04.4: checkpoint


def _judge_checkpoint(answer: Any) -> str | None:
    if not (isinstance(answer, tuple) and len(answer) == 2 and all(map(callable, answer))):
        return f"expected the two functions (save, load), found {show(answer)}"
    save, load = answer
    whole = SmallRun(seed=0)
    for _ in range(3):
        whole.run_epoch()
    state = save(whole)
    if state is None or state is ...:
        raise NotAttempted
    as_saved = _parts(whole)
    for _ in range(3):
        whole.run_epoch()
    resumed = SmallRun(seed=1)
    load(resumed, state)
    for name, expected in as_saved.items():
        found = _parts(resumed)[name]
        if found == expected:
            continue
        if found == _parts(whole)[name]:
            return (
                f"{name}: what you saved changed while the run went on. state_dict() and tensors hand out the memory "
                "that the run works on: save copies"
            )
        return f"after load, {name} is not what it was when you saved: {_MISSING[name]}"
    for _ in range(3):
        resumed.run_epoch()
    different = difference(whole.alphas.detach(), resumed.alphas.detach(), 0)
    return None if different is None else f"three epochs later α is not the same: {different}"


_MISSING = {
    "ω": "without the weights everything begins anew",
    "α": "α is a parameter like ω; left out, the search forgets its decisions",
    "ω's optimizer": "SGD remembers its momentum",
    "α's optimizer": "Adam remembers two running means of each entry, and how many steps it took",
    "the generator": "the next batches would be others",
    "the epoch": "the learning rate depends on it",
}


def _parts(run: SmallRun) -> dict[str, Any]:
    """What a run's future depends on, as plain values that do not change afterwards."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    return {
        "ω": run.weights.tolist(),
        "α": run.alphas.tolist(),
        "ω's optimizer": plain(run.weights_optimizer.state_dict()["state"]),
        "α's optimizer": plain(run.alphas_optimizer.state_dict()["state"]),
        "the generator": run.generator.get_state().tolist(),
        "the epoch": run.epoch,
    }


EXERCISES = {
    "04.1": Exercise(
        _judge_leak,
        "A sample passes this test only where α has met nobody who is tested: neither a query nor the gallery.",
    ),
    "04.2": Exercise(
        _judge_rest,
        "The longer the step, the nearer to the solution; at ξ = 1/2 one step solves the inner problem, and beyond "
        "that the search overshoots.",
    ),
    "04.3": Exercise(_judge_difference, "Two gradients of L_train, however many entries ω and α have."),
    "04.4": Exercise(_judge_checkpoint, "Bit for bit: nothing that the future depends on is missing."),
}
