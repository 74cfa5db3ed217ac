"""Descent in a simplex against autograd; corners of a supernet against the networks they stand for."""

import numpy as np
import pytest
import torch

from nasda.course.nb02_softmax_relaxation import (
    between,
    corner,
    descend,
    inherited,
    kept_edges,
    losses,
    node_picture,
    set_weights,
    simplex_picture,
)
from nasda.genotypes import CELL_KINDS, PRIMITIVES, random_genotype, softmax
from nasda.networks import Supernet
from nasda.pictures.plots import to_png
from nasda.settings import SpaceSettings

SPACE = SpaceSettings(channels=4, nodes=3, cells_per_block=1, stem_stride=2, embedding=8, dropout=0.0)


def test_descent_is_autograds() -> None:
    rng = np.random.default_rng(0)
    outputs, target, starts = rng.normal(size=(3, 2)), rng.normal(size=2), rng.normal(size=(4, 3))
    found = descend(outputs, target, starts, 20, rate=0.3)
    alphas = torch.tensor(starts, requires_grad=True)
    for step in range(21):
        weights = alphas.softmax(dim=1)
        np.testing.assert_allclose(found[step], weights.detach().numpy(), atol=1e-12)
        loss = 0.5 * (weights @ torch.tensor(outputs) - torch.tensor(target)).square().sum()
        with torch.no_grad():
            alphas -= 0.3 * torch.autograd.grad(loss, alphas)[0]
    assert losses(found[-1], outputs, target).sum() < losses(found[0], outputs, target).sum()


def test_pictures_can_be_drawn_and_say_what_is_derived() -> None:
    names = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")
    alphas = np.array([[9.0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 3]])
    assert kept_edges(alphas, names) == ([1, 2], ["sep_conv_3x3", "max_pool_3x3", "sep_conv_3x3"])
    figure, words = node_picture(alphas, names, torch.randn(3, 4, 6, 3), np.zeros((12, 6, 3)))
    assert "max pool 3×3(cₖ₋₁) + sep conv 3×3(node 0)" in words
    assert to_png(figure)
    outputs, target = [[0, 0], [1, 0], [0, 1]], [0.2, 0.2]
    assert to_png(simplex_picture(outputs, target, descend(outputs, target, np.eye(3), 5), "abc"))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", ["clear", "fast"])
def test_a_corner_of_the_supernet_is_the_derived_network(form: str, training: bool) -> None:
    primitives, genotype = PRIMITIVES["reid"], random_genotype(3, PRIMITIVES["reid"], seed=1)
    network = Supernet(SPACE, 5, seed=0, form=form).train()  # type: ignore[arg-type]
    images = torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    network(images)  # the running statistics are no longer those of the beginning
    set_weights(network, corner(genotype, primitives))
    derived = inherited(network, genotype, SPACE).train(training)
    with torch.no_grad():
        expected, found = network.train(training)(images), derived(images)
    torch.testing.assert_close(found.features, expected.features, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-3, atol=1e-4)


def test_weights_come_back_out_of_a_supernet() -> None:
    rng = np.random.default_rng(0)
    start = {kind: softmax(rng.normal(size=(9, 7))) for kind in CELL_KINDS}
    end = corner(random_genotype(3, PRIMITIVES["reid"], seed=0), PRIMITIVES["reid"])
    network = Supernet(SPACE, 5, seed=0)
    for share in (0.0, 0.5, 1.0):
        set_weights(network, between(start, end, share))
        for kind in CELL_KINDS:
            expected = (1 - share) * start[kind] + share * end[kind]
            np.testing.assert_allclose(softmax(network.alpha_values()[kind]), expected, atol=1e-6)
