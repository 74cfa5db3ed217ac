"""A bilevel step: cells in the clear form against the fast one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nasda.bilevel import Bilevel
from nasda.genotypes import Space
from nasda.losses import retrieval_loss, triplet_loss
from nasda.networks import Supernet
from nasda.settings import AlphaStatistics, Form, Order, SpaceSettings

IDENTITIES = 4


def make_step(
    form: Form,
    order: Order,
    statistics: AlphaStatistics,
    settings: SpaceSettings,
    height: int,
    width: int,
    batch: int,
    dtype: torch.dtype,
) -> Callable[[], Tensor]:
    """A function that takes a bilevel step on the same images each time, and returns its two losses and α after it."""
    network = Supernet(settings, 100, seed=0, form=form).to(dtype)
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(2, batch, 3, height, width, generator=generator).to(dtype)
    if form == "fast":  # as `Batches` hands them out; the clear form is faster without
        source, target = (images.contiguous(memory_format=torch.channels_last) for images in (source, target))
    labels = torch.arange(batch) * IDENTITIES // batch
    bilevel = Bilevel(
        network,
        torch.optim.SGD(network.weight_parameters(), 0.01, momentum=0.9, weight_decay=5e-4),
        torch.optim.Adam(network.architecture_parameters(), 0.005),
        order=order,
    )

    def alpha_loss() -> Tensor:
        network.train(statistics == "batch")
        features = network.features(target)
        network.train()
        return triplet_loss(features, labels, 0.3)

    def step() -> Tensor:
        losses = bilevel.step(
            lambda: retrieval_loss(*network(source), labels, margin=0.3, balance=0.5),
            alpha_loss,
        )
        return torch.cat([torch.stack(losses), *(alphas.detach().flatten() for alphas in network.alphas.values())])

    return step


CASES: dict[str, tuple[Space, Order, int, float, AlphaStatistics]] = {
    "plain, first order": ("plain", "first", 1, 3.2, "batch"),
    "reid, first order": ("reid", "first", 1, 3.2, "batch"),
    "plain, second order": ("plain", "second", 1, 2.5, "batch"),
    "reid, second order": ("reid", "second", 1, 2.5, "batch"),
    # Small maps, as in the laptop profile: there it is the calls that take time.
    "plain, first order, stem stride 2": ("plain", "first", 2, 2.5, "batch"),
    "reid, first order, stem stride 2": ("reid", "first", 2, 2.5, "batch"),
    "style, first order": ("style", "first", 2, 2.5, "batch"),
    "style, first order, the source's statistics": ("style", "first", 2, 2.5, "source"),
}


@pytest.mark.parametrize("case", CASES)
def test_bilevel_step(race: Callable[..., tuple[Tensor, Tensor]], full: bool, case: str) -> None:
    """C 16, 8 cells, 64×32, batch 16, one thread."""
    space, order, stem_stride, at_least, statistics = CASES[case]
    if full:
        settings = SpaceSettings(space=space, channels=16, stem_stride=stem_stride, embedding=128, dropout=0)
        size = 64, 32, 16
    else:
        settings = SpaceSettings(
            space=space, channels=4, nodes=2, cells_per_block=1, stem_stride=1, embedding=8, dropout=0
        )
        size = 32, 16, 8
    dtype = torch.float32 if full else torch.float64
    clear, fast = (make_step(form, order, statistics, settings, *size, dtype) for form in ("clear", "fast"))
    of_clear, of_fast = race(clear, fast, at_least=at_least, rounds=3)
    if full:  # in float32: ω's loss; α's loss comes after a step that magnifies rounding, and Adam's first is a sign
        torch.testing.assert_close(of_fast[0], of_clear[0], rtol=1e-5, atol=0)
    else:
        torch.testing.assert_close(of_fast, of_clear, rtol=1e-9, atol=1e-9)
