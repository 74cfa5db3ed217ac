"""Wrong answers to notebook 03's exercises that a student might well give, and words they should be told."""

_LOOPS = """def hardest(distances, labels):
    found = []
    for anchor in range(len(labels)):
        same = [i for i in range(len(labels)) if labels[i] == labels[anchor]{condition}]
        other = [i for i in range(len(labels)) if labels[i] != labels[anchor]]
        key = lambda i: distances[anchor][i]
        found.append(({of_same}(same, key=key, default=None), {of_other}(other, key=key, default=None)))
    return found"""

WRONG = {
    "03.1": [
        ("def triplet(positive, negative, margin): return max(margin, positive - negative)", "expected 0.8, yours"),
        ("def triplet(positive, negative, margin): return margin + positive - negative", "expected 0, yours gave -0.5"),
        ("def triplet(positive, negative, margin): return max(0, margin + negative - positive)", "yours gave 0"),
    ],
    "03.2": [
        (_LOOPS.format(condition=" and i != anchor", of_same="min", of_other="min"), "item 0: item 0: expected"),
        (_LOOPS.format(condition="", of_same="max", of_other="min"), "item 3: item 0: expected None, yours gave 3"),
        (_LOOPS.format(condition=" and i != anchor", of_same="max", of_other="max"), "item 0: item 1: expected"),
        ("def hardest(distances, labels): return distances.argmax(dim=1)", "expected (1, 3), yours gave 2"),
    ],
    "03.3": [
        ("def balance_in_effect(balance, batch): return balance * batch", "yours gave 16"),
        ("def balance_in_effect(balance, batch): return balance", "yours gave 0.5"),
        ("def balance_in_effect(balance, batch): return 1 - (1 - balance) / batch", "yours gave 0.9844"),
    ],
    "03.4": [
        (
            "def usable_anchors(labels): return sum(labels.count(label) > 1 for label in labels)",
            "for labels = [3, 3, 3, 3]: expected 0, yours gave 4",
        ),
        (
            "def usable_anchors(labels): return sum(labels.count(label) > 1 for label in set(labels))",
            "for labels = [0, 0, 1, 1]: expected 4, yours gave 2",
        ),
        ("def usable_anchors(labels): return len(labels)", "for labels = [0, 0, 0, 1, 2]: expected 3, yours gave 5"),
    ],
    "03.5": [
        ('my_answer = "a"', "the loss of every anchor 0"),
        ('my_answer = "c"', "every single anchor"),
        ('my_answer = "d"', "above the margin"),
        ("my_answer = 0.3", "one letter"),
    ],
}
