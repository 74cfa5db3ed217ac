"""nasda.study: one table a gap, and nothing run twice that has not seen the target."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nasda.data.task import Task, load_task
from nasda.errors import NasdaError
from nasda.pictures.plots import score_over_gap
from nasda.runs import seen
from nasda.settings import Profile, ToySettings
from nasda.study import table as tables_module
from nasda.study.gaps import STUDY_ROWS, curves, gap_study, markdown, root_of, tables_of
from nasda.study.rows import rows_named
from nasda.study.table import Table
from nasda.toy.make import make_toy
from tests.study.test_table import CPU, QUICK
from tests.tasks import DATA

TOY = ToySettings(source_identities=6, target_identities=6, test_identities=4, images_per_camera=1)
SETTINGS = dataclasses.replace(QUICK, toy=TOY)
SEARCHED = rows_named(["NAS (S)", "NAS (S+R)"], STUDY_ROWS)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[float, Table]]:
    folder = tmp_path_factory.mktemp("study")
    tables = gap_study(
        folder / "out", folder / "data" / "toy", "person", SETTINGS, [0, 1], [0], rows=SEARCHED, device=CPU
    )
    return folder, tables


def test_what_has_not_seen_the_target_is_one_run_for_all_gaps(studied: tuple[Path, dict[float, Table]]) -> None:
    folder, tables = studied
    searches = [json.loads(path.read_text()) for path in (folder / "out" / "runs").glob("search-*/config.json")]
    assert sorted(config["search"]["mode"] for config in searches) == ["S", "S+R", "S+R"]
    of_s = [tables[gap].scores["NAS (S)"][0] for gap in (0, 1)]
    assert of_s[0]["cell"] == of_s[1]["cell"]
    assert of_s[0]["mAP"] != of_s[1]["mAP"]  # the same network, tested on two targets


def test_the_source_is_drawn_alike_at_every_gap(studied: tuple[Path, dict[float, Table]]) -> None:
    """What the sharing rests on, byte by byte; and that it ends where the images are others."""
    folder, _ = studied
    near, far = (root_of(folder / "data" / "toy", ToySettings(gap=gap)) for gap in (0, 1))
    images = {root: {p.relative_to(root): p.read_bytes() for p in root.rglob("*.jpg")} for root in (near, far)}
    for name in images[near]:
        same = images[near][name] == images[far][name]
        assert same == name.parts[0].startswith("PersonX"), name
    near_task, far_task = (load_task("person", root) for root in (near, far))
    assert seen(near_task, "source") == seen(far_task, "source")
    assert seen(near_task, "target") != seen(far_task, "target")


@pytest.mark.parametrize("change", [{"source_identities": 7}, {"world": 1}, {"images_per_camera": 2}])
def test_another_source_is_another_run(
    studied: tuple[Path, dict[float, Table]], tmp_path: Path, change: dict[str, int]
) -> None:
    near = load_task("person", root_of(studied[0] / "data" / "toy", ToySettings(gap=0)))
    other = dataclasses.replace(TOY, **change)  # type: ignore[arg-type]
    make_toy(tmp_path, "person", height=DATA.height, width=DATA.width, settings=other)
    assert seen(load_task("person", tmp_path), "source") != seen(near, "source")


def test_curves_and_their_plot(studied: tuple[Path, dict[float, Table]]) -> None:
    folder, tables = studied
    rows = curves(tables)
    assert {gap: len(found) for gap, found in rows["NAS (S)"].items()} == {0: 1, 1: 1}
    axes = score_over_gap(rows).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == sorted(rows)
    written = json.loads((folder / "out" / "study.json").read_text())
    assert written["1"]["rows"]["NAS (S)"][0]["mAP"] == tables[1].scores["NAS (S)"][0]["mAP"]
    with pytest.raises(NasdaError, match="at least one row"):
        score_over_gap({})


def test_the_study_in_words(studied: tuple[Path, dict[float, Table]]) -> None:
    folder, tables = studied
    written = (folder / "out" / "study.md").read_text()
    of_s = [
        f"{100 * tables[gap].scores['NAS (S)'][0][score]:.1f}"
        for gap in (0, 1)
        for score in ("mAP_source", "mAP_target")
    ]
    line = next(line for line in written.splitlines() if line.startswith("| NAS (S) "))
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["NAS (S)", *of_s]


def test_a_study_over_seeds_gives_spread_and_paired_tests() -> None:
    rows = {"NAS (S)": (0.2, 0.4), "NAS (S+R)": (0.1, 0.2)}
    table = Table("person", [0, 1], {n: [{"seed": s, "mAP": v} for s, v in enumerate(m)] for n, m in rows.items()})
    written = markdown(tables_of({"1": table.to_dict()}))
    assert "30.0 ± 14.1" in written
    assert f"- gap 1: {table.sentence('NAS (S+R)', 'NAS (S)')}" in written


def test_a_row_that_fails_at_one_gap_only_leaves_the_study_whole(
    tmp_path: Path, studied: tuple[Path, dict[float, Table]], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = tables_module.run_search

    def fails_far_away(folder: Any, task: Task, settings: Profile, **options: Any) -> Any:
        if settings.search.mode == "S+R" and task.target.root.parent.name.endswith("gap-1"):
            raise NasdaError("the disk is full")
        return search(folder, task, settings, **options)

    monkeypatch.setattr(tables_module, "run_search", fails_far_away)
    root = studied[0] / "data" / "toy"
    tables = gap_study(tmp_path, root, "person", SETTINGS, [0, 1], [0], rows=SEARCHED, device=CPU)
    written = (tmp_path / "study.md").read_text()
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5:2]]
        for line in written.splitlines()
        if "|" in line
    }
    assert cells["NAS (S+R)"] == [f"{100 * tables[0].scores['NAS (S+R)'][0]['mAP']:.1f}", ""]
    assert all(cells["NAS (S)"])
    assert "- gap 1: NAS (S+R), seed 0 failed: the disk is full" in written
    assert score_over_gap(curves(tables)).axes


def test_tables_come_back_from_a_study(studied: tuple[Path, dict[float, Table]]) -> None:
    folder, tables = studied
    assert tables_of(json.loads((folder / "out" / "study.json").read_text())) == tables


def test_the_world_is_the_unit_of_a_study_over_worlds(tmp_path: Path) -> None:
    """Each world has other images, each world's score is the mean over its seeds, and pairs are worlds."""
    options: dict[str, Any] = {"worlds": [3, 4], "rows": SEARCHED, "device": CPU}
    table = gap_study(tmp_path / "out", tmp_path / "toy", "person", SETTINGS, [1], [0, 1], **options)[1]
    assert [(entry["world"], entry["seed"]) for entry in table.scores["NAS (S)"]] == [(3, 0), (3, 1), (4, 0), (4, 1)]
    assert len({entry["data"] for entry in table.scores["NAS (S)"]}) == 2
    of_world_3 = [entry["mAP"] for entry in table.scores["NAS (S)"] if entry["world"] == 3]
    assert table.by_unit("NAS (S)")[3] == pytest.approx(sum(of_world_3) / 2)
    found = table.compare("NAS (S+R)", "NAS (S)")
    assert found is not None
    assert (found.pairs, found.unit) == (2, "world")
    assert sorted(path.name for path in tmp_path.glob("toy*")) == ["toy-world-3-gap-1", "toy-world-4-gap-1"]
    assert tables_of(json.loads((tmp_path / "out" / "study.json").read_text())) == {1: table}


def test_each_style_world_and_gap_has_a_root_of_its_own() -> None:
    toys = [ToySettings(gap=g, world=w, style=s) for g in (0, 0.5) for w in (0, 1) for s in ("street", "campus")]  # type: ignore[arg-type]
    roots = {root_of(Path("data/toy"), toy).name for toy in toys}
    assert len(roots) == 8
    assert {"toy-gap-0.5", "toy-campus-world-1-gap-0"} < roots
