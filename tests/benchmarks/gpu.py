"""How fast the paper's search is on a GPU, and how far from the fastest that it could be.

    python -m tests.benchmarks.gpu --out gpu.json     everything: needs CUDA
    python -m tests.benchmarks.gpu --count            a step's operations and bytes only: needs no GPU
    python -m tests.benchmarks.gpu --smoke            everything on a CPU, tiny, to see that this script works

Prints Markdown tables and writes the same as JSON. The searches are real ones, of noise; the time of a step holds the
making of its batches.
"""

import argparse
import gc
import itertools
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from nasda.data.domain import Sample
from nasda.evaluation import rank
from nasda.losses import retrieval_loss, triplet_loss
from nasda.networks import Supernet
from nasda.search import Search
from nasda.settings import (
    ComputeSettings,
    DataSettings,
    Form,
    Precision,
    Profile,
    SearchSettings,
    SpaceSettings,
    profile,
)
from tests import tasks

PAPER = profile("paper", "person")
PAPER_STEPS = PAPER.search.epochs * (9840 // 64)  # PersonX's training images in batches of 64


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    space: SpaceSettings
    search: SearchSettings
    data: DataSettings
    source_identities: int
    target_identities: int
    steps: int  # measured for each way of computing
    long_steps: int  # measured for the best
    ranking: tuple[int, int, int]  # queries, gallery images, length of a feature
    matrix: int  # rows and columns of the matrix product that shows a device's peak
    copied: int  # bytes of the copy that shows its bandwidth


FULL = Scale(PAPER.space, PAPER.search, PAPER.data, 410, 751, 20, 300, (3368, 19732, 2048), 8192, 2**30)
SMOKE = Scale(tasks.SPACE, tasks.SEARCH, tasks.DATA, 6, 6, 2, 3, (20, 60, 8), 64, 2**12)

CLEAR, BEST = ComputeSettings("clear"), ComputeSettings("fast", "bfloat16", True)
WAYS = {
    "clear, float32": CLEAR,
    "fast, float32": ComputeSettings("fast"),
    "fast, bfloat16": ComputeSettings("fast", "bfloat16"),
    "fast, bfloat16, graphs": BEST,
}
SPACES = ("plain", "reid")

# What a step takes


def mark(device: torch.device) -> Any:
    """This moment in the device's work; on a CPU, of the clock."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(marks: Sequence[Any]) -> list[float]:
    """Seconds from each mark to the next, once the device has come to the last one."""
    if isinstance(marks[0], float):
        return [after - before for before, after in itertools.pairwise(marks)]
    marks[-1].synchronize()
    return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(marks)]


def repeated(work: Callable[[int], Any], times: int, device: torch.device, warm_ups: int = 3) -> list[float]:
    """Seconds that `work(i)` takes, each time; nobody waits in between."""
    for index in range(warm_ups):
        work(index)
    marks = [mark(device)]
    for index in range(warm_ups, warm_ups + times):
        work(index)
        marks.append(mark(device))
    return seconds_between(marks)


def step_seconds(
    scale: Scale,
    samples: tuple[list[Sample], list[Sample]],
    compute: ComputeSettings,
    device: torch.device,
    *,
    space: str,
    steps: int,
    order: str = "first",
    compiled: bool = False,
) -> dict[str, Any]:
    """The time of a search's steps and its peak memory; or that memory did not suffice."""
    gc.collect()  # an earlier search goes only now: it knows itself
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    row: dict[str, Any] = {"space": space, "order": order, "compiled": compiled, **asdict(compute)}
    try:
        search = Search(
            *samples,
            Profile(
                space=replace(scale.space, space=space),  # type: ignore[arg-type]
                search=replace(scale.search, order=order),  # type: ignore[arg-type]
                data=scale.data,
                compute=compute,
            ),
            seed=0,
            device=device,
        )
        search.network.train()
        for cell in search.network.cells if compiled else []:
            cell.compile()
        seconds = repeated(lambda index: search.step(0, index), steps, device)
    except torch.OutOfMemoryError:
        return row | {"steps": 0}
    low, median, high = np.quantile(seconds, [0.1, 0.5, 0.9]).tolist()
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    return row | {
        "steps": steps,
        "seconds": median,
        "seconds_p10": low,
        "seconds_p90": high,
        "seconds_mean": statistics.mean(seconds),
        "peak_bytes": peak,
    }


# What a step must take: the roofline


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, each on its own, and the operations. Views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        written = _tensors(result)
        if written and not _moves_nothing(func):
            self.operations += 1
            self.bytes += sum(map(_size, _tensors((args, kwargs)) + written))
        return result


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _moves_nothing(func: Any) -> bool:
    is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
    return is_view or func._schema.name.removeprefix("aten::").startswith(("empty", "new_empty", "_unsafe_view"))


def _size(values: Tensor) -> int:
    """Bytes of a tensor, of which an expanded one has fewer than elements."""
    return min(values.numel() * values.element_size(), values.untyped_storage().nbytes())


def conv_backward_flop(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any = None) -> int:
    """Of a convolution's gradients, by x and by its weight: each takes what the convolution took. PyTorch's own count
    forgets that the channels of a depth-wise convolution do not meet, and comes to many times as much."""
    wanted = rest[-1]
    return 2 * math.prod(grad) * math.prod(weight[1:]) * sum(wanted[:2])


def count_step(scale: Scale, space: str, form: Form, precision: Precision) -> dict[str, Any]:
    """Multiply-adds, bytes and operations of a first-order step's two passes, forward and backward, by making it with
    tensors that have shapes only. Bytes are those that must move when every operation reads its inputs from memory and
    writes its outputs there."""
    settings = scale.search
    size = (settings.identities * settings.images, 3, scale.data.height, scale.data.width)
    counting = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: conv_backward_flop})
    with torch.device("meta"):
        network = Supernet(replace(scale.space, space=space), scale.source_identities, seed=0, form=form)  # type: ignore[arg-type]
        images = torch.empty(size, dtype=getattr(torch, precision)).to(memory_format=torch.channels_last)
        labels = torch.zeros(len(images), dtype=torch.long)
    network.to(images.dtype).head.float()
    # On shapes alone there is no autocast, so the parameters have the precision too: a few MB less, and no casts.
    with Traffic() as traffic, counting:
        features = network.features(images)
        loss = retrieval_loss(features, network.head(features), labels, margin=0.3, balance=0.5)
        torch.autograd.grad(loss, network.weight_parameters())
        loss = triplet_loss(network.features(images), labels, 0.3)
        torch.autograd.grad(loss, network.architecture_parameters())
    return {
        "space": space,
        "form": form,
        "precision": precision,
        "multiply_adds": counting.get_total_flops() // 2,
        "bytes": traffic.bytes,
        "operations": traffic.operations,
    }


def peaks(scale: Scale, device: torch.device) -> dict[str, float]:
    """What the device can do at its best: multiply-adds a second in both precisions, bytes a second."""
    found = {}
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, in which cuDNN convolves
    for precision in ("float32", "bfloat16"):
        a = torch.ones(scale.matrix, scale.matrix, device=device, dtype=getattr(torch, precision))
        best = min(repeated(lambda _, a=a: a @ a, 10, device))  # type: ignore[misc]
        found[precision] = scale.matrix**3 / best
    torch.set_float32_matmul_precision(allowed)
    values = torch.ones(scale.copied, dtype=torch.uint8, device=device)
    place = torch.empty_like(values)
    found["bandwidth"] = 2 * scale.copied / min(repeated(lambda _: place.copy_(values), 10, device))
    return found


def floor_seconds(counted: dict[str, Any], peak: dict[str, float]) -> float:
    """The least time for what was counted: computing and moving overlap at best."""
    return max(counted["multiply_adds"] / peak[counted["precision"]], counted["bytes"] / peak["bandwidth"])


# Ranking


def rank_seconds(scale: Scale, device: torch.device) -> dict[str, Any]:
    """The target's test at its real size, on the CPU and on the device, whose results have to be equal."""
    queries, gallery, length = scale.ranking
    random = np.random.default_rng(0)
    features = [random.standard_normal((n, length)).astype(np.float32) for n in (queries, gallery)]
    ids = [random.integers(1, high, n) for n in (queries, gallery) for high in (1 + queries // 4, 7)]
    seconds, results = {}, []
    for name in ("cpu", device.type):
        start = time.perf_counter()
        results.append(rank(*features, *ids, device=name).to_dict())
        seconds[name] = time.perf_counter() - start
    return {"queries": queries, "gallery": gallery, "seconds": seconds, "equal": results[0] == results[-1]}


# The report


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def way(row: dict[str, Any]) -> str:
    extras = [name for name in ("graphs", "compiled") if row[name]]
    return ", ".join([row["space"], row["order"], row["form"], row["precision"], *extras])


def steps_table(rows: Sequence[dict[str, Any]], floors: dict[tuple[str, str, str], float]) -> str:
    lines = []
    for row in rows:
        if not row["steps"]:
            lines.append([way(row), "out of memory", "", "", "", ""])
            continue
        floor = floors[row["space"], row["form"], row["precision"]] if row["order"] == "first" else None
        peak = row["peak_bytes"]
        lines.append(
            [
                way(row),
                f"{1000 * row['seconds']:.1f}",
                f"{1000 * row['seconds_p10']:.1f} to {1000 * row['seconds_p90']:.1f}",
                "" if peak is None else f"{peak / 2**30:.1f}",
                "" if floor is None else f"{1000 * floor:.1f}",
                "" if floor is None else f"{row['seconds'] / floor:.1f}",
            ]
        )
    return table(["step", "ms, median", "10 to 90 %", "peak GiB", "floor, ms", "over the floor"], lines)


def counts_table(counts: Sequence[dict[str, Any]]) -> str:
    header = ["first-order step", "G multiply-adds", "GB moved", "operations"]
    return table(
        header,
        [
            [
                f"{c['space']}, {c['form']}, {c['precision']}",
                f"{c['multiply_adds'] / 1e9:.4g}",
                f"{c['bytes'] / 1e9:.4g}",
                c["operations"],
            ]
            for c in counts
        ],
    )


def count_all(scale: Scale) -> list[dict[str, Any]]:
    chosen = dict.fromkeys((way.form, way.precision) for way in WAYS.values())
    return [count_step(scale, space, *of) for space in SPACES for of in chosen]


def write_images(scale: Scale, folder: Path) -> tuple[list[Sample], list[Sample]]:
    """Noise for ω and for α: K images an identity."""
    images = max(scale.search.images, scale.search.sample_images)
    domains = {"source": scale.source_identities, "target": scale.target_identities}
    of_weights, of_alphas = (
        tasks.make_split(folder / name, range(1, n + 1), range(1, 2), images, 1.0) for name, n in domains.items()
    )
    return of_weights, of_alphas


def measure(scale: Scale, device: torch.device, folder: Path, *, compiled: bool, save: Callable[[dict], None]) -> None:
    """Everything, printed and saved as it comes: what was measured stays, should the rest fail."""
    result: dict[str, Any] = {
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
            "versions": f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}",
        },
        "counts": count_all(scale),
        "peaks": peaks(scale, device),
        "steps": [],
    }
    peak = result["peaks"]
    print(f"{result['machine']['device']}; {result['machine']['versions']}")
    print(
        f"Measured peaks: {peak['float32'] / 1e12:.3g} T multiply-adds/s in float32 (TF32), "
        f"{peak['bfloat16'] / 1e12:.3g} in bfloat16, {peak['bandwidth'] / 1e9:.4g} GB/s\n"
    )
    print(counts_table(result["counts"]))
    floors = {(c["space"], c["form"], c["precision"]): floor_seconds(c, peak) for c in result["counts"]}

    samples = write_images(scale, folder)
    for space in SPACES:

        def steps(compute: ComputeSettings, count: int, space: str = space, **more: Any) -> dict[str, Any]:
            row = step_seconds(scale, samples, compute, device, space=space, steps=count, **more)
            result["steps"].append(row)
            save(result)
            return row

        rows = [steps(compute, scale.long_steps if compute == BEST else scale.steps) for compute in WAYS.values()]
        if compiled:
            steps(replace(BEST, graphs=False), scale.steps, compiled=True)
        steps(BEST, scale.steps, order="second")
        measured = [row for row in rows if row["steps"]]
        if measured:
            best = min(measured, key=lambda row: row["seconds"])
            minutes = PAPER_STEPS * best["seconds_mean"] / 60
            result.setdefault("search_minutes", {})[space] = minutes
            print(f"{space}: best is {way(best)}: the paper's {PAPER_STEPS} steps take {minutes:.1f} minutes")
            if rows[0]["steps"]:
                ratio = rows[0]["seconds"] / best["seconds"]
                result.setdefault("clear_over_best", {})[space] = ratio
                print(f"{space}: {ratio:.2f} times as fast as the clear form in float32")
    print("\n" + steps_table(result["steps"], floors))

    result["ranking"] = rank_seconds(scale, device)
    save(result)
    taken = ", ".join(f"{seconds:.2f} s on {name}" for name, seconds in result["ranking"]["seconds"].items())
    equal = "equal" if result["ranking"]["equal"] else "DIFFERENT"
    print(f"Ranking {' × '.join(map(str, scale.ranking))}: {taken}; results {equal}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    parser.add_argument("--smoke", action="store_true", help="run everything on the CPU, tiny")
    parser.add_argument("--count", action="store_true", help="count a step's operations and bytes only")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile on the cells too: minutes")
    options = parser.parse_args(arguments)
    scale = SMOKE if options.smoke else FULL

    def save(result: dict[str, Any]) -> None:
        if options.out is not None:
            options.out.write_text(json.dumps(result | {"smoke": options.smoke}, indent=2) + "\n", encoding="utf-8")

    if options.count:
        counts = count_all(scale)
        save({"counts": counts})
        print(counts_table(counts))
        return
    if options.smoke:
        print("smoke run on CPU: the figures mean nothing\n")
    elif not torch.cuda.is_available():
        parser.error("no CUDA on this machine: --count and --smoke need none")
    device = torch.device("cpu" if options.smoke else "cuda", None if options.smoke else torch.cuda.current_device())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NASDA_CACHE"] = str(Path(folder) / "cache")
        measure(scale, device, Path(folder), compiled=options.compile, save=save)


if __name__ == "__main__":
    main()
