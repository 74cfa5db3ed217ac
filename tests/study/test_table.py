"""nasda.study.table: rows under one recipe, kept by configuration, tested in pairs."""

import contextlib
import csv
import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import resnet50

from nasda.data.task import Task, load_task
from nasda.settings import Profile, SPGANSettings, ToySettings, changed
from nasda.study import table as tables
from nasda.study.rows import CONTROLS, IN_DOMAIN_ROWS, PRETRAINED_ROWS, ROWS, Row, rows_named
from nasda.study.statistics import compare, sentence
from nasda.study.table import Table, lines_of, make_table, markdown
from nasda.toy.make import make_toy
from tests.tasks import DATA, SEARCH, SPACE, TRAIN, make_task

CPU = torch.device("cpu")
BASIC = rows_named(["NAS (S)", "NAS (S+R)", "random cells"], ROWS)
QUICK = Profile(
    space=SPACE,
    search=dataclasses.replace(SEARCH, epochs=1),
    train=dataclasses.replace(TRAIN, epochs=1, steps=1),
    data=DATA,
    toy=ToySettings(),
    spgan=SPGANSettings(epochs=1, steps=1, batch_size=2, channels=2, blocks=1),
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The built-in data: SPGAN writes its translation in a real data set's layout."""
    folder = tmp_path_factory.mktemp("task")
    settings = ToySettings(source_identities=6, target_identities=6, test_identities=4, images_per_camera=1)
    make_toy(folder, "person", height=DATA.height, width=DATA.width, settings=settings)
    return load_task("person", folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, task: Task) -> tuple[Path, Table]:
    out = tmp_path_factory.mktemp("table")
    return out, make_table(out, task, QUICK, [0, 1], random_cells=2, device=CPU)


def without_times(table: Table) -> Any:
    rows = {
        name: [{k: v for k, v in scores.items() if not k.endswith("seconds")} for scores in found]
        for name, found in table.scores.items()
    }
    return rows, table.failures


def test_every_row_has_every_seed(made: tuple[Path, Table]) -> None:
    _, table = made
    seeds = {name: [scores["seed"] for scores in found] for name, found in table.scores.items()}
    assert seeds == {
        **{row.name: [0, 0, 1, 1] if row.architecture == "random" else [0, 1] for row in ROWS},
        "floor: random": [0, 1],
        "floor: colour histogram": [0, 1],
    }
    cells = [scores["cell"] for scores in table.scores["random cells"]]
    assert all(a != b for a, b in itertools.combinations(cells, 2))
    assert {scores["cell"] for scores in table.scores["ResNet-50 (S)"]} == {"resnet50"}
    assert not table.failures


def test_all_rows_are_trained_alike(made: tuple[Path, Table]) -> None:
    out, _ = made
    configs = [json.loads(path.read_text()) for path in (out / "runs").glob("train-*/config.json")]
    assert (
        len(configs) == len(list((out / "runs").glob("test-*"))) == 2 * (4 + 2 + 2)
    )  # cells found in two spaces, random ones, ResNet-50
    for config in configs:
        assert config["train"] == dataclasses.asdict(QUICK.train)
        assert config["weights"] is None


def test_the_same_command_again_finds_everything_done(
    made: tuple[Path, Table], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, table = made
    monkeypatch.setattr(tables, "run_training", None)  # whoever calls it, fails
    again = make_table(out, task, QUICK, [0, 1], random_cells=2, device=CPU)
    assert again == table


def test_another_table_uses_what_it_shares(made: tuple[Path, Table], task: Task, tmp_path: Path) -> None:
    out = shutil.copytree(made[0], tmp_path / "copy")
    before = len(list((out / "runs").glob("train-*")))
    longer = dataclasses.replace(QUICK, train=dataclasses.replace(QUICK.train, epochs=2))
    make_table(out, task, longer, [0], rows=ROWS[:1], device=CPU)
    assert len(list((out / "runs").glob("train-*"))) == before + 1
    assert len(list((out / "runs").glob("search-*"))) == 8  # S and S+R, two spaces, two seeds: as before


def test_a_row_that_fails_leaves_the_others(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch, made: tuple[Path, Table]
) -> None:
    search = tables.run_search

    def fails_once(folder: Any, task: Task, settings: Profile, **options: Any) -> Any:
        if settings.search.mode == "S":
            raise RuntimeError("the disk is full\nand more")  # torch says more than a line
        return search(folder, task, settings, **options)

    monkeypatch.setattr(tables, "run_search", fails_once)
    table = make_table(tmp_path, task, QUICK, [0], rows=BASIC, device=CPU)
    assert table.failures == {"NAS (S), seed 0": "the disk is full"}
    assert {"NAS (S+R)", "random cells"} < table.scores.keys()
    assert "NAS (S), seed 0 failed: the disk is full" in markdown(table)
    assert "NAS (S), seed 0 failed: the disk is full" in markdown(table, "simple")
    monkeypatch.undo()
    mended = make_table(tmp_path, task, QUICK, [0], rows=BASIC, device=CPU)
    assert not mended.failures
    expected = without_times(made[1])[0]
    assert without_times(mended)[0]["NAS (S)"] == expected["NAS (S)"][:1]


def test_what_is_written(made: tuple[Path, Table]) -> None:
    out, table = made
    assert json.loads((out / "table.json").read_text())["rows"] == json.loads(json.dumps(table.scores))
    assert (out / "table.md").read_text().strip() == markdown(table)
    assert b"\r" not in (out / "table.csv").read_bytes()  # which Windows would double
    with open(out / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(map(len, table.scores.values()))
    assert float(rows[0]["mAP"]) == table.scores[rows[0]["row"]][0]["mAP"]


def test_the_paper_s_figures_stand_beside_ours_with_their_notes(made: tuple[Path, Table]) -> None:
    header, lines = lines_of(made[1])
    of = {line[0]: line for line in lines}
    assert header[-3:] == ["paper: mAP", "rank-1", "rank-5"]
    assert of["NAS (S+R)"][-3:] == ["16.48 [a]", "34.98", "56.00"]
    assert of["ResNet-50 (S)"][-3:] == ["14.19 [b, c]", "26.53", ""]
    assert of["random cells"][-3:] == ["", "", ""]
    assert "VisDA-2020" in markdown(made[1])
    assert "VehicleX" not in markdown(made[1])  # a note of the other task


def table_of(**mAP: list[float]) -> Table:
    return Table(
        "person",
        list(range(10)),
        {name: [{"seed": i, "mAP": v} for i, v in enumerate(values)] for name, values in mAP.items()},
    )


def test_rows_are_compared_seed_by_seed() -> None:
    table = table_of(a=[0.5, 0.4, 0.3], b=[0.1, 0.2])
    table.scores["b"].append({"seed": 1, "mAP": 0.3})  # another cell drawn with this seed
    assert table.by_seed("b") == pytest.approx({0: 0.1, 1: 0.25})
    found = table.compare("a", "b")
    assert found == compare({0: 0.5, 1: 0.4}, {0: 0.1, 1: 0.25})
    assert table.sentence("a", "b") == sentence("a", "b", found)
    assert table.compare("a", "no such row") is None


def test_what_is_written_says_what_the_comparisons_found() -> None:
    table = table_of(**{"NAS (S+R)": [0.2] * 6, "NAS (S)": [0.1] * 6, "random cells": [0.1]})
    (written,) = table.to_dict()["comparisons"]  # of random cells there is one seed
    assert (written["first"], written["second"], written["p"]) == ("NAS (S+R)", "NAS (S)", 1 / 32)
    assert "a difference is shown" in table.sentences()[0]


def test_comparisons_name_the_statistics_that_the_scores_were_measured_under() -> None:
    rows = {"NAS (S+R)": (0.2, 0.4), "NAS (S)": (0.1, 0.5)}
    scores = {
        name: [{"seed": s, "mAP": a, "mAP_source": a, "mAP_target": b} for s in range(6)]
        for name, (a, b) in rows.items()
    }
    table = Table("person", list(range(6)), scores)
    source, target = table.sentences()
    assert "mAP, source statistics +10.0 points" in source
    assert "mAP, target statistics -10.0 points" in target
    assert [found["score"] for found in table.to_dict()["comparisons"]] == ["mAP_source", "mAP_target"]


def test_rows_of_another_data_set_are_other_runs(tmp_path: Path, task: Task) -> None:
    other = make_task(tmp_path / "elsewhere")
    only = [Row("random cells", "random")]
    for of_task in (task, other):
        make_table(tmp_path, of_task, QUICK, [0], rows=only, device=CPU)
    assert len(list((tmp_path / "runs").glob("train-*"))) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_table_is_the_same_however_many_work_on_it(
    jobs: int, made: tuple[Path, Table], task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of eight cores, whatever torch makes of them."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        table = make_table(tmp_path, task, QUICK, [0, 1], random_cells=2, jobs=jobs, device=CPU)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert without_times(table) == without_times(made[1])


def test_the_norm_of_the_settings_holds_for_rows_that_have_none(tmp_path: Path, task: Task) -> None:
    ibn, hand_drawn = (
        changed(QUICK, space={"norm": "ibn"}),
        rows_named(["hand-drawn cell", "hand-drawn cell, IBN"], CONTROLS),
    )
    found = make_table(tmp_path, task, ibn, [0], rows=hand_drawn, device=CPU)
    assert len({entries[0]["run"] for name, entries in found.scores.items() if "floor" not in name}) == 1
    (config,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("train-*/config.json"))
    assert config["space"]["norm"] == "ibn"


def test_a_row_has_one_thread(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(tables, "run_training", lambda *_, **__: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        make_table(tmp_path, task, QUICK, [0], rows=BASIC[2:], device=CPU)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert threads == [1]


@pytest.mark.timeout(900)
def test_rows_that_need_the_same_run_share_it(tmp_path: Path, task: Task) -> None:
    """Two rows of SPGAN, and two of one search, begun at once by two processes, three times in a row."""
    torch.save(resnet50().state_dict(), tmp_path / "resnet50.pth")
    longer = changed(QUICK, spgan={"epochs": 3, "steps": 6}, search={"epochs": 3, "steps": 4})  # so that they overlap
    searched = (ROWS[1], *IN_DOMAIN_ROWS)
    translated = tuple(row for row in (*ROWS, *PRETRAINED_ROWS) if row.translated)
    for number in range(3):
        out = tmp_path / str(number)
        weights = str(tmp_path / "resnet50.pth")
        options: dict[str, Any] = {"rows": (*translated, *searched), "weights": weights, "jobs": 2, "device": CPU}
        table = make_table(out, task, longer, [0], **options)
        assert not table.failures
        assert len(table.scores) == 4 + 2
        for kind, count in (("spgan", 1), ("search", 1), ("train", 4)):
            assert len(list((out / "runs").glob(f"{kind}-*"))) == count
        (log,) = (out / "runs").glob("spgan-*/log.jsonl")
        assert len(log.read_text().splitlines()) == 3
        (translation,) = (out / "runs").glob("spgan-*/translated/*/")
        assert [path.name for path in translation.parent.iterdir()] == ["PersonX"]  # and nothing half written beside it


def test_trained_on_the_target_is_in_domain(made: tuple[Path, Table], task: Task, tmp_path: Path) -> None:
    """The cells of NAS (S+R), by one search, trained on the target's own training split."""
    out = shutil.copytree(made[0], tmp_path / "copy")
    before = {path.name for path in (out / "runs").glob("*")}
    table = make_table(out, task, QUICK, [0], rows=(ROWS[1], *IN_DOMAIN_ROWS), device=CPU)
    abroad, at_home = (table.scores[name][0] for name in ("NAS (S+R)", "NAS (S+R), trained on the target"))
    assert at_home["cell"] == abroad["cell"]
    new = {path for path in (out / "runs").glob("*") if path.name not in before}
    assert sorted(path.name.split("-")[0] for path in new) == ["test", "train"]
    (config,) = (json.loads(path.read_text()) for folder in new for path in folder.glob("config.json"))
    assert config["train"]["train_on"] == "target"
    assert abroad["mAP"] == made[1].scores["NAS (S+R)"][0]["mAP"]


def test_a_row_that_begins_with_given_weights_says_so(tmp_path: Path, task: Task) -> None:
    missing = make_table(
        tmp_path, task, QUICK, [0], rows=PRETRAINED_ROWS[:1], weights=str(tmp_path / "no.pth"), device=CPU
    )
    assert "no.pth" in missing.failures["ResNet-50, from ImageNet (S), seed 0"]
    torch.save(resnet50().state_dict(), tmp_path / "resnet50.pth")
    table = make_table(
        tmp_path, task, QUICK, [0], rows=PRETRAINED_ROWS[:1], weights=str(tmp_path / "resnet50.pth"), device=CPU
    )
    printed = {line[0]: line[-3:] for line in lines_of(table)[1]}
    assert printed["ResNet-50, from ImageNet (S)"] == ["14.19 [b, c]", "26.53", ""]
    (config,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("train-*/config.json"))
    assert config["weights"] == str(tmp_path / "resnet50.pth")
    from_nothing = make_table(tmp_path, task, QUICK, [0], rows=rows_named(["ResNet-50 (S)"], ROWS), device=CPU)
    assert from_nothing.scores["ResNet-50 (S)"] != table.scores["ResNet-50, from ImageNet (S)"]


@pytest.mark.timeout(600)
def test_killed_at_any_moment_the_same_command_gives_the_same_table(tmp_path: Path, task: Task) -> None:
    """The command itself, SIGKILL, without warning, workers and all; three moments, then left alone."""
    moments = np.random.default_rng(0).uniform(4, 16, 3)
    for moment in moments:
        process = table_command(task, tmp_path / "killed")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.kill()
        process.wait()
    for out in ("killed", "whole"):
        assert table_command(task, tmp_path / out).wait(300) == 0
    killed, whole = (json.loads((tmp_path / out / "table.json").read_text()) for out in ("killed", "whole"))
    assert without_times(Table("person", [0], killed["rows"])) == without_times(Table("person", [0], whole["rows"]))
    assert len(whole["rows"]) == len(ROWS) + 2


def table_command(task: Task, out: Path) -> "subprocess.Popen[bytes]":
    """`nasda table` on a small scale, as a process of its own."""
    sizes = {"search": SEARCH, "train": TRAIN, "data": DATA, "space": SPACE, "spgan": QUICK.spgan}
    changed = {"search": {"epochs": 2, "steps": 1}, "train": {"epochs": 2, "steps": 1}}
    options = []
    for group, settings in sizes.items():
        for name, value in (dataclasses.asdict(settings) | changed.get(group, {})).items():
            if value not in (None, ()) and not isinstance(value, bool):
                options += [f"--{group}.{name.replace('_', '-')}", str(value)]
    root = task.source.root.parent
    command = [sys.executable, "-m", "nasda.cli", "table", "--data-root", str(root), "--out", str(out), "--seeds", "1"]
    return subprocess.Popen([*command, "--jobs", "2", "--device", "cpu", *options], stdout=subprocess.DEVNULL)
