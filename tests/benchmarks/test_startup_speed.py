"""How soon the command answers."""

import statistics
import subprocess
import sys

from pytest_benchmark.fixture import BenchmarkFixture


def test_help_comes_at_once(benchmark: BenchmarkFixture, full: bool) -> None:
    def ask_for_help() -> str:
        return subprocess.run(
            [sys.executable, "-m", "nasda.cli", "--help"], capture_output=True, text=True, check=True
        ).stdout

    answer = benchmark.pedantic(ask_for_help, rounds=5 if full else 1, warmup_rounds=int(full))
    for name in ("data", "search", "derive", "train", "evaluate", "draw", "gap", "doctor"):
        assert name in answer
    if full:
        assert statistics.median(benchmark.stats.stats.data) <= 0.5
