"""A bilevel step: cells in the clear form against the fast one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nasda.bilevel import Bilevel
from nasda.genotypes import Space
from nasda.losses import retrieval_loss, triplet_loss
from nasda.networks import Supernet
from nasda.profiles import Form, Order, SpaceSettings

IDENTITIES = 4


def make_step(form: Form, order: Order, settings: SpaceSettings, height: int, width: int, batch: int) -> Callable:
    """A function that takes a bilevel step on the same images each time, and returns α after it."""
    network = Supernet(settings, 100, seed=0, form=form)
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(2, batch, 3, height, width, generator=generator)
    if form == "fast":  # as `Batches` hands them out; the clear form is faster without
        source, target = (images.contiguous(memory_format=torch.channels_last) for images in (source, target))
    labels = torch.arange(batch) * IDENTITIES // batch
    bilevel = Bilevel(
        network,
        torch.optim.SGD(network.weight_parameters(), 0.01, momentum=0.9, weight_decay=5e-4),
        torch.optim.Adam(network.architecture_parameters(), 0.005),
        order=order,
    )

    def step() -> dict[str, Tensor]:
        bilevel.step(
            lambda: retrieval_loss(*network(source), labels, margin=0.3, balance=0.5),
            lambda: triplet_loss(network.features(target), labels, 0.3),
        )
        return {kind: alphas.detach().clone() for kind, alphas in network.alphas.items()}

    return step


@pytest.mark.parametrize(
    ("space", "order", "stem_stride", "at_least"),
    [
        ("plain", "first", 1, 3.2),
        ("reid", "first", 1, 3.2),
        ("plain", "second", 1, 2.5),
        ("reid", "second", 1, 2.5),
        ("plain", "first", 2, 2.5),  # small maps, as in the laptop profile: here it is the calls that take time
        ("reid", "first", 2, 2.5),
    ],
)
def test_bilevel_step(
    race: Callable, full: bool, space: Space, order: Order, stem_stride: int, at_least: float
) -> None:
    """C 16, 8 cells, 64×32, batch 16, one thread."""
    if full:
        settings = SpaceSettings(space=space, channels=16, stem_stride=stem_stride, embedding=128, dropout=0)
        size = 64, 32, 16
    else:
        settings = SpaceSettings(
            space=space, channels=4, nodes=2, cells_per_block=1, stem_stride=1, embedding=8, dropout=0
        )
        size = 32, 16, 8
    clear, fast = (make_step(form, order, settings, *size) for form in ("clear", "fast"))
    clear_alphas, fast_alphas = race(clear, fast, at_least=at_least)
    for kind, alphas in clear_alphas.items():
        torch.testing.assert_close(fast_alphas[kind], alphas, rtol=0, atol=1e-3)
