"""How the fast cell computes an operation: for all edges that leave a state at once, side by side along the channels.

These are pure functions of images and of the modules that hold the weights; the table in `nasda.operations` names them.
Letters: n edges leave the state, B images, C channels; a reduction cell's strides turn H × W into H' × W'.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasda.devices import at_least_float32


class State:
    """A state x (B, C, H, W), and what the operations of its n edges read of it, each computed on first use."""

    def __init__(self, x: Tensor, edges: int, stride: int) -> None:
        self.x, self.edges, self.stride = x, edges, stride

    @cached_property
    def rectified(self) -> Tensor:
        """The ReLU of x."""
        return F.relu(self.x)

    @cached_property
    def beside(self) -> Tensor:
        """The ReLU of x, once for each edge: (B, n · C, H, W)."""
        return _beside(self.rectified, self.edges)

    @cached_property
    def quarters(self) -> tuple[Tensor, Tensor]:
        """The pixels that 1×1 convolutions of stride 2 read of x, and of x moved by a pixel: each (B, C, H', W')."""
        return Quarters.apply(self.x)

    @property
    def seen(self) -> Tensor:
        """The pixels that a 1×1 convolution of the edges' stride reads of x."""
        return self.x if self.stride == 1 else self.quarters[0]

    @cached_property
    def seen_rectified(self) -> Tensor:
        """The ReLU of `seen`."""
        return F.relu(self.seen)


class Terms(NamedTuple):
    """What an operation adds to the nodes that n edges lead to. A field that is None adds nothing."""

    shared: Tensor | None = None  # (B, C, H', W'), the same for all edges, not yet weighted
    own: Tensor | None = None  # (B, n · C, H', W'), weighted; changed in place later, so no gradient may need its value
    phases: Tensor | None = None  # as `own`, in the layout of `split_phases`


# From a state, the operation's module on each edge, and α's softmax for each channel (n · C,), to what it adds.
Fast = Callable[[State, Sequence[Any], Tensor], Terms]


def edge_by_edge(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """Any operation, as the clear cell computes it: one edge after the other."""
    outputs = torch.cat([module(state.x) for module in modules], dim=1)
    return Terms(own=outputs * scale.to(outputs.dtype).view(1, -1, 1, 1))


def nothing(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """`none`, which adds zeros."""
    return Terms()


def pool(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """3×3 pooling and batch norm: they have no parameters, so they are computed once for all edges. In evaluation only
    the pooling is, because each edge has its own running statistics."""
    pooled, norms = modules[0][0](state.x), [norm for _, norm in modules]
    if norms[0].training:
        return Terms(shared=_norm(norms, pooled))
    return Terms(own=_norm(norms, _beside(pooled, state.edges), scale))


def separable_conv(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """`SeparableConv`: two `DepthwiseConv` in a row; only the first one has the stride."""
    first, second = zip(*modules, strict=True)
    hidden = F.relu(_depthwise(first, state.beside, stride=state.stride), inplace=True)
    return Terms(own=_depthwise(second, hidden, scale=scale))


def dilated_conv(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """`DepthwiseConv` of dilation 2. With stride 2 it is one of dilation 1 on every second pixel."""
    if state.stride == 2:
        return Terms(own=_depthwise(modules, _beside(state.seen_rectified, state.edges), scale=scale))
    if state.x.device.type == "cpu" and state.x.shape[2] % 2 == state.x.shape[3] % 2 == 0:
        phases = _beside(split_phases(state.rectified), state.edges)
        return Terms(phases=_depthwise(modules, phases, scale=scale, phases=4))
    return Terms(own=_depthwise(modules, state.beside, dilation=2, scale=scale))


def skip_connect(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """The identity, and `FactorizedReduce` where the edges halve height and width."""
    if state.stride == 1:
        return Terms(shared=state.x)
    return Terms(own=factorized_reduce(modules, state.seen_rectified, F.relu(state.quarters[1]), scale))


def factorized_reduce(modules: Sequence[Any], even: Tensor, odd: Tensor, scale: Tensor | None = None) -> Tensor:
    """`FactorizedReduce` of n edges, from the two `Quarters` of an image after their ReLU."""
    first = F.conv2d(even, torch.cat([module.even.weight for module in modules])).chunk(len(modules), dim=1)
    second = F.conv2d(odd, torch.cat([module.odd.weight for module in modules])).chunk(len(modules), dim=1)
    x = torch.cat([half for pair in zip(first, second, strict=True) for half in pair], dim=1)
    return _norm([module.norm for module in modules], x, scale)


def part_aware(state: State, modules: Sequence[Any], scale: Tensor) -> Terms:
    """`PartAware`. Letters: n edges, b images, p parts, c channels, h hidden channels."""
    x, seen = state.x, state.seen
    count, parts, hidden = len(modules), modules[0].parts, modules[0].hidden
    batch, channels, _, width = x.shape
    stripe = modules[0].membership(x)  # (rows, parts)

    mean_of = (stripe / (stripe.sum(dim=0) * width)).repeat_interleave(width, dim=0)  # of pixels, to parts
    pooled = F.relu(mean_of.t() @ _pixels(x)).permute(1, 2, 0)  # (p, c, b)
    project = torch.stack([module.project[1].weight for module in modules]).view(count, parts, hidden, channels)
    vectors = (project @ pooled).view(1, -1, batch)  # (1, n · p · h, b): batch norm takes the images for pixels
    vectors = _norm([module.project[2] for module in modules], vectors).view(count, parts, hidden, batch)
    vectors = vectors.permute(0, 3, 1, 2).reshape(count, batch * parts, hidden)

    query, key = (torch.stack([getattr(m, name).weight for m in modules]).mT for name in ("query", "key"))
    bias = torch.stack([module.query.bias for module in modules]).unsqueeze(1)
    queries, keys, values = (
        v.view(count * batch, parts, hidden)
        for v in (torch.baddbmm(bias, vectors, query), torch.bmm(vectors, key), vectors)
    )
    attended = torch.bmm(torch.softmax(torch.bmm(queries, keys.mT), dim=2), values)

    of_part = torch.stack([module.merge.weight[:, channels:, 0, 0] for module in modules]).mT  # (n, h, c)
    of_parts = torch.bmm(attended.view(count, batch * parts, hidden), of_part)
    of_parts = of_parts.view(count, batch, parts, channels).permute(1, 2, 0, 3).reshape(batch, parts, count * channels)
    of_pixels = F.conv2d(seen, torch.cat([module.merge.weight[:, :channels] for module in modules]))
    spread = stripe[:: state.stride].repeat_interleave(seen.shape[3], dim=0).expand(batch, -1, -1)
    merged = torch.baddbmm(_pixels(of_pixels), spread, of_parts)
    image = merged.unflatten(1, seen.shape[2:]).permute(0, 3, 1, 2)  # (b, n · c, H', W')
    return Terms(own=_norm([module.norm for module in modules], image, scale))


def _norm(norms: Sequence[Any], x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Batch norms of C channels each, side by side on x (B, n · C, …), or in training all on the same x (B, C, …).

    `scale` has a number for each channel of x. Running statistics are updated as each norm alone would do it.
    """
    one = norms[0]
    if not one.training:
        mean, variance = (torch.cat([getattr(norm, name) for norm in norms]) for name in _STATISTICS)
        return F.batch_norm(x, mean, variance, scale, eps=one.eps)
    mean, variance = torch.zeros((2, x.shape[1]), dtype=one.running_mean.dtype, device=x.device)
    # With momentum 1, mean and variance become the batch's.
    x = F.batch_norm(x, mean, variance, scale, training=True, momentum=1.0, eps=one.eps)
    _remember(
        norms, *(v.split(one.num_features) if len(v) > one.num_features else [v] * len(norms) for v in (mean, variance))
    )
    return x


_STATISTICS = ("running_mean", "running_var")


def _remember(norms: Sequence[Any], means: Sequence[Tensor], variances: Sequence[Tensor]) -> None:
    """Update the running statistics of batch norms by the batch's, which are given for each."""
    one = norms[0]
    # Without a momentum, batch norm takes the plain average over batches.
    share = 1 / (int(one.num_batches_tracked) + 1) if one.momentum is None else one.momentum
    for name, values in zip(_STATISTICS, (means, variances), strict=True):
        torch._foreach_lerp_([getattr(norm, name) for norm in norms], list(values), share)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)


def _ibn(norms: Sequence[Any], x: Tensor, scale: Tensor | None, phases: int) -> Tensor:
    """`IBN` of n edges, side by side on x (phases · B, n · C, H, W); each edge's instance channels come first."""
    one, batch_norms = norms[0], [norm.batch for norm in norms]
    images, pixels = len(x) // phases, phases * x.shape[2] * x.shape[3]
    one.check_pixels(pixels)
    of_image = torch.arange(x.shape[1], device=x.device) % (x.shape[1] // len(norms)) < one.instances
    running = None
    if not one.training:
        parts = (torch.stack([getattr(norm, name) for norm in batch_norms]) for name in _STATISTICS)
        running = torch.stack([F.pad(part, (one.instances, 0)).flatten() for part in parts])
    x, mean, variance = InstanceBatchNorm.apply(x, scale, of_image, running, one.batch.eps, phases)
    if one.training:
        unbiased = variance * (images * pixels / (images * pixels - 1))
        _remember(batch_norms, *(v.view(len(norms), -1)[:, one.instances :].unbind() for v in (mean, unbiased)))
    return x


class InstanceBatchNorm(torch.autograd.Function):
    """Instance norm on some channels of x (phases · B, C, H, W), batch norm on the others, then times `scale` (C,).

    `of_image` (C,) says which channels have instance norm. `running` (2, C) are batch norm's mean and variance; if it
    is None they are the batch's. Also returns the batch's mean and biased variance, (C,) each. One mean and one
    variance of each image's channel give both norms' statistics, so x is read once for both.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor | None, of_image: Tensor, running: Tensor | None, eps: float, phases: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        pixels = _by_image(x, phases)
        mean = pixels.mean(dim=(0, 2), keepdim=True, dtype=at_least_float32(x))  # (1, B, 1, C), as all statistics are
        centred = pixels - mean
        variance = centred.square().mean(dim=(0, 2), keepdim=True)
        batch_mean = mean.mean(dim=1, keepdim=True)
        batch_variance = (variance + (mean - batch_mean).square()).mean(dim=1, keepdim=True)
        centre, spread = (batch_mean, batch_variance) if running is None else running
        factor = torch.rsqrt(torch.where(of_image, variance, spread) + eps)
        shift = (mean - centre).masked_fill(of_image, 0)
        weight = factor if scale is None else factor * scale
        ctx.save_for_backward(centred, factor, shift, weight, of_image)
        ctx.scaled, ctx.fixed, ctx.phases = scale is not None, running is not None, phases
        statistics = batch_mean.flatten(), batch_variance.flatten()
        ctx.mark_non_differentiable(*statistics)
        normed = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        torch.addcmul(shift * weight, centred, weight, out=_by_image(normed, phases))
        return normed, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        centred, factor, shift, weight, of_image = ctx.saved_tensors
        pixels = _by_image(gradient, ctx.phases)
        count = centred.shape[0] * centred.shape[2]
        sums = pixels.sum(dim=(0, 2), keepdim=True, dtype=centred.dtype)
        products = factor * ((pixels * centred).sum(dim=(0, 2), keepdim=True) + shift * sums)  # with the normalised x
        # What the gradient loses because the mean and the variance, too, depend on x.
        of_mean, of_variance = (
            torch.where(of_image, v, 0 if ctx.fixed else v.mean(dim=1, keepdim=True)) / count for v in (sums, products)
        )
        slope = -weight * factor * of_variance
        x = torch.addcmul(slope * shift - weight * of_mean, centred, slope).addcmul_(pixels, weight)
        of_scale = products.sum(dim=1).flatten() if ctx.scaled else None
        images = x.to(gradient.dtype).view(len(gradient), *gradient.shape[2:], -1).permute(0, 3, 1, 2)
        return images, of_scale, None, None, None, None


def _by_image(x: Tensor, phases: int) -> Tensor:
    """(phases · B, C, H, W) → (phases, B, H · W, C), without copying if x is channels-last."""
    return _pixels(x).unflatten(0, (phases, -1))


def _depthwise(
    blocks: Sequence[Any],
    x: Tensor,
    *,
    stride: int = 1,
    dilation: int = 1,
    scale: Tensor | None = None,
    phases: int = 1,
) -> Tensor:
    """Depth-wise convolution, point-wise convolution and norm of n `DepthwiseConv` on a ReLU (phases · B, n · C, H, W).

    The norm is batch norm or `IBN`.
    """
    depthwise = torch.cat([block[1].weight for block in blocks])
    pointwise = torch.cat([block[2].weight for block in blocks])
    x = F.conv2d(x, depthwise, None, stride, dilation, dilation, groups=len(depthwise))
    x = F.conv2d(x, pointwise, groups=len(blocks))
    norms = [block[3] for block in blocks]
    return _norm(norms, x, scale) if isinstance(norms[0], nn.BatchNorm2d) else _ibn(norms, x, scale, phases)


def _pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H · W, C), without copying."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def split_phases(x: Tensor) -> Tensor:
    """(B, C, H, W) → (4B, C, H/2, W/2): even rows' even columns, even rows' odd columns, and so on. H, W even."""
    batch, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    return pixels.permute(2, 4, 0, 1, 3, 5).reshape(4 * batch, height // 2, width // 2, channels).permute(0, 3, 1, 2)


def join_phases(phases: Tensor) -> Tensor:
    """The inverse of `split_phases`."""
    batch, channels, height, width = len(phases) // 4, *phases.shape[1:]
    pixels = phases.permute(0, 2, 3, 1).reshape(2, 2, batch, height, width, channels)
    return pixels.permute(2, 3, 0, 4, 1, 5).reshape(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


class Quarters(torch.autograd.Function):
    """Two of the four phases of x (B, C, H, W): even rows' even columns, and odd rows' odd columns. The latter is
    padded with zeros if H or W is odd. The gradient of slicing fills four images with zeros; this one fills one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.shape = x.shape
        even, odd = (x[:, :, start::2, start::2].contiguous(memory_format=torch.channels_last) for start in (0, 1))
        missing = even.shape[3] - odd.shape[3], even.shape[2] - odd.shape[2]
        return even, F.pad(odd, (0, missing[0], 0, missing[1])) if any(missing) else odd

    @staticmethod
    def backward(ctx: Any, even: Tensor, odd: Tensor) -> Tensor:
        x = torch.empty(ctx.shape, dtype=even.dtype, device=even.device, memory_format=torch.channels_last).zero_()
        x[:, :, ::2, ::2] = even
        x[:, :, 1::2, 1::2] = odd[:, :, : ctx.shape[2] // 2, : ctx.shape[3] // 2]
        return x


def _beside(x: Tensor, count: int) -> Tensor:
    """x (B, C, H, W) `count` times side by side: (B, count · C, H, W)."""
    return Repeat.apply(x, count) if count > 1 else x


class Repeat(torch.autograd.Function):
    """`torch.cat([x] * count, dim=1)`, whose gradient is summed in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        ctx.count = count
        return torch.cat([x] * count, dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        first, *others = gradient.chunk(ctx.count, dim=1)
        total = first.clone(memory_format=torch.channels_last)
        for other in others:
            total += other
        return total, None
