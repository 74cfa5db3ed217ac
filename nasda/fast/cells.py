"""The relaxed cell, fast: `SearchCell`'s parameters and numbers in about a third of the time.

Eq. 6, taken edge by edge, does the same work again and again. What is saved here, and why the numbers stay the same:

- All edges that leave a state read the same x. Its ReLU, its poolings with their batch norms, and the part-aware
  module's stripe means are computed once, not once an edge.
- The convolutions of those edges stand side by side as one grouped convolution, their batch norms as one batch norm:
  a third of the kernels to start, which is what small maps and GPUs wait for.
- `none` contributes zeros, so it is left out; its share of the softmax stays.
- w · BN(y) is BN(y) with scale w, so most weights of eq. 6 cost nothing.
- A depth-wise convolution of dilation 2 never mixes even and odd pixels: it is one of dilation 1 on each of the four
  phases (even or odd row, even or odd column), and that one PyTorch's CPU code can differentiate seven times faster.
- Part-aware: W · cat(x, p) = W_x · x + W_p · p, and W_p · p is needed once a part, not once a pixel.
- Images lie channels-last in memory, which is how convolutions and poolings like them best.

Cells that are evaluated, not trained, take the clear way: every edge then has running statistics of its own.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nasda.cells import SearchCell, edge_stride
from nasda.genotypes import PART_AWARE
from nasda.operations import FactorizedReduce, rows_to_parts

SHARED = ("max_pool_3x3", "avg_pool_3x3")  # without parameters: the same on every edge that leaves a state


class FastSearchCell(SearchCell):
    """`SearchCell`, computed state by state instead of edge by edge."""

    def forward(self, before_last: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        """Two cell outputs and the softmax weights (edges, operations) → (B, nodes · C, H', W')."""
        if not self.training:
            return super().forward(before_last, last, weights)
        of_edge = weights.unbind()
        nodes = [range(rows.start, rows.stop) for rows in self.rows]  # the edges into each, by the state they leave

        def leave(state: int, x: Tensor) -> Leaving:
            edges = [into[state] for into in nodes if state < len(into)]
            scales = torch.stack([of_edge[edge] for edge in edges], dim=1)
            stride = edge_stride(self.reduction, state)
            return Leaving(x, [self.edges[edge] for edge in edges], scales, self.primitives, stride)

        states = [leave(state, x) for state, x in enumerate(self._bring(before_last, last))]
        outputs = []
        for node, edges in enumerate(nodes):
            outputs.append(self._node([of_edge[edge] for edge in edges], states))
            if node + 1 < len(nodes):
                states.append(leave(len(states), outputs[-1]))
        return torch.cat(outputs, dim=1)

    def _bring(self, before_last: Tensor, last: Tensor) -> list[Tensor]:
        """What `CellInputs` does, for images that are to lie channels-last from here on."""
        before_last, last = (x.contiguous(memory_format=torch.channels_last) for x in (before_last, last))
        bring = self.inputs.before_last
        if isinstance(bring, FactorizedReduce):
            even, odd = (F.relu(quarter) for quarter in Quarters.apply(before_last))
            return [_factorized_reduce([bring], even, odd), self.inputs.last(last)]
        return [bring(before_last), self.inputs.last(last)]

    def _node(self, of_edge: Sequence[Tensor], states: Sequence["Leaving"]) -> Tensor:
        """Eq. 6: the sum over all earlier states of all their operations, weighted."""
        plain = [next(leaving.own) for leaving in states]
        phases = [next(leaving.phases) for leaving in states if leaving.phases]
        if phases:
            plain.append(join_phases(reduce(torch.add, phases)))
        shared: list[Tensor] = []
        scales: list[Tensor] = []
        for leaving, weights in zip(states, of_edge, strict=True):
            of_operation = dict(zip(self.primitives, weights.unbind(), strict=True))
            shared += leaving.shared.values()
            scales += [of_operation[name] for name in leaving.shared]
        return Mix.apply(torch.stack(scales), len(plain), *plain, *shared)


class Leaving:
    """What one state sends along all edges that leave it, to be added up by the nodes they lead to.

    shared: terms (B, C, H', W') by operation, the same for all of these edges, not yet weighted.
    own: edge by edge the weighted sum of its other operations, (B, C, H', W').
    phases: edge by edge what is still to be added to that, laid out by `split_phases`; None where nothing is.
    """

    def __init__(
        self, x: Tensor, edges: Sequence[Any], weights: Tensor, primitives: Sequence[str], stride: int
    ) -> None:
        """`x` (B, C, H, W) is the state; `weights` (operations, edges)."""
        count, channels = len(edges), x.shape[1]
        of = {name: [edge.operations[o] for edge in edges] for o, name in enumerate(primitives)}
        scale = dict(zip(primitives, weights.repeat_interleave(channels, dim=1).unbind(), strict=True))
        rectified = F.relu(x)
        beside = _beside(rectified, count)
        self.shared = {name: _pool(of[name], x) for name in SHARED}
        self.phases: Iterator[Tensor] | None = None

        first, second = zip(*of["sep_conv_3x3"], strict=True)
        hidden = F.relu(_depthwise(first, beside, stride=stride), inplace=True)
        total = _depthwise(second, hidden, scale=scale["sep_conv_3x3"])
        # Added in place from here on: the gradient of a batch norm does not ask for its output.
        seen, dilated = x, of["dil_conv_3x3"]
        if stride == 2:
            seen, odd = Quarters.apply(x)  # a 1×1 convolution of stride 2 sees every second pixel only
            even = F.relu(seen)
            total += _factorized_reduce(of["skip_connect"], even, F.relu(odd), scale["skip_connect"])
            total += _depthwise(dilated, _beside(even, count), scale=scale["dil_conv_3x3"])  # so its dilation is gone
        else:
            self.shared["skip_connect"] = x
            if x.device.type == "cpu" and x.shape[2] % 2 == x.shape[3] % 2 == 0:
                phases = _beside(split_phases(rectified), count)
                self.phases = iter(_depthwise(dilated, phases, scale=scale["dil_conv_3x3"]).split(channels, dim=1))
            else:
                total += _depthwise(dilated, beside, dilation=2, scale=scale["dil_conv_3x3"])
        if PART_AWARE in of:
            total += _part_aware(of[PART_AWARE], x, seen, stride, scale[PART_AWARE])
        self.own = iter(total.split(channels, dim=1))


# ---------------------------------------------------------------------------------------------------------------------
# The operations of several edges, side by side along the channels
# ---------------------------------------------------------------------------------------------------------------------


def _norm(norms: Sequence[Any], x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Batch norms of C channels each, side by side on x (B, n · C, …), or all of them on the same x (B, C, …).

    `scale` has a number for each channel of x: a search's batch norms have none of their own. Each norm remembers the
    batch as it would have alone.
    """
    one = norms[0]
    mean, variance = torch.zeros((2, x.shape[1]), dtype=one.running_mean.dtype, device=x.device)
    x = F.batch_norm(x, mean, variance, scale, training=True, momentum=1.0, eps=one.eps)  # with 1 they are the batch's
    for name, value in (("running_mean", mean), ("running_var", variance)):
        parts = value.split(one.num_features) if len(value) > one.num_features else [value] * len(norms)
        torch._foreach_lerp_([getattr(norm, name) for norm in norms], parts, one.momentum)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
    return x


def _pool(pools: Sequence[Any], x: Tensor) -> Tensor:
    """3×3 pooling and batch norm, once for all edges."""
    return _norm([norm for _, norm in pools], pools[0][0](x))


def _depthwise(
    blocks: Sequence[Any], x: Tensor, *, stride: int = 1, dilation: int = 1, scale: Tensor | None = None
) -> Tensor:
    """Depth-wise convolution, point-wise convolution and batch norm of several `DepthwiseConv`.

    x (B, n · C, H, W) has been through their ReLU already.
    """
    depthwise = torch.cat([block[1].weight for block in blocks])
    pointwise = torch.cat([block[2].weight for block in blocks])
    x = F.conv2d(x, depthwise, None, stride, dilation, dilation, groups=len(depthwise))
    x = F.conv2d(x, pointwise, groups=len(blocks))
    return _norm([block[3] for block in blocks], x, scale)


def _factorized_reduce(modules: Sequence[Any], even: Tensor, odd: Tensor, scale: Tensor | None = None) -> Tensor:
    """`FactorizedReduce` of several edges, of the two quarters of an image that it looks at, after their ReLU."""
    halves = zip(
        F.conv2d(even, torch.cat([module.even.weight for module in modules])).chunk(len(modules), dim=1),
        F.conv2d(odd, torch.cat([module.odd.weight for module in modules])).chunk(len(modules), dim=1),
        strict=True,
    )
    x = torch.cat([half for pair in halves for half in pair], dim=1)
    return _norm([module.norm for module in modules], x, scale)


def _part_aware(modules: Sequence[Any], x: Tensor, seen: Tensor, stride: int, scale: Tensor) -> Tensor:
    """`PartAware` of several edges. `seen` is what of x (B, C, H, W) the merging convolution of that stride reads.

    Letters: n edges, b images, p parts, c channels, h hidden channels.
    """
    count, parts, hidden = len(modules), modules[0].parts, modules[0].hidden
    batch, channels, height, width = x.shape
    stripe = F.one_hot(rows_to_parts(height, parts, x.device), parts).to(x.dtype)  # (rows, parts)

    mean_of = (stripe / (stripe.sum(dim=0) * width)).repeat_interleave(width, dim=0)  # of pixels, to parts
    pooled = F.relu(mean_of.t() @ _pixels(x)).permute(1, 2, 0)  # (p, c, b)
    project = torch.stack([module.project[1].weight for module in modules]).view(count, parts, hidden, channels)
    vectors = (project @ pooled).view(1, -1, batch)  # (1, n · p · h, b): to batch norm the images are like pixels
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
    spread = stripe[::stride].repeat_interleave(seen.shape[3], dim=0).expand(batch, -1, -1)  # of parts, to pixels
    merged = torch.baddbmm(_pixels(of_pixels), spread, of_parts)
    return _norm([module.norm for module in modules], _image(merged, *seen.shape[2:]), scale)


# ---------------------------------------------------------------------------------------------------------------------
# Images, channels-last in memory
# ---------------------------------------------------------------------------------------------------------------------


def _pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H · W, C), without copying."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _image(pixels: Tensor, height: int, width: int) -> Tensor:
    """(B, H · W, C) → (B, C, H, W), without copying."""
    return pixels.unflatten(1, (height, width)).permute(0, 3, 1, 2)


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
    """Two of the four phases of x (B, C, H, W): even rows' even columns, and odd rows' odd columns, the latter padded
    with zeros where H or W is odd. Slicing would do; its gradient fills four images with zeros, this one fills one."""

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


class Mix(torch.autograd.Function):
    """Σ terms[:plain] + Σ_i weights_i · terms[plain + i], all of one shape, summed in place: no product is stored."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, plain: int, *terms: Tensor) -> Tensor:
        ctx.plain = plain
        ctx.save_for_backward(weights, *terms[plain:])
        total = terms[0].clone()
        for term in terms[1:plain]:
            total += term
        for weight, term in zip(weights, terms[plain:], strict=True):
            total.addcmul_(term, weight.to(term.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        weights, *terms = ctx.saved_tensors
        of_weights = [_inner(gradient, term, weights.dtype) for term in terms]
        of_terms = [gradient * weight.to(gradient.dtype) for weight in weights]
        return torch.stack(of_weights), None, *[gradient] * ctx.plain, *of_terms


def _inner(x: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
    """Σ x · y, summed in `dtype`."""
    if x.dtype != dtype:  # a dot product of bfloat16 would be rounded to bfloat16
        return (x * y).sum(dtype=dtype)
    return torch.dot(x.permute(0, 2, 3, 1).flatten(), y.permute(0, 2, 3, 1).flatten())
