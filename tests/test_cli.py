"""The `nasda` command as its user meets it: the whole chain, and one clear line for whatever can go wrong."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from nasda.cli import WithRows, main
from nasda.genotypes import Genotype
from nasda.search import Search
from tests.data.trees import tree

# Smaller than the tiny profile in every direction, so that the chain takes seconds.
SMALL = ["--height", "32", "--width", "16", "--padding", "2"]
SPACE = ["--channels", "3", "--stem-stride", "1", "--embedding", "16"]
BATCH = ["--identities", "4", "--images", "2", "--epochs", "2", "--steps", "2"]


def run(*words: str, task: str = "person", root: Path, out: Path) -> None:
    """`nasda` with the options that all subcommands share."""
    main([*words, "--task", task, "--data-root", str(root), "--out", str(out)])


def make_data(root: Path, out: Path, task: str = "person") -> None:
    small = ["--height", "32", "--width", "16" if task == "person" else "32"]
    toy = ["--source-identities", "6", "--target-identities", "6", "--test-identities", "4", "--images-per-camera", "1"]
    main(
        ["data", "make", "--task", task, "--data-root", str(root), "--out", str(out), *small, *toy, "--processes", "1"]
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in data of both tasks, for reading only."""
    root = tmp_path_factory.mktemp("data")
    for task in ("person", "vehicle"):
        make_data(root, root / "unused", task)
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment that has been searched and trained, for reading and copying only."""
    out = tmp_path_factory.mktemp("runs") / "experiment"
    run("search", *SMALL, *SPACE, *BATCH, "--sample-images", "2", root=data, out=out)
    run("train", *SMALL, *SPACE, *BATCH, root=data, out=out)
    return out


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to fail; give back the line it says."""

    def failing(*words: str, **options: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            run(*words, **options)  # type: ignore[arg-type]
        said = capsys.readouterr().err
        assert exit.value.code == 2, said
        lines = [line for line in said.splitlines() if line.startswith("nasda: ")]
        assert len(lines) == 1, said
        assert "Traceback" not in said
        return lines[0]

    return failing


def test_a_space_of_ones_own_is_searched_derived_drawn_and_trained(
    data: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    space = ["--operations", "none,dil_conv_3x3", "skip_connect"]
    run("search", *SMALL, *SPACE, *BATCH, *space, "--sample-images", "2", root=data, out=tmp_path)
    config = json.loads((tmp_path / "search" / "config.json").read_text())
    assert config["space"]["operations"] == ["none", "dil_conv_3x3", "skip_connect"]
    run("derive", "--epoch", "1", root=data, out=tmp_path)
    found = Genotype.load(tmp_path / "search" / "genotype.json")
    named = {edge.operation for node in found.normal for edge in node}
    assert named <= {"dil_conv_3x3", "skip_connect"}
    run("train", *SMALL, *SPACE, *BATCH, *space, root=data, out=tmp_path)
    run("draw", root=data, out=tmp_path)
    said = fails("search", *SMALL, *SPACE, *BATCH, "--sample-images", "2", root=data, out=tmp_path)
    assert "space.operations = ['none', 'dil_conv_3x3', 'skip_connect']" in said


def test_a_space_that_makes_no_sense_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    said = fails("search", "--operations", "none,sep_conv_5x5", root=data, out=tmp_path / "new")
    assert said.startswith("nasda: --operations: 'sep_conv_5x5' is unknown; expected some of none, max_pool_3x3")
    assert not (tmp_path / "new").exists()


def test_the_chain_leaves_results_and_pictures(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "experiment"
    shutil.copytree(trained, out)
    run("derive", root=data, out=out)
    run("evaluate", root=data, out=out)
    table = capsys.readouterr().out
    assert "floor: colour histogram" in table
    assert "mAP (trapezoid)" in table
    metrics = json.loads((out / "train" / "metrics.json").read_text())
    assert 0 < metrics["mAP_trapezoid"] <= metrics["mAP"] <= 1
    assert set(metrics["floors"]) == {"random", "colour histogram"}
    files = {path.name for path in (out / "train").iterdir()}
    run("evaluate", "--features-on-disk", root=data, out=out)
    assert json.loads((out / "train" / "metrics.json").read_text()) == metrics
    assert {path.name for path in (out / "train").iterdir()} == files  # the features are gone
    capsys.readouterr()
    run("draw", root=data, out=out)
    run("data", "show", *SMALL[:4], root=data, out=out)
    said = [line.removeprefix("picture: ") for line in capsys.readouterr().out.splitlines() if "picture: " in line]
    assert {Path(path).name for path in said} == {
        "normal.svg", "normal.png", "reduce.svg", "reduce.png", "macro.svg", "macro.png",
        "alphas-normal.png", "alphas-reduce.png", "search.png", "gallery-train.png", "contact_sheet.png",
    }  # fmt: skip
    for path in said:
        if path.endswith(".png"):
            with Image.open(path) as picture:
                low, high = picture.convert("L").getextrema()
                assert high - low > 100  # something is drawn on it


@pytest.mark.parametrize("architecture", ["random", "resnet-like", "resnet50"])
def test_other_architectures_train_under_the_same_recipe(data: Path, tmp_path: Path, architecture: str) -> None:
    nodes = ["--nodes", "4"] if architecture == "resnet-like" else []
    run("train", "--architecture", architecture, *SMALL, *SPACE, *BATCH, *nodes, root=data, out=tmp_path)
    run("evaluate", root=data, out=tmp_path)
    assert (tmp_path / f"train-{architecture}" / "metrics.json").exists()


def test_vehicles_take_the_same_commands(data: Path, tmp_path: Path) -> None:
    square = ["--height", "32", "--width", "32", "--padding", "2"]
    run("search", *square, *SPACE, *BATCH, "--sample-images", "2", task="vehicle", root=data, out=tmp_path)
    run("train", *square, *SPACE, *BATCH, "--train-on", "target", task="vehicle", root=data, out=tmp_path)
    run("evaluate", task="vehicle", root=data, out=tmp_path)
    assert (tmp_path / "train-target" / "metrics.json").exists()


SPGAN = ["--channels", "2", "--blocks", "1", "--batch-size", "4", "--epochs", "2", "--steps", "2"]


@pytest.mark.parametrize("task", ["person", "vehicle"])
def test_a_translated_source_is_trained_on_like_any_other(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    run("translate", *SMALL, *SPGAN, task=task, root=data, out=tmp_path)
    said = capsys.readouterr().out
    assert re.search(r"^source → target: colour \d\.\d+, histogram \d\.\d+, contrast \d\.\d+$", said, re.MULTILINE)
    assert re.search(r"^translated → target: colour \d\.\d+, histogram \d\.\d+, contrast \d\.\d+$", said, re.MULTILINE)
    assert set(json.loads((tmp_path / "spgan" / "metrics.json").read_text())) == {
        "source → target", "translated → target",
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "translation-epoch01.png", "translation-epoch02.png",
    ]  # fmt: skip
    train = ("train", "--architecture", "random", *SMALL, *SPACE, *BATCH)
    run(*train, task=task, root=data, out=tmp_path)
    run(*train, "--translated", task=task, root=data, out=tmp_path)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("train-random", "train-random-translated")]
    assert logs[0] != logs[1]  # other images, another loss
    run("evaluate", task=task, root=data, out=tmp_path)
    assert "train-random-translated" in capsys.readouterr().out


def test_a_translation_that_was_interrupted_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("translate", *SMALL, *SPGAN)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nasda.spgan.dataset.make_folder", interrupted)
        with pytest.raises(SystemExit) as exit:
            run(*words, root=data, out=tmp_path)
    assert exit.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "translated" / "PersonX").exists()
    run(*words, root=data, out=tmp_path)
    assert (tmp_path / "translated" / "PersonX").is_dir()


def test_the_gap_is_two_rows_of_the_table_over_seeds(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = [f"--search.{word[2:]}" if word.startswith("--") else word for word in [*BATCH, "--sample-images", "2"]]
    nested += [f"--train.{word[2:]}" if word.startswith("--") else word for word in BATCH]
    nested += [f"--data.{word[2:]}" if word.startswith("--") else word for word in SMALL]
    nested += [f"--space.{word[2:]}" if word.startswith("--") else word for word in SPACE]
    rows = ["NAS (S+R)", "NAS (S+R), trained on the target"]
    run("table", "--seeds", "2", "--jobs", "1", *nested, "--only", *rows, root=data, out=tmp_path)
    found = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {name: len(scores) for name, scores in found.items()} == dict.fromkeys(
        [*rows, "floor: random", "floor: colour histogram"], 2
    )
    said = f"{rows[1]} against {rows[0]}: mAP"
    assert said in (tmp_path / "table.md").read_text()
    assert said in capsys.readouterr().out
    assert (tmp_path / "table.png").exists()


# Wrong input


def test_a_missing_root(fails: Callable[..., str], tmp_path: Path) -> None:
    said = fails("search", root=tmp_path / "nowhere", out=tmp_path / "run")
    assert str(tmp_path / "nowhere") in said
    assert "nasda data make" in said
    assert not (tmp_path / "run").exists()


def test_an_empty_folder(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in fails("search", root=tmp_path / "empty", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def spoilt(data: Path, root: Path, spoil: Callable[[Path], None]) -> Path:
    """A copy of the person task in which the first training image of the source has been spoilt; returns that image."""
    shutil.copytree(data, root)
    image = sorted((root / "PersonX" / "bounding_box_train").glob("*.jpg"))[0]
    spoil(image)
    return image


@pytest.mark.parametrize("command", [("search", *SMALL, *SPACE, *BATCH), ("data", "check")], ids=["search", "check"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: image.write_text("this is not an image"),
        lambda image: image.write_bytes(image.read_bytes()[: image.stat().st_size // 2]),
        lambda image: image.write_bytes(b""),
    ],
    ids=["text", "truncated", "empty"],
)
def test_a_broken_image_is_named(
    fails: Callable[..., str],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    command: tuple[str, ...],
) -> None:
    image = spoilt(data, tmp_path / "data", spoil)
    if command[0] == "search":
        assert str(image) in fails(*command, root=tmp_path / "data", out=tmp_path / "run")
        assert not list(tmp_path.glob("run/search/*.pt"))
        return
    with pytest.raises(SystemExit):
        run(*command, root=tmp_path / "data", out=tmp_path / "run")
    assert str(image) in capsys.readouterr().out


def test_data_from_one_camera(fails: Callable[..., str], data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    for folder in ("query", "bounding_box_test"):
        for image in (tmp_path / "data" / "Market-1501-v15.09.15" / folder).glob("*.jpg"):
            if "_c1s" not in image.name:
                image.unlink()
    said = fails("search", *SMALL, *SPACE, *BATCH, root=tmp_path / "data", out=tmp_path / "run")
    assert "camera" in said
    assert not (tmp_path / "run").exists()


def test_a_genotype_with_an_unknown_operation(fails: Callable[..., str], data: Path, tmp_path: Path) -> None:
    node = [{"operation": "teleport", "input": 0}, {"operation": "skip_connect", "input": 1}]
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps({"normal": [node], "reduce": [node]}))
    said = fails("train", "--architecture", str(path), *SMALL, *SPACE, *BATCH, root=data, out=tmp_path / "run")
    assert str(path) in said
    assert "'teleport'" in said
    assert "part_aware" in said
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_from_another_configuration(
    fails: Callable[..., str], data: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = [*SMALL, *SPACE, *BATCH, "--sample-images", "2", "--nodes", "3"]
    said = fails("search", *other, root=data, out=out)
    assert "space.nodes = 2, not 3" in said
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_truncated_checkpoint(fails: Callable[..., str], data: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    checkpoint = tmp_path / "run" / "train" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert str(checkpoint) in fails("evaluate", root=data, out=tmp_path / "run")


@pytest.mark.parametrize("command", ["evaluate", "draw"])
def test_a_checkpoint_of_another_network_in_the_place_of_a_trained_one(
    fails: Callable[..., str], data: Path, trained: Path, tmp_path: Path, command: str
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    checkpoint = tmp_path / "run" / "train" / "checkpoint.pt"
    shutil.copy(tmp_path / "run" / "search" / "checkpoint.pt", checkpoint)
    said = fails(command, root=data, out=tmp_path / "run")
    assert f"{checkpoint}: this checkpoint belongs to another run" in said
    assert len(said) < 400
    assert not (tmp_path / "run" / "train" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("command", "file", "content", "missing"),
    [
        ("evaluate", "train/config.json", '{"kind": "train"}', "task, data is missing"),
        ("evaluate", "train/config.json", "[]", "found list"),
        ("derive", "search/log.jsonl", '{"epoch": 1}', "alphas is missing"),
        ("draw", "search/log.jsonl", '{"epoch": 1}', "alphas, genotype is missing"),
        ("derive", "search/config.json", "{}", "space is missing"),
    ],
)
def test_a_run_whose_files_are_not_its_own(
    fails: Callable[..., str],
    data: Path,
    trained: Path,
    tmp_path: Path,
    command: str,
    file: str,
    content: str,
    missing: str,
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / file).write_text(content)
    said = fails(command, root=data, out=tmp_path / "run")
    assert str(tmp_path / "run" / file) in said
    assert missing in said


@pytest.mark.parametrize(
    "words",
    [
        ("table", "--seeds", "0"),
        ("draw", "--queries", "0"),
        ("data", "make", "--processes", "-1"),
        ("search", "--seed", "-1"),
        ("search", "--epochs", "0"),
        ("search", "--weights-lr", "-1"),
        ("search", "--dropout", "1.5"),
        ("search", "--stem-stride", "3"),
        ("search", "--sample-images", "1"),
        ("search", "--identities", "100"),
        ("search", "--height", "16"),
        ("search", "--device", "abacus"),
        ("search", "--device", "cpu:banana"),
        ("search", "--device", "cuda:7"),
        ("search", "--seed", "99999999999999999999"),
        ("study", "--toy.world", "99999999999999999999"),
        ("train", "--architecture", "no-such-thing"),
        ("train", "--weights", "imagenet"),
        ("train", "--architecture", "random", "--translated"),
        ("train", "--architecture", "random", "--translated", "--train-on", "target"),
        ("translate", "--height", "30"),
        ("translate", "--batch-size", "100"),
        ("translate", "--cycle", "-1"),
        ("train",),
        ("evaluate",),
        ("derive",),
        ("draw",),
    ],
    ids=" ".join,
)
def test_a_value_that_makes_no_sense(
    fails: Callable[..., str], data: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = fails(*words, root=data, out=tmp_path / "run")
    assert len(said) > 30
    assert not list(tmp_path.rglob("*.pt"))


def test_a_study_beside_a_folder_without_a_name(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "--data-root .: " in fails("study", root=Path("."), out=tmp_path / "run")


@pytest.mark.parametrize("group", ["space", "data"])
def test_a_run_of_another_version(
    fails: Callable[..., str], data: Path, trained: Path, tmp_path: Path, group: str
) -> None:
    config = Path(shutil.copytree(trained, tmp_path / "run")) / "train" / "config.json"
    settings = json.loads(config.read_text())
    settings[group]["wings"] = 2
    config.write_text(json.dumps(settings))
    said = fails("evaluate", root=data, out=tmp_path / "run")
    assert f"{config}: {group} does not fit this version of nasda" in said
    assert "'wings'" in said


# Other data


@pytest.fixture(scope="module")
def other_data(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data but for one training image of the target and one query, which are longer by a byte."""
    root = Path(shutil.copytree(data, tmp_path_factory.mktemp("other") / "data"))
    for folder in ("bounding_box_train", "query"):
        image = sorted((root / "Market-1501-v15.09.15" / folder).glob("*.jpg"))[0]
        image.write_bytes(image.read_bytes() + b"x")
    return root


@pytest.mark.parametrize("state", ["finished", "begun"])
def test_a_search_on_other_data_is_refused_before_an_image_is_decoded(
    fails: Callable[..., str],
    data: Path,
    other_data: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    out = Path(shutil.copytree(trained, tmp_path / "run"))
    if state == "begun":
        (out / "search" / "checkpoint.pt").unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    words = ("search", *SMALL, *SPACE, *BATCH, "--sample-images", "2")
    monkeypatch.setattr("nasda.data.batches.stored", lambda *_: pytest.fail("an image was decoded"))
    said = fails(*words, root=other_data, out=out)
    assert "begun on other data: seen.target = Market-1501" in said
    assert "give the same --data-root to go on with it, or choose another --out" in said
    assert "search.epochs = 2, not 3" in fails(*words, "--epochs", "3", root=data, out=out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_what_has_not_seen_the_target_goes_on_beside_another_target(
    data: Path, other_data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(trained, tmp_path / "run"))
    monkeypatch.setattr("nasda.training.Training.step", lambda *_: pytest.fail("a step was taken"))
    run("train", *SMALL, *SPACE, *BATCH, root=other_data, out=out)
    searching = ("search", *SMALL, *SPACE, *BATCH, "--sample-images", "2", "--mode", "S")
    run(*searching, root=data, out=tmp_path / "s")
    monkeypatch.setattr(Search, "step", lambda *_: pytest.fail("a step was taken"))
    run(*searching, root=other_data, out=tmp_path / "s")
    assert set(json.loads((tmp_path / "s" / "search" / "config.json").read_text())["seen"]) == {"source"}


def test_scores_on_another_test_set_are_not_overwritten(
    fails: Callable[..., str], data: Path, other_data: Path, trained: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(trained, tmp_path / "run"))
    run("evaluate", root=data, out=out)
    metrics = out / "train" / "metrics.json"
    before = metrics.read_bytes()
    assert json.loads(before)["data"].startswith("Market-1501")
    said = fails("evaluate", root=other_data, out=out)
    assert said.startswith(f"nasda: {metrics}: these scores are of another test set (Market-1501")
    assert metrics.read_bytes() == before
    run("evaluate", root=data, out=out)
    assert metrics.read_bytes() == before
    metrics.unlink()
    run("evaluate", root=other_data, out=out)
    assert json.loads(metrics.read_text())["data"] != json.loads(before)["data"]


# The end of a process


def nasda(*words: object) -> subprocess.Popen[bytes]:
    words = (sys.executable, "-c", "from nasda.cli import main; main()", *map(str, words))
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_search_whose_reader_has_gone_is_no_success_and_goes_on(data: Path, tmp_path: Path) -> None:
    search = ["search", *SMALL, *SPACE, *BATCH, "--sample-images", "2", "--data-root", data, "--out", tmp_path]
    process = nasda(*search)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # as head -1 does
    said = process.communicate()[1].decode()
    assert process.returncode == 141, said
    assert "nobody reads the output any more" in said
    assert "Traceback" not in said
    assert "BrokenPipeError" not in said
    assert not (tmp_path / "search" / "genotype.json").exists()
    process = nasda(*search)
    assert "epoch   2" in process.communicate()[0].decode()
    assert process.returncode == 0


def test_two_searches_in_one_folder_are_one_search_and_one_line(data: Path, tmp_path: Path) -> None:
    search = ["search", *SMALL, *SPACE, *BATCH, "--sample-images", "2", "--data-root", data, "--out", tmp_path]
    processes = [nasda(*search, "--epochs", 20) for _ in range(2)]
    said = [process.communicate() for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], said
    loser = said[codes.index(2)][1].decode()
    assert f"nasda: {tmp_path / 'search'}: another process works in this folder" in loser
    assert "Traceback" not in loser
    assert len((tmp_path / "search" / "log.jsonl").read_text().splitlines()) == 20


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_one_job_is_the_default_on_any_accelerator(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr("nasda.devices.available_cores", lambda: 6)
    assert WithRows(device=device).all_jobs == (6 if device == "cpu" else 1)
    assert WithRows(device=device, jobs=3).all_jobs == 3


def test_a_help_text_whose_reader_has_gone_leaves_no_traceback() -> None:
    process = nasda("data", "make", "--help")
    assert process.stdout is not None
    process.stdout.close()
    assert process.communicate()[1] == b""
    assert process.returncode == 141


def test_ctrl_c_ends_a_search_in_one_line_and_leaves_it_resumable(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("search", *SMALL, *SPACE, *BATCH, "--sample-images", "2")

    def interrupted(self: Search, epoch: int, index: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Search, "step", interrupted)
        with pytest.raises(SystemExit) as exit:
            run(*words, root=data, out=tmp_path)
    assert exit.value.code == 130
    assert "nasda: interrupted; what is on disk is whole, and the same command goes on" in capsys.readouterr().err
    run(*words, root=data, out=tmp_path)
    assert (tmp_path / "search" / "genotype.json").exists()


def test_a_word_that_is_no_option_exits_with_2(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit:
        run("search", "--nonsense", "1", root=data, out=tmp_path)
    assert exit.value.code == 2


# Where to write


def test_a_study_makes_the_rows_that_are_asked_for(tmp_path: Path, fails: Callable[..., str]) -> None:
    """Without --only every row that needs no translation; SPGAN's where it is named, a translator for each seed."""
    toy = ["--toy.source-identities", "6", "--toy.target-identities", "6", "--toy.test-identities", "4"]
    small = ["--data.height", "32", "--data.width", "16", "--data.padding", "2", "--toy.images-per-camera", "1"]
    space = ["--space.channels", "3", "--space.stem-stride", "1", "--space.embedding", "16"]
    short = [f"--{group}.{name}" for group in ("search", "train") for name in ("identities=4", "images=2", "epochs=1")]
    short += ["--search.steps", "1", "--train.steps", "1", "--search.sample-images", "2"]
    spgan = ["--spgan.epochs", "1", "--spgan.steps", "1", "--spgan.batch-size", "2", "--spgan.channels", "4"]
    common = ["--gaps", "1", "--seeds", "1", "--jobs", "1", *toy, *small, *space, *short, *spgan]
    out, places = tmp_path / "out", {"root": tmp_path / "data", "out": tmp_path / "out"}

    def rows() -> set[str]:
        found = json.loads((out / "study.json").read_text())["1"]
        assert found["failures"] == {}
        return {name for name in found["rows"] if not name.startswith("floor")}

    run("study", *common, **places)
    assert rows() == {"NAS (S)", "NAS (S+R)", "style NAS (S)", "style NAS (S+R)", "random cells", "ResNet-50 (S)"}
    run("study", *common, "--only", "ResNet-50 (SPGAN, S+R)", **places)
    assert rows() == {"ResNet-50 (SPGAN, S+R)"}
    assert "expected rows among" in fails("study", *common, "--only", "SPGAN", **places)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory with the given options; needs root, as CI has."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a small disk needs root, which CI is, and a machine that allows it")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_ends_a_search_in_one_line_and_leaves_nothing_half(
    fails: Callable[..., str], data: Path, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("size=64k")  # room for the settings, not for a checkpoint
    said = fails("search", *SMALL, *SPACE, *BATCH, "--sample-images", "2", root=data, out=disk / "run")
    assert "checkpoint.pt" in said
    assert "disk is full" in said
    assert files_below(disk) == {".lock", "config.json"}


def test_a_full_disk_leaves_no_data_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("size=200k")
    with pytest.raises(SystemExit) as exit:
        make_data(disk, tmp_path / "unused")
    assert exit.value.code == 2
    assert "disk is full" in capsys.readouterr().err
    assert not files_below(disk)


def test_a_read_only_folder(fails: Callable[..., str], data: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said = fails("search", *SMALL, *SPACE, *BATCH, "--sample-images", "2", root=data, out=disk / "run")
    assert "read-only" in said


def test_the_doctor_reports_and_says_what_to_do(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("doctor", root=data, out=tmp_path)
    assert "all well" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run("doctor", root=tmp_path / "nowhere", out=tmp_path)
    assert "nasda data make" in capsys.readouterr().out


def imports_after(code: str) -> tuple[str, set[str]]:
    """What `code` prints in a separate process, and which large libraries it imports there."""
    code = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\nimported:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answer, modules = done.stdout.split("\nimported: ")
    return answer, {"torch", "torchvision", "matplotlib", "sklearn", "scipy", "IPython", "PIL"} & set(modules.split())


def test_help_names_every_subcommand() -> None:
    answer, _ = imports_after("from nasda.cli import main; main(['--help'])")
    for name in ("data", "search", "derive", "translate", "train", "evaluate", "draw", "table", "study", "doctor"):
        assert name in answer


@pytest.mark.parametrize(
    "words", [[], ["data"], ["data", "make"], ["search"], ["translate"], ["train"], ["table"], ["doctor"]]
)
def test_help_imports_no_large_library(words: list[str]) -> None:
    answer, imported = imports_after(f"from nasda.cli import main; main({[*words, '--help']})")
    assert "usage: nasda" in answer
    assert not imported


def test_the_package_itself_imports_no_large_library() -> None:
    assert imports_after("import nasda") == ("", set())


def test_checking_data_imports_no_torch(data: Path) -> None:
    answer, imported = imports_after(
        f"from nasda.cli import main; main(['data', 'check', '--data-root', {str(data)!r}])"
    )
    assert "Market-1501: good" in answer
    assert imported == {"PIL"}


@pytest.mark.parametrize(
    ("task", "sets"), [("person", ("personx", "market1501")), ("vehicle", ("vehiclex", "veri776"))]
)
def test_the_paper_s_profile_runs_dry_on_the_real_layouts(task: str, sets: tuple[str, str], tmp_path: Path) -> None:
    """§3.3's network and images, with their oddities on disk; only the batch is smaller, for want of 24 GB."""
    for name in sets:
        tree(name, tmp_path / "data")  # type: ignore[arg-type]
    out = tmp_path / "out"
    common = ["--profile", "paper", "--device", "cpu"]
    dry = ["--epochs", "1", "--steps", "2", "--identities", "2", "--images", "2"]
    run("search", *common, *dry, "--sample-images", "2", task=task, root=tmp_path / "data", out=out)
    run("train", *common, *dry, task=task, root=tmp_path / "data", out=out)
    run("evaluate", *common, task=task, root=tmp_path / "data", out=out)
    config = json.loads((out / "search" / "config.json").read_text())
    assert (config["space"]["channels"], config["space"]["nodes"], config["space"]["cells_per_block"]) == (32, 4, 2)
    assert (config["data"]["height"], config["data"]["width"]) == (256, 128 if task == "person" else 256)
    metrics = json.loads((out / "train" / "metrics.json").read_text())
    assert 0 <= metrics["mAP"] <= 1
    assert metrics["parameters"] > 1e5
