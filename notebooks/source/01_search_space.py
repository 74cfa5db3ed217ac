# %% [markdown]
# # 01 · The search space
#
# **What can a cell be?**
#
# [← 00 Start here](00_start_here.ipynb) · [02 The softmax relaxation →](02_softmax_relaxation.ipynb)
#
# Before a machine can search for an architecture, a person has to say what it may find. That decision is called the
# *search space*, and no gradient makes it for us. The paper's space is small: seven operations, a rule that joins them
# to a cell, and a rule that stacks cells to a network. One of the seven was made for people: the part-aware module,
# which lets the parts of a body look at each other.
#
# In this notebook you write three parts of your own searcher: the separable convolution, the part-aware module, and
# the cell. From then on the notebook runs on yours.
#
# **You will be able to**
#
# - write every candidate operation of §2.1 and §2.3, and say which pixels it sees;
# - build the part-aware module in three steps, and watch one part of an image attend to another;
# - build a cell, a directed acyclic graph (eq. 5), from a list of its edges, and correct the paper's slips about it;
# - count all cells, and say what one of them costs in parameters and multiply-adds;
# - say where the cells stand in the whole network, and when that network is too deep for an image.
#
# **You need to know** Python, PyTorch's `nn.Module` and convolutions, and what batch normalisation does. Notebook 00
# shows the data and the question; here only a few images are needed.
#
# **Lesson time**: about 4 hours with the exercises
#
# *Times are filled in here when the notebook is executed.*

# %%
import contextlib
import dataclasses
import io
import math
from itertools import combinations, product

import ipywidgets
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

from nasda.cells import CellInputs
from nasda.course.check import check, mine
from nasda.course.judges import copy_weights
from nasda.course.nb01_search_space import attention_links, costs_picture, distances_picture, operations_picture
from nasda.course.open import open_course
from nasda.course.predict import predict, recall
from nasda.data.domain import identities
from nasda.data.images import normalize
from nasda.data.store import stored
from nasda.data.task import target_sample
from nasda.devices import seeded
from nasda.errors import NasdaError
from nasda.evaluation import reestimate_statistics
from nasda.genotypes import NAMED, NONE, PRIMITIVES, Edge, Genotype, edge_count, random_genotype
from nasda.networks import DerivedNetwork, ResNet, Stem, Supernet, count_cost
from nasda.operations import make_operation, operation_label, rows_to_parts
from nasda.pictures import graphs
from nasda.pictures.graphs import state_label
from nasda.pictures.plots import Plot
from nasda.pictures.widgets import explore
from nasda.runs import RunFolder
from nasda.settings import changed, profile
from nasda.training import run_training

# %% tags=["parameters"]
PROFILE: str = "tiny"  # tiny, laptop, gpu, paper
TASK: str = "person"  # person, vehicle
DATA_ROOT: str = ""  # empty: the built-in data; else the folder that holds the real data sets
SEED: int = 0

# %% [markdown]
# ## Three questions on notebook 00
#
# Put letters in the place of the dots, for instance `recall("01", "a", "b", "c")`.
#
# 1. In the paper's search S+R, on which data does α learn? (a) on the source, like ω (b) on a little of the target (c)
#    on the test set
# 2. Re-identification ranks a gallery for each query. Which gallery images does the test leave out? (a) those of the
#    same identity from the same camera (b) those of other identities (c) those that are ranked last
# 3. Which labels of the target does a network see that is trained on the source alone? (a) all of them (b) those of
#    the training split (c) none

# %%
recall("01", ..., ..., ...)

# %% [markdown]
# ## Something to compute on
#
# An operation of a cell never sees an image. It sees a *feature map*, a stack of C channels (B, C, H, W), which a
# first convolution has made: the *stem*. We take eight images of the target domain, one an identity, and an untrained
# stem. Random weights are enough here, since this notebook asks what an operation *can* compute, not what it has
# learnt.

# %%
course = open_course(PROFILE, TASK, DATA_ROOT, SEED)
settings = course.settings
samples = target_sample(course.task.target, 1, course.seed)[:8]
photos = stored(samples, settings.data.height, settings.data.width)  # bytes, (8, 3, height, width)
pixels = normalize(photos)

CHANNELS = 12
with seeded(course.seed), torch.no_grad():
    x = Stem(CHANNELS, stride=2)(pixels)
print(f"images {tuple(pixels.shape)} → feature map {tuple(x.shape)}")

# %% [markdown]
# ## Five operations in five lines, and a sixth that is yours
#
# §2.1 lists six candidates: max pooling, average pooling, a depth-wise separable convolution, a dilated convolution,
# the zero operation, called *none*, and the skip connection, which the paper calls identity. §2.3 lists **seven**: the
# same, and the part-aware module. The first list is the space that the paper starts from, the second the space that it
# searches. The library has both by name, `PRIMITIVES["plain"]` and `PRIMITIVES["reid"]`.
#
# *Depth-wise* means: each channel is filtered by itself with its own 3×3 kernel. *Point-wise* means: a 1×1 convolution
# then mixes the channels. The dilated convolution does this once, with a kernel whose nine weights (its *taps*) stand
# two pixels apart. There is a ReLU before it and a batch norm behind it. Pooling has a batch norm, too; we shall see
# what for.


# %%
def norm(y):
    """Batch norm without learnable scale: each channel gets mean 0 and variance 1."""
    return F.batch_norm(y, None, None, training=True)


def dilated(x, kernels, mix):
    each = F.conv2d(F.relu(x), kernels, padding=2, dilation=2, groups=len(kernels))
    return norm(F.conv2d(each, mix))


by_hand = {
    "none": lambda x: torch.zeros_like(x),
    "max_pool_3x3": lambda x: norm(F.max_pool2d(x, 3, 1, 1)),
    "avg_pool_3x3": lambda x: norm(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
    "skip_connect": lambda x: x,
    "dil_conv_3x3": dilated,
}

# %% [markdown]
# The library's version of each is a module that `make_operation(name, channels)` returns. We hand its weights to our
# own line and compare. `affine=False` gives batch norm no learnable scale, as in a search: an operation could
# otherwise grow by its scale instead of by its α, the number by which a search weighs it, and α would no longer say
# which operation matters (DARTS' code does the same).

# %%
for name, forward in by_hand.items():
    with seeded(course.seed):
        operation = make_operation(name, CHANNELS, affine=False)
    with torch.no_grad():
        ours, theirs = forward(x, *operation.parameters()), operation(x)
    torch.testing.assert_close(ours, theirs)
    shapes = ", ".join(str(tuple(p.shape)) for p in operation.parameters())
    print(f"{operation_label(name):13} equal  {shapes}")

# %% [markdown]
# ### Exercise 01.1 ●○○ · importance ●●○ (15 minutes)
#
# Write the sixth: the separable convolution `sep_conv_3x3`, as a module. Four layers in a row, **twice** (as in DARTS;
# the paper leaves it open):
#
# | layer | channels | kernel | stride | bias |
# |---|---|---|---|---|
# | ReLU | | | | |
# | depth-wise convolution | C → C | 3×3, padding 1 | `stride` the first time, 1 the second | no |
# | point-wise convolution | C → C | 1×1 | 1 | no |
# | batch norm, with a scale if `affine` | C | | | |
#
# The check copies the library's weights into your layers, by their names if they are the same, else by their shapes in
# the order in which you define them. Then your features must be the library's, to nine digits.


# %% tags=["exercise"]
class SeparableConv(nn.Module):
    """ReLU, depth-wise 3×3, point-wise 1×1, batch norm, twice: (B, C, H, W) → (B, C, H / stride, W / stride)."""

    def __init__(self, channels, stride, affine=True): ...

    def forward(self, x): ...


# %%
check("01.1", SeparableConv)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `nn.Conv2d` has an argument `groups`. With `groups=channels` each output channel sees one input channel.
# </details>
# <details><summary>Hint 2</summary>
#
# `super().__init__()` comes first. Eight layers in one `nn.Sequential` will do, and a loop over `(stride, 1)` makes
# them. Then `forward` is one line.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# class SeparableConv(nn.Module):
#     """ReLU, depth-wise 3×3, point-wise 1×1, batch norm, twice: (B, C, H, W) → (B, C, H / stride, W / stride)."""
#
#     def __init__(self, channels, stride, affine=True):
#         super().__init__()
#         layers = []
#         for step in (stride, 1):
#             layers += [
#                 nn.ReLU(),
#                 nn.Conv2d(channels, channels, 3, step, padding=1, groups=channels, bias=False),
#                 nn.Conv2d(channels, channels, 1, bias=False),
#                 nn.BatchNorm2d(channels, affine=affine),
#             ]
#         self.layers = nn.Sequential(*layers)
#
#     def forward(self, x):
#         return self.layers(x)
# ```
# </details>

# %% [markdown]
# A right answer is kept in your file, `my_nasda.py` in the folder `runs`. `mine` takes it from there; where there is
# none, it takes the library's.

# %%
SeparableConv = mine("01.1")  # yours, or the library's

# %% [markdown]
# ## What an operation sees
#
# Which input pixels can change one output pixel? The gradient knows: we take the output's centre, differentiate it by
# the input, and look where the result is not zero. A ReLU or a maximum hides some pixels by chance, so we average the
# gradient's size over twenty random weights and inputs. This is the *receptive field*, and its shading shows more than
# its outline does: pixels at the border have fewer paths to the centre than those in the middle (Luo et al. 2016).
#
# First a guess. At stride 1 two 3×3 convolutions in a row see 5 × 5 pixels. At stride 2 the first one halves the map,
# and the second works on the halved map. How many rows of the input does one output pixel see then? (unit: rows)

# %%
guess_rows = predict("01.a", ..., unit="rows")


# %%
def sees(build, stride=1, *, height=16, width=12, training=False, draws=20):
    """How strongly each input pixel moves the output's centre: mean |gradient|, (height, width)."""
    field = torch.zeros(height, width)
    for draw in range(draws):
        with seeded(course.seed, draw):
            operation = build(3, stride).train(training)
            image = torch.randn(2, 3, height, width, requires_grad=True)
        output = operation(image)
        centre = output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(centre + 0 * image.sum(), image)  # 0 · … is there for none
        field += gradient[0].abs().sum(dim=0) / draws
    return field


sizes = {stride: int((sees(SeparableConv, stride).sum(dim=1) > 1e-9).sum()) for stride in (1, 2)}
print(f"your separable convolution sees {sizes[1]} rows at stride 1, {sizes[2]} at stride 2")
guess_rows.against(sizes[2])

# %% [markdown]
# The second layer's outer taps stand two input pixels from its middle, and each of them sees one pixel more: 2 + 1 to
# each side, with the middle 7.
#
# Now all seven. The first row of the picture shows what each operation, with random weights, makes of one of our
# images (grey: the mean over its output channels). The rows below show what the centre of a 16 × 12 map sees, at
# stride 1 and at stride 2. Everything is in evaluation mode; the reason comes after the picture.

# %%
fields, shown = {1: {}, 2: {}}, {}
for name in PRIMITIVES["reid"]:
    for stride in fields:
        fields[stride][name] = sees(lambda channels, s, name=name: make_operation(name, channels, s), stride)
    with seeded(course.seed, 1), torch.no_grad():
        shown[name] = make_operation(name, 3).eval()(pixels[:1])[0].mean(dim=0)
operations_picture({"an image": shown, "sees, stride 1": fields[1], "sees, stride 2": fields[2]})

# %% [markdown]
# Read it column by column. *None* sees nothing, so it switches an edge off. Pooling sees 3×3. The dilated convolution
# spans 5×5 with nine taps and gaps between them. The skip connection sees one pixel at stride 1. At stride 2 it cannot
# pass everything on: DARTS puts a *factorised reduction* in its place, two 1×1 convolutions of which one looks at a
# pixel and the other at its diagonal neighbour (`nasda.operations.FactorizedReduce`).
#
# The last column is of another kind. The part-aware module sees its own pixel strongly, and the *whole* image faintly,
# through its parts (the picture exaggerates: whatever has any influence is at least pale blue). A stack of a few 3×3
# layers cannot do that.

# %% [markdown]
# ### Break it: the same in training mode
#
# In training, batch norm subtracts the mean of the whole batch. Then every pixel of every image in the batch has an
# influence, if a small one. Without `eval()` one measures batch norm's receptive field:

# %%
for mode in ("evaluation", "training"):
    field = sees(lambda c, s: make_operation("avg_pool_3x3", c, s), training=mode == "training")
    print(f"avg pool 3×3, {mode}: {int((field > 1e-9).sum())} pixels of {field.numel()}")

# %% [markdown]
# ### Break it: pooling without batch norm
#
# Why does pooling need a batch norm? Because of what comes later: a search will *mix* all operations of an edge,
# weighted by a softmax of α, and read the weights as importance. That reading is fair only where the things that are
# mixed are of one size. Here is what they are without the norm.

# %%
with seeded(course.seed), torch.no_grad():
    k, mix = make_operation("dil_conv_3x3", CHANNELS, affine=False).parameters()
    raw = {
        "identity": x,
        "max pool 3×3": F.max_pool2d(x, 3, 1, 1),
        "avg pool 3×3": F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        "dil conv 3×3": F.conv2d(F.conv2d(F.relu(x), k, padding=2, dilation=2, groups=CHANNELS), mix),
    }
for name, y in raw.items():
    print(f"{name:13} without norm: mean {y.mean():5.2f}, std {y.std():4.2f}; with: {norm(y).std():4.2f}")

# %% [markdown]
# The two poolings differ little in spread from the identity; the maximum has another mean, since a maximum of nine
# values is at least as large as each of them. The small number is the convolution's: with its initial weights it makes
# its input several times smaller. With equal α the larger terms would drown it, and a search would notice a term's
# size, not its use. (The skip connection has no norm: what it passes on is a sum of terms that had one.)
#
# One difference to DARTS: its code has the pooling's batch norm in the search only, and drops it from the derived
# network. Here a derived cell keeps it, with a scale (`nasda.operations.Pool`).

# %% [markdown]
# ## The part-aware module
#
# Auto-ReID (Quan et al. 2019) adds an operation for bodies. A pedestrian's box has a fixed order from top to bottom:
# head, torso, legs, feet. So cut the feature map into P horizontal stripes, make one vector of each, and let these
# vectors look at each other before they go back to where they came from. §2.3 describes it in a few sentences, without
# an equation. In full it is four steps. $S_p$ are the rows of part $p$, $p(r)$ is the part of row $r$, and
# $h = \max(1, \lfloor C/3 \rfloor)$ is the length of $u_p$. $W_p$, $Q$, $K$ and $M$ are learnt matrices, $b$ is a
# learnt vector, BN a batch norm, and $[\,;\,]$ puts two vectors one below the other. The letters that number the
# equations are ours:
#
# $$v_p = \frac{1}{|S_p|\,W} \sum_{r \in S_p} \sum_{w} x_{:,r,w} \tag{a}$$
#
# $$u_p = \mathrm{BN}(W_p\,\mathrm{ReLU}(v_p)), \qquad W_p \in \mathbb{R}^{h \times C} \tag{b}$$
#
# $$A_{pq} = \mathrm{softmax}_q\, \langle Q u_p + b,\; K u_q \rangle, \qquad \tilde u_p = \sum_q A_{pq}\, u_q \tag{c}$$
#
# $$y_{:,r,w} = \mathrm{BN}\big(M\,[\,x_{:,r,w}\,;\; \tilde u_{p(r)}\,]\big) \tag{d}$$
#
# First (a), on images instead of feature maps, because there one sees it: each stripe becomes its mean colour.

# %%
PARTS = settings.space.parts


def mean_colours(images):
    """Each stripe filled with its mean colour: (B, 3, H, W) → the same shape."""
    stripes = images.unflatten(2, (PARTS, -1))  # (B, 3, P, H/P, W)
    v = stripes.mean(dim=(3, 4), keepdim=True)  # (a)
    return v.expand_as(stripes).flatten(2, 3)


figure = Plot(9, 9 / 8 * 2 * photos.shape[2] / photos.shape[3])
for panels, (title, images) in zip(
    figure.subplots(2, 8), {"image": photos / 255, "parts": mean_colours(photos / 255)}.items(), strict=True
):
    panels[0].set_ylabel(title)
    for panel, image in zip(panels, images, strict=True):
        panel.imshow(image.permute(1, 2, 0))
        panel.set(xticks=[], yticks=[])
figure.alt = f"{len(photos)} photographs; below each one its {PARTS} stripes, filled with their mean colours"
display(figure)

# %% [markdown]
# Four colours say little, and the background washes them out. A feature map has more channels, and its weights can
# learn to leave the background aside; part-based pooling was a success of its own in re-identification (PCB, Sun et
# al. 2018).

# %% [markdown]
# ### Exercise 01.2 ●●○ · importance ●●● (15 minutes)
#
# The cell above needs H to be a multiple of P. Feature maps are not so kind. Write the pooling (a) for any H ≥ P: row
# r (from 0) belongs to part ⌊r · P / H⌋, and every part is the mean of its own rows.


# %% tags=["exercise"]
def part_means(x, parts):
    """The mean of each part's rows: (B, C, H, W) → (B, parts, C), for any H ≥ parts."""
    ...


# %%
check("01.2", part_means)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.arange(H) * parts // H` says which part each row belongs to. Print it for 10 rows and 4 parts.
# </details>
# <details><summary>Hint 2</summary>
#
# Compare it with each part's number to choose rows: `x[:, :, of_row == part]`. PyTorch's `F.adaptive_avg_pool2d` looks
# like a shortcut; try it on 10 rows and 4 parts, and count how often each row is used.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def part_means(x, parts):
#     of_row = torch.arange(x.shape[2]) * parts // x.shape[2]
#     return torch.stack([x[:, :, of_row == part].mean(dim=(2, 3)) for part in range(parts)], dim=1)
# ```
#
# Adaptive pooling uses overlapping windows where H does not divide, so that a shoe could count as a leg, too.
# </details>

# %%
part_means = mine("01.2")  # yours, or the library's

# %% [markdown]
# The library's rule for rows is `nasda.operations.rows_to_parts`. Stripes differ by one row at most. Auto-ReID's code
# lets part p begin at row ⌊p · H / P⌋ instead. Both agree where P divides H; of 10 rows they make different stripes:

# %%
for rows in (8, 10, 7):
    theirs = [(part + 1) * rows // 4 - part * rows // 4 for part in range(4)]
    print(f"{rows:2} rows: {rows_to_parts(rows, 4).bincount().tolist()} here, {theirs} in Auto-ReID's code")
try:
    rows_to_parts(3, 4)
except NasdaError as error:
    print(" 3 rows:", error)

# %% [markdown]
# ### Exercise 01.3 ●●● · importance ●●● (60 minutes)
#
# Now the module. The check looks at it in three steps and says how far you are; run it after each.
#
# **The layers.** Weights are copied by name, so take these names. `project` is an `nn.Sequential` of three layers:
#
# | name | layers | bias | step |
# |---|---|---|---|
# | `project` | ReLU, 1×1 `nn.Conv1d` from P · C to P · h channels in P groups, `nn.BatchNorm1d` | no | (b) |
# | `query` | `nn.Linear` from h to h | yes | (c) |
# | `key` | `nn.Linear` from h to h | no | (c) |
# | `merge` | a 1×1 `nn.Conv2d` from C + h to C channels, with the module's stride | no | (d) |
# | `norm` | `nn.BatchNorm2d` | | (d) |
#
# Each part has a projection of its own, $W_p$; one convolution in P groups holds all of them. `affine` goes to both
# batch norms. The key has no bias because the softmax over q would cancel it.
#
# **`vectors`** is (a) and (b). The grouped convolution wants the P vectors of an image one behind the other, (B, P · C,
# 1), and gives (B, P · h, 1). **`attend`** is (c), the self-attention of a transformer with three differences: its
# tokens are the P parts of one image; the scores are not divided by the root of h; there is no value projection. Each
# row of A sums to 1. **`forward`** is the whole, and ends with (d): every pixel of row r gets $\tilde u$ of its part,
# below its own C channels.


# %% tags=["exercise"]
class PartAware(nn.Module):
    """Auto-ReID's part-aware module: (B, C, H, W) → (B, C, H / stride, W / stride)."""

    def __init__(self, channels, stride, parts=4, affine=True):
        super().__init__()
        self.parts, self.hidden = parts, max(1, channels // 3)
        # the layers of the table

    def vectors(self, x):
        """Steps (a) and (b): (B, C, H, W) → u, (B, parts, hidden)."""

    def attend(self, u):
        """Step (c): u → two tensors: what each part takes (B, parts, hidden), and A (B, parts, parts)."""

    def forward(self, x):
        """Call `vectors` and `attend`, then step (d)."""


# %%
check("01.3", PartAware)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For `vectors`: `part_means(x, self.parts)` is (B, P, C). `flatten(1)` puts the parts one behind the other,
# `unsqueeze(2)` adds the length 1 that a `Conv1d` wants. Behind the projection, `reshape` makes (B, P, h) of it.
# </details>
# <details><summary>Hint 2</summary>
#
# For `attend`: `self.query(u)` and `self.key(u)` are (B, P, h). Their scores are one matrix product, (B, P, P), with
# the second one transposed in its last two dimensions. Then a softmax over the last dimension, and `A @ u`.
# </details>
# <details><summary>Hint 3</summary>
#
# For `forward`: which part is row r in? Index the P vectors with that: `mixed[:, of_row]` is (B, H, h). Bring it to
# (B, h, H), add a last dimension and `expand` it to the width. Then `torch.cat` with x along the channels, `merge`,
# `norm`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# class PartAware(nn.Module):
#     """Auto-ReID's part-aware module: (B, C, H, W) → (B, C, H / stride, W / stride)."""
#
#     def __init__(self, channels, stride, parts=4, affine=True):
#         super().__init__()
#         self.parts, self.hidden = parts, max(1, channels // 3)
#         self.project = nn.Sequential(
#             nn.ReLU(),
#             nn.Conv1d(parts * channels, parts * self.hidden, 1, groups=parts, bias=False),
#             nn.BatchNorm1d(parts * self.hidden, affine=affine),
#         )
#         self.query = nn.Linear(self.hidden, self.hidden)
#         self.key = nn.Linear(self.hidden, self.hidden, bias=False)
#         self.merge = nn.Conv2d(channels + self.hidden, channels, 1, stride, bias=False)
#         self.norm = nn.BatchNorm2d(channels, affine=affine)
#
#     def vectors(self, x):
#         """Steps (a) and (b): (B, C, H, W) → u, (B, parts, hidden)."""
#         v = part_means(x, self.parts)  # (a)
#         u = self.project(v.flatten(1).unsqueeze(2))  # (b)
#         return u.reshape(len(x), self.parts, self.hidden)
#
#     def attend(self, u):
#         """Step (c): u → two tensors: what each part takes (B, parts, hidden), and A (B, parts, parts)."""
#         scores = self.query(u) @ self.key(u).transpose(1, 2)
#         A = torch.softmax(scores, dim=2)  # (c)
#         return A @ u, A
#
#     def forward(self, x):
#         """Call `vectors` and `attend`, then step (d)."""
#         height, width = x.shape[2:]
#         mixed, _ = self.attend(self.vectors(x))
#         of_row = torch.arange(height) * self.parts // height
#         spread = mixed[:, of_row].transpose(1, 2).unsqueeze(3).expand(-1, -1, -1, width)
#         return self.norm(self.merge(torch.cat([x, spread], dim=1)))  # (d)
# ```
# </details>

# %%
PartAware = mine("01.3")  # yours, or the library's

# %% [markdown]
# Public re-implementations of this module get it wrong in an instructive way: they let *channels* attend to each
# other, by a transposed matrix product (read in public code). Shapes then fit by accident, and nothing complains.
# Printing shapes at every step is the cheapest protection there is:

# %%
with seeded(course.seed), torch.no_grad():
    module = PartAware(CHANNELS, 1, PARTS, False)
    v, u = part_means(x, PARTS), module.vectors(x)
    mixed, A = module.attend(u)
    y = module(x)
for name, tensor in {"x": x, "v": v, "u": u, "A": A, "mixed": mixed, "y": y}.items():
    print(f"{name:5} {tuple(tensor.shape)}")
print("A of the first image:", [[round(weight, 2) for weight in row] for row in A[0].tolist()])

# %% [markdown]
# Is it Auto-ReID's module to the letter? In three points it is not (authors' code). The stripes differ where P does
# not divide H, as above. At stride 2 Auto-ReID merges by a factorised reduction, with a ReLU before it, and we by one
# 1×1 convolution of stride 2, which reads a quarter of the pixels. And its projection and its key have biases, which
# batch norm and softmax cancel.

# %% [markdown]
# ## A cell is a directed acyclic graph
#
# Now the operations are joined. A cell has two inputs, the outputs of the last two cells, and N nodes in a row. Node
# $i$ of cell $c$ chooses two earlier states and an operation for each, and adds the results:
#
# $$I_i^c = \mathcal{O}_{i1}^c(I_{i1}^c) + \mathcal{O}_{i2}^c(I_{i2}^c) \tag{5}$$
#
# Around this equation the text slips three times. Here is what is printed and what is meant:
#
# | printed in §2.1 | read here |
# |---|---|
# | both operations are summed *to output* | the sum is a **node**; the output is the **concatenation** of all nodes |
# | inputs: the last two cells and the previous *block* | the previous **nodes**; a block is a group of cells (§3.3) |
# | node $i$ of cell $c$ is $(I_{c1}^i, I_{c2}^i, O_{c1}^c, O_{c2}^c)$ | $(I_{i1}^c, I_{i2}^c, O_{i1}^c, O_{i2}^c)$ |
#
# Concatenation matters: with N nodes of C channels each, a cell puts out N · C channels, and a node that nobody uses
# still reaches the output. (Eq. 6, which relaxes this choice, has slips of its own: notebook 02.)
#
# In the library the choice is data. A `Genotype` holds the nodes of the normal and of the reduction cell; a node is
# two `Edge(operation, input)`. States are numbered: 0 is the output of the cell before the last, 1 that of the last
# cell, 2 is node 0, 3 is node 1, and so on.

# %%
NODES = (
    (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),
    (Edge("part_aware", 1), Edge("max_pool_3x3", 2)),
)
by_us = Genotype(normal=NODES, reduce=NODES)


def upright(graph):
    """The same graph from top to bottom, as it fits a page."""
    graph.graph_attr.update(rankdir="TB", ranksep="0.15", nodesep="0.3")
    return graph


graphs.show(upright(graphs.cell_graph(by_us, "normal")))

# %% [markdown]
# The inputs are above and the output below. The letters are DARTS': $c_k$ is the output of cell $k$, so $c_{k-1}$ and
# $c_{k-2}$ are the outputs of the last two cells, the paper's $I^{c-1}$ and $I^{c-2}$.
#
# Two things are given to you. `CellInputs` brings the two inputs to C channels and to one size: each goes through
# ReLU, a 1×1 convolution and batch norm; the cell before the last, where it is twice as large because a reduction cell
# stands between, through a factorised reduction. And `build_operation` makes an operation by its name, yours where you
# have written it:


# %% tags=["given"]
def build_operation(name, channels, stride=1, *, parts=4):
    """An operation of a derived cell: yours where you have written it, else the library's."""
    if name == "sep_conv_3x3":
        return SeparableConv(channels, stride)
    if name == "part_aware":
        return PartAware(channels, stride, parts)
    return make_operation(name, channels, stride, parts=parts)


with torch.no_grad():
    at_inputs = CellInputs(16, 24, CHANNELS, after_reduction=True, affine=True)
    i_0, i_1 = at_inputs(torch.randn(2, 16, 32, 16), torch.randn(2, 24, 16, 8))
print(f"I₀ {tuple(i_0.shape)}, I₁ {tuple(i_1.shape)}")
for name in ("sep_conv_3x3", "part_aware", "dil_conv_3x3"):
    print(f"{operation_label(name):12} from {type(build_operation(name, CHANNELS)).__module__}")

# %% [markdown]
# ### Exercise 01.4 ●●○ · importance ●●● (40 minutes)
#
# Write the cell. `nodes` is one half of a genotype, like `NODES` above; `inputs` are the channels of the two cells
# before it, as in `CellInputs(*inputs, channels, after_reduction, affine=True)`.
#
# - `__init__` makes the inputs and then the operations, node by node, edge by edge. In a **reduction** cell the
#   operations that read state 0 or 1 have stride 2, all others stride 1.
# - `forward` computes the states one after the other (eq. 5) and concatenates the **nodes** along the channels.


# %% tags=["exercise"]
class Cell(nn.Module):
    """The cell of a genotype: two cell outputs → (B, N · C, H, W), or half of H and W in a reduction cell."""

    def __init__(self, nodes, inputs, channels, *, reduction=False, after_reduction=False, parts=4): ...

    def forward(self, before_last, last): ...


# %%
check("01.4", Cell)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# PyTorch finds weights only in modules that are attributes of `self`, or in an `nn.ModuleList`. One flat list of 2N
# operations will do; keep `nodes`, too, for the input of each edge.
# </details>
# <details><summary>Hint 2</summary>
#
# In `forward`, keep a list of states. It begins with the two tensors of `CellInputs`. Append each node when it is
# computed: then a later edge finds it at `states[edge.input]`.
# </details>
# <details><summary>Hint 3</summary>
#
# Operation number k of node n is number 2n + k of the flat list. Add with `+`, which makes a new tensor: `add_` would
# write into the output of a skip, and that is a state.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# class Cell(nn.Module):
#     """The cell of a genotype: two cell outputs → (B, N · C, H, W), or half of H and W in a reduction cell."""
#
#     def __init__(self, nodes, inputs, channels, *, reduction=False, after_reduction=False, parts=4):
#         super().__init__()
#         self.nodes = nodes
#         self.inputs = CellInputs(*inputs, channels, after_reduction, affine=True)
#         self.operations = nn.ModuleList()
#         for node in nodes:
#             for edge in node:
#                 stride = 2 if reduction and edge.input < 2 else 1
#                 self.operations.append(build_operation(edge.operation, channels, stride, parts=parts))
#
#     def forward(self, before_last, last):
#         states = self.inputs(before_last, last)
#         operations = iter(self.operations)
#         for node in self.nodes:
#             first, second = (next(operations)(states[edge.input]) for edge in node)
#             states.append(first + second)  # eq. 5
#         return torch.cat(states[2:], dim=1)
# ```
# </details>

# %%
Cell = mine("01.4")  # yours, or the library's

# %% [markdown]
# A network is made of cells. The library's `DerivedNetwork` has a stem, cells and a head; we put your cells in the
# place of its own, with the same weights. Its features must not change.


# %%
def with_your_cells(network):
    """The same network, each cell replaced by yours with the same weights."""
    for number, place in enumerate(network.places):
        nodes, halves = network.genotype.cell(place.kind), place.kind == "reduce"
        options = {"reduction": halves, "after_reduction": place.after_reduction, "parts": settings.space.parts}
        yours = Cell(nodes, place.inputs, place.channels, **options)
        assert copy_weights(network.cells[number], yours) is None
        network.cells[number] = yours.to(course.device)
    return network.eval()


classes = len(identities(course.task.source.train))
network = DerivedNetwork(by_us, settings.space, classes, seed=course.seed).to(course.device).eval()
with torch.no_grad():
    theirs = network.features(pixels.to(course.device))
    yours = with_your_cells(network).features(pixels.to(course.device))
print(f"f {tuple(yours.shape)}, largest difference {float((yours - theirs).abs().max()):.1e}")

# %% [markdown]
# ## Attention among the parts of an image
#
# What does A look like in a network that has learnt something? Three small networks, one for each seed, are trained
# briefly on the source by the library's `run_training` (its losses are the subject of notebook 03). Their reduction
# cells hold a part-aware module each; the genotype is `resnet-like`, drawn by hand, and comes below. Beside each
# stands the same network before training, with the same initial weights. All of them get your cells. The runs stay in
# a run folder, so that a second execution finds them.

# %%
GENOTYPE = NAMED["resnet-like"]
lesson = course.experiment.path / "lesson-01"
brief = changed(settings, train={"epochs": 4, "steps": 10})
networks = {"untrained": [], "trained": []}
runs = [RunFolder(lesson / f"resnet-like-{seed}") for seed in range(3)]
for seed, run in enumerate(runs):
    with contextlib.redirect_stdout(io.StringIO()):  # a line an epoch; notebook 04 looks at such lines
        trained = run_training(run, course.task, GENOTYPE, brief, seed=seed, device=course.device)
    untrained = DerivedNetwork(GENOTYPE, settings.space, classes, seed=seed).to(course.device)
    networks["untrained"].append(with_your_cells(untrained))
    networks["trained"].append(with_your_cells(trained))
    losses = [row["loss"] for row in run.read_log("loss")]
    print(f"seed {seed}: loss of the first epoch {losses[0]:.2f}, of the last {losses[-1]:.2f}")

# %% [markdown]
# To read A we need what goes into the module, deep inside the network. A forward hook fetches it; your `vectors` and
# `attend` do the rest. If every part took the same share of all parts, all entries of A would be 1/P. How far are they
# from that?


# %%
def attention_of(network, block):
    """A in the part-aware module of the reduction cell of `block` (2 to 4): (8, parts, parts)."""
    modules = [module for module in network.modules() if hasattr(module, "attend")]
    module, fetched = modules[block - 2], []
    hook = module.register_forward_pre_hook(lambda _, inputs: fetched.append(inputs[0]))
    with torch.no_grad():
        network.eval().features(pixels.to(course.device))
        hook.remove()
        return module.attend(module.vectors(fetched[0]))[1].cpu()


def distances():
    """Mean distance of A's entries from 1/P: for each kind of network, of three seeds the blocks 2, 3 and 4."""
    return {
        kind: [[float((attention_of(net, b) - 1 / PARTS).abs().mean()) for b in (2, 3, 4)] for net in nets]
        for kind, nets in networks.items()
    }


before = distances()
for kind, seeds in before.items():
    print(f"{kind:9} {'; '.join(', '.join(f'{d:.3f}' for d in blocks) for blocks in seeds)}")

# %% [markdown]
# It looks as if an untrained module hardly preferred anything, and training had taught parts to look at each other. An
# earlier version of this notebook said so. Is it training? Something else differs between the two: in evaluation mode
# a batch norm uses its *running statistics*, and those of an untrained network are still 0 and 1.

# %% [markdown]
# ### Break it: give both the statistics of these images
#
# `nasda.evaluation.reestimate_statistics` lets every batch norm take the mean and the variance of given images, and
# changes no weight. We do it with our eight photos, for all six networks. What will the *untrained* ones show? Choose
# "stays near 0", or "rises to trained" (more than half of what the trained ones show afterwards).

# %%
guess_attention = predict("01.b", ..., "stays near 0", "rises to trained")

# %%
for network in networks["untrained"] + networks["trained"]:
    reestimate_statistics(network, [pixels.to(course.device)])
after = distances()
middle = {kind: float(torch.tensor(seeds).median()) for kind, seeds in after.items()}
print(f"medians after re-estimation: untrained {middle['untrained']:.3f}, trained {middle['trained']:.3f}")
guess_attention.against("rises to trained" if middle["untrained"] > middle["trained"] / 2 else "stays near 0")
distances_picture({"statistics as they were": before, "statistics of these images": after})

# %% [markdown]
# Each mark is one block of one seed. With statistics of 0 and 1, a fresh network shrinks its numbers from layer to
# layer; all scores are then nearly 0, and a softmax of zeros is even (inference). Under the same statistics the
# untrained and the trained networks lie in the same range: three seeds show no effect of so brief a training (measured
# here). The first numbers showed batch norm, not learning. Two networks in evaluation mode are comparable only when
# their statistics are.
#
# The next picture shows A for one image, after re-estimation: lines run from every part on the left to the parts that
# it takes from; a wider line means a larger share. Move through the images, and into deeper blocks. Are the preferences
# the same for all images? Is a part most interested in itself? And could you say which network is the trained one?


# %%
def buttons(options, **more):
    return ipywidgets.ToggleButtons(options=options, style={"button_width": "auto"}, **more)


def look(image, block):
    photo = photos[image].permute(1, 2, 0).numpy()
    weights = [attention_of(nets[0], block)[image].numpy() for nets in networks.values()]
    lines = ["Trained:"]
    for part, row in enumerate(weights[1]):
        shares = ", ".join(f"{100 * share:.0f} % of part {other}" for other, share in enumerate(row))
        lines.append(f"part {part} takes {shares}")
    return attention_links([photo] * 2, weights, list(networks)), "\n".join(lines)


explore(
    look,
    image=ipywidgets.IntSlider(value=0, min=0, max=len(photos) - 1),
    block=buttons([2, 3, 4]),
)

# %% [markdown]
# These lines say where a module takes its values from, not that it helps: whether it does is a question for a test
# set, with seeds (notebooks 04 and 07). Auto-ReID's authors published three genotypes. Two have the module, in their
# reduction cells only; one has none (authors' code). Nothing in the module knows of bodies: with vehicles its stripes
# are roof, windows, bonnet and road, and the assumption behind it, that the same part is at the same height, is worth
# less (inference).

# %% [markdown]
# ## Everything that could have been
#
# The candidates of a whole cell in one picture: each node is fed by *every* earlier state, and each edge holds *every*
# operation. For the paper's four nodes and seven operations this is the object that notebook 02 will make
# differentiable. A network of such cells is called a *supernet*.

# %%
NODE_COUNT, SPACE = 4, PRIMITIVES["reid"]
edges = edge_count(NODE_COUNT)
print(f"{edges} edges × {len(SPACE)} operations = {edges * len(SPACE)} candidates in a cell")
graph = graphs.supercell_graph(NODE_COUNT, SPACE)
graph.graph_attr.update(ranksep="0.25", nodesep="0.2")
graphs.show(graph)

# %% [markdown]
# A derived cell keeps two edges a node, and on each edge one operation. There are three ways to choose: **by hand**,
# **at random**, and **by search**. By hand is `NAMED["resnet-like"]`, convolutions with a skip beside them, as a
# person would draw it:

# %%
graphs.show(upright(graphs.cell_graph(NAMED["resnet-like"], "normal")))

# %% [markdown]
# At random is `random_genotype`: all choices are equally likely. It is the control that every search has to beat, and
# often it is hard to beat (Yang et al. 2020). By search is the subject of notebooks 02 to 04.

# %%
graphs.show(upright(graphs.cell_graph(random_genotype(NODE_COUNT, SPACE, course.seed), "normal")))

# %% [markdown]
# ## Build one yourself
#
# Begin with a cell, and choose the two edges of its last node. Picture, parameters and multiply-adds follow at once:
# those of the whole network at this profile's size (`nasda.networks.count_cost`; the head is not counted, and batch
# norm, pooling and additions cost no multiply-adds). Try three things. Is a skip free in the normal cell, and in the
# reduction cell? Which operation brings the most parameters for its multiply-adds? And choose the same input twice:
# eq. 5 allows it, but deriving a cell from α never does it, for it takes the two strongest *different* inputs.

# %% tags=["thumbnail"]
STARTS = {"resnet-like": NAMED["resnet-like"]}
STARTS |= {f"random {n}": random_genotype(4, SPACE, n) for n in (1, 2)}
REAL = {operation_label(name): name for name in SPACE if name != NONE}
STATES = [(state_label(state), state) for state in range(5)]


def build(start, kind, first_input, first_operation, second_input, second_operation):
    last = (Edge(first_operation, first_input), Edge(second_operation, second_input))
    genotype = dataclasses.replace(STARTS[start], **{kind: (*STARTS[start].cell(kind)[:-1], last)})
    network = DerivedNetwork(genotype, settings.space, classes, seed=0)
    cost = count_cost(network, settings.data.height, settings.data.width)
    first, second = (f"{operation_label(edge.operation)}({state_label(edge.input)})" for edge in last)
    words = f"node 3 = {first} + {second}, in every {kind} cell\n{cost}"
    return upright(graphs.cell_graph(genotype, kind)), words


explore(
    build,
    start=buttons(list(STARTS)),
    kind=buttons(["normal", "reduce"]),
    first_input=buttons(STATES, value=1),
    first_operation=buttons(REAL, value="part_aware"),
    second_input=buttons(STATES, value=4),
    second_operation=buttons(REAL, value="sep_conv_3x3"),
)

# %% [markdown]
# ## How many cells are there?
#
# A node takes two different inputs, in no order, and for each of them one operation other than none. For one or two
# nodes we can simply list all cells and count.


# %%
def choices(node, operations):
    """All that node number `node` can be: a pair of inputs, and an operation for each."""
    inputs = combinations(range(2 + node), 2)
    return list(product(inputs, product(range(operations - 1), repeat=2)))


for operations in (6, 7):
    first, second = choices(0, operations), choices(1, operations)
    both = sum(1 for _ in product(first, second))
    print(f"{operations} operations: {len(first):,} cells of one node, {both:,} of two")

# %% [markdown]
# Four nodes and seven operations, as in the paper: how many **digits** has the number of cells (of one kind)? Guess
# before you calculate. (unit: digits)

# %%
guess_digits = predict("01.c", ..., unit="digits")

# %% [markdown]
# ### Exercise 01.5 ●●○ · importance ●○○ (10 minutes)
#
# For four nodes the list would be long. Find the formula: how many cells (of one kind) are there with a given number of
# nodes, chosen from a given number of operations? That number includes `none`.


# %% tags=["exercise"]
def count_cells(nodes, operations):
    """Number of derived cells of one kind; `operations` counts none, too (6 or 7 in the paper)."""
    ...


# %%
check("01.5", count_cells)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# How many choices has node 0? And node 1, which may use node 0 as well?
# </details>
# <details><summary>Hint 2</summary>
#
# Choices of different nodes do not depend on each other, so they multiply. `math.comb` and `math.prod` are imported.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def count_cells(nodes, operations):
#     return math.prod(math.comb(2 + node, 2) * (operations - 1) ** 2 for node in range(nodes))
# ```
# </details>

# %% [markdown]
# Now for the paper's four nodes. A genotype has two cells, so the number is squared. And what would it take to train
# them all, each as briefly as one of our networks above?

# %%
seconds = sum(row["seconds"] for row in runs[0].read_log("seconds"))
for space in ("plain", "reid"):
    names = PRIMITIVES[space]
    one_kind = math.prod(len(choices(node, len(names))) for node in range(NODE_COUNT))
    years = one_kind**2 * seconds / (365 * 24 * 3600)
    power = round(math.log10(years))
    print(f"{space}: {one_kind:,} cells, {one_kind**2:.1e} genotypes, about 10^{power} years")
guess_digits.against(len(str(one_kind)))

# %% [markdown]
# The part-aware module, a single operation more, multiplies the number of cells by about four, and of genotypes by
# nearly twenty. Nobody will ever rank this space; any search sees a vanishing part of it.
#
# The number is a little too large. Two nodes that use only the inputs can trade places: the output's channels change
# their order, and the next 1×1 convolution can undo that. Let us count two-node cells up to such renaming.

# %%
for operations in (6, 7):
    cells = list(product(choices(0, operations), choices(1, operations)))
    # The nodes can trade places where the second one does not use the first.
    distinct = {tuple(sorted(cell)) if cell[1][0] == (0, 1) else cell for cell in cells}
    print(f"{operations} operations: {len(cells):,} cells, {len(distinct):,} up to renaming")

# %% [markdown]
# The DARTS paper, too, gives its count without regard to such symmetry. Where cells are listed one by one, as in
# NAS-Bench-101 (Ying et al. 2019), equal graphs have to be found first.

# %% [markdown]
# ## What does a cell cost?
#
# All these cells are equally easy to choose at random, but they do not cost the same. First your two operations: which
# has more weights at C = 12, the separable convolution or the part-aware module? Their weights are in the two tables of
# the exercises. Choose "sep conv" or "part-aware".

# %%
guess_heavier = predict("01.d", ..., "sep conv", "part-aware")

# %%
heavier = {}
for channels in (4, 12, 20, 28, 32, 64):
    pair = {"sep conv": SeparableConv(channels, 1), "part-aware": PartAware(channels, 1, PARTS)}
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in pair.items()}
    heavier[channels] = max(counts, key=counts.get)
    said = ", ".join(f"{name} {count:6,}" for name, count in counts.items())
    print(f"C = {channels:2}: {said}  → more weights: {heavier[channels]}")
guess_heavier.against(heavier[12])

# %% [markdown]
# The separable convolution has 2C² + 18C weights and batch norm's, the part-aware module about 26/9 · C²: P = 4
# projections of C · C/3, a query and a key of C²/9 each, and a merging convolution of 4/3 · C². For small C the 18C
# weights of the two 3×3 kernels decide, for large C the squares. The two operations change places between C = 20 and
# C = 24 (not at a single C, since C/3 is rounded down). The paper's C is 32 in the first block (§3.3), so there the
# module is the heavier one.
#
# Now whole networks. We compare sixty random genotypes, the hand-made one, and three that use one operation everywhere:


# %%
def everywhere(operation):
    nodes = ((Edge(operation, 0), Edge(operation, 1)),) * NODE_COUNT
    return Genotype(normal=nodes, reduce=nodes)


def cost_of(genotype):
    network = DerivedNetwork(genotype, settings.space, classes, seed=0)
    return count_cost(network, settings.data.height, settings.data.width)


groups = {"60 random genotypes": [random_genotype(NODE_COUNT, SPACE, seed) for seed in range(60)]}
groups |= {"resnet-like": [GENOTYPE]}
for name in ("max_pool_3x3", "sep_conv_3x3", "part_aware"):
    groups[f"only {operation_label(name)}"] = [everywhere(name)]
costs = {name: [cost_of(genotype) for genotype in group] for name, group in groups.items()}
costs_picture(costs)

# %% [markdown]
# This picture shows three things. Even the cheapest network, of pooling only, has a price: the 1×1 convolutions at each
# cell's inputs, and the stem. The cloud is wide: random cells differ in size several times over. And the part-aware
# module has fewer multiply-adds than the separable convolution, whichever has more weights, since its projections work
# on P vectors; only its merging convolution works on all H × W pixels. (A skip is free wherever the stride is 1:
# everywhere in a normal cell, and between the nodes of a reduction cell. From a reduction cell's two inputs it is a
# factorised reduction, with weights.) Whoever compares two searched networks should compare their cost as well, for a
# larger network is often simply better.

# %%
parameters = sorted(cost.parameters for cost in costs["60 random genotypes"])
few, many = parameters[0], parameters[-1]
print(f"60 random genotypes: from {few:,} to {many:,} parameters, factor {many / few:.1f}")
for name in list(costs)[2:]:
    print(f"{name}: {costs[name][0]}")

# %% [markdown]
# ## The whole network
#
# Cells are stacked as ResNet stacks its layers (§2.2, §3.3): four blocks, channels doubling from block to block. The
# first cell of blocks 2, 3 and 4 is a *reduction cell*, which halves height and width: the edges from its two inputs
# have stride 2, the edges between its nodes stride 1. All normal cells share one half of the genotype, all reduction
# cells the other, but each has weights of its own. `nasda.networks.macro_structure` lists the places; here it is with
# real shapes.

# %%
network = DerivedNetwork(GENOTYPE, settings.space, classes, seed=course.seed).to(course.device)
with_your_cells(network)
outputs = []
for stacked in network.cells:
    stacked.register_forward_hook(lambda _, inputs, output: outputs.append(tuple(output.shape[1:])))
with torch.no_grad():
    f = network.features(pixels.to(course.device))
print(f"image {tuple(pixels.shape[1:])}, stem {tuple(network.stem(pixels.to(course.device)).shape[1:])}")
for place, shape in zip(network.places, outputs, strict=True):
    print(f"{place.kind:6} cell, C = {place.channels:3}, inputs {place.inputs} channels → {shape}")
print(f"global average pooling → f {tuple(f.shape[1:])}")

# %% [markdown]
# Choose the network's dimensions, and watch shapes and cost. What does a doubling of C do to the parameters, and what
# to the multiply-adds? What does the stem's stride change, and what does it leave alone?


# %%
def stack(channels, cells_per_block, stem_stride):
    size = {"channels": channels, "cells_per_block": cells_per_block, "stem_stride": stem_stride}
    space = dataclasses.replace(settings.space, **size, nodes=GENOTYPE.nodes)
    height, width = settings.data.height, settings.data.width
    cost = count_cost(DerivedNetwork(GENOTYPE, space, classes, seed=0).to("meta"), height, width)
    return graphs.macro_graph(space, height, width), str(cost)


explore(
    stack,
    channels=ipywidgets.SelectionSlider(options=[4, 8, 16, 32], value=settings.space.channels),
    cells_per_block=ipywidgets.IntSlider(value=settings.space.cells_per_block, min=1, max=3),
    stem_stride=ipywidgets.SelectionSlider(options=[1, 2, 4], value=settings.space.stem_stride),
)

# %% [markdown]
# ### Exercise 01.6 ●●○ · importance ●●○ (10 minutes)
#
# How many rows have the feature maps in each of the four blocks? Every halving rounds up: an image of 5 rows becomes
# one of 3, because the padded convolution still has an output for the last row. The stem divides by its stride, 1, 2
# or 4.


# %% tags=["exercise"]
def rows_per_block(height, stem_stride):
    """Rows that cells put out in blocks 1 to 4, for images of `height` rows: four numbers."""
    ...


# %%
check("01.6", rows_per_block)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Block 1 has no reduction cell: its rows are the stem's.
# </details>
# <details><summary>Hint 2</summary>
#
# After that each block halves once. `math.ceil(rows / 2)` rounds up.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def rows_per_block(height, stem_stride):
#     rows = [math.ceil(height / stem_stride)]
#     for _ in range(3):
#         rows.append(math.ceil(rows[-1] / 2))
#     return rows
# ```
# </details>

# %% [markdown]
# ### Break it: an image with too few rows
#
# Each part needs at least one row. A part-aware module between two nodes of the last block works on the fewest rows of
# all, so it decides what the smallest image is that a search can take. One row fewer, and the supernet says so.

# %%
stem_stride = settings.space.stem_stride
smallest = next(rows for rows in range(1, 10_000) if math.ceil(rows / (8 * stem_stride)) >= PARTS)
supernet = Supernet(dataclasses.replace(settings.space, space="reid"), classes, seed=0).eval()
for height in (smallest, smallest - 1):
    try:
        with torch.no_grad():
            supernet.features(torch.zeros(1, 3, height, 32))
        print(f"{height} rows: fine")
    except NasdaError as error:
        print(f"{height} rows: {error}")

# %% [markdown]
# ## At the paper's size
#
# Nothing so far was larger than it had to be. The paper's own network has C = 32, two cells a block and images of full
# size. PyTorch's `meta` device computes shapes without numbers, so we can weigh it here and now. Beside it stands
# ResNet-50, the baseline of Table 1, on the same images.

# %%
paper = profile("paper", course.task.name)
height, width = paper.data.height, paper.data.width
by_lot = random_genotype(NODE_COUNT, SPACE, course.seed)
giants = {
    "resnet-like cells": DerivedNetwork(GENOTYPE, paper.space, 1000, seed=0),
    "random cells": DerivedNetwork(by_lot, paper.space, 1000, seed=0),
    "ResNet-50": ResNet("resnet50", paper.space, 1000, seed=0),
}
for name, giant in giants.items():
    print(f"{name:18} {count_cost(giant.to('meta'), height, width)}")

# %% [markdown]
# A derived network is a light one. The supernet that is searched is not: it computes all candidates at once and keeps
# their outputs for the backward pass. The paper does not say which stride its stem has; a little arithmetic narrows
# it down. We add up the outputs of all layers for a batch of 64. Memory grows with the pixels: a vehicle's square
# image has twice as many as a person's.


# %%
def gigabytes(stem_stride, batch=64):
    """Memory of all layers' outputs in float32: one forward pass on persons, at the paper's size."""
    paper = profile("paper", "person")
    space, sizes = dataclasses.replace(paper.space, stem_stride=stem_stride), []
    supernet = Supernet(space, 1000, seed=0, form="clear").to("meta")
    for layer in supernet.modules():
        if not list(layer.children()):  # a convolution, a norm, a pooling
            layer.register_forward_hook(lambda _, inputs, output: sizes.append(output.numel()))
    with torch.no_grad():
        supernet.features(torch.zeros(batch, 3, paper.data.height, paper.data.width, device="meta"))
    return 4 * sum(sizes) / 1e9


for stride in (1, 2, 4):
    memory = gigabytes(stride)
    print(f"stem of stride {stride}: persons {memory:4.0f} GB, vehicles {2 * memory:4.0f} GB")

# %% [markdown]
# The paper's card has 24 GB (§3.3). For persons only a stem of stride 4 fits into it, and that is what the `paper`
# profile takes. For vehicles even that does not fit by this count; but the count is generous: an implementation can
# overwrite outputs, recompute them, or keep them in half precision. Such arithmetic is worth its five minutes
# whenever a paper leaves a number out.

# %% [markdown]
# ## What did we learn?
#
# 1. A candidate operation is a few lines of PyTorch, and its receptive field, found by a gradient, says more about it
#    than its name.
# 2. The part-aware module pools stripes, lets the parts attend to each other, and hands the result back to every pixel,
#    so it is the one candidate that sees the whole image; that its attention seemed to be learnt was an effect of batch
#    norm's statistics.
# 3. A cell is a list of edges: a node is the sum of two operations (eq. 5), the output is the concatenation of the
#    nodes, and where the paper says otherwise it slipped.
# 4. The space holds so many genotypes that no list of them will ever be made, and they differ in cost as well as in
#    quality, so a fair comparison fixes or reports the cost.
# 5. The macro network bounds the space from outside: halving rows leaves too few for the parts, and the stem's stride
#    decides whether the supernet fits into memory.

# %% [markdown]
# ## Further reading
#
# - B. Zoph, V. Vasudevan, J. Shlens, Q. V. Le: *Learning Transferable Architectures for Scalable Image Recognition*,
#   CVPR 2018. The idea of searching a cell instead of a network.
# - H. Liu, K. Simonyan, Y. Yang: *DARTS: Differentiable Architecture Search*, ICLR 2019. The operations and the cell
#   used here.
# - R. Quan, X. Dong, Y. Wu, L. Zhu, Y. Yang: *Auto-ReID: Searching for a Part-Aware ConvNet for Person
#   Re-Identification*, ICCV 2019. The part-aware module.
# - Y. Sun, L. Zheng, Y. Yang, Q. Tian, S. Wang: *Beyond Part Models: Person Retrieval with Refined Part Pooling*, ECCV
#   2018. What stripes alone can do.
# - F. Chollet: *Xception: Deep Learning with Depthwise Separable Convolutions*, CVPR 2017; F. Yu, V. Koltun:
#   *Multi-Scale Context Aggregation by Dilated Convolutions*, ICLR 2016.
# - W. Luo, Y. Li, R. Urtasun, R. Zemel: *Understanding the Effective Receptive Field in Deep Convolutional Neural
#   Networks*, NIPS 2016.
# - C. Ying, A. Klein, E. Christiansen, E. Real, K. Murphy, F. Hutter: *NAS-Bench-101: Towards Reproducible Neural
#   Architecture Search*, ICML 2019; A. Yang, P. M. Esperança, F. M. Carlucci: *NAS Evaluation is Frustratingly Hard*,
#   ICLR 2020.
#
# [← 00 Start here](00_start_here.ipynb) · [02 The softmax relaxation →](02_softmax_relaxation.ipynb)
