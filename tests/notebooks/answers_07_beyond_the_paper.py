"""Answers to notebook 07's exercises: plausible wrong ones with words of what each is told, and right ones in another
form."""

_OPERATION = """
class ConvIBN(nn.Module):
    def __init__(self, channels, stride, parts, affine):
        super().__init__()
        half = channels // 2
        self.half = half
        self.conv = nn.Conv2d({conv})
        self.instance = {instance}
        self.batch = {batch}
    def forward(self, x):
        {forward}
"""
_PARTS = {
    "conv": "channels, channels, 1, stride, bias=False",
    "instance": "nn.InstanceNorm2d(half, affine=affine)",
    "batch": "nn.BatchNorm2d(channels - half, affine=affine)",
    "forward": "y = self.conv(torch.relu(x)); "
    "return torch.cat([self.instance(y[:, :self.half]), self.batch(y[:, self.half:])], 1)",
}


def _operation(**changes: str) -> str:
    return _OPERATION.format(**{**_PARTS, **changes})


_MISSED = """
def most_missed(weights, kind, edge, operations, loss):
    losses = []
    for column, name in enumerate(operations):
        copy = {{key: matrix.clone() for key, matrix in weights.items()}}
        {mask}
        losses.append({value})
    return {chosen}
"""
_MASK = "copy[kind][edge, column] = 0"
_VALUE = "-math.inf if name == 'none' else loss(copy)"
_ARGMAX = "int(np.argmax(losses))"


def _missed(mask: str = _MASK, value: str = _VALUE, chosen: str = _ARGMAX) -> str:
    return _MISSED.format(mask=mask, value=value, chosen=chosen)


_EDGES = """
def keep_operations(weights, edges, operations, loss, tune):
    kept = {{key: matrix.clone() for key, matrix in weights.items()}}
    for kind, edge in edges:
        column = {column}
        share = {share}
        kept[kind][edge] = 0
        kept[kind][edge, column] = share
        {tune}
    return {result}
"""


def _edges(
    column: str = "most_missed(kept, kind, edge, operations, loss)",
    share: str = "kept[kind][edge].sum()",
    tune: str = "tune(kept)",
    result: str = "kept",
) -> str:
    helper = _missed() + "\n"
    return helper + _EDGES.format(column=column, share=share, tune=tune, result=result)


_INPUTS = """
def keep_inputs(weights, nodes, operations, loss, tune):
    weights = {{key: matrix.clone() for key, matrix in weights.items()}}
    found = {{}}
    for kind, node in nodes:
        first, losses = {first}, {{}}
        for i in range(2 + node):
            copy = {{key: matrix.clone() for key, matrix in weights.items()}}
            {mask}
            losses[i] = {value}
        kept = {kept}
        found[kind, node] = tuple(Edge(operations[int(weights[kind][first + i].argmax())], {source}) for i in kept)
        others = [i for i in losses if i not in kept]
        for i in others:
            {remove}
        if {tuned}:
            tune(weights)
    cells = {{kind: tuple(found[key] for key in sorted(found) if key[0] == kind) for kind in weights}}
    return {result}
"""
_BOTH = {
    "first": "edge_count(node)",
    "mask": "copy[kind][first + i] = 0",
    "value": "loss(copy)",
    "kept": "sorted(sorted(losses, key=losses.get)[-2:])",
    "source": "i",
    "remove": "weights[kind][first + i] = 0",
    "tuned": "others",
    "result": 'Genotype(cells["normal"], cells["reduce"])',
}


def _inputs(**changes: str) -> str:
    return _INPUTS.format(**{**_BOTH, **changes})


_PARTIAL = (
    "def partial_channels(x, mixed, partial):\n"
    "    first = {}\n"
    "    y = torch.cat([mixed(x[:, :first]), x[:, first:]], 1)\n"
    "    return {}"
)
_SEEDS = "def seeds_for(spread, effect):\n    return "

WRONG = {
    "07.1": [
        (_operation(conv="channels, channels, 1, bias=False"), "expected the shape (3, 4, 4, 3)"),
        (_operation(conv="channels, channels, 1, stride, 1, bias=False"), "expected the shape"),
        (_operation(conv="channels, channels, 1, stride"), "bias=False"),
        (_operation(conv="channels, channels, 1, stride, groups=channels, bias=False"), "has groups"),
        (_operation(conv="channels, channels, 3, stride, 1, bias=False"), "the shapes"),
        (
            _operation(batch="nn.BatchNorm2d(channels - half)", instance="nn.InstanceNorm2d(half, affine=True)"),
            "must not learn a scale",
        ),
        (
            _operation(instance="None", batch="nn.BatchNorm2d(channels, affine=affine)").replace(
                _PARTS["forward"], "return self.batch(self.conv(torch.relu(x)))"
            ),
            "batch norm on all channels",
        ),
        (
            _operation(instance="nn.InstanceNorm2d(channels, affine=affine)", batch="None").replace(
                _PARTS["forward"], "return self.instance(self.conv(torch.relu(x)))"
            ),
            "instance norm on all channels",
        ),
        (_operation(forward=_PARTS["forward"].replace("torch.relu(x)", "x")), "The ReLU in front is missing"),
        (_operation(forward=_PARTS["forward"].replace("torch.relu(x)", "x.relu_()")), "in-place"),
        (_operation(forward="x.relu_(); return x.new_zeros(x.shape)"), "in-place"),
        (
            _operation(
                forward="y = self.conv(torch.relu(x)); n = self.batch.num_features; "
                "return torch.cat([self.batch(y[:, :n]), self.instance(y[:, n:])], 1)"
            ),
            "expected",
        ),
        (_operation(forward=_PARTS["forward"].replace("return ", "return torch.relu(") + ")"), "expected"),
        (_operation(forward="self.conv(torch.relu(x))"), "is there a `return`?"),
    ],
    "07.2": [
        (_missed(chosen="int(np.argmin(losses))"), "expected"),
        (_missed(value="math.inf if name == 'none' else loss(copy)", chosen="int(np.argmin(losses))"), "missed least"),
        (_missed(value="loss(copy)"), "none was chosen"),
        (
            "def most_missed(weights, kind, edge, operations, loss):\n"
            "    return max((w.item(), c) for c, w in enumerate(weights[kind][edge]) if operations[c] != 'none')[1]",
            "DARTS' own choice",
        ),
        (
            _missed(mask=_MASK + "; copy[kind][edge] *= weights[kind][edge].sum() / copy[kind][edge].sum()"),
            "The other weights were scaled up",
        ),
        (_missed(mask=_MASK + "; copy[kind][edge] /= copy[kind][edge].sum()"), "The other weights were scaled up"),
        (_missed(mask="copy[kind][:, column] = 0"), "from every edge"),
        (_missed(mask="copy[kind][edge] = 0; copy[kind][edge, column] = 1"), "expected"),
        (
            "def most_missed(weights, kind, edge, operations, loss):\n"
            "    losses = []\n"
            "    for column, name in enumerate(operations):\n"
            "        weights[kind][edge, column] = 0\n"
            "        losses.append(-math.inf if name == 'none' else loss(weights))\n"
            "    return int(np.argmax(losses))",
            "expected",
        ),
        (_missed(chosen="operations[int(np.argmax(losses))]"), "expected"),
        (_missed(chosen="max(losses)"), "expected"),
    ],
    "07.3": [
        (
            _edges(column="most_missed(weights, kind, edge, operations, loss)"),
            "judged with the weights of the start",
        ),
        (
            _edges(column="max((w.item(), c) for c, w in enumerate(kept[kind][edge]) if operations[c] != 'none')[1]"),
            "ask `most_missed`",
        ),
        (_edges(share="1.0"), "need not be 1"),
        (_edges(share="kept[kind][edge, column].clone()"), "kept its own weight"),
        (_edges(tune="pass"), "not called after each decision"),
        (_edges(tune="tune(weights)"), "expected"),
        (_edges(tune="pass", result="(tune(kept), kept)[1]"), "not called after each decision"),
        (_edges(result="None"), "returned None"),
        (_edges(result="[kept[kind].argmax(1) for kind in kept]"), "expected the shape"),
        (_edges(share="kept[kind][edge].max()"), "expected"),
        (_edges().replace("for kind, edge in edges", "for kind, edge in sorted(edges)"), "expected"),
    ],
    "07.4": [
        (_inputs(kept="sorted(sorted(losses, key=losses.get)[:2])"), "missed least"),
        (_inputs(value="float(weights[kind][first + i].sum())"), "largest weights"),
        (_inputs(remove="pass"), "must become 0"),
        (_inputs(tuned="False"), "`tune` was never called"),
        (_inputs(tuned="True"), "expected"),
        (_inputs(first="sum(range(node))"), "expected"),
        (_inputs(source="first + i"), "it raised NasdaError"),
        (_inputs(kept="sorted(losses, key=losses.get)[-2:]"), "expected"),
        (_inputs(result='Genotype(cells["reduce"], cells["normal"])'), "expected"),
        (_inputs(mask="copy[kind][i] = 0"), "expected"),
        (_inputs(result='print(cells["normal"])'), "returned None"),
    ],
    "07.5": [
        (_PARTIAL.format("x.shape[1] // partial", "y"), "shuffle"),
        (
            "def partial_channels(x, mixed, partial):\n    return channel_shuffle(mixed(x), partial)",
            "4 channels went through `mixed`: it must be C/K = 2",
        ),
        (_PARTIAL.format("x.shape[1] // partial", "mixed(x[:, :first])"), "as many channels as the input"),
        (_PARTIAL.format("partial", "channel_shuffle(y, partial)"), "went through `mixed`"),
        (
            "def partial_channels(x, mixed, partial):\n"
            "    y = x.clone()\n"
            "    y[:, ::partial] = mixed(x[:, ::partial])\n"
            "    return y",
            "the next edge would mix the same ones",
        ),
        (
            "def partial_channels(x, mixed, partial):\n"
            "    n = x.shape[1] // partial\n"
            "    return channel_shuffle(torch.cat([mixed(x[:, :n]), x[:, :-n]], 1), partial)",
            "Each channel of x must occur once",
        ),
        (
            "def partial_channels(x, mixed, partial):\n"
            "    n = x.shape[1] // partial\n"
            "    return channel_shuffle(torch.cat([mixed(x[:, :n]) / partial, x[:, n:]], 1), partial)",
            "neither a channel of x nor",
        ),
        ("def partial_channels(x, mixed, partial):\n    return channel_shuffle(x, partial)", "0 channels went"),
    ],
    "07.6": [
        ('my_controls = {"A": 4, "B": 1, "C": 2, "D": 3}', "claim A: control 4"),
        ('my_controls = {"A": 3, "B": 2, "C": 1, "D": 4}', "claim B: control 2"),
        ('my_controls = {"A": 3, "B": 1}', "claim C has no control yet"),
        ('my_controls = {"A": 3, "B": 1, "C": 4, "D": 2}', "claim C: control 4"),
        ("my_controls = [1, 2, 3, 4]", "claim A: control 1"),
        ('my_controls = {"A": 1, "B": 3, "C": 2, "D": 4}', "claim A: control 1"),
        ("my_controls = 3", "expected a dictionary"),
        ('my_controls = {"A": [3], "B": 1, "C": 2, "D": 4}.keys()', "expected a dictionary"),
    ],
    "07.7": [
        (_SEEDS + "max(6, math.ceil(2 * spread / abs(effect)))", "Square it"),
        (_SEEDS + "max(6, int((2 * spread / abs(effect)) ** 2))", "rounded up"),
        (_SEEDS + "max(6, round((2 * spread / abs(effect)) ** 2))", "rounded up"),
        (_SEEDS + "math.ceil((2 * spread / abs(effect)) ** 2)", "Below six seeds"),
        (_SEEDS + "max(6, math.ceil((spread / abs(effect)) ** 2))", "twice the standard error"),
        (_SEEDS + "max(5, math.ceil((2 * spread / effect) ** 2))", "expected 6"),
        (_SEEDS + "max(6, math.ceil(4 * spread / effect ** 2))", "The spread is squared"),
        (_SEEDS + "max(6, (2 * spread / effect) ** 2)", "expected 7"),
    ],
}

RIGHT = {
    "07.1": [
        _operation(batch="nn.BatchNorm2d(channels - half, affine=affine); self.parts = parts"),
        _operation(
            forward="y = self.conv(nn.functional.relu(x)); a, b = y.split([self.half, y.shape[1] - self.half], 1); "
            "return torch.cat((self.instance(a), self.batch(b)), dim=1)"
        ),
        _operation(
            forward="y = self.conv(x.clamp(min=0)); k = self.half; "
            "return torch.cat([self.instance(y[:, :k]), self.batch(y[:, k:])], -3)"
        ),
        "from nasda.operations import IBN\n"
        "def ConvIBN(channels, stride, parts, affine):\n"
        "    conv = nn.Conv2d(channels, channels, (1, 1), stride=(stride, stride), bias=False)\n"
        "    return nn.Sequential(nn.ReLU(), conv, IBN(channels, affine))",
        _operation(instance="nn.GroupNorm(half, half, affine=affine)"),
    ],
    "07.2": [
        _missed(chosen="torch.tensor(losses).argmax()"),
        _missed(chosen="losses.index(max(losses))"),
        "def most_missed(w, cell, e, names, measure):\n"
        "    def without(o):\n"
        "        mask = torch.ones_like(w[cell]); mask[e, o] = 0\n"
        "        return measure({**w, cell: w[cell] * mask})\n"
        "    return max((o for o, n in enumerate(names) if n != 'none'), key=without)",
        "import copy\n"
        "def most_missed(weights, kind, edge, operations, loss):\n"
        "    best, found = None, -1e9\n"
        "    for o in range(len(operations)):\n"
        "        changed = copy.deepcopy(weights)\n"
        "        changed[kind][edge][o] = 0\n"
        "        rise = loss(changed) - loss(weights)\n"
        "        if operations[o] != 'none' and rise > found:\n"
        "            best, found = o, rise\n"
        "    return np.int64(best)",
    ],
    "07.3": [
        _edges(result="{'reduce': kept['reduce'], 'normal': kept['normal']}"),
        _edges(result="kept['normal'], kept['reduce']"),
        _edges(result="{kind: matrix.numpy() for kind, matrix in kept.items()}"),
        _missed() + "\ndef keep_operations(weights, edges, operations, loss, tune):\n"
        "    for kind, edge in edges:\n"
        "        row = torch.zeros_like(weights[kind][edge])\n"
        "        row[most_missed(weights, kind, edge, operations, loss)] = weights[kind][edge].sum()\n"
        "        weights[kind][edge] = row\n"
        "        tune(weights)\n"
        "    return weights",
    ],
    "07.4": [
        _inputs(result="Genotype.from_darts(normal=cells['normal'], reduce=cells['reduce'])"),
        _inputs(result="Genotype(**cells)"),
        _inputs(first="node * (node + 3) // 2"),
        _inputs(kept="sorted(torch.tensor([losses[i] for i in range(2 + node)]).topk(2).indices.tolist())"),
        _inputs(first="sum(2 + n for n in range(node))", tuned="node > 0"),
    ],
    "07.5": [
        "def partial_channels(x, mixed, partial):\n"
        "    a, b = x.split([x.shape[1] // partial, x.shape[1] - x.shape[1] // partial], dim=1)\n"
        "    return nn.ChannelShuffle(partial)(torch.cat((mixed(a), b), dim=1))",
        "def partial_channels(x, mixed, partial):\n"
        "    chosen = torch.arange(x.shape[1]) % partial == 0\n"
        "    return torch.cat([mixed(x[:, chosen]), x[:, ~chosen]], dim=1)",
        "def partial_channels(x, mixed, partial):\n"
        "    y = x.clone()\n"
        "    y[:, ::partial] = mixed(x[:, ::partial])\n"
        "    return torch.roll(y, 1, dims=1)",
        "def partial_channels(x, mixed, partial):\n"
        "    n = x.shape[1] // partial\n"
        "    y = torch.cat([mixed(x[:, :n]), x[:, n:]], 1)\n"
        "    b, c, h, w = y.shape\n"
        "    return y.reshape(b, partial, n, h, w).transpose(1, 2).reshape(b, c, h, w)",
    ],
    "07.6": [
        'my_controls = {"A": "3", "B": "1", "C": "2", "D": "4"}',
        'my_controls = {"A": 3.0, "B": "1.0", "C": np.int64(2), "D": torch.tensor(4)}',
        'my_controls = {"a": 3, "b": 1, "c": 2, "d": 4}',
        "my_controls = (3, 1, 2, 4)",
        'my_controls = {"A": "control 3", "B": "(1)", "C": "2.", "D": "4"}',
        "my_controls = np.array([3, 1, 2, 4])",
    ],
    "07.7": [
        "def seeds_for(spread, effect):\n"
        "    n = 6\n"
        "    while 2 * spread / math.sqrt(n) > abs(effect):\n"
        "        n += 1\n"
        "    return n",
        _SEEDS + "float(max(6, np.ceil(4 * spread**2 / effect**2)))",
        _SEEDS + "torch.tensor([6, math.ceil((2 * spread / effect) ** 2)]).max()",
        _SEEDS + "max(6, -int(-((2 * spread / abs(effect)) ** 2) // 1))",
    ],
}
