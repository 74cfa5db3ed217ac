"""SPGAN's networks: what comes out has the shape, range and length it should, at any size that can be halved twice."""

import pytest
import torch
from torch import nn

from nasda.errors import NasdaError
from nasda.spgan.networks import Discriminator, Generator, SiameseNet, Translators, check_size, to_bytes, to_range

SIZES = [(8, 8), (12, 8), (20, 12), (28, 36), (64, 32), (24, 24), (68, 64)]


def images(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def networks(height: int = 20, width: int = 12, seed: int = 0) -> Translators:
    return Translators(4, 2, height, width, seed=seed)


def test_bytes_come_back_from_their_range_as_they_were() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    scaled = to_range(every)
    assert (scaled.min(), scaled.max()) == (-1, 1)
    torch.testing.assert_close(scaled, (every / 255 - 0.5) / 0.5)
    assert torch.equal(to_bytes(scaled), every)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_network_takes_every_multiple_of_four(height: int, width: int) -> None:
    made, x = networks(height, width), images(height, width)
    translated = made.to_target(x)
    assert translated.shape == x.shape
    assert translated.abs().max() <= 1
    scores = made.is_target(x)
    assert scores.shape[:2] == (2, 1)
    assert min(scores.shape[2:]) >= 1
    embeddings = made.siamese(x)
    assert embeddings.shape == (2, 4)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_the_papers_sizes_are_the_papers_networks() -> None:
    with torch.device("meta"):
        generator, discriminator, siamese = Generator(64, 9), Discriminator(64, 128), SiameseNet(64, 256, 128)

    def convolutions(network: nn.Module) -> list[tuple[int, int, int]]:
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        found = [module for module in network.modules() if isinstance(module, kinds)]
        return [(layer.out_channels, layer.kernel_size[0], layer.stride[0]) for layer in found]

    assert convolutions(generator) == [
        (64, 7, 1), (128, 3, 2), (256, 3, 2), *[(256, 3, 1)] * 18, (128, 3, 2), (64, 3, 2), (3, 7, 1),
    ]  # fmt: skip
    assert convolutions(discriminator) == [(64, 4, 2), (128, 4, 2), (256, 4, 2), (512, 4, 1), (1, 4, 1)]
    assert convolutions(siamese) == [(64, 4, 2), (128, 4, 2), (256, 4, 2)]
    linear = [module for module in siamese.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(256 * 4 * 2, 128), (128, 64)]


@pytest.mark.parametrize(("shorter_side", "strided"), [(8, 1), (12, 2), (20, 2), (24, 3), (128, 3)])
def test_a_small_image_meets_fewer_strided_layers(shorter_side: int, strided: int) -> None:
    layers = [layer for layer in Discriminator(2, shorter_side) if isinstance(layer, nn.Conv2d)]
    assert [layer.stride[0] for layer in layers] == [2] * strided + [1, 1]


@pytest.mark.parametrize(("shorter_side", "stages"), [(8, 1), (12, 1), (16, 2), (32, 2), (60, 2), (64, 3), (128, 3)])
def test_a_small_image_meets_fewer_siamese_stages(shorter_side: int, stages: int) -> None:
    layers = SiameseNet(2, 2 * shorter_side, shorter_side).layers
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in layers) == stages


def test_an_images_translation_does_not_depend_on_its_batch() -> None:
    generator, x = networks().to_target.double(), images(20, 12, 3).double()
    torch.testing.assert_close(generator(x)[1:2], generator(x[1:2]))


def test_the_seed_decides_and_nothing_else(global_rng_untouched: None) -> None:
    first, again, other = networks(seed=3), networks(seed=3), networks(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    x = images(20, 12)
    assert torch.equal(first.to_target(x), again.to_target(x))
    assert not torch.equal(first.to_target(x), other.to_target(x))
    assert not torch.equal(first.to_target(x), first.to_source(x))  # two generators, not one


@pytest.mark.parametrize(
    ("height", "width", "said"), [(30, 16, "--height is 30"), (32, 18, "--width is 18"), (4, 8, "--height is 4")]
)
def test_a_size_that_cannot_be_halved_twice_is_named(height: int, width: int, said: str) -> None:
    with pytest.raises(NasdaError, match=f"^{said}: .* expected a multiple of 4"):
        check_size(height, width)
    with pytest.raises(NasdaError, match=said):
        networks(height, width)
