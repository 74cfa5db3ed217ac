"""nasda: neural architecture search for domain adaptation, as a course one can run.

Every name that the notebooks use is here, for instance `nasda.Supernet`. Its module is imported at the first use of
the name: `import nasda` alone loads neither torch nor matplotlib.
"""

import difflib
import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "genotypes": ("PRIMITIVES", "NAMED", "Genotype", "Edge", "derive", "random_genotype", "softmax", "entropy"),
    "operations": ("PartAware", "make_operation", "register_operation"),
    "cells": ("MixedOp", "SearchCell", "Cell"),
    "networks": ("Supernet", "DerivedNetwork", "ResNet", "PlainCNN", "count_cost"),
    "losses": ("softmax_loss", "triplet_loss", "retrieval_loss", "mine_hardest", "pairwise_distances"),
    "bilevel": ("Bilevel", "gradients", "second_order_gradient"),
    "search": ("Search", "run_search"),
    "training": ("run_training", "load_trained"),
    "evaluation": ("Metrics", "evaluate", "extract", "floors", "rank"),
    "settings": ("Profile", "changed", "profile"),
    "runs": ("RunFolder",),
    "errors": ("NasdaError",),
    "data.domain": ("Domain", "Sample"),
    "data.task": ("Task", "load_task", "target_sample"),
    "data.batches": ("Batches",),
    "data.images": ("augment", "decode", "normalize"),
    "data.store": ("stored",),
    "toy.make": ("make_toy",),
    "study.experiments": ("Experiment",),
    "pictures.plots": ("Plot",),
    "pictures.widgets": ("Live", "explore"),
    "course.check": ("check", "mine"),
    "course.predict": ("predict", "recall"),
    "course.open": ("Course", "open_course"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"nasda.{_MODULE_OF[name]}"), name)
    near = difflib.get_close_matches(name, __all__) or [known for known in __all__ if name.lower() in known.lower()]
    advice = f"did you mean {' or '.join(near)}?" if near else "dir(nasda) lists all names"
    raise AttributeError(f"nasda has no {name!r}: {advice}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
