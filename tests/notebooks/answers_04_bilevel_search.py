"""Plausible wrong answers to notebook 04, and words that the check must say of them."""

DESCEND = """
def descend(loss_of, optimizer):
    own = [p for group in optimizer.param_groups for p in group["params"]]
    loss = loss_of()
    for p, g in zip(own, torch.autograd.grad(loss, own)):
        p.grad = g
    optimizer.step()
    return loss.detach()
"""
STEP = "def first_order_step(network, weight_loss, alpha_loss, sgd, adam):\n"
OPTIMIZERS = """    sgd = torch.optim.SGD(net.weight_parameters(), settings.weights_lr, settings.momentum,
                          weight_decay=settings.weights_decay)
    adam = torch.optim.Adam(net.architecture_parameters(), settings.alphas_lr, weight_decay=settings.alphas_decay)
"""
LOSSES = """
def eq9(net, batch, settings):
    f, h = net(batch[0])
    return retrieval_loss(f, h, batch[1], margin=settings.margin, balance=settings.balance)


def eq8(net, batch, settings):
    return triplet_loss(net.features(batch[0]), batch[1], settings.margin)
"""
SEARCH = LOSSES + "def search(net, source, target, settings, steps):\n"
ROUND = """        x, z = source.next(), target.next()
        first_order_step(net, lambda: eq9(net, x, settings), lambda: eq8(net, z, settings), sgd, adam)
"""
LOOP = "    for _ in range(steps):\n" + ROUND
SAVED = """import copy
def save(run):
    return copy.deepcopy({'w': run.weights.detach(), 'a': run.alphas.detach(), 'g': run.generator.get_state(),
                          'so': run.weights_optimizer.state_dict(), 'ao': run.alphas_optimizer.state_dict(),
                          'e': run.epoch})
"""
LOAD = """def load(run, state):
    with torch.no_grad():
        run.weights.copy_(state['w'])
        run.alphas.copy_(state['a'])
    run.weights_optimizer.load_state_dict(copy.deepcopy(state['so']))
    run.alphas_optimizer.load_state_dict(copy.deepcopy(state['ao']))
    run.generator.set_state(state['g'])
    run.epoch = state['e']
"""

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
        ("def leaked(samples, target):\n    return 3", "yours gave 3"),
        ("def leaked(samples, target):\n    return sorted({s.pid for s in samples})", "shares nobody with the test"),
        (
            "def leaked(samples, target):\n"
            "    tested = {s.pid for s in target.query + target.gallery}\n"
            "    return sorted(tested - {s.pid for s in samples} - {-1, 0})",
            "expected",
        ),
    ],
    "04.2": [
        ("def rest(xi):\n    return 1, 1", "ask where it is 0"),
        ("def rest(xi):\n    return 2 / (1 + xi), 2 / (1 + xi)", "what is left of the second term"),
        ("def rest(xi):\n    return (2, 2) if xi == 0 else (1, 1)", "only ξ = 1/2 is exact"),
        ("def rest(xi):\n    return 2 / (1 + 2 * xi)", "yours gave 2"),
        ("def rest(xi):\n    return 2 - 2 * xi, 2 - 2 * xi", "only ξ = 1/2 is exact"),
        ("def rest(xi):\n    return 2 / (1 + 2 * xi), 1", "expected 2, yours gave 1"),
        ("def rest(xi):\n    return 2 / (1 - 2 * xi), 2 / (1 - 2 * xi)", "ω"),
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
        (
            "def mixed_product(gradient, weights, v, radius):\n"
            "    e = radius / v.norm()\n"
            "    weights += e * v\n"
            "    plus = gradient(weights)\n"
            "    weights -= 2 * e * v\n"
            "    return (plus - gradient(weights)) / (2 * e)",
            "`weights` is not what it was",
        ),
        (
            "def mixed_product(gradient, weights, v, radius):\n"
            "    v *= radius / v.norm()\n"
            "    return (gradient(weights + v) - gradient(weights - v)) / (2 * v.norm())",
            "expected",
        ),
        (
            "def mixed_product(gradient, weights, v, radius):\n"
            "    e = radius / v.norm()\n"
            "    return (gradient(weights - e * v) - gradient(weights + e * v)) / (2 * e)",
            "expected",
        ),
    ],
    "04.4": [
        (
            DESCEND + STEP + "    with frozen_statistics(network):\n        second = descend(alpha_loss, adam)\n"
            "    return descend(weight_loss, sgd), second",
            "updates ω first",
        ),
        (DESCEND + STEP + "    return descend(weight_loss, sgd), descend(alpha_loss, adam)", "running statistics"),
        (
            STEP + "    first = weight_loss()\n    first.backward()\n    sgd.step()\n"
            "    with frozen_statistics(network):\n        second = alpha_loss()\n        second.backward()\n"
            "    adam.step()\n    return first.detach(), second.detach()",
            "adds to every `.grad`",
        ),
        (
            STEP + "    sgd.zero_grad()\n    first = weight_loss()\n    first.backward()\n    sgd.step()\n"
            "    adam.zero_grad()\n    with frozen_statistics(network):\n        second = alpha_loss()\n"
            "        second.backward()\n    adam.step()\n    return first.detach(), second.detach()",
            "fills the other learner's `.grad`",
        ),
        (
            DESCEND + STEP + "    descend(weight_loss, sgd)\n    with frozen_statistics(network):\n"
            "        descend(alpha_loss, adam)",
            "returned None",
        ),
        (
            DESCEND + STEP + "    with frozen_statistics(network):\n"
            "        return descend(weight_loss, sgd), descend(alpha_loss, adam)",
            "expected",
        ),
        (
            DESCEND + STEP + "    first = descend(weight_loss, sgd)\n    with frozen_statistics(network):\n"
            "        return first, descend(alpha_loss, sgd)",
            "expected",
        ),
        (
            DESCEND + STEP + "    first = descend(alpha_loss, sgd)\n    with frozen_statistics(network):\n"
            "        return first, descend(weight_loss, adam)",
            "expected",
        ),
    ],
    "04.5": [
        (SEARCH + OPTIMIZERS + LOOP.replace("target.next()", "source.next()"), "returned None"),
        (
            SEARCH + OPTIMIZERS + LOOP.replace("target.next()", "source.next()") + "    return net.genotype()",
            "α learns on the target's batches",
        ),
        (SEARCH + OPTIMIZERS + LOOP.replace("eq8", "eq9") + "    return net.genotype()", "triplet loss alone"),
        (
            SEARCH + "    sgd = torch.optim.SGD(net.weight_parameters(), settings.weights_lr, settings.momentum)\n"
            "    adam = torch.optim.Adam(net.architecture_parameters(), settings.alphas_lr)\n"
            + LOOP
            + "    return net.genotype()",
            "weight decay in the settings",
        ),
        (SEARCH + OPTIMIZERS + LOOP + "        return net.genotype()", "expected"),
        (SEARCH + OPTIMIZERS + LOOP + "    return net.architecture_parameters()", "expected"),
        (
            SEARCH + OPTIMIZERS.replace("settings.momentum,", "0.0,") + LOOP + "    return net.genotype()",
            "expected",
        ),
        (SEARCH + OPTIMIZERS + LOOP.replace("eq9", "eq8") + "    return net.genotype()", "expected"),
    ],
    "04.6": [
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
        (SAVED + LOAD.replace("copy.deepcopy(state['so'])", "state['so']"), "a second time"),
        (SAVED.replace("'e': run.epoch", "'e': 0") + LOAD, "the learning rate depends on it"),
        (
            SAVED + LOAD.replace("    run.alphas_optimizer.load_state_dict(copy.deepcopy(state['ao']))\n", ""),
            "Adam remembers",
        ),
    ],
}

RIGHT = {
    "04.1": [
        "def leaked(a, b):\n    return {s.pid for s in a} & {s.pid for s in [*b.query, *b.gallery]} - {0, -1}",
        "def leaked(samples, target):\n"
        "    found = []\n"
        "    for s in samples:\n"
        "        tested = any(t.pid == s.pid for t in target.query) or any(t.pid == s.pid for t in target.gallery)\n"
        "        if s.pid > 0 and tested and s.pid not in found:\n"
        "            found.append(s.pid)\n"
        "    return sorted(found)",
        "def leaked(samples, target):\n"
        "    tested = np.array([s.pid for s in list(target.query) + list(target.gallery)])\n"
        "    both = np.intersect1d([s.pid for s in samples], tested)\n"
        "    return both[both > 0]",
        "def leaked(samples, target):\n"
        "    tested = {s.pid: 1 for s in [*target.gallery, *target.query] if s.pid not in (0, -1)}\n"
        "    return (p for p in sorted(set(s.pid for s in samples)) if p in tested)",
    ],
    "04.2": [
        "def rest(xi):\n    return [2 / (1 + 2 * xi)] * 2",
        "def rest(step):\n    return np.full(2, 1 / (0.5 + step))",
        "def rest(xi):\n    return torch.tensor([2.0, 2.0], dtype=torch.float64) / (1 + 2 * xi)",
        "def rest(xi):\n"
        "    a, w = 0.0, 0.0\n"
        "    for _ in range(2000):\n"
        "        w -= 0.2 * 2 * (w - a)\n"
        "        a -= 0.1 * ((1 - 2 * xi) * w + 4 * xi * a - 2)\n"
        "    return a, w",
    ],
    "04.3": [
        "def mixed_product(gradient, weights, v, radius):\n"
        "    e = radius / torch.linalg.norm(v)\n"
        "    return 0.5 / e * (gradient(weights + v * e) - gradient(weights - v * e))",
        "def mixed_product(g, w, v, r):\n"
        "    unit, size = v / v.norm(), v.norm()\n"
        "    return size * (g(w + r * unit) - g(w - r * unit)) / (2 * r)",
        "def mixed_product(gradient, weights, v, radius):\n"
        "    e = radius / v.norm()\n"
        "    kept = weights.clone()\n"
        "    weights += e * v\n"
        "    plus = gradient(weights)\n"
        "    weights.copy_(kept - e * v)\n"
        "    minus = gradient(weights)\n"
        "    weights.copy_(kept)\n"
        "    return (plus - minus) / (2 * e)",
        "def mixed_product(gradient, weights, v, radius):\n"
        "    e = radius / v.square().sum().sqrt()\n"
        "    return sum(s * gradient(weights + s * e * v) / (2 * e) for s in (1, -1)).numpy()",
    ],
    "04.4": [
        DESCEND + STEP + "    first = descend(weight_loss, sgd)\n    with frozen_statistics(network):\n"
        "        second = descend(alpha_loss, adam)\n    return [first, second]",
        STEP + "    w = [p for g in sgd.param_groups for p in g['params']]\n"
        "    a = [p for g in adam.param_groups for p in g['params']]\n"
        "    sgd.zero_grad()\n    one = weight_loss()\n    one.backward(inputs=w)\n    sgd.step()\n"
        "    with frozen_statistics(network):\n        adam.zero_grad()\n        two = alpha_loss()\n"
        "        two.backward(inputs=a)\n    adam.step()\n    return one.detach(), two.detach()",
        STEP
        + "    one = weight_loss()\n    one.backward()\n    adam.zero_grad()\n    sgd.step()\n    sgd.zero_grad()\n"
        "    with frozen_statistics(network):\n        two = alpha_loss()\n        two.backward()\n"
        "        sgd.zero_grad()\n        adam.step()\n        adam.zero_grad()\n    return one.item(), two.item()",
        DESCEND + STEP.replace("weight_loss, alpha_loss", "l_s, l_t") + "    seen = [descend(l_s, sgd)]\n"
        "    with frozen_statistics(network):\n        seen.append(descend(l_t, adam))\n    return torch.stack(seen)",
    ],
    "04.5": [
        SEARCH + OPTIMIZERS + LOOP + "    return net.genotype()",
        SEARCH
        + OPTIMIZERS
        + "    done = 0\n    while done < steps:\n        done += 1\n"
        + ROUND
        + "    return net.genotype()",
        SEARCH
        + OPTIMIZERS.replace(
            "settings.weights_lr, settings.momentum", "settings.weights_lr, momentum=settings.momentum"
        )
        + LOOP
        + "    found = net.genotype()\n    return found",
        SEARCH.replace("settings, steps", "chosen, rounds")
        + OPTIMIZERS.replace("settings", "chosen")
        + LOOP.replace("settings", "chosen").replace("steps", "rounds")
        + "    return net.genotype()",
    ],
    "04.6": [
        SAVED + LOAD,
        "import copy\ndef save(run):\n    return copy.deepcopy(run.__dict__)\n"
        "def load(run, state):\n    run.__dict__.update(copy.deepcopy(state))",
        "import pickle\n"
        + SAVED.replace("return copy.deepcopy(", "return pickle.dumps(")
        + LOAD.replace("    with torch", "    state = pickle.loads(state)\n    with torch"),
        SAVED
        + LOAD.replace("run.weights.copy_(state['w'])", "run.weights.data = state['w'].clone()").replace(
            "run.alphas.copy_(state['a'])", "run.alphas[:] = state['a']"
        ),
    ],
}
