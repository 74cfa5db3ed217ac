"""Answers to notebook 00's exercises that are wrong in a plausible way, and words that they are answered with."""

_RANK = "def rank_gallery(query, gallery):\n    "
_GAP = "def domain_gap(scores):\n    "

WRONG = {
    "00.1": [
        (_RANK + "return np.argsort(-np.linalg.norm(gallery - query, axis=1))", "at [0], expected 1, yours gave 0"),
        (
            _RANK + 'return np.argsort(np.abs(gallery - query).sum(axis=1), kind="stable")',
            "at [1], expected 1, yours gave 0",
        ),
        (_RANK + "return np.linalg.norm(gallery - query, axis=1)", "at [0], expected 1, yours gave 2.828"),
        (_RANK + "return np.argmin(np.linalg.norm(gallery - query, axis=1))", "expected the shape (3,)"),
    ],
    "00.2": [
        ("my_answer = (0.5, 0.25)", "wrong way round"),
        ("my_answer = (1.0, 0.5)", "identity AND camera"),
        ("my_answer = (1, 2)", "between 0 and 1"),
        ("my_answer = (0.5, 0.5)", "cross out"),
        ("my_answer = (0.25, 0.75)", "nothing is crossed out"),
        ("my_answer = 0.25", "two shares"),
    ],
    "00.3": [
        (_GAP + 'return scores["source"]["source"] - scores["source"]["target"]', "harder"),
        (_GAP + 'return scores["source"]["target"] - scores["target"]["target"]', "the sign"),
        (_GAP + 'return scores["target"]["target"] - scores["target"]["source"]', "changes the test"),
        (_GAP + 'return scores["source"]["source"] - scores["target"]["source"]', "the other way round"),
        (_GAP + 'return scores["target"]["target"]', "expected 0.5, yours gave 0.8"),
    ],
    "00.4": [
        ('my_pairs = {"AB", "DE"}', "1 more"),
        ('my_pairs = {"AB", "DE", "EG"}', "VisDA-2020"),
        ('my_pairs = {"AB", "BC", "DE", "FG"}', "ImageNet"),
        ('my_pairs = {"AD"}', "the task"),
        ('my_pairs = {"ABC"}', "no pair"),
    ],
}
