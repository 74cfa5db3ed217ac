"""nasda.devices: which device a name means, how many cores there are, what a block leaves as it was."""

import builtins
import io
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from nasda.devices import available_cores, choose_device, seeded, synchronize, without_tf32
from nasda.errors import NasdaError


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_a_device_that_is_there_is_chosen() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cpu:0") == torch.device("cpu:0")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


def test_a_gpu_goes_before_the_cpu(one_gpu: None) -> None:
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:0") == torch.device("cuda:0")


def test_mps_goes_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("mps") == torch.device("mps")


@pytest.mark.parametrize("name", ["abacus", "cpu:banana", "cpu:1", "cuda:7", "cuda:1", "cuda:", "mps", ""])
def test_a_device_that_is_not_there_is_refused_by_name(one_gpu: None, name: str) -> None:
    with pytest.raises(NasdaError, match=f"--device {name}: not on this machine; expected one of auto, cuda, cpu$"):
        choose_device(name)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process to cores")
def test_only_cores_that_the_process_is_bound_to_count() -> None:
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); from nasda.devices import available_cores as a; print(a())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1\n"


def test_a_containers_quota_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of sixteen cores, as `docker run --cpus 2` says it."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    quota, opened, exists = "/sys/fs/cgroup/cpu.max", builtins.open, os.path.exists

    def contained(path: Any, *arguments: Any, **options: Any) -> Any:
        return io.StringIO("200000 100000") if path == quota else opened(path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", contained)
    monkeypatch.setattr(os.path, "exists", lambda path: path == quota or exists(path))
    assert available_cores() == 2


def test_seeded_numbers_leave_the_global_state_as_it_was() -> None:
    before = torch.get_rng_state()
    with seeded(1, 2):
        first = torch.rand(3)
    with seeded(1, 2):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_numbers_leave_the_state_of_apples_gpu_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of torch.mps with a separate generator, which `torch.manual_seed` seeds too."""
    generator = torch.Generator().manual_seed(5)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda device=None: generator.get_state())
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state, device=None: generator.set_state(state))
    monkeypatch.setattr(torch.mps, "manual_seed", generator.manual_seed)
    before = generator.get_state()
    with seeded(1):
        assert not torch.equal(generator.get_state(), before)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_an_accelerator_is_waited_for_and_a_cpu_is_not(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    synchronize(torch.device("cpu"))
    synchronize(torch.device(kind))
    assert waited == [torch.device(kind)]


def test_tf32_is_left_out_within_the_block_only() -> None:
    before = torch.backends.cudnn.allow_tf32
    with without_tf32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
