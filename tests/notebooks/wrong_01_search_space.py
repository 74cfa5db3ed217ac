"""Plausible wrong answers to the exercises of notebook 01, and words that they are told."""

WRONG = {
    "01.1": [
        ("def sep_conv_weights(channels):\n    return 9 * channels + channels**2", "DARTS applies two"),
        ("def sep_conv_weights(channels):\n    return 9 * channels**2", "ordinary 3×3 convolution: there"),
        ("def sep_conv_weights(channels):\n    return 18 * channels**2", "two ordinary 3×3"),
        ("sep_conv_weights = 104", "expected a function"),
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
            "expected the shape",
        ),
    ],
    "01.3": [
        (
            "def cell(inputs, nodes):\n    states = list(inputs)\n    for (f, i), (g, j) in nodes:\n"
            "        states.append(f(states[i]) + g(states[j]))\n    return torch.cat(states, dim=1)",
            "only nodes go into the output",
        ),
        (
            "def cell(inputs, nodes):\n    states = list(inputs)\n    for (f, i), (g, j) in nodes:\n"
            "        states.append(f(states[i]) + g(states[j]))\n    return sum(states[2:])",
            "not their sum",
        ),
        (
            "def cell(inputs, nodes):\n"
            "    return torch.cat([f(inputs[i]) + g(inputs[j]) for (f, i), (g, j) in nodes], dim=1)",
            "IndexError",
        ),
        (
            "def cell(inputs, nodes):\n    states = list(inputs)\n    for (f, i), (g, j) in nodes:\n"
            "        states.append(f(states[i]) * g(states[j]))\n    return torch.cat(states[2:], dim=1)",
            "where I₀ is 1 and I₁ is 10",
        ),
    ],
    "01.4": [
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
    ],
    "01.5": [
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
    ],
}
