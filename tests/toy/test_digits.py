"""nasda.toy.digits: printed and handwritten digits, samples and batches of them."""

import torch

from nasda.toy import digits
from nasda.toy.digits import Digits


def test_printed_digits_are_counts_of_ink_of_every_class() -> None:
    made = digits.printed(60, 3)
    assert made.images.shape == (60, 3, 8, 8)
    assert torch.equal(made.images, made.images[:, :1].expand(-1, 3, -1, -1))
    assert torch.bincount(made.labels).tolist() == [6] * 10
    assert torch.equal(made.images * 16, (made.images * 16).round())  # blocks of 16 pixels, as in optdigits
    assert made.images.amin() == 0
    assert made.images.amax() == 1
    assert torch.equal(digits.printed(60, 3).images, made.images)
    assert not torch.equal(digits.printed(60, 4).images, made.images)


def test_handwriting_is_tested_on_rows_that_nothing_learns_from() -> None:
    world = digits.world(source=20)
    everything = digits.handwritten()
    assert len(everything) == len(world.target + world.target_test) == 1797
    assert torch.equal((world.target + world.target_test).images, everything.images)


def test_a_sample_has_as_many_of_every_digit() -> None:
    assert torch.bincount(digits.sample(digits.handwritten(), 7, 0).labels).tolist() == [7] * 10


def test_batches_are_whole_and_go_through_every_image() -> None:
    drawn = digits.batches(Digits(torch.arange(10.0).reshape(10, 1, 1, 1), torch.arange(10)), 5, 0)
    assert sorted(torch.cat([next(drawn).labels, next(drawn).labels]).tolist()) == list(range(10))
