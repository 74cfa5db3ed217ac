"""Pictures of notebook 01: what each operation makes of an image and how far it sees; which part looks at which."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, pairwise
from math import comb, prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nasda.cells import Cell, CellInputs, edge_stride
from nasda.course.judges import Built, Case, Exercise, Mistakes, NotAttempted, Wrong, is_stub, like, module, show
from nasda.course.predict import Question
from nasda.genotypes import CELL_INPUTS, PRIMITIVES, Edge, Node, random_genotype
from nasda.operations import PartAware, SeparableConv, make_operation, operation_label, rows_to_parts
from nasda.pictures.palette import BLUE, GREY, INK, ORANGE
from nasda.pictures.plots import SMALL, Plot, dress
from nasda.settings import SpaceSettings

_PART_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def stripe_edges(height: int, parts: int) -> NDArray[np.int64]:
    """The rows at which a new part begins, and the height itself: (parts + 1,) ints."""
    membership = rows_to_parts(height, parts)
    return np.append(torch.searchsorted(membership, torch.arange(parts)).numpy(), height)


def operations_picture(rows: Mapping[str, Mapping[str, ArrayLike]]) -> Plot:
    """A row of pictures for each entry of `rows`, a column an operation; each picture is a matrix (H, W).

    A row whose name begins with "sees" is a receptive field: its pictures hold values from 0 (no influence) upwards,
    shaded by their square root (whatever has any influence is at least pale), and below each stands how many pixels
    have any. The other rows are grey images.
    """
    names = list(next(iter(rows.values())))
    figure = Plot(9, 1.75 * len(rows) + 0.2)
    axes = figure.subplots(len(rows), len(names), squeeze=False)
    for (title, pictures), line in zip(rows.items(), axes, strict=True):
        for name, panel in zip(names, line, strict=True):
            picture = np.asarray(pictures[name], dtype=float)
            if title.startswith("sees"):
                _receptive_field(panel, picture)
            else:
                low, high = np.percentile(picture, (1, 99)) if picture.any() else (0, 1)
                panel.imshow(picture, cmap="gray", vmin=low, vmax=high)
            panel.set_xticks([])
            panel.set_yticks([])
            if panel in axes[0]:
                panel.set_title(operation_label(name))
        line[0].set_ylabel(title)
    figure.alt = "; ".join(
        f"{title}: {', '.join(f'{operation_label(name)} {_seen(pictures[name])}' for name in names)} pixels"
        if title.startswith("sees")
        else f"{title}: what {', '.join(map(operation_label, names))} make of it"
        for title, pictures in rows.items()
    )
    return figure


def _seen(field: ArrayLike) -> int:
    return int((np.asarray(field) > 1e-9).sum())


def _receptive_field(panel: Axes, field: NDArray[np.float64]) -> None:
    seen = _seen(field)
    strength = np.sqrt(field / field.max()) if seen else field
    panel.imshow(np.where(field > 1e-9, np.maximum(strength, 0.22), 0), cmap="Blues", vmin=0, vmax=1)
    panel.set_xticks(np.arange(field.shape[1] + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(field.shape[0] + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=0.5)
    panel.tick_params(which="minor", length=0)
    panel.set_xlabel(f"{seen} of {field.size} pixels" if seen < field.size else f"all {seen} pixels", fontsize=SMALL)


def attention_links(images: Sequence[ArrayLike], attentions: Sequence[ArrayLike], titles: Sequence[str]) -> Plot:
    """Each image twice; lines run from each part of the left copy to the parts it attends to, wider for a larger share.

    `images` are (H, W, 3), bytes or floats in 0…1; `attentions` are (parts, parts), each row summing to 1.
    """
    height, width = np.asarray(images[0]).shape[:2]
    gap = 0.8 * height
    figure = Plot(9, min(4.2, 9 / len(images) * height / (2 * width + gap)) + 0.5)
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for panel, image, attention, title in zip(panels, images, attentions, titles, strict=True):
        _links(panel, np.asarray(image), np.asarray(attention), gap)
        panel.set_title(title, color=INK)
    figure.alt = "; ".join(
        f"{title}: {_strongest(np.asarray(attention))}" for title, attention in zip(titles, attentions, strict=True)
    )
    return figure


def _strongest(attention: NDArray[np.float64]) -> str:
    return ", ".join(
        f"part {part} takes most of part {row.argmax()} ({row.max():.0%})" for part, row in enumerate(attention)
    )


def _links(panel: Axes, image: NDArray, attention: NDArray[np.float64], gap: float) -> None:
    height, width = image.shape[:2]
    parts = len(attention)
    right = width + gap
    for left in (0.0, right):
        panel.imshow(image, extent=(left, left + width, height, 0))
        for edge in stripe_edges(height, parts)[1:-1]:
            panel.plot([left, left + width], [edge, edge], color="white", linewidth=1.5)
    edges = stripe_edges(height, parts)
    middle = (edges[:-1] + edges[1:]) / 2
    for looks in range(parts):
        for looked_at in range(parts):
            share = float(attention[looks, looked_at])
            ends = [middle[looks], middle[looked_at]]
            colour = _PART_COLOURS[looks % len(_PART_COLOURS)]
            line = Line2D([width, right], ends, color=colour, alpha=0.25 + 0.75 * share, linewidth=0.3 + 9 * share)
            line.set_solid_capstyle("butt")
            panel.add_line(line)
    panel.set_xlim(0, right + width)
    panel.set_ylim(height, 0)
    panel.set_aspect("equal")
    panel.set_xticks([width / 2, right + width / 2], ["looks", "is looked at"], fontsize=SMALL)
    panel.set_yticks(middle, [f"part {part}" for part in range(parts)], fontsize=SMALL)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def distances_picture(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> Plot:
    """How far attention is from even: a panel for each entry, in it a column a kind of network, a mark a block.

    Each kind has a sequence of seeds, of which each holds a distance for blocks 2, 3 and 4.
    """
    figure = Plot(8, 3.4)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, (title, kinds) in zip(axes, panels.items(), strict=True):
        for column, seeds in enumerate(kinds.values()):
            values = np.asarray(seeds, dtype=float)
            places = column + np.linspace(-0.2, 0.2, len(values))
            for block, (marker, colour) in enumerate(zip("o^s", (BLUE, ORANGE, GREY), strict=True)):
                label = f"block {block + 2}" if column == 0 else None
                panel.plot(places, values[:, block], marker, color=colour, markersize=8, label=label)
            panel.plot([column - 0.3, column + 0.3], [np.median(values)] * 2, color=INK)
        panel.set_xticks(range(len(kinds)), list(kinds))
        panel.set_xlim(-0.6, len(kinds) - 0.4)
        dress(panel, "", "", title)
    axes[0].set_ylabel("mean distance from 1/P")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False)
    figure.alt = "; ".join(f"{title}: {_spread(kinds)}" for title, kinds in panels.items())
    return figure


def _spread(kinds: Mapping[str, Sequence[Sequence[float]]]) -> str:
    return ", ".join(
        f"{kind} from {np.min(seeds):.3f} to {np.max(seeds):.3f}, median {np.median(seeds):.3f}"
        for kind, seeds in kinds.items()
    )


def costs_picture(costs: Mapping[str, Sequence[tuple[int, int]]]) -> Plot:
    """Parameters against multiply-adds, in thousands: the first group of `costs` as a cloud, the others by name."""
    figure = Plot(7.5, 4.2)
    axes = figure.subplots()
    for (name, points), colour in zip(costs.items(), (GREY, BLUE, ORANGE, *_PART_COLOURS[1:]), strict=False):
        cloud = colour == GREY
        x, y = (np.array(values) / 1e3 for values in zip(*points, strict=True))
        axes.scatter(
            x, y, s=30 if cloud else 80, color=colour, alpha=0.6 if cloud else 1, label=name if cloud else None
        )
        if not cloud:
            axes.annotate(name, (x[0], y[0]), (0, 9), textcoords="offset points", color=INK, ha="center")
    axes.margins(x=0.2, y=0.12)
    dress(axes, "parameters (thousands)", "multiply-adds an image (thousands)", grid="both", legend="upper left")
    return figure


# ---------------------------------------------------------------------------------------------------------- exercises


def _batch(*shape: int) -> Callable[[torch.Generator], list[Tensor]]:
    """Random inputs of a module: tensors (B, …) of these shapes, negative numbers among them."""
    return lambda generator: [torch.randn(shape, generator=generator)]


# 01.1


class _Half(nn.Sequential):
    """A half of a separable convolution, with one of the usual slips."""

    def __init__(
        self,
        channels: int,
        stride: int,
        affine: bool,
        *,
        relu: bool = True,
        norm: bool = True,
        last_relu: bool = False,
        grouped: bool = True,
        padding: int = 1,
        pointwise: bool = True,
    ) -> None:
        groups = channels if grouped else 1
        steps = [
            (relu, nn.ReLU()),
            (True, nn.Conv2d(channels, channels, 3, stride, padding, groups=groups, bias=False)),
            (pointwise, nn.Conv2d(channels, channels, 1, bias=False)),
            (norm, nn.BatchNorm2d(channels, affine=affine)),
            (last_relu, nn.ReLU()),
        ]
        super().__init__(*(layer for wanted, layer in steps if wanted))


def _separable(
    channels: int,
    stride: int,
    affine: bool = True,
    *,
    halves: int = 2,
    second_stride: int = 1,
    always: bool | None = None,
    first: Mapping[str, Any] | None = None,
    second: Mapping[str, Any] | None = None,
) -> nn.Module:
    affine = affine if always is None else always
    strides = [stride, stride if second_stride == 0 else second_stride][:halves]
    slips = [first or {}, second or {}]
    return nn.Sequential(*(_Half(channels, s, affine, **slip) for s, slip in zip(strides, slips, strict=False)))


def _both(**slip: Any) -> Callable[..., nn.Module]:
    return partial(_separable, first=slip, second=slip)


_SEPARABLE_MISTAKES: Mistakes = [
    (partial(_separable, halves=1), "That is the row of four steps once: DARTS applies it twice"),
    (partial(_separable, second_stride=0), "Only the first half has the stride, or the map is halved twice"),
    (_both(relu=False), "There is a ReLU before each depth-wise convolution"),
    (partial(_separable, second={"relu": False}), "The second half begins with a ReLU, too"),
    (partial(_separable, first={"norm": False}), "Each half ends with a batch norm, the first one too"),
    (
        _both(relu=False, last_relu=True),
        "The ReLU comes first, and the batch norm last",
    ),
    (_both(grouped=False), "Depth-wise: each channel is filtered by itself, groups=channels"),
    (_both(pointwise=False), "Without the point-wise 1×1 convolution the channels never meet"),
    (partial(_separable, always=True), "Hand affine on to the batch norms: a search asks for norms without a scale"),
]

_SEPARABLE_CASES = {
    "stride 1": Built({"channels": 4, "stride": 1}, _batch(3, 4, 6, 5)),
    "stride 2, odd height and width": Built({"channels": 3, "stride": 2}, _batch(2, 3, 7, 5)),
    "affine=False": Built({"channels": 2, "stride": 1, "affine": False}, _batch(2, 2, 5, 5)),
}


# 01.2


def part_means(x: Tensor, parts: int) -> Tensor:
    """The mean of each part's rows: (B, C, H, W) → (B, parts, C); row r belongs to part ⌊r · parts / H⌋."""
    membership = rows_to_parts(x.shape[2], parts, x.device)
    return torch.stack([x[:, :, membership == part].mean(dim=(2, 3)) for part in range(parts)], dim=1)


def _part_means_of_auto_reid(x: Tensor, parts: int) -> Tensor:
    """Part p begins at row ⌊p · H / parts⌋: of 10 rows, stripes of 2, 3, 2 and 3."""
    edges = [part * x.shape[2] // parts for part in range(parts + 1)]
    return torch.stack([x[:, :, a:b].mean(dim=(2, 3)) for a, b in pairwise(edges)], dim=1)


def _overlapping(x: Tensor, parts: int) -> Tensor:
    return F.adaptive_avg_pool2d(x, (parts, 1)).squeeze(3).transpose(1, 2)


def _cut_off(x: Tensor, parts: int) -> Tensor:
    rows = x.shape[2] // parts
    return x[:, :, : rows * parts].unflatten(2, (parts, rows)).mean(dim=(3, 4)).transpose(1, 2)


def _longest_first(x: Tensor, parts: int) -> Tensor:
    return torch.stack([stripe.mean(dim=(2, 3)) for stripe in x.tensor_split(parts, dim=2)], dim=1)


def _of_the_batch(x: Tensor, parts: int) -> Tensor:
    return part_means(x, parts).mean(dim=0, keepdim=True)


def _of_columns(x: Tensor, parts: int) -> Tensor:
    of_column = torch.arange(x.shape[3]) * parts // x.shape[3]
    return torch.stack([x[..., of_column == part].mean(dim=(2, 3)) for part in range(parts)], dim=1)


_POOLING_MISTAKES: Mistakes = [
    (_overlapping, "Adaptive pooling lets neighbouring windows overlap: here every row belongs to one part only"),
    (_cut_off, "The last rows are left out: every row belongs to a part, also where H does not divide"),
    (_longest_first, "tensor_split puts the longer stripes first: here row r belongs to part ⌊r · P / H⌋"),
    (_of_the_batch, "Each image has parts of its own: do not average over the batch"),
    (
        lambda x, parts: _of_the_batch(x, parts).expand(len(x), -1, -1),
        "Do not average over the batch: each image has parts of its own",
    ),
    (_of_columns, "Parts are stripes of rows, dimension 2; those are stripes of columns"),
    (lambda x, parts: part_means(x, parts).transpose(1, 2), "Parts come before channels: (B, parts, C)"),
    (lambda x, parts: part_means(x, parts).flip(1), "Part 0 is at the top"),
    (lambda x, parts: part_means(x, parts) * x.shape[3], "Take the mean over the columns, too, not their sum"),
    (lambda x, parts: part_means(x, parts) * x.shape[2] * x.shape[3] / parts, "Take the mean of a stripe, not its sum"),
    (lambda x, parts: part_means(x.amax(3, keepdim=True), parts), "Take the mean over the columns, not the maximum"),
]


def _some_map(rng: np.random.Generator) -> Case:
    parts = int(rng.integers(1, 6))
    shape = rng.integers(2, 4), rng.integers(1, 4), rng.integers(parts, 13), rng.integers(1, 5)
    return {"x": torch.from_numpy(rng.standard_normal(shape).astype(np.float32)), "parts": parts}


def _ramp(height: int) -> Tensor:
    """(2, 1, height, 2): each row holds the square of its number, so that every row counts in its own way."""
    rows = (torch.arange(height, dtype=torch.float32) ** 2).reshape(1, 1, height, 1).repeat(1, 1, 1, 2)
    return torch.cat([rows, rows.flip(2)])


def _either(first: Exercise, second: Exercise) -> Exercise:
    """Right is what one of the two takes; the first one says what is wrong."""

    def judge(answer: Any) -> Wrong | str | None:
        wrong = first.judge(answer)
        return None if wrong is None or second.judge(answer) is None else wrong

    return Exercise(judge, first.praise, first.part, first.library)


def _pooling(reference: Callable[..., Tensor]) -> Exercise:
    return like(
        reference,
        [
            {"x": _ramp(8), "parts": 4},
            {"x": _ramp(10), "parts": 4},
            {"x": torch.arange(168.0).reshape(2, 2, 7, 6).square(), "parts": 3},
        ],
        _POOLING_MISTAKES,
        draw=_some_map,
        advice=[
            "H = 8 and P = 4 is the easy case: part p is the mean of rows 2p and 2p + 1, over all columns",
            "8 rows are right, 10 rows in 4 parts are not: torch.arange(10) * 4 // 10 says which part each row is in",
            "Print torch.arange(7) * 3 // 7, and compare with the rows that you average",
        ],
        praise="The library does it with one matrix product (PartAware.pool), without a loop over parts. Stripes that "
        "begin at row ⌊p · H / P⌋, as in Auto-ReID's code, are taken as well: 10 rows become 2, 3, 2, 3 there",
        part="part_means",
        library=part_means,
    )


# 01.3

_STEPS = {
    "vectors": "vectors, steps (a) and (b)",
    "attend": "attend, step (c)",
    "forward": "forward, step (d)",
}


class _Parts(PartAware):
    """The library's module, in steps that a mistake can replace."""

    def part_of_row(self, height: int) -> Tensor:
        return rows_to_parts(height, self.parts)

    def pooled(self, x: Tensor) -> Tensor:
        return part_means(x, self.parts)

    def vectors(self, x: Tensor) -> Tensor:
        return self.project(self.pooled(x).reshape(len(x), -1, 1)).reshape(len(x), self.parts, self.hidden)

    def merged(self, x: Tensor, spread: Tensor) -> Tensor:
        return self.norm(self.merge(torch.cat([x, spread], dim=1)))

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attend(self.vectors(x))
        stripes = mixed[:, self.part_of_row(x.shape[2])].transpose(1, 2)
        spread = stripes.unsqueeze(3).expand(-1, -1, -1, x.shape[3])
        return self.merged(x, spread)


class _AutoReID(_Parts):
    """Stripes as in Auto-ReID's code, in both places."""

    def part_of_row(self, height: int) -> Tensor:
        return ((torch.arange(height) + 1) * self.parts - 1) // height

    def pooled(self, x: Tensor) -> Tensor:
        return _part_means_of_auto_reid(x, self.parts)


class _NoReLU(_Parts):
    def vectors(self, x: Tensor) -> Tensor:
        means = self.pooled(x).reshape(len(x), -1, 1)
        for layer in list(self.project)[1:]:
            means = layer(means)
        return means.reshape(len(x), self.parts, self.hidden)


class _ReLUFirst(_Parts):
    def pooled(self, x: Tensor) -> Tensor:
        return super().pooled(F.relu(x))


class _ChannelsFirst(_Parts):
    def vectors(self, x: Tensor) -> Tensor:
        means = self.pooled(x).transpose(1, 2).reshape(len(x), -1, 1)
        return self.project(means).reshape(len(x), self.parts, self.hidden)


class _Unfolded(_Parts):
    def vectors(self, x: Tensor) -> Tensor:
        return super().vectors(x).reshape(len(x), self.hidden, self.parts).transpose(1, 2)


class _OtherWay(_Parts):
    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.softmax(self.query(vectors) @ self.key(vectors).transpose(1, 2), dim=1)
        return weights @ vectors, weights


class _Transposed(_Parts):
    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.softmax(self.query(vectors) @ self.key(vectors).transpose(1, 2), dim=2)
        return weights.transpose(1, 2) @ vectors, weights


class _Scaled(_Parts):
    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.query(vectors) @ self.key(vectors).transpose(1, 2) / self.hidden**0.5
        weights = torch.softmax(scores, dim=2)
        return weights @ vectors, weights


class _Keys(_Parts):
    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        weights = super().attend(vectors)[1]
        return weights @ self.key(vectors), weights


class _Queries(_Parts):
    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        weights = super().attend(vectors)[1]
        return weights @ self.query(vectors), weights


class _Swapped(_Parts):
    """The key's weights in the query, as they get there where the key is defined first under another name."""

    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        scores = F.linear(vectors, self.key.weight, self.query.bias) @ (vectors @ self.query.weight.T).transpose(1, 2)
        weights = torch.softmax(scores, dim=2)
        return weights @ vectors, weights


class _PartsFirst(_Parts):
    def merged(self, x: Tensor, spread: Tensor) -> Tensor:
        return self.norm(self.merge(torch.cat([spread, x], dim=1)))


class _NotMixed(_Parts):
    def attend(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        return vectors, super().attend(vectors)[1]


class _NoNorm(_Parts):
    def merged(self, x: Tensor, spread: Tensor) -> Tensor:
        return self.merge(torch.cat([x, spread], dim=1))


class _OtherStripes(_AutoReID):
    """Pooled by one rule, spread by the other."""

    def pooled(self, x: Tensor) -> Tensor:
        return part_means(x, self.parts)


class _OtherStripesToo(_AutoReID):
    def part_of_row(self, height: int) -> Tensor:
        return rows_to_parts(height, self.parts)


class _Residual(_Parts):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + x if y.shape == x.shape else y


_PART_MISTAKES: dict[str, Mistakes] = {
    "vectors": [
        (_NoReLU, "Step (b) begins with a ReLU on the means"),
        (_ReLUFirst, "The ReLU comes after the mean, as in (b): a mean of positive parts is another number"),
        (_ChannelsFirst, "The grouped convolution wants all channels of part 0, then all of part 1: (B, P · C, 1)"),
        (
            _Unfolded,
            "The convolution puts out part 0's h numbers, then part 1's: reshape to (B, P, h)",
        ),
    ],
    "attend": [
        (_OtherWay, "Each row of A sums to 1: the softmax runs over q, the last dimension"),
        (_Transposed, "Part p takes Σ_q A_pq u_q: that is A @ u, without a transpose"),
        (_Scaled, "These scores are not divided by the root of the length"),
        (_Keys, "There is no value projection: A mixes the u_q, not the keys"),
        (_Queries, "There is no value projection: A mixes the u_q, not the queries"),
        (_Swapped, "Weights are copied by the names of the layers, else in their order: name them as in the table"),
    ],
    "forward": [
        (_PartsFirst, "[x ; ũ]: x comes first, then the parts"),
        (_NotMixed, "The parts are spread as they were before they attended to each other: take ũ, not u"),
        (_NoNorm, "Step (d) ends with a batch norm"),
        (_OtherStripes, "Pool and spread over the same stripes: yours differ where H does not divide"),
        (_OtherStripesToo, "Pool and spread over the same stripes: yours differ where H does not divide"),
        (_Residual, "Nothing is added to x: the module is one candidate, a skip is another"),
    ],
}

_PART_CASES: dict[str, Mapping[str, Any]] = {
    "C = 6, P = 4, 8 rows": {"channels": 6, "stride": 1},
    "C = 7, P = 3, 7 rows, stride 2": {"channels": 7, "stride": 2, "parts": 3},
    "C = 9, P = 4, 10 rows": {"channels": 9, "stride": 1, "parts": 4},
    "C = 2, P = 2, 5 rows, stride 2, affine=False": {"channels": 2, "stride": 2, "parts": 2, "affine": False},
}
_ROWS_OF_CASE = (8, 7, 10, 5)


class _Only(nn.Module):
    """One step of a module as a module, so that it is judged like one."""

    def __init__(self, whole: Any, step: str) -> None:
        super().__init__()
        if not isinstance(whole, nn.Module):
            raise TypeError(f"PartAware(…) made {show(whole)}: expected an nn.Module")
        self.whole: Any = whole
        self.step = step

    def forward(self, x: Tensor) -> Any:
        if self.step == "vectors":
            return self.whole.vectors(x)
        found = self.whole.attend(x)
        two = isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(part, Tensor) for part in found)
        if found is None or not two:
            raise TypeError(f"attend returns two tensors, what each part takes and A; found {show(found)}")
        shapes, wanted = [tuple(part.shape) for part in found], [tuple(x.shape), (*x.shape[:2], x.shape[1])]
        if shapes != wanted:
            raise ValueError(
                f"attend gave the shapes {shapes[0]} and {shapes[1]}: expected {wanted[0]} and {wanted[1]}. The parts "
                "attend to each other, not the channels: A has a row and a column for each part"
            )
        return torch.cat(list(found), dim=2)


def _step(step: str, reference: type[nn.Module]) -> Callable[[Any], Wrong | str | None]:
    """Judges one step of the answer: a class of which the method `step` is written."""

    def only(made: Callable[..., Any]) -> Callable[..., Any]:
        return made if step == "forward" else lambda *arguments: _Only(made(*arguments), step)

    def inputs(arguments: Mapping[str, Any], rows: int) -> Callable[[torch.Generator], Sequence[Tensor]]:
        if step == "attend":
            return _batch(3, arguments.get("parts", 4), max(1, arguments["channels"] // 3))
        return _batch(3, arguments["channels"], rows, 5)

    cases = {
        name: Built(arguments, inputs(arguments, rows))
        for (name, arguments), rows in zip(_PART_CASES.items(), _ROWS_OF_CASE, strict=True)
    }
    mistakes = [(only(made), words) for made, words in _PART_MISTAKES[step]]
    judge = module(only(reference), cases, mistakes).judge
    return lambda answer: judge(only(answer))


def _built_in_steps(reference: type[nn.Module]) -> Callable[[Any], Wrong | str | None]:
    judges = {step: _step(step, reference) for step in _STEPS}

    def judge(answer: Any) -> Wrong | str | None:
        if not isinstance(answer, type):
            return f"expected a class, found {show(answer)}"
        given = {step: getattr(answer, step, None) for step in _STEPS}
        missing = [step for step, method in given.items() if method in (None, nn.Module.forward) or is_stub(method)]
        if len(missing) == len(_STEPS):
            raise NotAttempted
        written = [step for step in _STEPS if step not in missing]
        for step in written:
            wrong = judges[step](answer)
            if wrong:
                found = wrong if isinstance(wrong, Wrong) else Wrong(wrong)
                return Wrong(f"{_STEPS[step]}: {found.words}", found.case)
        if missing:
            right = " and ".join(_STEPS[step] for step in written)
            raise NotAttempted(f"Right so far: the layers, and {right}. Next: {_STEPS[missing[0]]}")
        return None

    return judge


def _part_aware() -> Exercise:
    ours, theirs = _built_in_steps(_Parts), _built_in_steps(_AutoReID)
    praise = (
        "Stem, cells and losses need no change for it: it is an operation like the others, from C channels to C "
        "channels. From here on the notebook builds this class in the place of the library's"
    )
    return _either(Exercise(ours, praise, "PartAware", PartAware), Exercise(theirs, praise, "PartAware", PartAware))


# 01.4


class _Steps(Cell):
    """The library's cell, in steps that a mistake can replace."""

    def states(self, before_last: Tensor, last: Tensor) -> list[Tensor]:
        return self.inputs(before_last, last)

    def joined(self, states: list[Tensor]) -> Tensor:
        return torch.cat(states[CELL_INPUTS:], dim=1)

    def read(self, states: list[Tensor], source: int, edge: int) -> Tensor:
        return states[source]

    def added(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        states = self.states(before_last, last)
        for node, sources in enumerate(self.sources):
            first, second = (
                self.operations[2 * node + edge](self.read(states, source, edge)) for edge, source in enumerate(sources)
            )
            states.append(self.added(first, second))
        return self.joined(states)


class _AllStates(_Steps):
    def joined(self, states: list[Tensor]) -> Tensor:
        return torch.cat(states, dim=1)


class _SumOfNodes(_Steps):
    def joined(self, states: list[Tensor]) -> Tensor:
        return torch.stack(states[CELL_INPUTS:]).sum(dim=0)


class _LastNode(_Steps):
    def joined(self, states: list[Tensor]) -> Tensor:
        return states[-1]


class _OtherOrder(_Steps):
    def joined(self, states: list[Tensor]) -> Tensor:
        return torch.cat(states[: CELL_INPUTS - 1 : -1], dim=1)


class _AlongBatch(_Steps):
    def joined(self, states: list[Tensor]) -> Tensor:
        return torch.cat(states[CELL_INPUTS:], dim=0)


class _LastCellOnly(_Steps):
    def read(self, states: list[Tensor], source: int, edge: int) -> Tensor:
        return states[1] if source < CELL_INPUTS else states[source]


class _StateOne(_Steps):
    def read(self, states: list[Tensor], source: int, edge: int) -> Tensor:
        return states[1]


class _InOrder(_Steps):
    def read(self, states: list[Tensor], source: int, edge: int) -> Tensor:
        return states[edge]


class _Exchanged(_Steps):
    def states(self, before_last: Tensor, last: Tensor) -> list[Tensor]:
        return self.inputs(before_last, last)[::-1]


class _InPlace(_Steps):
    def added(self, first: Tensor, second: Tensor) -> Tensor:
        return first.add_(second)


_CELL_IN_PLACE = "A skip hands on its state as it is: add_ or += then writes into that state, which later nodes read"


class _Product(_Steps):
    def added(self, first: Tensor, second: Tensor) -> Tensor:
        return first * second


class _Mean(_Steps):
    def added(self, first: Tensor, second: Tensor) -> Tensor:
        return (first + second) / 2


class _FirstEdge(_Steps):
    def added(self, first: Tensor, second: Tensor) -> Tensor:
        return first


def _built(
    nodes: Sequence[Node],
    inputs: tuple[int, int],
    channels: int,
    *,
    reduction: bool = False,
    after_reduction: bool = False,
    parts: int = 4,
    stride: int = 0,
    heed_parts: bool = True,
    affine: bool = True,
) -> nn.Module:
    """A cell whose operations are built with another stride, other parts or another norm."""
    cell = Cell(nodes, inputs, channels, reduction=reduction, after_reduction=after_reduction, parts=parts)
    cell.operations = nn.ModuleList(
        make_operation(
            edge.operation,
            channels,
            (stride if reduction and stride else edge_stride(reduction, edge.input)),
            parts=parts if heed_parts else 4,
            affine=affine,
        )
        for node in nodes
        for edge in node
    )
    if not affine:
        cell.inputs = CellInputs(*inputs, channels, after_reduction, affine=False)
    return cell


_CELL_MISTAKES: Mistakes = [
    (_AllStates, "The two inputs are states, but only nodes go into the output"),
    (_SumOfNodes, "The output is the concatenation of all nodes, not their sum"),
    (_LastNode, "The output is the concatenation of all nodes, not the last one"),
    (_OtherOrder, "Concatenate the nodes in their order: node 0 comes first"),
    (_AlongBatch, "Concatenate along the channels, which are dimension 1"),
    (_LastCellOnly, "State 0 is the output of the cell before the last: an edge says which state it reads"),
    (_StateOne, "Each edge says which state it reads: edge.input"),
    (_InOrder, "The first edge of a node need not read state 0: each edge says which state it reads"),
    (_Exchanged, "State 0 is the cell before the last, state 1 is the last"),
    (_InPlace, _CELL_IN_PLACE),
    (_Product, "A node is the sum of its two operations (eq. 5), not the product"),
    (_Mean, "A node is the sum of its two operations (eq. 5), not the mean"),
    (_FirstEdge, "A node is the sum of two operations (eq. 5): both edges"),
    (partial(_built, stride=1), "In a reduction cell, edges from states 0 and 1 have stride 2"),
    (
        partial(_built, stride=2),
        "In a reduction cell, edges between its nodes have stride 1: nodes are small already",
    ),
    (partial(_built, heed_parts=False), "Hand parts on to the operation: the part-aware module needs it"),
    (partial(_built, affine=False), "A derived cell has norms with a scale, affine=True: there is no α to protect"),
]


def _maps(*shapes: tuple[int, int, int]) -> Callable[[torch.Generator], list[Tensor]]:
    return lambda generator: [torch.randn(3, *shape, generator=generator) for shape in shapes]


def _random_cell(seed: int) -> Built:
    nodes = random_genotype(3, PRIMITIVES["reid"], seed).normal
    halving = {"reduction": True} if seed % 2 else {}
    return Built({"nodes": nodes, "inputs": (3, 5), "channels": 4}, _maps((3, 9, 6), (5, 9, 6)), halving)


_SKIPS = ((Edge("skip_connect", 0), Edge("skip_connect", 1)),)
_TWICE = (
    (Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)),
    (Edge("max_pool_3x3", 0), Edge("skip_connect", 2)),
    (Edge("skip_connect", 2), Edge("avg_pool_3x3", 3)),
)
_SAME_STATE = ((Edge("sep_conv_3x3", 1), Edge("skip_connect", 1)), (Edge("part_aware", 2), Edge("dil_conv_3x3", 2)))
_CELL_CASES = {
    "one node, skip(I₀) + skip(I₁)": Built(
        {"nodes": _SKIPS, "inputs": (5, 6), "channels": 4}, _maps((5, 6, 3), (6, 6, 3))
    ),
    "three nodes, in which states 0 and 2 are read twice": Built(
        {"nodes": _TWICE, "inputs": (5, 6), "channels": 4}, _maps((5, 6, 3), (6, 6, 3))
    ),
    "two nodes, each of which reads one state twice, parts=2": Built(
        {"nodes": _SAME_STATE, "inputs": (5, 6), "channels": 4}, _maps((5, 7, 3), (6, 7, 3)), {"parts": 2}
    ),
    "a reduction cell of three nodes": Built(
        {"nodes": _TWICE, "inputs": (5, 6), "channels": 4}, _maps((5, 7, 5), (6, 7, 5)), {"reduction": True}
    ),
    "a cell behind a reduction cell": Built(
        {"nodes": _TWICE, "inputs": (5, 6), "channels": 4}, _maps((5, 7, 5), (6, 4, 3)), {"after_reduction": True}
    ),
    **{f"random cell {seed}": _random_cell(seed) for seed in range(6)},
}

_CELL_ADVICE = [
    ("", "inplace operation", _CELL_IN_PLACE),
    ("one node", "of yours", "Two skips have no weights: all of them are those of CellInputs, with affine=True"),
    (
        "three nodes",
        "of yours",
        "PyTorch finds weights only in modules that are attributes of self, or in a ModuleList",
    ),
    ("one node", "", "Two skips hand on what CellInputs gives: the output is the sum of its two tensors"),
    ("three nodes", "", "One node is right: append each node to the list of states, and read states[edge.input]"),
    ("two nodes", "", "Build each operation with the parts that the cell was given"),
    ("a reduction cell", "", "Normal cells are right. Edges from states 0 and 1 have stride 2, and no others"),
    ("a cell behind", "", "Hand after_reduction on to CellInputs: it halves the output of the cell before the last"),
]


def _cell() -> Exercise:
    """Judges a cell; a usual mistake is recognised by the cases up to the first wrong one."""
    whole = module(
        Cell,
        _CELL_CASES,
        praise="nasda.cells.Cell has the same lines. From here on the notebook's networks consist of your cells",
        part="Cell",
    )

    def judge(answer: Any) -> Any:
        wrong = whole.judge(answer)
        if not isinstance(wrong, Wrong) or not wrong.case:
            return wrong
        name = next(name for name in _CELL_CASES if wrong.words.startswith(f"{name}: "))
        names = list(_CELL_CASES)[: list(_CELL_CASES).index(name) + 1]
        cases = {name: _CELL_CASES[name] for name in names}
        known = (words for mistake, words in _CELL_MISTAKES if module(mistake, cases).judge(answer) is None)
        advice = (words for case, said, words in _CELL_ADVICE if name.startswith(case) and said in wrong.words)
        return Wrong(". ".join([wrong.words, *islice(chain(known, advice), 1)]), wrong.case)

    return replace(whole, judge=judge)


# 01.5


def _count_cells(nodes: int, operations: int) -> int:
    return prod(comb(2 + node, 2) * (operations - 1) ** 2 for node in range(nodes))


def _counting(of_node: Callable[[int, int], int], over: Callable[..., int] = prod) -> Callable[[int, int], int]:
    return lambda nodes, operations: over(of_node(node, operations) for node in range(nodes))


_COUNTING_MISTAKES: Mistakes = [
    (
        _counting(lambda node, operations: comb(2 + node, 2) * operations**2),
        "None never stands in a derived cell: one operation fewer to choose from",
    ),
    (
        _counting(lambda node, operations: (2 + node) * (1 + node) * (operations - 1) ** 2),
        "The two terms of a sum have no order: each pair of inputs was counted twice",
    ),
    (
        _counting(lambda node, operations: (2 + node) ** 2 * (operations - 1) ** 2),
        "The two inputs of a node differ, and their order does not count",
    ),
    (
        _counting(lambda node, operations: comb(3 + node, 2) * (operations - 1) ** 2),
        "The two inputs of a node differ: there is no pair of a state with itself",
    ),
    (
        _counting(lambda node, operations: comb(2 + node, 2) * (operations - 1) ** 2, sum),
        "Choices of different nodes are free of each other: they multiply",
    ),
    (
        _counting(lambda node, operations: comb(2 + node, 2) * (operations - 1)),
        "Each of the two inputs has an operation of its own: (operations − 1) squared",
    ),
    (
        _counting(lambda node, operations: comb(2 + node, 2) * comb(operations, 2)),
        "The two operations may be the same, and each belongs to its input: (operations − 1) squared",
    ),
    (
        _counting(lambda node, operations: (operations - 1) ** 2),
        "A node chooses its two inputs as well: out of 2 + node states",
    ),
    (
        _counting(lambda node, operations: (operations - 1) ** 2 if node == 0 else comb(2 + node, 2) ** 2),
        "Each node chooses two inputs and an operation for each of them",
    ),
    (
        lambda nodes, operations: _count_cells(nodes, operations) ** 2,
        "That is the number of genotypes; a genotype has two cells, and one is asked for",
    ),
    (
        lambda nodes, operations: _count_cells(nodes + 1, operations) // (operations - 1) ** 2,
        "Node 0 chooses out of two states, so it has one pair of inputs",
    ),
    (
        lambda nodes, operations: comb(2 + nodes, 2) ** nodes * (operations - 1) ** (2 * nodes),
        "Node 0 has two states to choose from, and each node after it one more",
    ),
    (
        lambda nodes, operations: (comb(2, 2) * (operations - 1) ** 2) ** nodes,
        "A later node may use the earlier ones, too: it has one state more to choose from",
    ),
]


def _some_space(rng: np.random.Generator) -> Case:
    return {"nodes": int(rng.integers(1, 6)), "operations": int(rng.integers(2, 10))}


# 01.6


def _rows_per_block(height: int, stem_stride: int) -> list[int]:
    rows = [-(-height // stem_stride)]
    for _ in range(1, SpaceSettings().blocks):
        rows.append(-(-rows[-1] // 2))
    return rows


_ROWS_MISTAKES: Mistakes = [
    (
        lambda height, stem_stride: [height // stem_stride // 2**block for block in range(4)],
        "An odd number of rows is rounded up: with padding, the last row has an output of its own",
    ),
    (
        lambda height, stem_stride: [round(height / stem_stride / 2**block) for block in range(4)],
        "An odd number of rows is rounded up, never down: math.ceil, not round",
    ),
    (
        lambda height, stem_stride: [height / stem_stride / 2**block for block in range(4)],
        "There are no half rows: a halving rounds up",
    ),
    (
        lambda height, stem_stride: [-(-height // (stem_stride * 2 ** (block + 1))) for block in range(4)],
        "The first block has no reduction cell",
    ),
    (
        lambda height, stem_stride: [-(-height // 2**block) for block in range(4)],
        "The stem divides the height, too",
    ),
    (
        lambda height, stem_stride: [-(-height // (stem_stride * 4**block)) for block in range(4)],
        "A reduction cell halves the rows: it divides the pixels by 4, rows and columns by 2",
    ),
    (
        lambda height, stem_stride: [-(-height // stem_stride)] * 4,
        "Blocks 2, 3 and 4 begin with a reduction cell, which halves the rows",
    ),
    (
        lambda height, stem_stride: _rows_per_block(height, stem_stride)[::-1],
        "Block 1 has the most rows: its number comes first",
    ),
]


def _some_image(rng: np.random.Generator) -> Case:
    return {"height": int(rng.integers(16, 300)), "stem_stride": int(rng.choice([1, 2, 4]))}


RECALL = (
    Question("b", "Equation 3: α learns on a little of the target, ω on the source: notebook 00, *The paper's idea*."),
    Question(
        "a",
        "A picture of the same person from the same camera is too easy, so it does not count: notebook 00, *What re-ID "
        "asks*.",
    ),
    Question(
        "c", "Its weights never meet the target, so there is a gap to close: notebook 00, *One person, two worlds*."
    ),
)

EXERCISES = {
    "01.1": module(
        SeparableConv,
        _SEPARABLE_CASES,
        _SEPARABLE_MISTAKES,
        praise="It has 2 · (9C + C²) weights, an ordinary 3×3 convolution 9C²: at C = 32, 2,624 and 9,216",
        part="SeparableConv",
    ),
    "01.2": _either(_pooling(part_means), _pooling(_part_means_of_auto_reid)),
    "01.3": _part_aware(),
    "01.4": _cell(),
    "01.5": like(
        _count_cells,
        [{"nodes": 1, "operations": 6}, {"nodes": 2, "operations": 6}, {"nodes": 4, "operations": 7}],
        _COUNTING_MISTAKES,
        draw=_some_space,
        advice=[
            "One node has two inputs, both of which it takes, and 5 operations for each: list them with choices(0, 6)",
            "One node is right. The second one chooses two of three states: list them with choices(1, 6)",
            "One and two nodes are right. Node n chooses two of n + 2 states",
        ],
        praise="A genotype has two such cells, normal and reduction: the number is squared once more",
    ),
    "01.6": like(
        _rows_per_block,
        [
            {"height": 64, "stem_stride": 2},
            {"height": 49, "stem_stride": 2},
            {"height": 256, "stem_stride": 4},
        ],
        _ROWS_MISTAKES,
        draw=_some_image,
        advice=[
            "64 rows behind a stem of stride 2 are 32: that is block 1. Then each block has half of the one before",
            "64 rows are right. 49 / 2 is rounded up to 25, and 25 / 2 to 13",
            "A stem of stride 4 divides by 4",
        ],
        praise="The part-aware module wants as many rows as parts: this says where that becomes too much to ask",
    ),
}
