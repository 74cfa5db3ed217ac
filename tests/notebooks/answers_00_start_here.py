"""Answers to notebook 00's exercises: wrong in a plausible way, with words that they are answered with, and right in
another form."""

_RANK = "def rank_gallery(query, gallery):\n    "
_LOSS = "def transfer_loss(scores):\n    "

WRONG = {
    "00.1": [
        (_RANK + "return np.argsort(-np.linalg.norm(gallery - query, axis=1))", "nearest picture comes first"),
        (_RANK + "return np.argsort(np.abs(gallery - query).sum(axis=1), kind='stable')", "absolute differences"),
        (_RANK + "return np.linalg.norm(gallery - query, axis=1)", "These are the distances"),
        (_RANK + "return np.argmin(np.linalg.norm(gallery - query, axis=1))", "expected the shape (3,)"),
        (_RANK + "return np.argsort(np.linalg.norm(gallery, axis=1))", "forgets the query"),
        (_RANK + "return np.argsort(-gallery @ query, kind='stable')", "one length"),
        (_RANK + "return np.argsort(np.argsort(np.linalg.norm(gallery - query, axis=1)))", "the place of each picture"),
        (_RANK + "return np.argsort(np.abs((gallery - query).sum(axis=1)), kind='stable')", "otherwise they cancel"),
        (_RANK + "return gallery[np.argsort(np.linalg.norm(gallery - query, axis=1))]", "expected the shape (3,)"),
        (_RANK + "np.argsort(np.linalg.norm(gallery - query, axis=1))", "is there a `return`?"),
    ],
    "00.2": [
        ("my_answer = (0.5, 0.25)", "wrong way round"),
        ("my_answer = (1.0, 0.5)", "identity AND camera"),
        ("my_answer = (1, 2)", "between 0 and 1"),
        ("my_answer = (25, 50)", "between 0 and 1"),
        ("my_answer = (0.5, 0.5)", "cross out"),
        ("my_answer = (0.25, 0.75)", "nothing is crossed out"),
        ("my_answer = 0.25", "two shares"),
        ("my_answer = (0.25, 0.5, 0.5)", "two shares"),
    ],
    "00.3": [
        (_LOSS + 'return scores["source"]["source"] - scores["source"]["target"]', "harder"),
        (_LOSS + 'return scores["source"]["target"] - scores["target"]["target"]', "the sign"),
        (_LOSS + 'return scores["target"]["target"] - scores["target"]["source"]', "changes the test"),
        (_LOSS + 'return scores["source"]["source"] - scores["target"]["source"]', "the other way round"),
        (_LOSS + 'return scores["source"]["source"] - scores["target"]["target"]', "at once"),
        (_LOSS + 'return abs(scores["target"]["target"] - scores["source"]["target"])', "may be negative"),
        (_LOSS + 'return max(0, scores["target"]["target"] - scores["source"]["target"])', "may be negative"),
        (_LOSS + 'return 1 - scores["source"]["target"] / scores["target"]["target"]', "the share that is lost"),
        (_LOSS + 'return scores["target"]["target"]', "expected 0.5, yours gave 0.8"),
        (_LOSS + 'return scores["target", "target"] - scores["source", "target"]', "KeyError"),
    ],
    "00.4": [
        ('my_pairs = {"AB", "DE"}', "1 more"),
        ('my_pairs = {"AB", "DE", "EG"}', "VisDA-2020"),
        ('my_pairs = {"AB", "BC", "DE", "FG"}', "ImageNet"),
        ('my_pairs = {"AD"}', "the task"),
        ('my_pairs = {"ABC"}', "no pair"),
        ('my_pairs = {"EF"}', "the weights they start from"),
        ("my_pairs = 3", "expected a set of pairs"),
    ],
}

RIGHT = {
    "00.1": [
        _RANK + "return sorted(range(len(gallery)), key=lambda i: ((gallery[i] - query) ** 2).sum())",
        _RANK + "return torch.cdist(torch.tensor(query)[None], torch.tensor(gallery))[0].argsort()",
        _RANK + "return np.argsort(np.sum((gallery - query) ** 2, axis=1))",
        _RANK + "return [i for d, i in sorted((float(np.hypot.reduce(g - query)), i) for i, g in enumerate(gallery))]",
        "def rank_gallery(q, g):\n    return np.argsort(np.square(g).sum(axis=1) - 2 * g @ q)",
    ],
    "00.2": [
        "my_answer = [1 / 4, 2 / 4]",
        "my_answer = np.array([0.25, 0.5])",
        'my_answer = "25 %", "50 %"',
        'my_answer = "1/4", "1/2"',
        "from fractions import Fraction\nmy_answer = Fraction(1, 4), Fraction(1, 2)",
        "my_answer = torch.tensor([0.25, 0.5])",
    ],
    "00.3": [
        "def transfer_loss(s):\n    return np.float64(s['target']['target']) - s['source']['target']",
        "def transfer_loss(s):\n    return torch.tensor([s['target']['target'] - s['source']['target']]).double()",
        "def transfer_loss(s):\n    at_home, abroad = (s[who]['target'] for who in ('target', 'source'))\n"
        "    return at_home - abroad",
        "def transfer_loss(s):\n    on_target = {who: of['target'] for who, of in s.items()}\n"
        "    return -(on_target['source'] - on_target['target'])",
    ],
    "00.4": [
        'my_pairs = ["BA", "ED", "GF"]',
        'my_pairs = {("A", "B"), ("D", "E"), ("F", "G")}',
        'my_pairs = "AB, DE, FG"',
        'my_pairs = ("a-b", "d-e", "f-g")',
        'my_pairs = frozenset(["AB", "DE", "FG"])',
    ],
}
