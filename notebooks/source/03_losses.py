# %% [markdown]
# # 03 · Losses
#
# **What should a re-identification network be told?**
#
# A re-ID network is trained on some people, or cars, and tested on others. Nobody of the test was ever in its
# training set, so it cannot answer with a name. It can only place images in a space, and it is right where images of
# one stranger lie closer together than images of two. What, then, should it be told while it learns: who this is, or
# who is nearer to whom? The paper tells it both (eqs. 7 to 9). Its two formulas cannot be used as they are printed,
# and this notebook finds out why.
#
# **You will be able to**
#
# - write cross-entropy and the batch-hard triplet loss in a few lines, and say what each asks of a feature,
# - read a distance matrix, and predict which pairs of a batch are mined,
# - say why batches are drawn as P identities × K images, and what one image an identity does to the search,
# - find slips in a printed formula by looking at its slope.
#
# **You need to know** PyTorch's tensors and `backward()`, and what an identity, a query and a gallery are.
#
# *Times are filled in here when the notebook is executed.*

# %%
import math

import ipywidgets
import torch
from IPython.display import display
from tqdm.auto import tqdm

from nasda.course import nb03_losses as lesson
from nasda.course.check import check
from nasda.course.open import open_course
from nasda.data.images import normalize
from nasda.data.sampling import ClassBalancedSampler
from nasda.data.store import stored
from nasda.data.task import class_labels
from nasda.errors import NasdaError
from nasda.evaluation import evaluate, floors
from nasda.losses import mine_hardest, pairwise_distances, retrieval_loss, softmax_loss, triplet_loss
from nasda.pictures.palette import BLUE, ORANGE
from nasda.pictures.plots import Plot
from nasda.pictures.widgets import explore

# %% tags=["parameters"]
PROFILE: str = "tiny"  # tiny, laptop, gpu, paper
TASK: str = "person"  # person, vehicle
DATA_ROOT: str = ""  # empty: the built-in data; else the folder that holds the real data sets
SEED: int = 0

# %% [markdown]
# The domain gap is not the subject here, so everything stays in one domain: the target's training images to learn
# from, its query and gallery to be tested on. A class label is made of each identity's number, for training only.

# %%
course = open_course(PROFILE, TASK, DATA_ROOT, SEED)
target, size = course.task.target, (course.settings.data.height, course.settings.data.width)
label_of = class_labels(target.train)
labels = torch.tensor([label_of[sample.pid] for sample in target.train])
pixels = stored(target.train, *size)
classes = len(label_of)
print(f"{target.name}: {len(labels)} training images of {classes} identities, {size[0]} × {size[1]}")

# %% [markdown]
# ## 1 · Tell it names
#
# The oldest idea: pretend that re-ID is classification. A network makes a feature $f$ of an image, and a head on top
# makes $C$ logits $h$, one for each training identity. After training the head is thrown away. The paper prints
#
# $$L_s = \sum_{i=1}^{N} -\log \frac{\exp(h_i[c])}{\sum_{c'=1}^{C} \exp(h_i[c'])} \tag{7}$$
#
# and says that $h_i[c]$ is "the c-th element in $h_i$". Two slips hide in it. The numerator needs the *label* of image
# $i$, which the text never introduces, so $c$ has to be both an index and the label. And it is a sum, over $N$ "samples
# during training". We write $y_i$ for the label, and take the mean over a batch of $B$ images:
#
# $$L_s = \frac{1}{B} \sum_{i=1}^{B} -\log \frac{\exp(h_i[y_i])}{\sum_{c'=1}^{C} \exp(h_i[c'])} \tag{7}$$
#
# Why the mean matters is the subject of section 4. First, in code. Subtracting the largest logit changes nothing in
# the fraction, and keeps `exp` from overflowing.


# %%
def cross_entropy(logits, labels):
    """Eq. 7 with a mean: (B, C) logits and (B,) labels, in nats."""
    shifted = logits - logits.max(dim=1, keepdim=True).values
    log_probability = shifted - shifted.exp().sum(dim=1, keepdim=True).log()
    return -log_probability[torch.arange(len(labels)), labels].mean()


# %% [markdown]
# We need a network to try it on. `lesson.untrained` is a small one: three convolutions and a linear layer to a
# feature of 64 numbers, then the head. It has learnt nothing, so its logits are nearly equal, every identity gets a
# probability near $1/C$, and the loss should be near $\log C$. That is worth checking in any project: a first loss
# far from $\log C$ is a bug before it is a result. In the library eq. 7 is `nasda.losses.softmax_loss`.


# %%
def look(network, images):
    """Features and logits of uint8 images, without gradients."""
    with torch.no_grad():
        features, logits = network(normalize(images.to(course.device)))
    return features.cpu(), logits.cpu()


network = lesson.untrained(course, SEED)
features, logits = look(network, pixels[:32])
ours, library = cross_entropy(logits, labels[:32]), softmax_loss(logits, labels[:32])
assert torch.allclose(ours, library)
print(f"ours {ours:.4f}, nasda.losses.softmax_loss {library:.4f}, log {classes} = {math.log(classes):.4f}")

# %% [markdown]
# Note what eq. 7 does *not* ask. The logits are linear in $f$, so it is content once planes lie between the
# identities. Two images of one identity may be far apart in $f$, as long as they are on the same side of every plane.
# And a longer $f$ makes larger logits and a smaller loss, so it goes on pulling outwards when all is already right. A
# gallery, though, is sorted by distance, and it has no planes for strangers.

# %% [markdown]
# ## 2 · Tell it who is nearer
#
# So we ask for what the test asks for. Take an image, the anchor, at distance $d_p$ from another image of its
# identity and at $d_n$ from an image of somebody else. We want $d_p < d_n$, with some room to spare. The paper prints
#
# $$L_t = \sum_{i=1}^{N} \max(margin,\; \|f_i - f_i^p\| - \|f_i - f_i^n\|) \tag{8}$$
#
# A loss teaches through its slope, so draw the slope: below, arrows point where gradient descent moves the two
# distances, and grey marks where it does not move at all. **Move the margin.** A larger margin ought to ask for more.


# %%
def draw(margin):
    line = torch.linspace(0, 1.5, 301)
    d_p, d_n = torch.meshgrid(line, line, indexing="xy")
    wrong = d_p > d_n
    silent = {"printed": d_p - d_n <= margin, "corrected": margin + d_p - d_n <= 0}
    shares = {name: f"{(flat & wrong).sum() / wrong.sum():.0%}" for name, flat in silent.items()}
    return lesson.landscapes(margin), (
        f"Margin {margin:.1f}. Triplets in the wrong order, d_p > d_n, lie below the dashed line. "
        f"Of them get no slope at all: {shares['printed']} as printed, {shares['corrected']} corrected."
    )


explore(draw, margin=ipywidgets.FloatSlider(value=0.3, min=0, max=1, step=0.1))

# %% [markdown]
# As printed, the loss is never below the margin, and where $d_p - d_n$ lies below the margin it has no slope. It does
# not only fail to ask for room: it accepts strangers that are *nearer* than the anchor's own images, and more of them
# the larger the margin. Only at margin 0 do both forms agree.

# %% [markdown]
# ### Exercise 03.1 ●○○ (5 minutes)
#
# Correct eq. 8 for a single triplet: no loss where the positive is nearer than the negative by at least the margin,
# growing by 1 for each unit of distance that is missing.


# %% tags=["exercise"]
def triplet(positive, negative, margin):
    """The loss of one triplet, from its two distances."""
    ...


# %%
check("03.1", triplet)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The two arguments of the maximum are "nothing to complain about" and "how much is missing". Which of the two should
# the margin be part of?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def triplet(positive, negative, margin):
#     return max(0, margin + positive - negative)
# ```
# </details>

# %% [markdown]
# ## 3 · Which triplets?
#
# A batch of 32 holds thousands of triplets, and most are satisfied early. Hermans et al. (2017) take one for each
# anchor, the hardest: the *farthest* image of its identity and the *nearest* of another. The paper names the hardest
# positive only; a negative has to be chosen, too, and we read it as the nearest:
#
# $$L_t = \frac{1}{B} \sum_{i=1}^{B} \max\bigl(0,\; margin + \max_{y_p = y_i,\, p \neq i} \|f_i - f_p\| -
# \min_{y_n \neq y_i} \|f_i - f_n\|\bigr) \tag{8}$$
#
# It is computed on the feature $f$, because $f$ is what the test compares; some public re-implementations take the
# logits. The distances are not squared; Hermans et al. found squared ones to collapse more easily (exercise 03.5). A
# mask for "same identity" turns mining into a maximum and a minimum over rows of the distance matrix.


# %%
def batch_hard(features, labels, margin):
    """Eq. 8, corrected: (B, D) features and (B,) labels."""
    difference = features.unsqueeze(1) - features.unsqueeze(0)
    distances = difference.square().sum(dim=2).clamp(min=1e-12).sqrt()
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    itself = torch.eye(len(labels), dtype=torch.bool)
    farthest_positive = distances.masked_fill(~same | itself, -torch.inf).amax(dim=1)
    nearest_negative = distances.masked_fill(same, torch.inf).amin(dim=1)
    return (margin + farthest_positive - nearest_negative).clamp(min=0).mean()


# %% [markdown]
# The clamp before the root is no decoration: the slope of $\sqrt{x}$ at 0 is infinite, and every image is at distance 0
# from itself. The mask hides the diagonal from the loss, but 0 · ∞ on the way back is `nan`, in every weight. In the
# library mining is `mine_hardest` on `pairwise_distances`, and the
# loss is `triplet_loss`. Value and gradient have to agree.

# %%
batch = ClassBalancedSampler(labels, 8, 4, SEED).next_batch()
points = torch.randn(32, 16, generator=torch.Generator().manual_seed(SEED)).requires_grad_()
ours, library = batch_hard(points, labels[batch], 0.3), triplet_loss(points, labels[batch], 0.3)
slopes = [torch.autograd.grad(loss, points)[0] for loss in (ours, library)]
assert torch.allclose(ours, library)
assert torch.allclose(*slopes, atol=1e-6)
print(f"ours {ours:.4f}, nasda.losses.triplet_loss {library:.4f}; their gradients agree")

# %% [markdown]
# ### Exercise 03.2 ●●○ (15 minutes)
#
# Masks are short, and easy to get wrong: one mistaken `~` and a network learns the opposite. So write the mining
# again in plain loops, to check the masks against. Return a list with a pair for each anchor: the index of its
# hardest positive and of its hardest negative. An image is not its own positive; where there is none, the index is
# `None`.


# %% tags=["exercise"]
def hardest(distances, labels):
    """[(hardest positive, hardest negative), …] as indices, from (B, B) distances and (B,) labels."""
    ...


# %%
check("03.2", hardest)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For each anchor make a list of the indices of its positives and one of its negatives.
# `max(indices, key=…, default=None)` finds the index whose distance is largest, and copes with an empty list.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def hardest(distances, labels):
#     found = []
#     for anchor in range(len(labels)):
#         others = [i for i in range(len(labels)) if i != anchor]
#         positives = [i for i in others if labels[i] == labels[anchor]]
#         negatives = [i for i in others if labels[i] != labels[anchor]]
#         distance = distances[anchor].tolist().__getitem__
#         found.append((max(positives, key=distance, default=None), min(negatives, key=distance, default=None)))
#     return found
# ```
# </details>

# %% [markdown]
# ### A batch has to be composed for this
#
# An anchor without a second image of its identity in the batch has no positive. Draw $B$ images at random from $C$
# identities of equal size, and an anchor finds one with probability $1 - (1 - 1/C)^{B-1}$, nearly. How often is that?
# First count, on this task's labels.


# %%
def share_with_positive(size, generator, draws=50):
    """Of random batches: the share of images that have a positive beside them."""
    chosen = [torch.randperm(len(labels), generator=generator)[:size] for _ in range(draws)]
    drawn = labels[torch.stack(chosen)]
    same = drawn.unsqueeze(2) == drawn.unsqueeze(1)
    return float((same.sum(dim=2) > 1).double().mean())


sizes = [2, 4, 8, 16, 32, 64, 128]
generator = torch.Generator().manual_seed(SEED)
counted = [share_with_positive(size, generator) for size in sizes]

# %% [markdown]
# Then draw the formula beside it, also for the number of training identities that the real data sets have.

# %%
figure = Plot(7, 3.4)
axes = figure.subplots()
lines = torch.arange(2, 129)
known = {"here": classes, "PersonX": 410, "Market-1501": 751, "VehicleX": 1362}
for (name, count), style in zip(known.items(), ("-", "--", "-.", ":"), strict=True):
    share = 1 - (1 - 1 / count) ** (lines - 1)
    axes.plot(lines, 100 * share, style, color=BLUE, label=f"{name}: {count:,}")
axes.plot(sizes, [100 * share for share in counted], "o", color=ORANGE, label="here, counted")
axes.set(xscale="log", xlabel="images in a random batch", ylabel="anchors with a positive, %")
axes.set_xticks(sizes, [str(size) for size in sizes])
axes.minorticks_off()
axes.legend(title="identities", frameon=False)
display(figure)

# %% [markdown]
# With as many identities as a real data set has, most images of a random batch of 64, the paper's size, would teach
# the triplet loss nothing. Hence §2.2's class-balanced sampler: P identities, then K images of each. Every anchor
# then has K − 1 positives and (P − 1) K negatives.


# %%
def draw_batch(identities, images, generator):
    """The indices of K images of each of P identities."""
    parts = []
    for identity in torch.randperm(classes, generator=generator)[:identities]:
        candidates = torch.nonzero(labels == identity).flatten()
        parts.append(candidates[torch.randperm(len(candidates), generator=generator)[:images]])
    return torch.cat(parts)


P, K = min(8, classes), min(4, int(labels.bincount().min()))
ours = draw_batch(P, K, torch.Generator().manual_seed(SEED))
assert torch.equal(ours, ClassBalancedSampler(labels, P, K, SEED).next_batch())
print(f"{P} × {K}, drawn by both:", *ours.tolist())

# %% [markdown]
# The first batch agrees with `nasda.data.sampling.ClassBalancedSampler`'s, image by image. Later ones do not, on
# purpose. Ours draws the identities anew for each batch, so chance leaves some out for long. The library deals them
# out like cards: a shuffled list runs on across batches, and is shuffled again when it is used up. Both are
# "uniform"; count how often each identity is seen.

# %%
generator, sampler = torch.Generator().manual_seed(SEED), ClassBalancedSampler(labels, P, K, SEED)
batches = 2 * classes
draws = {"ours": lambda: draw_batch(P, K, generator), "library": sampler.next_batch}
for name, next_batch in draws.items():
    drawn = torch.cat([labels[next_batch()] for _ in range(batches)])
    seen = drawn.bincount(minlength=classes) // K
    print(f"{name:8} in {batches} batches an identity is seen {seen.min()} to {seen.max()} times")

# %% [markdown]
# ## 4 · Tell it both
#
# Names teach steadily: every image of every batch is compared with all identities there are. Neighbours teach what
# the test asks, but only from one batch at a time, and only from its hardest pairs. The paper, like Auto-ReID before
# it, takes both, with $\lambda = 0.5$:
#
# $$L_{ret} = \lambda L_s + (1 - \lambda) L_t \tag{9}$$

# %%
logits = torch.randn(32, classes, generator=torch.Generator().manual_seed(SEED))
names, neighbours = cross_entropy(logits, labels[batch]), batch_hard(points, labels[batch], 0.3)
ours = 0.5 * names + (1 - 0.5) * neighbours
library = retrieval_loss(points, logits, labels[batch], margin=0.3, balance=0.5)
assert torch.allclose(ours, library)
print(f"ours {ours:.4f}, nasda.losses.retrieval_loss {library:.4f}")

# %% [markdown]
# Now to the sum in eq. 7. Mix a *summed* $L_s$ with an *averaged* $L_t$, as happens when they come from different
# hands, and $\lambda$ no longer means one thing. Watch the share that neighbours have in the loss.

# %%
print("neighbours' share of eq. 9 at λ = 0.5\nbatch   eq. 7 with a mean   with a sum")
for identities in (2, 4, P):
    batch = ClassBalancedSampler(labels, identities, K, SEED).next_batch()
    features, logits = look(network, pixels[batch])
    names, neighbours = softmax_loss(logits, labels[batch]), triplet_loss(features, labels[batch], 0.3)
    shares = [neighbours / (term + neighbours) for term in (names, len(batch) * names)]
    print(f"{len(batch):5}{shares[0]:20.1%}{shares[1]:13.1%}")

# %% [markdown]
# To be fair to the paper: it prints a sum in eq. 8 as well. With two sums $\lambda$ keeps its meaning, but the
# gradient is $B$ times as long. SGD, which learns ω there (§3.3), then takes steps $B$ times as long, while Adam,
# which learns α, divides the length out again: the batch size would silently change how fast ω learns in comparison
# with α. With means, λ keeps its meaning and the steps keep their length.

# %% [markdown]
# ### Exercise 03.3 ●●○ (10 minutes)
#
# Somebody sums eq. 7 over a batch, averages eq. 8, and mixes them with `balance`. Which λ, with means in both terms,
# has a gradient of the same *direction*?


# %% tags=["exercise"]
def balance_in_effect(balance, batch):
    """The λ for two means that stands for `balance` with a sum over `batch` images in eq. 7."""
    ...


# %%
check("03.3", balance_in_effect)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The sum is `batch` times the mean. Write the loss as $a L_s + b L_t$ with both means, then find the factor that
# makes $a + b = 1$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def balance_in_effect(balance, batch):
#     names, neighbours = balance * batch, 1 - balance
#     return names / (names + neighbours)
# ```
# </details>

# %% [markdown]
# ## 5 · Watch it mine
#
# Below is one batch of this task. The matrix holds the distances between all its features; every row is an anchor, in
# blue its hardest positive, in red its hardest negative. The bars are the anchors' losses. Three networks have been
# trained for a few epochs, each told something else (section 7 says how). Dark blocks along the diagonal are what
# training is for: images of one identity that lie close together.

# %%
told = {"both (λ = 0.5)": 0.5, "names only (λ = 1)": 1.0, "neighbours only (λ = 0)": 0.0}
networks = {name: lesson.trained(course, balance, SEED) for name, balance in told.items()}
networks["untrained"] = network


# %% tags=["thumbnail"]
def draw(P, K, margin, λ, network):
    batch = ClassBalancedSampler(labels, P, K, SEED).next_batch()
    (features, logits), own = look(networks[network], pixels[batch]), labels[batch]
    names, neighbours = softmax_loss(logits, own), triplet_loss(features, own, margin, literal=True)
    mined = mine_hardest(pairwise_distances(features), own)
    gap = (mined.positive - mined.negative)[mined.valid]
    words = (
        f"{P} × {K} = {len(batch)} images. Names (eq. 7) {names:.3f}, neighbours (eq. 8) {neighbours:.3f}, "
        f"together (eq. 9, λ = {λ:.1f}) {λ * names + (1 - λ) * neighbours:.3f}.\n"
        f"Margin {margin:.1f}: of {len(batch)} anchors {len(gap)} have a positive and a negative, "
        f"{(gap > -margin).sum()} have a loss, and for {(gap > 0).sum()} another identity is nearer."
    )
    return lesson.mined_batch(pixels[batch], pairwise_distances(features), own, margin), words


explore(
    draw,
    P=ipywidgets.IntSlider(value=6, min=2, max=P),
    K=ipywidgets.IntSlider(value=4, min=1, max=6),
    margin=ipywidgets.FloatSlider(value=0.3, min=0, max=2, step=0.1),
    λ=ipywidgets.FloatSlider(value=0.5, min=0, max=1, step=0.1),
    network=ipywidgets.Dropdown(options=list(networks)),
)

# %% [markdown]
# Try these in turn. (A larger P or K adds images here and keeps the others.) **P up:** each anchor's nearest negative
# can only come nearer, so the same network looks worse in a larger batch. **K up:** the farthest positive can only be
# farther. **Margin up:** frames stay where they are, because mining does not know the margin; more anchors get a bar.
# **Names only:** distances of another scale, since eq. 7 never asked for one. **λ:** nothing is mined differently;
# only the sum changes. Where red frames share a column, one odd image is everybody's hardest negative, which is why a
# single wrong label does much harm here. Finally, **K = 1**: there are no frames and no bars.

# %% [markdown]
# ### Break it: one image an identity
#
# §3.1 takes as validation set *one picture of each identity*, and §2.2 learns α on it "with $L_t$". (Algorithm 1 says
# with eq. 9; but the logits are the source's identities, and say nothing of the target's.) Here is such a batch, on
# the untrained network: first the library's answer, then its literal mode.

# %%
lonely = ClassBalancedSampler(labels, P, 1, SEED).next_batch()
features = look(network, pixels[lonely])[0].requires_grad_()
try:
    triplet_loss(features, labels[lonely], 0.3)
except NasdaError as error:
    print(f"NasdaError: {error}\n")
loss = triplet_loss(features, labels[lonely], 0.3, literal=True)
(slope,) = torch.autograd.grad(loss, features)
print(f"literal: loss {loss:.3f}, length of the gradient {slope.norm():.3f}")

# %% [markdown]
# Nothing arrives at α: only weight decay still moves them, towards "undecided". Noise would decide which cell is
# found in the end. A program may hide this. Forget to exclude the diagonal, and an image is its own positive at
# distance 0:

# %%
distances = pairwise_distances(features)
same = labels[lonely].unsqueeze(1) == labels[lonely].unsqueeze(0)
own_positive = distances.masked_fill(~same, -torch.inf).amax(dim=1)
nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
loss = (0.3 + own_positive - nearest).clamp(min=0).mean()
(slope,) = torch.autograd.grad(loss, features)
print(f"loss {loss:.3f}, length of the gradient {slope.norm():.3f}")

# %% [markdown]
# Now there is a gradient, and it says "push everybody apart": repulsion, without a word on who belongs together. The
# paper's text does not tell which of the two its program did. In this course K ≥ 2 is the rule, and `--literal` has
# to be asked for.

# %% [markdown]
# ### Exercise 03.4 ●○○ (5 minutes)
#
# How many anchors of a batch can the triplet loss use at all? It takes a positive *and* a negative.


# %% tags=["exercise"]
def usable_anchors(labels):
    """How many images have a positive and a negative beside them; `labels` is a list of integers."""
    ...


# %%
check("03.4", usable_anchors)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `labels.count(label)` counts an image itself, too. What does it have to be for a positive to exist, and what for a
# negative?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def usable_anchors(labels):
#     return sum(1 < labels.count(label) < len(labels) for label in labels)
# ```
# </details>

# %% [markdown]
# ## 6 · See it learn
#
# A feature of two numbers can be drawn. We take the network once more with $f$ in the plane, and train it on six
# identities only, three times from the same beginning: told names, told neighbours, told both. Four further
# identities are never trained on: strangers, as in the test. This is the whole training loop.

# %%
STEPS = (0, 5, 10, 20, 40, 80, 120)
is_known, is_strange = labels < 6, (labels >= 6) & (labels < 10)
known_pixels, known_labels = pixels[is_known], labels[is_known]


def watch(balance):
    network = lesson.SmallNetwork(2, 6, SEED, channels=8).to(course.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    sampler, film = ClassBalancedSampler(known_labels, 6, 4, SEED), {}
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            known, strange = (look(network.eval(), p)[0] for p in (known_pixels, pixels[is_strange]))
            film[step] = lesson.Snapshot(known, known_labels, strange, labels[is_strange])
        chosen = sampler.next_batch()
        features, logits = network.train()(normalize(known_pixels[chosen].to(course.device)))
        own = known_labels[chosen].to(course.device)
        loss = retrieval_loss(features, logits, own, margin=0.3, balance=balance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return film


films = {"names only": watch(1.0), "neighbours only": watch(0.0), "both": watch(0.5)}
lesson.film(films, (0, 10, 40, 120))

# %% [markdown]
# Compare the axes. Names make rays that run outwards, each identity in a direction of its own, because a longer $f$
# makes a name more certain. Neighbours make islands, and stop once the margin lies between them. Strangers land
# somewhere among the known, as combinations of what was learnt. Step through it:


# %%
def draw(step, told):
    snapshot = films[told][step]
    figure = Plot(6, 4.4)
    axes = figure.subplots()
    lesson.draw_snapshot(axes, snapshot, size=30)
    axes.set(xlabel="$f_1$", ylabel="$f_2$")
    known, strangers = snapshot.found()
    length = snapshot.known.norm(dim=1).mean()
    return figure, (
        f"Told {told}, after {step} steps: features are {length:.2f} long on average.\n"
        f"The nearest image is of the same identity for {known:.0%} of those trained on (colours), "
        f"for {strangers:.0%} of the strangers (open marks)."
    )


explore(
    draw,
    step=ipywidgets.SelectionSlider(options=STEPS, value=STEPS[-1]),
    told=ipywidgets.Dropdown(options=list(films)),
)

# %% [markdown]
# Two dimensions are for looking only; do not rank the losses by what happens to four strangers in a plane. One thing
# that happens in triplet training hardly shows in these pictures. Can you tell it from the loss alone?

# %% [markdown]
# ### Exercise 03.5 ●●○ (5 minutes)
#
# You train with the corrected eq. 8 alone, margin 0.3. Epoch after epoch the loss is 0.300. What do the features
# look like?
#
# - **a** Every identity is an island, at least 0.3 from the next.
# - **b** All images have nearly the same feature.
# - **c** Half of the anchors are satisfied, the others not.
# - **d** As at the beginning: random, all different.

# %% tags=["exercise"]
my_answer = ...  # one letter, as text: "a"

# %%
check("03.5", my_answer)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For the mean to be exactly the margin and to stay there, what must $d_p - d_n$ be?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# my_answer = "b"
# ```
# </details>

# %% [markdown]
# ## 7 · Does it find strangers?
#
# Now at the course's size: a feature of 64 numbers, all training identities, §3.1's augmentation, and the real test,
# query against gallery, on identities that were never trained on. The network is told one of four things, each for
# several seeds; the fourth is eq. 8 exactly as printed. Within a seed all four begin with the same weights and see
# the same batches. `lesson.trained` is `nasda.training.Training` with eq. 9, kept in run folders: a second execution
# only reads them. Two floors lie below everything useful: random features and a histogram of colours.

# %%
ways = {
    "names (λ = 1)": {"balance": 1.0},
    "both (λ = 0.5)": {"balance": 0.5},
    "neighbours (λ = 0)": {"balance": 0.0},
    "neighbours, as printed": {"balance": 0.0, "printed": True},
}
seeds = [SEED, SEED + 1, SEED + 2]
test = target.query, target.gallery, stored(target.query, *size), stored(target.gallery, *size)
mAP = {name: [] for name in ways}
for name, way in tqdm(ways.items(), leave=False):
    for seed in seeds:
        network = lesson.trained(course, seed=seed, **way)
        mAP[name].append(evaluate(network, *test, batch_size=64, device=course.device).mAP)
below = {name: score.mAP for name, score in floors(*test, seed=SEED, device=course.device).items()}
lesson.scores(mAP, below)

# %% [markdown]
# See how far apart the dots of one row can lie: with so few strangers in the test, and so few epochs, a seed may
# matter as much as a loss. But the seeds are paired. Lines join what began with the same weights and saw the same
# batches, so follow a line, and count in how many seeds one way beats another. That swings less than the scores do.

# %%
both = torch.tensor(mAP["both (λ = 0.5)"])
for name, values in mAP.items():
    score = torch.tensor(values)
    wins = f"   behind both in {(both > score).sum()} of {len(seeds)} seeds" if "both" not in name else ""
    print(f"{name:24}{100 * score.mean():5.1f} ± {100 * score.std():4.1f} % mAP{wins}")

# %% [markdown]
# Is both ahead of either alone in every seed? Three seeds cannot show a difference (notebook 06 says how many it
# takes); `PROFILE = "laptop"` trains for longer, on more identities. And the printed form? It need not fall to the
# floors: while a positive is farther than a negative by more than the margin, its slope is the right one. It only
# stops complaining too early. A program with this bug trains, and looks healthy; only a comparison gives it away.

# %% [markdown]
# ## What did we learn?
#
# 1. Cross-entropy (`softmax_loss`, eq. 7 with a mean) teaches names: it separates known identities by planes, begins
#    near $\log C$, and sets no scale for distances.
# 2. The batch-hard triplet loss (`triplet_loss`, eq. 8 corrected) asks for what the test asks for: on $f$, the farthest
#    positive nearer than the nearest negative, by a margin.
# 3. It depends on the batch: P identities × K images give every anchor a positive, while one image an identity leaves
#    it with no gradient at all.
# 4. Means make λ of `retrieval_loss` (eq. 9) mean the same for every batch size; a single sum among them leaves the
#    loss to names.
# 5. A printed formula can be tested before it is trusted: draw its slope, look for its best value and for its
#    standstills, and compare its results over seeds.
#
# ## Further reading
#
# - A. Hermans, L. Beyer, B. Leibe: *In Defense of the Triplet Loss for Person Re-Identification*. arXiv,
#   2017, 1703.07737. Batch-hard mining, P × K, and the collapse of exercise 03.5.
# - F. Schroff, D. Kalenichenko, J. Philbin: *FaceNet: A Unified Embedding for Face Recognition and Clustering*.
#   CVPR 2015. Triplets, and why the choice of them decides.
# - Y. Wen, K. Zhang, Z. Li, Y. Qiao: *A Discriminative Feature Learning Approach for Deep Face Recognition*. ECCV 2016.
#   Two-dimensional features under softmax, and what a loss on distances changes.
# - H. Luo, Y. Gu, X. Liao, S. Lai, W. Jiang: *Bag of Tricks and a Strong Baseline for Deep Person Re-Identification*.
#   CVPR Workshops 2019. Why names and neighbours want different spaces, and a way to give each its own.
# - R. Quan, X. Dong, Y. Wu, L. Zhu, Y. Yang: *Auto-ReID: Searching for a Part-Aware ConvNet for Person
#   Re-Identification*. ICCV 2019. Eq. 9 in a search.
# - K. Musgrave, S. Belongie, S.-N. Lim: *A Metric Learning Reality Check*. ECCV 2020. How little is left of many gains
#   when the comparison is fair.
