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
# about *classification*? And its cells lose against ResNet-50: can the search itself be made *better*? This notebook
# takes both up, on a task small enough to repeat: a network learns from printed digits and is tested on real
# handwriting. On the way you get what a research project needs more than ideas: controls, seeds, and an honest sentence
# at the end, whatever the sign of the result.
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

from nasda.bilevel import Bilevel
from nasda.course import nb07_beyond_the_paper as lesson
from nasda.course.check import check
from nasda.course.nb07_beyond_the_paper import DerivedClassifier, SearchClassifier, Size, accuracy, shuffle
from nasda.course.open import project_folder
from nasda.genotypes import CELL_KINDS, PRIMITIVES, Edge, Genotype, derive, softmax
from nasda.operations import operation_colour, operation_label
from nasda.pictures import graphs, palette
from nasda.pictures.plots import Plot, alpha_heatmap
from nasda.pictures.widgets import explore

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
    "paper": Size(seeds=20, nodes=4, search_epochs=50, train_epochs=60, tune_steps=20),
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
    return lesson.train(DerivedClassifier(by_hand, size.channels, seed=SEED), data, size, seed=SEED)


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
    return SearchClassifier(size.nodes, size.channels, seed=SEED)


mine, library = make(), make()
source_batch, target_batch = digits.source[:64], little[:64]
for optimizer, batch in zip(lesson.optimizers(mine, size), (source_batch, target_batch), strict=True):
    optimizer.zero_grad()
    lesson.loss(mine, batch).backward()
    optimizer.step()  # first ω on the source, then α on the target

step = Bilevel(library, *lesson.optimizers(library, size))
step.step(lambda: lesson.loss(library, source_batch), lambda: lesson.loss(library, target_batch))
for name, parameter in library.named_parameters():
    torch.testing.assert_close(mine.get_parameter(name), parameter, rtol=1e-3, atol=1e-4)
print("the same step:", sum(p.numel() for p in library.parameters()), "numbers agree")

# %% [markdown]
# The supernet is as small as a supernet can be and still hold both kinds of cells: a 3×3 convolution, one normal cell,
# one reduction cell, global average pooling, ten logits. The cells are the library's own `SearchCell`, with the mixture
# of equation 6 on every edge. The paper prints one of a node's operands on its left side, with mixed indices. Read it
# as the whole node $i$: a sum over all earlier states $H$, with a softmax for each edge.
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
# The lesson's `derive_from_weights` follows the same rule, but reads the mixture's weights, not α. We shall need that
# for partial channels. For now the two must agree.

# %%
plain = derive(history[-1]["alphas"], PLAIN)
assert lesson.derive_from_weights(network.mixture(), PLAIN) == plain
graphs.show(graphs.cell_graph(plain, "normal", history[-1]["alphas"], PLAIN))

# %% [markdown]
# ### Exercise 07.1 ●●○ (15 minutes)
#
# The first thing one can change is the space. Write a factory for a new operation, the 1×1 convolution, in the form
# that the library's table `OPERATIONS` expects: it gets `channels`, `stride`, `parts` and `affine`, and returns a
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
# With the operation in the table, nothing else has to change: `MixedOp` builds it, α gets a column for it, the bilevel
# step trains both. Below the search runs again in the larger space, with the solution's operation, so that this cell
# works before you have answered.


# %%
def one_by_one(channels, stride, parts, affine):
    convolution = nn.Conv2d(channels, channels, 1, stride, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(channels, affine=affine))


with lesson.operation_added("conv_1x1", one_by_one) as larger:
    _, wider = lesson.search(digits.source, little, replace(size, search_epochs=2), seed=SEED, primitives=larger)
print(f"candidates on every edge: {', '.join(map(operation_label, larger))}")

# %% [markdown]
# The bars are the mean softmax weight of each operation over all edges of both cells. The dotted line is where all
# of them began.

# %%
shares = np.mean([softmax(wider[-1]["alphas"][kind]).mean(axis=0) for kind in CELL_KINDS], axis=0)


def bars_of_shares():
    """The mean weight of every operation, and what an undecided α would give it."""
    figure = Plot(7, 2.8)
    axes = figure.subplots()
    colours = [*map(operation_colour, PLAIN), palette.VERMILLION]
    axes.barh([operation_label(o) for o in larger], shares, color=colours)
    axes.axvline(1 / len(larger), color=palette.INK, linestyle=":", label="an even share")
    axes.set_xlabel("mean softmax weight over the edges of both cells")
    figure.legend(loc="outside upper right", fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


bars_of_shares()

# %% [markdown]
# A share is not a verdict: two epochs move α by little, and what moves first is what is *useful* first. Operations
# without weights can be used from the first step on, while a convolution's weights have to be found. That is one of
# the reasons why DARTS is known to drift towards skips and pools. It leads to the question of the next section.
#
# ## 3 · Is the strongest the one that is needed?
#
# Deriving a cell trusts α: the largest weight on an edge is taken for the most useful operation. Wang and others (2021)
# asked a network directly instead. Take one operation out of the searched supernet, change nothing else, and measure.
# With $A$ for the accuracy on the validation sample and $w^{e}_{o}$ for the mixture's weights, an operation's worth is
#
# $$\Delta_{e,o} = A(w) - A(w \text{ with } w^{e}_{o} = 0) \tag{p}$$
#
# Here is the measurement for the first edge of the normal cell, by hand, in a few lines. `supernet_score` reads the
# sample with batch norms that use its own statistics, as the α step does. The function `removals` asks for all edges.

# %%
whole, _ = lesson.supernet_score(network, little)
by_removal = []
for column, name in enumerate(PLAIN):
    weights = {kind: matrix.detach().clone() for kind, matrix in network.mixture().items()}
    weights["normal"][0, column] = 0
    by_removal.append(lesson.supernet_score(network, little, weights)[0])
    print(f"without {operation_label(name):13} {by_removal[-1]:6.1%}   (whole: {whole:.1%})")

left = lesson.removals(network, little)
np.testing.assert_allclose(left["normal"][0], by_removal)

# %% [markdown]
# Move through the edges. On the left is what α says, on the right what the supernet misses. A bar to the left of zero
# means that the supernet reads *better* without the operation. Mind the grain: one image of the sample is one step
# on the right axis.


# %%
def weight_and_worth(edge, cell):
    """α's weights and the points lost by removal, for one edge."""
    weight, lost = network.mixture()[cell][edge].detach().numpy(), 100 * (whole - left[cell][edge])
    figure = Plot(8, 3)
    panels = figure.subplots(1, 2, sharey=True)
    sides = {"weight of α (softmax)": weight, "accuracy lost without it (points)": lost}
    for axes, (label, bars) in zip(panels, sides.items(), strict=True):
        axes.barh([operation_label(o) for o in PLAIN], bars, color=[operation_colour(o) for o in PLAIN])
        axes.axvline(0, color=palette.INK, linewidth=1)
        axes.set_xlabel(label)
    panels[0].invert_yaxis()
    strongest, missed = (operation_label(PLAIN[1 + of[1:].argmax()]) for of in (weight, lost))
    if lost[1:].max() <= 0:
        missed = "none of them"
    return figure, f"Edge {edge} of the {cell} cell. Strongest other than none: {strongest}. Most missed: {missed}."


edge = ipywidgets.IntSlider(value=0, min=0, max=len(left["normal"]) - 1)
explore(weight_and_worth, edge=edge, cell=ipywidgets.Dropdown(options=list(CELL_KINDS)))

# %% [markdown]
# ### Exercise 07.2 ●○○ (5 minutes)
#
# A searched supernet reads 71 % of its validation sample. Without one operation on one edge it reads:
#
# | operation | edge 0: α's weight | edge 0: accuracy without | edge 1: α's weight | edge 1: accuracy without |
# |---|---|---|---|---|
# | max pool 3×3 | 0.15 | 69 % | 0.41 | 70 % |
# | avg pool 3×3 | 0.10 | 72 % | 0.12 | 67 % |
# | skip connect | 0.45 | 70 % | 0.20 | 58 % |
# | sep conv 3×3 | 0.20 | 61 % | 0.17 | 66 % |
# | dil conv 3×3 | 0.10 | 68 % | 0.10 | 71 % |
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
# The larger the drop from 71 %, the more the operation is missed. α's weights are not used at all.
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
weight = np.concatenate([network.mixture()[kind].detach().numpy()[:, 1:] for kind in CELL_KINDS])
lost = 100 * (whole - np.concatenate([left[kind][:, 1:] for kind in CELL_KINDS]))


def cloud():
    """Weight against worth, a point for each operation on each edge."""
    figure = Plot(7, 3.8)
    axes = figure.subplots()
    for column, name in enumerate(PLAIN[1:]):
        look = {"color": operation_colour(name), "marker": "os^Dv"[column], "s": 45}
        axes.scatter(weight[:, column], lost[:, column], label=operation_label(name), **look)
    axes.axhline(0, color=palette.GREY, linewidth=1)
    axes.set_xlabel("weight of α (softmax)")
    axes.set_ylabel("accuracy lost without it (points)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


cloud()

# %% [markdown]
# And in numbers:

# %%
missed = lost.max(axis=1, keepdims=True)
same = int(((weight.argmax(axis=1) == lost.argmax(axis=1)) & (missed[:, 0] > 0)).sum())
order = stats.spearmanr(weight.ravel(), lost.ravel()).statistic if np.ptp(lost) > 0 else 0.0
grain = 100 * math.sqrt(whole * (1 - whole) / len(little))
print(f"edges where some operation is missed at all: {int((missed > 0).sum())} of {len(weight)}")
print(f"there the strongest is the most missed: {same} times (one in five by chance)")
print(f"rank correlation of weight and worth: {order:+.2f}")
print(f"the supernet reads {whole:.0%} of {len(little)} images: standard error {grain:.1f} points")

# %% [markdown]
# Both measurements have their own noise. The standard error of the last line is as large as most of the drops (though
# drops are differences on the *same* images, which is kinder). And an operation that shares its work with another one
# is missed little, though the two together are needed.
#
# The whole of DARTS-PT is `lesson.select_by_perturbation`. It takes the edges in random order, keeps on each
# the operation that is missed most, sets that edge to it, and tunes ω for a few steps before the next edge. Then,
# node by node, it keeps the two edges without which the network reads worst. Where two accuracies are equal, which
# happens with a hundred images, the loss decides.
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
# of its node, a softmax over the edges that compete (`lesson.edge_shares`), and a cell is derived from β times α.
#
# ### Exercise 07.3 ●●○ (15 minutes)
#
# Write equation (c) for an edge of stride 1. `mixed` is a function that stands for the inner sum; `partial` is $K$.
# `shuffle(x, groups)` is imported: deal into $K$ groups.


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
#     return shuffle(together, partial)
# ```
# </details>

# %% [markdown]
# In the lesson's module this is `PartialMixedOp`, which replaces the library's `MixedOp` on each edge of a
# `SearchCell`; cell, network and step stay as they are. Held against the equation, with every term written out:

# %%
edge = lesson.PartialMixedOp(PLAIN, channels=8, stride=1, partial=4).eval()
x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(SEED))
weights = torch.softmax(torch.arange(float(len(PLAIN))), dim=0)
mixed = sum(w * operation(x[:, :2]) for w, operation in zip(weights, edge.mixed.operations, strict=True))
torch.testing.assert_close(edge(x, weights), shuffle(torch.cat([mixed, x[:, 2:]], dim=1), 4))

dealt = shuffle(torch.arange(8).reshape(1, 8, 1, 1), 4).ravel().tolist()
print(f"eight channels after the shuffle: {dealt}; the next edge mixes channels {dealt[:2]} of these")
for partial in (1, size.partial):
    supernet = SearchClassifier(size.nodes, size.channels, partial=partial, seed=SEED)
    in_edges = sum(p.numel() for cell in supernet.cells for p in cell.edges.parameters())
    print(f"K = {partial}: {in_edges} weights on the candidate edges")

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
# All of these controls are run. For each seed, `lesson.compare` draws a labelled sample and a random cell of its own,
# runs three searches, and reads four more cells off them. Each cell is then trained from scratch *on the source alone*,
# by the same recipe, from the same seed. Only the last row also trains its weights on the sample: it is control 4. Each
# result lies in a file under `runs/`; what is there is not made again.

# %%
runs = []
for seed in range(SEED, SEED + size.seeds):
    runs.append(lesson.compare(digits, size, seed, folder))
    read = ", ".join(f"{method} {result.target:.0%}" for method, result in runs[-1].items())
    print(f"seed {seed}: {read}")
labels = lesson.METHOD_LABELS

# %% [markdown]
# First the cells themselves. Each row is one found cell, each field one of its operations. If a method knew which
# cell is best, its rows would look alike from seed to seed. Random cells, at the top, show what no agreement looks
# like.

# %%
searched = [method for method in lesson.METHODS if method != "weights"]
lesson.barcode({labels[method]: [run[method].genotype for run in runs] for method in searched})

# %% [markdown]
# Then what they read. A line joins the results of one seed: the same sample, the same training seed. Where lines cross
# often, the order of the methods is a matter of luck. The dotted line is the cell drawn by hand in section 1; the
# dashed one is that cell when all of its training data are handwriting.

# %%
scores = 100 * np.array([[run[method].target for method in lesson.METHODS] for run in runs])


def spread():
    """Every seed as a line, mean and standard deviation in black."""
    figure = Plot(9, 4.2)
    axes = figure.subplots()
    places = np.arange(len(lesson.METHODS))
    for number, row in enumerate(scores):
        axes.plot(places, row, "-", marker="os^Dv"[number % 5], color=palette.SKY, label=f"seed {SEED + number}")
    axes.errorbar(places, scores.mean(0), scores.std(0, ddof=1), fmt="_", color=palette.INK, markersize=26, capsize=5)
    axes.axhline(100 * across, color=palette.VERMILLION, linestyle=":", label="by hand, print")
    axes.axhline(100 * at_home, color=palette.GREEN, linestyle="--", label="by hand, handwriting")
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
# A mean that is higher is not yet a result. For each claim of exercise 07.4 take the differences seed by seed, and ask
# how far their mean could be off. With $n$ seeds, a standard deviation $s$ of the differences and Student's $t$, the
# mean is known to $\pm\, t_{n-1} \cdot s / \sqrt{n}$. With three seeds $t$ is 4.3: the price of a small experiment.


# %%
def claim(name, one, other):
    """What the runs say of "`one` reads better than `other`"."""
    differences = 100 * np.array([run[one].target - run[other].target for run in runs])
    mean, spread = differences.mean(), differences.std(ddof=1)
    margin = stats.t.ppf(0.975, len(runs) - 1) * spread / math.sqrt(len(runs))
    verdict = "undecided" if abs(mean) <= margin else ("yes" if mean > 0 else "no, the other way round")
    return f"{name} {labels[one]} − {labels[other]}: {mean:+.1f} ± {margin:.1f} points: {verdict}", mean, spread


# %% [markdown]
# Here are the four claims, and **E**: partial channels beat plain search. Its control is the plain search itself.

# %%
CLAIMS = [
    ("A", "plain", "random"),
    ("B", "plain", "source"),
    ("C", "perturbation", "plain"),
    ("D", "plain", "weights"),
    ("E", "partial", "plain"),
]
for row in CLAIMS:
    print(claim(*row)[0])
random, taught = (scores[:, lesson.METHODS.index(method)].mean() for method in ("random", "weights"))
closed = (taught - random) / (100 * at_home - random)
print(f"Labels in ω close {closed:.0%} of the way to a network that learns from handwriting alone.")

# %% [markdown]
# Read the lines as they stand, also those that disappoint. "Undecided" does not mean "no difference": it means that
# this experiment is too small to see one. At the size `tiny` that is the usual outcome for A, B, C and E, and other
# seeds turn their signs around. A "yes" is not the end either. Each line has one chance in twenty to decide without a
# reason, there are five of them, and $s$ itself comes from few seeds. It would be easy to pick the seed that tells a
# story.
#
# Claim D is of another size. Look at its line, and at the last one: a hundred labels that also train the *weights* go a
# long way, while the same labels spent on choosing among cells move far less. A search for domain adaptation should be
# measured against this control. The paper does not do so: its S+R rows have seen target labels, and the rows that they
# are compared with have not.
#
# ### Exercise 07.5 ●●○ (10 minutes)
#
# How many seeds would the next experiment need? With many seeds $t$ is about 2. Find the smallest number of seeds, at
# least 2, for which $2 \cdot \mathrm{spread} / \sqrt{n} \le |\mathrm{effect}|$.


# %% tags=["exercise"]
def seeds_needed(spread, effect):
    """Seeds until twice the standard error is no larger than the effect (all in points)."""
    ...


# %%
check("07.5", seeds_needed)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Solve for $n$, then round up, with `math.ceil`. The sign of the effect does not matter.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def seeds_needed(spread, effect):
#     return max(2, math.ceil((2 * spread / abs(effect)) ** 2))
# ```
# </details>

# %% [markdown]
# For the comparisons above: how many seeds until an effect of one point, or of five, would show? The spread is measured
# on few seeds, so take these numbers for an order of magnitude.

# %%
for name, one, other in CLAIMS:
    _, _, spread = claim(name, one, other)
    needed = [max(2, math.ceil((2 * spread / effect) ** 2)) for effect in (1, 5)]
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
