"""Batches: whose images they hold, how those were prepared, and that a row of batches goes on where it stopped."""

import pytest
import torch

from nasda.data.batches import Batches
from nasda.data.domain import Sample
from nasda.data.images import decode, normalize
from nasda.errors import NasdaError
from tests.tasks import DATA, make_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Identities 11, 13 and 15, six images each: labels have to be made of them."""
    return make_split(tmp_path_factory.mktemp("batches") / "images", range(11, 17, 2), range(1, 3), 3, 1.0)


def batches(samples: list[Sample], *, augmented: bool = False, identities: int = 2, fewer: bool = False) -> Batches:
    return Batches(samples, DATA, identities, 2, seed=3, device=CPU, augmented=augmented, fewer_identities=fewer)


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


def test_a_row_of_batches_goes_on_where_it_stopped(samples: list[Sample]) -> None:
    first = batches(samples, augmented=True)
    first.next()
    state = first.state_dict()
    expected = [first.next() for _ in range(3)]
    again = batches(samples, augmented=True)
    again.load_state_dict(state)
    for images, labels in expected:
        found = again.next()
        assert torch.equal(found[0], images)
        assert torch.equal(found[1], labels)


def test_more_identities_than_there_are_is_an_error_unless_fewer_will_do(samples: list[Sample]) -> None:
    with pytest.raises(NasdaError, match="3"):
        batches(samples, identities=5)
    assert batches(samples, identities=5, fewer=True).batch_size == 6
