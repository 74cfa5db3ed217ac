"""What `make bench` measured, as a Markdown table.

python -m tests.benchmarks.table runs/bench.json
"""

import json
import sys
from pathlib import Path
from typing import Any

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def table(report: dict[str, Any]) -> str:
    """`report` is what pytest-benchmark writes as JSON; races have both times and their ratio, other rows one time."""
    machine = report["machine_info"]
    lines = [
        f"{machine['processor']}; threads: {machine['threads']}; {machine['versions']}; {machine['system']}; "
        f"{report['datetime'][:10]}. Medians over rounds; of the ratios, taken round by round, also the smallest and "
        "the largest.",
        "",
        "| what | the clear or usual way | ours | times faster | asked for | besides |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_row(benchmark) for benchmark in report["benchmarks"]])


def _row(benchmark: dict[str, Any]) -> str:
    name = benchmark["name"].removeprefix("test_").replace("_", " ")
    found = dict(benchmark["extra_info"])
    slow, ratio, asked = "", "", ""
    if times := found.pop("slow_seconds", None):
        slow = _seconds(sorted(times)[len(times) // 2])
        ratio = f"{found.pop('ratio'):.2f} ({found.pop('ratio_min'):.2f} to {found.pop('ratio_max'):.2f})"
        asked = f"{found.pop('at_least'):g}"
    ours = _seconds(benchmark["stats"]["median"])
    besides = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items())
    return f"| {name} | {slow} | {ours} | {ratio} | {asked} | {besides} |"


def _seconds(value: float) -> str:
    size, unit = next((pair for pair in UNITS if value >= pair[0]), UNITS[-1])
    return f"{value / size:.3g} {unit}"


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
