"""Ranks random features from disk in a process of its own, whose memory can be measured.

    python -m tests.ranking_from_disk FOLDER QUERIES GALLERY DIMENSION MEMORY

MEMORY is in MiB. Prints the seconds, the process's peak memory in bytes before and after, and the metrics, as JSON.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nasda.evaluation import rank
from nasda.fast.features import FeatureFile
from tests.oracle import market_ids


def random_features(seed: int, count: int, dimension: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for start in range(0, count, 10_000):
        yield generator.standard_normal((min(10_000, count - start), dimension), dtype=np.float32)


def peak() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS; Linux starts its count from the parent's
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 2**10


def main(folder: Path, queries: int, gallery: int, dimension: int, memory: int) -> dict[str, Any]:
    files = [
        FeatureFile.write(folder / f"{name}.npy", count, random_features(seed, count, dimension))
        for seed, (name, count) in enumerate([("query", queries), ("gallery", gallery)])
    ]
    few = np.ones((100, dimension), dtype=np.float32)
    rank(few, few, *market_ids(0, 100, 100, people=10))  # whatever torch loads on first use
    before, start = peak(), time.perf_counter()
    found = rank(*files, *market_ids(0, queries, gallery), memory=memory * 2**20)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "before": before, "peak": peak(), "metrics": found.to_dict()}


def measure(folder: Path, queries: int, gallery: int, dimension: int, memory: int) -> dict[str, Any]:
    """`main` in a process of its own."""
    words = [str(word) for word in (folder, queries, gallery, dimension, memory)]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.ranking_from_disk", *words], cwd=root, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
