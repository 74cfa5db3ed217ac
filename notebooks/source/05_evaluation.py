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
# # 05 · Evaluation
#
# [← 04 Bilevel search](04_bilevel_search.ipynb) · [06 Closing the gap →](06_closing_the_gap.ipynb)
#
# **Is it any good, and would you know if it weren't?**
#
# A searched network of the paper finds the right person first in 22.00 % of its queries on Market-1501 (Table 1, NAS
# on S). Is that good? A histogram of colours has learnt nothing at all. On the same real test it reaches 22.5 %
# (measured with this course's code, on images of 64×32). Score such a histogram with an evaluator that forgets one
# line of the protocol, and it reaches 96.5 % (measured with another program). All three numbers look like results.
#
# A score is made by three things: the features, the rule that says what counts, and luck. This notebook takes them
# apart. You build your own evaluator, part by part. Then you break each of its rules on purpose, score networks with
# it, and find out how far its numbers can be trusted.
#
# **You will be able to**
#
# - rank a gallery without sorting it, and say what happens to ties;
# - compute CMC and both scores that are called *average precision*, and say why two codes disagree;
# - recognise a broken protocol by the numbers it gives;
# - put a score between floors and seeds, and compare two networks query by query.
#
# **You need to know** what features are (notebook 03), a little NumPy, and the two domains of the course: a synthetic
# source, and a target that stands for the real world (the built-in one is drawn, too).
#
# **Lesson time**: about 4 hours with the exercises
#
# *Times are filled in here when the notebook is executed.*

# %%
import time
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from itertools import combinations

import ipywidgets
import numpy as np
import torch
from sklearn.metrics import average_precision_score

from nasda import evaluation
from nasda.course import nb05_evaluation as lesson
from nasda.course.check import check, mine
from nasda.course.open import open_course
from nasda.course.predict import predict, recall
from nasda.data.colours import colour_histogram
from nasda.data.domain import DISTRACTOR, JUNK
from nasda.data.store import stored
from nasda.data.task import table_of_counts
from nasda.fast.ranking import positive_ranks, ranked_gallery
from nasda.genotypes import random_genotype
from nasda.pictures import plots
from nasda.pictures.widgets import explore
from nasda.settings import changed
from nasda.study.experiments import Experiment, results_columns, results_table
from nasda.study.statistics import compare, sentence
from nasda.training import make_network, run_training

# %% tags=["parameters"]
PROFILE: str = "tiny"  # tiny, laptop, gpu, paper
TASK: str = "person"  # person, vehicle
DATA_ROOT: str = ""  # empty: the built-in data; else the folder that holds the real data sets
SEED: int = 0

# %% [markdown]
# Three questions on earlier notebooks first. Put a letter in the place of each `...`, in this order.
#
# 1. The loss of transfer is the difference of two learners on one test, and not of one learner on two tests. Why?
#    (a) Two tests cost more. (b) One of the two tests may be the harder one. (c) The source has no test.
# 2. Which vectors of a network does the triplet loss work on, and which are compared in the test? (a) The logits h.
#    (b) The weights α. (c) The features f.
# 3. The paper's search S+R sees some of the target. What does α learn from? (a) A small labelled sample of the
#    target's training split. (b) The target's queries. (c) The target's gallery.

# %%
recall("05", ..., ..., ...)

# %% [markdown]
# `open_course` draws the built-in data where it is missing. Here is the target's test, counted. The source is not
# needed before the end.

# %%
course = open_course(PROFILE, TASK, DATA_ROOT, SEED)
target = course.task.target
print(table_of_counts(target))

# %% [markdown]
# ## The question that is asked
#
# A test has **queries** and a **gallery**. Each image has an identity (`pid`) and a camera (`camid`). For each query
# the gallery is put in order, nearest first, and we look at where the images of the same identity have ended up. None
# of the identities was seen in training, so there is nothing to classify. All there is are distances between
# features.
#
# We will write plain loops, which are easy to read and slow. They compare a million pairs in a few seconds. On the
# complete Market-1501 there are 66 million. So we ask a random sample of the queries where there are more, and always
# the whole gallery. The sample depends on `SEED` alone.

# %%
most = max(1, 1_000_000 // len(target.gallery))
asked = np.sort(np.random.default_rng(SEED).permutation(len(target.query))[:most])
queries, gallery = [target.query[number] for number in asked], target.gallery
print(f"asked in this notebook: {len(queries)} of {len(target.query)} queries, each of {len(gallery)} images")

# %% [markdown]
# We begin with features that need no training: a histogram of hue, saturation and value in each of six horizontal
# stripes of the image's middle (`nasda.data.colours.colour_histogram`; notebook 00 builds it). It is cheap, everyone
# can guess what it sees, and it is the floor under everything that comes later.

# %%
size = course.settings.data.height, course.settings.data.width
query_images, gallery_images = stored(queries, *size), stored(gallery, *size)
q_pids, q_camids, g_pids, g_camids = (
    np.array([getattr(sample, field) for sample in samples])
    for samples in (queries, gallery)
    for field in ("pid", "camid")
)
ids = q_pids, q_camids, g_pids, g_camids
query_pixels, gallery_pixels = (x.permute(0, 2, 3, 1).numpy() for x in (query_images, gallery_images))
print(f"counting the colours of {len(queries) + len(gallery)} images", flush=True)
histogram = colour_histogram(query_images), colour_histogram(gallery_images)
features = {"colour histogram": tuple(x.numpy() for x in histogram)}
print("features of the queries:", features["colour histogram"][0].shape)

# %% [markdown]
# ## What an image of the gallery can be
#
# To a query, a gallery image is one of five things. Two of them do not count at all:
#
# - **own camera**: the same identity, taken by the query's own camera. Two frames that one camera took within a
#   second are almost alike. Finding one from the other says nothing about recognition.
# - **junk** (`pid` −1): boxes that a detector cut badly, so that nobody can say whether they are right or wrong.
#
# Three count: the same identity under another camera is **right**, another identity is **wrong**, and so is a
# **distractor** (`pid` 0), a box of something that nobody asks for. Market-1501 has all five. VeRi-776 has neither
# junk nor distractors, but every one of its query files lies in the gallery a second time. Here is all that one query
# meets, up to eight images of each kind.

# %%
query = SEED % len(q_pids)
plots.light(lesson.roles_sheet(query_pixels[query], gallery_pixels, (q_pids[query], q_camids[query]), g_pids, g_camids))

# %% [markdown]
# The row *own camera* is the trap. Compare it with the query at the top, then with the row *right*: the images that
# must not count are often the easiest ones to find.

# %% [markdown]
# ### Exercise 05.1 ●○○ · importance ●●● (10 minutes)
#
# Write the rule. `query_pid` and `query_camid` are whole numbers; `gallery_pids` and `gallery_camids` are arrays of
# shape (G,). Return for each gallery image whether it counts: (G,) of True and False. `JUNK` and `DISTRACTOR` are −1
# and 0. Everything in this notebook rests on this rule.


# %% tags=["exercise"]
def counts(query_pid, query_camid, gallery_pids, gallery_camids):
    """Which gallery images count for this query: (G,) of bool."""
    ...


# %%
check("05.1", counts)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Say first which images do *not* count. There are two kinds.
# </details>
# <details><summary>Hint 2</summary>
#
# "Own camera" needs both: the query's identity *and* its camera. `&`, `|` and `~` work on whole arrays; put brackets
# around each comparison.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def counts(query_pid, query_camid, gallery_pids, gallery_camids):
#     """Which gallery images count for this query: (G,) of bool."""
#     own_camera = (gallery_pids == query_pid) & (gallery_camids == query_camid)
#     return (gallery_pids != JUNK) & ~own_camera
# ```
# </details>

# %%
counts = mine("05.1")  # yours, or the library's

# %% [markdown]
# A ranking is best looked at before it is scored. Here are three queries, and for each the first ten images that
# count. Green frames are right. Look at the wrong ones: does the histogram confuse clothes, paint, or rather
# backgrounds and light?


# %%
@cache
def distances(name):
    """Squared Euclidean distances of all queries and gallery images: (Q, G)."""
    of_queries, of_gallery = features[name]
    return np.stack([np.square(of_gallery - one).sum(axis=1) for one in of_queries])


def ranked(name, query):
    """The gallery images that count, nearest first, by sorting them."""
    kept = np.flatnonzero(counts(q_pids[query], q_camids[query], g_pids, g_camids))
    return kept[np.argsort(distances(name)[query, kept], kind="stable")]


# %%
shown = np.linspace(0, len(q_pids) - 1, 5).astype(int)[:3]
orders = [ranked("colour histogram", query)[:10] for query in shown]
figure = plots.retrieval_gallery(
    [query_pixels[query] for query in shown],
    gallery_pixels,
    [order.tolist() for order in orders],
    [(g_pids[order] == q_pids[query]).tolist() for query, order in zip(shown, orders, strict=True)],
    [f"id {q_pids[query]}\ncamera {q_camids[query]}" for query in shown],
)
plots.light(figure)

# %% [markdown]
# ## Ranks without a sort
#
# Every score below depends on one thing only: the **ranks** of the right images, $r_1 < r_2 < \dots < r_N$. Sorting
# the gallery gives them, and a great deal more that nobody reads. But the rank of an image is one plus the number of
# images that are nearer:
#
# $$ r(x) = 1 + \bigl|\{ y : d(y) < d(x) \}\bigr| + \bigl|\{ y \text{ before } x : d(y) = d(x) \}\bigr| \tag{a} $$
#
# The last term is the rule for ties: of two images at one distance, the one that stands first in the gallery is said
# to be nearer, as a stable sort would have it. Counting needs no memory for an order, and it can be done piece by
# piece. So a gallery of a million images can be ranked from disk. `nasda.fast.ranking.positive_ranks` does that.

# %% [markdown]
# ### Exercise 05.2 ●●○ · importance ●●● (20 minutes)
#
# Write eq. (a) for one query. `distances` holds the distances to the images that count, `right` says which of them
# are right; both have the shape (G,). Return the ranks of the right images, ascending from 1. Ties happen: test your
# function on `distances = np.array([0.5, 0.5, 0.2])`.


# %% tags=["exercise"]
def ranks_of(distances, right):
    """The ranks, ascending from 1, of the images that are `right` (bool); both (G,), of the images that count."""
    ...


# %%
check("05.2", ranks_of)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `np.flatnonzero(right)` gives the places of the right images. Go through them, and count for each.
# </details>
# <details><summary>Hint 2</summary>
#
# `np.count_nonzero(distances < distances[place])` counts those that are nearer. The ties that stand before it are among
# `distances[:place]`.
# </details>
# <details><summary>Hint 3</summary>
#
# You may sort instead: `np.argsort(distances, kind="stable")`, then look where `right` is true in that order.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def ranks_of(distances, right):
#     """The ranks, ascending from 1, of the images that are `right` (bool); both (G,), of the images that count."""
#     found = []
#     for place in np.flatnonzero(right):
#         nearer = np.count_nonzero(distances < distances[place])
#         tied_before = np.count_nonzero(distances[:place] == distances[place])
#         found.append(1 + nearer + tied_before)
#     return np.sort(np.array(found, dtype=np.int64))
# ```
# </details>

# %%
ranks_of = mine("05.2")  # yours, or the library's

# %% [markdown]
# Counting and sorting must give the same ranks, for every query.

# %%
for query in range(len(q_pids)):
    kept = counts(q_pids[query], q_camids[query], g_pids, g_camids)
    counted = ranks_of(distances("colour histogram")[query, kept], (g_pids == q_pids[query])[kept])
    hits = g_pids[ranked("colour histogram", query)] == q_pids[query]
    assert np.array_equal(counted, np.flatnonzero(hits) + 1)
print(f"the same ranks for all {len(q_pids)} queries; of the last one:", counted)

# %% [markdown]
# ### Break it: a network that sees nothing
#
# Why so much care about ties? Take the worst network there is. It has collapsed: every image gets the same feature, so
# all distances are 0. Training with a triplet loss can end like this. Now let an evaluator forget the last term of
# eq. (a): it counts the images that are nearer, and nothing else.

# %% [markdown]
# Predict: which share of the queries has its first right image at rank 1? Answer `"none"`, `"about one in ten"` or
# `"all"`.

# %%
guess = predict("05.a", ..., "none", "about one in ten", "all")

# %%
first = {"ties forgotten": [], "ties by the gallery's order": [], "ties always lost": []}
for pid, camid in zip(q_pids, q_camids, strict=True):
    kept = counts(pid, camid, g_pids, g_camids)
    right, nothing = (g_pids == pid)[kept], np.zeros(kept.sum())
    if right.any():
        first["ties forgotten"].append(1 + np.count_nonzero(nothing < 0))
        first["ties by the gallery's order"].append(ranks_of(nothing, right)[0])
        first["ties always lost"].append(1 + np.count_nonzero(~right))  # wrong images go first
found = {rule: np.mean(np.array(of_rule) == 1) for rule, of_rule in first.items()}
for rule, rank1 in found.items():
    print(f"{rule:28} rank-1 {rank1:.0%}")
guess.against({0.0: "none", 1.0: "all"}.get(found["ties forgotten"], "about one in ten"))

# %% [markdown]
# A perfect score for a network that sees nothing. With the stable rule the gallery's order decides, which is at least
# the same on every machine. Where files lie in the order of their identities, even that is not quite fair. The third
# rule is the strict one: every tie is decided against you. A network that looks much better under the usual rule than
# under the strict one owes its score to ties.

# %% [markdown]
# ### Exercise 05.3 ●●○ · importance ●●● (20 minutes)
#
# Now the whole test. Go through the queries. For each, take its distances to the gallery, drop what does not count,
# and rank the rest. Use `counts` and `ranks_of`. Return a list with an array of ranks for each query, also where it
# is empty.
#
# `query_features` is (Q, D) and `gallery_features` (G, D); the four others are arrays of identities and cameras.


# %% tags=["exercise"]
def ranks(query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids):
    """For each query the ranks of its right images, ascending from 1: a list of Q arrays."""
    ...


# %%
check("05.3", ranks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `gallery_features - one_query` subtracts a query from every row. Squared distances order like distances.
# </details>
# <details><summary>Hint 2</summary>
#
# With `kept = counts(…)` both arguments of `ranks_of` are cut: `distances[kept]` and `(gallery_pids == pid)[kept]`.
# What is dropped takes no place in the order.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# counts, ranks_of = mine("05.1"), mine("05.2")  # yours, or the library's
#
#
# def ranks(query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids):
#     """For each query the ranks of its right images, ascending from 1: a list of Q arrays."""
#     found = []
#     for feature, pid, camid in zip(query_features, query_pids, query_camids, strict=True):
#         distances = np.square(gallery_features - feature).sum(axis=1)
#         kept = counts(pid, camid, gallery_pids, gallery_camids)
#         found.append(ranks_of(distances[kept], (gallery_pids == pid)[kept]))
#     return found
# ```
# </details>

# %%
ranks = mine("05.3")  # yours, or the library's
begun = time.perf_counter()
ours = ranks(*features["colour histogram"], *ids)
seconds = time.perf_counter() - begun
theirs = positive_ranks(*histogram, *ids)
same = sum(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
print(f"{seconds:.2f} s; the same ranks as the library's for {same} of {len(ours)} queries")
assert same > 0.9 * len(ours)

# %% [markdown]
# The library compares all queries with the whole gallery in tiles. It rounds the features to integers of 25 bits
# first, so that equal features have equal distances whatever the machine. A plain loop in floating point has no such
# guarantee, and a query may differ by a tie that rounding breaks.

# %% [markdown]
# ## From ranks to scores: CMC
#
# The simplest score asks only for the first hit. **Rank-k** is the share of queries whose first right image stands
# among the first k, that is, $r_1 \le k$. Over all k it is the *cumulative matching characteristic*, CMC. A query that
# has no right image left cannot be scored, and is skipped. For comparison there are features that know nothing:
# directions drawn at random.

# %%
noise = evaluation.random_features(len(q_pids) + len(g_pids), SEED).numpy()
features["guessing"] = noise[: len(q_pids)], noise[len(q_pids) :]
curves = {}
for name, of_queries in {"colour histogram": ours, "guessing": ranks(*features["guessing"], *ids)}.items():
    first = np.array([found[0] for found in of_queries if len(found)])
    curves[name] = [np.mean(first <= k) for k in range(1, 21)]
lesson.cmc_curves(curves)

# %% [markdown]
# CMC is kind: whoever offers twenty guesses is right sooner or later, random features too. It is also blind to
# everything after the first hit. Ranks 1, 2, 3 and ranks 1, 50, 90 give the same curve. Whoever follows someone from
# camera to camera needs all three. So a second score is wanted that looks at every right image.

# %% [markdown]
# ## Two things called average precision
#
# Go down the list to the j-th right image, at rank $r_j$. Of the $r_j$ images seen so far $j$ are right: the
# **precision** is $p_j = j / r_j$, the **recall** $j / N$. Just before it, the precision was $q_j = (j-1)/(r_j-1)$,
# or 1 where the image stands at rank 1. AP is "the area under the Precision-Recall curve" (paper §3.2), and mAP its
# mean over queries. The paper prints no equation. There are two ways to take that area:
#
# $$ \mathrm{AP} = \frac1N \sum_{j=1}^{N} p_j \tag{b} $$
#
# $$ \mathrm{AP}_{\text{trapezoid}} = \frac1N \sum_{j=1}^{N} \frac{p_j + q_j}{2} \tag{c} $$
#
# The first is a sum of rectangles, the *mean of precisions*. Today's literature uses it, and so do torchreid, fast-reid
# and scikit-learn (read in their code). The second is the trapezoid rule: the code published with Market-1501 and
# VeRi-776 uses it, and it is the most literal reading of the paper's words. **Which of the two the paper printed is
# not known**: there is no code.

# %% [markdown]
# Predict, with paper and pencil: a query has three right images, at ranks 1, 4 and 5. What is its AP by eq. (b), as a
# number between 0 and 1?

# %%
guess = predict("05.b", ..., unit="of 1")

# %% [markdown]
# ### Exercise 05.4 ●●○ · importance ●●● (20 minutes)
#
# Write both. `ranks` is an ascending array of whole numbers, with at least one entry. Return two numbers: eq. (b),
# then eq. (c).


# %% tags=["exercise"]
def average_precisions(ranks):
    """The two average precisions of a query whose right images stand at `ranks`: eq. (b), eq. (c)."""
    ...


# %%
check("05.4", average_precisions)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `np.arange(1, len(ranks) + 1)` is j for all right images at once.
# </details>
# <details><summary>Hint 2</summary>
#
# For ranks 1, 4 and 5 the precisions are 1/1, 2/4 and 3/5. Before them they were 1 (a rule), 1/3 and 2/4.
# </details>
# <details><summary>Hint 3</summary>
#
# At rank 1 the formula of q divides by 0. `np.where(ranks == 1, 1.0, …)` puts 1 there; `np.maximum(ranks - 1, 1)` keeps
# the division silent.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def average_precisions(ranks):
#     """The two average precisions of a query whose right images stand at `ranks`: eq. (b), eq. (c)."""
#     j = np.arange(1, len(ranks) + 1)
#     precision = j / ranks
#     before = np.where(ranks == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))
#     return float(np.mean(precision)), float(np.mean((precision + before) / 2))
# ```
# </details>

# %%
average_precisions = mine("05.4")  # yours, or the library's
both = average_precisions(np.array([1, 4, 5]))
print(f"ranks 1, 4, 5: eq. (b) {both[0]:.3f}, eq. (c) {both[1]:.3f}")
guess.against(float(both[0]))

# %% [markdown]
# Trust an evaluator once it agrees with somebody else's. scikit-learn's `average_precision_score` was written by people
# who never thought of ranks: it moves a threshold over scores.

# %%
apart = []
for query, found in enumerate(ours):
    if len(found):
        kept = counts(q_pids[query], q_camids[query], g_pids, g_camids)
        nearness = -distances("colour histogram")[query, kept]
        third = average_precision_score((g_pids == q_pids[query])[kept], nearness)
        apart.append(abs(third - average_precisions(found)[0]))
print(f"largest difference from scikit-learn's, over {len(apart)} queries: {max(apart):.1e}")

# %% [markdown]
# ## See it: one query's curve
#
# Here is the query of this test on which the two disagree most. Going down its list, precision falls with every wrong
# image while recall stands still, and jumps up at each right one. Eq. (b) is the area of rectangles, which reach up to
# the top of the hatching. Eq. (c) is the area under the thick blue lines. The difference is a hatched triangle for each
# right image.

# %%
scored = [of_query for of_query in ours if len(of_query)]
disagreement = [of_query[0] - of_query[1] for of_query in map(average_precisions, scored)]
worst = scored[int(np.argmax(disagreement))]
lesson.precision_recall(worst, f"A query by colour histogram: {len(worst)} right images")

# %% [markdown]
# Now move three right images yourself. Set the rank of the first, and how many images further down each next one is
# found. Two questions to try: where must they stand for the two areas to agree? And which of the three matters most?


# %%
def draw_ranks(first: int, second_after: int, third_after: int):
    found = np.cumsum([first, second_after, third_after])
    both = average_precisions(found)
    words = f"ranks {', '.join(map(str, found))}: AP {both[0]:.3f}, trapezoid {both[1]:.3f}"
    words += f", apart {both[0] - both[1]:.3f}"
    return lesson.precision_recall(found, "Three right images"), words


explore(
    draw_ranks,
    first=ipywidgets.IntSlider(3, 1, 12),
    second_after=ipywidgets.IntSlider(2, 1, 12),
    third_after=ipywidgets.IntSlider(4, 1, 12),
)

# %% [markdown]
# ## By how much at most?
#
# Subtract (c) from (b). With $p_j - q_j = \frac{r_j - j}{r_j (r_j - 1)}$, which is 0 at rank 1,
#
# $$ \mathrm{AP} - \mathrm{AP}_{\text{trapezoid}}
# = \frac{1}{2N} \sum_{j=1}^{N} \frac{r_j - j}{r_j\,(r_j - 1)} \;\ge\; 0. \tag{d} $$
#
# So the trapezoid is never the larger one. Each term can be made as large as possible on its own, since the ranks
# that do it are in ascending order. Then the sum is at most
#
# $$ \frac{1}{4N} \sum_{j=1}^{N} \frac{1}{2j - 1}, \tag{e} $$
#
# which is ¼ for a single right image, and falls about like $(\ln N + 2) / 8N$. Do not believe a formula: for up to
# four right images a program can try every ranking.

# %%
for positives in range(1, 5):
    bound = sum(1 / (2 * j - 1) for j in range(1, positives + 1)) / (4 * positives)
    tried = [average_precisions(np.array(found)) for found in combinations(range(1, 15), positives)]
    largest = max(one - other for one, other in tried)
    print(f"{positives} right: {len(tried):4} rankings tried, at most {largest:.4f} apart; eq. (e) {bound:.4f}")
    assert np.isclose(largest, bound)

# %% [markdown]
# ### Exercise 05.5 ●●● · importance ●○○ (15 minutes)
#
# How does the worst case look? `positives` is N, the number of right images. Return a list of N ranks, ascending, at
# which the two average precisions differ as much as they can. There may be several answers; any of them will do. Then
# look at your list and say what a user would see who scrolls down such a result.


# %% tags=["exercise"]
def worst_ranks(positives):
    """Ranks, ascending from 1, of so many right images, for which eq. (d) is as large as possible."""
    ...


# %%
check("05.5", worst_ranks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Fix j and look at (r − j) / (r (r − 1)) as a function of r alone.
# </details>
# <details><summary>Hint 2</summary>
#
# For j = 1 it is 0 at r = 1, 1/2 at r = 2 and 1/3 at r = 3. Do the same for j = 2 and j = 3.
# </details>
# <details><summary>Solution</summary>
#
# Each term is largest at r = 2j (and as large at 2j − 1, except for j = 1): every second image is right, and the
# first one is wrong.
#
# ```python
# def worst_ranks(positives):
#     return [2 * j for j in range(1, positives + 1)]
# ```
# </details>

# %% [markdown]
# A test is an average over many queries, so its two mAPs lie closer than that. Each dot below is a query, its height
# the difference of its two average precisions; the line is eq. (e).

# %%
lesson.disagreements([len(of_query) for of_query in scored], disagreement)

# %% [markdown]
# On the real Market-1501 a colour histogram has 7.80 % by eq. (b) and 7.17 % by eq. (c) (measured with another
# program). Between two papers, 0.63 points look like a result. Here they are two definitions of one word. The
# remedy costs nothing: report both, and name both, as `nasda.evaluation.Metrics` does.

# %% [markdown]
# ### Exercise 05.6 ●●○ · importance ●●● (30 minutes)
#
# Put the parts together: features in, scores out. Return three things: mAP by eq. (b), mAP by eq. (c), and CMC, an
# array of shape (`top`,) with rank-1 to rank-`top`. All are shares between 0 and 1. Each is a mean over the queries
# that have a right image; the others are left out.


# %% tags=["exercise"]
def evaluate(query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids, top=10):
    """mAP, mAP by trapezoids, and CMC (top,), over the queries with a right image."""
    ...


# %%
check("05.6", evaluate)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three steps: the ranks of all queries (05.3); without the empty ones; then the scores (05.4).
# </details>
# <details><summary>Hint 2</summary>
#
# `np.mean([…], axis=0)` of a list of pairs is a pair of means. For CMC, take each query's first rank, compare it with
# `np.arange(1, top + 1)`, and average over the queries.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# ranks, average_precisions = mine("05.3"), mine("05.4")  # yours, or the library's
#
#
# def evaluate(query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids, top=10):
#     """mAP, mAP by trapezoids, and CMC (top,), over the queries with a right image."""
#     found = ranks(query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids)
#     scored = [np.asarray(of_query) for of_query in found if len(of_query)]
#     mAP, mAP_trapezoid = np.mean([average_precisions(of_query) for of_query in scored], axis=0)
#     first = np.array([of_query[0] for of_query in scored])
#     cmc = np.array([np.mean(first <= k) for k in range(1, top + 1)])
#     return mAP, mAP_trapezoid, cmc
# ```
# </details>

# %%
evaluate = mine("05.6")  # yours, or the library's


def row(pair):
    """A pair of features, of queries and gallery, as a row of a table."""
    mAP, trapezoid, cmc = evaluate(*pair, *ids)
    return {"mAP": mAP, "mAP_trapezoid": trapezoid, "rank1": cmc[0], "rank5": cmc[4], "rank10": cmc[9]}


official = row(features["colour histogram"])
theirs = evaluation.rank(*histogram, *ids)
print("yours:      ", ", ".join(f"{name} {score:.2%}" for name, score in official.items()))
print("the library:", theirs)
assert np.isclose(official["mAP"], theirs.mAP, atol=1e-3)

# %% [markdown]
# The library also reports which queries it skipped; silent skipping is another way to move a score.

# %% [markdown]
# ## Break the rule
#
# Now the rules are broken, one at a time, and nothing else changes: same features, same distances. Four ways occur in
# real code:
#
# - **camera rule forgotten**: images of the same identity by the query's own camera stay, and count as right;
# - **whole camera dropped**: *all* images of the query's camera are removed, not just those of its identity;
# - **junk kept**: boxes of −1 stay and, matching no query, count as wrong;
# - **distractors dropped**: someone cleaned the gallery of boxes that "have no label".
#
# (VeRi-776 has neither junk nor distractors: in the vehicle task the last two change nothing.)

# %% [markdown]
# Predict: which of the four raises rank-1 the most? Answer with its name, `"camera rule forgotten"`,
# `"whole camera dropped"`, `"junk kept"` or `"distractors dropped"`.

# %%
BROKEN = "camera rule forgotten", "whole camera dropped", "junk kept", "distractors dropped"
guess = predict("05.c", ..., *BROKEN)


# %%
def counts_under(rule, query):
    """As `counts`, with one rule broken."""
    own_camera = g_camids == q_camids[query]
    if rule != "whole camera dropped":
        own_camera &= g_pids == q_pids[query]
    dropped = own_camera & (rule != "camera rule forgotten")
    dropped |= (g_pids == JUNK) & (rule != "junk kept")
    dropped |= (g_pids == DISTRACTOR) & (rule == "distractors dropped")
    return ~dropped


@cache
def scores(name, rule):
    """mAP, mAP by trapezoids and rank-1 of all queries under one rule."""
    kept = [counts_under(rule, query) for query in range(len(q_pids))]
    found = [ranks_of(away[k], (g_pids == p)[k]) for away, k, p in zip(distances(name), kept, q_pids, strict=True)]
    some = [of_query for of_query in found if len(of_query)]
    return *np.mean([average_precisions(of_query) for of_query in some], axis=0), np.mean([r[0] == 1 for r in some])


# %% [markdown]
# Now all queries, under each rule. The first line has to be the one above.

# %%
for rule in ("official", *BROKEN):
    mAP, trapezoid, rank1 = scores("colour histogram", rule)
    print(f"{rule:22} mAP {mAP:6.2%} (trapezoid {trapezoid:6.2%})  rank-1 {rank1:6.2%}")
assert np.isclose(scores("colour histogram", "official")[0], official["mAP"], atol=1e-3)
guess.against(max(BROKEN, key=lambda rule: scores("colour histogram", rule)[2]))

# %% [markdown]
# The camera rule is not a detail. Without it a test of *recognition across cameras* becomes a test of *finding the
# next frame*, and colours are superb at that. Dropping the whole camera is subtler: no wrong answer is called right,
# but the hardest wrong answers, other identities before the same background, are gone.
#
# The same on the complete real Market-1501, with a six-stripe histogram (measured with another program; the images may
# not be passed on, and are not part of the course):
#
# | rule | mAP (%) | rank-1 (%) |
# |---|---:|---:|
# | official | 7.80 | 22.12 |
# | camera rule forgotten | 22.55 | 96.50 |
# | junk kept | 7.41 | 20.90 |
# | distractors dropped | 7.97 | 22.45 |
#
# Junk that is kept costs a little, dropped distractors gain a little. Without the camera rule, a colour histogram looks
# like the state of the art.

# %% [markdown]
# A network that has learnt something useless belongs here, too: one that names the camera and nothing else. Its
# features are alike for all images of a camera, but for a little noise that breaks ties.

# %% [markdown]
# Predict: under the official rule, is its mAP `"above"` or `"below"` that of random features?

# %%
guess = predict("05.d", ..., "above", "below")

# %%
cameras = np.unique(np.concatenate([q_camids, g_camids]))
camera_only = np.concatenate([q_camids, g_camids])[:, None] == cameras
camera_only = camera_only + 0.01 * noise[:, : len(cameras)]  # so that there are no ties
features["camera only"] = camera_only[: len(q_pids)], camera_only[len(q_pids) :]
blind, chance = (scores(name, "official")[0] for name in ("camera only", "guessing"))
print(f"official rule: camera only mAP {blind:.2%}, random features {chance:.2%}")
guess.against("above" if blind > chance else "below")

# %% [markdown]
# What lies nearest is of the query's own camera, and there everything right has been taken away. A score below chance
# is not bad luck. It says that the features are about cameras.

# %% [markdown]
# Choose a query, a rule to break, and features. Above is the official rank list, below the one with the rule broken;
# frames are green where that evaluator calls an image right. Where the background weighs more than the person or the
# car, the official list is full of the query's own camera. With the camera rule forgotten, the new green frames stand
# far in front.


# %%
def draw_broken(query: int, rule: str, by: str):
    kept = [np.flatnonzero(counts_under(name, query)) for name in ("official", rule)]
    orders = [k[np.argsort(distances(by)[query, k], kind="stable")][:10] for k in kept]
    hits = [g_pids[order] == q_pids[query] for order in orders]
    pair = scores(by, "official"), scores(by, rule)
    words = [f"mAP {s[0]:.1%} (trapezoid {s[1]:.1%}), rank-1 {s[2]:.1%}" for s in pair]
    text = f"All queries, {by}, official: {words[0]}\n{rule}: {words[1]}\n"
    text += f"Query {query}, first ten: {hits[0].sum()} called right above, {hits[1].sum()} below"
    pixels = [query_pixels[query]] * 2
    lists = [order.tolist() for order in orders], [found.tolist() for found in hits]
    return plots.light(plots.retrieval_gallery(pixels, gallery_pixels, *lists, ["official", "broken"])), text


explore(
    draw_broken,
    query=ipywidgets.IntSlider(0, 0, len(q_pids) - 1),
    rule=ipywidgets.ToggleButtons(options=BROKEN, value=BROKEN[0]),
    by=ipywidgets.ToggleButtons(options=list(features)),
)

# %% [markdown]
# ## The floor moves
#
# How good is "mAP 20 %"? That depends on the gallery. A right image is found by chance more easily among a hundred
# than among twenty thousand. So here are random features twice: in this test, and in one of the size of Market-1501,
# with 3,368 queries of 750 identities and a gallery of 13,115 good images, 2,798 distractors and 3,819 junk boxes
# (the paper's 19,372 is a slip for 19,732, their sum). It also shows what the library's ranking costs, on one core.

# %%
rng = np.random.default_rng(SEED)
large = np.concatenate([rng.integers(1, 751, 13_115), np.full(2_798, DISTRACTOR), np.full(3_819, JUNK)])
people, views = rng.integers(1, 751, 3_368), [rng.integers(1, 7, n) for n in (3_368, len(large))]
vectors = evaluation.random_features(3_368 + len(large), SEED)
begun = time.perf_counter()
at_size = evaluation.rank(vectors[:3_368], vectors[3_368:], people, views[0], large, views[1])
print(f"3,368 × {len(large):,} ranked in {time.perf_counter() - begun:.1f} s")
print("random features there:", at_size)
print("random features here: ", ", ".join(f"{key} {score:.2%}" for key, score in row(features["guessing"]).items()))

# %% [markdown]
# The same ignorance, and mAPs that differ many times over. **Scores from different galleries cannot be compared.**
#
# This matters for the paper's Table 1. Its two ResNet-50 rows for people, 14.19 and 21.35 (with SPGAN), are printed in
# the development kit of the VisDA-2020 challenge. The kit does not say which images they were measured on. Its test
# program reads the challenge's `target_validation`: 377 queries of 100 identities, a gallery of 2,944 (the kit's
# code). So most likely it was that set, and not Market-1501's 3,368 queries and 19,732 images: **an inference**. The
# kit averages precisions, eq. (b) (its code); the paper's own definition is unknown.
#
# The abstract's "4.84 lower than ResNet-50" (21.35 − 16.48 is 4.87) therefore compares two exams. And it leaves
# something out: without SPGAN, ResNet-50 has 14.19, *less* than the 16.48 of NAS on S+R. §3.5 says that NAS is worse
# "whether the data is S or R+S". That, too, compares two exams. The kit's ResNets begin with ImageNet's weights (its
# code), the searched networks with none (an inference: the paper names no weights).
#
# So a table needs floors that were measured on the very same test. `nasda.evaluation.floors` gives two, random
# features and the histogram. A third one is worth having: the network before its training.

# %% [markdown]
# ## Use it: training on the source and on the target
#
# Random cells, trained from nothing, three seeds, twice: on the source (**cross-domain**) and on the target's own
# training split (**in-domain**). In-domain has the labels that are said to be missing, so it does not compete: it shows
# what the test allows. All are tested on the same queries, by *your* evaluator. At `tiny` this takes seconds and shows
# how to look, not what is true; at `laptop` it takes minutes. The runs lie in folders beside the others, and are not
# repeated when you come back.


# %%
SEEDS, SPACE = range(SEED, SEED + 3), course.settings.space
EPOCHS = 10 if PROFILE == "tiny" else course.settings.train.epochs
CELLS = {seed: random_genotype(SPACE.nodes, SPACE.primitives, seed) for seed in SEEDS}


def trained(train_on: str, seed: int) -> torch.nn.Module:
    """A network of random cells, trained here or found in its folder."""
    experiment = Experiment(course.experiment.path / "evaluation" / f"seed{seed}")
    recipe = changed(course.settings, train={"train_on": train_on, "epochs": EPOCHS})
    begun = time.perf_counter()
    with redirect_stdout(StringIO()):  # what it would print is in the folder's log.jsonl
        folder = experiment.training("random", train_on)
        network = run_training(folder, course.task, CELLS[seed], recipe, seed=seed, device=course.device)
    print(f"trained on the {train_on}, seed {seed}: {EPOCHS} epochs, {time.perf_counter() - begun:.0f} s", flush=True)
    return network


networks = {(where, seed): trained(where, seed) for where in ("source", "target") for seed in SEEDS}

# %% [markdown]
# Each network turns all test images into features of unit length (`nasda.evaluation.extract`); you score them. The
# table has a list over seeds in each row, printed as mean ± standard deviation. A histogram has no seed.


# %%
def seen_by(network):
    """The features of queries and gallery as one network sees them."""
    begun = time.perf_counter()
    pair = [evaluation.extract(network, images).numpy() for images in (query_images, gallery_images)]
    print(f"{len(gallery)} + {len(queries)} images in {time.perf_counter() - begun:.1f} s", flush=True)
    return pair


for seed in SEEDS:
    features["untrained", seed] = seen_by(make_network(CELLS[seed], SPACE, 2, seed=seed).to(course.device))
    features["cross-domain", seed] = seen_by(networks["source", seed])
    features["in-domain", seed] = seen_by(networks["target", seed])
    random = evaluation.random_features(len(queries) + len(gallery), seed).numpy()
    features["random features", seed] = random[: len(queries)], random[len(queries) :]

# %%
rows = {name: [row(features[name, seed]) for seed in SEEDS] for name in ("random features", "untrained")}
rows["colour histogram"] = [official]
rows |= {name: [row(features[name, seed]) for seed in SEEDS] for name in ("cross-domain", "in-domain")}
print(results_table(rows))

# %%
chance = {"mAP": np.mean([r["mAP"] for r in rows["random features"]])}
chance["rank-1"] = np.mean([r["rank1"] for r in rows["random features"]])
plots.metrics_bars(results_columns(rows), chance)

# %% [markdown]
# Read such a picture from the top down, the floors first. Does training lift the network over its *untrained* self?
# Over the histogram? How far apart do the dots of one bar lie? A picture is no verdict, though. Suppose one bar lies
# above another in all three seeds. Without any difference, each seed is a coin: above or below.

# %% [markdown]
# Predict: in which share of such experiments do three fair coins show the same side?

# %%
guess = predict("05.e", ..., unit="of 1")

# %%
tossed = [(a, b, c) for a in "+-" for b in "+-" for c in "+-"]
alike = np.mean([len(set(coins)) == 1 for coins in tossed])
print(" ".join("".join(coins) for coins in tossed), f"-> alike in {alike:.3f} of them")
guess.against(float(alike))

# %% [markdown]
# One in four. So three seeds that agree show nothing. This is the rule of the whole course: a difference **is shown**
# when the sign-flip test gives p ≤ 0.05. p is the share of coin tosses that would give a mean difference as large as
# the measured one; notebook 06 builds the test. With n seeds p is at least $2^{1-n}$, so fewer than six can show
# nothing. The interval beside it says how large the difference may be. It decides nothing.

# %%
of = {name: [score["mAP"] for score in scores] for name, scores in rows.items()}
of["colour histogram"] *= len(SEEDS)  # the same for each seed
PAIRS = ("cross-domain", "untrained"), ("cross-domain", "colour histogram"), ("in-domain", "cross-domain")
for pair in PAIRS:
    by_seed = [dict(zip(SEEDS, of[name], strict=True)) for name in pair]
    print(sentence(*pair, compare(*by_seed)))

# %% [markdown]
# At `tiny` a colour histogram may well beat every network, also one that was trained on the target, and an honest table
# shows that. A `tiny` training takes about ninety steps. The README has a larger comparison.

# %% [markdown]
# ## The other luck: who was asked
#
# Seeds are one source of chance. The test is another: with other people, the same features would have another score.
# We cannot draw new identities, but we can draw from those we have, with repetition, and watch the mean move: the
# **bootstrap**. Whole identities are drawn, not queries, because the queries of one identity are easy or hard
# together.


# %%
def interval(precisions, times=2000):
    """Where 95 % of the mAPs lie if the identities of the test are drawn anew."""
    members = np.unique(some_pids)[:, None] == some_pids
    drawn = np.random.default_rng(SEED).integers(len(members), size=(times, len(members)))
    sums, numbers = members @ precisions, members.sum(axis=1)
    return np.quantile(sums[drawn].sum(axis=1) / numbers[drawn].sum(axis=1), [0.025, 0.975])


has_right = np.array([len(of_query) > 0 for of_query in ours])
some_pids = q_pids[has_right]  # of the queries that can be scored
low, high = interval(np.array([average_precisions(of_query)[0] for of_query in scored]))
print(f"colour histogram: mAP {official['mAP']:.1%} on {len(np.unique(some_pids))} identities;")
print(f"others might have given {low:.1%} to {high:.1%}")

# %% [markdown]
# With the dozen identities of `tiny` that band is wide. It shrinks with the square root of their number: with
# Market-1501's 750 it is about an eighth as wide as with 12. But two networks tested on the *same* queries share that
# luck: an identity that is hard for one is often hard for the other.

# %% [markdown]
# ### Exercise 05.7 ●●● · importance ●●● (30 minutes)
#
# Compare two networks query by query. `first` and `second` hold their average precisions for the same queries, and
# `pids` the queries' identities, in any order. Take the differences, first less second. Average them within each
# identity, so that each identity counts once. Return three things:
#
# 1. the mean of these n averages;
# 2. its standard error: their sample standard deviation (with n − 1), divided by √n;
# 3. for how many identities the average is above 0.


# %% tags=["exercise"]
def paired(first, second, pids):
    """Mean of first − second over identities, its standard error, and how many identities are above 0."""
    ...


# %%
check("05.7", paired)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Make the differences first, one a query. `np.unique(pids)` gives each identity once.
# </details>
# <details><summary>Hint 2</summary>
#
# `differences[pids == pid].mean()` is one identity's average. Collect these averages in an array.
# </details>
# <details><summary>Hint 3</summary>
#
# `np.std` divides by n unless it is told `ddof=1`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def paired(first, second, pids):
#     """Mean of first − second over identities, its standard error, and how many identities are above 0."""
#     differences = np.asarray(first) - np.asarray(second)
#     averages = np.array([differences[np.asarray(pids) == pid].mean() for pid in np.unique(pids)])
#     error = averages.std(ddof=1) / np.sqrt(len(averages))
#     return averages.mean(), error, np.sum(averages > 0)
# ```
# </details>

# %%
paired = mine("05.7")  # yours, or the library's

# %% [markdown]
# Take two cross-domain networks, with two random cells. Which cell is the better one? If we forgot that both were asked
# the same queries, the error of their difference would be the root of the sum of both squared errors.

# %% [markdown]
# Predict: is the error of the *paired* difference `"smaller"` or `"larger"` than that?

# %%
guess = predict("05.f", ..., "smaller", "larger")

# %%
CELL_A, CELL_B = names = f"cell of seed {SEED}", f"cell of seed {SEED + 1}"
precisions = {}
for name, seed in zip(names, SEEDS[:2], strict=True):
    found = ranks(*features["cross-domain", seed], *ids)
    precisions[name] = np.array([average_precisions(of_query)[0] for of_query in found if len(of_query)])
mean, error, above = paired(precisions[CELL_A], precisions[CELL_B], some_pids)
alone = [paired(values, np.zeros(len(values)), some_pids)[1] for values in precisions.values()]
unpaired = np.sqrt(np.square(alone).sum())
print(f"{CELL_A} less {CELL_B}: {100 * mean:+.1f} points, above for {above} of {len(np.unique(some_pids))}")
print(f"standard error: paired {100 * error:.1f} points, as if unpaired {100 * unpaired:.1f}")
guess.against("smaller" if error < unpaired else "larger")

# %% [markdown]
# Pairing is right in any case. It helps as far as the same people are hard for both networks.
#
# The library pairs in the same way, and adds the verdict. **What a pair is decides what is claimed.** Here it is an
# identity: the sentence is about *these two networks*, each trained once, and says what other people might give. It
# says nothing of the cells: another training of the same cell may turn the order over. For that claim a pair has to be
# a seed, as above.

# %%
by_identity = [
    {int(pid): float(values[some_pids == pid].mean()) for pid in np.unique(some_pids)} for values in precisions.values()
]
found = compare(*by_identity, "identity")
print(sentence(*names, found, unit="identity"))
assert found is None or np.isclose(found.mean, mean)

# %% [markdown]
# A word on p. It is exact if, without a difference, the two scores of a pair could be swapped. One network against one
# network: yes. One network against the *mean of two* (notebook 06 has rows with two random cells a seed): not quite. A
# mean swings less, and of studies without a difference up to 7 % then show one instead of 5 %, if scores are skewed
# (measured here, by simulation: `tests/study/test_statistics.py`).

# %% [markdown]
# Before you believe a row of a table, look at what it finds. Here are two queries, each answered by two networks of
# the same cells: one was trained on the source (cross-domain), the other on the target (in-domain). Look at the
# backgrounds: which of the two networks has learnt to ignore them?

# %% tags=["thumbnail"]
shown, orders, titles = shown[[0, 2]].repeat(2), [], []
for index, query in enumerate(shown):
    name = ("cross-domain", "in-domain")[index % 2]
    orders.append(ranked_gallery(*features[name, SEED], *ids, query=int(query), top=10))
    titles.append(f"id {q_pids[query]}\n{name}")
hits = [(g_pids[order] == q_pids[query]).tolist() for query, order in zip(shown, orders, strict=True)]
lists = [order.tolist() for order in orders]
pixels = [query_pixels[query] for query in shown]
figure = plots.retrieval_gallery(pixels, gallery_pixels, lists, hits, titles)
plots.light(figure)

# %% [markdown]
# ## What did we learn?
#
# Is it any good, and would you know if it weren't? Now you would:
#
# 1. All scores come from the ranks of the right images, and a rank is one plus the number of images that are nearer,
#    with a stated rule for ties.
# 2. Two scores are called mAP, the mean of precisions and the trapezoid area; the second is never larger, and which of
#    the two the paper printed is not known.
# 3. The camera rule decides what is measured: without it, a colour histogram that finds 22 % on Market-1501 seems to
#    find 96 %.
# 4. A score means something between floors from the same test (chance, colours, the untrained network), and scores
#    from different galleries cannot be compared.
# 5. Two rows are compared in pairs, and what a pair is decides what is claimed: identities for two networks, seeds for
#    two ways of training, of which three show nothing.
#
# ## Further reading
#
# - L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian: *Scalable Person Re-identification: A Benchmark.* ICCV
#   2015. Market-1501 and its protocol.
# - X. Liu, W. Liu, T. Mei, H. Ma: *A Deep Learning-Based Approach to Progressive Vehicle Re-identification for Urban
#   Surveillance.* ECCV 2016. VeRi-776.
# - J. Davis, M. Goadrich: *The Relationship Between Precision-Recall and ROC Curves.* ICML 2006. Why straight lines
#   between points of a precision–recall curve are not innocent.
# - K. Musgrave, S. Belongie, S.-N. Lim: *A Metric Learning Reality Check.* ECCV 2020. What is left of years of
#   progress under one protocol.
# - B. Efron, R. Tibshirani: *An Introduction to the Bootstrap.* Chapman & Hall, 1993.
# - M. Ye, J. Shen, G. Lin, T. Xiang, L. Shao, S. C. H. Hoi: *Deep Learning for Person Re-identification: A Survey and
#   Outlook.* IEEE TPAMI, 2022. Proposes a score for the hardest right image, mINP.
#
# [← 04 Bilevel search](04_bilevel_search.ipynb) · [06 Closing the gap →](06_closing_the_gap.ipynb)
