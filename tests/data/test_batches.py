"""Batches: whose images they hold, how those were prepared, and that they continue where they stopped."""

import copy
from typing import Any

import pytest
import torch

from nasda.data.batches import Batches
from nasda.data.domain import Sample
from nasda.data.images import decode, normalize
from nasda.errors import NasdaError
from tests.marks import needs_cuda
from tests.tasks import DATA, make_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Identities 11, 13 and 15, six images each: labels have to be made of them."""
    return make_split(tmp_path_factory.mktemp("batches") / "images", range(11, 17, 2), range(1, 3), 3, 1.0)


def batches(samples: list[Sample], identities: int = 2, *, augmented: bool = False, **choices: Any) -> Batches:
    return Batches(samples, DATA, identities, 2, seed=3, augmented=augmented, **{"device": CPU, **choices})


def same(a: tuple[torch.Tensor, torch.Tensor], b: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_holds_k_images_of_p_identities_with_their_labels(samples: list[Sample]) -> None:
    made = batches(samples)
    assert made.classes == 3
    assert len(made) == 18 // 4
    pixels = normalize(decode(samples, DATA.height, DATA.width))
    for _ in range(6):
        images, labels = made.next()
        assert labels.bincount(minlength=3).sort().values.tolist() == [0, 2, 2]
        for image, label in zip(images, labels, strict=True):
            same = [index for index in range(len(samples)) if torch.equal(pixels[index], image)]
            assert [(samples[index].pid - 11) // 2 for index in same] == [label]


def test_augmented_batches_differ_from_the_images_on_disk(samples: list[Sample]) -> None:
    plain, _ = batches(samples).next()
    augmented, _ = batches(samples, augmented=True).next()
    assert augmented.shape == plain.shape
    assert not torch.equal(augmented, plain)


@pytest.mark.parametrize("augmented", [False, True])
def test_batches_are_channels_last(samples: list[Sample], augmented: bool) -> None:
    images, _ = batches(samples, augmented=augmented).next()
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_batches_prepared_ahead_are_the_same_ones(samples: list[Sample]) -> None:
    in_time, ahead = (batches(samples, augmented=True, ahead=ahead) for ahead in (False, True))
    found = [ahead.next() for _ in range(6)]  # all kept: none is overwritten by a later one
    assert all(same(batch, in_time.next()) for batch in found)


@pytest.mark.parametrize("done", [0, 1, 3])
@pytest.mark.parametrize(("before", "after"), [(False, False), (True, True), (True, False), (False, True)])
def test_a_row_of_batches_goes_on_where_it_stopped(samples: list[Sample], done: int, before: bool, after: bool) -> None:
    first = batches(samples, augmented=True, ahead=before)
    for _ in range(done):
        first.next()
    state = copy.deepcopy(first.state_dict())
    expected = [first.next() for _ in range(3)]
    again = batches(samples, augmented=True, ahead=after)
    again.next()  # what it was about to give is forgotten
    again.load_state_dict(state)
    assert all(same(again.next(), batch) for batch in expected)


def test_a_state_stays_what_it_was_while_the_row_goes_on(samples: list[Sample]) -> None:
    made = batches(samples, augmented=True, ahead=True)
    made.next()
    state = made.state_dict()
    expected = made.next()
    made.next()
    made.load_state_dict(state)
    assert same(made.next(), expected)


def test_more_identities_than_there_are_is_an_error_unless_fewer_will_do(samples: list[Sample]) -> None:
    with pytest.raises(NasdaError, match="3"):
        batches(samples, identities=5)
    assert batches(samples, identities=5, fewer_identities=True).batch_size == 6


@needs_cuda
@pytest.mark.parametrize("ahead", [False, True])
def test_cuda_gives_the_same_batches_without_waiting(samples: list[Sample], ahead: bool) -> None:
    expected = batches(samples, augmented=True)
    found = batches(samples, augmented=True, device=torch.device("cuda"), ahead=ahead)
    received = [found.next()]  # the first call allocates
    torch.cuda.set_sync_debug_mode("error")
    try:
        received += [found.next() for _ in range(5)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for images, labels in received:
        expected_images, expected_labels = expected.next()
        torch.testing.assert_close(images.cpu(), expected_images, rtol=0, atol=1e-6)
        assert torch.equal(labels.cpu(), expected_labels)
