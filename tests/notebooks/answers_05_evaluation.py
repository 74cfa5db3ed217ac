"""Answers to notebook 05's exercises: wrong in a plausible way, with words that they are answered with, and right in
another form."""

_COUNTS = "def counts(query_pid, query_camid, gallery_pids, gallery_camids):\n    "
_RANKS_OF = "def ranks_of(distances, right):\n    "
_GIVEN = "query_features, gallery_features, query_pids, query_camids, gallery_pids, gallery_camids"
_PARTS = 'counts, ranks_of, ranks, average_precisions = (mine(f"05.{n}") for n in (1, 2, 3, 4))\n'
_PRECISIONS = "def average_precisions(ranks):\n    j = np.arange(1, len(ranks) + 1)\n    "


def _ranks(distances: str, kept: str = "counts(p, c, gallery_pids, gallery_camids)", add: str = "found.append") -> str:
    """A loop over the queries, with one expression of another kind."""
    return (
        f"{_PARTS}def ranks({_GIVEN}):\n"
        "    found = []\n"
        "    for one, p, c in zip(query_features, query_pids, query_camids):\n"
        f"        distances = {distances}\n"
        f"        kept = {kept}\n"
        f"        {add}(ranks_of(distances[kept], (gallery_pids == p)[kept]))\n"
        "    return found"
    )


_SQUARED = "np.square(gallery_features - one).sum(axis=1)"


def _evaluate(body: str) -> str:
    return (
        f"{_PARTS}def evaluate({_GIVEN}, top=10):\n"
        f"    found = ranks({_GIVEN})\n"
        "    scored = [np.asarray(r) for r in found if len(r)]\n"
        "    first = np.array([r[0] for r in scored])\n"
        "    aps = np.array([average_precisions(r) for r in scored])\n"
        "    k = np.arange(1, top + 1)\n"
        f"    {body}"
    )


_PAIRED = (
    "def paired(first, second, pids):\n"
    "    d = first - second\n"
    "    means = np.array([d[pids == p].mean() for p in np.unique(pids)])\n"
    "    n = len(means)\n"
    "    "
)

WRONG = {
    "05.1": [
        (_COUNTS + "return (gallery_pids != query_pid) | (gallery_camids != query_camid)", "Junk does not count"),
        (_COUNTS + "return gallery_pids != JUNK", "own identity from its own camera does not count"),
        (_COUNTS + "return (gallery_pids != JUNK) & (gallery_camids != query_camid)", "other people before it count"),
        (_COUNTS + "return (gallery_pids != JUNK) & (gallery_pids != query_pid)", "where another camera took it"),
        (
            _COUNTS + "own = (gallery_pids == query_pid) & (gallery_camids == query_camid)\n"
            "    return (gallery_pids > 0) & ~own",
            "A distractor counts",
        ),
        (_COUNTS + "return (gallery_pids == query_pid) & (gallery_camids != query_camid)", "The wrong ones count, too"),
        (
            _COUNTS + "return (gallery_pids == JUNK) | (gallery_pids == query_pid) & (gallery_camids == query_camid)",
            "that do not count",
        ),
        (
            _COUNTS + "own = (gallery_pids == query_pid) & (gallery_camids == query_camid)\n"
            "    return np.flatnonzero((gallery_pids != JUNK) & ~own)",
            "expected the shape (8,)",
        ),
    ],
    "05.2": [
        (
            _RANKS_OF + "return np.sort([1 + np.count_nonzero(distances < own) for own in distances[right]])",
            "stands first in the gallery",
        ),
        (
            _RANKS_OF + "return np.sort([np.count_nonzero(distances <= own) for own in distances[right]])",
            "stands first in the gallery",
        ),
        (
            _RANKS_OF + "order = np.lexsort((~right, distances))\n    return np.flatnonzero(right[order]) + 1",
            "stands first in the gallery",
        ),
        (
            _RANKS_OF + "return np.flatnonzero(right[np.argsort(distances, kind='stable')])",
            "Ranks begin at 1",
        ),
        (
            _RANKS_OF + "return np.argsort(np.argsort(distances, kind='stable'))[right] + 1",
            "in ascending order",
        ),
        (
            _RANKS_OF + "return np.flatnonzero(right[np.argsort(-distances, kind='stable')]) + 1",
            "nearest image has rank 1",
        ),
        (
            _RANKS_OF + "r = np.flatnonzero(right[np.argsort(distances, kind='stable')])\n"
            "    return r - np.arange(len(r)) + 1",
            "takes a place, too",
        ),
        (_RANKS_OF + "return len(distances)", "expected the shape"),
    ],
    "05.3": [
        (_ranks(_SQUARED, "(gallery_pids != p) | (gallery_camids != c)"), "Junk was kept"),
        (_ranks(_SQUARED, "gallery_pids != JUNK"), "camera rule is missing"),
        (_ranks(_SQUARED, "(gallery_pids != JUNK) & (gallery_camids != c)"), "All that the query's camera took"),
        (
            _ranks(_SQUARED, "counts(p, c, gallery_pids, gallery_camids) & (gallery_pids != DISTRACTOR)"),
            "distractors are missing",
        ),
        (_ranks("np.abs(gallery_features - one).sum(axis=1)"), "absolute differences"),
        (_ranks("-(gallery_features @ one)"), "one length"),
        (_ranks("gallery_features @ one"), "it is no distance"),
        (_ranks(_SQUARED, add="found.extend"), "item 0: expected the shape (1,)"),
        (
            f"{_PARTS}def ranks({_GIVEN}):\n"
            "    found = []\n"
            "    for one, p, c in zip(query_features, query_pids, query_camids):\n"
            "        right = (gallery_pids == p) & (gallery_camids != c)\n"
            f"        found.append(ranks_of({_SQUARED}, right))\n"
            "    return found",
            "takes no place",
        ),
    ],
    "05.4": [
        (
            _PRECISIONS + "before = np.where(ranks == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))\n"
            "    return np.mean((j / ranks + before) / 2), np.mean(j / ranks)",
            "The other order",
        ),
        (
            _PRECISIONS + "before = np.where(ranks == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))\n"
            "    return np.mean(1 / ranks), np.mean((j / ranks + before) / 2)",
            "not 1 / r",
        ),
        (
            _PRECISIONS + "before = np.where(ranks == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))\n"
            "    return np.sum(j / ranks) / ranks[-1], np.mean((j / ranks + before) / 2)",
            "not by the last rank",
        ),
        (
            _PRECISIONS + "p = j / ranks\n    before = np.concatenate([[1], p[:-1]])\n"
            "    return np.mean(p), np.mean((p + before) / 2)",
            "not that of the right image before it",
        ),
        (
            _PRECISIONS + "before = (j - 1) / np.maximum(ranks - 1, 1)\n"
            "    return np.mean(j / ranks), np.mean((j / ranks + before) / 2)",
            "q is 1 there",
        ),
        (
            _PRECISIONS + "before = np.where(ranks == 1, 1.0, (j - 1) / ranks)\n"
            "    return np.mean(j / ranks), np.mean((j / ranks + before) / 2)",
            "r − 1 images had been seen",
        ),
        (
            _PRECISIONS + "before = np.where(j == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))\n"
            "    return np.mean(j / ranks), np.mean((j / ranks + before) / 2)",
            "not for each first right image",
        ),
        (_PRECISIONS + "return np.mean(j / ranks)", "yours gave 0.7"),
        (
            _PRECISIONS + "before = np.where(ranks == 1, 1.0, (j - 1) / np.maximum(ranks - 1, 1))\n"
            "    return np.median(j / ranks), np.median((j / ranks + before) / 2)",
            "item 0",
        ),
    ],
    "05.5": [
        ("def worst_ranks(positives):\n    return list(range(1, positives + 1))", "at rank 1 adds nothing"),
        ("def worst_ranks(positives):\n    return [j + 1 for j in range(1, positives + 1)]", "Look at j = 3"),
        ("def worst_ranks(positives):\n    return [2] * positives", "ascending"),
        ("def worst_ranks(positives):\n    return [2]", "expected 2 ranks"),
        ("def worst_ranks(positives):\n    return [2 * j - 1 for j in range(1, positives + 1)]", "at rank 1"),
        ("def worst_ranks(positives):\n    return [3 * j for j in range(1, positives + 1)]", "Look at j = 1"),
        ("def worst_ranks(positives):\n    return [2 * j + 0.5 for j in range(1, positives + 1)]", "whole numbers"),
        ("def worst_ranks(positives):\n    return {1: [2], 2: [2, 4], 3: [2, 4, 6]}[positives]", "KeyError"),
    ],
    "05.6": [
        (
            _evaluate("return (*aps.sum(axis=0) / len(found), (first[:, None] <= k).sum(axis=0) / len(found))"),
            "is left out of every mean",
        ),
        (_evaluate("return (*aps.mean(axis=0)[::-1], (first[:, None] <= k).mean(axis=0))"), "mean of precisions comes"),
        (_evaluate("return (*aps.mean(axis=0), (first[:, None] == k).mean(axis=0))"), "≤, not =="),
        (_evaluate("return (*aps.mean(axis=0), (first[:, None] < k).mean(axis=0))"), "≤, not <"),
        (
            _evaluate("return (*aps.mean(axis=0), (np.concatenate(scored)[:, None] <= k).mean(axis=0))"),
            "first right image",
        ),
        (
            _evaluate(
                "w = [len(r) for r in scored]\n"
                "    return (*np.average(aps, axis=0, weights=w), (first[:, None] <= k).mean(axis=0))"
            ),
            "counts the same in mAP",
        ),
        (_evaluate("return (*np.median(aps, axis=0), (first[:, None] <= k).mean(axis=0))"), "item 0"),
        (_evaluate("return (*aps.mean(axis=0), (first[:, None] <= np.arange(1, 11)).mean(axis=0))"), "the shape (4,)"),
        (_evaluate("return aps.mean(axis=0)"), "yours gave"),
    ],
    "05.7": [
        (_PAIRED + "return -means.mean(), means.std(ddof=1) / n**0.5, (means < 0).sum()", "first less second"),
        (
            "def paired(first, second, pids):\n    d = first - second\n"
            "    return d.mean(), d.std(ddof=1) / len(d) ** 0.5, (d > 0).sum()",
            "average within each identity",
        ),
        (_PAIRED + "return means.mean(), means.std() / n**0.5, (means > 0).sum()", "divides by n − 1"),
        (_PAIRED + "return means.mean(), means.std(ddof=1), (means > 0).sum()", "smaller by √n"),
        (
            _PAIRED + "a = np.array([first[pids == p].mean() for p in np.unique(pids)])\n"
            "    b = np.array([second[pids == p].mean() for p in np.unique(pids)])\n"
            "    error = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / n)\n"
            "    return means.mean(), error, (means > 0).sum()",
            "make the differences first",
        ),
        (_PAIRED + "return means.mean(), means.std(ddof=1) / n**0.5, (d > 0).sum()", "counts identities"),
        (_PAIRED + "return np.median(means), means.std(ddof=1) / n**0.5, (means > 0).sum()", "item 0"),
        (_PAIRED + "return means.mean(), means.std(ddof=1) / n**0.5, (means >= 0).sum()", "item 2"),
    ],
}

RIGHT = {
    "05.1": [
        _COUNTS + "return (gallery_pids != -1) & ((gallery_pids != query_pid) | (gallery_camids != query_camid))",
        "def counts(p, c, ps, cs):\n    return [q != -1 and not (q == p and d == c) for q, d in zip(ps, cs)]",
        "def counts(p, c, ps, cs):\n    return torch.tensor([q != -1 and (q, d) != (p, c) for q, d in zip(ps, cs)])",
        "def counts(p, c, ps, cs):\n    return 1 - ((ps == -1) | (ps == p) * (cs == c))",
        "def counts(p, c, ps, cs):\n    return (bool(q >= 0 and (q != p or d != c)) for q, d in zip(ps, cs))",
    ],
    "05.2": [
        _RANKS_OF + "return np.flatnonzero(right[np.argsort(distances, kind='stable')]) + 1",
        _RANKS_OF + "pairs = sorted(zip(distances, range(len(distances)), right))\n"
        "    return [rank for rank, (_, _, hit) in enumerate(pairs, start=1) if hit]",
        _RANKS_OF + "order = torch.sort(torch.as_tensor(distances), stable=True).indices\n"
        "    return torch.nonzero(torch.as_tensor(right)[order]).flatten() + 1",
        _RANKS_OF + "n = np.arange(len(distances))\n"
        "    nearer = (distances < distances[:, None]) | (distances == distances[:, None]) & (n < n[:, None])\n"
        "    return sorted(1.0 + nearer.sum(axis=1)[right])",
    ],
    "05.3": [
        _ranks("np.linalg.norm(gallery_features - one, axis=1)"),
        _ranks("torch.cdist(torch.tensor(one)[None], torch.tensor(gallery_features))[0].numpy()"),
        _ranks("(gallery_features**2).sum(axis=1) - 2 * gallery_features @ one"),
        f"def ranks({_GIVEN}):\n"
        "    rows = []\n"
        "    for i in range(len(query_pids)):\n"
        "        away = [sum((a - b) ** 2 for a, b in zip(query_features[i], g)) for g in gallery_features]\n"
        "        items = [(d, n) for n, d in enumerate(away) if gallery_pids[n] != JUNK and\n"
        "                 (gallery_pids[n], gallery_camids[n]) != (query_pids[i], query_camids[i])]\n"
        "        order = [n for _, n in sorted(items)]\n"
        "        rows.append([r + 1 for r, n in enumerate(order) if gallery_pids[n] == query_pids[i]])\n"
        "    return rows",
    ],
    "05.4": [
        "def average_precisions(ranks):\n"
        "    b = c = 0\n"
        "    for j, r in enumerate(ranks, start=1):\n"
        "        q = 1 if r == 1 else (j - 1) / (r - 1)\n"
        "        b, c = b + j / r, c + (j / r + q) / 2\n"
        "    return b / len(ranks), c / len(ranks)",
        "def average_precisions(ranks):\n"
        "    r = torch.as_tensor(ranks).double()\n"
        "    j = torch.arange(1, len(r) + 1)\n"
        "    q = torch.nan_to_num((j - 1) / (r - 1), nan=1.0)\n"
        "    return torch.stack([(j / r).mean(), ((j / r + q) / 2).mean()])",
        "from fractions import Fraction\n"
        "def average_precisions(ranks):\n"
        "    p = [Fraction(j, int(r)) for j, r in enumerate(ranks, 1)]\n"
        "    q = [Fraction(j, int(r) - 1) if r > 1 else 1 for j, r in enumerate(ranks)]\n"
        "    return sum(p) / len(p), (sum(p) + sum(q)) / (2 * len(p))",
        "def average_precisions(ranks):\n"
        "    return [evaluation.average_precision(ranks), evaluation.average_precision_trapezoid(ranks)]",
    ],
    "05.5": [
        "def worst_ranks(positives):\n    return np.arange(2, 2 * positives + 1, 2)",
        "def worst_ranks(positives):\n    return 2.0 * torch.arange(1, positives + 1)",
        "def worst_ranks(n):\n    return (2 * j for j in range(1, n + 1))",
        "def worst_ranks(n):\n    return [2, *(2 * j - 1 for j in range(2, n + 1))]",
        "def worst_ranks(n):\n    return range(2, 2 * n + 2, 2)",
    ],
    "05.6": [
        _evaluate("return aps[:, 0].mean(), aps[:, 1].mean(), [float(np.mean(first <= i)) for i in k]"),
        _evaluate("return [*aps.mean(axis=0), np.cumsum([np.mean(first == i) for i in k])]"),
        _evaluate("return (*torch.tensor(aps).mean(dim=0), torch.tensor(first[:, None] <= k).double().mean(dim=0))"),
        f"def evaluate({_GIVEN}, top=10):\n"
        f"    found = evaluation.metrics(positive_ranks({_GIVEN}))\n"
        f"    first = [r[0] for r in positive_ranks({_GIVEN}) if len(r)]\n"
        "    cmc = [sum(r <= k for r in first) / len(first) for k in range(1, top + 1)]\n"
        "    return found.mAP, found.mAP_trapezoid, cmc",
    ],
    "05.7": [
        _PAIRED + "return [means.mean(), np.sqrt(np.var(means, ddof=1) / n), sum(m > 0 for m in means)]",
        "def paired(first, second, pids):\n"
        "    by = {}\n"
        "    for a, b, p in zip(first, second, pids):\n"
        "        by.setdefault(p, []).append(a - b)\n"
        "    m = [sum(x) / len(x) for x in by.values()]\n"
        "    mean = sum(m) / len(m)\n"
        "    variance = sum((x - mean) ** 2 for x in m) / (len(m) - 1)\n"
        "    return mean, (variance / len(m)) ** 0.5, len([x for x in m if x > 0])",
        _PAIRED + "t = torch.tensor(means)\n    return t.mean(), t.std() / n**0.5, (t > 0).sum()",
        "def paired(first, second, pids):\n"
        "    members = (np.unique(pids)[:, None] == pids) * 1.0\n"
        "    m = members @ (first - second) / members.sum(axis=1)\n"
        "    return np.array([m.mean(), m.std(ddof=1) / np.sqrt(len(m)), (m > 0).sum()])",
    ],
}
