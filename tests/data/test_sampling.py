"""`nasda.data.sampling`: P identities, K images each, every identity as often as any other, resumable bit for bit."""

import io
from collections import Counter

import pytest
import torch

from nasda.data.sampling import ClassBalancedSampler, sample_batch
from nasda.errors import NasdaError


def labels_of(counts: list[int], seed: int = 0) -> list[int]:
    """Image labels in random order, `counts[i]` of identity 10 + 3·i."""
    labels = torch.repeat_interleave(10 + 3 * torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))].tolist()


@pytest.mark.parametrize(("total", "p", "k"), [(7, 3, 4), (10, 4, 2), (5, 5, 3), (8, 4, 1), (9, 1, 2)])
def test_batches_hold_p_identities_with_k_images_in_order(total: int, p: int, k: int) -> None:
    labels = labels_of([6] * total)
    sampler = ClassBalancedSampler(labels, p, k, seed=0)
    for _ in range(50):
        drawn = sampler.next_batch()
        assert drawn.dtype == torch.int64
        assert len(set(drawn.tolist())) == p * k == len(drawn)
        groups = [{labels[index] for index in group} for group in drawn.view(p, k).tolist()]
        assert all(len(group) == 1 for group in groups)
        assert len(set.union(*groups)) == p


@pytest.mark.parametrize(("total", "p"), [(7, 3), (10, 4), (16, 16), (11, 10), (13, 2)])
def test_no_identity_is_drawn_twice_before_all_were_drawn(total: int, p: int) -> None:
    labels = labels_of([3] * total)
    sampler = ClassBalancedSampler(labels, p, 2, seed=1)
    seen: Counter[int] = Counter(dict.fromkeys(labels, 0))
    for _ in range(200):
        seen.update(labels[index] for index in sampler.next_batch()[::2].tolist())
        assert max(seen.values()) - min(seen.values()) <= 1


def test_images_of_an_identity_are_drawn_uniformly() -> None:
    labels = labels_of([8, 8, 8])
    sampler = ClassBalancedSampler(labels, 3, 2, seed=2)
    counts = torch.bincount(torch.cat([sampler.next_batch() for _ in range(4_000)]), minlength=24).float()
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 51  # below 99.9 % of χ² with 24 degrees of freedom


def test_pairs_of_identities_meet_equally_often() -> None:
    labels = labels_of([1] * 6)
    sampler = ClassBalancedSampler(labels, 3, 1, seed=3)
    pairs: Counter[tuple[int, int]] = Counter()
    for _ in range(6_000):
        a, b, c = sorted(sampler.next_batch().tolist())
        pairs.update([(a, b), (a, c), (b, c)])
    assert len(pairs) == 15
    assert all(abs(count - 1_200) < 150 for count in pairs.values())


def test_an_identity_with_few_images_gives_all_of_them() -> None:
    labels = labels_of([2, 6, 1, 4])
    sampler = ClassBalancedSampler(labels, 4, 4, seed=0)
    assert sampler.notice is not None
    assert sampler.notice.startswith("2 of 4 identities")
    for _ in range(20):
        for group in sampler.next_batch().view(4, 4).tolist():
            assert len({labels[index] for index in group}) == 1
            assert len(set(group)) == min(4, labels.count(labels[group[0]]))
    assert ClassBalancedSampler(labels_of([4] * 4), 4, 4, seed=0).notice is None


@pytest.mark.parametrize("batches_before", [0, 1, 2, 5])
def test_a_resumed_run_draws_the_same_batches(batches_before: int) -> None:
    labels = labels_of([2, 6, 1, 4, 4, 9, 3])
    sampler = ClassBalancedSampler(labels, 3, 4, seed=5)
    for _ in range(batches_before):
        sampler.next_batch()
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    expected = [sampler.next_batch() for _ in range(10)]

    file.seek(0)
    resumed = ClassBalancedSampler(labels, 3, 4, seed=77)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(resumed.next_batch(), batch) for batch in expected)


def test_a_state_is_a_snapshot() -> None:
    sampler = ClassBalancedSampler(labels_of([4] * 5), 3, 2, seed=5)
    sampler.next_batch()
    state = sampler.state_dict()
    first = [sampler.next_batch() for _ in range(4)]
    sampler.load_state_dict(state)
    assert all(torch.equal(sampler.next_batch(), batch) for batch in first)


def test_a_state_of_other_batches_is_refused() -> None:
    state = ClassBalancedSampler(labels_of([4] * 5), 3, 2, seed=5).state_dict()
    with pytest.raises(NasdaError, match=r"20 images, 5 identities, batches of 3 × 2, this run has .* 3 × 4") as caught:
        ClassBalancedSampler(labels_of([4] * 5), 3, 4, seed=5).load_state_dict(state)
    assert "\n" not in str(caught.value)


def test_seeds_differ_and_the_global_generator_is_left_alone() -> None:
    labels, state = labels_of([4] * 9), torch.get_rng_state()
    first, same, other = (ClassBalancedSampler(labels, 4, 2, seed) for seed in (0, 0, 1))
    batches = [torch.stack(list(sampler)) for sampler in (first, same, other)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_has_as_many_batches_as_the_images_fill() -> None:
    assert len(list(ClassBalancedSampler(labels_of([5] * 5), 3, 2, seed=0))) == 4
    small = ClassBalancedSampler(labels_of([1, 1, 1]), 3, 4, seed=0)
    assert len(small) == small.batches_per_epoch == 1


def test_too_few_identities_say_what_to_do() -> None:
    with pytest.raises(NasdaError, match=r"3 identities found, but a batch takes 4: .*at most 3") as caught:
        ClassBalancedSampler(labels_of([5] * 3), 4, 2, seed=0)
    assert "\n" not in str(caught.value)


def test_no_images_at_all() -> None:
    with pytest.raises(NasdaError, match="no identities found"):
        ClassBalancedSampler([], 4, 2, seed=0)


@pytest.mark.parametrize(("p", "k"), [(0, 4), (4, 0), (-1, 2)])
def test_sizes_below_one_are_refused(p: int, k: int) -> None:
    with pytest.raises(NasdaError, match="1 or more"):
        ClassBalancedSampler(labels_of([5] * 5), p, k, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_one_batch_by_itself_is_a_sampler_s_first(seed: int) -> None:
    labels = torch.tensor([7, 1501, 7, 2, 2, 2, 1501, 7, 4])
    generator = torch.Generator().manual_seed(seed)
    batch = sample_batch(labels, 3, 3, generator)
    assert torch.equal(batch, ClassBalancedSampler(labels, 3, 3, seed).next_batch())
    assert not torch.equal(batch, sample_batch(labels, 3, 3, generator))


def test_one_batch_takes_no_more_identities_than_there_are() -> None:
    with pytest.raises(NasdaError, match="3 identities found, but a batch takes 4"):
        sample_batch(torch.tensor([1, 2, 2, 3]), 4, 1, torch.Generator())
