"""Plausible wrong answers to the exercises of notebook 01 with words that they are told, and other right ones."""

import re

_SEPARABLE = """class SeparableConv(nn.Module):
    def __init__(self, channels, stride, affine=True):
        super().__init__()
        layers = []
        for step in (stride, 1):
            layers += [
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, step, padding=1, groups=channels, bias=False),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels, affine=affine),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)
"""

_PARTS = """class PartAware(nn.Module):
    def __init__(self, channels, stride, parts=4, affine=True):
        super().__init__()
        self.parts, self.hidden = parts, max(1, channels // 3)
        self.project = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(parts * channels, parts * self.hidden, 1, groups=parts, bias=False),
            nn.BatchNorm1d(parts * self.hidden, affine=affine),
        )
        self.query = nn.Linear(self.hidden, self.hidden)
        self.key = nn.Linear(self.hidden, self.hidden, bias=False)
        self.merge = nn.Conv2d(channels + self.hidden, channels, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def vectors(self, x):
        v = part_means(x, self.parts)
        u = self.project(v.flatten(1).unsqueeze(2))
        return u.reshape(len(x), self.parts, self.hidden)

    def attend(self, u):
        A = torch.softmax(self.query(u) @ self.key(u).transpose(1, 2), dim=2)
        return A @ u, A

    def forward(self, x):
        height, width = x.shape[2:]
        mixed, _ = self.attend(self.vectors(x))
        of_row = torch.arange(height) * self.parts // height
        spread = mixed[:, of_row].transpose(1, 2).unsqueeze(3).expand(-1, -1, -1, width)
        return self.norm(self.merge(torch.cat([x, spread], dim=1)))
"""

_CELL = """class Cell(nn.Module):
    def __init__(self, nodes, inputs, channels, *, reduction=False, after_reduction=False, parts=4):
        super().__init__()
        self.nodes = nodes
        self.inputs = CellInputs(*inputs, channels, after_reduction, affine=True)
        self.operations = nn.ModuleList()
        for node in nodes:
            for edge in node:
                stride = 2 if reduction and edge.input < 2 else 1
                self.operations.append(build_operation(edge.operation, channels, stride, parts=parts))

    def forward(self, before_last, last):
        states = self.inputs(before_last, last)
        operations = iter(self.operations)
        for node in self.nodes:
            first, second = (next(operations)(states[edge.input]) for edge in node)
            states.append(first + second)
        return torch.cat(states[2:], dim=1)
"""


def _changed(code: str, *changes: tuple[str, str]) -> str:
    """The code with some of its words replaced."""
    for old, new in changes:
        assert old in code, old
        code = code.replace(old, new)
    return code


def _without(code: str, method: str) -> str:
    """The class of the code without the body of one method."""
    return re.sub(rf"(def {method}\(.*?\):\n)(        .*\n|\n)+", r"\1        ...\n\n", code)


WRONG = {
    "01.1": [
        (_changed(_SEPARABLE, ("(stride, 1)", "(stride,)")), "DARTS applies it twice"),
        (_changed(_SEPARABLE, ("(stride, 1)", "(stride, stride)")), "the map is halved twice"),
        (_changed(_SEPARABLE, (", groups=channels", "")), "each channel is filtered by itself"),
        (_changed(_SEPARABLE, ("                nn.ReLU(),\n", "")), "a ReLU before each"),
        (_changed(_SEPARABLE, ("affine=affine", "affine=True")), "Hand affine on"),
        (_changed(_SEPARABLE, (", padding=1", "")), "expected the shape"),
        (_changed(_SEPARABLE, ("bias=False", "bias=True")), "the weights of the library's have the shapes"),
        (
            _changed(
                _SEPARABLE, ("                nn.ReLU(),\n", ""), ("affine=affine),", "affine=affine), nn.ReLU(),")
            ),
            "The ReLU comes first, and the batch norm last",
        ),
        (_changed(_SEPARABLE, ("nn.ReLU()", "nn.ReLU(inplace=True)")), "in-place operation"),
        (_changed(_SEPARABLE, ("return self", "self")), "is there a `return`?"),
        ("SeparableConv = {4: 104, 32: 2624}", "expected a class"),
    ],
    "01.2": [
        (
            "def part_means(x, parts):\n    return F.adaptive_avg_pool2d(x, (parts, 1))[..., 0].transpose(1, 2)",
            "overlap",
        ),
        (
            "def part_means(x, parts):\n    n = x.shape[2] // parts\n"
            "    return torch.stack([x[:, :, n * p : n * (p + 1)].mean(dim=(2, 3)) for p in range(parts)], dim=1)",
            "left out",
        ),
        (
            "def part_means(x, parts):\n"
            "    return torch.stack([s.mean(dim=(2, 3)) for s in x.tensor_split(parts, dim=2)], dim=1)",
            "longer stripes first",
        ),
        (
            "def part_means(x, parts):\n    b, c, h, w = x.shape\n"
            "    return x.reshape(b, c, parts, h // parts, w).mean(dim=(3, 4)).transpose(1, 2)",
            "it raised RuntimeError",
        ),
        (
            "def part_means(x, parts):\n    of_row = torch.arange(x.shape[2]) * parts // x.shape[2]\n"
            "    return torch.stack([x[:, :, of_row == p].mean(dim=(2, 3)) for p in range(parts)], dim=2)",
            "Parts come before channels",
        ),
        (
            "def part_means(x, parts):\n    of_row = torch.arange(x.shape[2]) * parts // x.shape[2]\n"
            "    means = torch.stack([x[:, :, of_row == p].mean(dim=(0, 2, 3)) for p in range(parts)])\n"
            "    return means.expand(len(x), -1, -1)",
            "Do not average over the batch",
        ),
        (
            "def part_means(x, parts):\n    of_row = torch.arange(x.shape[2]) * parts // x.shape[2]\n"
            "    return torch.stack([x[:, :, of_row == p].sum(dim=(2, 3)) for p in range(parts)], dim=1)",
            "H = 8 and P = 4 is the easy case",
        ),
        (
            "def part_means(x, parts):\n    size = math.ceil(x.shape[2] / parts)\n"
            "    return torch.stack([s.mean(dim=(2, 3)) for s in x.split(size, dim=2)], dim=1)",
            "8 rows are right, 10 rows in 4 parts are not",
        ),
        (
            "def part_means(x, parts):\n    of_row = torch.arange(x.shape[3]) * parts // x.shape[3]\n"
            "    return torch.stack([x[..., of_row == p].mean(dim=(2, 3)) for p in range(parts)], dim=1)",
            "those are stripes of columns",
        ),
    ],
    "01.3": [
        (_without(_PARTS, "attend"), "forward, step (d): C = 6"),
        (_changed(_PARTS, ("dim=2)\n        return A", "dim=1)\n        return A")), "Each row of A sums to 1"),
        (
            _changed(
                _PARTS,
                ("self.query(u) @ self.key(u).transpose(1, 2)", "self.query(u).transpose(1, 2) @ self.key(u)"),
                ("return A @ u", "return u @ A.transpose(1, 2)"),
            ),
            "not the channels",
        ),
        (_changed(_PARTS, ("transpose(1, 2), dim=2)", "transpose(1, 2) / self.hidden**0.5, dim=2)")), "not divided"),
        (_changed(_PARTS, ("return A @ u", "return A @ self.key(u)")), "no value projection"),
        (_changed(_PARTS, ("return A @ u, A", "return A @ u")), "attend returns two tensors"),
        (_changed(_PARTS, ("return A @ u, A", "return A.transpose(1, 2) @ u, A")), "without a transpose"),
        (_changed(_PARTS, ("cat([x, spread]", "cat([spread, x]")), "x comes first"),
        (_changed(_PARTS, ("            nn.ReLU(),\n", "")), "begins with a ReLU"),
        (_changed(_PARTS, ("v.flatten(1)", "v.transpose(1, 2).flatten(1)")), "all channels of part 0"),
        (
            _changed(
                _PARTS,
                (
                    "u.reshape(len(x), self.parts, self.hidden)",
                    "u.reshape(len(x), self.hidden, self.parts).transpose(1, 2)",
                ),
            ),
            "reshape to (B, P, h)",
        ),
        (
            _changed(_PARTS, ("torch.arange(height) * self.parts", "((torch.arange(height) + 1) * self.parts - 1)")),
            "Pool and spread over the same stripes",
        ),
        (
            _changed(
                _PARTS,
                (
                    "mixed[:, of_row].transpose(1, 2)",
                    "mixed.transpose(1, 2).repeat_interleave(height // self.parts, dim=2)",
                ),
            ),
            "it raised RuntimeError",
        ),
        (_changed(_PARTS, ("mixed, _ = self.attend(self.vectors(x))", "mixed = self.vectors(x)")), "take ũ, not u"),
        (
            _changed(
                _PARTS,
                ("self.norm(self.merge(torch.cat([x, spread], dim=1)))", "self.merge(torch.cat([x, spread], dim=1))"),
            ),
            "ends with a batch norm",
        ),
        (_changed(_PARTS, ("groups=parts, ", "")), "the weights of the library's have the shapes"),
        (_changed(_PARTS, ("1, stride, bias", "1, bias")), "expected the shape"),
        (
            _changed(_PARTS, ("affine=affine),\n        )", "),\n        )")),
            "the weights of the library's have the shapes",
        ),
        (
            _changed(
                _PARTS,
                ("        self.query = nn.Linear(self.hidden, self.hidden)\n", ""),
                (
                    "bias=False)\n        self.merge",
                    "bias=False)\n        self.asks = nn.Linear(self.hidden, self.hidden)\n        self.merge",
                ),
                ("self.query(u)", "self.asks(u)"),
            ),
            "name them as in the table",
        ),
    ],
    "01.4": [
        (_changed(_CELL, ("states[2:]", "states")), "only nodes go into the output"),
        (_changed(_CELL, ("torch.cat(states[2:], dim=1)", "sum(states[2:])")), "not their sum"),
        (_changed(_CELL, ("torch.cat(states[2:], dim=1)", "states[-1]")), "not the last one"),
        (_changed(_CELL, ("states[edge.input])", "states[1])")), "an edge says which state it reads"),
        (_changed(_CELL, ("first + second", "first.add_(second)")), "A skip hands on its state"),
        (_changed(_CELL, ("first + second", "first * second")), "not the product"),
        (_changed(_CELL, ("reduction and edge.input < 2", "reduction")), "and no others"),
        (_changed(_CELL, ("2 if reduction and edge.input < 2 else 1", "1")), "states 0 and 1 have stride 2"),
        (_changed(_CELL, ("parts=parts)", ")")), "Hand parts on"),
        (_changed(_CELL, ("channels, after_reduction,", "channels, False,")), "of yours"),
        (
            _changed(_CELL, ("self.inputs(before_last, last)", "self.inputs(before_last, last)[::-1]")),
            "state 1 is the last",
        ),
        (_changed(_CELL, ("nn.ModuleList()", "[]")), "only in modules that are attributes"),
        (_changed(_CELL, ("affine=True", "affine=False")), "of yours"),
        (_without(_CELL, "forward"), "is there a `return`?"),
    ],
    "01.5": [
        (
            "def count_cells(nodes, operations):\n"
            "    return math.prod(math.comb(2 + i, 2) * operations**2 for i in range(nodes))",
            "never stands in a derived cell",
        ),
        (
            "def count_cells(nodes, operations):\n"
            "    return math.prod((2 + i) * (1 + i) * (operations - 1) ** 2 for i in range(nodes))",
            "counted twice",
        ),
        (
            "def count_cells(nodes, operations):\n"
            "    return math.prod(((2 + i) * (operations - 1)) ** 2 for i in range(nodes))",
            "inputs of a node differ",
        ),
        (
            "def count_cells(nodes, operations):\n"
            "    return sum(math.comb(2 + i, 2) * (operations - 1) ** 2 for i in range(nodes))",
            "they multiply",
        ),
        (
            "def count_cells(nodes, operations):\n"
            "    return math.prod(math.comb(2 + i, 2) * (operations - 1) for i in range(nodes))",
            "an operation of its own",
        ),
        ("def count_cells(nodes, operations):\n    return (operations - 1) ** (2 * nodes)", "its two inputs as well"),
        (
            "def count_cells(nodes, operations):\n"
            "    return {(1, 6): 25, (2, 6): 1875, (4, 7): 302330880}[nodes, operations]",
            "KeyError",
        ),
        (
            "def count_cells(nodes, operations):\n    return math.comb(2 + nodes, 2) * (operations - 1) ** 2",
            "One node has",
        ),
        (
            "def count_cells(nodes, operations):\n"
            "    one = math.prod(math.comb(2 + i, 2) * (operations - 1) ** 2 for i in range(nodes))\n"
            "    return one**2",
            "number of genotypes",
        ),
        (
            "def count_cells(nodes, operations):\n"
            "    return math.prod(math.comb(3 + i, 2) * (operations - 1) ** 2 for i in range(nodes))",
            "no pair of a state with itself",
        ),
    ],
    "01.6": [
        (
            "def rows_per_block(height, stem_stride):\n"
            "    return [height // stem_stride // 2**block for block in range(4)]",
            "rounded up",
        ),
        (
            "def rows_per_block(height, stem_stride):\n"
            "    return [math.ceil(height / stem_stride / 2 ** (block + 1)) for block in range(4)]",
            "no reduction cell",
        ),
        (
            "def rows_per_block(height, stem_stride):\n    return [math.ceil(height / 2**block) for block in range(4)]",
            "stem divides",
        ),
        (
            "def rows_per_block(height, stem_stride):\n"
            "    return [math.ceil(height / stem_stride / 4**block) for block in range(4)]",
            "halves the rows",
        ),
        (
            "def rows_per_block(height, stem_stride):\n"
            "    return [round(height / stem_stride / 2**block) for block in range(4)]",
            "math.ceil, not round",
        ),
        (
            "def rows_per_block(height, stem_stride):\n"
            "    return [height / stem_stride / 2**block for block in range(4)]",
            "no half rows",
        ),
        (
            "def rows_per_block(height, stem_stride):\n"
            "    return [math.ceil(height / stem_stride / 2**block) for block in (3, 2, 1, 0)]",
            "its number comes first",
        ),
        (
            "def rows_per_block(height, stem_stride):\n    return [math.ceil(height / stem_stride)]",
            "that is block 1",
        ),
    ],
}

RIGHT = {
    "01.1": [
        "class SeparableConv(nn.Sequential):\n"
        "    def __init__(self, channels, stride, affine=True):\n"
        "        def half(s):\n"
        "            return [nn.ReLU(), nn.Conv2d(channels, channels, 3, s, 1, 1, channels, bias=False),\n"
        "                    nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=affine)]\n"
        "        super().__init__(*half(stride), *half(1))",
        "class SeparableConv(nn.Module):\n"
        "    def __init__(self, c, s, a=True):\n"
        "        super().__init__()\n"
        "        self.d1 = nn.Conv2d(c, c, 3, s, 1, groups=c, bias=False)\n"
        "        self.d2 = nn.Conv2d(c, c, 3, 1, 1, groups=c, bias=False)\n"
        "        self.p1, self.p2 = (nn.Conv2d(c, c, 1, bias=False) for _ in range(2))\n"
        "        self.n1, self.n2 = (nn.BatchNorm2d(c, affine=a) for _ in range(2))\n"
        "    def forward(self, x):\n"
        "        x = self.n1(self.p1(self.d1(x.clamp(min=0))))\n"
        "        return self.n2(self.p2(self.d2(F.relu(x))))",
        _changed(_SEPARABLE, ("nn.ReLU(),", "nn.ReLU(inplace=bool(layers)),")),
        _changed(
            _SEPARABLE,
            ("return self.layers(x)", "for layer in self.layers:\n            x = layer(x)\n        return x"),
        ),
        _changed(
            _SEPARABLE, ("3, step, padding=1", "3, step, padding=0"), ("nn.ReLU(),", "nn.ReLU(), nn.ZeroPad2d(1),")
        ),
    ],
    "01.2": [
        "def part_means(x, parts):\n    height = x.shape[2]\n"
        "    starts = [math.ceil(p * height / parts) for p in range(parts + 1)]\n"
        "    return torch.stack([x[:, :, a:b].mean((2, 3)) for a, b in zip(starts, starts[1:])], 1)",
        "def part_means(x, parts):\n    height = x.shape[2]\n"
        "    starts = [int(p * height / parts) for p in range(parts + 1)]\n"
        "    return torch.stack([x[:, :, a:b].mean((2, 3)) for a, b in zip(starts, starts[1:])], 1)",
        "def part_means(images, count):\n    rows = rows_to_parts(images.shape[2], count)\n"
        "    one_hot = F.one_hot(rows, count).to(images.dtype)\n"
        "    return torch.einsum('bchw,hp->bpc', images, one_hot / one_hot.sum(0)) / images.shape[3]",
        "def part_means(x, parts):\n    sums = [[0] * parts for _ in range(len(x))]\n    counts = [0] * parts\n"
        "    for r in range(x.shape[2]):\n        p = r * parts // x.shape[2]\n        counts[p] += 1\n"
        "        for b in range(len(x)):\n            sums[b][p] = sums[b][p] + x[b, :, r].mean(dim=1)\n"
        "    return torch.stack([torch.stack([s / n for s, n in zip(row, counts)]) for row in sums])",
        "def part_means(x, parts):\n    of_row = torch.arange(x.shape[2]) * parts // x.shape[2]\n"
        "    return torch.stack([x[:, :, of_row == p].mean(dim=(2, 3)) for p in range(parts)], dim=1).numpy()",
    ],
    "01.3": [
        _changed(
            _PARTS,
            ("self.project", "self.of_parts"),
            ("self.query", "self.q"),
            ("self.key", "self.k"),
            ("self.merge", "self.together"),
            ("self.norm", "self.last"),
        ),
        _changed(
            _PARTS,
            ("part_means(x, self.parts)", "self.means(x)"),
            ("torch.arange(height) * self.parts", "((torch.arange(height) + 1) * self.parts - 1)"),
        )
        + "\n    def means(self, x):\n        p, h = self.parts, x.shape[2]\n"
        "        edges = [i * h // p for i in range(p + 1)]\n"
        "        return torch.stack([x[:, :, a:b].mean((2, 3)) for a, b in zip(edges, edges[1:])], 1)\n",
        _changed(
            _PARTS,
            (
                "A = torch.softmax(self.query(u) @ self.key(u).transpose(1, 2), dim=2)",
                "A = torch.einsum('bph,bqh->bpq', self.query(u), self.key(u)).exp()\n"
                "        A = A / A.sum(2, keepdim=True)",
            ),
            ("return A @ u, A", "return [torch.einsum('bpq,bqh->bph', A, u), A]"),
        ),
        _changed(
            _PARTS,
            (
                "mixed[:, of_row].transpose(1, 2).unsqueeze(3).expand(-1, -1, -1, width)",
                "torch.stack([mixed[:, p] for p in of_row.tolist()], dim=2)[..., None].repeat(1, 1, 1, width)",
            ),
        ),
        "class PartAware(nn.Module):\n"
        "    def __init__(self, c, s, p=4, a=True):\n"
        "        super().__init__()\n"
        "        h = c // 3 or 1\n"
        "        self.p = p\n"
        "        self.norm = nn.BatchNorm2d(c, affine=a)\n"
        "        self.merge = nn.Conv2d(c + h, c, 1, s, bias=False)\n"
        "        self.key = nn.Linear(h, h, bias=False)\n"
        "        self.query = nn.Linear(h, h)\n"
        "        self.project = nn.Sequential(nn.ReLU(), nn.Conv1d(p * c, p * h, 1, groups=p, bias=False),\n"
        "                                     nn.BatchNorm1d(p * h, affine=a))\n"
        "    def vectors(self, x):\n"
        "        v = part_means(x, self.p).reshape(len(x), -1, 1)\n"
        "        return self.project(v).unflatten(1, (self.p, -1)).squeeze(3)\n"
        "    def attend(self, u):\n"
        "        A = F.softmax(self.query(u) @ self.key(u).mT, -1)\n"
        "        return A.bmm(u), A\n"
        "    def forward(self, x):\n"
        "        taken = self.attend(self.vectors(x))[0]\n"
        "        rows = rows_to_parts(x.shape[2], self.p)\n"
        "        spread = torch.zeros(len(x), taken.shape[2], *x.shape[2:], dtype=x.dtype)\n"
        "        spread = spread + taken.mT[:, :, rows, None]\n"
        "        return self.norm(self.merge(torch.cat((x, spread), 1)))",
    ],
    "01.4": [
        _changed(_CELL, ("first + second", "torch.add(first, second)"), ("self.operations", "self.made")),
        _changed(_CELL, ("build_operation(", "make_operation(")),
        "class Cell(nn.Module):\n"
        "    def __init__(self, nodes, channels_in, c, *, reduction=False, after_reduction=False, parts=4):\n"
        "        super().__init__()\n"
        "        self.bring = CellInputs(channels_in[0], channels_in[1], c, after_reduction, True)\n"
        "        self.sources = [[edge.input for edge in node] for node in nodes]\n"
        "        self.rows = nn.ModuleList(\n"
        "            nn.ModuleList(build_operation(o, c, 1 + (reduction and i < 2), parts=parts) for o, i in node)\n"
        "            for node in nodes)\n"
        "    def forward(self, a, b):\n"
        "        states = dict(enumerate(self.bring(a, b)))\n"
        "        for row, sources in zip(self.rows, self.sources):\n"
        "            states[len(states)] = sum(f(states[i]) for f, i in zip(row, sources))\n"
        "        return torch.cat([states[i] for i in range(2, len(states))], 1)",
        _changed(
            _CELL,
            ("        operations = iter(self.operations)\n", ""),
            ("for node in self.nodes:", "for n, node in enumerate(self.nodes):"),
            (
                "(next(operations)(states[edge.input]) for edge in node)",
                "(self.operations[2 * n + k](states[node[k].input]) for k in (0, 1))",
            ),
        ),
        _changed(_CELL, ("torch.cat(states[2:], dim=1)", "torch.stack(states[2:], dim=1).flatten(1, 2)")),
    ],
    "01.5": [
        "def count_cells(nodes, operations):\n    n = 1\n    for i in range(nodes):\n"
        "        n *= (2 + i) * (1 + i) // 2 * (operations - 1) ** 2\n    return n",
        "def count_cells(nodes, operations):\n"
        "    pairs = math.factorial(nodes) * math.factorial(nodes + 1) / 2**nodes\n"
        "    return pairs * (operations - 1) ** (2 * nodes)",
        "def count_cells(nodes, operations):\n    if nodes == 0:\n        return 1\n"
        "    pairs = len(list(combinations(range(nodes + 1), 2)))\n"
        "    return pairs * (operations - 1) ** 2 * count_cells(nodes - 1, operations)",
        "def count_cells(n, o):\n"
        "    return torch.tensor([math.comb(2 + i, 2) * (o - 1.0) ** 2 for i in range(n)], dtype=torch.float64).prod()",
    ],
    "01.6": [
        "def rows_per_block(height, stem_stride):\n"
        "    return torch.ceil(height / stem_stride / 2.0 ** torch.arange(4))",
        "def rows_per_block(height, stem_stride):\n"
        "    return tuple(-(-height // (stem_stride << block)) for block in range(4))",
        "def rows_per_block(height, stem_stride):\n"
        "    return (math.ceil(height / stem_stride / 2**block) for block in range(4))",
        "def rows_per_block(height, stem_stride):\n"
        "    rows = [float(math.ceil(height / stem_stride))]\n    while len(rows) < 4:\n"
        "        rows.append((rows[-1] + 1) // 2)\n    return rows",
    ],
}
