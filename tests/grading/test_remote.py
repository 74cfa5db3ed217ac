"""Answers run behind a wall: what they return is right or wrong, and what they attempt does not get out."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from nasda.course import judges
from nasda.course.judges import NotAttempted, judged, like
from nasda.grading import remote
from nasda.grading.remote import Keeper, Raised, Stopped

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading forks: Linux and macOS")


@pytest.fixture(scope="module", params=["namespaces", "limits"])
def keeper(request: pytest.FixtureRequest) -> Iterator[Keeper]:
    with Keeper(namespaces=request.param == "namespaces") as found:
        if found.open("") != request.param:
            pytest.skip("this system allows no namespaces")
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SECONDS", 3)


def result(keeper: Keeper, code: str, *arguments: Any) -> Any:
    """What `f` of the code returns, or what was said of it."""
    try:
        keeper.open(code)
        return keeper.answer("f")(*arguments)
    except (Raised, Stopped) as error:
        return str(error)


def test_a_right_answer_is_judged_as_in_the_notebook(keeper: Keeper) -> None:
    exercise = like(lambda x: 2 * x, [{"x": 3.0}], draw=lambda rng: {"x": torch.tensor(rng.normal(size=4))}, draws=5)
    keeper.open(
        "import torch\ndef double(x):\n    return x + x\ndef square(x):\n    return x**2\ndef stub(x):\n    ..."
    )
    assert judged(exercise, keeper.answer("double")) is None
    wrong = judged(exercise, keeper.answer("square"))
    assert wrong
    assert wrong.words == "for x = 3: expected 6, yours gave 9"
    for name in ("stub", "other"):
        with pytest.raises(NotAttempted):
            keeper.answer(name)


def test_values_are_answers_too(keeper: Keeper) -> None:
    keeper.open("answer = {('a', 1)}\nother = ...")
    assert keeper.answer("answer") == {("a", 1)}


def test_an_answer_keeps_nothing_from_the_one_before(keeper: Keeper) -> None:
    keeper.open("import torch\ntorch.softmax = None\nf = 3")
    assert keeper.answer("f") == 3
    assert (
        result(keeper, "import torch\ndef f(x):\n    return torch.softmax(x, 0)", torch.zeros(2)).tolist() == [0.5] * 2
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("return 1 / 0", "it raised ZeroDivisionError: division by zero (line 3 of your cell: `return 1 / 0`)"),
        ("raise SystemExit", "it raised SystemExit"),
        ("while True: pass", "it was stopped after 3 s"),
        ("os._exit(0)", "its process has ended"),
        ("os.abort()", "its process has ended"),
        ("os.kill(os.getpid(), 9); os._exit(0)", "its process has ended"),  # the first in a namespace survives it
        ("return bytearray(10**10)[0]", "it needs more than 2 GB of memory"),
        ("open('big', 'wb').write(bytes(10**9))", "OSError"),
        ("return type('E', (), {'__eq__': lambda s, o: True})()", "yours gave an object of the class E"),
    ],
)
def test_what_goes_wrong_is_said(keeper: Keeper, code: str, words: str) -> None:
    assert words in result(keeper, f"import os, sys\ndef f():\n    {code}")


def test_a_syntax_error_is_said(keeper: Keeper) -> None:
    assert "SyntaxError" in result(keeper, "def f() return 1")


def test_printing_costs_time_alone(keeper: Keeper) -> None:
    assert result(keeper, "def f():\n    for _ in range(10**5): print('x' * 10**4)\n    return 1") == 1


@pytest.mark.parametrize(
    "forged",
    [
        b"[1]",
        b'{"value": 3}',
        b"{}",
        b"\xff",
        b'{"broken": "the grader"}',
        b'{"stopped": []}',
        b'{"value": {"nasda": []}}',
        b"[" * 5000,
    ],
)
def test_a_message_in_the_answer_s_place_is_no_value(keeper: Keeper, forged: bytes) -> None:
    lines = ["import os", "def f():", "    for fd in range(3, 50):"]
    lines += [f"        try: os.write(fd, {forged!r} + b'\\n')", "        except OSError: pass"]
    assert "it returned cannot be read" in (said := str(result(keeper, "\n".join(lines)))) or "ended" in said
    assert result(keeper, "def f():\n    return 2") == 2, "the keeper goes on"


def test_no_code_speaks_for_the_keeper(keeper: Keeper) -> None:
    """A class whose body writes into the channel does so while the submission is opened."""
    lines = ["import os", "class Forger:", "    for fd in range(3, 50):"]
    body = "\n".join([*lines, "        try: os.write(fd, FORGED)", "        except OSError: pass"])
    for forged in (b'{"broken": "x"}\n', b'{"stopped": "time"}\n', b'{"how": "nothing"}\n'):
        how = keeper.open(body.replace("FORGED", repr(forged)), "def f():\n    return 2")
        assert how == ("limits" if keeper.options else "namespaces")
    assert result(keeper, "def f():\n    return 2") == 2


def test_a_keeper_that_was_ended_is_started_again() -> None:
    with Keeper() as keeper:
        keeper.open("f = 1")
        keeper.process.kill()
        keeper.process.wait()
        with pytest.raises(Stopped):
            keeper.answer("f")
        assert keeper.open("f = 2")
        assert keeper.answer("f") == 2


def test_nothing_is_left_behind(keeper: Keeper) -> None:
    lines = ["import os, time", "def f():", "    for _ in range(5):", "        if os.fork() == 0:"]
    result(keeper, "\n".join([*lines, "            time.sleep(60)", "    return 1"]))
    result(keeper, "def f():\n    return 1")
    time.sleep(0.5)
    assert [pid for pid in psutil.pids() if is_orphan(pid)] == []


def is_orphan(pid: int) -> bool:
    """Is it a living process of a grader whose parent has ended?"""
    try:
        process = psutil.Process(pid)
        parent = process.parent()
        return "nasda.grading" in " ".join(process.cmdline()) and not (
            parent and any(name in parent.name() for name in ("python", "pytest"))
        )
    except psutil.Error:  # ended, or only its exit code is left
        return False


class TestBehindNamespaces:
    """What limits alone cannot hold."""

    @pytest.fixture(autouse=True)
    def only_there(self, keeper: Keeper) -> None:
        if keeper.options:
            pytest.skip("limits alone do not keep this out")

    def test_no_file_of_ours_can_be_read(self, keeper: Keeper, tmp_path: Path) -> None:
        secret = tmp_path / "solution"
        secret.write_text("42")
        for path in (secret, Path.home() / ".bashrc", Path(__file__), Path(__file__).parents[2] / "README.md"):
            assert "FileNotFoundError" in result(keeper, f"def f():\n    return open({str(path)!r}).read()")

    def test_no_file_of_ours_can_be_written(self, keeper: Keeper) -> None:
        for module in ("nasda", "torch"):
            code = f"import {module}\ndef f():\n    open({module}.__file__, 'a').write('#')"
            assert "Error" in result(keeper, code)

    def test_its_folder_is_its_own(self, keeper: Keeper) -> None:
        assert result(keeper, "def f():\n    open('mine', 'w').write('x')\n    return open('mine').read()") == "x"
        assert "FileNotFoundError" in result(keeper, "def f():\n    return open('mine').read()")

    def test_there_is_no_network(self, keeper: Keeper) -> None:
        code = "import socket\ndef f(port):\n    socket.create_connection(('127.0.0.1', port), 1)"
        assert "OSError" in result(keeper, code, 80) or "refused" in result(keeper, code, 80).lower()
        names = "import socket\ndef f():\n    return [name for _, name in socket.if_nameindex()]"
        assert result(keeper, names) == ["lo"]

    def test_no_other_process_can_be_reached(self, keeper: Keeper) -> None:
        code = "import os, signal\ndef f(pid):\n    os.kill(pid, signal.SIGKILL)"
        assert "ProcessLookupError" in result(keeper, code, os.getpid())
        assert "ProcessLookupError" in result(keeper, "import os\ndef f():\n    os.kill(-1, 9)")

    def test_a_fork_bomb_ends(self, keeper: Keeper) -> None:
        begun = time.monotonic()
        said = result(keeper, "import os\ndef f():\n    while True: os.fork()")
        assert "stopped" in said or "BlockingIOError" in said or "ended" in said
        assert result(keeper, "def f():\n    return 2") == 2
        assert time.monotonic() - begun < 60

    def test_the_mounts_cannot_be_undone(self, keeper: Keeper) -> None:
        code = (
            "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef f(path):\n"
            "    libc.unshare(0x10000000 | 0x00020000)\n"
            "    libc.mount(None, path.encode(), None, 32 | 4096, None)\n"
            "    open(os.path.join(path, 'x'), 'w')"
        )
        assert "Error" in result(keeper, code, sys.prefix)
        assert not (Path(sys.prefix) / "x").exists()


def test_the_seconds_of_the_notebook_are_those_of_the_grader() -> None:
    assert remote.OPENING > judges.SECONDS
