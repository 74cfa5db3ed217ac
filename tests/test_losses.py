"""nasda.losses: equations 7, 8 and 9, and α's other losses, against plain Python."""

import math

import pytest
import torch
from torch import Tensor

from nasda.data.sampling import check_triplets
from nasda.losses import (
    BANDWIDTHS,
    MEMORY_MOMENTUM,
    beta_regulariser,
    class_centres,
    memory_loss,
    mine_hardest,
    mmd,
    move_centres,
    pairwise_distances,
    retrieval_loss,
    softmax_loss,
    triplet_loss,
)
from tests.data.test_reading import message_of


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_labels(batch: int, identities: int, seed: int) -> Tensor:
    """Random labels of which at least one pair and one other identity exist."""
    labels = torch.randint(identities, (batch,), generator=torch.Generator().manual_seed(seed))
    labels[:3] = torch.tensor([0, 0, 1])
    return labels * 17 + 5  # identities need not count from 0


def triplet_by_brute_force(features: Tensor, labels: Tensor, margin: float) -> float:
    """Over every anchor, every positive and every negative: the worst triplet of each anchor, averaged."""
    points, names = features.tolist(), labels.tolist()
    worst_of_anchor = []
    for a in range(len(points)):
        triplets = [
            max(0.0, margin + math.dist(points[a], points[p]) - math.dist(points[a], points[n]))
            for p in range(len(points))
            for n in range(len(points))
            if p != a and names[p] == names[a] and names[n] != names[a]
        ]
        if triplets:
            worst_of_anchor.append(max(triplets))
    return sum(worst_of_anchor) / len(worst_of_anchor)


# Eq. 7


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_eq_7_is_the_mean_of_minus_log_softmax(scale: float) -> None:
    logits, labels = scale * numbers(6, 9), torch.tensor([0, 8, 3, 3, 1, 7])
    terms = []
    for h, c in zip(logits.tolist(), labels.tolist(), strict=True):
        top = max(h)
        terms.append(top + math.log(sum(math.exp(value - top) for value in h)) - h[c])
    assert softmax_loss(logits, labels).item() == pytest.approx(sum(terms) / 6, rel=1e-13)


def test_eq_7_does_not_depend_on_the_batch_size() -> None:
    logits, labels = numbers(4, 5), torch.tensor([0, 1, 2, 3])
    twice = softmax_loss(logits.repeat(2, 1), labels.repeat(2))
    assert twice.item() == pytest.approx(softmax_loss(logits, labels).item(), rel=1e-14)


# Eq. 8


def test_distances_are_euclidean() -> None:
    features = numbers(7, 5)
    found = pairwise_distances(features)
    for i, a in enumerate(features.tolist()):
        for j, b in enumerate(features.tolist()):
            assert found[i, j].item() == pytest.approx(math.dist(a, b), rel=1e-13, abs=1e-6)


def test_distances_between_near_neighbours_keep_their_digits_in_float32() -> None:
    features = 100 + 0.001 * numbers(6, 64)
    expected = torch.tensor([[math.dist(a, b) for b in features.float().tolist()] for a in features.float().tolist()])
    others = ~torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(pairwise_distances(features.float())[others], expected[others], rtol=1e-6, atol=0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_eq_8_takes_the_hardest_of_all_triplets(seed: int, margin: float) -> None:
    batch = 3 + seed
    features, labels = numbers(batch, 4, seed=seed), some_labels(batch, 2 + seed % 4, seed)
    found = triplet_loss(features, labels, margin).item()
    assert found == pytest.approx(triplet_by_brute_force(features, labels, margin), rel=1e-12, abs=1e-15)


def test_eq_8_by_hand() -> None:
    """On a line: identity 0 at 0 and 1, identity 1 at 1.2 and 5. Anchors: .3+1−1.2, .3+1−.2, .3+3.8−.2, .3+3.8−4."""
    features = torch.tensor([[0.0], [1.0], [1.2], [5.0]], dtype=torch.float64)
    loss = triplet_loss(features, torch.tensor([0, 0, 1, 1]), 0.3)
    assert loss.item() == pytest.approx((0.1 + 1.1 + 3.9 + 0.1) / 4, rel=1e-12)


def test_eq_8_is_zero_where_every_identity_is_apart_by_the_margin() -> None:
    features = torch.tensor([[0.0], [1.0], [2.4], [3.4]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    assert triplet_loss(features, labels, 0.3).item() == 0.0
    assert triplet_loss(features, labels, 0.5).item() > 0.0


def test_mining_names_the_farthest_positive_and_the_nearest_negative() -> None:
    features, labels = numbers(9, 4), torch.tensor([3, 3, 3, 8, 8, 8, 1, 1, 4])
    mined = mine_hardest(pairwise_distances(features), labels)
    points, names = features.tolist(), labels.tolist()
    for a in range(8):
        others = [i for i in range(9) if i != a]
        positives = [i for i in others if names[i] == names[a]]
        negatives = [i for i in others if names[i] != names[a]]
        assert mined.positive_index[a] == max(positives, key=lambda i: math.dist(points[a], points[i]))
        assert mined.negative_index[a] == min(negatives, key=lambda i: math.dist(points[a], points[i]))
        assert mined.positive[a].item() == pytest.approx(math.dist(points[a], points[int(mined.positive_index[a])]))
        assert mined.negative[a].item() == pytest.approx(math.dist(points[a], points[int(mined.negative_index[a])]))
    assert mined.valid.tolist() == [True] * 8 + [False]  # the last image is alone of its identity


def test_an_anchor_without_a_positive_does_not_count() -> None:
    """It is a negative to the others, but the mean is over those that have both."""
    features, labels = numbers(5, 3), torch.tensor([0, 0, 1, 1, 2])
    assert triplet_loss(features, labels, 5.0).item() == pytest.approx(triplet_by_brute_force(features, labels, 5.0))


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_eq_8_is_that_of_finite_differences(seed: int) -> None:
    features, labels = numbers(8, 3, seed=seed).requires_grad_(), torch.arange(4).repeat_interleave(2)
    assert torch.autograd.gradcheck(lambda f: triplet_loss(f, labels, 0.3), (features,))


def test_duplicate_images_give_a_finite_gradient() -> None:
    features = numbers(2, 3).repeat(3, 1).requires_grad_()
    loss = triplet_loss(features, torch.tensor([0, 0, 0, 1, 1, 1]), 0.3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(features.grad).all()


def test_one_image_of_each_identity_is_refused_with_the_reason() -> None:
    message = message_of(lambda: triplet_loss(numbers(4, 3), torch.tensor([5, 6, 7, 8]), 0.3))
    assert "no image has a positive" in message
    assert "K ≥ 2" in message
    assert "--literal" in message


def test_a_single_identity_is_refused_with_the_reason() -> None:
    message = message_of(lambda: triplet_loss(numbers(4, 3), torch.tensor([5, 5, 5, 5]), 0.3))
    assert "no image has a negative" in message
    assert "P ≥ 2" in message
    assert "--literal" not in message  # the one-image mode is no way out of this


def test_one_pair_and_one_other_image_are_enough() -> None:
    check_triplets(torch.tensor([4, 9, 4]))
    assert triplet_loss(numbers(3, 2), torch.tensor([4, 9, 4]), 5.0).item() > 0


@pytest.mark.parametrize("labels", [[5, 6, 7, 8], [5, 5, 5, 5], [5]])
def test_the_literal_mode_is_exactly_zero_with_gradient_zero(labels: list[int]) -> None:
    features = numbers(len(labels), 3).requires_grad_()
    loss = triplet_loss(features, torch.tensor(labels), 0.3, literal=True)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_the_literal_mode_changes_nothing_where_triplets_exist() -> None:
    features, labels = numbers(8, 3), torch.arange(4).repeat_interleave(2)
    assert torch.equal(triplet_loss(features, labels, 0.3, literal=True), triplet_loss(features, labels, 0.3))


# Eq. 9


@pytest.mark.parametrize("balance", [0.0, 0.25, 0.5, 1.0])
def test_eq_9_weighs_the_two(balance: float) -> None:
    f, h, labels = numbers(6, 4), numbers(6, 3, seed=1), torch.tensor([0, 0, 1, 1, 2, 2])
    expected = balance * softmax_loss(h, labels).item() + (1 - balance) * triplet_by_brute_force(f, labels, 0.3)
    assert retrieval_loss(f, h, labels, margin=0.3, balance=balance).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("balance", "features_learn"), [(0.0, True), (1.0, False)])
def test_at_the_ends_of_balanceone_of_the_two_learns(balance: float, features_learn: bool) -> None:
    """The triplet loss is on f, not on the logits."""
    f, h = numbers(6, 4).requires_grad_(), numbers(6, 3, seed=1).requires_grad_()
    retrieval_loss(f, h, torch.tensor([0, 0, 1, 1, 2, 2]), margin=2.0, balance=balance).backward()
    assert bool((f.grad != 0).any()) is features_learn
    assert bool((h.grad != 0).any()) is not features_learn


def test_eq_9_passes_the_literal_mode_on() -> None:
    f, h, labels = numbers(3, 4), numbers(3, 3, seed=1), torch.tensor([0, 1, 2])
    found = retrieval_loss(f, h, labels, margin=0.3, balance=0.5, literal=True)
    assert found.item() == pytest.approx(0.5 * softmax_loss(h, labels).item(), rel=1e-14)
    message_of(lambda: retrieval_loss(f, h, labels, margin=0.3, balance=0.5))


# Contrast with class centres


def unit(vector: list[float]) -> list[float]:
    return [value / math.hypot(*vector) for value in vector]


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(unit(one), unit(other), strict=True))


def centres_by_hand(features: Tensor, labels: Tensor, classes: int) -> list[list[float]]:
    """The mean of the unit features of each class, made a unit vector; zeros without an image."""
    centres = []
    for c in range(classes):
        members = [unit(f) for f, label in zip(features.tolist(), labels.tolist(), strict=True) if label == c]
        mean = [sum(values) / len(members) for values in zip(*members, strict=True)]
        centres.append(unit(mean) if members else [0.0] * features.shape[1])
    return centres


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_memory_loss_is_the_cross_entropy_of_cosines(temperature: float) -> None:
    features, labels = 10 * numbers(6, 4), torch.tensor([0, 2, 2, 4, 1, 0])
    centres = class_centres(numbers(12, 4, seed=1), torch.arange(12) % 5, 5)
    terms = []
    for f, label in zip(features.tolist(), labels.tolist(), strict=True):
        logits = [cosine(f, centre) / temperature for centre in centres.tolist()]
        terms.append(math.log(sum(math.exp(value) for value in logits)) - logits[label])
    found = memory_loss(features, labels, centres, temperature)
    assert found.item() == pytest.approx(sum(terms) / 6, rel=1e-12)
    assert memory_loss(0.01 * features, labels, centres, temperature).item() == pytest.approx(found.item(), rel=1e-12)


def test_a_class_centre_is_the_normalised_mean_of_unit_features() -> None:
    features, labels = numbers(9, 4), torch.tensor([3, 0, 0, 3, 1, 1, 1, 3, 0])
    expected = torch.tensor(centres_by_hand(features, labels, 5), dtype=torch.float64)
    torch.testing.assert_close(class_centres(features, labels, 5), expected, rtol=1e-13, atol=1e-15)
    assert not expected[2].any()  # nobody there


def test_centres_move_in_place_towards_those_of_the_batch_and_others_stay() -> None:
    centres = class_centres(numbers(12, 4, seed=1), torch.arange(12) % 5, 5)
    before, place = centres.clone(), centres.data_ptr()
    features, labels = numbers(6, 4), torch.tensor([0, 2, 2, 4, 2, 0])
    move_centres(centres, class_centres(features, labels, 5))
    for c, (old, new) in enumerate(zip(before.tolist(), centres_by_hand(features, labels, 5), strict=True)):
        sums = [MEMORY_MOMENTUM * a + (1 - MEMORY_MOMENTUM) * b for a, b in zip(old, new, strict=True)]
        assert centres[c].tolist() == pytest.approx(unit(sums), rel=1e-12)
    assert torch.equal(centres[[1, 3]], before[[1, 3]])
    assert centres.data_ptr() == place


def test_the_gradient_of_the_memory_loss_is_that_of_finite_differences_and_spares_the_centres() -> None:
    features, labels = numbers(6, 3).requires_grad_(), torch.tensor([0, 1, 1, 3, 2, 0])
    centres = class_centres(numbers(8, 3, seed=1), torch.arange(8) % 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: memory_loss(f, labels, centres.detach(), 0.5), (features,))
    memory_loss(features, labels, centres, 0.5).backward()
    assert centres.grad is None


# Distance between domains


def mmd_by_hand(one: Tensor, other: Tensor) -> float:
    x, y = one.tolist(), other.tolist()
    points = x + y
    pairs = [(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j]
    mean = sum(math.dist(a, b) ** 2 for a, b in pairs) / len(pairs)

    def kernel(a: list[float], b: list[float]) -> float:
        values = [math.exp(-(math.dist(a, b) ** 2) / (mean * 2.0**power)) for power in (-2, -1, 0, 1, 2)]
        return sum(values) / 5

    def average(these: list[list[float]], those: list[list[float]]) -> float:
        return sum(kernel(a, b) for a in these for b in those) / (len(these) * len(those))

    return average(x, x) + average(y, y) - 2 * average(x, y)


@pytest.mark.parametrize(("m", "n"), [(6, 6), (5, 8), (1, 4)])
def test_mmd_is_the_v_statistic_of_five_gaussian_kernels(m: int, n: int) -> None:
    one, other = numbers(m, 3), numbers(n, 3, seed=1) + 0.5
    assert len(BANDWIDTHS) == 5
    assert mmd(one, other).item() == pytest.approx(mmd_by_hand(one, other), rel=1e-11)


def test_mmd_is_zero_for_equal_sets_and_grows_with_a_shift() -> None:
    features = numbers(16, 4)
    assert mmd(features, features.flip(0)).item() == pytest.approx(0, abs=1e-14)
    found = [mmd(features, numbers(16, 4, seed=1) + shift).item() for shift in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found)
    assert 0 < found[0] < 0.1 < found[-1] < 2


def test_mmd_does_not_care_how_large_features_are() -> None:
    one, other = numbers(6, 3).requires_grad_(), (numbers(6, 3, seed=1) + 1).requires_grad_()
    loss = mmd(one, other)
    assert mmd(1e-3 * one, 1e-3 * other).item() == pytest.approx(loss.item(), rel=1e-9)
    loss.backward()
    slope = (one.grad * one).sum() + (other.grad * other).sum()  # along a common scale
    assert abs(slope.item()) < 1e-14


def test_the_gradient_of_mmd_is_that_of_finite_differences() -> None:
    one, other = numbers(4, 3).requires_grad_(), numbers(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(mmd, (one, other))


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_features_that_are_all_equal_have_no_distance_and_a_finite_gradient(value: float) -> None:
    one, other = torch.full((3, 2), value, requires_grad=True), torch.full((4, 2), value)
    loss = mmd(one, other)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(one.grad).all()


# β-DARTS


def test_beta_darts_regulariser_and_its_gradient_in_closed_form() -> None:
    alphas = [numbers(5, 7).requires_grad_(), numbers(5, 7, seed=1).requires_grad_()]
    loss = beta_regulariser(alphas)
    rows = [row for matrix in alphas for row in matrix.tolist()]
    assert loss.item() == pytest.approx(sum(math.log(sum(map(math.exp, row))) for row in rows) / 10, rel=1e-13)
    loss.backward()
    for matrix in alphas:
        torch.testing.assert_close(matrix.grad, torch.softmax(matrix.detach(), dim=1) / 10, rtol=1e-12, atol=0)
