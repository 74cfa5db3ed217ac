"""Plausible wrong answers to the exercises of notebook 06, and words that they are to be told."""

_FLIPS = """
import itertools

def p_value(differences):
    flips = list(itertools.product([1, -1], repeat=len(differences)))
    means = [sum(s * d for s, d in zip(signs, differences)) / len(differences) for signs in flips]
    return RETURNED
"""
_PAIRS = """
def contrastive(first, second, same, margin):
    squared = (first - second).square().sum(dim=1)
    if same:
        return squared.SAME
    return UNLIKE
"""


def _flips(returned: str) -> str:
    return _FLIPS.replace("RETURNED", returned)


def _pairs(unlike: str, same: str = "mean()") -> str:
    return _PAIRS.replace("UNLIKE", unlike).replace("SAME", same)


def _seeds(too_few: str) -> str:
    return f"def fewest_seeds(level, tests=1):\n    n = 1\n    while {too_few}:\n        n += 1\n    return n"


WRONG = {
    "06.1": [
        ('my_pairs = {"AB"}', "may share a test set"),
        ('my_pairs = {"AB", "CD", "AC"}', "first weights (note b)"),
        ('my_pairs = {"AB", "DB"}', "B and D differ"),
        ('my_pairs = "AB"', "expected a set of pairs"),
    ],
    "06.2": [
        (_flips("sum(m >= means[0] - 1e-12 for m in means) / len(means)"), "one side only"),
        (_flips("sum(abs(m) > abs(means[0]) + 1e-12 for m in means) / len(means)"), "p is never 0"),
        (_flips("sum(abs(m) >= abs(means[0]) - 1e-12 for m in means)"), "expected 0.25, yours gave 2"),
    ],
    "06.3": [
        (
            _seeds("2.0 ** -n > level / tests"),
            "all signs turned",
        ),
        (
            _seeds("2.0 ** (1 - n) > level"),
            "its share of the level",
        ),
        ("def fewest_seeds(level, tests=1):\n    return 5", "expected 6, yours gave 5"),
    ],
    "06.4": [
        ("def expected_best(scores, k):\n    return max(scores)", "the best of all of them"),
        ("def expected_best(scores, k):\n    return max(scores[:k])", "the first k"),
        (
            "import itertools\n\ndef expected_best(scores, k):\n"
            "    chosen = list(itertools.product(scores, repeat=k))\n"
            "    return sum(max(some) for some in chosen) / len(chosen)",
            "one network twice",
        ),
    ],
    "06.5": [
        (_pairs("(margin - squared).clamp(min=0).mean()"), "take the root"),
        (_pairs("(margin - squared.sqrt()).square().mean()"), "cut off below 0"),
        (_pairs("(margin - squared.sqrt()).clamp(min=0).square().sum()", "sum()"), "A mean over pairs"),
    ],
}
