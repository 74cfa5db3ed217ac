"""Plausible wrong answers to the exercises of notebook 02, and the words that each must be told."""

WRONG = {
    "02.1": [
        (
            "def mixed_node(alphas, outputs):\n"
            "    weights = torch.softmax(alphas.flatten(), dim=0).reshape(alphas.shape)\n"
            "    return (weights[:, :, None] * outputs).sum(dim=(0, 1))",
            "a softmax of its own",
        ),
        (
            "def mixed_node(alphas, outputs):\n"
            "    return (torch.softmax(alphas, dim=0)[:, :, None] * outputs).sum(dim=(0, 1))",
            "dim=1",
        ),
        (
            "def mixed_node(alphas, outputs):\n    return torch.softmax(alphas[0], dim=0) @ outputs[0]",
            "as it is printed",
        ),
        (
            "def mixed_node(alphas, outputs):\n"
            "    return (torch.softmax(alphas, dim=1)[:, :, None] * outputs).sum(dim=1).mean(dim=0)",
            "eq. 6 sums over them",
        ),
        (
            "def mixed_node(alphas, outputs):\n    return (alphas[:, :, None] * outputs).sum(dim=(0, 1))",
            "expected 3.421, yours gave 4",
        ),
    ],
    "02.2": [
        (
            "def alpha_gradient(alphas, outputs, upstream):\n"
            "    return torch.softmax(alphas, dim=0) * (outputs @ upstream)",
            "The baseline is missing",
        ),
        ("def alpha_gradient(alphas, outputs, upstream):\n    return outputs @ upstream", "through the softmax"),
        (
            "def alpha_gradient(alphas, outputs, upstream):\n"
            "    w = torch.softmax(alphas, dim=0)\n"
            "    return w * (1 - w) * (outputs @ upstream)",
            "the other weights depend on",
        ),
    ],
    "02.3": [
        (
            "def weights_at(alphas, temperature):\n    return softmax(np.array(alphas) * temperature)",
            "temperature = 50",
        ),
        (
            "def weights_at(alphas, temperature):\n"
            "    values = np.array(alphas)\n"
            "    return softmax(values / temperature) if temperature else np.eye(len(values))[values.argmax()]",
            "expected 0.5, yours gave 1",
        ),
        (
            "def weights_at(alphas, temperature):\n"
            "    values = np.array(alphas)\n"
            "    with np.errstate(all='ignore'):\n"
            "        return np.exp(values / temperature) / np.exp(values / temperature).sum()",
            "temperature = 0.001",
        ),
    ],
    "02.4": [
        ('my_node = {("sep_conv_3x3", 1), ("sep_conv_3x3", 2)}', "stays in the denominator"),
        ('my_node = {("max_pool_3x3", 0), ("none", 1)}', "no part in the maximum"),
        ('my_node = {("max_pool_3x3", 0), ("skip_connect", 0)}', "two operations of one edge"),
        ('my_node = {("max_pool_3x3", 0), ("sep_conv_3x3", 1)}', "inputs 1 and 2"),
    ],
    "02.5": [
        ("slope_of_none = 0.5 * 0.5 * (1.6 - 1.2)", "Mind the sign"),
        ("slope_of_none = 0", "lowers the weight of the skip"),
        ("slope_of_none = -0.25", "the margin does not depend"),
        ("slope_of_none = -0.5 * (1.6 - 1.2)", "without the factor"),
    ],
}
