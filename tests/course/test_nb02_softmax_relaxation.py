"""The pictures of notebook 02, and what its judges say of forms that a student may choose."""

import numpy as np
import torch

from nasda.course.check import check, mine
from nasda.course.nb02_softmax_relaxation import alpha_gradient, kept_edges, node_picture, simplex_picture, weights_at
from nasda.genotypes import softmax
from nasda.pictures.plots import to_png

NAMES = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")


def test_a_node_says_what_is_derived() -> None:
    weights = softmax([[9.0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 3]])
    assert kept_edges(weights, NAMES) == ([1, 2], ["sep_conv_3x3", "max_pool_3x3", "sep_conv_3x3"])
    figure, words = node_picture(weights, NAMES, torch.randn(3, 4, 6, 3), np.zeros((12, 6, 3)))
    assert "max pool 3×3(cₖ₋₁) + sep conv 3×3(node 0)" in words
    assert "max pool" in figure.alt
    assert to_png(figure)


def test_searches_in_a_triangle_are_drawn_and_counted() -> None:
    outputs, target = [[0, 0], [1, 0], [0, 1]], [0.2, 0.2]
    path = np.stack([softmax(np.eye(3)), [[3.0, 1, 1], [0.2, 0.5, 0.1], [0.1, 0.9, 0.2]]])  # weights need not sum to 1
    figure = simplex_picture(outputs, target, path, "abc")
    assert "1 end with a the strongest, 2 end with b the strongest, 0 end with c" in figure.alt
    assert "Best alone: a" in figure.alt
    assert to_png(figure)


def test_the_gradient_is_autograds() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, upstream = torch.randn(5, 3, generator=generator), torch.randn(3, generator=generator)
    alphas = torch.randn(5, generator=generator, requires_grad=True)
    (torch.softmax(alphas, 0) @ outputs @ upstream).backward()
    torch.testing.assert_close(alpha_gradient(alphas.detach(), outputs, upstream), alphas.grad)


def test_the_limit_of_a_cold_softmax() -> None:
    np.testing.assert_allclose(weights_at([2, 0, 2, 1], 1e-3), weights_at([2, 0, 2, 1], 0), atol=1e-12)


def test_nothing_of_another_kind_is_taken_for_an_answer() -> None:
    for name in ("02.1", "02.4", "02.5"):
        assert "expected a" in check(name, 3).words
    assert check("02.1", mine("02.1")).outcome == "right"
