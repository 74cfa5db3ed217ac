"""Plausible wrong answers to the exercises of notebook 05, and words that the student is told."""

WRONG = {
    "05.1": [
        (
            "def strict_ranks(distances, right):\n"
            "    return np.sort([1 + np.count_nonzero(distances < own) for own in distances[right]])",
            "it wins the tie",
        ),
        (
            "def strict_ranks(distances, right):\n"
            "    return np.sort([np.count_nonzero(distances <= own) for own in distances[right]])",
            "share a rank",
        ),
        ("def strict_ranks(distances, right):\n    return len(distances)", "expected the shape"),
    ],
    "05.2": [
        ("by_hand = 0.6556, 0.7", "in the other order"),
        ("by_hand = (1 / 1 + 1 / 4 + 1 / 5) / 3, 0.6556", "not 1 / r"),
        ("by_hand = 2.1 / 5, 0.6556", "not by the last rank"),
        ("by_hand = 0.7, 0.4889", "nothing came before"),
        ("by_hand = 0.7, (1 + (2 / 4 + 1) / 2 + (3 / 5 + 2 / 4) / 2) / 3", "three images had been seen"),
        ("by_hand = 0.7", "expected two numbers"),
    ],
    "05.3": [
        ("def worst_ranks(positives):\n    return list(range(1, positives + 1))", "at rank 1 adds nothing"),
        ("def worst_ranks(positives):\n    return [j + 1 for j in range(1, positives + 1)]", "[2, 3, 4] differ by"),
        ("def worst_ranks(positives):\n    return [2] * positives", "ascending"),
        ("def worst_ranks(positives):\n    return [2]", "expected 2 ranks"),
    ],
    "05.4": [
        ('broken = {"A": "distractors", "B": "camera", "C": "junk"}', "there must be more images that count as wrong"),
        ('broken = {"A": "camera", "B": "junk", "C": "distractors"}', "almost copies of the query"),
        ('broken = {"A": "junk", "B": "the camera rule", "C": "distractors"}', 'expected "camera"'),
    ],
    "05.5": [
        (
            "def paired_gain(cross, within):\n"
            "    gains = np.array(within) - np.array(cross)\n"
            "    return gains.mean(), gains.std() / np.sqrt(len(gains))",
            "divides by n − 1",
        ),
        (
            "def paired_gain(cross, within):\n"
            "    n = len(cross)\n"
            "    error = np.sqrt((np.var(cross, ddof=1) + np.var(within, ddof=1)) / n)\n"
            "    return np.mean(within) - np.mean(cross), error",
            "make the differences first",
        ),
        (
            "def paired_gain(cross, within):\n"
            "    gains = np.array(cross) - np.array(within)\n"
            "    return gains.mean(), gains.std(ddof=1) / np.sqrt(len(gains))",
            "in-domain less cross-domain",
        ),
        (
            "def paired_gain(cross, within):\n"
            "    gains = np.array(within) - np.array(cross)\n"
            "    return gains.mean(), gains.std(ddof=1)",
            "smaller by √n",
        ),
    ],
}
