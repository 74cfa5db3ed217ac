"""Which device to compute on, and with how many cores. The library computes where its caller says."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from nasda.errors import NasdaError
from nasda.settings import Precision


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises `NasdaError` where the machine has no such device.
    """
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    names += ["mps:0", "cpu:0"] if torch.backends.mps.is_available() else ["cpu:0"]
    short = [other.removesuffix(":0") for other in names]
    if name == "auto":
        return torch.device(short[0])
    if name not in (*names, *short):
        raise NasdaError(f"--device {name}: not on this machine; expected one of auto, {', '.join(short)}")
    return torch.device(name)


def available_cores() -> int:
    """The CPU cores that this process may use: of the machine's, those it is bound to and its container's quota."""
    from joblib import cpu_count  # here: it takes a while to load

    return cpu_count()


def synchronize(device: torch.device) -> None:
    """Wait until `device` has finished what it was given; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


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
    with ExitStack() as restored:
        restored.enter_context(torch.random.fork_rng(devices))
        if torch.backends.mps.is_available():
            restored.enter_context(torch.random.fork_rng([0], device_type="mps"))
        torch.manual_seed(int.from_bytes(digest) >> 1)
        yield


def at_least_float32(values: Tensor) -> torch.dtype:
    """The type that features come out as, and are averaged in, where autocast computed `values` in fewer bits."""
    return torch.promote_types(values.dtype, torch.float32)
