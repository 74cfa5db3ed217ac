"""Which device to compute on, and with how many cores. The caller of the library chooses."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from nasda.errors import NasdaError
from nasda.settings import Precision


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is CUDA, Apple's MPS or the CPU, the first that the machine has. Raises
    `NasdaError` if the machine has no such device."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    names += ["mps:0", "cpu:0"] if torch.backends.mps.is_available() else ["cpu:0"]
    short = [other.removesuffix(":0") for other in names]
    if name == "auto":
        return torch.device(short[0])
    if name not in (*names, *short):
        raise NasdaError(f"--device {name}: not on this machine; expected one of auto, {', '.join(short)}")
    return torch.device(name)


def available_cores() -> int:
    """The number of CPU cores that this process may use, under its affinity and its container's quota."""
    from joblib import cpu_count  # here, because it is slow to load

    return cpu_count()


def synchronize(device: torch.device) -> None:
    """Wait until `device` has finished its work; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def autocast(device: torch.device, precision: Precision, *, on_cpu: bool = False) -> torch.autocast:
    """Let the block's convolutions and matrix products compute in `precision` on CUDA; parameters stay float32.

    Other devices keep float32. With `on_cpu`, a CPU does the same: no faster, but tests can see the rounding.
    """
    enabled = precision == "bfloat16" and (device.type == "cuda" or on_cpu)
    # No cache of cast weights: each is used once a pass, and a replayed CUDA graph must cast the current weights.
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Let CUDA's float32 convolutions in the block keep full precision; TF32, the default, keeps 10 mantissa bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Run the block with torch's global generators seeded from `numbers`; afterwards they are as before.

    Weight initialisation and dropout use only these generators; this is how the library passes them a seed.
    """
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with ExitStack() as restored:
        restored.enter_context(torch.random.fork_rng(devices))
        if torch.backends.mps.is_available():
            restored.enter_context(torch.random.fork_rng([0], device_type="mps"))
        torch.manual_seed(int.from_bytes(digest) >> 1)
        yield


def at_least_float32(values: Tensor) -> torch.dtype:
    """The type for features and their averages: float32 if autocast computed `values` in fewer bits."""
    return torch.promote_types(values.dtype, torch.float32)
