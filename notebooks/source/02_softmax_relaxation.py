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
# [← 01 The search space](01_search_space.ipynb) · [03 The losses →](03_losses.ipynb)
#
# A cell is a list of choices: this operation on that input, that operation on another. Nothing lies between two
# choices, so there is no slope to walk down. Differentiable search computes *every* operation, mixes the results, and
# learns the proportions, α. At the end it turns the proportions into a choice again. In this notebook you write both
# ways, and you measure what is lost between them.
#
# **You will be able to**
#
# - write eq. 6 of the paper as an edge and as a cell, and say what is misprinted in it;
# - derive its gradient by hand, and read it: whose α rises, and why;
# - say what Adam, the paper's optimiser of α, changes in that;
# - derive a cell from α, and explain why `none` is left out;
# - measure the gap between a mixture and the choice that is made of it.
#
# **You need to know** the operations and the cell (notebook 01), the chain rule, and what a softmax is.
#
# **Lesson time**: about 4 hours with the exercises
#
# *Times are filled in here when the notebook is executed.*

# %%
import ipywidgets
import numpy as np
import torch
from IPython.display import display
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from nasda.cells import CellInputs
from nasda.course import nb02_softmax_relaxation as lesson
from nasda.course.check import check, mine
from nasda.course.open import open_course
from nasda.course.predict import predict, recall
from nasda.data.images import normalize
from nasda.data.store import stored
from nasda.data.task import class_labels
from nasda.errors import NasdaError
from nasda.genotypes import (
    CELL_KINDS,
    Edge,
    Genotype,
    edge_count,
    entropy,
    node_slices,
    random_genotype,
    softmax,
)
from nasda.networks import Stem, macro_structure
from nasda.operations import make_operation, operation_colour, operation_label, operation_style
from nasda.pictures import palette, plots
from nasda.pictures.plots import Plot
from nasda.pictures.widgets import explore

# %% tags=["parameters"]
PROFILE: str = "tiny"  # tiny, laptop, gpu, paper
TASK: str = "person"  # person, vehicle
DATA_ROOT: str = ""  # empty: the built-in data; else the folder that holds the real data sets
SEED: int = 0

# %% [markdown]
# ## What do you remember?
#
# Answer with the letters "a", "b" or "c", and run the cell.
#
# 1. What does a node of a *derived* cell compute (eq. 5)? (a) The sum of two operations on two of its inputs. (b) The
#    sum of all operations on all inputs. (c) Two operations, one after the other.
# 2. In a reduction cell, which edges have stride 2? (a) All. (b) Those from the cell's two inputs. (c) Those between
#    its nodes.
# 3. In notebook 00, how does a network get from the source to the target without any adaptation (*direct transfer*)?
#    (a) It is trained on the target, and tested on the source. (b) It is trained on both. (c) It is trained on the
#    source, and tested on the target as it is.

# %%
recall("02", ..., ..., ...)

# %% [markdown]
# All sizes come from the profile that the parameters name. The data are opened here, and made where they are missing.

# %%
course = open_course(PROFILE, TASK, DATA_ROOT, SEED)
settings = course.settings
rng = np.random.default_rng(SEED)

# %% [markdown]
# ## A choice has no slope
#
# Take the smallest case. Three operations put out one number each: 0.2, 1.0 and 1.6. We want 1.35. Each operation has
# a score, its α. The obvious rule uses the operation with the highest score. The other rule mixes: each operation
# takes part in proportion to $e^{\alpha}$. We move the score of the third operation from low to high and watch the
# squared distance from 1.35.
#
# **Predict.** Where does the mixture's loss have its minimum: at "one operation" alone, or "between" two?

# %%
guess = predict("02.a", ..., "one operation", "between")

# %%
outputs, target = np.array([0.2, 1.0, 1.6]), 1.35
last_score = np.linspace(-4, 4, 801)
scores = np.stack([np.zeros(801), np.full(801, 0.5), last_score], axis=1)
losses = {
    "the operation with the highest α": (outputs[scores.argmax(axis=1)] - target) ** 2,
    "the mixture": (softmax(scores) @ outputs - target) ** 2,
}
alone, best = ((outputs - target) ** 2).min(), losses["the mixture"].min()
print(f"lowest loss of one operation {alone:.4f}, of the mixture {best:.4f}")
guess.against("between" if best < alone else "one operation")

# %% [markdown]
# Now both losses over the whole range of the third score, and beside them their slopes, which is what descent sees.

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
# dotted line). Descent would never move. The mixture's loss is smooth, and its slope is 0 only at the minimum and far
# away. The minimum lies *between* two operations, at a loss that no single one of them reaches. That is the price of
# the trick, and at the end we pay it.

# %% [markdown]
# ## Equation 6
#
# The paper takes the mixture from DARTS. Node $i$ of cell $c$ is fed by every candidate input $H$, and each such edge
# $(H, i)$ mixes all operations of $\mathcal{O}$ with a softmax of its own:
#
# $$I_i^c = \sum_{H \in \mathcal{I}_i^c} \; \sum_{o \in \mathcal{O}}
# \frac{\exp(\alpha_o^{(H,i)})}{\sum_{o' \in \mathcal{O}} \exp(\alpha_{o'}^{(H,i)})} \; o(H) \tag{6}$$
#
# This is how we read it. The printed equation (paper §2.1) has slips: its left side is
# $\mathcal{O}_{i1}^c(I_{i1}^c)$, *one* operand of eq. 5, while the right side sums over all inputs, which is the whole
# node; and a line below, the operation to leave out is called "nonce". The inner sum is `nasda.cells.MixedOp`, the
# outer one `nasda.cells.SearchCell`. You write both.

# %% [markdown]
# `make_operation` makes the operations of notebook 01. All of an edge's operations must give maps of the same shape,
# also with stride 2, or else they could not be added.

# %%
some_maps = torch.randn(2, 8, 16, 8)
for name in settings.space.primitives:
    operation = make_operation(name, 8, 2, parts=4, affine=False)  # 8 channels, stride 2
    print(f"{operation_label(name):13} {tuple(some_maps.shape)} → {tuple(operation(some_maps).shape)}")

# %% [markdown]
# ### Exercise 02.1 ●○○ · importance ●●● (20 minutes)
#
# Write one edge, the inner sum of eq. 6, as a module. It is made with the names of the operations (`primitives`), the
# channels, the edge's stride and the number of parts. `make_operation(name, channels, stride, parts=parts,
# affine=False)` makes one operation; `affine=False` leaves its batch norms without a scale, because a scale could take
# over what α is to express. `forward` gets the input x and the *weights*, one for each operation. They come out of a
# softmax already: all cells of a kind share one α, so the softmax is taken once, outside.
#
# Write the two methods in the place of `...`; begin `__init__` with `super().__init__()`.


# %% tags=["exercise"]
class MixedOp(nn.Module):
    """All candidate operations of an edge, mixed: Σ_o w_o · o(x)."""

    def __init__(self, primitives, channels, stride, parts): ...

    def forward(self, x, weights):
        """Mix (B, C, H, W) by weights (operations,)."""
        ...


# %%
check("02.1", MixedOp)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# PyTorch finds the weights of the operations only if they are in an `nn.ModuleList` (a plain list hides them).
# Python's `sum` adds the products: it starts from 0, and 0 plus a tensor is that tensor.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `zip(weights, self.operations)` gives pairs of a weight, a tensor of one number, and an operation. Leave the weight a
# tensor: α gets its gradient through it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# class MixedOp(nn.Module):
#     """All candidate operations of an edge, mixed: Σ_o w_o · o(x)."""
#
#     def __init__(self, primitives, channels, stride, parts):
#         super().__init__()
#         self.operations = nn.ModuleList(
#             make_operation(name, channels, stride, parts=parts, affine=False) for name in primitives
#         )
#
#     def forward(self, x, weights):
#         """Mix (B, C, H, W) by weights (operations,)."""
#         return sum(weight * operation(x) for weight, operation in zip(weights, self.operations, strict=True))
# ```
# </details>

# %%
MixedOp = mine("02.1")  # yours, or the library's

# %% [markdown]
# From here on every mixture is made by this class. We need something to mix: images of the source, and their labels.
# We learn on two thirds of each identity's images and keep a third to measure on. (Re-ID tests on *other* identities;
# here we want no more than a task that is easy to understand: which of the known identities is this? Its loss is the
# cross-entropy.)

# %%
samples, size = course.task.source.train, (settings.data.height, settings.data.width)
label_of = class_labels(samples)
labels = torch.tensor([label_of[sample.pid] for sample in samples])
images, classes = normalize(stored(samples, *size)), len(label_of)
position = one_hot(labels).cumsum(dim=0).gather(1, labels[:, None])[:, 0]  # 1, 2, 3, … within each identity
learning, held = (position % 3 != 0).nonzero()[:, 0], (position % 3 == 0).nonzero()[:, 0]
primitives = settings.space.primitives
print(f"{len(learning)} images to learn from, {len(held)} held back, {classes} identities")
print("operations:", ", ".join(map(operation_label, primitives)))

# %% [markdown]
# Here is one edge at work. A stem makes 8 channels of the images, and we look at the mixture with equal weights. If
# the weights are a row of the unit matrix, the mixture *is* one operation: this gives us each $o(H)$ on its own.

# %%
torch.manual_seed(SEED)
stem, edge = Stem(8, 4), MixedOp(primitives, 8, 1, settings.space.parts)
with torch.no_grad():
    x = stem(images[learning[:64]])
    alone = [edge(x, row) for row in torch.eye(len(primitives))]  # every operation's output
    equal = edge(x, torch.full((len(primitives),), 1 / len(primitives)))
torch.testing.assert_close(equal, torch.stack(alone).mean(dim=0))
for name, output in zip(primitives, alone, strict=True):
    print(f"{operation_label(name):13} standard deviation {output.std():.2f}")
print(f"{'mixture':13} standard deviation {equal.std():.2f}")

# %% [markdown]
# The stem ends in a batch norm, and so does each real operation but the skip connection: all are equally loud. The
# mixture is quieter: their outputs differ and partly cancel, and `none` adds nothing.

# %% [markdown]
# ## The gradient of a choice
#
# What is the slope with respect to α? Write $\bar y = \sum_o w_o y_o$ for an edge's output, $y_o = o(H)$, and $g =
# \partial L / \partial \bar y$ for what comes back from the loss. Only one ingredient is new, the derivative of a
# softmax, where $[p = o]$ is 1 if $p = o$ and else 0:
#
# $$\frac{\partial w_p}{\partial \alpha_o} = w_p \, ([p = o] - w_o) \tag{a}$$

# %% [markdown]
# ### Exercise 02.2 ●●○ · importance ●●● (20 minutes)
#
# Put (a) into the chain rule and write $\partial L/\partial\alpha$ in closed form. You get `alphas` (operations),
# `outputs` (operations, values), the $y_o$, and `upstream` (values), which is $g$. Autograd is not allowed here, and
# the check refuses it: the formula is what you need later. A cell below tests it *against* autograd.


# %% tags=["exercise"]
def alpha_gradient(alphas, outputs, upstream):
    """dL/dα (operations) from what the operations put out and dL/dȳ."""
    ...


# %%
check("02.2", alpha_gradient)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First find $\partial L/\partial w_p = \langle g, y_p \rangle$: one number for each operation, all of them by one
# matrix product.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Then $\partial L/\partial\alpha_o = \sum_p \langle g, y_p \rangle \, w_p ([p = o] - w_o)$. The bracket $[p = o]$
# leaves one term. $-w_o$ leaves a sum over p that you know: $\langle g, \bar y \rangle$.
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

# %%
alpha_gradient = mine("02.2")  # yours, or the library's

# %% [markdown]
# The result is short enough to remember:
#
# $$\frac{\partial L}{\partial \alpha_o} = w_o \, \big( \langle g, y_o \rangle - \langle g, \bar y \rangle \big)
# \tag{b}$$
#
# Descent raises an operation's α when its output points further downhill than the mixture's. The question is not "is
# it good?" but "is it better than the average of all?". (If you know REINFORCE: this is its baseline.) We hold (b)
# against autograd, on the edge above with a linear classifier behind it.

# %%
head = torch.randn(classes, 8 * x.shape[2]) / 8  # an untrained classifier on the mean over the width
logits = torch.stack([output.mean(dim=3).flatten(1) @ head.T for output in alone])  # (operations, images, classes)
some_labels = labels[learning[:64]]
alphas = (0.5 * torch.randn(len(primitives))).requires_grad_()
mixture = torch.einsum("o,obk->bk", torch.softmax(alphas, dim=0), logits)
loss = cross_entropy(mixture, some_labels)
by_autograd, upstream = torch.autograd.grad(loss, [alphas, mixture])
by_formula = alpha_gradient(alphas.detach(), logits.flatten(1), upstream.flatten())
by_formula = torch.as_tensor(by_formula, dtype=torch.float32)
torch.testing.assert_close(by_formula, by_autograd, rtol=1e-3, atol=1e-5)
for slope, name in sorted(zip(by_formula.tolist(), primitives, strict=True)):
    print(f"{operation_label(name):13} {slope:+.4f}   descent {'raises' if slope < 0 else 'lowers'} α")
print(f"sum {float(by_formula.sum()):+.1e}")

# %% [markdown]
# Three things can be read off (b). The entries sum to 0: *plain* descent never changes the sum of an edge's α. The
# factor $w_o$ makes the slope of a weak operation small, so an operation that falls behind also slows down. And at a
# corner, where one weight is 1, the bracket is 0 for the winner and the factor is 0 for the rest: near a choice, the
# relaxation has almost no slope.

# %% [markdown]
# ## The paper uses Adam
#
# The paper optimises α with Adam at a rate of 0.005 (paper §3.3; DARTS uses Adam, too). Adam divides each entry of the
# gradient by the root of its own mean square. An edge is close to a choice, α = (5, 0, 0, 0), and for 200 steps the
# same slopes come back: ⟨g, y⟩ = (−1, −0.5, 0.5, 1). We take the 200 steps twice at the rate of 0.005, by plain
# descent and by Adam.
#
# **Predict.** How far do the three losers move under Adam, on average, compared with the leader: "less than a tenth as
# far", "about as far", or "more than ten times as far"?

# %%
guess = predict("02.b", ..., "less than a tenth as far", "about as far", "more than ten times as far")


# %% [markdown]
# `follow` does not ask autograd. It gives the optimiser your formula's gradient by hand.


# %%
def follow(make_optimiser, start, slopes, steps=200, rate=0.005):
    """α on its way (steps + 1, operations) when the same ⟨g, y_o⟩ come back in every step."""
    alphas = torch.tensor(start)
    optimiser, path = make_optimiser([alphas], lr=rate), [alphas.clone()]
    for _ in range(steps):
        slope = alpha_gradient(alphas, torch.tensor(slopes)[:, None], torch.ones(1))
        alphas.grad = torch.as_tensor(slope, dtype=torch.float32)
        optimiser.step()
        path.append(alphas.clone())
    return torch.stack(path).numpy()


ways = {
    name: follow(optimiser, [5.0, 0.0, 0.0, 0.0], [-1.0, -0.5, 0.5, 1.0])
    for name, optimiser in (("plain descent", torch.optim.SGD), ("Adam", torch.optim.Adam))
}
for name, way in ways.items():
    moved = np.abs(way[-1] - way[0])
    print(f"{name:13} leader moves {moved[0]:.4f}, losers {moved[1:].mean():.4f} on average; ", end="")
    print(f"the sum of α changes by {way[-1].sum() - way[0].sum():+.4f}")
share = moved[1:].mean() / moved[0]
words = "less than a tenth as far", "about as far", "more than ten times as far"
guess.against(words[int(share > 0.1) + int(share > 10)])

# %% [markdown]
# The four paths, as changes from the start. Look at the losers.

# %%
figure = Plot(9, 3.2)
styles = ((palette.VERMILLION, "-"), (palette.BLUE, "--"), (palette.GREEN, "-."), (palette.GREY, ":"))
for panel, (name, way) in zip(figure.subplots(1, 2, sharey=True), ways.items(), strict=True):
    for column, (colour, dash) in zip((way - way[0]).T, styles, strict=True):
        panel.plot(column, dash, color=colour, linewidth=2)
    plots.dress(panel, "step", "change of α", title=name)
panel.legend(["the leader", "loser, slope −0.5", "loser, slope 0.5", "loser, slope 1"], frameon=False)
display(figure)

# %% [markdown]
# Under Adam a loser moves as far as the leader (the losers' three lines lie on one another). Adam keeps the *sign* of
# (b) and takes away its size, and with it the factor $w_o$. None of our three readings of (b) survives: the sum of an
# edge's α changes, a weak operation is not slow, and the steps do not fade near a choice. What remains is who rises
# and who falls. (Here the slopes are constant. Where their signs change from batch to batch, Adam's steps are
# smaller.) When you read a paper's argument on "the gradient of α", ask which optimiser it used.

# %% [markdown]
# ## Where descent goes
#
# With three operations the weights fill a triangle, and we can look at a whole search. Each operation's output is a
# point of the plane, and the loss is half the squared distance from the target, so that $g = \bar y - t$. In the
# picture, left is the plane of outputs, right the triangle of weights: a corner is a choice, dashed lines separate who
# is strongest. Nine searches start at the discs and end at the open circles; each path has the colour of the operation
# that is strongest at its end. The black square marks the operation that is best *on its own*.

# %%
points, names = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), ["op A", "op B", "op C"]
starts = 1.2 * np.random.default_rng(0).normal(size=(9, 3))


def descend(outputs, target, alphas, steps, rate):
    """Softmax weights (steps + 1, operations) on the way of plain descent on α; ω is fixed."""
    path = [torch.softmax(alphas, dim=0)]
    for _ in range(steps):
        slope = alpha_gradient(alphas, outputs, path[-1] @ outputs - target)
        alphas = alphas - rate * torch.as_tensor(slope, dtype=torch.float32)
        path.append(torch.softmax(alphas, dim=0))
    return torch.stack(path)


def alone_and_mixed(outputs, target, weights):
    """½ |y − t|² of each operation alone, and of the mixture."""
    return [0.5 * (y - target).square().sum(dim=-1) for y in (outputs, weights @ outputs)]


# %% [markdown]
# Move the target. Can you find a place where the search ends at the square, and one where it ends elsewhere?


# %%
def search_in_the_plane(x, y, steps):
    """Nine searches for the target (x, y): their picture, and what comes of them in words."""
    target = torch.tensor([x, y])
    begin = torch.as_tensor(starts, dtype=torch.float32)
    path = torch.stack([descend(points, target, alphas, steps, rate=0.1) for alphas in begin], dim=1)
    alone, mixed = alone_and_mixed(points, target, path[-1])
    middle = path[-1].mean(dim=0)
    found, best = int(middle.argmax()), int(alone.argmin())
    words = f"after {steps} steps, mean weights: "
    words += ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, middle.tolist(), strict=True))
    words += f"\nloss of the mixture {mixed.mean():.3f}; of the derived {names[found]} {alone[found]:.3f}"
    words += f"; of the best alone, {names[best]}, {alone[best]:.3f}"
    return lesson.simplex_picture(points, target, path, names), words


# %% tags=["thumbnail"]
explore(
    search_in_the_plane,
    x=ipywidgets.FloatSlider(0.3, min=-2.5, max=2.5, step=0.1, description="target, first number"),
    y=ipywidgets.FloatSlider(0.2, min=-1.0, max=1.8, step=0.1, description="target, second number"),
    steps=ipywidgets.IntSlider(200, min=10, max=200, step=10),
)

# %% [markdown]
# ### Break it: the best mixture of two useless operations
#
# The first picture is a trap. Operations A and B pull in opposite directions, and half of each cancels out close to
# the target. The mixture is excellent, every search finds it, and the optimisation is right. Yet the strongest
# operation is one of the two that are bad alone, and the one that would serve best has the smallest weight. α answers
# "how much of you in this mixture?", and we read it as "how good are you alone?".
#
# How often do the two questions have different answers? We draw 60 small problems of four operations, search, and
# count, with outputs of 2 and of 64 numbers.
#
# **Predict.** With 64 numbers random outputs are nearly at right angles, and hardly cancel. In how many percent of the
# problems does the strongest operation still differ from the one that is best alone?

# %%
guess = predict("02.c", ..., unit="%")


# %% [markdown]
# For each problem we search with your gradient from equal weights, and compare two answers: the largest weight, and
# the smallest loss of an operation alone.


# %%
def misses(dimensions, problems=60):
    """The share of random problems whose strongest operation is not the best one alone."""
    generator, wrong = torch.Generator().manual_seed(SEED), 0
    for _ in range(problems):
        outputs = torch.randn(4, dimensions, generator=generator) / dimensions**0.5
        target = 0.5 * torch.randn(dimensions, generator=generator) / dimensions**0.5
        weights = descend(outputs, target, torch.zeros(4), steps=60, rate=3.0)[-1]
        wrong += int(weights.argmax() != alone_and_mixed(outputs, target, weights)[0].argmin())
    return wrong / problems


share = {dimensions: misses(dimensions) for dimensions in (2, 64)}
for dimensions, missed in share.items():
    doubt = np.sqrt(missed * (1 - missed) / 60)
    print(f"outputs of {dimensions:2} numbers: {missed:3.0%} ± {doubt:.0%} do not derive the best one")
guess.against(100 * share[64])

# %% [markdown]
# The questions differ in 64 dimensions too. A mixture takes each operation in a small dose, where its *direction*
# counts; an operation alone pays for its full length. Real operations are not random: two poolings of the same map
# resemble each other a lot.

# %% [markdown]
# ## Temperature
#
# One remedy is to make mixtures look more like choices while searching. Divide α by a temperature T before the
# softmax. (The paper does not; two other search methods, SNAS and GDAS, do, with sampling on top.)
#
# ### Exercise 02.3 ●●○ · importance ●●○ (15 minutes)
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
# <details><summary>Hint 1</summary>
#
# Divide the numerator and the denominator by $e^{\alpha_{max}/T}$. Every exponent is then 0 or negative, and nothing
# overflows.
# </details>
#
# <details><summary>Hint 2</summary>
#
# As T → 0 the negative exponents go to −∞. Which exponents stay at 0, whatever T is, and how many are there? Treat
# T = 0 as a case of its own.
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

# %%
weights_at = mine("02.3")  # yours, or the library's

# %% [markdown]
# We follow one edge, α = (1.2, 1.0, 0.2, −0.5), from cold to hot: its weights, the entropy of the choice, and how
# large the slope of (b) is, on average over 500 random losses.
#
# **Predict.** Can a temperature change which operation of an edge is the strongest? "yes" or "no".

# %%
guess = predict("02.d", ..., "yes", "no")

# %% [markdown]
# Each temperature calls your `weights_at` once. The slope is that of (b), divided by T, because α is.

# %%
edge_alphas = [1.2, 1.0, 0.2, -0.5]
temperatures = np.logspace(-2, 2, 121)
weights = np.array([np.asarray(weights_at(edge_alphas, T)) for T in temperatures])  # (temperatures, operations)
undecided = -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1)
gains = rng.normal(size=(500, 1, 4))  # <g, y_o> of 500 random losses
slopes = weights * (gains - (weights * gains).sum(axis=2, keepdims=True)) / temperatures[:, None]
guess.against("yes" if len(set(weights.argmax(axis=1))) > 1 else "no")

# %% [markdown]
# Three views of the same edge, from T = 0.01 to T = 100:

# %%
figure = Plot(9, 3.5)
panels = figure.subplots(1, 3)
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
# because α hardly moves the weights; cold, because the softmax has become the step we began with. Between them a
# search learns. The peak at low T comes from the two close scores 1.2 and 1.0, where the step is. Dividing by T keeps
# the order of an edge's α, so that its operation stays.

# %% [markdown]
# ## Two other relaxations
#
# A softmax lets the operations of an edge compete. Two later methods do otherwise.
#
# - **FairDARTS** (Chu et al. 2020) gives each operation a weight of its own, $\sigma(\alpha_o) = 1/(1 +
#   e^{-\alpha_o})$. The weights need not sum to 1. An extra loss, $-\frac{1}{N} \sum_o (\sigma(\alpha_o) - 0.5)^2$,
#   drives them to 0 or 1.
# - **GDAS** (Dong and Yang 2019) *draws* one operation in each step, in proportion to the softmax: it adds Gumbel
#   noise to α and takes the largest. Only that operation is computed. Its weight is 1, but gets the slope of the
#   softmax of the noisy α at a temperature τ, which falls from 10 to 0.1 during the search ("straight through").
#
# Each is a few lines. `progress` goes from 0 to 1 during the search.


# %%
def with_softmax(alphas, progress):
    """DARTS and the paper: weights that compete."""
    return torch.softmax(alphas, dim=-1), 0.0


def with_sigmoid(alphas, progress):
    """FairDARTS: a weight of its own for each operation, and the loss that drives it to 0 or 1."""
    weights = torch.sigmoid(alphas)
    return weights, -(weights - 0.5).square().mean(dim=-1).sum()


def with_gumbel(alphas, progress):
    """GDAS: one operation, drawn; only its weight has a slope, a softmax's."""
    noise = -torch.log(-torch.log(torch.rand_like(alphas).clamp(1e-9, 1 - 1e-7)))
    soft = torch.softmax((alphas + noise) / (10 + progress * (0.1 - 10)), dim=-1)
    drawn = one_hot(soft.argmax(dim=-1), alphas.shape[-1])
    return drawn * (1 + soft - soft.detach()), 0.0


# %% [markdown]
# All nine searches of the triangle run together, with autograd and the optimiser of your choice. What is drawn is the
# softmax of α, or for the sigmoid the share that each operation has in the sum of all weights.
#
# **Predict.** The target is near the middle of A and B, as above. How large is the *sum* of the three sigmoid weights
# at the end, on average: "below 1", "about 1", or "above 1"? (The best mixture has about half of A, half of B and
# little of C.)

# %%
guess = predict("02.e", ..., "below 1", "about 1", "above 1")


# %%
def search(relax, make_optimiser, target, steps=200, rate=0.1):
    """Weights (steps + 1, searches, operations) on the way of any relaxation and optimiser."""
    torch.manual_seed(SEED)
    alphas = torch.tensor(starts, dtype=torch.float32, requires_grad=True)
    optimiser, path = make_optimiser([alphas], lr=rate), []
    for step in range(steps + 1):
        weights, extra = relax(alphas, step / steps)
        loss = alone_and_mixed(points, target, weights)[1].sum() + extra
        shown = torch.sigmoid(alphas) if relax is with_sigmoid else torch.softmax(alphas, dim=-1)
        path.append(shown.detach().clone())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return torch.stack(path)


total = float(search(with_sigmoid, torch.optim.SGD, torch.tensor([0.3, 0.2]))[-1].sum(dim=1).mean())
print(f"sum of the three sigmoid weights at the end, on average: {total:.2f}")
guess.against("below 1" if total < 0.9 else "above 1" if total > 1.1 else "about 1")

# %% [markdown]
# The sum of the sigmoid weights need not be 1. The target fixes the weight of C (0.2), and by how much that of B
# exceeds that of A (0.15), but not how large A and B are together.
#
# Now choose the relaxation and the optimiser yourself, and move the target. Start with Gumbel: why do the paths look
# so rough?

# %%
relaxations = {"softmax": with_softmax, "sigmoid (FairDARTS)": with_sigmoid, "Gumbel (GDAS)": with_gumbel}
optimisers = {"plain descent": torch.optim.SGD, "Adam": torch.optim.Adam}


def three_triangles(relaxation, optimiser, x):
    """Nine searches by one relaxation and optimiser, and in words where they end."""
    target = torch.tensor([x, 0.2])
    path = search(relaxations[relaxation], optimisers[optimiser], target)
    alone, mixed = alone_and_mixed(points, target, path[-1])
    ends = torch.bincount(path[-1].argmax(dim=1), minlength=3).tolist()
    words = ", ".join(f"{count} with {name}" for count, name in zip(ends, names, strict=True))
    words = f"of nine searches end {words}; best alone: {names[int(alone.argmin())]}\n"
    words += f"loss of the mixture {mixed.mean():.3f}, of what is derived {alone[path[-1].argmax(dim=1)].mean():.3f}"
    return lesson.simplex_picture(points, target, path, names), words


explore(
    three_triangles,
    relaxation=ipywidgets.ToggleButtons(options=list(relaxations), value="Gumbel (GDAS)"),
    optimiser=ipywidgets.ToggleButtons(options=list(optimisers)),
    x=ipywidgets.FloatSlider(0.3, min=-2.5, max=2.5, step=0.1, description="target, first number"),
)

# %% [markdown]
# The next cell counts, for both optimisers, how many of the nine searches derive the operation that is best alone, C.

# %%
near = torch.tensor([0.3, 0.2])
for name, relax in relaxations.items():
    ends = {key: search(relax, make, near)[-1].argmax(dim=1) for key, make in optimisers.items()}
    print(f"{name:20} " + ", ".join(f"{key}: {int((end == 2).sum())} of 9" for key, end in ends.items()))

# %% [markdown]
# Softmax and sigmoid learn the mixture that cancels out. With sampling, one operation at a time has to serve alone in
# the forward pass, so that the loss sees choices, not mixtures: this is what GDAS changes, at the price of noise. The
# sampled search asks the right question, on this toy. Whether that helps a real search, the toy cannot say.

# %% [markdown]
# ## The relaxed cell
#
# Back to eq. 6, and to its outer sum. A cell has states: state 0 is the output of the cell before the last, state 1
# that of the last cell, states 2, 3, … are its own nodes. An edge leads from every earlier state to every node; a node
# is the sum of its edges. (The paper says that candidate inputs come from "the previous *block*" of the cell; what is
# meant are its previous *nodes*. Inference: DARTS and Auto-ReID do so.)
#
# The two inputs can differ in channels, and after a reduction cell also in size. `CellInputs` brings them together. It
# is given:

# %%
bring = CellInputs(5, 6, 8, after_reduction=True, affine=False)  # from 5 and 6 channels to 8
for state in bring(torch.randn(2, 5, 16, 8), torch.randn(2, 6, 8, 4)):
    print(tuple(state.shape))

# %% [markdown]
# ### Exercise 02.4 ●●● · importance ●●● (40 minutes)
#
# Write `SearchCell` with your `MixedOp`, in three steps.
#
# 1. `__init__`: the given `CellInputs(*inputs, channels, after_reduction, affine=False)`, which brings both inputs to
#    `channels` channels and one size.
# 2. The edges, a `MixedOp` each, node by node, and for each node in the order of its input states: 2 for the first
#    node, 3 for the second, … In a reduction cell (`reduction=True`) an edge from state 0 or 1 has stride 2; all other
#    edges have stride 1.
# 3. `forward(before_last, last, weights)`: the given module returns a list of two states. `weights` is (edges,
#    operations), a row an edge, in the same order. Add each node to the states, and return the nodes, concatenated
#    along the channels: (B, nodes · channels, H', W').


# %% tags=["exercise"]
MixedOp = mine("02.1")  # yours, or the library's


class SearchCell(nn.Module):
    """The relaxed cell: a MixedOp leads from every earlier state to every node."""

    def __init__(self, nodes, primitives, inputs, channels, *, reduction=False, after_reduction=False, parts=4): ...

    def forward(self, before_last, last, weights): ...


# %%
check("02.4", SearchCell)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two nested loops make the edges: `for node in range(nodes)`, `for state in range(2 + node)`. Put them into one
# `nn.ModuleList`. `node_slices(nodes)` gives the rows of each node: `[slice(0, 2), slice(2, 5), …]`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# In `forward`, for each slice `rows`: `zip(self.edges[rows], states, weights[rows])` walks over the edges of the node,
# the states so far, and the rows of weights. Sum, then append. Take care that the sum is complete before you append.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# MixedOp = mine("02.1")  # yours, or the library's
#
#
# class SearchCell(nn.Module):
#     """The relaxed cell: a MixedOp leads from every earlier state to every node."""
#
#     def __init__(self, nodes, primitives, inputs, channels, *, reduction=False, after_reduction=False, parts=4):
#         super().__init__()
#         self.inputs = CellInputs(*inputs, channels, after_reduction, affine=False)
#         self.rows = node_slices(nodes)
#         self.edges = nn.ModuleList()
#         for node in range(nodes):
#             for state in range(2 + node):
#                 stride = 2 if reduction and state < 2 else 1
#                 self.edges.append(MixedOp(primitives, channels, stride, parts))
#
#     def forward(self, before_last, last, weights):
#         states = self.inputs(before_last, last)
#         for rows in self.rows:
#             edges = zip(self.edges[rows], states, weights[rows], strict=True)
#             states.append(sum(edge(state, w) for edge, state, w in edges))
#         return torch.cat(states[2:], dim=1)
# ```
# </details>

# %%
SearchCell = mine("02.4")  # yours, or the library's

# %% [markdown]
# ## A small supernet of your cells
#
# A supernet is a stack of such cells that share α: one matrix for all normal cells, one for all reduction cells. Ours
# has a normal and a reduction cell, and 8 channels. `macro_structure` says what each cell is made with.


# %%
class SmallSupernet(nn.Module):
    """A stem, a normal and a reduction cell, a linear classifier; α is part of it."""

    def __init__(self, space, classes):
        super().__init__()
        self.stem = Stem(8, 4)
        self.places = macro_structure(8, space.nodes, cells_per_block=1, blocks=2)
        common = {"nodes": space.nodes, "primitives": space.primitives, "parts": space.parts}
        self.cells = nn.ModuleList(SearchCell(**common, **place.options) for place in self.places)
        self.head = nn.Linear(space.nodes * self.places[-1].channels, classes)
        shape = edge_count(space.nodes), len(space.primitives)
        self.alphas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind in CELL_KINDS})

    def forward(self, images, weights=None):
        weights = weights or {kind: torch.softmax(alpha, dim=1) for kind, alpha in self.alphas.items()}
        before_last = last = self.stem(images)
        for place, cell in zip(self.places, self.cells, strict=True):
            before_last, last = last, cell(before_last, last, weights[place.kind])
        return self.head(last.mean(dim=(2, 3)))


# %% [markdown]
# Now ω and α learn together, by the same loss on the same images, in a loop of ten lines. This is *not* the paper's
# search, which has two data sets and two losses: notebook 04 builds that. We run it twice from the same start and with
# the same batches, α by plain descent and α by Adam, both at the rate of 0.02. (ω always learns by SGD with momentum.)
#
# **Predict.** Adam's α will have moved away from 0. How far will plain descent's: "less than a tenth as far", "about as
# far", or "more than ten times as far"?

# %%
guess = predict("02.f", ..., "less than a tenth as far", "about as far", "more than ten times as far")


# %% [markdown]
# The loop: draw a batch, compute the mixture's loss, one step for ω and one for α. Both steps use the same backward
# pass.


# %%
def learn(optimise_alphas, steps=70, batch=32):
    """Train ω and α together by cross-entropy; returns the supernet, its losses, and α after each step."""
    torch.manual_seed(SEED)
    network = SmallSupernet(settings.space, classes)
    omega = [weight for name, weight in network.named_parameters() if not name.startswith("alphas")]
    optimisers = torch.optim.SGD(omega, lr=0.05, momentum=0.9), optimise_alphas(network.alphas.parameters(), lr=0.02)
    losses, history = [], []
    for _ in range(steps):
        some = learning[torch.randint(len(learning), (batch,))]
        loss = cross_entropy(network(images[some]), labels[some])
        network.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.item())
        history.append({kind: alpha.detach().clone().numpy() for kind, alpha in network.alphas.items()})
    return network, losses, history


runs = {name: learn(optimiser) for name, optimiser in optimisers.items()}

# %% [markdown]
# What became of α in the two runs?

# %%
moved = {}
for name, (_, losses, history) in runs.items():
    rows = np.concatenate([history[-1][kind] for kind in CELL_KINDS])
    moved[name] = np.abs(rows).mean()
    print(f"{name:13} loss {losses[0]:.2f} → {np.mean(losses[-5:]):.2f}; mean |α| {moved[name]:.4f}, ", end="")
    print(f"sum of an edge's α {np.abs(rows.sum(axis=1)).mean():.3f}, entropy {entropy(rows).mean():.3f}")
print(f"undecided is an entropy of {np.log(len(primitives)):.3f} nats")
share = moved["plain descent"] / moved["Adam"]
guess.against(words[int(share > 0.1) + int(share > 10)])

# %% [markdown]
# Both losses fall: ω learns with any mixture. But plain descent has left α where it was, because the slopes of (b) are
# small: each is multiplied by a weight of about 1/7. Adam makes steps of the same size from slopes of any size. So the
# paper's rate of 0.005 is a rate *for Adam*; plain descent would need one that is many times larger. (The paper also
# gives α a weight decay of 0.0005. We leave it out.) The picture shows two edges of the reduction cell in Adam's run:
# the first, and the last.

# %%
last_cell, history = "reduce", runs["Adam"][2]
rows = np.array([softmax(entry[last_cell]) for entry in history])  # (steps, edges, operations)
figure = Plot(9, 3.4)
panels = figure.subplots(1, 2, sharey=True)
for panel, edge_number in zip(panels, (0, rows.shape[1] - 1), strict=True):
    for name, column in zip(primitives, rows[:, edge_number].T, strict=True):
        look = {"color": operation_colour(name), "linestyle": operation_style(name), "label": operation_label(name)}
        panel.plot(column, linewidth=2, **look)
    plots.dress(panel, "step", "softmax weight", title=f"reduction cell, edge {edge_number}")
panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
display(figure)

# %% [markdown]
# ## Back to a choice
#
# Now a discrete cell is needed. §2.1 defines the *strength* of an edge as the largest weight on it among all
# operations but `none`; a node keeps its two strongest edges, with their strongest operations. The text has two slips.
# The printed denominator is $\sum_{o'} \exp(\alpha_o)$, with the wrong index under the sum; to the letter, every
# strength would be $1/|\mathcal{O}|$. And only the first input is described; that the second comes from the second
# strongest edge is DARTS' rule (its §2.4). Note what the sum runs over: `none` is left out of the maximum, but it
# stays in the denominator.
#
# **Predict.** These are the softmax weights of one node's three edges. Which two edges stay: "0 and 1", "0 and 2", or
# "1 and 2"?
#
# | from | none | max pool 3×3 | skip | sep conv 3×3 |
# |---|---:|---:|---:|---:|
# | input 0 | 0.10 | 0.40 | 0.30 | 0.20 |
# | input 1 | 0.70 | 0.05 | 0.05 | 0.20 |
# | input 2 | 0.45 | 0.10 | 0.10 | 0.35 |

# %%
guess = predict("02.g", ..., "0 and 1", "0 and 2", "1 and 2")

# %% [markdown]
# ### Exercise 02.5 ●●● · importance ●●● (40 minutes)
#
# Write `derive(alphas, primitives)`. `alphas` maps "normal" and "reduce" to (edges, operations), arrays or nested
# lists of α (*not* of weights), edges ordered as in 02.4. `primitives` names the columns; `none` can be any of them.
# Return a `Genotype(normal=…, reduce=…)`: for each kind a tuple of nodes, each node a tuple of two
# `Edge(operation, input)`. In three steps:
#
# 1. softmax over all operations of an edge, `none` included;
# 2. for each edge the strongest operation other than `none`, and its weight, the strength; of equal operations the one
#    named first;
# 3. for each node the two strongest edges, from two *different* inputs; of equally strong edges the one with the
#    earlier input. Write the two in the order of their inputs.


# %% tags=["exercise"]
def derive(alphas, primitives):
    """The genotype of α: none left out of the maximum, two strongest edges a node."""
    ...


# %%
check("02.5", derive)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `softmax(rows)` of `nasda.genotypes` takes lists and arrays. Keep the columns whose name is not `none`, *after* the
# softmax. `max(axis=1)` and `argmax(axis=1)` give strengths and operations; argmax counts in the kept columns.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The number of nodes follows from the number of edges: `edge_count(nodes)` is 2, 5, 9, 14, …, and `node_slices(nodes)`
# gives each node's rows. `np.argsort(-strength, kind="stable")` sorts the strongest first and keeps ties in order.
# </details>
#
# <details><summary>Hint 3</summary>
#
# For one node: `strongest = np.argsort(-strength[rows], kind="stable")[:2]`, then `for i in sorted(strongest)` an
# `Edge(name of the operation of edge rows.start + i, int(i))`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def derive(alphas, primitives):
#     real = [column for column, name in enumerate(primitives) if name != "none"]
#     cells = {}
#     for kind in ("normal", "reduce"):
#         weights = softmax(alphas[kind])[:, real]
#         strength, best = weights.max(axis=1), weights.argmax(axis=1)
#         nodes = next(n for n in range(1, 99) if edge_count(n) == len(weights))
#         cells[kind] = ()
#         for rows in node_slices(nodes):
#             strongest = np.argsort(-strength[rows], kind="stable")[:2]
#             edges = [Edge(primitives[real[best[rows.start + i]]], int(i)) for i in sorted(strongest)]
#             cells[kind] += (tuple(edges),)
#     return Genotype(**cells)
# ```
# </details>

# %%
derive = mine("02.5")  # yours, or the library's

# %% [markdown]
# Your function on the table above, as the second node of a cell. It takes α, and the logarithm of a weight is such an
# α.

# %%
table = np.array([[0.10, 0.40, 0.30, 0.20], [0.70, 0.05, 0.05, 0.20], [0.45, 0.10, 0.10, 0.35]])
four = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]
two_nodes = np.concatenate([np.zeros((2, 4)), np.log(table)])  # the table is the cell's second node
second = derive({"normal": two_nodes, "reduce": two_nodes}, four).normal[1]
print("derived:", " + ".join(f"{operation_label(name)} of input {state}" for name, state in second))
guess.against(" and ".join(str(state) for _, state in second))

# %% [markdown]
# Without `none` in the denominator, input 1 would be the strongest edge: 0.20 of 0.30. With it, an edge can say that
# it would rather not be there. (The library compares logarithms, so that weights too small for a floating-point number
# keep their order; otherwise it does what you wrote.)

# %% [markdown]
# ### Move it
#
# Here is a node with three inputs behind the trained stem, looking at one image. Four operations take part,
# untrained. You set the α of the middle edge, and the temperature of all three. You see the weights, the derived
# choice, the image, and one channel of what the node makes of it: mixed as in eq. 6, and derived.
#
# Try three things. Make the middle edge lose its place without touching the scores of any real operation. Change
# which edges are kept with the temperature alone. And try to change the *operation* of an edge with the temperature.

# %% [markdown]
# First the outputs of all four operations on each of the three edges, one channel of them.

# %%
network = runs["Adam"][0].eval()
node_edges = [MixedOp(four, 8, 1, settings.space.parts) for _ in range(3)]  # three edges, untrained
with torch.no_grad():
    map_of = network.stem(images[held[:32]])
    outputs = [[edge(map_of, row)[0] for row in torch.eye(4)] for edge in node_edges]
    channel = int(map_of[0].var(dim=(1, 2)).argmax())  # the one with most to see
    maps = torch.stack([torch.stack([output[channel] for output in of_edge]) for of_edge in outputs])
photo = lesson.shown(images[held[0]])


# %%
def node(none, max_pool, skip, sep_conv, temperature):
    """The picture of the node, and in words what is derived from it."""
    scores = [[0.0, 1.6, 1.5, 0.0], [none, max_pool, skip, sep_conv], [0.2, 0.2, 0.9, 0.2]]
    weights = np.array([np.asarray(weights_at(row, temperature)) for row in scores])
    figure, words = lesson.node_picture(weights, four, maps, photo)
    middle = ", ".join(f"{value:.1f}" for value in scores[1])
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
# An edge's operation stays at any temperature. Edges are compared by weights from *different* softmaxes, and those can
# change places. Cold, an edge is as strong as its winner's lead over the *runner-up*: the close race on the edge from
# $c_{k-2}$ makes it the weakest of the three. Warm, it is as strong as its winner's lead over the *average* of its
# scores, and there the same edge is the strongest. So the temperature at which one reads α is part of the result.

# %% [markdown]
# ## The odd one: none
#
# Why is `none` left out of the maximum? It puts out zeros, so by (b) its slope is
#
# $$\frac{\partial L}{\partial \alpha_{none}} = -\, w_{none} \, \langle g, \bar y \rangle \tag{c}$$
#
# $\langle g, \bar y\rangle$ is how the loss changes when the edge's whole output is scaled up. `none` is a volume knob.
# For the cross-entropy of logits z that are linear in the output, with the probabilities p = softmax(z) and the right
# class t, averaged over the images,
#
# $$\langle g, \bar y \rangle = \sum_k p_k z_k - z_t \tag{d}$$
#
# This is the logit that the network *expects* under its own probabilities, less that of the right class. Where the
# network is right more often than it claims, (d) is negative, and descent lowers `none`: louder is better. Where it
# claims more than it knows, (d) is positive, and descent raises `none`: better say nothing than something wrong.

# %% [markdown]
# ### Exercise 02.6 ●●○ · importance ●●○ (15 minutes)
#
# An edge has two operations, `none` and `skip_connect`, and α = (0, 0). One image, two classes. With the skip alone
# (weight 1) the logits are (0, 2), and the first class is the right one: the network is wrong. What is $\partial L /
# \partial \alpha_{none}$? Three digits are enough. Use (c) and (d) at the *mixture*, and mind the factor $w_{none}$.

# %% tags=["exercise"]
slope_of_none = ...

# %%
check("02.6", slope_of_none)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Both weights are 0.5. The mixture's logits are 0.5 · (0, 2) = (0, 1).
# </details>
#
# <details><summary>Hint 2</summary>
#
# p = (1, e) / (1 + e). Put p and z = (0, 1) into (d), the right class is the first, and multiply by $-w_{none}$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# p = np.exp([0, 1]) / np.exp([0, 1]).sum()  # of the mixture's logits (0, 1)
# slope_of_none = -0.5 * (p @ [0, 1] - 0)  # −w_none (Σ p_k z_k − z_t) = −0.366: descent raises none
# ```
# </details>

# %% [markdown]
# Now with images: the edge of the beginning, all its operations, ω fixed, and descent on α alone with your gradient.
# We do it twice, with two classifiers behind the edge: the untrained one, its logits three times as large, and one
# that was fitted to these images first.
#
# **Predict.** Behind the *untrained* classifier, does the weight of `none` "rise" or "fall"?

# %%
guess = predict("02.h", ..., "rise", "fall")


# %% [markdown]
# The classifier is linear, so each operation's *logits* can stand for its output, and your `alpha_gradient` takes
# them as they are.


# %%
def descend_on_edge(logits, steps=150, rate=0.5):
    """Losses and softmax weights on the way; `logits` (operations, images, classes) are each operation's alone."""
    alphas, trace = torch.zeros(len(logits)), []
    for _ in range(steps):
        weights = torch.softmax(alphas, dim=0)
        mixture = torch.einsum("o,obk->bk", weights, logits)
        trace.append((float(cross_entropy(mixture, some_labels)), weights.numpy()))
        upstream = (torch.softmax(mixture, dim=1) - one_hot(some_labels, classes)) / len(mixture)
        slope = alpha_gradient(alphas, logits.flatten(1), upstream.flatten())
        alphas = alphas - rate * torch.as_tensor(slope, dtype=torch.float32)
    return trace


features = torch.stack([output.mean(dim=3).flatten(1) for output in alone])  # (operations, images, values)
fitted = torch.zeros_like(head, requires_grad=True)
optimiser = torch.optim.Adam([fitted], lr=0.05)
for _ in range(100):
    optimiser.zero_grad()
    cross_entropy(features.mean(dim=0) @ fitted.T, some_labels).backward()
    optimiser.step()
classifiers = {"untrained classifier": 3 * head, "fitted classifier": fitted.detach()}
traces = {name: descend_on_edge(features @ matrix.T) for name, matrix in classifiers.items()}
ends = {name: trace[-1][1][primitives.index("none")] for name, trace in traces.items()}
print("weight of none at the end:", ", ".join(f"{name} {weight:.3f}" for name, weight in ends.items()))
guess.against("rise" if ends["untrained classifier"] > 1 / len(primitives) else "fall")

# %% [markdown]
# On the left the two losses (a network that knows nothing has the logarithm of the number of classes), beside them the
# weights behind either classifier. The thick, dashed grey line is `none`.

# %%
figure = Plot(9, 3.6)
panels = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])
for (name, trace), dash in zip(traces.items(), ("-", "--"), strict=True):
    panels[0].plot([loss for loss, _ in trace], dash, color=palette.BLUE, linewidth=2, label=name)
panels[0].axhline(np.log(classes), color=palette.GREY, linestyle=":", label="knows nothing")
plots.dress(panels[0], "step of descent on α", "cross-entropy")
panels[0].legend(frameon=False)
for panel, (title, trace) in zip(panels[1:], traces.items(), strict=True):
    for name, column in zip(primitives, np.array([weights for _, weights in trace]).T, strict=True):
        look = {"color": operation_colour(name), "linestyle": operation_style(name), "label": operation_label(name)}
        panel.plot(column, linewidth=3 if name == "none" else 1.3, **look)
    plots.dress(panel, "step of descent on α", "softmax weight", title=title)
panel.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
display(figure)

# %% [markdown]
# Behind the untrained classifier the loss falls nicely, to that of a network that knows nothing, and the edge has
# learnt to say nothing. Behind the fitted one `none` fades. So α of `none` says less about the edge than about the
# *rest of the network*: does it know what to do with this volume? In the paper's search α meets images of a domain that
# ω has not learnt. Whether `none` rises there too is a question for notebook 04.

# %% [markdown]
# ### Who hears the volume?
#
# Behind a cell come the next cell's inputs: ReLU, a 1×1 convolution, and a batch norm without a scale. A batch norm
# undoes a common factor. So if *all* nodes of a cell become quieter together, the next cell hears no difference (up to
# the ε in its batch norm). If one node becomes quieter than the others, it does. And the last cell's output goes into
# the head, where nothing undoes the volume. We test both with the network that Adam searched.

# %%
network.train()  # batch norm by the batch, as in the search
with torch.no_grad():
    mixed_by = {kind: torch.softmax(alpha, dim=1) for kind, alpha in network.alphas.items()}
    before = network.stem(images[held[:32]])
    middle = network.cells[0](before, before, mixed_by["normal"])
    usual = network.cells[1](before, middle, mixed_by["reduce"])
    one_node = torch.cat([0.1 * middle[:, :8], middle[:, 8:]], dim=1)
    for what, quiet in (("all nodes", 0.1 * middle), ("the first node alone", one_node)):
        changed = network.cells[1](before, quiet, mixed_by["reduce"])
        share = (changed - usual).norm() / usual.norm()
        print(f"first cell, {what} at a tenth of the volume: the next cell's output changes by {share:.1%}")

# %% [markdown]
# What if we let `none` win? An edge with `none` derives to zeros. With two such edges a node is zero for every image:
# the cell has one node less, and whatever is computed from that node alone is the same for every image. (The other
# nodes still see the image.) The library refuses to build it. The reading "max over o ≠ none, but none in the
# denominator" is the way out: an edge that is mostly `none` is *weak* and loses its place to another edge, yet every
# node gets two real operations.

# %%
nothing = (Edge("none", 0), Edge("none", 1))
try:
    Genotype(normal=(nothing,), reduce=(nothing,))
except NasdaError as error:
    print(error)
for kind in CELL_KINDS:
    weights = softmax(runs["Adam"][2][-1][kind])
    print(f"{kind}: mean weight of none {weights[:, primitives.index('none')].mean():.3f} (1/7 is {1 / 7:.3f})")

# %% [markdown]
# ## The gap, measured
#
# Take the trained supernet, keep ω, and replace only the mixing weights. A discrete cell is a *corner*: weight 1 on
# the chosen operation, and weight 1 on `none` where an edge is dropped. So the comparison is clean: same ω, same
# images, same loss, the one that ω *and* α followed. The images are those held back.


# %%
def corner(genotype):
    """The mixing weights at which the supernet computes what `genotype` does."""
    weights = {}
    for kind in CELL_KINDS:
        weights[kind] = torch.zeros(edge_count(settings.space.nodes), len(primitives))
        for rows, edges in zip(node_slices(settings.space.nodes), genotype.cell(kind), strict=True):
            for edge in edges:
                weights[kind][rows.start + edge.input, primitives.index(edge.operation)] = 1
        weights[kind][weights[kind].sum(dim=1) == 0, primitives.index("none")] = 1
    return weights


@torch.no_grad()
def measure(network, weights):
    """Cross-entropy and accuracy on the images held back, with batch norm by the batch, as in training."""
    found = network.train()(images[held], weights)
    return float(cross_entropy(found, labels[held])), float((found.argmax(dim=1) == labels[held]).float().mean())


# %% [markdown]
# We do not jump; we walk from the mixture straight to the corner, $(1-t)\,w + t\,w_{corner}$. One walk goes to the cell
# that your `derive` makes of Adam's α, eight go to random cells. The random ones are the control: they leave the
# mixture just as far behind, but nobody chose them.
#
# **Predict.** How many of the eight random cells does the derived cell beat, by the loss at the end of the walk?

# %%
guess = predict("02.i", ..., unit="of 8")


# %%
def walks_of(name):
    """Losses on the way from the mixture to the derived cell and to eight random ones, and the ends' accuracies."""
    network, _, history = runs[name]
    mixture = {kind: torch.softmax(alpha.detach(), dim=1) for kind, alpha in network.alphas.items()}
    cells = {"derived": derive(history[-1], primitives)}
    for number in range(8):
        cells[f"random {number + 1}"] = random_genotype(settings.space.nodes, primitives, 100 * SEED + number)
    found = {}
    for cell, end in ((cell, corner(genotype)) for cell, genotype in cells.items()):
        way = ({kind: (1 - t) * mixture[kind] + t * end[kind] for kind in CELL_KINDS} for t in np.linspace(0, 1, 6))
        found[cell] = [measure(network, weights) for weights in way]
    return found


walks = {name: walks_of(name) for name in runs}
beaten = {name: sum(found["derived"][-1][0] < way[-1][0] for way in found.values()) for name, found in walks.items()}
guess.against(beaten["Adam"])

# %% [markdown]
# Left the α of plain descent, right Adam's. The grey lines are the same eight cells in both pictures.

# %%
figure = Plot(9, 4)
for axes, (name, found) in zip(figure.subplots(1, 2, sharey=True), walks.items(), strict=True):
    for cell, way in found.items():
        look = {"color": palette.GREY, "linestyle": "-", "linewidth": 1.2}
        if cell == "derived":
            look = {"color": palette.VERMILLION, "linestyle": "-", "marker": "o", "linewidth": 2.5}
        label = {"derived": "derived", "random 1": "eight random cells"}.get(cell)
        axes.plot(np.linspace(0, 1, 6), [loss for loss, _ in way], label=label, **look)
    axes.plot(0, found["derived"][0][0], "*", color=palette.INK, markersize=16, label="the mixture")
    title = f"α by {name}: beats {beaten[name]} of 8"
    plots.dress(axes, "from the mixture (0) to the choice (1)", "cross-entropy, held back", title, legend="best")
display(figure)

# %%
for name, found in walks.items():
    (at_start, right_at_start), (at_end, right_at_end) = found["derived"][0], found["derived"][-1]
    print(f"α by {name}: mixture {at_start:.2f} ({right_at_start:.0%} right), ", end="")
    print(f"derived {at_end:.2f} ({right_at_end:.0%} right); it beats {beaten[name]} of 8 random cells")

# %% [markdown]
# The star is where ω was trained: all operations together. At the right end each operation stands alone, without the
# neighbours that it learnt to rely on; the rise is the *discretisation gap*. Even the derived cell pays it. What α has
# learnt shows in the place of the thick line among the grey ones. Compare the two optimisers. A small α is no excuse:
# `derive` looks at the order alone. But an undecided mixture never taught ω to do with fewer operations.
#
# Two warnings. This is *not* the result of a search: the derived network is trained from scratch before it is judged,
# and a cell that does badly with inherited weights may do well with its own. And this is one seed. Change `SEED` and
# run again; with it the random cells change too.

# %% [markdown]
# ## What did we learn?
#
# 1. A choice has no slope, so eq. 6 computes all operations and mixes them with one softmax per edge, which has one:
#    this is how to take a gradient of a choice.
# 2. The gradient of α compares each operation with the mixture (b); under plain descent losers are slow and the sum
#    stays, under the paper's Adam neither holds, and only the signs of (b) remain.
# 3. What is best in a mixture need not be best alone; on our toy sampling (GDAS) asks the question that is meant, and a
#    sigmoid (FairDARTS) only ends the competition.
# 4. `none` is a volume knob: descent turns the edge down where the network claims more than it knows, so `none` counts
#    in the denominator of a strength, and never wins.
# 5. A walk from a trained mixture to its corner measures what the choice costs, and random cells tell whether α chose.

# %% [markdown]
# ## Further reading
#
# - H. Liu, K. Simonyan, Y. Yang: *DARTS: Differentiable Architecture Search*, ICLR 2019. The relaxation; §2.4 on
#   `none`.
# - R. Quan, X. Dong, Y. Wu, L. Zhu, Y. Yang: *Auto-ReID: Searching for a Part-Aware ConvNet for Person
#   Re-Identification*, ICCV 2019. Eqs. 5 and 6 of our paper are from here.
# - X. Chu, T. Zhou, B. Zhang, J. Li: *Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture
#   Search*, ECCV 2020. The sigmoid.
# - X. Dong, Y. Yang: *Searching for a Robust Neural Architecture in Four GPU Hours* (GDAS), CVPR 2019; S. Xie,
#   H. Zheng, C. Liu, L. Lin: *SNAS: Stochastic Neural Architecture Search*, ICLR 2019. Sampled choices.
# - E. Jang, S. Gu, B. Poole: *Categorical Reparameterization with Gumbel-Softmax*, ICLR 2017.
# - D. P. Kingma, J. Ba: *Adam: A Method for Stochastic Optimization*, ICLR 2015.
# - R. Wang, M. Cheng, X. Chen, X. Tang, C.-J. Hsieh: *Rethinking Architecture Selection in Differentiable NAS*, ICLR
#   2021. Why α is not the strength of an operation.
#
# [← 01 The search space](01_search_space.ipynb) · [03 The losses →](03_losses.ipynb)
