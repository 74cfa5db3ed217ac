"""Which device to compute on. The library computes where its caller says; this is how the `nasda` command says it."""

import torch

from nasda.errors import NasdaError


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
