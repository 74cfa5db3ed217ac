"""Plausible wrong answers to notebook 07's exercises, and words of what each is told."""

_OPERATION = "def conv_1x1(channels, stride, parts, affine):\n    return nn.Sequential({})"
_NORM = "nn.BatchNorm2d(channels, affine=affine)"
_PARTIAL = (
    "def partial_channels(x, mixed, partial):\n"
    "    first = {}\n"
    "    y = torch.cat([mixed(x[:, :first]), x[:, first:]], 1)\n"
    "    return {}"
)

WRONG = {
    "07.1": [
        (
            _OPERATION.format(
                "nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=affine)"
            ),
            "must come out as (2, 4, 4, 4), yours gives (2, 4, 8, 8)",
        ),
        (
            _OPERATION.format(f"nn.ReLU(), nn.Conv2d(channels, channels, 1, stride, 1, bias=False), {_NORM}"),
            "yours gives (2, 4, 10, 10)",
        ),
        (
            _OPERATION.format(
                "nn.ReLU(), nn.Conv2d(channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)"
            ),
            "must not learn a scale",
        ),
        (
            _OPERATION.format(
                "nn.Conv2d(channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels, affine=affine)"
            ),
            "begin with a ReLU",
        ),
        (_OPERATION.format("nn.ReLU(), nn.Conv2d(channels, channels, 1, stride, bias=False)"), "no batch norm"),
        (
            _OPERATION.format(f"nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1, stride, bias=False), {_NORM}"),
            "changes its input",
        ),
        (
            _OPERATION.format(
                f"nn.ReLU(), nn.Conv2d(channels, channels, 1, stride, groups=channels, bias=False), {_NORM}"
            ),
            "has groups",
        ),
        (
            _OPERATION.format(f"nn.ReLU(), {_NORM}, nn.Conv2d(channels, channels, 1, stride, bias=False)"),
            "must come last",
        ),
    ],
    "07.2": [
        ('my_choice = ("skip_connect", "max_pool_3x3")', "plain DARTS' choice"),
        ('my_choice = ("avg_pool_3x3", "dil_conv_3x3")', "missed least"),
    ],
    "07.3": [
        (_PARTIAL.format("x.shape[1] // partial", "y"), "at [0, 1, 0, 0], expected 3, yours gave 2"),
        (
            "def partial_channels(x, mixed, partial):\n    return channel_shuffle(mixed(x), partial)",
            "partial = 2: at [0, 1, 0, 0], expected 3, yours gave 30",
        ),
        (_PARTIAL.format("x.shape[1] // partial", "mixed(x[:, :first])"), "expected the shape (1, 4, 1, 1)"),
        (
            _PARTIAL.format("partial", "channel_shuffle(y, partial)"),
            "partial = 4: at [0, 1, 0, 0], expected 3, yours gave 30",
        ),
    ],
    "07.4": [
        ('my_controls = {"A": 4, "B": 1, "C": 2, "D": 3}', "claim A: control 4"),
        ('my_controls = {"A": 3, "B": 2, "C": 1, "D": 4}', "claim B: control 2"),
        ('my_controls = {"A": 3, "B": 1}', "claim C has no control yet"),
    ],
    "07.5": [
        ("def seeds_for(spread, effect):\n    return max(6, math.ceil(2 * spread / abs(effect)))", "expected 36"),
        ("def seeds_for(spread, effect):\n    return max(6, int((2 * spread / abs(effect)) ** 2))", "expected 7"),
        ("def seeds_for(spread, effect):\n    return math.ceil((2 * spread / abs(effect)) ** 2)", "expected 6"),
    ],
}
