# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · Beyond the paper
#
# **What would you do next?**
#
# The paper ends with two wishes. Its search crosses a gap between domains for one task only, re-identification: what
# about *classification*? And its cells lie below a ResNet-50 in its table: can the search itself be made *better*?
# This notebook takes both up, on a task small enough to repeat: a network learns from printed digits and is tested on
# real handwriting. On the way you get what a research project needs more than ideas: controls, seeds, and an honest
# sentence at the end, whatever the sign of the result.
#
# **You will be able to**
#
# - move a bilevel search to another task, and say what changes and what does not;
# - add an operation to the search space;
# - select a cell by perturbation (DARTS-PT), and search with partial channels (PC-DARTS);
# - design an experiment with its control, and tell from your own numbers whether a "better" method is better.
#
# **You need to know** what a cell, α and ω are, how a cell is derived, and what one bilevel step does: notebooks 01 to
# 04.
#
# *Times are filled in here when the notebook is executed.*

# %%
import math
from dataclasses import replace

import ipywidgets
import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.nn.functional import channel_shuffle, cross_entropy

from nasda.bilevel import frozen_statistics
from nasda.cells import PartialMixedOp
from nasda.course import nb07_beyond_the_paper as lesson
from nasda.course.check import check
from nasda.course.nb07_beyond_the_paper import Size, accuracy
from nasda.course.open import project_folder
from nasda.genotypes import CELL_KINDS, PRIMITIVES, Edge, Genotype, softmax
from nasda.networks import Supernet, count_cost
from nasda.operations import operation_colour, operation_label, register_operation
from nasda.pictures import graphs
from nasda.pictures.palette import GREEN, GREY, INK, SKY, VERMILLION, YELLOW
from nasda.pictures.plots import Plot, alpha_heatmap
from nasda.pictures.widgets import explore
from nasda.selection import loss_with, losses_without, without
from nasda.study.statistics import LEVEL, compare, seeds_needed, sentence, smallest_p

# %% tags=["parameters"]
PROFILE: str = "tiny"  # tiny, laptop, gpu, paper
TASK: str = "person"  # person, vehicle
DATA_ROOT: str = ""  # empty: the built-in data; else the folder that holds the real data sets
SEED: int = 0

# %% [markdown]
# `TASK` and `DATA_ROOT` are accepted, as in every notebook, and unused here: reading digits depends on neither.
# `PROFILE` chooses how much is searched and trained. All of it runs on the CPU; the networks are too small for a GPU
# to help.

# %%
SIZES = {
    "tiny": Size(),
    "laptop": Size(seeds=8, search_epochs=10, train_epochs=20, tune_steps=5),
    "gpu": Size(seeds=20, search_epochs=20, train_epochs=30, tune_steps=10),
    "paper": Size(seeds=20, space=replace(lesson.SPACE, nodes=4), search_epochs=50, train_epochs=60, tune_steps=20),
}
size = SIZES[PROFILE]
PLAIN = PRIMITIVES["plain"]
folder = project_folder() / "runs" / f"digits-{PROFILE}-seed{SEED}"
digits = lesson.world(SEED)
little = lesson.sample(digits.target, size.each, SEED)
print(f"to learn from: {len(digits.source)} printed digits")
print(f"labelled for α: {len(little)} handwritten digits, which is {size.each} of each")
print(f"to test on: {len(digits.target_test)} handwritten digits")

# %% [markdown]
# ## 1 · Printed and handwritten
#
# The source is drawn here, from the fonts that matplotlib brings along: DejaVu, STIX and Computer Modern, each glyph
# slanted, turned and stretched a little. The target is real: 1,797 digits that people wrote on paper, which
# scikit-learn ships with itself (from the UCI repository's *optdigits*). Both were measured in the same way. A digit is
# a bitmap of 32 × 32 pixels, cut into blocks of 4 × 4; each pixel of the small image is the share of ink in its block.
# So the two domains do not differ by how they were measured. They differ by the pen, which is thicker than most fonts,
# and by the hand.

# %% tags=["thumbnail"]
some = lesson.sample(digits.target, 8, SEED)
lesson.digit_sheet({"source: printed": digits.source, "target: handwritten": some})

# %% [markdown]
# Look at the 1, the 4 and the 7 on both sides, and at the 9. A printer has one way to make a 7 for each font; people
# disagree about the bar.
#
# A gap has to be measured before anyone crosses it. One cell, drawn by hand, is trained twice below by the same
# recipe. Only the training data change. The last 1,000 rows of the file are kept for testing; the file has not been
# shuffled, and a mixed split would be more likely to put the same writer on both sides.


# %%
first_node = (Edge("skip_connect", 0), Edge("sep_conv_3x3", 1))
second_node = (Edge("sep_conv_3x3", 1), Edge("skip_connect", 2))
by_hand = Genotype(normal=(first_node, second_node), reduce=(first_node, second_node))


def taught_by(data):
    """The cell drawn by hand, trained on `data`."""
    return lesson.train(by_hand, data, size, seed=SEED)


on_source, on_target = taught_by(digits.source), taught_by(digits.target[: len(digits.source)])
across, at_home = accuracy(on_source, digits.target_test), accuracy(on_target, digits.target_test)
print(f"learnt from print,       tested on print:       {accuracy(on_source, digits.source_test):6.1%}")
print(f"learnt from print,       tested on handwriting: {across:6.1%}")
print(f"learnt from handwriting, tested on handwriting: {at_home:6.1%}")
print(f"the gap: {100 * (at_home - across):.0f} points")

# %% [markdown]
# The network reads print well, and loses a large part of that on handwriting. The third line says that
# handwriting is not what the network cannot learn: with as many handwritten digits, the same cell reads most of it.
# What is missing is not capacity. It is the domain.
#
# ## 2 · The same search, another loss
#
# The paper's problem is equations 3 and 4: weights from the source, architecture from the target.
#
# $$\alpha^* = \arg\min_{\alpha} \mathcal{L}^t_{val}(\omega^*(\alpha), \alpha) \tag{3}$$
#
# $$\omega^*(\alpha) = \arg\min_{\omega} \mathcal{L}^s_{train}(\omega, \alpha) \tag{4}$$
#
# Nothing in them says re-identification. What changes is the loss. In re-identification the people of the target are
# not the people of the source, so the source's logits mean nothing there, and the library gives α the triplet loss
# alone. A seven is a seven in both domains. Here both sides can take the cross-entropy of equation 7,
#
# $$L_s = -\frac{1}{N} \sum_{i=1}^{N} \log \frac{\exp(h_i[c_i])}{\sum_{c'} \exp(h_i[c'])} \tag{7}$$
#
# which is printed in the paper as a sum over the batch, with $c$ for both the label and the running index; the mean and
# the index $c_i$ are meant. Here it is `loss` of this lesson's module, `nasda.course.nb07_beyond_the_paper`. One step
# of algorithm 1 fits in a loop of four lines. It must be the step that `nasda.bilevel.Bilevel` takes.


# %%
def make():
    return Supernet(size.space, lesson.CLASSES, seed=SEED)


mine, library = make(), make()
source_batch, target_batch = digits.source[:64], little[:64]
of_weights, of_alphas = lesson.bilevel(mine, size).optimizers.values()
for optimizer, batch in ((of_weights, source_batch), (of_alphas, target_batch)):
    optimizer.zero_grad()
    lesson.loss(mine, batch).backward()
    optimizer.step()  # first ω on the source, then α on the target

step = lesson.bilevel(library, size)
step.step(lambda: lesson.loss(library, source_batch), lambda: lesson.loss(library, target_batch))
for name, parameter in library.named_parameters():
    torch.testing.assert_close(mine.get_parameter(name), parameter, rtol=1e-3, atol=1e-4)
print("the same step:", sum(p.numel() for p in library.parameters()), "numbers agree")

# %% [markdown]
# The supernet is the library's own, as small as a supernet can be and still hold both kinds of cells: two blocks of
# one cell each. So there is a 3×3 convolution, one normal cell, one reduction cell, global average pooling, and a head
# with ten logits. Its networks take colour images, so a grey digit comes three times. Every edge computes the mixture
# of equation 6. The paper prints one of a node's operands on its left side, with mixed indices. Read it as the whole
# node $i$: a sum over all earlier states $H$, with a softmax for each edge.
#
# $$I_i = \sum_{H} \sum_{o \in \mathcal{O}}
# \frac{\exp(\alpha_o^{(H,i)})}{\sum_{o'} \exp(\alpha_{o'}^{(H,i)})}\, o(H) \tag{6}$$

# %%
network, history = lesson.search(digits.source, little, size, seed=SEED)
alpha_heatmap(history, PLAIN, "normal")

# %% [markdown]
# In this picture each panel is an edge, each row an operation, and each column an epoch. Orange is more than an even
# share. The framed edges are the ones that `derive` keeps: per edge the strongest operation other than `none`, per node
# the two strongest edges.
#
# The genotype follows from the last column of the picture.

# %%
plain = network.genotype()
graphs.show(graphs.cell_graph(plain, "normal", history[-1]["alphas"], PLAIN))

# %% [markdown]
# ### Exercise 07.1 ●●○ (15 minutes)
#
# The first thing one can change is the space. Write a builder for a new operation, the 1×1 convolution, in the form
# that the library's `register_operation` expects: it gets `channels`, `stride`, `parts` and `affine`, and returns a
# module. The contract:
#
# - (B, C, H, W) becomes (B, C, ⌈H / stride⌉, ⌈W / stride⌉), also where H is odd;
# - ReLU, then the convolution without a bias, then a batch norm whose `affine` is the one asked for.
#
# `parts` is for the part-aware module; ignore it.


# %% tags=["exercise"]
def conv_1x1(channels, stride, parts, affine):
    """ReLU, 1×1 convolution with this stride, batch norm."""
    ...


# %%
check("07.1", conv_1x1)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `nn.Sequential` of three modules. `nn.Conv2d(in, out, kernel_size, stride)`: with a 1×1 kernel there is no padding.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def conv_1x1(channels, stride, parts, affine):
#     return nn.Sequential(
#         nn.ReLU(),
#         nn.Conv2d(channels, channels, 1, stride, bias=False),
#         nn.BatchNorm2d(channels, affine=affine),
#     )
# ```
# </details>

# %% [markdown]
# Once an operation is registered, nothing else has to change: it can be searched, derived, drawn, trained, saved and
# loaded. The cell below does all of this in the larger space, with the solution's operation, so that it works before
# you have answered. The `with` takes the operation out again at the end.


# %%
def one_by_one(channels, stride, parts, affine):
    convolution = nn.Conv2d(channels, channels, 1, stride, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(channels, affine=affine))


larger, short = (*PLAIN, "conv_1x1"), replace(size, search_epochs=2)
with register_operation("conv_1x1", one_by_one, colour=YELLOW):
    wider, log = lesson.search(digits.source, little, short, seed=SEED, operations=larger)
    wider.genotype().save(folder / "wider.json")
    reader = lesson.train(Genotype.load(folder / "wider.json"), digits.source, size, seed=SEED)
    drawn = graphs.cell_graph(reader.genotype, "normal", log[-1]["alphas"], larger)
    colours = {operation_label(o): operation_colour(o) for o in larger}
graphs.show(drawn)

# %% [markdown]
# The bars below are the mean softmax weight of each operation over all edges of both cells. The dotted line is where
# all of them began.

# %%
print(f"the cell of the larger space reads {accuracy(reader, digits.target_test):.1%} of handwriting")
shares = np.mean([softmax(log[-1]["alphas"][kind]).mean(axis=0) for kind in CELL_KINDS], axis=0)


def bars_of_shares():
    """The mean weight of every operation, and what an undecided α would give it."""
    figure = Plot(7, 2.8)
    axes = figure.subplots()
    axes.barh(list(colours), shares, color=list(colours.values()))
    axes.axvline(1 / len(larger), color=INK, linestyle=":", label="an even share")
    axes.set_xlabel("mean softmax weight over the edges of both cells")
    figure.legend(loc="outside upper right", fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


bars_of_shares()

# %% [markdown]
# A share is not a verdict: two epochs are few, and what gains first need not be worth most in the end. A pool or a
# skip has no weights and can be used from the first step on, while a convolution's weights have to be found. That is
# one reason given for the drift of DARTS towards such operations. It leads to the question of the next section.
#
# ## 3 · Is the strongest the one that is needed?
#
# Deriving a cell trusts α: the largest weight on an edge is taken for the most useful operation. Wang and others (2021)
# asked a network directly instead. Take one operation out of the searched supernet, change nothing else, and measure.
# They measured accuracy. With a hundred images accuracy moves in steps of one point, and many operations would tie; the
# library asks for α's own loss $\mathcal{L}$, which is finer, and which re-identification has, too. With $w^{e}_{o}$
# for the mixture's weights, an operation's worth is
#
# $$\Delta_{e,o} = \mathcal{L}(w \text{ with } w^{e}_{o} = 0) - \mathcal{L}(w) \tag{p}$$
#
# Here is the measurement for the first edge of the normal cell, by hand, in a few lines. `loss_with` mixes the cells by
# the weights that it is given. Its batch norms use the sample's own statistics, as the α step does. The function
# `losses_without` asks for all edges.


# %%
def alpha_loss():
    """α's loss of the searched supernet on the labelled sample."""
    return lesson.loss(network, little)


mixture = {kind: network.mixture(kind).detach() for kind in CELL_KINDS}
whole = loss_with(network, mixture, alpha_loss)
by_removal = []
for column, name in enumerate(PLAIN):
    weights = {kind: matrix.clone() for kind, matrix in mixture.items()}
    weights["normal"][0, column] = 0
    by_removal.append(loss_with(network, weights, alpha_loss))
    print(f"without {operation_label(name):13} loss {by_removal[-1]:.3f}   (whole: {whole:.3f})")

left = losses_without(network, alpha_loss)
np.testing.assert_allclose(left["normal"][0], by_removal)

# %% [markdown]
# Move through the edges. On the left is what α says, on the right what the supernet misses. A bar to the left of zero
# means that the loss is *lower* without the operation.


# %%
def weight_and_worth(edge, cell):
    """α's weights and the rise of the loss by removal, for one edge."""
    weight, worth = mixture[cell][edge].numpy(), left[cell][edge] - whole
    figure = Plot(8, 3)
    panels = figure.subplots(1, 2, sharey=True)
    sides = {"weight of α (softmax)": weight, "rise of the loss without it": worth}
    for axes, (label, bars) in zip(panels, sides.items(), strict=True):
        axes.barh([operation_label(o) for o in PLAIN], bars, color=[operation_colour(o) for o in PLAIN])
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_xlabel(label)
    panels[0].invert_yaxis()
    strongest, missed = (operation_label(PLAIN[1 + of[1:].argmax()]) for of in (weight, worth))
    if worth[1:].max() <= 0:
        missed = "none of them"
    return figure, f"Edge {edge} of the {cell} cell. Strongest other than none: {strongest}. Most missed: {missed}."


edge = ipywidgets.IntSlider(value=0, min=0, max=len(left["normal"]) - 1)
explore(weight_and_worth, edge=edge, cell=ipywidgets.Dropdown(options=list(CELL_KINDS)))

# %% [markdown]
# ### Exercise 07.2 ●○○ (5 minutes)
#
# On its validation sample a searched supernet has a loss of 0.90. Without one operation on one edge the loss is:
#
# | operation | edge 0: α's weight | edge 0: loss without | edge 1: α's weight | edge 1: loss without |
# |---|---|---|---|---|
# | max pool 3×3 | 0.15 | 0.95 | 0.41 | 0.92 |
# | avg pool 3×3 | 0.10 | 0.88 | 0.12 | 1.01 |
# | skip connect | 0.45 | 0.93 | 0.20 | 1.31 |
# | sep conv 3×3 | 0.20 | 1.22 | 0.17 | 1.05 |
# | dil conv 3×3 | 0.10 | 0.97 | 0.10 | 0.91 |
#
# Which operation does selection by perturbation keep on edge 0, and which on edge 1? Answer with a pair of names as in
# `PLAIN`, for instance `("max_pool_3x3", "dil_conv_3x3")`.

# %% tags=["exercise"]
my_choice = ...

# %%
check("07.2", my_choice)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The larger the rise from 0.90, the more the operation is missed. α's weights are not used at all.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# my_choice = ("sep_conv_3x3", "skip_connect")
# ```
# </details>

# %% [markdown]
# How often do the two agree in *our* supernet? Each point below is one operation on one edge. If weight meant worth,
# the points would rise from left to right. The rank correlation puts a number on it: 1 for perfect order, 0 for none.

# %%
weight = np.concatenate([mixture[kind].numpy()[:, 1:] for kind in CELL_KINDS])
worth = np.concatenate([left[kind][:, 1:] for kind in CELL_KINDS]) - whole


def cloud():
    """Weight against worth, a point for each operation on each edge."""
    figure = Plot(7, 3.8)
    axes = figure.subplots()
    for column, name in enumerate(PLAIN[1:]):
        look = {"color": operation_colour(name), "marker": "os^Dv"[column], "s": 45}
        axes.scatter(weight[:, column], worth[:, column], label=operation_label(name), **look)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xlabel("weight of α (softmax)")
    axes.set_ylabel("rise of the loss without it")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


cloud()

# %% [markdown]
# And in numbers. A rise is a mean over the images of the sample, so it has a standard error of its own.


# %%
def loss_of_each_image(weights):
    """α's loss, image by image."""
    with torch.no_grad(), frozen_statistics(network), network.mixed_by(weights):
        return cross_entropy(network(little.images).logits, little.labels, reduction="none").numpy()


cuts = [(kind, edge, o) for kind in CELL_KINDS for edge in range(len(mixture[kind])) for o in range(1, len(PLAIN))]
rises = np.stack([loss_of_each_image(without(mixture, *cut)) for cut in cuts]) - loss_of_each_image(mixture)
certain = int((np.abs(rises.mean(axis=1)) > 2 * stats.sem(rises, axis=1)).sum())
same = int((weight.argmax(axis=1) == worth.argmax(axis=1)).sum())
print(f"edges where the strongest operation is the most missed: {same} of {len(weight)} (one in five by chance)")
print(f"rank correlation of weight and worth: {stats.spearmanr(weight.ravel(), worth.ravel()).statistic:+.2f}")
print(f"changes of the loss that exceed twice their standard error: {certain} of {len(cuts)}")

# %% [markdown]
# Where the first two numbers are high, α is a fair guide in this small supernet; Wang and others found it a poor one
# in the space of DARTS. Both measurements have their own noise: where a change is smaller than twice its standard
# error, another sample might well turn its sign around. (That is a rule of thumb for images, and not the test over
# seeds.) And an operation that shares its work with another one is missed little, though the two together are needed.
#
# The whole of DARTS-PT is the library's `select_by_perturbation`. It takes the edges in random order, keeps on each
# the operation that is missed most, gives it the weight of the whole edge, and tunes ω for a few steps before the next
# edge. Then, node by node, it keeps the two edges without which the loss is largest. For re-identification the command
# is `nasda derive --by perturbation`.
#
# ## 4 · Search with a part of the channels
#
# PC-DARTS (Xu and others, 2020) changes the search and not the selection. Only one in $K$ channels goes through the
# operations; the rest goes past them:
#
# $$f^{PC}_e(x) = \mathrm{shuffle}\Big(\Big[\sum_o \mathrm{softmax}(\alpha^e)_o\; o(x_{1 \ldots C/K}),\;
# x_{C/K+1 \ldots C}\Big]\Big) \tag{c}$$
#
# The authors give two reasons. The mixture needs about a $K$-th of the memory. And it is regularised: where most
# channels pass unchanged anyway, an edge gains less by choosing the skip. The *shuffle* deals the channels like
# cards, so that the next edge mixes others. Since fewer channels make α more erratic, each edge also gets a share β
# of its node, a softmax over the edges that compete (`nasda.cells.edge_shares`), and a cell is derived from the share
# times the softmax of α.
#
# ### Exercise 07.3 ●●○ (15 minutes)
#
# Write equation (c) for an edge of stride 1. `mixed` is a function that stands for the inner sum; `partial` is $K$.
# The *shuffle* is PyTorch's `channel_shuffle(x, groups)`, which is imported: deal into $K$ groups.


# %% tags=["exercise"]
def partial_channels(x, mixed, partial):
    """x (B, C, H, W) with its first C/K channels mixed, then shuffled: (B, C, H, W)."""
    ...


# %%
check("07.3", partial_channels)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `x[:, :first]` are the first channels, `x[:, first:]` the others; `torch.cat([...], dim=1)` puts them together again.
# How many is `first`, when $C = 8$ and $K = 4$?
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def partial_channels(x, mixed, partial):
#     first = x.shape[1] // partial
#     together = torch.cat([mixed(x[:, :first]), x[:, first:]], dim=1)
#     return channel_shuffle(together, partial)
# ```
# </details>

# %% [markdown]
# In the library this is `PartialMixedOp`, which replaces `MixedOp` on each edge of a `SearchCell`; cell, network and
# step stay as they are. For re-identification the command is `nasda search --partial 4`. Below it is held against the
# equation, with every term written out. The sizes printed at the end leave out the head.

# %%
edge = PartialMixedOp(PLAIN, channels=8, stride=1, parts=4, partial=4).eval()
x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(SEED))
weights = torch.softmax(torch.arange(float(len(PLAIN))), dim=0)
mixed = sum(w * operation(x[:, :2]) for w, operation in zip(weights, edge.operations, strict=True))
torch.testing.assert_close(edge(x, weights), channel_shuffle(torch.cat([mixed, x[:, 2:]], dim=1), 4))

dealt = channel_shuffle(torch.arange(8).reshape(1, 8, 1, 1), 4).ravel().tolist()
print(f"eight channels after the shuffle: {dealt}; the next edge mixes channels {dealt[:2]} of these")
for partial in (1, size.partial):
    supernet = Supernet(replace(size.space, partial=partial), lesson.CLASSES, seed=SEED)
    print(f"K = {partial}: {count_cost(supernet, 8, 8)}")

# %% [markdown]
# ## 5 · An experiment, and its control
#
# Now there are several ways to find a cell, and a result for each will come out of this notebook in a minute. Before
# you look at any number, say what each comparison can show. That is what a control is for: an experiment that differs
# in one thing only.
#
# ### Exercise 07.4 ●●○ (10 minutes)
#
# Four claims about the cell that was searched with α on the target:
#
# - **A** Searching finds better cells than not searching.
# - **B** It matters that α saw the *target*.
# - **C** Reading the cell off by perturbation beats reading off the largest weights.
# - **D** A hundred labels are better spent on the architecture than on the weights.
#
# And four controls, all trained by the same recipe: **1** the same search, with α on fresh *printed* digits; **2** the
# same searched supernet, with the cell read off the other way; **3** a cell drawn at random from the same space;
# **4** a random cell, with the hundred labelled images added to its training data. Which control answers which claim?

# %% tags=["exercise"]
my_controls = ...  # {"A": ..., "B": ..., "C": ..., "D": ...}, with the numbers of the controls

# %%
check("07.4", my_controls)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For each claim ask: what is the one thing that must differ between the two sides, and which control differs in it?
# </details>
# <details><summary>Solution</summary>
#
# ```python
# my_controls = {"A": 3, "B": 1, "C": 2, "D": 4}
# ```
# </details>

# %% [markdown]
# All of these controls are run. For each seed, `lesson.results` draws a labelled sample and a random cell of its own,
# runs three searches, and reads four more cells off them. Each cell is then trained from scratch *on the source
# alone*, by the same recipe, from the same seed. Only the last method, *weights*, also trains ω on the sample: it is
# control 4. The results of a seed lie in a file under `runs/`; what is there is not made again.

# %%
runs = []
for seed in range(SEED, SEED + size.seeds):
    runs.append(lesson.results(digits, size, seed, folder))
    read = ", ".join(f"{method} {result.target:.0%}" for method, result in runs[-1].items())
    print(f"seed {seed}: {read}")
labels = lesson.METHODS

# %% [markdown]
# First the cells themselves. Each row is one genotype, each field one of its operations. If a method knew which cells
# are best, its rows would look alike from seed to seed. Random cells, at the top, show what no agreement looks like.

# %%
searched = [method for method in lesson.METHODS if method != "weights"]
lesson.barcode({labels[method]: [run[method].genotype for run in runs] for method in searched})

# %% [markdown]
# Then what they read. A line joins the results of one seed: the same sample, the same training seed. Where lines
# cross, two methods change their order from one seed to another. The dotted line is the cell drawn by hand in section
# 1; the dashed one is that cell when all of its training data are handwriting.

# %%
scores = 100 * np.array([[run[method].target for method in labels] for run in runs])


def spread():
    """Every seed as a line, mean and standard deviation in black."""
    figure = Plot(9, 4.2)
    axes = figure.subplots()
    places = np.arange(len(lesson.METHODS))
    for number, row in enumerate(scores):
        axes.plot(places, row, "-", marker="os^Dv"[number % 5], color=SKY, label=f"seed {SEED + number}")
    axes.errorbar(places, scores.mean(0), scores.std(0, ddof=1), fmt="_", color=INK, markersize=26, capsize=5)
    axes.axhline(100 * across, color=VERMILLION, linestyle=":", label="by hand, print")
    axes.axhline(100 * at_home, color=GREEN, linestyle="--", label="by hand, handwriting")
    axes.set_xticks(places, [labels[method].replace(", ", ",\n") for method in lesson.METHODS], fontsize=9)
    axes.set_ylabel("handwriting read right (%)\nblack: mean ± standard deviation")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


spread()

# %% [markdown]
# Now choose for yourself. Pick a method, a seed and a kind of cell, and compare its result with another method's at the
# same seed.


# %%
def found(method, seed, cell, against):
    """One derived cell, and its result beside another method's."""
    run = runs[seed - SEED]
    mine, other = run[method], run[against]
    words = (
        f"{labels[method]}, seed {seed}: {mine.target:.1%} of handwriting, {mine.source:.1%} of print.\n"
        f"Against {labels[against]} at this seed: {100 * (mine.target - other.target):+.1f} points. "
        f"The {cell} cell is shown."
    )
    return graphs.cell_graph(mine.genotype, cell), words


choices = [(labels[method], method) for method in searched]
explore(
    found,
    method=ipywidgets.Dropdown(options=choices, value="plain"),
    seed=ipywidgets.IntSlider(value=SEED, min=SEED, max=SEED + size.seeds - 1),
    cell=ipywidgets.Dropdown(options=list(CELL_KINDS)),
    against=ipywidgets.Dropdown(options=choices, value="random"),
)

# %% [markdown]
# ## 6 · What may be said
#
# A mean that is higher is not yet a result. For each claim of exercise 07.4 take the differences seed by seed. If the
# two methods were equally good, each difference could as well have the other sign. The sign-flip test of notebook 06
# goes through all flips, and $p$ is the share of them whose mean lies as far from zero as the measured one. This
# course has one rule: a difference **is shown** when $p \le 0.05$. The interval beside it says how large the
# difference may be; it decides nothing.


# %%
def claim(one, other):
    """`one` against `other`, paired by seed."""
    first, second = ({SEED + n: run[method].target for n, run in enumerate(runs)} for method in (one, other))
    return compare(first, second)


# %% [markdown]
# Here are the four claims, and **E**: partial channels beat plain search. Its control is the plain search itself.

# %%
CLAIMS = {
    "A": ("plain", "random"),
    "B": ("plain", "source"),
    "C": ("perturbation", "plain"),
    "D": ("plain", "weights"),
    "E": ("partial", "plain"),
}
for name, (one, other) in CLAIMS.items():
    print(f"{name} · {sentence(labels[one], labels[other], claim(one, other), 'accuracy')}")
random, taught = (scores[:, list(labels).index(method)].mean() for method in ("random", "weights"))
closed = (taught - random) / (100 * at_home - random)
print(f"Labels in ω close {closed:.0%} of the way to a network that learns from handwriting alone.")

# %% [markdown]
# Read the lines as they stand, also those that disappoint. "Nothing is shown" does not mean "no difference": it means
# that this experiment is too small to see one. With $n$ seeds $p$ is at least $2^{1-n}$, so fewer than six seeds can
# show nothing, whatever they measure. At the size `tiny` there are three: it teaches the steps and settles nothing. A
# difference that is shown is not the end either. From six seeds on, each line has up to one chance in twenty to be
# shown without a reason, and there are five of them. And it would be easy to pick the seed that tells a story.
#
# Look at the size of the difference in D, and at the last line. They compare a hundred labels that choose among cells
# with the same labels that also train the *weights*. A search for domain adaptation should be measured against this
# control. The paper does not do so: its S+R rows have seen target labels, and the rows that they are compared with
# have not.
#
# ### Exercise 07.5 ●●○ (10 minutes)
#
# How many seeds would the next experiment need? Two things are asked of it. The test must be able to show anything at
# all, which takes six seeds. And twice the standard error of the mean must not exceed the effect that one hopes for:
# $2 \cdot \mathrm{spread} / \sqrt{n} \le |\mathrm{effect}|$, where the spread is the standard deviation of the
# differences. Find the smallest number of seeds.


# %% tags=["exercise"]
def seeds_for(spread, effect):
    """The fewest seeds, six or more, with twice the standard error no larger than the effect (in points)."""
    ...


# %%
check("07.5", seeds_for)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Solve for $n$, then round up, with `math.ceil`. The sign of the effect does not matter.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def seeds_for(spread, effect):
#     return max(6, math.ceil((2 * spread / abs(effect)) ** 2))
# ```
# </details>

# %% [markdown]
# For the comparisons above: how many seeds does the exercise's rule ask for, if the effect is one point, or five? The
# spread is measured on few seeds, so take these numbers for an order of magnitude.

# %%
assert seeds_needed() == 6
assert smallest_p(6) <= LEVEL < smallest_p(5)
for name, (one, other) in CLAIMS.items():
    spread = 100 * np.std([run[one].target - run[other].target for run in runs], ddof=1)
    needed = [max(6, math.ceil((2 * spread / effect) ** 2)) for effect in (1, 5)]
    print(f"claim {name}: spread {spread:4.1f} points; {needed[0]:4d} seeds for one point, {needed[1]:3d} for five")

# %% [markdown]
# Papers on searched architectures often report one search, or the best of a few. Set your own numbers against theirs.
# It is also the reason why this course keeps its toys small: a small experiment can be repeated.
#
# What would *you* do next? Three experiments that are ready to run from here: `PROFILE = "laptop"` for more seeds and
# longer searches; perturbation on the partial-channel supernet, which nobody compared above; or batch norms that take
# their statistics from unlabelled handwriting, which costs no labels at all.
#
# ## What did we learn?
#
# 1. Equations 3 and 4 carry over to classification unchanged; shared labels let α use the cross-entropy, where
#    re-identification leaves it the triplet loss.
# 2. An operation that keeps the contract of shape and stride can join the space without a change elsewhere.
# 3. The weight of an operation in α and what the supernet loses without it are two measurements; they need not agree.
# 4. Partial channels change one module, the mixed operation, and make the supernet's edges several times lighter.
# 5. A comparison of searches is worth as much as its controls and its seeds: random cells, the same search without the
#    change, and the same labels spent on the weights.
#
# ## Further reading
#
# - R. Wang, M. Cheng, X. Chen, X. Tang, C.-J. Hsieh, *Rethinking Architecture Selection in Differentiable NAS*, ICLR
#   2021: selection by perturbation.
# - Y. Xu, L. Xie, X. Zhang, X. Chen, G.-J. Qi, Q. Tian, H. Xiong, *PC-DARTS: Partial Channel Connections for
#   Memory-Efficient Architecture Search*, ICLR 2020.
# - H. Liu, K. Simonyan, Y. Yang, *DARTS: Differentiable Architecture Search*, ICLR 2019.
# - A. Zela, T. Elsken, T. Saikia, Y. Marrakchi, T. Brox, F. Hutter, *Understanding and Robustifying Differentiable
#   Architecture Search*, ICLR 2020: why searches collapse, told by the eigenvalues of the validation Hessian.
# - L. Li, A. Talwalkar, *Random Search and Reproducibility for Neural Architecture Search*, UAI 2019.
# - A. Yang, P. M. Esperança, F. M. Carlucci, *NAS Evaluation Is Frustratingly Hard*, ICLR 2020: recipes against
#   architectures, over seeds.
