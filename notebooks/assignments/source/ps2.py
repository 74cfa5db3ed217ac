# %% [markdown]
# # Problem set 2: losses and the step that looks ahead
#
# Five functions, a small experiment and a few sentences: 34 points. You need notebooks 03 and 04. Everything runs on a
# laptop in seconds.
#
# Write your answers into the cells that say so, and keep the names of functions and arguments. You may add cells. Any
# way that leads to the right numbers is right: loops or tensors, numpy or torch. The check below an answer compares it
# with a few cases that you can see; marks are given for others, part by part. Before you hand in, run `nasda check
# ps2.ipynb` in a terminal: it says what is answered and what passes.

# %%
import numpy as np
import torch
import torch.nn.functional as F

from nasda.grading.visible import check

# %% [markdown]
# ## 1 · A triplet loss without a margin (7 points)
#
# Hermans et al. (2017) also replace the hinge of eq. 8 by a soft one: log(1 + exp(d_p − d_n)), with the hardest
# positive and the hardest negative of each anchor. `distances` is (B, B), `labels` (B). Return the mean over the
# anchors that have a positive and a negative, 0 if there is none. (2 points for sorted labels, 2 for any order, 2 where
# some anchors have no positive, 1 where distances go into the thousands.)


# %% answer="ps2-1" points=7
def soft_margin(distances, labels):
    """The mean of log(1 + exp(d_p − d_n)) over the anchors that count."""
    ### BEGIN SOLUTION
    same = labels[:, None] == labels[None, :]
    others = same & ~torch.eye(len(labels), dtype=torch.bool)
    farthest = distances.masked_fill(~others, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
    valid = others.any(dim=1) & ~same.all(dim=1)
    return F.softplus((farthest - nearest)[valid]).sum() / valid.sum().clamp(min=1)
    ### END SOLUTION


# %%
check("ps2-1", soft_margin)

# %% [markdown]
# ## 2 · How many triplets? (3 points)
#
# `labels` is a list with the identity of each image of a batch. How many triplets (anchor, positive, negative) are
# there? Anchor and positive are two different images of one identity, in this order. (1 point for P identities with K
# images each, 2 for any batch.)


# %% answer="ps2-2" points=3
def triplets(labels):
    """A whole number."""
    ### BEGIN SOLUTION
    counts = np.unique(labels, return_counts=True)[1]
    return int((counts * (counts - 1) * (counts.sum() - counts)).sum())
    ### END SOLUTION


# %%
check("ps2-2", triplets)

# %% [markdown]
# ## 3 · Label smoothing (5 points)
#
# "Bag of Tricks" (Luo et al. 2019) trains the classifier with smoothed labels: of C classes each gets ε / C, and the
# right one 1 − ε besides. Return the cross-entropy of the logits (B, C) against that, in nats, as the mean over the
# batch. (2 points for ε = 0, 2 for any ε, 1 where logits go into the thousands.)


# %% answer="ps2-3" points=5
def smoothed(logits, labels, epsilon):
    """Mean cross-entropy against smoothed labels."""
    ### BEGIN SOLUTION
    log_shares = torch.log_softmax(logits, dim=1)
    of_label = log_shares[torch.arange(len(labels)), labels]
    return -((1 - epsilon) * of_label + epsilon * log_shares.mean(dim=1)).mean()
    ### END SOLUTION


# %%
check("ps2-3", smoothed)

# %% [markdown]
# ## 4 · Where ω will be (5 points)
#
# Second order needs ω′, the weights after one step of SGD. PyTorch's rule: the velocity becomes momentum · v +
# (gradient + decay · ω), and ω′ = ω − lr · that velocity. (1 point for plain descent, 2 with momentum, 2 with weight
# decay, too.)


# %% answer="ps2-4" points=5
def virtual_step(weights, gradient, velocity, lr, momentum, decay):
    """ω′, in the shape of `weights`."""
    ### BEGIN SOLUTION
    return weights - lr * (momentum * velocity + gradient + decay * weights)
    ### END SOLUTION


# %%
check("ps2-4", virtual_step)

# %% [markdown]
# ## 5 · The gradient that looks ahead (6 points)
#
# Let $L_{train} = \tfrac12 \lVert \omega - M\alpha \rVert^2$ and $L_{val} = \tfrac12 \lVert \omega - b \rVert^2$. α
# does not stand in the second loss: its whole influence goes through ω. Return the gradient of $L_{val}(\omega')$ with
# respect to α, where $\omega' = \omega - \xi \nabla_\omega L_{train}$. `w` is (n), `a` (m), `mixing` is M (n, m),
# `goal` is b (n). (1 point for ξ = 0, 2 for one weight and one α, 3 for several.)


# %% answer="ps2-5" points=6
def hypergradient(w, a, mixing, goal, xi):
    """dL_val(ω′)/dα, (m)."""
    ### BEGIN SOLUTION
    ahead = w - xi * (w - mixing @ a)
    return xi * mixing.T @ (ahead - goal)
    ### END SOLUTION


# %%
check("ps2-5", hypergradient)

# %% [markdown]
# ## 6 · Why batches are made of identities (4 points)
#
# Take a training set like Market-1501's: 751 identities, here with 17 images each. First draw batches of 64 images at
# random, without replacement: which share of the images has a positive in its batch? Then draw batches of 16 identities
# anew, as `sample_batch` does, for an epoch of 199 batches: which share of the identities is in none of them? Give both
# as numbers between 0 and 1; take at least 500 random batches, and 20 epochs. They are marked by a band. (2 points
# each.)

# %% answer="ps2-6" points=4
measured = {"anchors with a positive": ..., "identities not seen": ...}


### BEGIN SOLUTION
def experiment(batches=500, epochs=20, seed=0):
    """The two shares."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(751), 17)
    with_positive = []
    for _ in range(batches):
        batch = identity[rng.choice(len(identity), 64, replace=False)]
        counts = np.unique(batch, return_counts=True)[1]
        with_positive.append(counts[counts > 1].sum() / 64)
    missing = [751 - len(set(np.concatenate([rng.choice(751, 16, False) for _ in range(199)]))) for _ in range(epochs)]
    return {"anchors with a positive": np.mean(with_positive), "identities not seen": np.mean(missing) / 751}


measured = experiment()
### END SOLUTION

# %%
check("ps2-6", measured)

# %% [markdown]
# ## 7 · In your own words (4 points)
#
# In question 5 the first-order gradient is zero for every α. Explain why, and what a first-order search would do there.
# Then say what in a real supernet is like this problem, and what is not. (Marked by hand: 2 points for the explanation,
# 1 for what is alike, 1 for what is not.)

# %% [markdown] answer="ps2-7" points=4
# ### BEGIN SOLUTION
# First order holds ω fixed. α stands only in L_train, so with ω fixed L_val does not depend on it: the slope is zero,
# and α never moves, however bad it is. In a supernet α's influence on the validation loss also goes through ω, which is
# trained under the mixture: that part first order drops. What is not alike: there α also stands in L_val itself,
# through the mixture in the forward pass, so first order has a slope to follow, and only a part of the truth is
# missing.
# ### END SOLUTION
