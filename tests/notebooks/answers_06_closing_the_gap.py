"""Answers to the exercises of notebook 06: plausible wrong ones with words that they are to be told, and right ones."""

_FLIPS = """
import itertools

def p_value(differences):
    flips = list(itertools.product([1, -1], repeat=len(differences)))
    means = [sum(s * d for s, d in zip(signs, differences)) / len(differences) for signs in flips]
    return RETURNED
"""
_PAIRS = """
def contrastive_loss(first, second, same, margin):
    squared = (first - second).square().sum(dim=1)
    if same:
        return squared.SAME
    return UNLIKE
"""
_NORMS = """
import torch
from torch import nn

def reestimate(network, batches):
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    modes = [(m, m.training) for m in network.modules()]
    BEGIN
    for norm in norms:
        RESET
    with torch.no_grad():
        for images in batches:
            network.features(images)
    END
"""
_RESET = "norm.reset_running_stats(); norm.momentum = None"
_RESTORE = """for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for m, mode in modes:
        m.training = mode"""
_MINE = 'contrastive_loss = mine("06.6")\n'
_FOUR = """
contrastive_loss = mine("06.6")

def similarity_loss(siamese, batch, margin):
    x, y, fake_y, fake_x = (siamese(images) for images in batch)
    alike = contrastive_loss(x, fake_y, True, margin) + contrastive_loss(y, fake_x, True, margin)
    unlike = contrastive_loss(fake_y, y, False, margin) + contrastive_loss(fake_x, x, False, margin)
    return RETURNED
"""


def _flips(returned: str) -> str:
    return _FLIPS.replace("RETURNED", returned)


def _pairs(unlike: str, same: str = "mean()") -> str:
    return _PAIRS.replace("UNLIKE", unlike).replace("SAME", same)


def _norms(begin: str = "network.train()", reset: str = _RESET, end: str = _RESTORE) -> str:
    return _NORMS.replace("BEGIN", begin).replace("RESET", reset).replace("END", end)


def _four(returned: str) -> str:
    return _FOUR.replace("RETURNED", returned)


def _seeds(too_few: str) -> str:
    return f"def fewest_seeds(level, tests=1):\n    n = 1\n    while {too_few}:\n        n += 1\n    return n"


def _best(returned: str) -> str:
    return f"import itertools\n\ndef expected_best(scores, k):\n    return {returned}"


_RIGHT_UNLIKE = "(margin - squared.clamp(min=1e-12).sqrt()).clamp(min=0).square().mean()"

WRONG = {
    "06.1": [
        ('my_pairs = {"AB"}', "may share a test set"),
        ('my_pairs = {"AB", "CD", "AC"}', "first weights (note b)"),
        ('my_pairs = {"AB", "DB"}', "B and D differ"),
        ('my_pairs = "CD"', "the paper itself has run"),
        ("my_pairs = 2", "expected a set of pairs"),
        ('my_pairs = {"AB", "CE"}', "is no pair of the rows"),
        ('my_pairs = ["ab", "cd", "ad"]', "everything that can differ"),
        ("my_pairs = set()", "is no pair"),
    ],
    "06.2": [
        (_norms(begin="network.eval()"), "only counts in training mode"),
        (_norms(reset="norm.momentum = None"), "call reset_running_stats() first"),
        (_norms(reset="norm.reset_running_stats()"), "its own momentum"),
        (_norms(reset="norm.reset_running_stats(); norm.momentum = 1.0"), "only the last batch counts"),
        (_norms(reset="pass"), "still part of it"),
        (_norms(end="for m, mode in modes:\n        m.training = mode"), "the momentum of a batch norm is another"),
        (_norms(end=_RESTORE.split("    for m, mode")[0] + "    network.eval()"), "a module is in another mode"),
        (_norms(end=_RESTORE.split("    for m, mode")[0] + "    network.train()"), "a module is in another mode"),
        (_norms(end=_RESTORE + "\n    network.requires_grad_(False)"), "or want none now"),
        (
            _norms().replace("network.features(images)", "network.features(images.sub_(0.1))"),
            "written into",
        ),
        (
            _norms().replace(
                "network.features(images)", "[p.mul_(0.99) for p in network.parameters()]; network.features(images)"
            ),
            "the weights have changed",
        ),
        (
            _norms().replace("for images in batches:", "for images in [torch.cat(list(batches))]:"),
            "All batches at once",
        ),
    ],
    "06.3": [
        (_flips("sum(m >= means[0] - 1e-12 for m in means) / len(means)"), "one side only"),
        (_flips("sum(abs(m) > abs(means[0]) + 1e-12 for m in means) / len(means)"), "p is never 0"),
        (_flips("sum(abs(m) >= abs(means[0]) - 1e-12 for m in means)"), "their share of all choices"),
        (_flips("sum(abs(m) >= abs(means[0]) for m in means) / len(means)"), "the last digit"),
        (_flips("sum(abs(m) >= abs(means[0]) - 1e-3 for m in means) / len(means)"), "no more"),
        (
            "import itertools, numpy as np\n\ndef p_value(differences):\n"
            "    flips = np.array(list(itertools.product([1, -1], repeat=len(differences))))\n"
            "    means = np.abs(flips @ np.array(differences)) / len(differences)\n"
            "    return (means >= abs(np.mean(differences))).mean()",
            "the last digit",
        ),
        (
            "from scipy import stats\n\ndef p_value(differences):\n"
            "    return float(stats.ttest_1samp(differences, 0).pvalue)",
            "expected 0.25, yours gave",
        ),
        (
            "import itertools\n\ndef p_value(differences):\n"
            "    ups = sum(d > 0 for d in differences)\n"
            "    flips = list(itertools.product([1, -1], repeat=len(differences)))\n"
            "    return sum(abs(sum(f)) >= abs(2 * ups - len(differences)) for f in flips) / len(flips)",
            "yours gave",
        ),
    ],
    "06.4": [
        (_seeds("2.0 ** -n > level / tests"), "all signs turned"),
        (_seeds("2.0 ** (1 - n) > level"), "its share of the level"),
        (_seeds("2.0 ** (1 - n) >= level / tests"), "at most, not below"),
        (_seeds("2.0 ** (1 - n) > level") + " * tests", "share the level, not the seeds"),
        (_seeds("2.0 ** (1 - n) > level / tests") + " - 1", "all signs turned"),
        ("def fewest_seeds(level, tests=1):\n    return 5", "expected 6, yours gave 5"),
        (
            "import math\n\ndef fewest_seeds(level, tests=1):\n    return math.floor(1 - math.log2(level / tests))",
            "expected 6, yours gave 5",
        ),
    ],
    "06.5": [
        ("def expected_best(scores, k):\n    return max(scores)", "the best of all of them"),
        ("def expected_best(scores, k):\n    return max(scores[:k])", "the first k"),
        (
            _best("sum(map(max, itertools.product(scores, repeat=k))) / len(scores) ** k"),
            "one network twice",
        ),
        (_best("sum(scores) / len(scores)"), "whatever is k for"),
        (_best("sum(sorted(scores)[-k:]) / k"), "the mean of the k best"),
        (
            _best(
                "(lambda chosen: sum(map(max, chosen)) / len(chosen))"
                "(list(itertools.combinations(sorted(set(scores)), min(k, len(set(scores))))))"
            ),
            "a set forgets one",
        ),
        (_best("[max(some) for some in itertools.combinations(scores, k)]"), "yours gave ["),
    ],
    "06.6": [
        (_pairs("(margin - squared).clamp(min=0).mean()"), "take the root"),
        (_pairs("(margin - squared).clamp(min=0).square().mean()"), "take the root"),
        (_pairs("(margin - squared.sqrt()).square().mean()"), "cut off below 0"),
        (_pairs(_RIGHT_UNLIKE.replace("mean()", "sum()"), "sum()"), "A mean over pairs"),
        (_pairs("(margin - squared.sqrt()).clamp(min=0).square().mean()"), "clamp below the root"),
        (_pairs(_RIGHT_UNLIKE + ".item()", "mean().item()"), "nothing can be learnt from it"),
        (_pairs(_RIGHT_UNLIKE + ".detach()", "mean().detach()"), "nothing can be learnt from it"),
        (_pairs("squared.mean()", "mean()"), "an unlike pair"),
        (
            _pairs("(margin - squared.clamp(min=1e-12).sqrt()).clamp(min=0).mean()", "clamp(min=1e-12).sqrt().mean()"),
            "are squared",
        ),
    ],
    "06.7": [
        (_four("alike + unlike"), "the sum of the four kinds"),
        (_four("(alike + unlike) / 2"), "Divide by 4"),
        (_four("alike / 2"), "The unlike pairs are missing"),
        (_four("(alike + unlike).detach() / 4"), "nothing can be learnt from it"),
        (
            _four("(alike + unlike) / 4")
            .replace("in batch)", "[i.detach() for i in batch])")
            .replace("for images [", "for images in ["),
            "nothing can be learnt from it",
        ),
        (
            _four("(alike + unlike) / 4")
            .replace("(fake_y, y, False", "(fake_y, x, False")
            .replace("(fake_x, x, False", "(fake_x, y, False"),
            "its own original are alike",
        ),
        (
            _four("(alike + contrastive_loss(x, y, False, margin)) / 3"),
            "teaches a generator nothing",
        ),
        (_four("(alike + unlike) / 4").replace("x, y, fake_y, fake_x =", "x, y, fake_x, fake_y ="), "yours gave"),
        (
            _four("(alike + unlike) / 4").replace("True", "None").replace("False", "True").replace("None", "False"),
            "exchanged",
        ),
        (
            _MINE + "def similarity_loss(siamese, batch, margin):\n"
            "    x, y, fake_y, fake_x = (siamese(images) for images in batch)\n"
            "    return (contrastive_loss(x, fake_y, True, margin) + contrastive_loss(fake_y, y, False, margin)) / 2",
            "One direction is missing",
        ),
    ],
}

RIGHT = {
    "06.1": [
        'my_pairs = ["ba", "dc"]',
        'my_pairs = (("A", "B"), ("C", "D"))',
        'my_pairs = "AB, CD"',
        'my_pairs = {frozenset("AB"), frozenset("CD")}',
        'my_pairs = {"A-B", "C and D"}',
        'import numpy as np\nmy_pairs = np.array(["AB", "CD"])',
        'my_pairs = (pair for pair in ["AB", "CD"])',
        'my_pairs = {"AB": "data", "CD": "images"}',
    ],
    "06.2": [
        _norms(),
        _norms(begin="[norm.train() for norm in norms]"),
        _norms().replace("network.features(images)", "network(images)"),
        # with the momentum that makes an average
        """
import torch

@torch.no_grad()
def reestimate(net, images_of_target):
    norms = [m for m in net.modules() if hasattr(m, "running_mean")]
    before = [(m, m.training) for m in net.modules()]
    old = [n.momentum for n in norms]
    net.train()
    try:
        for k, batch in enumerate(images_of_target, 1):
            for n in norms:
                n.momentum = 1 / k
            net.features(batch)
    finally:
        for n, m in zip(norms, old):
            n.momentum = m
        for m, t in before:
            m.training = t
""",
        # sums of its own, from the norms' inputs
        """
import torch

def reestimate(network, batches):
    norms = [m for m in network.modules() if hasattr(m, "running_mean")]
    modes = {m: m.training for m in network.modules()}
    kept = [(n.momentum, []) for n in norms]
    def hook(found):
        def keep(module, inputs):
            x = inputs[0]
            dims = [0, 2, 3][: x.dim() - 1] if x.dim() > 2 else [0]
            found.append((x.mean(dim=dims), x.var(dim=dims)))
        return keep
    handles = [n.register_forward_pre_hook(hook(found)) for n, (_, found) in zip(norms, kept)]
    network.train()
    with torch.inference_mode():
        for images in batches:
            network.features(images)
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for n, (momentum, found) in zip(norms, kept):
            n.running_mean.copy_(sum(m for m, _ in found) / len(found))
            n.running_var.copy_(sum(v for _, v in found) / len(found))
    for m, mode in modes.items():
        m.training = mode
""",
    ],
    "06.3": [
        _flips("sum(abs(m) >= abs(means[0]) - 1e-12 for m in means) / len(means)"),
        "from fractions import Fraction\nimport itertools\n\ndef p_value(differences):\n"
        "    exact = [Fraction(str(d)) for d in differences]\n"
        "    flips = itertools.product((1, -1), repeat=len(exact))\n"
        "    sums = [abs(sum(s * d for s, d in zip(f, exact))) for f in flips]\n"
        "    return Fraction(sum(s >= sums[0] for s in sums), len(sums))",
        "import numpy as np\n\ndef p_value(d):\n    sums = np.zeros(1)\n    for one in d:\n"
        "        sums = np.concatenate([sums + one, sums - one])\n"
        "    return np.mean(np.abs(sums) >= abs(sum(d)) - 1e-12)",
        "import torch, itertools\n\ndef p_value(d):\n    d = torch.tensor(d, dtype=torch.float64)\n"
        "    f = torch.tensor(list(itertools.product([1.0, -1.0], repeat=len(d))), dtype=torch.float64)\n"
        "    sums = (f @ d).abs()\n    return (sums >= d.sum().abs() - 1e-10).double().mean()",
        # half of the choices: each has a twin
        "import itertools\n\ndef p_value(d):\n    first, *rest = d\n"
        "    flips = itertools.product([1, -1], repeat=len(rest))\n"
        "    sums = [abs(first + sum(s * x for s, x in zip(f, rest))) for f in flips]\n"
        "    return sum(s >= sums[0] - 1e-12 for s in sums) / len(sums)",
    ],
    "06.4": [
        "import math\n\ndef fewest_seeds(level, tests=1):\n    return 1 + math.ceil(math.log2(tests / level))",
        _seeds("level / tests < 2.0 ** (1 - n)"),
        "import numpy as np\n\ndef fewest_seeds(level, tests=1):\n"
        "    return np.argmax(2.0 ** (1 - np.arange(64)) <= level / tests)",
        "def fewest_seeds(level, tests=1):\n"
        "    return float(next(n for n in range(1, 99) if 2 * tests <= level * 2**n))",
    ],
    "06.5": [
        _best("sum(map(max, itertools.combinations(scores, k))) / len(list(itertools.combinations(scores, k)))"),
        "from math import comb\n\ndef expected_best(scores, k):\n    n = len(scores)\n"
        "    return sum(comb(i, k - 1) * s for i, s in enumerate(sorted(scores))) / comb(n, k)",
        "import itertools, statistics\n\ndef expected_best(scores, k):\n"
        "    return statistics.fmean(max(c) for c in itertools.permutations(scores[:8], k)) if k < 4 else "
        "statistics.fmean(max(c) for c in itertools.combinations(scores, k))",
        "import torch\n\ndef expected_best(scores, k):\n"
        "    return torch.combinations(torch.tensor(scores, dtype=torch.float64), k).amax(dim=1).mean()",
    ],
    "06.6": [
        _pairs(_RIGHT_UNLIKE),
        "import torch\n\ndef contrastive_loss(a, b, same, m):\n    d = torch.linalg.vector_norm(a - b, dim=1)\n"
        "    return (d**2 if same else torch.relu(m - d) ** 2).mean()",
        "import torch\n\ndef contrastive_loss(a, b, same, m):\n    costs = []\n    for x, y in zip(a, b):\n"
        "        d = ((x - y) ** 2).sum().clamp(min=1e-20).sqrt()\n"
        "        costs.append(d**2 if same else max(m - d, 0 * d) ** 2)\n    return sum(costs) / len(costs)",
        "import torch.nn.functional as F\n\ndef contrastive_loss(first, second, same, margin):\n"
        "    if same:\n        return F.mse_loss(first, second) * first.shape[1]\n"
        "    gap = margin - (first - second).norm(dim=-1)\n    return F.relu(gap).pow(2).mean()",
    ],
    "06.7": [
        _four("(alike + unlike) / 4"),
        _MINE + "import torch\n\ndef similarity_loss(siamese, batch, margin):\n"
        "    x, y, gx, fy = siamese(torch.cat(batch)).chunk(4)\n"
        "    pairs = [(x, gx, True), (y, fy, True), (gx, y, False), (fy, x, False)]\n"
        "    return torch.stack([contrastive_loss(a, b, same, margin) for a, b, same in pairs]).mean()",
        _MINE + "def similarity_loss(net, b, m):\n"
        "    e = {k: net(getattr(b, k)) for k in b._fields}\n"
        "    return 0.25 * (contrastive_loss(e['fake_target'], e['source'], True, m)\n"
        "        + contrastive_loss(e['fake_source'], e['target'], True, m)\n"
        "        + contrastive_loss(e['target'], e['fake_target'], False, m)\n"
        "        + contrastive_loss(e['source'], e['fake_source'], False, m))",
        _MINE + "import torch\n\ndef similarity_loss(siamese, batch, margin):\n"
        "    x, y, gx, fy = map(siamese, batch)\n"
        "    alike = ((x - gx) ** 2).sum(1).mean() + ((y - fy) ** 2).sum(1).mean()\n"
        "    far = [torch.relu(margin - (a - b).norm(dim=1)).square().mean() for a, b in ((gx, y), (fy, x))]\n"
        "    return (alike + sum(far)) / 4",
    ],
}
