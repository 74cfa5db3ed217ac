"""A student's losses are judged by value and gradient, his sampler by what must hold in many batches."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasda.course.judged_losses import RETRIEVAL, TRIPLET
from nasda.course.judged_sampler import SAMPLER
from nasda.course.judges import Wrong
from nasda.course.limits import TimeIsUp
from nasda.data.sampling import sample_batch
from nasda.losses import mine_hardest, pairwise_distances, retrieval_loss, triplet_loss


def wrong(found: Any) -> Wrong:
    assert isinstance(found, Wrong), found
    return found


def test_the_library_s_own_are_right() -> None:
    assert TRIPLET.judge(lambda features, labels, margin: triplet_loss(features, labels, margin, literal=True)) is None
    assert RETRIEVAL.judge(retrieval_loss) is None
    assert SAMPLER.judge(sample_batch) is None


def test_a_case_that_is_handed_back_shows_the_difference() -> None:
    def of_all(features: Tensor, labels: Tensor, margin: float) -> Tensor:
        return len(labels) * triplet_loss(features, labels, margin, literal=True)

    case = wrong(TRIPLET.judge(of_all)).case
    assert not case["features"].requires_grad
    assert not torch.isclose(of_all(**case), triplet_loss(**case))
    batch = sample_batch(**wrong(SAMPLER.judge(lambda *_: [])).case)
    assert len(batch) == 6


def test_where_several_are_equally_hard_any_of_their_gradients_is_right() -> None:
    def shared(features: Tensor, labels: Tensor, margin: float) -> Tensor:
        distances = pairwise_distances(features)
        valid = mine_hardest(distances, labels).valid
        same = labels.unsqueeze(1) == labels.unsqueeze(0)
        others = same & ~torch.eye(len(labels), dtype=torch.bool)
        gap = distances.masked_fill(~others, -torch.inf).amax(1) - distances.masked_fill(same, torch.inf).amin(1)
        return torch.relu(margin + gap[valid]).sum() / valid.sum().clamp(min=1)

    square = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0])
    slopes = [torch.autograd.grad(loss(square, labels, 0.3), square)[0] for loss in (shared, triplet_loss)]
    assert not torch.allclose(*slopes)
    assert TRIPLET.judge(shared) is None


def test_a_gradient_that_is_wrong_only_at_ties_is_no_number() -> None:
    def bare(features: Tensor, labels: Tensor, margin: float) -> Tensor:
        loss = triplet_loss(features, labels, margin, literal=True)
        tied = bool((pairwise_distances(features) < 1e-5).all())
        return loss + (features - features.detach()).square().sum().sqrt() if tied else loss

    assert "the gradient is not a number" in wrong(TRIPLET.judge(bare)).words


@pytest.mark.parametrize("draws_from", [torch.rand, np.random.rand, lambda _: random.random()])
def test_the_global_state_is_as_it_was(draws_from: Any) -> None:
    def impure(labels: Tensor, identities: int, images: int, generator: torch.Generator) -> Tensor:
        draws_from(1)
        return sample_batch(labels, identities, images, generator)

    def next_numbers() -> tuple[float, float, float]:
        return float(torch.rand(1)), random.random(), float(np.random.rand())

    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    expected = next_numbers()
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
    assert SAMPLER.judge(sample_batch) is None
    assert next_numbers() == expected
    assert "from the global random state" in wrong(SAMPLER.judge(impure)).words


def test_a_sampler_that_runs_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasda.course.judged_sampler.SECONDS", 0.2)

    def endless(*_: Any) -> None:
        while True:
            pass

    with pytest.raises(TimeIsUp):
        SAMPLER.judge(endless)
