"""The networks of SPGAN (Deng et al. 2018): two generators, two discriminators and the Siamese net.

Their images are (B, 3, H, W) in [−1, 1]; `to_range` and `to_bytes` convert from and to uint8. Height and width must be
multiples of 4, because the generator halves and doubles them twice, and at least 8, because of reflection padding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasda.devices import seeded
from nasda.errors import NasdaError

SMALLEST = 8  # pixels of a side
_LEAK = 0.2  # slope of LeakyReLU below 0
_STAGES = 3  # strided layers of the discriminator, and of the Siamese net, if the image is large enough


def to_range(images: Tensor) -> Tensor:
    """uint8 `images` as float32 in [−1, 1]."""
    return images.float().div(127.5).sub(1)


def to_bytes(images: Tensor) -> Tensor:
    """Images in [−1, 1] as uint8, rounded."""
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def check_size(height: int, width: int) -> None:
    """Raise `NasdaError` if a generator cannot halve images of `height` × `width` pixels twice."""
    for option, side in (("--height", height), ("--width", width)):
        if side < SMALLEST or side % 4:
            raise NasdaError(
                f"{option} is {side}: translation halves images twice: expected a multiple of 4 from {SMALLEST}"
            )


class Residual(nn.Module):
    """x + h(x), where h is two 3×3 convolutions that keep the shape (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        def reflected() -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=False), nn.InstanceNorm2d(channels)]

        super().__init__()
        self.layers = nn.Sequential(*reflected(), nn.ReLU(), *reflected())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Sequential):
    """Images of one domain in the style of the other: (B, 3, H, W) → (B, 3, H, W), both in [−1, 1].

    CycleGAN's (Zhu et al. 2017, §7.2; Johnson et al. 2016): 7×7 with `channels`, two convolutions of stride 2 that
    double them, residual `blocks`, two transposed convolutions back, 7×7, tanh. Instance normalisation takes each image
    alone, so that an image's translation does not depend on its batch.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        def normalised(layer: nn.Module, width: int) -> list[nn.Module]:
            return [layer, nn.InstanceNorm2d(width), nn.ReLU()]  # the norm removes any bias, so layers have none

        c = channels
        super().__init__(
            nn.ReflectionPad2d(3),
            *normalised(nn.Conv2d(3, c, 7, bias=False), c),
            *normalised(nn.Conv2d(c, 2 * c, 3, 2, 1, bias=False), 2 * c),
            *normalised(nn.Conv2d(2 * c, 4 * c, 3, 2, 1, bias=False), 4 * c),
            *(Residual(4 * c) for _ in range(blocks)),
            *normalised(nn.ConvTranspose2d(4 * c, 2 * c, 3, 2, 1, output_padding=1, bias=False), 2 * c),
            *normalised(nn.ConvTranspose2d(2 * c, c, 3, 2, 1, output_padding=1, bias=False), c),
            nn.ReflectionPad2d(3),
            nn.Conv2d(c, 3, 7),
            nn.Tanh(),
        )
        self.apply(_initialise)


class Discriminator(nn.Sequential):
    """How real each patch of an image looks: (B, 3, H, W) → (B, 1, h, w), near 1 for real, near 0 for translated ones.

    PatchGAN (Isola et al. 2017, §3.2.2): 4×4 convolutions with 1, 2, 4 and 8 times `channels`, the first three with
    stride 2. If `shorter_side` is below 24 pixels there are only so many of the three that a score is left.
    """

    def __init__(self, channels: int, shorter_side: int) -> None:
        stages = sum(shorter_side >= 3 * 2**n for n in range(1, _STAGES + 1))
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(_LEAK)]
        for stage in range(1, stages + 1):
            width, stride = channels * 2**stage, 2 if stage < stages else 1
            conv = nn.Conv2d(width // 2, width, 4, stride, 1, bias=False)
            layers += [conv, nn.InstanceNorm2d(width), nn.LeakyReLU(_LEAK)]
        super().__init__(*layers, nn.Conv2d(width, 1, 4, 1, 1))
        self.apply(_initialise)


class SiameseNet(nn.Module):
    """Embeddings of images, as unit vectors to compare by Euclidean distance: (B, 3, H, W) → (B, channels).

    Three stages of 4×4 convolution with stride 2, LeakyReLU and max-pooling, with 1, 2 and 4 times `channels`, then two
    linear layers with dropout between them. A stage divides both sides by 4: if one is below 64 pixels there are only
    so many stages that a pixel is left.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, outputs = 3, channels
        for _ in range(_STAGES):
            if min(height, width) < 4:
                break
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(_LEAK), nn.MaxPool2d(2)]
            height, width, inputs, outputs = height // 4, width // 4, outputs, 2 * outputs
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(inputs * height * width, 2 * channels),
            nn.LeakyReLU(_LEAK),
            nn.Dropout(0.5),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.layers(images))


def _initialise(module: nn.Module) -> None:
    """Weights from a normal distribution of standard deviation 0.02, as in CycleGAN."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Translators(nn.Module):
    """All five networks. In the paper `to_target` is G, `to_source` F, `is_target` D_T, `is_source` D_S.

    channels: of the first layer of each; 64 in the paper. blocks: residual blocks of a generator; 9 in the paper.
    height, width: of the images, in pixels. Raises `NasdaError` like `check_size`.
    """

    def __init__(self, channels: int, blocks: int, height: int, width: int, *, seed: int) -> None:
        check_size(height, width)
        super().__init__()
        with seeded(seed):
            self.to_target, self.to_source = Generator(channels, blocks), Generator(channels, blocks)
            self.is_target, self.is_source = (Discriminator(channels, min(height, width)) for _ in range(2))
            self.siamese = SiameseNet(channels, height, width)
