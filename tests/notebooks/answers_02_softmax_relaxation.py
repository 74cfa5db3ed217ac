"""Wrong answers to the exercises of notebook 02 with the words that tell each, and right ones in other forms."""

_MIXED = """
class MixedOp(nn.Module):
    def __init__(self, primitives, channels, stride, parts):
        super().__init__()
        self.operations = nn.ModuleList(
            make_operation(name, channels, stride, parts=parts, affine=False) for name in primitives
        )

    def forward(self, x, weights):
        return sum(weight * operation(x) for weight, operation in zip(weights, self.operations))
"""
_SUM = "sum(weight * operation(x) for weight, operation in zip(weights, self.operations))"

_CELL = """
from nasda.cells import MixedOp

class SearchCell(nn.Module):
    def __init__(self, nodes, primitives, inputs, channels, *, reduction=False, after_reduction=False, parts=4):
        super().__init__()
        self.inputs = CellInputs(*inputs, channels, after_reduction, affine=False)
        self.nodes = nodes
        self.edges = nn.ModuleList()
        for node in range(nodes):
            for state in range(2 + node):
                stride = 2 if reduction and state < 2 else 1
                self.edges.append(MixedOp(primitives, channels, stride, parts))

    def forward(self, before_last, last, weights):
        states = self.inputs(before_last, last)
        first = 0
        for node in range(self.nodes):
            rows = range(first, first + len(states))
            states.append(sum(self.edges[row](state, weights[row]) for row, state in zip(rows, states)))
            first += len(rows)
        return torch.cat(states[2:], dim=1)
"""

_DERIVE = """
def derive(alphas, primitives):
    real = [column for column, name in enumerate(primitives) if name != "none"]
    cells = {}
    for kind, rows in alphas.items():
        weights = softmax(rows)[:, real]
        strength, best = weights.max(axis=1), weights.argmax(axis=1)
        nodes, first = [], 0
        while first < len(strength):
            inputs = range(2 + len(nodes))
            kept = sorted(sorted(inputs, key=lambda i: -strength[first + i])[:2])
            nodes.append(tuple(Edge(primitives[real[best[first + i]]], i) for i in kept))
            first += len(inputs)
        cells[kind] = tuple(nodes)
    return Genotype(**cells)
"""


def _but(code: str, *changes: tuple[str, str]) -> str:
    """The code with changes, each of which must apply."""
    for old, new in changes:
        assert old in code, old
        code = code.replace(old, new)
    return code


_GRADIENT = "def alpha_gradient(alphas, outputs, upstream):\n"
_AT = "def weights_at(alphas, temperature):\n"

WRONG = {
    "02.1": [
        (_but(_MIXED, (_SUM, "sum(operation(x) for operation in self.operations)")), "without their weights"),
        (_but(_MIXED, ("zip(weights,", "zip(weights.softmax(0),")), "a softmax already"),
        (_but(_MIXED, (_SUM, f"{_SUM} / len(weights)")), "sum to 1 already"),
        (_but(_MIXED, (", affine=False", "")), "affine=False"),
        (_but(_MIXED, ("parts=parts, ", "")), "Hand parts on"),
        (
            _but(_MIXED, ("(name, channels, stride", "(name, channels, 1")),
            "stride on",
        ),
        (_but(_MIXED, ("nn.ModuleList(", "list(")), "in an nn.ModuleList"),
        (_but(_MIXED, ("weight * operation(x) for", "weight.item() * operation(x) for")), "α could not learn"),
        (
            _but(_MIXED, (f"return {_SUM}", "return self.operations[int(weights.argmax())](x)")),
            "the choice, not the mixture",
        ),
        (
            _but(
                _MIXED,
                (
                    f"return {_SUM}",
                    "out = self.operations[0](x)\n        out *= weights[0]\n"
                    "        for w, o in zip(weights[1:], self.operations[1:]):\n            out += w * o(x)\n"
                    "        return out",
                ),
            ),
            "stride 1",
        ),
        (_but(_MIXED, (f"return {_SUM}", _SUM)), "forward returned None"),
    ],
    "02.2": [
        (f"{_GRADIENT}    return torch.softmax(alphas, dim=0) * (outputs @ upstream)", "The baseline is missing"),
        (f"{_GRADIENT}    return outputs @ upstream", "through the softmax"),
        (
            f"{_GRADIENT}    w = torch.softmax(alphas, dim=0)\n    return w * (1 - w) * (outputs @ upstream)",
            "the other weights depend on",
        ),
        (
            f"{_GRADIENT}    w = torch.softmax(alphas, dim=0)\n    s = outputs.sum(1) * upstream.mean()\n"
            "    return w * (s - w @ s)",
            "a slope of its own",
        ),
        (
            f"{_GRADIENT}    a = alphas.clone().requires_grad_()\n    L = torch.softmax(a, 0) @ outputs @ upstream\n"
            "    return torch.autograd.grad(L, a)[0]",
            "uses autograd",
        ),
        (
            f"{_GRADIENT}    return torch.func.grad(lambda a: torch.softmax(a, 0) @ outputs @ upstream)(alphas)",
            "the closed form",
        ),
        (
            f"{_GRADIENT}    w, s = torch.softmax(alphas, 0), outputs @ upstream\n    return w * (s - s.mean())",
            "not the plain mean",
        ),
        (f"{_GRADIENT}    w, s = torch.softmax(alphas, 0), outputs @ upstream\n    return s - w @ s", "factor w_o"),
        (
            f"{_GRADIENT}    w, s = torch.softmax(alphas, 0), outputs @ upstream\n    return w * (w @ s - s)",
            "of descent",
        ),
    ],
    "02.3": [
        (f"{_AT}    return softmax(np.array(alphas) * temperature)", "multiplies by T"),
        (
            f"{_AT}    values = np.array(alphas)\n"
            "    return softmax(values / temperature) if temperature else np.eye(len(values))[values.argmax()]",
            "treats them alike",
        ),
        (
            f"{_AT}    values = np.array(alphas)\n    with np.errstate(all='ignore'):\n"
            "        return np.exp(values / temperature) / np.exp(values / temperature).sum()",
            "subtract the largest",
        ),
        (f"{_AT}    return softmax(np.array(alphas) / max(temperature, 0.05))", "a floor under T"),
        (f"{_AT}    return softmax(np.array(alphas) / max(temperature, 0.02))", "yours gave"),
        (f"{_AT}    return softmax(alphas)", "T is not used"),
        (
            f"{_AT}    values = np.array(alphas)\n    if temperature == 0:\n"
            "        return (values == values.max()) * 1.0\n"
            "    return softmax(values / temperature)",
            "tie for the largest",
        ),
        (f"{_AT}    return softmax(np.array(alphas) / (temperature + 1e-6))", "yours gave"),
    ],
    "02.4": [
        (_but(_CELL, ("weights[row])", "weights[row].softmax(0))")), "a softmax already"),
        (_but(_CELL, ("torch.cat(states[2:], dim=1)", "states[-1]")), "the last node"),
        (_but(_CELL, ("torch.cat(states[2:], dim=1)", "torch.cat(states, dim=1)")), "expected the shape"),
        (_but(_CELL, ("torch.cat(states[2:], dim=1)", "sum(states[2:])")), "concatenation"),
        (_but(_CELL, ("if reduction and state < 2 else", "if reduction else")), "halves its two inputs"),
        (_but(_CELL, ("zip(rows, states)))", "zip(rows, states)) / len(rows))")), "the mean over a node's edges"),
        (_but(_CELL, ("            first += len(rows)\n", "")), "the second and the third"),
        (_but(_CELL, ("= self.inputs(before_last, last)", "= self.inputs(before_last, last)[::-1]")), "are numbered"),
        (_but(_CELL, ("after_reduction, affine", "False, affine")), "Hand after_reduction on"),
        (_but(_CELL, ("weights[row])", "weights[row].detach())")), "α could not learn"),
        (_but(_CELL, ("nn.ModuleList()", "[]")), "of yours"),
    ],
    "02.5": [
        (_but(_DERIVE, ("softmax(rows)[:, real]", "softmax(np.asarray(rows)[:, real])")), "stays in the denominator"),
        (_but(_DERIVE, ("softmax(rows)[:, real]", "np.asarray(rows)[:, real]")), "raw α"),
        (_but(_DERIVE, ('if name != "none"', "")), "none"),
        (
            _but(
                _DERIVE,
                (
                    'column for column, name in enumerate(primitives) if name != "none"',
                    "1 + column for column in range(len(primitives) - 1)",
                ),
            ),
            "need not be the first",
        ),
        (_but(_DERIVE, ("sorted(sorted(inputs", "list(sorted(inputs")), "order of their inputs"),
        (_but(_DERIVE, ("-strength[first + i])", "(-strength[first + i], -i))")), "the earlier input wins"),
        (_but(_DERIVE, ("-strength[first + i]", "strength[first + i]")), "two weakest"),
        (_but(_DERIVE, ("softmax(rows)", 'softmax(alphas["normal"])')), "of the normal cell"),
        (_but(_DERIVE, ("return Genotype(**cells)", "return cells")), "expected a Genotype"),
        (_but(_DERIVE, ("-strength[first + i]", "-strength[i]")), "for an edge that is mostly none"),
        (_but(_DERIVE, ("], i) for i in kept", "], np.int64(i)) for i in kept")), "a plain int"),
    ],
    "02.6": [
        ("slope_of_none = 0.3655", "Mind the sign"),
        ("slope_of_none = 0", "lowers the weight of the skip"),
        ("slope_of_none = 0.731", "multiplies it by −w_none"),
        ("slope_of_none = -0.731", "factor w_none is missing"),
        ("slope_of_none = -0.88", "the mixture's are half"),
        ("slope_of_none = '-0.44'", "not to (0, 2)"),
        ("slope_of_none = torch.tensor(0.1345)", "the second class for the right one"),
        ("slope_of_none = -0.183", "in ȳ already"),
        ("slope_of_none = 'none'", "is not it"),
    ],
}

RIGHT = {
    "02.1": [
        _but(
            _MIXED,
            (
                f"return {_SUM}",
                "out = torch.stack([o(x) for o in self.operations])\n"
                "        return torch.einsum('o,obchw->bchw', weights, out)",
            ),
        ),
        _but(_MIXED, ("self.operations", "self.candidates")),
        _but(
            _MIXED,
            (
                f"return {_SUM}",
                "mixed = 0\n        for i, o in enumerate(self.operations):\n"
                "            mixed = mixed + o(x) * weights[i]\n        return mixed",
            ),
        ),
        "import torch.nn as N\nclass Mix(N.Module):\n    def __init__(self, names, C, s, p):\n"
        "        super().__init__()\n"
        "        for i, name in enumerate(names):\n"
        "            setattr(self, f'o{i}', make_operation(name, C, s, parts=p, affine=False))\n"
        "        self.n = len(names)\n"
        "    def forward(self, H, w):\n"
        "        return sum(getattr(self, f'o{i}')(H) * w[i] for i in range(self.n))\nMixedOp = Mix",
    ],
    "02.2": [
        f"{_GRADIENT}    w = alphas.exp() / alphas.exp().sum()\n    J = torch.diag(w) - torch.outer(w, w)\n"
        "    return J @ outputs @ upstream",
        f"{_GRADIENT}    w = torch.softmax(alphas, 0)\n    mean = (w[:, None] * outputs).sum(0)\n"
        "    return w * ((outputs - mean) * upstream).sum(1)",
        f"{_GRADIENT}    w, y, g = softmax(alphas), outputs.numpy(), upstream.numpy()\n"
        "    return w * (y @ g - w @ y @ g)",
        f"{_GRADIENT}    w, s = softmax(alphas).tolist(), (outputs @ upstream).tolist()\n"
        "    return [sum(w[p] * ((p == o) - w[o]) * s[p] for p in range(len(w))) for o in range(len(w))]",
    ],
    "02.3": [
        f"{_AT}    a = torch.tensor(alphas)\n    if temperature == 0:\n        best = (a == a.max()).float()\n"
        "        return best / best.sum()\n"
        "    return torch.softmax(a / temperature, 0)",
        f"{_AT}    best = max(alphas)\n    if not temperature:\n"
        "        return [(a == best) / alphas.count(best) for a in alphas]\n"
        "    powers = [np.exp((a - best) / temperature) for a in alphas]\n    return [p / sum(powers) for p in powers]",
        f"{_AT}    gaps = np.asarray(alphas) - max(alphas)\n    with np.errstate(all='ignore'):\n"
        "        p = np.exp(np.where(gaps == 0, 0, gaps / temperature))\n    return p / p.sum()",
        f"{_AT}    return softmax(np.asarray(alphas) / max(temperature, 1e-9))",
    ],
    "02.4": [
        _but(
            _CELL,
            ("from nasda.cells import MixedOp", "from nasda.cells import MixedOp as Mine"),
            ("edges.append(MixedOp", "edges.append(Mine"),
        ),
        _but(_CELL, ("self.inputs", "self.bring"), ("self.edges", "self.mixed")),
        _but(
            _CELL,
            ("self.nodes = nodes", "self.nodes = nodes; self.rows = node_slices(nodes)"),
            ("rows = range(first, first + len(states))", "rows = list(range(99))[self.rows[node]]"),
        ),
        "from nasda.cells import SearchCell",
    ],
    "02.5": [
        "from nasda.genotypes import derive",
        _but(
            _DERIVE, ("softmax(rows)[:, real]", "torch.softmax(torch.as_tensor(np.asarray(rows)), 1).numpy()[:, real]")
        ),
        _but(_DERIVE, ("nodes.append(tuple(", "nodes.append(list(")),
        """
def derive(alphas, primitives):
    def cell(rows):
        weights = [np.exp(row) / np.exp(row).sum() for row in np.asarray(rows)]
        nodes, start, size = [], 0, 2
        while start < len(weights):
            edges = []
            for i in range(size):
                pairs = [(w, name) for w, name in zip(weights[start + i], primitives) if name != "none"]
                w, name = max(pairs, key=lambda pair: pair[0])
                edges.append((-w, i, name))
            nodes.append(tuple(Edge(name, i) for i, name in sorted((i, name) for _, i, name in sorted(edges)[:2])))
            start, size = start + size, size + 1
        return tuple(nodes)
    return Genotype(cell(alphas["normal"]), cell(alphas["reduce"]))
""",
    ],
    "02.6": [
        "slope_of_none = -0.366",
        "slope_of_none = '-0.366'",
        "slope_of_none = torch.tensor([-0.3655])",
        "slope_of_none = -0.25 * 2 * torch.sigmoid(torch.tensor(1.0))  # w_none · w_skip · dL/dw_skip",
        "from fractions import Fraction\nslope_of_none = Fraction(-11, 30)",
        "slope_of_none = '-36.6 %'",
    ],
}
