"""tests.benchmarks.gpu runs where there is no GPU, so that it is known to work before there is one."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.gpu import SMOKE, Traffic, conv_backward_flop, count_step

ROOT = Path(__file__).parents[2]


def test_it_runs_small_on_a_cpu_and_says_that_this_means_nothing(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--smoke", "--out", str(out)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("smoke run on CPU: the figures mean nothing")
    result = json.loads(out.read_text())
    assert result["smoke"]
    assert len(result["steps"]) == 2 * 5
    assert all(row["seconds_p10"] <= row["seconds"] <= row["seconds_p90"] for row in result["steps"])
    assert result["ranking"]["equal"]
    assert set(result["clear_over_best"]) == set(result["search_minutes"]) == {"plain", "reid"}


def test_it_imports_nothing_that_a_bare_gpu_machine_may_lack() -> None:
    unwanted = {"nasda.cli", "tyro", "matplotlib", "sklearn", "pytest", "IPython"}
    code = f"import sys, tests.benchmarks.gpu; print({unwanted} & set(sys.modules) or 'none')"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "none"


def test_traffic_is_what_operations_read_and_write() -> None:
    x = torch.zeros(10, 100)
    with Traffic() as traffic:
        (x.t()[:, :5] + 1).sum()  # two views, two operations
    assert traffic.operations == 2
    assert traffic.bytes == 4 * ((500 + 500) + (500 + 1))


def test_bfloat16_moves_fewer_bytes_for_the_same_multiply_adds() -> None:
    exact, rough = (count_step(SMOKE, "plain", "clear", precision) for precision in ("float32", "bfloat16"))
    assert exact["multiply_adds"] == rough["multiply_adds"] > 0
    assert 0 < rough["bytes"] < exact["bytes"]


def test_a_depthwise_convolutions_gradients_cost_what_it_costs() -> None:
    convolution, x = torch.nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), torch.zeros(2, 6, 4, 5)
    mapping = {torch.ops.aten.convolution_backward: conv_backward_flop}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        convolution(x.requires_grad_()).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (2 * 6 * 4 * 5) * 9
