# %% [markdown]
# # Problem set 1: the space and its relaxation
#
# Five functions, a small experiment and a few sentences: 37 points. You need notebooks 01 and 02. Everything runs on a
# laptop in seconds.
#
# Write your answers into the cells that say so, and keep the names of functions and arguments. You may add cells. Any
# way that leads to the right numbers is right: loops or tensors, numpy or torch. The check below an answer compares it
# with a few cases that you can see; marks are given for others, part by part. Before you hand in, run
# `nasda check ps1.ipynb` in a terminal: it says what is answered and what passes.

# %%
import numpy as np
import torch

from nasda.genotypes import PRIMITIVES, node_slices
from nasda.grading.visible import check

# %% [markdown]
# ## 1 · How far does a stack of layers see? (6 points)
#
# Notebook 01 measured receptive fields by gradients. They can also be computed. `layers` is a list of
# `(kernel, stride, dilation)`, from the image onwards, each a whole number. Return the side of the square of input
# pixels that one output pixel sees. (1 point for one layer, 2 for several of stride 1, 3 for any.)


# %% answer="ps1-1" points=6
def receptive_side(layers):
    """The side, in input pixels, of what one output pixel sees."""
    ### BEGIN SOLUTION
    side, jump = 1, 1
    for kernel, stride, dilation in layers:
        side += (kernel - 1) * dilation * jump
        jump *= stride
    return side
    ### END SOLUTION


# %%
check("ps1-1", receptive_side)

# %% [markdown]
# ## 2 · How deep is a cell? (5 points)
#
# A cell's `nodes` are pairs of states: `[(0, 1), (0, 2)]` says that node 0 adds something of the two inputs, and node 1
# something of input 0 and of node 0, which is state 2. Return, for each node, the largest number of operations on a way
# from one of the cell's inputs to it. (2 points for cells of up to two nodes, 3 for any.)


# %% answer="ps1-2" points=5
def depths(nodes):
    """One whole number for each node, in their order."""
    ### BEGIN SOLUTION
    found = [0, 0]
    for first, second in nodes:
        found.append(1 + max(found[first], found[second]))
    return found[2:]
    ### END SOLUTION


# %%
check("ps1-2", depths)

# %% [markdown]
# ## 3 · A slope at a temperature (6 points)
#
# A node mixes with softmax(α / T), edge by edge (eq. 6 with a temperature). `alphas` is (edges, operations), `outputs`
# (edges, operations, values), `upstream` (values) is the loss's slope with respect to the node, `temperature` is T.
# Return dL/dα, (edges, operations), in closed form. (2 points for one edge at T = 1, 2 for any T, 2 for several edges.)


# %% answer="ps1-3" points=6
def temperature_gradient(alphas, outputs, upstream, temperature):
    """dL/dα, (edges, operations)."""
    ### BEGIN SOLUTION
    weights = torch.softmax(alphas / temperature, dim=1)
    gains = outputs @ upstream
    return weights * (gains - (weights * gains).sum(dim=1, keepdim=True)) / temperature
    ### END SOLUTION


# %%
check("ps1-3", temperature_gradient)

# %% [markdown]
# ## 4 · A sigmoid in the softmax's place (6 points)
#
# FairDARTS (Chu et al., ECCV 2020) gives every operation of an edge a weight of its own, σ(α), so that operations need
# not compete. A second loss pulls the weights away from ½, towards yes or no. With N operations the whole loss is
#
# $$L = \mathrm{task}\Big(\sum_o \sigma(\alpha_o)\, y_o\Big) - \lambda\, \frac1N \sum_o \big(\sigma(\alpha_o) -
# \tfrac12\big)^2 \tag{a}$$
#
# `alphas` is (operations), `outputs` (operations, values), `upstream` (values) the task's slope with respect to the
# sum, `pull` is λ. Return dL/dα, (operations). (3 points for λ = 0, 3 for any.)


# %% answer="ps1-4" points=6
def fair_gradient(alphas, outputs, upstream, pull):
    """dL/dα of eq. (a), (operations)."""
    ### BEGIN SOLUTION
    weights = torch.sigmoid(alphas)
    slope = outputs @ upstream - pull * 2 / len(alphas) * (weights - 0.5)
    return weights * (1 - weights) * slope
    ### END SOLUTION


# %%
check("ps1-4", fair_gradient)

# %% [markdown]
# ## 5 · Deriving when edges compete (6 points)
#
# PC-DARTS (Xu et al., ICLR 2020) gives each edge into a node a share of it, a softmax of β over the node's edges. The
# strength of an edge is its share times the largest softmax weight of α among its operations but none. Derive one
# node: `alphas` is (edges, operations), `betas` (edges), `primitives` the operations' names. Return the two strongest
# edges as a list of `(operation, input)`, by input; the edge in row i comes from state i. (3 points where all shares
# are equal, 3 for any.)


# %% answer="ps1-5" points=6
def derive_node(alphas, betas, primitives):
    """The node's two (operation, input), by input."""
    ### BEGIN SOLUTION
    real = [column for column, name in enumerate(primitives) if name != "none"]
    weights = torch.softmax(alphas, dim=1)[:, real]
    strength = torch.softmax(betas, dim=0) * weights.max(dim=1).values
    kept = sorted(torch.argsort(strength, descending=True, stable=True)[:2].tolist())
    return [(primitives[real[int(weights[edge].argmax())]], edge) for edge in kept]
    ### END SOLUTION


# %%
check("ps1-5", derive_node)

# %% [markdown]
# ## 6 · What does a search begin with? (4 points)
#
# Before any step of a search α is noise. Draw at least 1000 cells of the paper's size: α of 14 edges and 7 operations
# (`PRIMITIVES["reid"]`; column 0 is none), each number standard normal. Derive each cell with your function (equal
# shares; `node_slices(4)` has the rows of each node). On which share of the edges is none the strongest of all seven?
# Which share of the kept edges come from the cell's two inputs? Give both numbers, between 0 and 1. They are marked by
# a band that such an experiment hits nearly always. (2 points each.)

# %% answer="ps1-6" points=4
measured = {"none is strongest": ..., "from the cell's inputs": ...}


### BEGIN SOLUTION
def experiment(cells=1000, seed=0):
    """The share of edges where none is the strongest, and of kept edges that come from the inputs."""
    rng = np.random.default_rng(seed)
    none, states = [], []
    for _ in range(cells):
        alphas = torch.tensor(rng.normal(size=(14, 7)))
        none += (alphas.argmax(dim=1) == 0).tolist()
        for rows in node_slices(4):
            node = derive_node(alphas[rows], torch.zeros(rows.stop - rows.start), PRIMITIVES["reid"])
            states += [state for _, state in node]
    return {"none is strongest": np.mean(none), "from the cell's inputs": np.mean(np.array(states) < 2)}


measured = experiment()
### END SOLUTION

# %%
check("ps1-6", measured)

# %% [markdown]
# ## 7 · In your own words (4 points)
#
# The second number of question 6 can be computed without an experiment. Derive it. Then say in two or three sentences
# what it means for cells that a search finds after too few steps, and how you would notice. (Marked by hand: 2 points
# for the derivation, 1 for the meaning, 1 for the way to notice.)

# %% [markdown] answer="ps1-7" points=4
# ### BEGIN SOLUTION
# Edges into a node are alike, so of node k's 2 + k edges each is kept with probability 2 / (2 + k). Two of them come
# from the inputs: 4 / (2 + k) of two kept ones. Over four nodes that is (2 + 4/3 + 1 + 4/5) / 8 = 77/120 = 0.642. A
# cell that was searched too briefly is shallow, and looks like a choice: two thirds of its edges come from the inputs,
# whatever the data. Compare with cells of random α: edges from the inputs, depth, and the entropy of α's softmax.
# ### END SOLUTION
