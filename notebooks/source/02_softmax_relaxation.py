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
# # 02 · The softmax relaxation
#
# **How do you take a gradient of a choice?**
#
# A cell is a list of choices: this operation on that input, that operation on another. Choices come one by one, and
# nothing lies between them, so there is no slope to walk down. Differentiable search walks all the same. It computes
# *every* operation, mixes the results, and learns the proportions. At the end it has to turn the proportions into a
# choice again. This notebook follows the trick there and back, and measures what is lost on the way.
#
# **You will be able to**
#
# - write eq. 6 of the paper, and say what is misprinted in it;
# - derive its gradient by hand, and read it: whose α rises, and why;
# - say what a temperature changes, and what it cannot change;
# - derive a cell from α, and explain why `none` is left out;
# - measure the gap between a mixture and the choice that is made of it.
#
# **You need to know** the operations and the cell (notebook 01), the chain rule, and what a softmax is.
#
# *Times are filled in here when the notebook is executed.*

# %%
import ipywidgets
import numpy as np
import torch
from IPython.display import display

from nasda.cells import MixedOp
from nasda.course import nb02_softmax_relaxation as lesson
from nasda.course.check import check
from nasda.course.open import open_course
from nasda.data.batches import Batches
from nasda.data.store import stored
from nasda.errors import NasdaError
from nasda.evaluation import evaluate, reestimate_statistics
from nasda.genotypes import (
    PRIMITIVES,
    Edge,
    Genotype,
    derive,
    entropy,
    node_slices,
    random_genotype,
    softmax,
    strengths,
)
from nasda.losses import mine_hardest, pairwise_distances, retrieval_loss, triplet_loss
from nasda.networks import Supernet
from nasda.operations import operation_colour, operation_label, operation_style
from nasda.pictures import palette, plots
from nasda.pictures.plots import Plot
from nasda.pictures.widgets import explore
from nasda.search import run_search

# %% tags=["parameters"]
PROFILE: str = "tiny"  # tiny, laptop, gpu, paper
TASK: str = "person"  # person, vehicle
DATA_ROOT: str = ""  # empty: the built-in data; else the folder that holds the real data sets
SEED: int = 0

# %%
course = open_course(PROFILE, TASK, DATA_ROOT, SEED)
settings = course.settings
rng = np.random.default_rng(SEED)

# %% [markdown]
# ## A choice has no slope
#
# Take the smallest case. Three operations each put out one number, and we would like to be near a target. Each
# operation has a score, its α. The obvious rule is to use the operation with the highest score. We move one score
# from low to high and watch the loss, once for that rule and once for a mixture in which each operation takes part in
# proportion to $e^{\alpha}$.


# %%
def mixing_weights(alphas):
    """Positive numbers that sum to 1 over the last axis, in proportion to exp(α)."""
    powers = np.exp(alphas - alphas.max(axis=-1, keepdims=True))  # no overflow
    return powers / powers.sum(axis=-1, keepdims=True)


outputs, target = np.array([0.2, 1.0, 1.6]), 1.35
last_score = np.linspace(-4, 4, 801)
alphas = np.stack([np.zeros(801), np.full(801, 0.5), last_score], axis=1)
losses = {
    "the operation with the highest α": (outputs[alphas.argmax(axis=1)] - target) ** 2,
    "the mixture": (mixing_weights(alphas) @ outputs - target) ** 2,
}

# %%
figure = Plot(9, 3.4)
of_loss, of_slope = figure.subplots(1, 2)
styles = ((palette.VERMILLION, "--"), (palette.BLUE, "-"))
for (name, loss), (colour, dash) in zip(losses.items(), styles, strict=True):
    slope = np.gradient(loss, last_score)
    slope[np.abs(slope) > 3] = np.nan  # on the step
    of_loss.plot(last_score, loss, dash, color=colour, linewidth=2, label=name)
    of_slope.plot(last_score, slope, dash, color=colour, linewidth=2, label=name)
of_slope.axvline(0.5, color=palette.GREY, linestyle=":")  # the step has no slope
plots.dress(of_loss, "α of the third operation", "loss", legend="best")
plots.dress(of_slope, "α of the third operation", "slope of the loss")
display(figure)

# %% [markdown]
# The rule's loss is a step. Left and right of it the slope is exactly 0, and on the step it does not exist (the
# dotted line). Descent would never move. The mixture's loss is smooth, and its slope points somewhere almost
# everywhere. Notice also where the mixture is best: *between* two operations, at a loss that no single one of them
# reaches. Keep that in mind. It is the price of the trick, and we shall pay it at the end.

# %% [markdown]
# ## Equation 6
#
# The paper takes the mixture from DARTS. Node $i$ of cell $c$ is fed by every candidate input $H$, and each such edge
# $(H, i)$ mixes all operations of $\mathcal{O}$ with a softmax of its own:
#
# $$I_i^c = \sum_{H \in \mathcal{I}_i^c} \; \sum_{o \in \mathcal{O}}
# \frac{\exp(\alpha_o^{(H,i)})}{\sum_{o' \in \mathcal{O}} \exp(\alpha_{o'}^{(H,i)})} \; o(H) \tag{6}$$
#
# The printed equation has slips. Its left side is $\mathcal{O}_{i1}^c(I_{i1}^c)$, *one* operand of eq. 5, while the
# right side already sums over all inputs: it is the whole node. The superscript of $\mathcal{I}_i^c$ has slid out of
# the sum. And a line below, the operation to leave out is called "nonce". In the library the inner sum is
# `nasda.cells.MixedOp`, the outer one is in `nasda.cells.SearchCell.forward`.

# %% [markdown]
# ### Exercise 02.1 ●○○ (10 minutes)
#
# Write the whole right side of eq. 6. You get `alphas`, a tensor (edges, operations), and `outputs`, a tensor (edges,
# operations, values): what each operation makes of its edge's input. Return the node, a tensor (values).


# %% tags=["exercise"]
def mixed_node(alphas, outputs):
    """Eq. 6: (edges, operations) and (edges, operations, values) → (values)."""
    ...


# %%
check("02.1", mixed_node)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many softmaxes does a node with three inputs need? Each one runs over the operations. Then multiply: the weights
# need one more axis to fit the outputs.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def mixed_node(alphas, outputs):
#     weights = torch.softmax(alphas, dim=1)
#     return (weights.unsqueeze(2) * outputs).sum(dim=(0, 1))
# ```
# </details>

# %% [markdown]
# ## Compare with the library
#
# Now with real operations on real feature maps. One edge is three lines. `MixedOp` is the same, except that it is
# handed the weights, not α: in a supernet all cells of a kind share one α, so the softmax is taken once, outside.


# %%
def mix(alphas, operations, x):
    """One edge of eq. 6: all operations of x, in the softmax's proportions."""
    weights = torch.softmax(alphas, dim=0)
    return sum(weight * operation(x) for weight, operation in zip(weights, operations, strict=True))


cpu = {"seed": SEED, "device": torch.device("cpu"), "augmented": False}
batches = Batches(course.task.target.train, settings.data, 8, 4, **cpu)  # 8 identities, 4 images each
images, labels = batches.next()
supernet = Supernet(settings.space, batches.classes, seed=SEED, form="clear")
cell, alpha = supernet.cells[0], supernet.alphas["normal"].detach()
with torch.no_grad():
    stem = supernet.stem(images)
    edge, x = cell.edges[0], cell.inputs(stem, stem)[0]
    torch.testing.assert_close(mix(alpha[0], edge.operations, x), edge(x, torch.softmax(alpha[0], dim=0)))
assert isinstance(edge, MixedOp)
np.testing.assert_allclose(mixing_weights(alpha.numpy()), softmax(alpha), rtol=1e-6)

# %% [markdown]
# A whole cell adds the loop over nodes: each node is the sum of its edges, and then serves as an input to later
# nodes. The paper says that the candidate inputs come from "the previous *block*" of the cell; what is meant are its
# previous *nodes*. `node_slices` says which rows of α belong to which node.

# %%
with torch.no_grad():
    states = cell.inputs(stem, stem)  # in the first cell both inputs are the stem's output
    for rows in node_slices(settings.space.nodes):
        edges = zip(alpha[rows], cell.edges[rows], states, strict=True)
        states.append(sum(mix(a, edge.operations, H) for a, edge, H in edges))
    by_hand = torch.cat(states[2:], dim=1)
    torch.testing.assert_close(by_hand, cell(stem, stem, torch.softmax(alpha, dim=1)))
print(f"{len(alpha)} edges with {len(supernet.primitives)} operations each: the same numbers")

# %% [markdown]
# ## The gradient of a choice
#
# So what is the slope with respect to α? Write $\bar y = \sum_o w_o y_o$ for an edge's output, $y_o = o(H)$, and $g =
# \partial L / \partial \bar y$ for what comes back from the loss. Only one ingredient is new, the derivative of a
# softmax:
#
# $$\frac{\partial w_p}{\partial \alpha_o} = w_p \, ([p = o] - w_o) \tag{a}$$

# %% [markdown]
# ### Exercise 02.2 ●●○ (15 minutes)
#
# Put (a) into the chain rule and write $\partial L/\partial\alpha$ in closed form, without autograd. You get `alphas`
# (operations), `outputs` (operations, values), the $y_o$, and `upstream` (values), which is $g$.


# %% tags=["exercise"]
def alpha_gradient(alphas, outputs, upstream):
    """dL/dα (operations) from what the operations put out and dL/dȳ."""
    ...


# %%
check("02.2", alpha_gradient)

# %% [markdown]
# <details><summary>Hint</summary>
#
# First find $\partial L/\partial w_p = \langle g, y_p \rangle$. Then sum over p. The bracket $[p = o]$ leaves one
# term, and $-w_o$ leaves a sum that you know: it is $\langle g, \bar y \rangle$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def alpha_gradient(alphas, outputs, upstream):
#     weights = torch.softmax(alphas, dim=0)
#     gains = outputs @ upstream
#     return weights * (gains - weights @ gains)
# ```
# </details>

# %% [markdown]
# The result is short enough to remember:
#
# $$\frac{\partial L}{\partial \alpha_o} = w_o \, \big( \langle g, y_o \rangle - \langle g, \bar y \rangle \big)
# \tag{b}$$
#
# An operation's α rises when its output points further downhill than the mixture's. The question is not "is it good?"
# but "is it better than the average of all?". (Its weight may still fall, where another α rises faster. If you know
# REINFORCE: this is its baseline.) Let us hold (b) against autograd, on the edge above and the triplet loss (eq. 8,
# explained below under *The odd one*).

# %%
weights = torch.softmax(alpha[0], dim=0)
with torch.no_grad():
    parts = torch.stack([operation(x) for operation in edge.operations])  # all y_o
mixture = torch.einsum("o,obchw->bchw", weights, parts).requires_grad_()
loss = triplet_loss(mixture.mean(dim=3).flatten(1), labels, settings.search.margin)
(upstream,) = torch.autograd.grad(loss, mixture)
gains = torch.einsum("obchw,bchw->o", parts, upstream)
closed_form = weights * (gains - weights @ gains)

free = alpha[0].clone().requires_grad_()
features = torch.einsum("o,obchw->bchw", torch.softmax(free, dim=0), parts).mean(dim=3).flatten(1)
(by_autograd,) = torch.autograd.grad(triplet_loss(features, labels, settings.search.margin), free)
torch.testing.assert_close(closed_form, by_autograd, rtol=1e-3, atol=1e-5)
slopes = zip(closed_form.tolist(), supernet.primitives, strict=True)
for slope, name in sorted(slopes):
    print(f"{operation_label(name):13} {slope:+.4f}   α {'rises' if slope < 0 else 'falls'}")
print(f"sum {float(closed_form.sum()):+.1e}")

# %% [markdown]
# Three consequences are worth keeping. The entries sum to 0: plain descent moves weight around, and never changes the
# sum of an edge's α. The factor $w_o$ makes the slope of a weak operation small, so an operation that falls behind
# also slows down. And at a corner, where one weight is 1, the bracket is 0 for the winner and the factor is 0 for the
# rest: near a choice, the relaxation has almost no slope either.

# %% [markdown]
# ## Where descent goes
#
# With three operations the weights fill a triangle, and we can look at the whole search. Below, each operation's
# output is a point of the plane and the loss is half the squared distance from the target. Left is the plane of
# outputs, right the triangle of weights; a corner is a choice, dashed lines separate who is strongest. Nine searches
# start at the discs. The black square marks the operation that is best *on its own*.
#
# Move the target. Can you find a place where the search ends at the square, and one where it goes elsewhere?

# %%
points, names = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), ["op A", "op B", "op C"]
starts = 1.2 * np.random.default_rng(0).normal(size=(9, 3))


def search_in_the_plane(x, y, steps):
    """Nine searches for the target (x, y): their picture, and what comes of them in words."""
    path = lesson.descend(points, (x, y), starts, steps)
    mixed, alone = lesson.losses(path[-1], points, (x, y)).mean(), lesson.losses(np.eye(3), points, (x, y))
    middle = path[-1].mean(axis=0)
    found, best = int(middle.argmax()), int(alone.argmin())
    words = f"after {steps} steps, mean weights: "
    words += ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, middle, strict=True))
    words += f"\nloss of the mixture {mixed:.3f}; of the derived {names[found]} {alone[found]:.3f}"
    words += f"; of the best alone, {names[best]}, {alone[best]:.3f}"
    return lesson.simplex_picture(points, (x, y), path, names), words


# %% tags=["thumbnail"]
explore(
    search_in_the_plane,
    x=ipywidgets.FloatSlider(0.3, min=-2.5, max=2.5, step=0.1, description="target, first number"),
    y=ipywidgets.FloatSlider(0.2, min=-1.0, max=1.8, step=0.1, description="target, second number"),
    steps=ipywidgets.IntSlider(200, min=10, max=400, step=10),
)

# %% [markdown]
# ## Break it
#
# The first picture is the trap. Operations A and B pull in opposite directions, and half of each cancels out close to
# the target. The mixture is excellent, every search finds it, and nothing went wrong with the optimisation. Yet the
# strongest operation is one of the two that are useless alone, and the one that would have served best has the
# smallest weight. α answers the question "how much of you in this mixture?", and we read it as "how good are you
# alone?".

# %% [markdown]
# How often do the two questions have different answers? We draw many small problems, in few dimensions and in many,
# search, and count.


# %%
def misses(dimensions, problems=150):
    """The share of random problems whose strongest operation is not the best one alone."""
    wrong = 0
    for _ in range(problems):
        outputs = rng.normal(size=(4, dimensions)) / np.sqrt(dimensions)
        goal = 0.5 * rng.normal(size=dimensions) / np.sqrt(dimensions)
        final = lesson.descend(outputs, goal, np.zeros((1, 4)), 200, rate=1.0)[-1, 0]
        wrong += final.argmax() != lesson.losses(np.eye(4), outputs, goal).argmin()
    return wrong / problems


for dimensions in (1, 2, 8, 64):
    print(f"outputs of {dimensions:2} numbers: {misses(dimensions):4.0%} do not derive the best one")

# %% [markdown]
# With one number, operations stand in for each other and cancel each other, and the search misses more often than
# not. With more numbers it misses less often, but still a fifth to a third of the time (150 problems leave a doubt of
# about four points), in 64 dimensions as in 2. There random outputs are nearly at right angles, and still the
# questions differ: a mixture takes each operation in a small dose, where its direction counts, while an operation
# alone pays for its full length. Real operations are not random: two poolings of the same map resemble each other a
# lot.

# %% [markdown]
# ## Temperature
#
# One remedy is to make mixtures look more like choices while searching. Divide α by a temperature T before the
# softmax (the paper does not; SNAS and GDAS do, with sampling on top). We follow one edge from cold to hot: its
# weights, the entropy of the choice, and how large the slope of (b) is, on average over random outputs and losses.

# %%
edge_alphas = np.array([1.2, 1.0, 0.2, -0.5])
temperatures = np.logspace(-2, 2, 121)
weights = mixing_weights(edge_alphas / temperatures[:, None])  # (temperatures, operations)
gains = rng.normal(size=(500, 1, 4))  # <g, y_o> of 500 random losses
slopes = weights * (gains - (weights * gains).sum(axis=2, keepdims=True)) / temperatures[:, None]
undecided = entropy(edge_alphas / temperatures[:, None])
np.testing.assert_allclose(undecided, -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1), atol=1e-12)

# %%
figure = Plot(9, 3.5)
panels = figure.subplots(1, 3)
styles = ((palette.VERMILLION, "-"), (palette.BLUE, "--"), (palette.GREEN, "-."), (palette.GREY, ":"))
for column, (colour, dash) in zip(weights.T, styles, strict=True):
    panels[0].plot(temperatures, column, dash, color=colour, linewidth=2)
panels[0].legend([f"α = {value}" for value in edge_alphas], frameon=False)
panels[1].plot(temperatures, undecided, color=palette.BLUE, linewidth=2)
panels[1].axhline(np.log(4), color=palette.GREY, linestyle=":")
panels[1].text(0.011, np.log(4) - 0.09, "ln 4: undecided", fontsize=9)
panels[2].plot(temperatures, np.sqrt((slopes**2).sum(axis=2).mean(axis=0)), color=palette.PURPLE, linewidth=2)
for panel, label in zip(panels, ("softmax weight", "entropy (nats)", "size of the slope for α"), strict=True):
    panel.set_xscale("log")
    plots.dress(panel, "temperature T", label)
display(figure)

# %% [markdown]
# Hot, every weight goes to 1/4 and the entropy to ln 4. Cold, one weight goes to 1. The slope dies at both ends: hot,
# because α hardly moves the weights; cold, because the softmax has become the step we began with. Between them is the
# range in which a search learns. The peak at low T comes from the two close scores 1.2 and 1.0, where the step is.

# %% [markdown]
# ### Exercise 02.3 ●●○ (10 minutes)
#
# Write `weights_at(alphas, temperature)` for any temperature from 0 up, where T = 0 means the limit. Two things can
# go wrong: very small temperatures, and scores that tie. What does the softmax of [2, 0, 2, 1] / T go to as T → 0?


# %% tags=["exercise"]
def weights_at(alphas, temperature):
    """softmax(α / T) of a list of numbers, as an array; for T = 0 its limit."""
    ...


# %%
check("02.3", weights_at)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Divide the numerator and the denominator by $e^{\alpha_{max}/T}$. Every exponent is then 0 or negative. Which of
# them stay at 0, whatever T is, and how many are there?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def weights_at(alphas, temperature):
#     values = np.asarray(alphas, dtype=float)
#     if temperature == 0:
#         winners = values == values.max()
#         return winners / winners.sum()
#     powers = np.exp((values - values.max()) / temperature)
#     return powers / powers.sum()
# ```
# </details>

# %% [markdown]
# ## Back to a choice
#
# After the search a discrete cell is needed. §2.1 defines the *strength* of an edge as the largest weight on it among
# all operations but `none`; a node keeps its two strongest edges, with their strongest operations. The text has two
# slips. The printed denominator is $\sum_{o'} \exp(\alpha_o)$, with the wrong index under the sum; to the letter,
# every strength would be $1/|\mathcal{O}|$. And only the first input is described; that the second comes from the
# second strongest edge is DARTS' rule (its §2.4). Note what the sum runs over: `none` is left out of the maximum, but
# it stays in the denominator.


# %%
def derive_cell(alphas, primitives, nodes):
    """The derived cell: for each node its two strongest edges, as (operation, input)."""
    weights = mixing_weights(alphas)
    real = [column for column, name in enumerate(primitives) if name != "none"]
    strength, best = weights[:, real].max(axis=1), weights[:, real].argmax(axis=1)
    cell = []
    for rows in node_slices(nodes):
        strongest = np.argsort(-strength[rows], kind="stable")[:2]  # ties: the earlier
        cell.append(tuple(Edge(primitives[real[best[rows][i]]], int(i)) for i in sorted(strongest)))
    return tuple(cell)


names_of_paper = PRIMITIVES["reid"]
for _ in range(200):
    some = rng.normal(size=(14, 7))  # the paper's four nodes, seven operations
    theirs = derive({"normal": some, "reduce": some}, names_of_paper)
    assert derive_cell(some, names_of_paper, 4) == theirs.normal
    strongest = mixing_weights(some)[:, 1:].max(axis=1)  # none is the first column
    np.testing.assert_allclose(strongest, strengths(some, names_of_paper)[0])

# %% [markdown]
# `nasda.genotypes.strengths` and `derive` do the same. (They compare logarithms, so that weights too small for a
# floating-point number keep their order.)

# %% [markdown]
# ### Exercise 02.4 ●○○ (5 minutes)
#
# Derive one node by hand. These are the softmax weights of its three edges:
#
# | from | none | max_pool_3x3 | skip_connect | sep_conv_3x3 |
# |---|---:|---:|---:|---:|
# | input 0 | 0.10 | 0.40 | 0.30 | 0.20 |
# | input 1 | 0.70 | 0.05 | 0.05 | 0.20 |
# | input 2 | 0.45 | 0.10 | 0.10 | 0.35 |
#
# Answer with a set of two pairs, operation and input, such as `{("skip_connect", 0), ("none", 2)}`.

# %% tags=["exercise"]
my_node = ...

# %%
check("02.4", my_node)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Cover the first column with your thumb and find the largest number of each row. Do not divide by anything: the
# numbers are weights already, and their denominator included `none`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# my_node = {("max_pool_3x3", 0), ("sep_conv_3x3", 2)}  # strengths 0.40, 0.20 and 0.35
# ```
# </details>

# %% [markdown]
# ## Move it
#
# Here is a node with three inputs in the first cell of our (untrained) supernet, looking at one image of the target.
# Four of its operations take part. You set the α of the middle edge, and the temperature of all three. From left to
# right you see the weights, the derived choice, the image, and one channel of what the node makes of it: mixed as in
# eq. 6, and derived.
#
# Try three things. Make the middle edge lose its place without touching the scores of any real operation. Change
# which edges are kept with the temperature alone. And try to change the *operation* of an edge with the temperature:
# why is that impossible?

# %%
four = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]
columns = [supernet.primitives.index(name) for name in four]
into_node = cell.edges[node_slices(settings.space.nodes)[1]]  # the second node's three edges
channel = int(states[0][0].var(dim=(1, 2)).argmax())  # the one with most to see
maps = torch.empty(3, 4, *states[0].shape[2:])
photo = lesson.shown(images[0])
with torch.no_grad():
    for row, edge_of_node, H in zip(maps, into_node, states[:3], strict=True):
        row[:] = torch.stack([edge_of_node.operations[column](H)[0, channel] for column in columns])


# %%
def node(none, max_pool, skip, sep_conv, temperature):
    """The picture of the node, and in words what is derived from it."""
    alphas = np.array([[0.0, 1.6, 1.5, 0.0], [none, max_pool, skip, sep_conv], [0.2, 0.2, 0.9, 0.2]])
    figure, words = lesson.node_picture(alphas / temperature, four, maps, photo)
    middle = ", ".join(f"{value:.1f}" for value in alphas[1])
    return figure, f"α of the edge from cₖ₋₁: {middle}; T = {temperature}\n{words}"


def slider(value, description):
    return ipywidgets.FloatSlider(value, min=-3, max=3, step=0.1, description=description)


explore(
    node,
    none=slider(0.0, "α none"),
    max_pool=slider(0.5, "α max pool"),
    skip=slider(0.5, "α skip"),
    sep_conv=slider(1.2, "α sep conv"),
    temperature=ipywidgets.SelectionSlider(value=1.0, options=[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]),
)

# %% [markdown]
# Dividing all α of an edge by one positive number keeps their order, so its operation stays. Edges are compared by
# weights from *different* softmaxes, and those can change places. Cold, an edge is as strong as its winner's lead over
# the *runner-up*: the close race on the edge from $c_{k-2}$ makes it the weakest of the three. Warm, it is as strong as
# its winner's lead over the *average* of its scores, and there the same edge is the strongest. So the temperature at
# which one reads α is part of the result.

# %% [markdown]
# ## The odd one: none
#
# Why is `none` left out of the maximum? It puts out zeros, so by (b) its slope is
#
# $$\frac{\partial L}{\partial \alpha_{none}} = -\, w_{none} \, \langle g, \bar y \rangle \tag{c}$$
#
# Nothing in it says whether the edge is useful. $\langle g, \bar y\rangle$ is how the loss changes when the whole
# output is scaled up. `none` is a volume knob. A cell's inputs pass a batch norm before anything else is done with
# them, which undoes the volume of the whole cell before: there `none` decides only which edges are loud compared with
# others, and turning all of them down together changes nothing. The last cell's output, however, becomes f, and f goes
# straight into the triplet loss. It takes each of the B images of a batch in turn as an *anchor* a; $d_{ap}$ is the
# distance of its feature to the farthest image of the same identity (its *hardest positive*), $d_{an}$ to the nearest
# image of another (its *hardest negative*), and the *margin* m is the room asked for between the two. Notebook 03
# builds it; here its form is enough:
#
# $$L_t = \frac{1}{B} \sum_{a} \max(0, \; m + d_{ap} - d_{an}) \tag{8}$$
#
# (Printed is $\max(m, d_{ap} - d_{an})$; see `nasda.losses.triplet_loss`.) Distances grow and shrink with f, so
# scaling f by 1 % scales every difference of distances by 1 %:
#
# $$\langle g, \bar y \rangle = \frac{1}{B} \sum_{a\ \mathrm{active}} (d_{ap} - d_{an}) \tag{d}$$
#
# An anchor is active where the max is not 0. Put (d) into (c): as long as the hardest positives are farther away than
# the hardest negatives, α of `none` rises. While all anchors are active, this means: as long as the loss lies above
# m. Learning who is who is hard; turning the volume down is cheap. We look at one edge with fixed ω, and descend on α
# alone.


# %%
def through(alphas):
    """The features of the batch after one mixed edge, and their triplet loss."""
    mixed = torch.einsum("o,obchw->bchw", torch.softmax(alphas, dim=0), parts)
    features = mixed.mean(dim=3).flatten(1)
    return features, triplet_loss(features, labels, settings.search.margin)


alphas, trace = torch.zeros(len(parts), requires_grad=True), []
for _ in range(150):
    features, loss = through(alphas)
    (slope,) = torch.autograd.grad(loss, alphas)
    trace.append((loss.item(), softmax(alphas.detach()), float(slope[0])))
    alphas = (alphas - 0.5 * slope).detach().requires_grad_()

mined = mine_hardest(pairwise_distances(through(torch.zeros(len(parts)))[0]), labels)
active = settings.search.margin + mined.positive - mined.negative > 0
volume = ((mined.positive - mined.negative) * active).mean()
by_formula = -float(volume) / len(parts)  # every weight is 1 / 7 at the start
print(f"slope for none at the start: by (c) and (d) {by_formula:.4f}, by autograd {trace[0][2]:.4f}")
np.testing.assert_allclose(by_formula, trace[0][2], rtol=1e-3)

# %%
figure = Plot(9, 3.6)
left, right = figure.subplots(1, 2)
left.plot([loss for loss, _, _ in trace], color=palette.BLUE, linewidth=2, label="triplet loss")
left.axhline(settings.search.margin, color=palette.GREY, linestyle=":", label="the margin m")
left.set(ylim=(0, None))
for name, column in zip(supernet.primitives, np.array([w for _, w, _ in trace]).T, strict=True):
    look = {"color": operation_colour(name), "linestyle": operation_style(name), "label": operation_label(name)}
    right.plot(column, linewidth=3 if name == "none" else 1.3, **look)
for panel, label in ((left, "loss"), (right, "softmax weight")):
    plots.dress(panel, "step of descent on α", label, legend="center right")
display(figure)

# %% [markdown]
# The loss falls as nicely as one could wish, and the edge has learnt to say nothing. Every image has nearly the same
# feature, the loss rests at m, and a ranking by such features is a guess. What if we let `none` win? Then this edge
# derives to nothing; with two such edges a node is constant, and nothing behind it can see the image. The library
# refuses to build one. The reading "max over o ≠ none, but none in the denominator" is the way out: an edge that is
# mostly `none` is *weak* and loses its place to another edge, yet the node always gets two real operations.

# %%
winner = supernet.primitives[int(alphas.argmax())]
real = strengths(alphas.detach()[None], supernet.primitives)[1][0]
print(f"strongest of all: {winner}; strongest other than none: {real}")
nothing = (Edge("none", 0), Edge("none", 1))
try:
    Genotype(normal=(nothing,), reduce=(nothing,))
except NasdaError as error:
    print(error)

# %% [markdown]
# ### Exercise 02.5 ●●● (10 minutes)
#
# An edge has two operations, `none` and `skip_connect`, and α = (0, 0). With the skip alone (weight 1), every anchor
# of the batch has its hardest positive at distance 1.6 and its hardest negative at 1.2. The margin is 0.3, and f is
# the edge's output. What is $\partial L_t / \partial \alpha_{none}$?

# %% tags=["exercise"]
slope_of_none = ...

# %%
check("02.5", slope_of_none)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Distances scale with f, so the loss is $0.3 + w_{skip} \cdot (1.6 - 1.2)$. Now differentiate $w_{skip}$ by
# $\alpha_{none}$ with (a).
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# slope_of_none = -0.5 * 0.5 * (1.6 - 1.2)  # dw_skip/dα_none = −w_none · w_skip; descent raises none
# ```
# </details>

# %% [markdown]
# ## At size: a search, and the gap
#
# Now a real search, with the profile's settings: ω learns on the source, α on a little of the target. (Why so, and
# how a step of it works, is notebook 04.) It lies in the run folder that the `nasda search` command uses too, and is
# only computed where it is missing.

# %%
experiment, space = course.experiment, settings.space
genotype = run_search(experiment.search, course.task, settings, seed=SEED, device=course.device)
history = experiment.search.read_log()

# %%
plots.alpha_heatmap(history, supernet.primitives, "normal")

# %% [markdown]
# White is 1/7, undecided. After a search as short as `tiny`'s the colours are pale, and so are the decisions. The
# next cell says how pale: entropy against ln 7, how far the winner of an edge is ahead of its runner-up, and how much
# of all weight sits on the operations that are kept. Look at the share of `none`, too, above all in the kind of cell
# that comes last: its volume reaches the triplet loss.

# %%
for kind, rows in history[-1]["alphas"].items():
    weights, strength = softmax(rows), strengths(rows, supernet.primitives)[0]
    runner_up = np.sort(weights[:, 1:], axis=1)[:, -2]  # none is the first column
    kept = (weights * lesson.corner(genotype, supernet.primitives)[kind])[:, 1:].sum() / len(weights)
    print(f"{kind}: entropy {entropy(rows).mean():.3f} of {np.log(weights.shape[1]):.3f} nats; mean ", end="")
    print(f"winner {strength.mean():.3f}, runner-up {runner_up.mean():.3f}, none {weights[:, 0].mean():.3f}")
    print(f"        the derived cell keeps {kept:.0%} of all weight")
print("the network's last cell is of kind", supernet.places[-1].kind)

# %% [markdown]
# Now take the trained supernet, keep every weight of ω, and replace only the mixing weights. A discrete choice is a
# *corner* of the same network: weight 1 on the chosen operation, and weight 1 on `none` where an edge is dropped. So
# the comparison is clean: same ω, same images, another mixture. To be sure that the corner is what we say it is, we
# also build the derived network itself, hand it the supernet's weights operation by operation, and compare features.

# %%
size = settings.search.identities, settings.search.images
same = {"seed": SEED, "device": course.device, "augmented": False}
source = Batches(course.task.source.train, settings.data, *size, **same)
held = [source.next() for _ in range(2)]
trained = Supernet(space, source.classes, seed=SEED).to(course.device)
trained.load_state_dict(experiment.search.load_checkpoint()["run"]["network"])
relaxed = {kind: softmax(rows) for kind, rows in trained.alpha_values().items()}
derived = lesson.corner(genotype, trained.primitives)

lesson.set_weights(trained, derived)
network = lesson.inherited(trained, genotype, space).to(course.device)
with torch.no_grad():
    found, expected = network.train().features(held[0][0]), trained.train().features(held[0][0])
torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
apart, size = float((found - expected).abs().max()), float(expected.norm(dim=1).mean())
print(f"largest difference {apart:.1e} in features of length {size:.2f}")

# %% [markdown]
# What is measured, precisely: ω's own loss (eq. 9) on the source it learnt from, without dropout and augmentation,
# with batch norms that use the batch at hand, as in training. Each mixture is thus normalised by what it puts out
# itself. We do not jump; we walk from the mixture straight to the corner, $(1-t)\,w + t\,w_{corner}$. One walk goes
# to the derived cell, one to "every edge keeps its strongest operation", and a few to random cells. The random ones
# are the control: they leave the mixture just as far behind, but nobody chose them.


# %%
def source_loss(weights):
    """Eq. 9 on the held batches when the trained supernet mixes by `weights`."""
    lesson.set_weights(trained, weights)
    trained.train().head.eval()
    with torch.no_grad():
        outputs = [(trained(images), labels) for images, labels in held]
    margin, balance = settings.search.margin, settings.search.balance
    return np.mean([float(retrieval_loss(*o, y, margin=margin, balance=balance)) for o, y in outputs])


one_hot = dict(zip(trained.primitives, np.eye(len(trained.primitives)), strict=True))
corners = {"derived": derived}
corners["strongest on every edge"] = {
    kind: np.stack([one_hot[name] for name in strengths(rows, trained.primitives)[1]])
    for kind, rows in history[-1]["alphas"].items()
}
for number in range(4):
    random = random_genotype(space.nodes, trained.primitives, 100 * SEED + number)
    corners[f"random {number + 1}"] = lesson.corner(random, trained.primitives)
shares = np.linspace(0, 1, 6)
walks = {name: [source_loss(lesson.between(relaxed, end, t)) for t in shares] for name, end in corners.items()}

# %%
figure = Plot(8, 4.2)
axes = figure.subplots()
styles = {"derived": (palette.VERMILLION, "o-", 2.5), "strongest on every edge": (palette.BLUE, "s--", 2)}
for name, walk in walks.items():
    colour, dash, width = styles.get(name, (palette.GREY, "-", 1.2))
    label = {"random 1": "random cells"}.get(name, name if name in styles else None)
    axes.plot(shares, walk, dash, color=colour, linewidth=width, label=label)
axes.plot(0, walks["derived"][0], "*", color=palette.INK, markersize=16, label="the mixture")
way = "share of the way from the mixture (0) to the choice (1)"
plots.dress(axes, way, "loss on the source (eq. 9)", legend="best")
display(figure)

# %% [markdown]
# The star is where ω was trained: all operations together. At the right end each operation stands alone, without
# neighbours that it learnt to rely on; that rise is the discretisation gap. Look where the thick line ends relative
# to the grey ones. If it ends among them, or above, then α has not yet found out which operations this network can do
# without. After a few epochs, with winners that lead by as little as printed above, nothing better should be
# expected; compare with a longer profile.

# %% [markdown]
# In retrieval terms: mAP on the target's query and gallery, where running statistics are gathered anew for each
# choice (those of the mixture would describe other activations).


# %%
def target_map(weights):
    """mAP on the target when the trained supernet mixes by `weights`."""
    network = Supernet(space, source.classes, seed=SEED, form="clear").to(course.device)
    network.load_state_dict(trained.state_dict())
    lesson.set_weights(network, weights)
    reestimate_statistics(network, (images for images, _ in held))
    query, gallery = course.task.target.query, course.task.target.gallery
    size = settings.data.height, settings.data.width
    images = stored(query, *size), stored(gallery, *size)
    return evaluate(network, query, gallery, *images, device=course.device).mAP


found = {name: target_map(weights) for name, weights in {"mixture": relaxed, **corners}.items()}
loss_of = {"mixture": walks["derived"][0], **{name: walk[-1] for name, walk in walks.items()}}
for name, score in found.items():
    print(f"{name:24} loss on the source {loss_of[name]:.2f}   mAP on the target {100 * score:5.1f} %")
gap = loss_of["derived"] - loss_of["mixture"]
beaten = sum(loss_of["derived"] < loss for name, loss in loss_of.items() if "random" in name)
print(f"\ngap in the loss: {gap:+.2f}; by loss, the derived cell beats {beaten} of 4 random cells")

# %% [markdown]
# Two warnings before you quote these numbers. First, this is *not* the result of a search: the derived network is
# trained from scratch before it is judged, and a cell that does badly with inherited weights may do well with its
# own. What is measured here is how far the search's own measure is from the thing that it stands for. Second, one
# seed of a short search swings; with `SEED = 1` the order of the corners can be another one. What stays is the walk:
# the mixture was trained, the corners were not.

# %% [markdown]
# ## What did we learn?
#
# 1. A choice has no slope, so eq. 6 computes all operations and mixes them with one softmax per edge.
# 2. The gradient of α compares each operation with the mixture (b), sums to zero on each edge, and fades near a
#    corner.
# 3. What is best in a mixture need not be best alone; a walk from a trained mixture to its corner measures how much
#    the choice costs.
# 4. Temperature trades slope against decidedness, and can change which edges are kept, but never an edge's operation.
# 5. `none` is a volume knob that the triplet loss likes to turn down, so it counts in the denominator of a strength,
#    and never wins.

# %% [markdown]
# ## Further reading
#
# - H. Liu, K. Simonyan, Y. Yang: *DARTS: Differentiable Architecture Search*, ICLR 2019. The relaxation; §2.4 on
#   `none`.
# - R. Quan, X. Dong, Y. Wu, L. Zhu, Y. Yang: *Auto-ReID: Searching for a Part-Aware ConvNet for Person
#   Re-Identification*, ICCV 2019. Eqs. 5 and 6 of our paper are from here.
# - S. Xie, H. Zheng, C. Liu, L. Lin: *SNAS: Stochastic Neural Architecture Search*, ICLR 2019; X. Dong, Y. Yang:
#   *Searching for a Robust Neural Architecture in Four GPU Hours* (GDAS), CVPR 2019. Sampled choices with a
#   temperature.
# - E. Jang, S. Gu, B. Poole: *Categorical Reparameterization with Gumbel-Softmax*, ICLR 2017.
# - R. Wang, M. Cheng, X. Chen, X. Tang, C.-J. Hsieh: *Rethinking Architecture Selection in Differentiable NAS*, ICLR
#   2021. Why α is not the strength of an operation.
# - X. Chu, T. Zhou, B. Zhang, J. Li: *Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture
#   Search*, ECCV 2020. A sigmoid for each operation instead of a softmax.
