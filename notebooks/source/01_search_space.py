# %% [markdown]
# # 01 · The search space
#
# **What can a cell be?**
#
# Before a machine can search for an architecture, a person has to say what it may find. That decision is called the
# *search space*, and it is the part of neural architecture search that no gradient makes for us. The paper's space is
# small enough to be built by hand in an hour: seven operations, a rule that joins them to a cell, and a rule that
# stacks cells to a network. One of the seven was made for people: the part-aware module, which lets the parts of a
# body look at each other. At the end of this notebook nothing is a black box any more, and you know how large the
# space is.
#
# **You will be able to**
#
# - write every candidate operation of §2.1 and §2.3 in a line or two, and say which pixels it sees;
# - take the part-aware module apart, shape by shape, and watch one part of an image attend to another;
# - read a cell as a directed acyclic graph (eq. 5), and correct the paper's slips about it;
# - count all cells, and say what one of them costs in parameters and multiply-adds;
# - say where the cells stand in the whole network, and when that network is too deep for an image.
#
# **You need to know** Python, PyTorch's tensors and convolutions, and what batch normalisation does. Notebook 00 shows
# the data and the question behind all of this; here only a few images are needed.
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

from nasda.course.check import check
from nasda.course.nb01_search_space import attention_links, costs_picture, operations_picture
from nasda.course.open import open_course
from nasda.data.domain import identities
from nasda.data.images import normalize
from nasda.data.store import stored
from nasda.data.task import target_sample
from nasda.devices import seeded
from nasda.errors import NasdaError
from nasda.genotypes import NAMED, NONE, PRIMITIVES, Edge, Genotype, edge_count, random_genotype
from nasda.networks import DerivedNetwork, ResNet, Stem, Supernet, count_cost
from nasda.operations import PartAware, make_operation, operation_label, rows_to_parts
from nasda.pictures import graphs
from nasda.pictures.graphs import state_label
from nasda.pictures.plots import Plot
from nasda.pictures.widgets import explore
from nasda.runs import RunFolder
from nasda.search import run_search
from nasda.settings import changed, profile
from nasda.training import run_training

# %% tags=["parameters"]
PROFILE: str = "tiny"  # tiny, laptop, gpu, paper
TASK: str = "person"  # person, vehicle
DATA_ROOT: str = ""  # empty: the built-in data; else the folder that holds the real data sets
SEED: int = 0

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
# ## Six operations in six lines
#
# §2.1 lists six candidates: max pooling, average pooling, a depth-wise separable convolution, a dilated convolution,
# the zero operation, called *none*, and the skip connection, which the paper calls identity. §2.3 lists **seven**:
# the same, and the part-aware module. That is no contradiction, but it is easily read as one. The first list
# describes the space that the paper starts from, the second the space that it searches. The library has both by name,
# `PRIMITIVES["plain"]` and `PRIMITIVES["reid"]`.
#
# A few words on what the names leave open. *Depth-wise*: each channel is filtered by itself with its own 3×3 kernel;
# *point-wise*: a 1×1 convolution then mixes the channels. Following DARTS, the separable convolution does this twice.
# The dilated one does it once, with a kernel whose nine taps stand two pixels apart. Every such pair of convolutions
# has a ReLU before it and a batch norm behind it; pooling has a batch norm, too, and we shall see what for.


# %%
def norm(y):
    """Batch norm without learnable scale: each channel gets mean 0 and variance 1."""
    return F.batch_norm(y, None, None, training=True)


def depthwise(x, kernels, mix, dilation):
    each = F.conv2d(F.relu(x), kernels, padding=dilation, dilation=dilation, groups=len(kernels))
    return norm(F.conv2d(each, mix))


by_hand = {
    "none": lambda x: torch.zeros_like(x),
    "max_pool_3x3": lambda x: norm(F.max_pool2d(x, 3, 1, 1)),
    "avg_pool_3x3": lambda x: norm(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
    "skip_connect": lambda x: x,
    "sep_conv_3x3": lambda x, k1, m1, k2, m2: depthwise(depthwise(x, k1, m1, 1), k2, m2, 1),
    "dil_conv_3x3": lambda x, kernels, mix: depthwise(x, kernels, mix, 2),
}

# %% [markdown]
# The library's version of each is a module that `make_operation(name, channels)` returns. We hand its weights to our
# own line and compare. `affine=False` gives batch norm no learnable scale, as in a search: an operation could
# otherwise grow by its scale instead of by its α, and α would no longer say which operation matters.

# %%
for name, forward in by_hand.items():
    with seeded(course.seed):
        operation = make_operation(name, CHANNELS, affine=False)
    with torch.no_grad():
        ours, theirs = forward(x, *operation.parameters()), operation(x)
    torch.testing.assert_close(ours, theirs)
    weights = sum(p.numel() for p in operation.parameters())
    shapes = ", ".join(str(tuple(p.shape)) for p in operation.parameters())
    print(f"{operation_label(name):13} equal, {weights:4} weights  {shapes}")

# %% [markdown]
# ### Exercise 01.1 ●○○ (5 minutes)
#
# How many weights does the separable convolution `sep_conv_3x3` have on C channels, without batch norm's? Write the
# formula, and compare it with the line above. What would an ordinary 3×3 convolution need?


# %% tags=["exercise"]
def sep_conv_weights(channels):
    """Number of weights of `sep_conv_3x3` on so many channels."""
    ...


# %%
check("01.1", sep_conv_weights)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A depth-wise 3×3 convolution has nine weights a channel. A point-wise one has a weight for each pair of an input and
# an output channel. Both are there twice.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def sep_conv_weights(channels):
#     depthwise, pointwise = 9 * channels, channels**2
#     return 2 * (depthwise + pointwise)
# ```
#
# An ordinary 3×3 convolution has 9C² weights: at C = 32 it has 9,216, and the separable one, although it is two layers
# deep, 2,624.
# </details>

# %% [markdown]
# ## What an operation sees
#
# Which input pixels can change one output pixel? The gradient knows: we take the output's centre, differentiate it by
# the input, and look where the result is not zero. A ReLU or a maximum hides some pixels by chance, so we average the
# gradient's size over twenty random weights and inputs. This is the *receptive field*, and its shading shows more than
# its outline does: pixels at the border have fewer paths to the centre than those in the middle (Luo et al. 2016).
#
# Everything is in evaluation mode here; the reason comes after the picture.


# %%
def sees(name, stride=1, *, height=16, width=12, training=False, draws=20):
    """How strongly each input pixel moves the output's centre: mean |gradient|, (height, width)."""
    field = torch.zeros(height, width)
    for draw in range(draws):
        with seeded(course.seed, draw):
            operation = make_operation(name, 3, stride).train(training)
            image = torch.randn(2, 3, height, width, requires_grad=True)
        output = operation(image)
        centre = output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(centre + 0 * image.sum(), image)  # 0 · … is there for none
        field += gradient[0].abs().sum(dim=0) / draws
    return field


fields = {stride: {name: sees(name, stride) for name in PRIMITIVES["reid"]} for stride in (1, 2)}

# %% [markdown]
# The first row shows what each operation, with random weights, makes of one of our images (grey: the mean over its
# output channels). The rows below show what the centre of a 16 × 12 map sees, at stride 1 and at stride 2.

# %%
shown = {}
for name in PRIMITIVES["reid"]:
    with seeded(course.seed, 1), torch.no_grad():
        shown[name] = make_operation(name, 3).eval()(pixels[:1])[0].mean(dim=0)
operations_picture({"an image": shown, "sees, stride 1": fields[1], "sees, stride 2": fields[2]})

# %% [markdown]
# Read it column by column. *None* sees nothing, which makes it the way to switch an edge off. Pooling sees 3×3. Two
# separable 3×3 layers see 5×5, and more of the middle than of the rim; at stride 2 even 7×7, because the second layer
# works on the halved map. The dilated convolution spans 5×5 with nine taps and gaps between them. The skip connection
# sees one pixel; but look at stride 2, where it cannot pass everything on: DARTS puts a *factorised reduction* in its
# place, two 1×1 convolutions of which one looks at a pixel and the other at its diagonal neighbour
# (`nasda.operations.FactorizedReduce`).
#
# The last column is of another kind. The part-aware module sees its own pixel strongly, and the *whole* image
# faintly, through its parts (the picture exaggerates: whatever has any influence is shown at least in pale blue). No
# stack of a few 3×3 layers does that.
#
# ### Break it: the same in training mode
#
# In training, batch norm subtracts the mean of the whole batch. Then every pixel of every image in the batch has an
# influence, if a small one. Measure receptive fields without calling `eval()` first, and you measure batch norm
# instead:

# %%
for mode in ("evaluation", "training"):
    field = sees("avg_pool_3x3", training=mode == "training")
    print(f"avg pool 3×3, {mode}: {int((field > 1e-9).sum())} pixels of {field.numel()}")

# %% [markdown]
# ### Break it: pooling without batch norm
#
# Why does pooling need a batch norm at all? Because of what comes later: a search will *mix* all operations of an
# edge, weighted by a softmax of α, and read the weights as importance. That reading is fair only where the things that
# are mixed are of one size. Here is what they are without the norm.

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
# A maximum of nine values is at least as large as each of them, so its mean moves up; an average is smaller in
# spread, and a fresh convolution shrinks its input several times. With equal α the largest term would drown the
# others, and a search would notice a term's size, not its use. (The skip connection has no norm: what it passes on is
# a sum of terms that had one.)
#
# ## The part-aware module, step by step
#
# Auto-ReID (Quan et al. 2019) adds an operation for bodies. A pedestrian's box has a fixed order from top to bottom,
# head, torso, legs, feet; so cut the feature map into P horizontal stripes, make one vector of each, and let these
# vectors look at each other before they go back to where they came from. §2.3 describes it in a few sentences, without
# an equation. In full it is four steps; $S_p$ are the rows of part $p$, and the letters that number the equations are
# ours:
#
# $$v_p = \frac{1}{|S_p|\,W} \sum_{r \in S_p} \sum_{w} x_{:,r,w} \tag{a}$$
#
# $$u_p = \mathrm{BN}(W_p\,\mathrm{ReLU}(v_p)), \qquad W_p \in \mathbb{R}^{\lfloor C/3 \rfloor \times C} \tag{b}$$
#
# $$A_{pq} = \mathrm{softmax}_q\, \langle Q u_p + b,\; K u_q \rangle, \qquad \tilde u_p = \sum_q A_{pq}\, u_q \tag{c}$$
#
# $$y_{:,r,w} = \mathrm{BN}\big(M\,[\,x_{:,r,w}\,;\; \tilde u_{p(r)}\,]\big) \tag{d}$$
#
# All four are `nasda.operations.PartAware`. First (a), on images instead of feature maps, because there one sees it:
# each stripe becomes its mean colour.

# %%
PARTS = settings.space.parts


def mean_colours(images):
    """Each stripe filled with its mean colour: (B, 3, H, W) → the same shape."""
    stripes = images.unflatten(2, (PARTS, -1))  # (B, 3, P, H/P, W)
    v = stripes.mean(dim=(3, 4), keepdim=True)  # (a)
    return v.expand_as(stripes).flatten(2, 3)


def side_by_side(rows):
    figure = Plot(9, 9 / 8 * 2 * photos.shape[2] / photos.shape[3])
    for panels, (title, images) in zip(figure.subplots(2, 8), rows.items(), strict=True):
        panels[0].set_ylabel(title)
        for panel, image in zip(panels, images, strict=True):
            panel.imshow(image.permute(1, 2, 0))
            panel.set(xticks=[], yticks=[])
    return figure


side_by_side({"image": photos / 255, "parts": mean_colours(photos / 255)})

# %% [markdown]
# Four colours say little, and the background washes them out. A feature map has more channels, and its weights can
# learn to leave the background aside; part-based pooling was a success of its own in re-identification (PCB, Sun et
# al. 2018). Now the same on the feature map, with all C channels, and then step (b): each part has a projection of
# its own to C//3 channels. In the library the P projections are one grouped convolution; here they are one `einsum`.

# %%
with seeded(course.seed):
    module = PartAware(CHANNELS, stride=1, parts=PARTS, affine=False)
batch, channels, height, width = x.shape

stripes = x.unflatten(2, (PARTS, height // PARTS))  # H rows become P stripes of H/P rows
v = stripes.mean(dim=(3, 4)).transpose(1, 2)  # (a)
W = module.project[1].weight.detach().reshape(PARTS, module.hidden, channels)
u = norm(torch.einsum("poc,bpc->bpo", W, F.relu(v)).flatten(1)).unflatten(1, (PARTS, -1))  # (b)
print(f"x {tuple(x.shape)}  stripes {tuple(stripes.shape)}  v {tuple(v.shape)}  u {tuple(u.shape)}")

# %% [markdown]
# Step (c) is self-attention as in a transformer, with three differences: its tokens are the P parts of one image; the
# scores are not divided by the square root of the vectors' length; and there is no value projection, the $u_q$ are
# mixed as they are. Each row of A sums to 1.

# %%
with torch.no_grad():
    queries = u @ module.query.weight.T + module.query.bias
    keys = u @ module.key.weight.T
    A = torch.softmax(queries @ keys.transpose(1, 2), dim=2)  # (c)
    mixed = A @ u
print(f"queries {tuple(queries.shape)}   A {tuple(A.shape)}   mixed {tuple(mixed.shape)}")
print("A of the first image:", [[round(weight, 2) for weight in row] for row in A[0].tolist()])

# %% [markdown]
# Step (d) hands every part's new vector to all pixels of its stripe, concatenates it with what was there, and lets a
# 1×1 convolution merge the two. The output has C channels again, so that the module fits where any other operation
# does.

# %%
with torch.no_grad():
    broadcast = mixed.transpose(1, 2).repeat_interleave(height // PARTS, dim=2)  # (B, C//3, H)
    broadcast = broadcast.unsqueeze(3).expand(-1, -1, -1, width)
    joined = torch.cat([x, broadcast], dim=1)
    y = norm(F.conv2d(joined, module.merge.weight))  # (d)
    torch.testing.assert_close(y, module(x))
print(f"broadcast {tuple(broadcast.shape)}   joined {tuple(joined.shape)}   y {tuple(y.shape)}")
print("equal to nasda.operations.PartAware")

# %% [markdown]
# Public re-implementations of this module get it wrong in an instructive way: they let *channels* attend to each
# other, by a transposed matrix product. Shapes then fit by accident, and nothing complains. Printing shapes at every
# step, as above, and comparing with a second version is the cheapest protection there is.
#
# ### Exercise 01.2 ●●○ (15 minutes)
#
# Our step (a) needed H to be a multiple of P. Feature maps are not so kind. Write the pooling for any H ≥ P: row r
# (from 0) belongs to part ⌊r · P / H⌋, and every part is the mean of its own rows.


# %% tags=["exercise"]
def part_means(x, parts):
    """The mean of each part's rows: (B, C, H, W) → (B, parts, C), for any H ≥ parts."""
    ...


# %%
check("01.2", part_means)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.arange(H) * parts // H` says which part each row belongs to. Compare it with each part's number to choose
# rows. PyTorch's `F.adaptive_avg_pool2d` looks like a shortcut; try it on 10 rows and 4 parts, and count how often
# each row is used.
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

# %% [markdown]
# The library's rule for rows is `nasda.operations.rows_to_parts`. Stripes differ by one row at most. With fewer rows
# than parts it says what to do, and we shall come back to that, because networks shrink their maps:

# %%
for rows in (8, 10, 7):
    print(f"{rows:2} rows:", rows_to_parts(rows, 4).tolist())
try:
    rows_to_parts(3, 4)
except NasdaError as error:
    print(" 3 rows:", error)

# %% [markdown]
# ## Attention among the parts of an image
#
# What does A look like in a network that has learnt something? We train one briefly, about a hundred steps on the
# source: a network whose reduction cells hold a part-aware module each (the genotype `resnet-like`; genotypes come
# below). It stays in a run folder, so that a second execution finds it. Beside it stands the same network before
# training, with the same initial weights.

# %%
GENOTYPE = NAMED["resnet-like"]
lesson = course.experiment.path / "lesson-01"
brief = changed(settings, train={"epochs": 10, "steps": 12})
training = RunFolder(lesson / "resnet-like")
classes = len(identities(course.task.source.train))
with contextlib.redirect_stdout(io.StringIO()):  # a line an epoch; notebook 04 looks at such lines
    trained = run_training(training, course.task, GENOTYPE, brief, seed=course.seed, device=course.device)
untrained = DerivedNetwork(GENOTYPE, settings.space, classes, seed=course.seed).to(course.device)
losses = [row["loss"] for row in training.read_log("loss")]
print(f"loss (eq. 9), mean of an epoch: {losses[0]:.2f} in the first, {losses[-1]:.2f} in the last")

# %% [markdown]
# To read A we need what goes into the module, deep inside the network. A forward hook fetches it; then steps (a) to
# (c) are repeated by the module's own methods.


# %%
def attention_of(network, block):
    """A in the part-aware module of the reduction cell of `block` (2 to 4): (8, parts, parts)."""
    modules = [module for module in network.eval().modules() if isinstance(module, PartAware)]
    module, fetched = modules[block - 2], []
    hook = module.register_forward_pre_hook(lambda _, inputs: fetched.append(inputs[0]))
    with torch.no_grad():
        network.features(pixels.to(course.device))
        hook.remove()
        vectors = module.project(module.pool(fetched[0]).reshape(len(pixels), -1, 1))
        return module.attend(vectors.reshape(len(pixels), module.parts, -1))[1].cpu()


print(f"mean distance of A's entries from 1/{PARTS}")
for block in (2, 3, 4):
    far = [(attention_of(net, block) - 1 / PARTS).abs().mean() for net in (untrained, trained)]
    print(f"block {block}: untrained {far[0]:.3f}, trained {far[1]:.3f}")

# %% [markdown]
# An untrained module hardly prefers anything: each part takes a little of all parts, and the module amounts to one
# global average. In the trained one, parts have preferences, in some images and blocks more than in others. The next
# picture shows both for one image: lines run from every part on the left to the parts that it takes from; a wider
# line means a larger share.
#
# Move through the images, and into deeper blocks. Look for two things. Are the preferences the same for all images,
# or does each image have its own? And is a part most interested in itself?


# %%
def look(image, block):
    photo = photos[image].permute(1, 2, 0).numpy()
    weights = [attention_of(network, block)[image].numpy() for network in (untrained, trained)]
    lines = ["Trained:"]
    for part, row in enumerate(weights[1]):
        shares = ", ".join(f"{100 * share:.0f} % of part {other}" for other, share in enumerate(row))
        lines.append(f"part {part} takes {shares}")
    return attention_links([photo] * 2, weights, ["untrained", "trained"]), "\n".join(lines)


explore(
    look,
    image=ipywidgets.IntSlider(value=0, min=0, max=len(photos) - 1),
    block=ipywidgets.Dropdown(options=[2, 3, 4]),
)

# %% [markdown]
# Be careful with stories here. These lines say where a briefly trained module takes its values from, not that it
# helps: whether it does is a question for a test set, with seeds (notebooks 04 and 07). In the three cells that
# Auto-ReID's authors published, the module stands in reduction cells only. Nothing in it knows of bodies: with
# vehicles its stripes are roof, windows, bonnet and road, and the assumption behind it, that the same part is at the
# same height, is worth less.
#
# ## A cell is a directed acyclic graph
#
# Now the operations are joined. A cell has two inputs, the outputs of the last two cells, and N nodes in a row. Node
# $i$ of cell $c$ chooses two earlier states and an operation for each, and adds the results:
#
# $$I_i^c = \mathcal{O}_{i1}^c(I_{i1}^c) + \mathcal{O}_{i2}^c(I_{i2}^c) \tag{5}$$
#
# Around this equation the text slips three times. A careful reader would trip, so here is what is printed and what is
# meant:
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
# ### Exercise 01.3 ●●○ (15 minutes)
#
# Write a cell. `inputs` are two tensors (B, C, H, W). `nodes` holds a pair of pairs for every node, `((f, i), (g,
# j))`: apply function `f` to state i and `g` to state j, and add. States 0 and 1 are the inputs, state 2 is node 0,
# and so on.


# %% tags=["exercise"]
def cell(inputs, nodes):
    """The cell's output, (B, N · C, H, W): all nodes of eq. 5, concatenated along the channels."""
    ...


# %%
check("01.3", cell)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Keep a list of states that begins with the two inputs, and append each node when it is computed: then a later node
# finds the earlier ones at the right place.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def cell(inputs, nodes):
#     states = list(inputs)
#     for (f, i), (g, j) in nodes:
#         states.append(f(states[i]) + g(states[j]))
#     return torch.cat(states[2:], dim=1)
# ```
# </details>

# %% [markdown]
# In the library, the choice is data: a `Genotype` holds, for the normal and for the reduction cell, the nodes, and for
# each node two `Edge(operation, input)`. Text like this goes into a file, and the network is made of it later. Here is
# a genotype by hand, and what it computes, against `nasda.cells.Cell`.

# %%
NODES = (
    (Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),
    (Edge("part_aware", 1), Edge("max_pool_3x3", 2)),
)
by_us = Genotype(normal=NODES, reduce=NODES)
network = DerivedNetwork(by_us, settings.space, classes, seed=course.seed)
first = network.cells[0]  # a normal cell, nasda.cells.Cell
with torch.no_grad():
    stem = network.stem(pixels)
    i_0, i_1 = first.inputs(stem, stem)  # eq. 5's inputs: ReLU, 1×1 convolution, batch norm
    op = first.operations
    node_0 = op[0](i_0) + op[1](i_1)
    node_1 = op[2](i_1) + op[3](node_0)
    output = torch.cat([node_0, node_1], dim=1)
    torch.testing.assert_close(output, first(stem, stem))
print(f"two inputs {tuple(i_0.shape)} → output {tuple(output.shape)}, equal to Cell")

# %% [markdown]
# The same as a picture, with the inputs above and the output below, read from top to bottom. The letters are DARTS':
# $c_k$ is the output of cell $k$, so $c_{k-1}$ and $c_{k-2}$ are the outputs of the last two cells, the paper's
# $I^{c-1}$ and $I^{c-2}$.


# %%
def upright(graph):
    """The same graph from top to bottom, as it fits a page."""
    graph.graph_attr.update(rankdir="TB", ranksep="0.15", nodesep="0.3")
    return graph


graphs.show(upright(graphs.cell_graph(by_us, "normal")))

# %% [markdown]
# A detail is hidden in `first.inputs`. The last two cells may have other channels, and, behind a reduction, another
# size. So before any node, each input goes through ReLU, a 1×1 convolution and batch norm to C channels
# (`ReLUConvBN`), or through a factorised reduction where it is twice as large (`nasda.cells.CellInputs`).
#
# ## Everything that could have been
#
# The candidates of a whole cell in one picture: each node is fed by *every* earlier state, and each edge holds *every*
# operation. For the paper's four nodes and seven operations this is the object that notebook 02 will make
# differentiable.

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
# often it is hard to beat (Yang et al. 2020).

# %%
graphs.show(upright(graphs.cell_graph(random_genotype(NODE_COUNT, SPACE, course.seed), "normal")))

# %% [markdown]
# By search is what this course is about. A few steps of one suffice for a picture; do not read much into its choice.
# The numbers are softmax weights of α, and after so few steps they lie close to one in seven, the weight of an
# undecided edge. (At the profiles `tiny` and `laptop` a cell has fewer than four nodes, so this one is smaller.)

# %%
searching = RunFolder(lesson / "search")
short = changed(settings, search={"epochs": 2, "steps": 8})
with contextlib.redirect_stdout(io.StringIO()):
    found = run_search(searching, course.task, short, seed=course.seed, device=course.device)
alphas = searching.read_log("alphas")[-1]["alphas"]
graphs.show(upright(graphs.cell_graph(found, "normal", alphas, settings.space.primitives)))

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
    start=ipywidgets.Dropdown(options=list(STARTS)),
    kind=ipywidgets.Dropdown(options=["normal", "reduce"]),
    first_input=ipywidgets.Dropdown(options=STATES, value=1),
    first_operation=ipywidgets.Dropdown(options=REAL, value="part_aware"),
    second_input=ipywidgets.Dropdown(options=STATES, value=4),
    second_operation=ipywidgets.Dropdown(options=REAL, value="sep_conv_3x3"),
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
# ### Exercise 01.4 ●●○ (10 minutes)
#
# For four nodes the list would be long. Find the formula: how many cells (of one kind) are there with a given number
# of nodes, chosen from a given number of operations? That number includes `none`.


# %% tags=["exercise"]
def count_cells(nodes, operations):
    """Number of derived cells of one kind; `operations` counts none, too (6 or 7 in the paper)."""
    ...


# %%
check("01.4", count_cells)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many choices has node 0? And node 1, which may use node 0 as well? Choices of different nodes do not depend on
# each other. `math.comb` and `math.prod` are imported.
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
# them all, each as briefly as our network above?

# %%
seconds = sum(row["seconds"] for row in training.read_log("seconds"))
for space, names in PRIMITIVES.items():
    one_kind = math.prod(len(choices(node, len(names))) for node in range(NODE_COUNT))
    years = one_kind**2 * seconds / (365 * 24 * 3600)
    power = round(math.log10(years))
    print(f"{space}: {one_kind:,} cells, {one_kind**2:.1e} genotypes, about 10^{power} years")

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
#
# ## What does a cell cost?
#
# All these cells are equally easy to choose at random, but they do not cost the same. We compare sixty random
# genotypes, the hand-made one, and three that use one operation everywhere:


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
# This picture shows three things. Even the cheapest network, of pooling only, has a price: the 1×1 convolutions at
# each cell's inputs, and the stem. The cloud is wide: random cells differ in size several times over. And the
# part-aware module has as many parameters as the separable convolution or more (the larger C, the more), but fewer
# multiply-adds, since its projections work on P vectors; only its merging convolution works on all H × W pixels. (A
# skip, by the way, is free wherever the stride is 1: everywhere in a normal cell, and between the nodes of a
# reduction cell. From a reduction cell's two inputs it is a factorised reduction, with weights.) Whoever compares two
# searched networks should compare their cost as well, for a larger network is often simply better.

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
network = DerivedNetwork(GENOTYPE, settings.space, classes, seed=course.seed).eval()
outputs = []
for stacked in network.cells:
    stacked.register_forward_hook(lambda _, inputs, output: outputs.append(tuple(output.shape[1:])))
with torch.no_grad():
    f = network.features(pixels)
print(f"image {tuple(pixels.shape[1:])}, stem {tuple(network.stem(pixels).shape[1:])}")
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
# ### Exercise 01.5 ●●○ (10 minutes)
#
# How many rows have the feature maps in each of the four blocks? Every halving rounds up: an image of 5 rows becomes
# one of 3, because the padded convolution still has an output for the last row. The stem divides by its stride, 1, 2
# or 4.


# %% tags=["exercise"]
def rows_per_block(height, stem_stride):
    """Rows that cells put out in blocks 1 to 4, for images of `height` rows: four numbers."""
    ...


# %%
check("01.5", rows_per_block)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Block 1 has no reduction cell: its rows are the stem's. After that each block halves once. `math.ceil(rows / 2)`
# rounds up.
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
# Each part needs a row at least. A part-aware module between two nodes of the last block works on the fewest rows of
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
#
# ## What did we learn?
#
# 1. A candidate operation is a line or two of PyTorch, and its receptive field, found by a gradient, says more about
#    it than its name.
# 2. The part-aware module pools stripes, lets the parts attend to each other, and hands the result back to every
#    pixel, so it is the one candidate that sees the whole image.
# 3. A node is the sum of two operations (eq. 5), a cell's output is the concatenation of its nodes, and where the
#    paper says otherwise it slipped.
# 4. The space holds so many genotypes that no list of them will ever be made, and they differ in cost as well as in
#    quality, so a fair comparison fixes or reports the cost.
# 5. The macro network bounds the space from outside: halving rows leaves too few for the parts, and the stem's stride
#    decides whether the supernet fits into memory.
#
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
