"""Which device to compute on. The library computes where its caller says; this is how the `nasda` command says it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nasda.errors import NasdaError
from nasda.settings import Precision


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises `NasdaError` where the machine has no such device.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return torch.device(available[0])
    if name.split(":")[0] not in available:
        raise NasdaError(f"--device {name}: not on this machine; expected auto or one of {', '.join(available)}")
    return torch.device(name)


def autocast(device: torch.device, precision: Precision, *, on_cpu: bool = False) -> torch.autocast:
    """Let the block's convolutions and matrix products compute in `precision` on CUDA; parameters stay float32.

    Other devices stay with float32. `on_cpu` takes a CPU too, which gains nothing, but shows what CUDA would do.
    """
    enabled = precision == "bfloat16" and (device.type == "cuda" or on_cpu)
    # No cache of cast weights: each is used once a pass, and a recorded pass must cast the weights of its own time.
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Run the block with torch's random numbers drawn from `numbers`, and leave the global state as it was.

    Weight initialisation and dropout know only global random numbers; this is how the library passes them a seed.
    """
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()  # other numbers, another seed
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int.from_bytes(digest) >> 1)
        yield


def at_least_float32(values: Tensor) -> torch.dtype:
    """The type that features come out as, and are averaged in, where autocast computed `values` in fewer bits."""
    return torch.promote_types(values.dtype, torch.float32)
