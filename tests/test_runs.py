"""nasda.runs: a folder that stays whole, and a run that can be cut off anywhere."""

import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from nasda.errors import NasdaError
from nasda.runs import RunFolder, as_config, finite, first_difference, run_epochs, run_steps
from nasda.settings import SearchSettings, SpaceSettings
from tests.data.test_reading import message_of

CONFIG = {"kind": "search", "seed": 3, "space": {"nodes": 4, "space": "reid"}, "sizes": (1, 2), "steps": None}


def begun(path: Path) -> RunFolder:
    folder = RunFolder(path / "run")
    folder.begin(CONFIG)
    return folder


def fail(code: int) -> Any:
    def call(*args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return call


# Beginning


def test_a_run_is_the_documented_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    files = [folder.config, folder.log, folder.checkpoint, folder.genotype, folder.metrics]
    names = ["config.json", "log.jsonl", "checkpoint.pt", "genotype.json", "metrics.json"]
    assert files == [tmp_path / name for name in names]


def test_beginning_writes_the_settings_and_beginning_again_with_equal_ones_is_fine(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    assert folder.read_config() == {**CONFIG, "sizes": [1, 2]}
    written = folder.config.read_bytes()
    folder.begin(dict(reversed(CONFIG.items())))  # the order of the settings does not matter
    assert folder.config.read_bytes() == written


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 4}, "begun with seed = 3, not 4"),
        ({"space": {"nodes": 3, "space": "reid"}}, "begun with space.nodes = 4, not 3"),
        ({"space": {"nodes": 4, "space": "plain"}}, "begun with space.space = reid, not plain"),
        ({"sizes": (1, 3)}, "begun with sizes = [1, 2], not [1, 3]"),
        ({"new": 1}, "begun with new = (nothing), not 1"),
        ({"steps": 5}, "begun with steps = None, not 5"),
    ],
)
def test_beginning_with_other_settings_names_the_first_that_differs(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = begun(tmp_path)
    written = folder.config.read_bytes()
    message = message_of(lambda: folder.begin(CONFIG | change))
    assert message.startswith(str(folder.config))
    assert words in message
    assert folder.config.read_bytes() == written


def test_a_setting_that_is_gone_is_a_difference(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    fewer = {name: value for name, value in CONFIG.items() if name != "seed"}
    assert "begun with seed = 3, not (nothing)" in message_of(lambda: folder.begin(fewer))


def test_a_checkpoint_without_its_settings_is_not_taken_up(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_checkpoint({})
    assert str(folder.checkpoint) in message_of(lambda: folder.begin(CONFIG))
    assert not folder.config.exists()


def test_broken_settings_are_named(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.config.write_text('{"seed": ')
    assert message_of(lambda: folder.begin(CONFIG)).startswith(f"{folder.config}: a run's settings expected here")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert str(tmp_path / "run") in message_of(lambda: RunFolder(tmp_path / "run").begin(CONFIG))


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [("tempfile.mkstemp", errno.EROFS, "read-only"), ("os.fsync", errno.ENOSPC, "disk is full")],
)
def test_a_folder_that_cannot_be_written_is_explained_and_keeps_what_it_holds(
    call: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(tmp_path)
    folder.save_checkpoint({"run": 1})
    folder.write_log([{"epoch": 1}])
    monkeypatch.setattr(call, fail(code))
    for write in (lambda: folder.save_checkpoint({"run": 2}), lambda: folder.write_log([])):
        assert words in message_of(write)
    monkeypatch.undo()
    assert folder.load_checkpoint() == {"run": 1}
    assert folder.read_log() == [{"epoch": 1}]
    assert sorted(os.listdir(folder.path)) == [".lock", "checkpoint.pt", "config.json", "log.jsonl"]


@pytest.mark.parametrize(
    ("found", "asked", "expected"),
    [
        ({}, {}, None),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, None),
        ({"a": 1}, {"a": 2}, ("a", 1, 2)),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ("a.b.c", 1, 2)),
        ({"a": {"b": 1}}, {"a": 1}, ("a", {"b": 1}, 1)),
        ({"a": 1, "b": 1}, {"b": 2, "a": 2}, ("b", 1, 2)),
        ({"a": 1}, {}, ("a", 1, "(nothing)")),
        ({}, {"a": None}, ("a", "(nothing)", None)),
    ],
)
def test_the_first_difference_is_named_by_its_dotted_path(found: Any, asked: Any, expected: Any) -> None:
    assert first_difference(found, asked) == expected


def test_settings_become_plain_values() -> None:
    config = as_config(kind="search", seed=1, space=SpaceSettings(), search=SearchSettings(epochs=2))
    assert config["kind"] == "search"
    assert config["search"]["epochs"] == 2
    defaults = {field.name: field.default for field in dataclasses.fields(SpaceSettings)}
    assert config["space"] == defaults | {"operations": []}
    chosen = SpaceSettings(operations=("none", "skip_connect"))
    assert SpaceSettings(**json.loads(json.dumps(as_config(space=chosen)))["space"]) == chosen
    assert json.loads(json.dumps(config)) == config


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (
            {"source": "PersonX, 3 images, a"},
            "on other data: seen.source = PersonX, 3 images, a, not PersonX, 4 images",
        ),
        ({"source": "PersonX, 4 images, b", "target": "c"}, "on other data: seen.target = c, not (nothing)"),
        (None, "on other data: seen = (nothing), not {"),
    ],
    ids=["other", "fewer sides", "not recorded"],
)
def test_beginning_on_other_data_says_so_once_the_settings_are_the_same(kept: Any, said: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin({"seed": 1} if kept is None else {"seed": 1, "seen": kept})
    asked = {"seen": {"source": "PersonX, 4 images, b"}}
    message = message_of(lambda: folder.begin({"seed": 1, **asked}))
    assert said in message
    assert "give the same --data-root to go on with it, or choose another --out" in message
    assert "begun with seed = 1, not 2" in message_of(lambda: folder.begin({"seed": 2, **asked}))


@dataclasses.dataclass
class Wings:
    wings: int = 2
    tail: bool = True


def test_a_group_of_the_settings_comes_back_as_a_dataclass(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(as_config(bird=Wings(3)))
    assert folder.read_settings("bird", Wings) == Wings(3)
    folder.config.write_text('{"bird": {"wings": 2, "beak": 1}}')
    message = message_of(lambda: folder.read_settings("bird", Wings))
    assert message.startswith(f"{folder.config}: bird does not fit this version of nasda (got an unexpected keyword")
    assert "'beak'" in message


# One process at a time


def in_a_process(folder: RunFolder, block: str) -> subprocess.Popen[str]:
    """Another process that holds `folder` while it runs `block`; it has begun that when this returns."""
    code = (
        "import sys, time; from pathlib import Path; from nasda.runs import RunFolder\n"
        f"with RunFolder(Path(sys.argv[1])).held(): print('held', flush=True); {block}"
    )
    process = subprocess.Popen([sys.executable, "-c", code, folder.path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_that_another_process_holds_is_refused_at_once_and_freed_when_that_is_killed(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    process = in_a_process(folder, "time.sleep(60)")
    try:
        for call in (lambda: folder.check(CONFIG), lambda: run_epochs(folder, Walk(), 1, describe)):
            message = message_of(call)
            assert message == (
                f"{folder.path}: another process works in this folder: wait for it, or choose another --out"
            )
        assert not folder.log.exists()
    finally:
        process.kill()
        process.communicate()
    assert len(run_epochs(folder, Walk(), 1, describe)) == 1


def test_a_folder_can_be_waited_for(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    process = in_a_process(folder, "time.sleep(0.5); Path(sys.argv[1], 'done').touch()")
    with folder.held(wait=True):
        assert (folder.path / "done").exists()
    process.communicate()


def test_who_holds_a_folder_may_work_in_it(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with folder.held(wait=True):
        run_epochs(RunFolder(folder.path), Walk(), 2, describe)
        with pytest.raises(NasdaError, match="another process works in this folder"):
            ThreadPoolExecutor().submit(RunFolder(folder.path).check, CONFIG).result()
    ThreadPoolExecutor().submit(RunFolder(folder.path).check, CONFIG).result()


def test_what_a_killed_process_has_half_written_goes(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (folder.path / ".checkpoint.pt.abc.tmp").write_text("half")
    run_epochs(folder, Walk(), 1, describe)
    assert not list(folder.path.glob(".*.tmp"))


# Checkpoint and log


def test_a_checkpoint_comes_back_to_the_bit_and_on_the_cpu(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.rand(3, generator=torch.Generator().manual_seed(0)))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
    optimizer.step()
    state = {
        "tensor": torch.randn(4, 5, generator=torch.Generator().manual_seed(1)),
        "nan": torch.tensor([math.nan, math.inf, -0.0]),
        "generator": torch.Generator().manual_seed(7).get_state(),
        "optimizer": optimizer.state_dict(),
        "plain": [1, 2.5, "text", None, True, {"nested": (1, 2)}],
    }
    folder.save_checkpoint(state)
    found = folder.load_checkpoint()
    assert found is not None
    assert found["plain"] == state["plain"]
    for name in ("tensor", "nan", "generator"):
        assert found[name].numpy().tobytes() == state[name].numpy().tobytes()
    assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_there_is_no_checkpoint_before_the_first_is_saved(tmp_path: Path) -> None:
    assert begun(tmp_path).load_checkpoint() is None


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint_is_named(kept: float, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.save_checkpoint({"tensor": torch.arange(1000)})
    whole = folder.checkpoint.read_bytes()
    folder.checkpoint.write_bytes(whole[: int(len(whole) * kept)])
    message = message_of(folder.load_checkpoint)
    assert message.startswith(f"{folder.checkpoint}: a run's checkpoint expected here")


def test_a_checkpoint_that_holds_code_is_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    torch.save({"run": Path("anything but tensors")}, folder.checkpoint)
    assert str(folder.checkpoint) in message_of(folder.load_checkpoint)


def test_a_log_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    rows = [
        {"epoch": 1, "loss": 0.1 + 0.2, "note": "größer\nzwei\u2028drei"},
        {"epoch": 2, "alphas": {"normal": [[1e-3]]}},
    ]
    folder.write_log(rows)
    assert folder.read_log() == rows
    assert len(folder.log.read_bytes().splitlines()) == 2
    folder.write_log([])
    assert folder.read_log() == []


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    assert message_of(folder.read_log).startswith(f"{folder.log}: a run's log expected here")


@pytest.mark.parametrize("content", [b'{"epoch": 1}\n{"epoch": ', b"no json\n"])
def test_a_broken_log_is_named(content: bytes, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.log.write_bytes(content)
    assert message_of(folder.read_log).startswith(f"{folder.log}: a run's log expected here")


# Epochs


class Walk:
    """A random walk: its next epoch depends on where it is and on its generator. It can be cut off in an epoch."""

    def __init__(self, cut_off_in: int | None = None) -> None:
        self.position = torch.zeros(3, dtype=torch.float64)
        self.generator = torch.Generator().manual_seed(5)
        self.cut_off_in = cut_off_in
        self.epochs_run: list[int] = []

    def epoch(self, index: int) -> dict[str, Any]:
        self.epochs_run.append(index)
        for step in range(4):
            self.position = 0.9 * self.position + torch.randn(3, generator=self.generator, dtype=torch.float64)
            if step == 2 and index == self.cut_off_in:
                raise KeyboardInterrupt
        return {"epoch": index + 1, "position": self.position.tolist()}

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]
        self.generator.set_state(state["generator"])


def describe(row: dict[str, Any]) -> str:
    return f"epoch {row['epoch']}"


@pytest.mark.parametrize("cut_off_in", [0, 1, 4])
def test_a_run_cut_off_in_an_epoch_ends_where_an_uninterrupted_one_ends(cut_off_in: int, tmp_path: Path) -> None:
    whole, cut = begun(tmp_path / "whole"), begun(tmp_path / "cut")
    walk = Walk()
    expected = run_epochs(whole, walk, 5, describe)
    with pytest.raises(KeyboardInterrupt):
        run_epochs(cut, Walk(cut_off_in), 5, describe)
    again = Walk()
    assert run_epochs(cut, again, 5, describe) == expected
    assert torch.equal(again.position, walk.position)
    assert again.epochs_run == list(range(cut_off_in, 5))
    assert cut.log.read_bytes() == whole.log.read_bytes()
    assert cut.read_log() == expected


@pytest.mark.parametrize("call", ["save_checkpoint", "write_log"])
def test_a_run_cut_off_while_its_files_are_written_ends_the_same(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = begun(tmp_path / "whole"), begun(tmp_path / "cut")
    run_epochs(whole, Walk(), 3, describe)
    write = getattr(cut, call)

    def killed_in_the_second_epoch(value: Any) -> None:
        history = json.loads(value["history"]) if call == "save_checkpoint" else value
        if len(history) == 2:
            raise KeyboardInterrupt
        write(value)

    with monkeypatch.context() as patched:
        patched.setattr(cut, call, killed_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            run_epochs(cut, Walk(), 3, describe)
    assert len(cut.read_log()) == 1
    run_epochs(cut, Walk(), 3, describe)
    assert cut.log.read_bytes() == whole.log.read_bytes()


def test_a_finished_run_is_not_run_again_and_its_lost_log_comes_back(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    rows = run_epochs(folder, Walk(), 3, describe)
    folder.log.unlink()
    again = Walk()
    assert run_epochs(folder, again, 3, describe) == rows
    assert again.epochs_run == []
    assert folder.read_log() == rows


def test_there_is_a_checkpoint_and_a_row_after_every_epoch(tmp_path: Path) -> None:
    folder, seen = begun(tmp_path), []

    class Watched(Walk):
        def epoch(self, index: int) -> dict[str, Any]:
            seen.append((folder.checkpoint.exists(), len(folder.read_log()) if folder.log.exists() else 0))
            return super().epoch(index)

    run_epochs(folder, Watched(), 3, describe)
    assert seen == [(False, 0), (True, 1), (True, 2)]


def test_every_epoch_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_epochs(begun(tmp_path), Walk(), 2, describe)
    assert "epoch 1\nepoch 2\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "state",
    [
        {"run": {"position": torch.zeros(3)}, "history": "[]"},
        {"run": {"position": torch.zeros(3), "generator": torch.zeros(2, dtype=torch.uint8)}, "history": "[]"},
        {"history": "[]"},
        {"run": Walk().state_dict()},
        {"run": Walk().state_dict(), "history": "["},
    ],
    ids=["key", "shape", "no run", "no history", "broken history"],
)
def test_another_runs_checkpoint_is_named(state: dict[str, Any], tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.save_checkpoint(state)
    message = message_of(lambda: run_epochs(folder, Walk(), 3, describe))
    assert message.startswith(f"{folder.checkpoint}: this checkpoint belongs to another run")


def test_an_epoch_is_timed_to_the_end_of_what_the_device_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that takes a tenth of a second more than the host that gives it its work."""
    monkeypatch.setattr("nasda.runs.synchronize", lambda device: time.sleep(0.1))
    mean, times = run_steps(
        lambda index: torch.tensor([index, 1.0]), 3, images=8, device=torch.device("cpu"), name="steps"
    )
    assert mean.tolist() == [1.0, 1.0]
    assert 0.1 < times["seconds"] < 1
    assert times["images_per_second"] == pytest.approx(24 / times["seconds"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_with_advice(value: float) -> None:
    message = message_of(lambda: finite(torch.tensor(value), "the loss of ω", "lower --weights-lr"))
    assert message.startswith(f"the loss of ω became {value}")
    assert "lower --weights-lr" in message


def test_a_loss_that_is_a_number_is_that_number() -> None:
    assert finite(torch.tensor(0.25), "the loss", "") == 0.25
