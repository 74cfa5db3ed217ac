"""Answers to notebook 03's exercises that a student might well give: wrong ones with words they should be told, and
right ones in another form."""

_TRIPLET = """def triplet_loss(features, labels, margin):
    square = (features.unsqueeze(1) - features.unsqueeze(0)).square().sum(dim=2)
    distances = {distances}
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    itself = torch.eye(len(labels), dtype=torch.bool)
    positives, negatives = {positives}, ~same
    farthest = distances.masked_fill(~positives, {lost}).{positive}(dim=1)
    nearest = distances.masked_fill(~negatives, {nowhere}).{negative}(dim=1)
    counts = {counts}
    hinge = {hinge}
    return {mean}"""
_PARTS = {
    "distances": "square.clamp(min=1e-12).sqrt()",
    "positives": "same & ~itself",
    "lost": "-torch.inf",
    "positive": "amax",
    "nowhere": "torch.inf",
    "negative": "amin",
    "counts": "positives.any(dim=1) & negatives.any(dim=1)",
    "hinge": "(margin + farthest[counts] - nearest[counts]).clamp(min=0)",
    "mean": "hinge.sum() / counts.sum().clamp(min=1)",
}


def _triplet(**changed: str) -> str:
    return _TRIPLET.format(**{**_PARTS, **changed})


_RETRIEVAL = """def retrieval_loss(features, logits, labels, *, margin, balance):
    names = {names}
    neighbours = mine("03.2")({of}, labels, margin)
    return {mix}"""


def _retrieval(
    names: str = "nn.functional.cross_entropy(logits, labels)",
    of: str = "features",
    mix: str = "balance * names + (1 - balance) * neighbours",
) -> str:
    return _RETRIEVAL.format(names=names, of=of, mix=mix)


_SAMPLER = """def sample_batch(labels, identities, images, generator):
    every = {every}
    batch = []
    for identity in {chosen}:
        candidates = torch.nonzero(labels == identity).flatten()
        {drawn}
    return {joined}"""
_STEPS = {
    "every": "labels.unique()",
    "chosen": "every[torch.randperm(len(every), generator=generator)[:identities]]",
    "drawn": """drawn = candidates[torch.randperm(len(candidates), generator=generator)[:images]]
        again = torch.randint(len(candidates), (images - len(drawn),), generator=generator)
        batch += [drawn, candidates[again]]""",
    "joined": "torch.cat(batch)",
}


def _sampler(**changed: str) -> str:
    return _SAMPLER.format(**{**_STEPS, **changed})


WRONG = {
    "03.1": [
        (
            "def triplet(positive, negative, margin): return max(margin, positive - negative)",
            "the printed form",
        ),
        ("def triplet(positive, negative, margin): return margin + positive - negative", "the loss is 0, not less"),
        ("def triplet(positive, negative, margin): return max(0, margin + negative - positive)", "are exchanged"),
        ("def triplet(positive, negative, margin): return max(0, positive - negative)", "does the margin come in"),
        ("def triplet(positive, negative, margin): return max(0, positive - negative - margin)", "a negative margin"),
        (
            "def triplet(positive, negative, margin): return min(1, max(0, margin + positive - negative))",
            "no upper end",
        ),
        (
            "def triplet(positive, negative, margin): return min(8 * margin, max(0, margin + positive - negative))",
            "no upper end",
        ),
        ("def triplet(positive, negative, margin): return abs(margin + positive - negative)", "nothing is missing"),
        (
            "def triplet(positive, negative, margin): return max(0, margin + positive**2 - negative**2)",
            "0.8 are",
        ),
        ("def triplet(positive, negative, margin): max(0, margin + positive - negative)", "is there a `return`?"),
        (
            "def triplet(positive, negative, margin): return max(0, 0.3 + positive - negative)",
            "With the margin 0 equal distances",
        ),
    ],
    "03.2": [
        (_triplet(distances="square.sqrt()"), "The slope of a root at 0 is infinite"),
        (_triplet(distances="square"), "step 1, distances"),
        (_triplet(distances="square"), "squared distances"),
        (_triplet(positives="same"), "An image is not its own positive"),
        (_triplet(positive="amin", lost="torch.inf"), "The hardest positive is the farthest"),
        (_triplet(negative="amax", nowhere="-torch.inf"), "The hardest negative is the nearest"),
        (_triplet(mean="hinge.sum() / len(labels)"), "Divide by the number of anchors that have"),
        (_triplet(mean="hinge.sum()"), "This is the sum"),
        (_triplet(mean="hinge.mean()"), "A mean of nothing is nan"),
        (_triplet(hinge="(farthest - nearest)[counts].clamp(min=margin)"), "eq. 8 as printed"),
        (_triplet(mean="hinge.sum().detach() / counts.sum().clamp(min=1)"), "doesn't know where it came from"),
        (_triplet(mean="(hinge.sum() / counts.sum().clamp(min=1)).item()"), "doesn't know where it came from"),
        (_triplet(mean="hinge"), "the loss: expected"),
        (_triplet(hinge="(margin + farthest[counts] - nearest[counts]).clamp(min=0, max=1)"), "the loss: expected"),
        (_triplet(counts="negatives.any(dim=1)"), "some anchors have no positive"),
        (
            _triplet(distances="(nn.functional.normalize(features).unsqueeze(1) - features).norm(dim=2)"),
            "step 1, distances",
        ),
        (
            "def triplet_loss(features, labels, margin):\n"
            "    d = torch.cdist(features, features)\n"
            "    half = len(labels) // 2\n"
            "    return (margin + d[:half, :half].amax(1) - d[:half, half:].amin(1)).clamp(min=0).mean()",
            "the loss: expected",
        ),
        ("def triplet_loss(features, labels): return features.sum()", "it raised TypeError"),
        (_triplet(mean="features.mul_(0).sum()"), "it raised RuntimeError"),
    ],
    "03.3": [
        (_retrieval(mix="(1 - balance) * names + balance * neighbours"), "weights are exchanged"),
        (_retrieval(mix="balance * names + neighbours"), "Eq. 8 has the weight 1 − balance"),
        (_retrieval(names="nn.functional.cross_entropy(logits, labels, reduction='sum')"), "Eq. 7 is summed here"),
        (_retrieval(names="nn.functional.cross_entropy(logits.softmax(dim=1), labels)"), "Softmax is taken twice"),
        (_retrieval(of="logits"), "The triplet loss is taken of the logits"),
        (_retrieval(names="-logits.softmax(1)[torch.arange(len(labels)), labels].mean()"), "step 1, eq. 7 alone"),
        (
            _retrieval(names="-(logits.exp() / logits.exp().sum(1, True))[range(len(labels)), labels].log().mean()"),
            "exp overflows",
        ),
        (_retrieval(names="-logits.log_softmax(dim=0)[range(len(labels)), labels].mean()"), "step 1, eq. 7 alone"),
        (_retrieval(names="nn.functional.cross_entropy(logits, labels).detach()"), "with respect to the logits is not"),
        (_retrieval(mix="0.5 * names + 0.5 * neighbours"), "step 1, eq. 7 alone"),
        (_retrieval(mix="names + neighbours"), "the loss: expected"),
    ],
    "03.4": [
        ("def balance_in_effect(balance, batch): return balance * batch", "the weight of eq. 7"),
        ("def balance_in_effect(balance, batch): return balance", "that factor has to be somewhere"),
        ("def balance_in_effect(balance, batch): return balance / batch", "heavier, not lighter"),
        ("def balance_in_effect(balance, batch): return 1 - (1 - balance) / batch", "do not add up to 1"),
        ("def balance_in_effect(balance, batch): return balance / (balance + (1 - balance) * batch)", "wrong term"),
        ("def balance_in_effect(balance, batch): return balance * batch / (1 + batch)", "Eq. 8 keeps the weight"),
        ("def balance_in_effect(balance, batch): return min(1, balance * batch)", "a / (a + b)"),
        ("def balance_in_effect(balance, batch): return batch / (batch + 1)", "a = 0.1"),
        (
            "def balance_in_effect(balance, batch): return balance * batch / (balance * batch + 1)",
            "Write the loss as",
        ),
    ],
    "03.5": [
        (
            _sampler(chosen="every[torch.randint(len(every), (identities,), generator=generator)]"),
            "images of each of 3 identities",
        ),
        (
            _sampler(drawn="batch.append(candidates[torch.randint(len(candidates), (images,), generator=generator)])"),
            "are different; yours has 1",
        ),
        (
            _sampler(drawn="batch.append(candidates[torch.randperm(len(candidates), generator=generator)[:images]])"),
            "expected P·K = 16 indices",
        ),
        (_sampler(chosen="every[torch.randperm(len(every))[:identities]]"), "from the global random state"),
        (
            _sampler(
                chosen="random.sample(every.tolist(), identities)",
                every="(exec('global random; import random'), labels.unique())[1]",
            ),
            "from the global random state",
        ),
        (
            _sampler(every="(generator.manual_seed(0), labels.unique())[1]"),
            "the same batch three times",
        ),
        (_sampler(chosen="every[:identities]"), "each identity should be in 33% of the batches"),
        (
            _sampler(
                every="labels[torch.randperm(len(labels), generator=generator)].tolist()",
                chosen="list(dict.fromkeys(every))[:identities]",
            ),
            "each identity should be in 33% of the batches",
        ),
        (
            _sampler(
                chosen="every.roll(int(torch.randint(len(every), (1,), generator=generator)))[:identities]",
            ),
            "are never in one batch",
        ),
        (
            _sampler(drawn="batch.append(candidates.repeat(images)[:images])"),
            "the same ones are always drawn again",
        ),
        (_sampler(joined="labels[torch.cat(batch)]"), "images of each of 3 identities"),
        (_sampler(joined="labels[torch.cat(batch)] * 10"), "are these labels?"),
        (_sampler(joined="torch.stack([torch.cat(batch)])"), "indices in one row"),
        (_sampler(every="torch.arange(int(labels.max()) + 1)"), "it raised RuntimeError"),
        (_sampler(joined="None"), "is there a `return`?"),
        (
            _sampler(
                drawn="start = int(torch.randint(len(candidates), (1,), generator=generator))\n"
                "        batch.append(candidates.roll(start).repeat(images)[:images])",
            ),
            "two of them are never drawn together",
        ),
    ],
    "03.6": [
        ("def usable_anchors(labels): return sum(labels.count(label) > 1 for label in labels)", "have they a negative"),
        (
            "def usable_anchors(labels): return sum(labels.count(label) > 1 for label in set(labels))",
            "count the im",
        ),
        ("def usable_anchors(labels): return len(labels)", "An anchor takes another image"),
        (
            "def usable_anchors(labels): return sum(labels.count(label) < len(labels) for label in labels)",
            "have they a positive?",
        ),
        (
            "def usable_anchors(labels):\n"
            "    n = len(labels)\n"
            "    return sum(any(0 <= j < n and labels[j] == labels[i] for j in (i - 1, i + 1)) for i in range(n))",
            "A positive may stand anywhere",
        ),
        ("def usable_anchors(labels): return max(map(labels.count, labels), default=0)", "[0, 0, 1, 1]"),
        (
            "def usable_anchors(labels):\n"
            "    most = max(labels, key=labels.count, default=None)\n"
            "    return labels.count(most) if 1 < labels.count(most) < len(labels) else 0",
            "expected 4, yours gave 2",
        ),
        (
            "def usable_anchors(labels):\n"
            "    most = max(map(labels.count, labels), default=0)\n"
            "    return sum(labels.count(x) == most for x in labels) if 1 < most < len(labels) else 0",
            "the others' count as well",
        ),
        ("def usable_anchors(labels): return len(labels) - len(set(labels))", "for labels = [0, 0, 1, 1]"),
        (
            "def usable_anchors(labels): return sum(labels.count(x) == 2 for x in labels)",
            "for labels = [0, 0, 0, 1, 2]",
        ),
    ],
    "03.7": [
        ('my_answer = "a"', "the loss of every anchor 0"),
        ('my_answer = "c"', "every single anchor"),
        ('my_answer = "D)"', "above the margin"),
        ("my_answer = 0.3", "one letter"),
        ('my_answer = {"c"}', "every single anchor"),
        ('my_answer = {"a", "b"}', "one letter"),
        ('my_answer = ["b", "d"]', "one letter"),
        ('my_answer = {"b": True}', "one letter"),
        ('my_answer = "collapse"', "one letter"),
    ],
}

_LOOPS = """def {name}(features, labels, margin):
    total, anchors = 0 * features.sum(), 0
    for i in range(len(labels)):
        gaps = [(f - features[i] + 0).square().sum() for f in features]
        own = [(gaps[j] + 1e-16).sqrt() for j in range(len(labels)) if labels[j] == labels[i] and j != i]
        other = [(gaps[j] + 1e-16).sqrt() for j in range(len(labels)) if labels[j] != labels[i]]
        if own and other:
            total, anchors = total + torch.relu(margin + max(own) - min(other)), anchors + 1
    return total / max(anchors, 1)"""

RIGHT = {
    "03.1": [
        "def triplet(near, far, room):\n    missing = room + near - far\n    return missing if missing > 0 else 0",
        "def triplet(p, n, m): return torch.relu(torch.tensor(m + p - n, dtype=torch.float64))",
        "def triplet(p, n, m):\n    import numpy as np\n    return np.maximum(0, m + p - n)",
        "def triplet(p, n, m):\n    from fractions import Fraction as F\n    return max(F(0), F(m) + F(p) - F(n))",
        "triplet = lambda p, n, m: torch.clamp(torch.tensor([m + p - n], dtype=torch.float64), min=0)",
    ],
    "03.2": [
        _LOOPS.format(name="triplet_loss"),
        _LOOPS.format(name="batch_hard") + "\n\ntriplet_loss = batch_hard",
        _triplet(distances="(features.unsqueeze(1) - features.unsqueeze(0)).norm(dim=2)"),
        _triplet(distances="torch.cdist(features, features)"),
        _triplet(distances="(square + 1e-16).sqrt()"),
        _triplet(lost="-1", nowhere="1e9"),
        _triplet(
            hinge="torch.relu(margin + farthest - nearest)",
            mean="torch.where(counts, hinge, 0 * hinge.nan_to_num(0, 0, 0)).sum() / counts.sum().clamp(min=1)",
        ),
        _triplet(positive="max", negative="min", hinge="torch.relu(margin + farthest[0][counts] - nearest[0][counts])"),
        _triplet(mean="hinge.mean() if len(hinge) else torch.zeros(())"),
        _triplet(mean="hinge.mean() if len(hinge) else 0.0"),
        _triplet(mean="hinge.mean().reshape(1) if len(hinge) else 0 * features.sum()"),
    ],
    "03.3": [
        _retrieval(),
        _retrieval(names="nn.NLLLoss()(logits.log_softmax(1), labels)"),
        _retrieval(names="(logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean()"),
        _retrieval(names="cross(logits, labels)") + "\n\n"
        "def cross(logits, labels):\n"
        "    shifted = logits - logits.max(dim=1, keepdim=True).values\n"
        "    log_p = shifted - shifted.exp().sum(dim=1, keepdim=True).log()\n"
        "    return sum(-row[label] for row, label in zip(log_p, labels)) / len(labels)",
        _retrieval(mix="torch.lerp(neighbours, names, balance)"),
        "def retrieval_loss(f, h, y, margin=0.3, balance=0.5):\n"
        "    return losses.retrieval_loss(f, h, y, margin=margin, balance=balance)",
    ],
    "03.4": [
        "def balance_in_effect(lam, B): return lam * B / (1 + lam * (B - 1))",
        "def balance_in_effect(lam, B): return 1 - (1 - lam) / (lam * B + 1 - lam)",
        "def balance_in_effect(lam, B): return torch.tensor(lam * B / (lam * B + 1 - lam), dtype=torch.float64)",
        "def balance_in_effect(lam, B):\n"
        "    from fractions import Fraction as F\n"
        "    return F(lam) * B / (F(lam) * B + 1 - F(lam))",
        "def balance_in_effect(lam, B): return f'{100 * lam * B / (lam * B + 1 - lam)} %'",
    ],
    "03.5": [
        _sampler(joined="torch.cat(batch).tolist()"),
        _sampler(joined="torch.cat(batch).numpy()"),
        _sampler(joined="[index for part in batch for index in part]"),
        _sampler(joined="torch.cat(batch)[torch.randperm(identities * images, generator=generator)]"),
        _sampler(
            every="torch.tensor(sorted(set(labels.tolist())))",
            chosen="every[torch.rand(len(every), generator=generator).argsort()[:identities]]",
        ),
        _sampler(
            chosen="every[torch.multinomial(torch.ones(len(every)), identities, generator=generator)]",
            drawn="rounds = [torch.randperm(len(candidates), generator=generator) for _ in range(images)]\n"
            "        batch.append(candidates[torch.cat(rounds)[:images]])",
        ),
        "def sample_batch(labels, identities, images, generator):\n"
        "    import random\n"
        "    own = random.Random(int(torch.randint(2**31, (1,), generator=generator)))\n"
        "    by = {}\n"
        "    for index, label in enumerate(labels.tolist()):\n"
        "        by.setdefault(label, []).append(index)\n"
        "    found = []\n"
        "    for label in own.sample(sorted(by), identities):\n"
        "        drawn = own.sample(by[label], min(images, len(by[label])))\n"
        "        found += drawn + own.choices(by[label], k=images - len(drawn))\n"
        "    return found",
    ],
    "03.6": [
        "def usable_anchors(labels):\n"
        "    from collections import Counter\n"
        "    return sum(n for n in Counter(labels).values() if 1 < n < len(labels))",
        "def usable_anchors(labels):\n"
        "    same = torch.tensor(labels)[:, None] == torch.tensor(labels)\n"
        "    return ((same.sum(1) > 1) & ~same.all(1)).sum()",
        "def usable_anchors(labels):\n"
        "    import numpy as np\n"
        "    _, counts = np.unique(labels, return_counts=True)\n"
        "    return counts[(counts > 1) & (counts < len(labels))].sum()",
        "def usable_anchors(labels):\n"
        "    count, everyone = 0, range(len(labels))\n"
        "    for i in everyone:\n"
        "        positive = any(labels[i] == labels[j] for j in everyone if j != i)\n"
        "        count += positive and any(labels[i] != labels[j] for j in everyone)\n"
        "    return float(count)",
    ],
    "03.7": ['my_answer = "b"', 'my_answer = "B"', 'my_answer = "b)"', 'my_answer = {"b"}', 'my_answer = ("(b)",)'],
}
