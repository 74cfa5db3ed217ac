"""The candidate operations (§2.1, §2.3), among them the part-aware module of Auto-ReID.

Every operation maps (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)), also for odd H and W.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasda.errors import NasdaError
from nasda.fast import operations as fast
from nasda.fast.operations import Fast
from nasda.genotypes import NONE, PART_AWARE, known_operations
from nasda.pictures.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW
from nasda.settings import Norm


class Zero(nn.Module):
    """The zero operation, `none`: an edge that is not there."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class ReLUConvBN(nn.Sequential):
    """ReLU, 1×1 convolution, batch norm: brings an input of a cell to its C channels."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True) -> None:
        conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        super().__init__(nn.ReLU(), conv, nn.BatchNorm2d(channels_out, affine=affine))


class FactorizedReduce(nn.Module):
    """Halve height and width (DARTS): a 1×1 convolution of stride 2 on the image, and one on the image moved by a
    pixel, concatenated. Together they read half of the pixels, not a quarter. Odd sizes are padded."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        moved = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x), self.odd(moved)], dim=1))


class IBN(nn.Module):
    """Instance norm on the first half of the channels, batch norm on the others (IBN-Net-a: Pan et al., ECCV 2018).

    Instance norm takes each image's own contrast and cast away, so that it needs no statistics of a domain. A plain
    instance norm is no candidate: the mean over all pixels of a map that it has normalised is a constant, so a network
    whose last cell ends with it has no feature (here: mAP 1.2 %, the score of random features).
    """

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.instances = channels // 2
        self.instance = nn.InstanceNorm2d(self.instances, affine=affine) if self.instances else nn.Identity()
        self.batch = nn.BatchNorm2d(channels - self.instances, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        self.check_pixels(x.shape[2] * x.shape[3])
        return torch.cat([self.instance(x[:, : self.instances]), self.batch(x[:, self.instances :])], dim=1)

    @staticmethod
    def check_pixels(pixels: int) -> None:
        """Raises `NasdaError` when an image's map has a single pixel, whose variance would be 0."""
        if pixels < 2:
            raise NasdaError(
                "instance norm needs maps of at least 2 pixels, but got 1×1: "
                "use larger images, a smaller stem stride, or fewer blocks"
            )


def with_ibn(module: nn.Module) -> nn.Module:
    """`module` with an `IBN` in the place of every batch norm on images."""
    if isinstance(module, nn.BatchNorm2d):
        return IBN(module.num_features, module.affine)
    if isinstance(module, IBN):
        return module
    for name, child in module.named_children():
        setattr(module, name, with_ibn(child))
    return module


class Pool(nn.Sequential):
    """3×3 pooling and batch norm, which keeps the mixture's terms at one scale (DARTS, whose derived networks drop it;
    here they keep it)."""

    def __init__(self, pool: nn.Module, channels: int, affine: bool) -> None:
        super().__init__(pool, nn.BatchNorm2d(channels, affine=affine))


class DepthwiseConv(nn.Sequential):
    """ReLU, depth-wise 3×3 convolution, point-wise 1×1 convolution, batch norm; dilation 2 sees 5×5 pixels."""

    def __init__(self, channels: int, stride: int, dilation: int, affine: bool) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride, dilation, dilation, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


class SeparableConv(nn.Sequential):
    """The depth-wise separable convolution applied twice, as in DARTS; only the first one has the stride."""

    def __init__(self, channels: int, stride: int, affine: bool = True) -> None:
        super().__init__(DepthwiseConv(channels, stride, 1, affine), DepthwiseConv(channels, 1, 1, affine))


def rows_to_parts(height: int, parts: int, device: torch.device | None = None) -> Tensor:
    """Which of `parts` horizontal stripes each of `height` rows belongs to: (height,) ints, ascending.

    The stripes differ by one row at most. Raises `NasdaError` when there are fewer rows than parts.
    """
    if height < parts:
        raise NasdaError(
            f"the part-aware module needs at least {parts} rows for {parts} parts, but got {height}: "
            "use larger images, a smaller stem stride, or fewer parts"
        )
    return torch.arange(height, device=device) * parts // height


class PartAware(nn.Module):
    """Auto-ReID's part-aware module (Quan et al. 2019, §3.3): self-attention among the parts of a body.

    Split H into stripes, average each to a vector, project it by its own ReLU–1×1 conv–BN to C//3 channels, let every
    part attend to all parts, spread each part's vector over its stripe again, and merge it with x by a 1×1 convolution.
    Its authors' code differs where parts do not divide H (10 rows: stripes of 2, 3, 2, 3; here 3, 2, 3, 2), and at
    stride 2, where it merges by a `FactorizedReduce`.
    """

    def __init__(self, channels: int, stride: int, parts: int = 4, affine: bool = True) -> None:
        super().__init__()
        self.parts, self.hidden = parts, max(1, channels // 3)
        # Each part has its own projection: a grouped 1×1 convolution computes all of them at once.
        self.project = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(parts * channels, parts * self.hidden, 1, groups=parts, bias=False),
            nn.BatchNorm1d(parts * self.hidden, affine=affine),
        )
        self.query = nn.Linear(self.hidden, self.hidden)
        self.key = nn.Linear(self.hidden, self.hidden, bias=False)  # the softmax over parts would cancel a bias
        self.merge = nn.Conv2d(channels + self.hidden, channels, 1, stride=stride, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def membership(self, x: Tensor) -> Tensor:
        """Which stripe each row of x (B, C, H, W) belongs to, as zeros and ones: (H, parts)."""
        return F.one_hot(rows_to_parts(x.shape[2], self.parts, x.device), self.parts).to(x.dtype)

    def pool(self, x: Tensor) -> Tensor:
        """The mean vector of each stripe: (B, C, H, W) → (B, parts, C)."""
        membership = self.membership(x)
        return torch.einsum("bch,hp->bpc", x.mean(dim=3), membership / membership.sum(dim=0))

    def vectors(self, x: Tensor) -> Tensor:
        """Each stripe's mean, projected by the part's own convolution: (B, C, H, W) → (B, parts, hidden)."""
        return self.project(self.pool(x).reshape(len(x), -1, 1)).reshape(len(x), self.parts, self.hidden)

    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Self-attention among parts: (B, parts, hidden) → the same shape, and the weights (B, parts, parts).

        Each row of the weights sums to 1. As in Auto-ReID, there is no scaling and no value projection.
        """
        weights = torch.softmax(self.query(vectors) @ self.key(vectors).transpose(1, 2), dim=2)
        return weights @ vectors, weights

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        attended, _ = self.attend(self.vectors(x))
        stripes = attended[:, rows_to_parts(height, self.parts, x.device)].transpose(1, 2)
        spread = stripes.unsqueeze(3).expand(-1, -1, -1, width)
        return self.norm(self.merge(torch.cat([x, spread], dim=1)))


Build = Callable[[int, int, int, bool], nn.Module]  # from channels, stride, parts and affine


class Operation(NamedTuple):
    """A row of the table: how an operation is built, how pictures show it, and how the fast cell computes it."""

    build: Build
    label: str
    colour: str  # "#RRGGBB"; a convolution has one colour in both of its norms
    style: str  # of lines: solid, dashed or dotted, which with the colour tells it from all others
    fast: Fast | None  # None: edge by edge, as the clear cell does


# c: channels, s: stride, p: parts, a: affine. The fast cell adds up an edge's operations in this order.
OPERATIONS: dict[str, Operation] = {
    NONE: Operation(lambda c, s, p, a: Zero(s), "none", GREY, "dashed", fast.nothing),
    "sep_conv_3x3": Operation(
        lambda c, s, p, a: SeparableConv(c, s, a), "sep conv 3×3", BLUE, "solid", fast.separable_conv
    ),
    "max_pool_3x3": Operation(
        lambda c, s, p, a: Pool(nn.MaxPool2d(3, s, 1), c, a), "max pool 3×3", ORANGE, "dashed", fast.pool
    ),
    "avg_pool_3x3": Operation(
        lambda c, s, p, a: Pool(nn.AvgPool2d(3, s, 1, count_include_pad=False), c, a),
        *("avg pool 3×3", GREEN, "dotted", fast.pool),
    ),
    "skip_connect": Operation(
        lambda c, s, p, a: nn.Identity() if s == 1 else FactorizedReduce(c, c, a),
        *("skip connect", BLACK, "solid", fast.skip_connect),
    ),
    "dil_conv_3x3": Operation(
        lambda c, s, p, a: DepthwiseConv(c, s, 2, a), "dil conv 3×3", SKY, "dashed", fast.dilated_conv
    ),
    PART_AWARE: Operation(PartAware, "part-aware", PURPLE, "solid", fast.part_aware),
    "sep_conv_3x3_ibn": Operation(
        lambda c, s, p, a: with_ibn(SeparableConv(c, s, a)),
        *("sep conv 3×3, IBN", BLUE, "dotted", fast.separable_conv),
    ),
    "dil_conv_3x3_ibn": Operation(
        lambda c, s, p, a: with_ibn(DepthwiseConv(c, s, 2, a)),
        *("dil conv 3×3, IBN", SKY, "dotted", fast.dilated_conv),
    ),
}


def make_operation(
    name: str, channels: int, stride: int = 1, *, parts: int = 4, affine: bool = True, norm: Norm = "own"
) -> nn.Module:
    """The operation `name` of `OPERATIONS` on `channels` channels; `affine` gives its norms learnable scales.

    In a search they have none: a scale could take over what α is to express. With `norm` "ibn" every batch norm in it
    is an `IBN`.
    """
    operation = OPERATIONS[name].build(channels, stride, parts, affine)
    return with_ibn(operation) if norm == "ibn" else operation


def register_operation(
    name: str,
    build: Build,
    *,
    label: str | None = None,
    colour: str | None = None,
    style: str = "solid",
    fast: Fast | None = None,
) -> ExitStack:
    """Add an operation to the table: spaces and genotypes may then name it, and it is searched, derived and drawn.

    `build` makes its module from channels, stride, parts and affine. Without `fast` the fast cell computes it edge by
    edge. Without `label` it has a readable form of its name; without `colour` a colour that no other operation has, or
    grey. The result removes the operation again, by a `with` block or by its `close()`. Raises `NasdaError` when the
    name is taken.
    """
    if name in OPERATIONS:
        raise NasdaError(f"the operation {name} exists already: choose another name, or close() what registered it")
    if colour is None:
        taken = {row.colour for row in OPERATIONS.values()}
        colour = next((free for free in (VERMILLION, YELLOW) if free not in taken), GREY)
    OPERATIONS[name] = Operation(build, label or operation_label(name), colour, style, fast)
    known_operations.append(name)
    undo = ExitStack()
    undo.callback(OPERATIONS.pop, name)
    undo.callback(known_operations.remove, name)
    return undo


def operation_label(name: str) -> str:
    """A readable name of the operation: "sep conv 3×3"."""
    readable = re.sub(r"(?<=\d)x(?=\d)", "×", name.replace("_", " "))
    return OPERATIONS[name].label if name in OPERATIONS else readable


def operation_colour(name: str) -> str:
    """The operation's colour, "#RRGGBB", the same in every picture; grey for one that is no longer in the table."""
    return OPERATIONS[name].colour if name in OPERATIONS else GREY


def operation_style(name: str) -> str:
    """The operation's line style, which Graphviz and matplotlib both know: solid, dashed or dotted."""
    return OPERATIONS[name].style if name in OPERATIONS else "solid"
