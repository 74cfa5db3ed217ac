"""Races: how many times faster one way is than another that gives the same.

Under `make test` (`--benchmark-disable`) a race is run once, small, and its test asserts that both ways agree. Under
`make bench` it is run at full size, in turn, round by round, so that whatever else the machine does meets both alike;
each way once untimed before it is timed.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

Way = Callable[[], Any]


@pytest.fixture
def full(benchmark: BenchmarkFixture) -> bool:
    """Whether to measure at full size, rather than to see in a second whether both ways agree."""
    return benchmark.enabled


@pytest.fixture
def race(benchmark: BenchmarkFixture) -> Callable[..., tuple[Any, Any]]:
    """`race(slow, fast, at_least=3.2, rounds=5)`: run both, return what each returned on its first run.

    When measuring, asserts that the median over rounds of slow's time / fast's is `at_least` or more.
    """

    def run(slow: Way, fast: Way, *, at_least: float, rounds: int = 5) -> tuple[Any, Any]:
        results = slow(), fast()
        times: list[float] = []

        def time_slow() -> None:
            slow()
            start = time.perf_counter()
            slow()
            times.append(time.perf_counter() - start)
            fast()  # neither is timed in the memory and the caches that the other one left behind

        benchmark.pedantic(fast, setup=time_slow if benchmark.enabled else None, rounds=rounds)
        if benchmark.enabled:
            ratios = [a / b for a, b in zip(times, benchmark.stats.stats.data, strict=True)]
            benchmark.extra_info |= {
                "slow_seconds": times,
                "ratio": statistics.median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
                "at_least": at_least,
            }
            assert statistics.median(ratios) >= at_least
        return results

    return run


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(names)) or platform.machine()


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}",
    }


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.clear()  # nobody needs to know what the machine is called
    machine_info.update(machine())
