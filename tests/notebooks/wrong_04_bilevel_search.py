"""Plausible wrong answers to notebook 04, and words that the check must say of them."""

WRONG = {
    "04.1": [
        (
            "def leaked(samples, target):\n"
            "    seen = {s.path for s in samples}\n"
            "    return sorted({s.pid for s in target.query + target.gallery if s.path in seen} - {-1, 0})",
            "compare identities",
        ),
        (
            "def leaked(samples, target):\n    return sorted({s.pid for s in samples} & {s.pid for s in target.query})",
            "gallery is tested too",
        ),
        (
            "def leaked(samples, target):\n"
            "    return sorted({s.pid for s in samples} & {s.pid for s in target.gallery} - {-1, 0})",
            "of whom the gallery has nothing",
        ),
        (
            "def leaked(samples, target):\n"
            "    return sorted({s.pid for s in samples} & {s.pid for s in target.query + target.gallery})",
            "distractors are nobody",
        ),
        ("def leaked(samples, target):\n    return 3", "expected {}, yours gave 3"),
    ],
    "04.2": [
        ("def rest(xi):\n    return 1, 1", "ask where it is 0"),
        ("def rest(xi):\n    return 2 / (1 + xi), 2 / (1 + xi)", "what is left of the second term"),
        ("def rest(xi):\n    return (2, 2) if xi == 0 else (1, 1)", "only ξ = 1/2 is exact"),
        ("def rest(xi):\n    return 2 / (1 + 2 * xi)", "expected (2, 2), yours gave 2"),
    ],
    "04.3": [
        (
            "def mixed_product(gradient, weights, v, radius):\n"
            "    e = radius / v.norm()\n"
            "    return (gradient(weights + e * v) - gradient(weights - e * v)) / 2 * e",
            "divide by (2ε)",
        ),
        (
            "def mixed_product(gradient, weights, v, radius):\n"
            "    e = radius / v.norm()\n"
            "    return (gradient(weights + e * v) - gradient(weights)) / e",
            "one-sided",
        ),
        (
            "def mixed_product(gradient, weights, v, radius):\n"
            "    return (gradient(weights + radius * v) - gradient(weights - radius * v)) / (2 * radius)",
            "however long v is",
        ),
        (
            "def mixed_product(gradient, weights, v, radius):\n"
            "    e = radius / v.norm()\n"
            "    return (gradient(weights + e * v) - gradient(weights - e * v)) / e",
            "twice too long",
        ),
    ],
    "04.4": [
        (
            "import copy\n"
            "def save(run):\n"
            "    return copy.deepcopy({'w': run.weights.detach(), 'a': run.alphas.detach()})\n"
            "def load(run, state):\n"
            "    with torch.no_grad():\n"
            "        run.weights.copy_(state['w'])\n"
            "        run.alphas.copy_(state['a'])",
            "SGD remembers its momentum",
        ),
        (
            "def save(run):\n"
            "    return {'w': run.weights, 'a': run.alphas, 'generator': run.generator.get_state(),\n"
            "            'so': run.weights_optimizer.state_dict(), 'ao': run.alphas_optimizer.state_dict(),\n"
            "            'epoch': run.epoch}\n"
            "def load(run, state):\n"
            "    with torch.no_grad():\n"
            "        run.weights.copy_(state['w'])\n"
            "        run.alphas.copy_(state['a'])\n"
            "    run.weights_optimizer.load_state_dict(state['so'])\n"
            "    run.alphas_optimizer.load_state_dict(state['ao'])\n"
            "    run.generator.set_state(state['generator'])\n"
            "    run.epoch = state['epoch']",
            "save copies",
        ),
        (
            "import copy\n"
            "def save(run):\n"
            "    return copy.deepcopy({'w': run.weights.detach(), 'so': run.weights_optimizer.state_dict(),\n"
            "                          'ao': run.alphas_optimizer.state_dict(), 'epoch': run.epoch})\n"
            "def load(run, state):\n"
            "    with torch.no_grad():\n"
            "        run.weights.copy_(state['w'])\n"
            "    run.weights_optimizer.load_state_dict(state['so'])\n"
            "    run.alphas_optimizer.load_state_dict(state['ao'])\n"
            "    run.epoch = state['epoch']",
            "forgets its decisions",
        ),
        (
            "import copy\n"
            "def save(run):\n"
            "    return copy.deepcopy({'w': run.weights.detach(), 'a': run.alphas.detach(), 'epoch': run.epoch,\n"
            "            'so': run.weights_optimizer.state_dict(), 'ao': run.alphas_optimizer.state_dict()})\n"
            "def load(run, state):\n"
            "    with torch.no_grad():\n"
            "        run.weights.copy_(state['w'])\n"
            "        run.alphas.copy_(state['a'])\n"
            "    run.weights_optimizer.load_state_dict(state['so'])\n"
            "    run.alphas_optimizer.load_state_dict(state['ao'])\n"
            "    run.epoch = state['epoch']",
            "the next batches would be others",
        ),
    ],
}
