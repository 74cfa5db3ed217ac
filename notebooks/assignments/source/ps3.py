# %% [markdown]
# # Problem set 3: evaluation, and what a network may know of the target
#
# Five functions, a small experiment and a few sentences: 33 points. You need notebooks 05 to 07. Everything runs on a
# laptop in seconds.
#
# Write your answers into the cells that say so, and keep the names of functions and arguments. You may add cells. Any
# way that leads to the right numbers is right: loops or tensors, numpy or torch. The check below an answer compares it
# with a few cases that you can see; marks are given for others, part by part. Before you hand in, run `nasda check
# ps3.ipynb` in a terminal: it says what is answered and what passes.

# %%
import numpy as np
import torch
from scipy import stats

from nasda.grading.visible import check

# %% [markdown]
# ## 1 · The curve (5 points)
#
# `ranks` has a list for each query: the ranks of its right images, from 1, ascending. It is empty where the gallery has
# no right image. Return CMC at 1, 2, … `most` as a list: the share of the queries whose first right image is among the
# first k. Queries without a right image do not count. (1 point for one query, 2 for several, 2 where some lists are
# empty; at least one is not.)


# %% answer="ps3-1" points=5
def cmc(ranks, most):
    """CMC at 1 to `most`: a list of numbers from 0 to 1."""
    ### BEGIN SOLUTION
    firsts = np.array([found[0] for found in ranks if found])
    return [(firsts <= k).mean() for k in range(1, most + 1)]
    ### END SOLUTION


# %%
check("ps3-1", cmc)

# %% [markdown]
# ## 2 · The right image that is found last (4 points)
#
# mAP hardly notices whether the last right image is at rank 50 or 5,000. Ye et al. (2021) therefore report mINP: for
# each query N / (rank of its last right image), where N is the number of its right images; then the mean over the
# queries. `ranks` is as in question 1, without empty lists. (2 points for one query, 2 for several.)


# %% answer="ps3-2" points=4
def minp(ranks):
    """mINP, a number from 0 to 1."""
    ### BEGIN SOLUTION
    return np.mean([len(found) / found[-1] for found in ranks])
    ### END SOLUTION


# %%
check("ps3-2", minp)

# %% [markdown]
# ## 3 · Statistics of a whole data set, batch by batch (6 points)
#
# Re-estimating batch norm needs the mean and the variance of *all* values of a channel, but only a batch fits into
# memory. Of N batches you have `counts` (N), how many values each has of a channel, `means` (N, C), and `variances` (N,
# C), each divided by the count. Return the mean and the variance (again divided by the count), (C) each, of all values
# together. (2 points for batches of one size and one channel, 2 for different sizes, 2 for several channels.)


# %% answer="ps3-3" points=6
def pooled(counts, means, variances):
    """Mean and variance of all values, a pair of arrays (C)."""
    ### BEGIN SOLUTION
    share = np.asarray(counts)[:, None] / np.sum(counts)
    mean = (share * means).sum(axis=0)
    return mean, (share * (variances + (means - mean) ** 2)).sum(axis=0)
    ### END SOLUTION


# %%
check("ps3-3", pooled)

# %% [markdown]
# ## 4 · IBN (5 points)
#
# The largest effect that this course has shown comes from a norm. IBN (Pan et al. 2018) gives the first ⌊C/2⌋ channels
# instance norm, over height and width of each image alone, and the others batch norm, over the whole batch. Write it
# for training, without scale and shift: `x` is (B, C, H, W), variances are divided by the count, and `epsilon` is added
# to them before the root. (3 points for an even C, 2 for an odd one.)


# %% answer="ps3-4" points=5
def ibn(x, epsilon):
    """x, normalised, in its own shape."""

    ### BEGIN SOLUTION
    def normed(part, dims):
        variance, mean = torch.var_mean(part, dims, correction=0, keepdim=True)
        return (part - mean) / (variance + epsilon).sqrt()

    half = x.shape[1] // 2
    return torch.cat([normed(x[:, :half], (2, 3)), normed(x[:, half:], (0, 2, 3))], dim=1)
    ### END SOLUTION


# %%
check("ps3-4", ibn)

# %% [markdown]
# ## 5 · An interval over worlds (5 points)
#
# `scores` (worlds, seeds) are differences between two methods. The world is the unit: seeds of one world share its
# images. Return the two ends of Student's interval of the mean over worlds, at this `confidence` (such as 0.95).
# `stats.t.ppf` is there. (2 points for one seed a world at 95 %, 2 for several seeds, 1 for any confidence.)


# %% answer="ps3-5" points=5
def interval(scores, confidence):
    """The lower and the upper end."""
    ### BEGIN SOLUTION
    worlds = np.asarray(scores).mean(axis=1)
    half = stats.t.ppf((1 + confidence) / 2, len(worlds) - 1) * worlds.std(ddof=1) / np.sqrt(len(worlds))
    return worlds.mean() - half, worlds.mean() + half
    ### END SOLUTION


# %%
check("ps3-5", interval)

# %% [markdown]
# ## 6 · What can six worlds show? (4 points)
#
# Draw at least 1,000 studies of six differences each, from a normal distribution with standard deviation 1: once with
# mean 1, once with mean 0. Test each study by the exact sign-flip test of notebook 06 (all 64 flips, two-sided). Which
# share of the studies has p ≤ 0.05? Give both as numbers between 0 and 1. They are marked by a band. (2 points each.)

# %% answer="ps3-6" points=4
measured = {"effect of one sd": ..., "no effect": ...}


### BEGIN SOLUTION
def share_shown(effect, studies=2000, seed=0):
    """The share of studies with p ≤ 0.05."""
    flips = np.array(np.meshgrid(*[[1, -1]] * 6)).reshape(6, -1)
    found = np.random.default_rng(seed).normal(effect, 1, (studies, 6))
    p = (np.abs(found @ flips) >= np.abs(found.sum(axis=1))[:, None] - 1e-9).mean(axis=1)
    return np.mean(p <= 0.05)


measured = {"effect of one sd": share_shown(1), "no effect": share_shown(0, seed=1)}
### END SOLUTION

# %%
check("ps3-6", measured)

# %% [markdown]
# ## 7 · In your own words (4 points)
#
# Somebody writes: "NAS on the target beats NAS on the source by 8 points, in three of three seeds, on Market-1501."
# Name three things that you would ask before you believe it, and for each what answer would change your mind. (Marked
# by hand: 1 point for each thing that could explain the result otherwise, 1 for answers that would decide.)

# %% [markdown] answer="ps3-7" points=4
# ### BEGIN SOLUTION
# For instance: under which batch-norm statistics was it tested (with re-estimated ones the difference may turn)? How do
# random cells of the same space and size score (if as high, it is the space or the size)? Were there three seeds of one
# data set and one split (p of three pairs cannot be below 0.25; a second data set would say more)? Did the weights see
# the sample of the target, too, or more images? Was the sample drawn from people who are tested?
# ### END SOLUTION
