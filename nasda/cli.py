"""The `nasda` command. Its options are the fields of the settings dataclasses; tyro makes them into a command line.

Every subcommand on data and networks takes --task, --profile, --data-root, --out and --seed, which mean the same
everywhere. A profile fills in the defaults of everything else, which --help shows.
"""

import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, subcommand

from nasda.data.datasets import DATASETS, GB, OF_TASK, Counting, DataSetName, Side, describe
from nasda.errors import NasdaError
from nasda.settings import (
    ComputeSettings,
    DataSettings,
    EvaluateSettings,
    Precision,
    Profile,
    ProfileName,
    SearchSettings,
    Selection,
    SpaceSettings,
    SPGANSettings,
    TaskName,
    ToySettings,
    TrainSettings,
    changed,
    check_settings,
    profile,
)

if TYPE_CHECKING:  # a subcommand imports what it needs when it runs, so that --help is quick
    import torch

    from nasda.data.task import Task
    from nasda.study.experiments import Experiment

DESCRIPTION = (
    "Neural architecture search for domain adaptation: make data, search, derive, translate, train, evaluate, draw."
)
_RESUMABLE = "what is on disk is whole, and the same command goes on from there"


@dataclass(frozen=True)
class Common:
    """What all subcommands share."""

    task: TaskName = "person"
    """person: PersonX → Market-1501; vehicle: VehicleX → VeRi-776."""
    profile: ProfileName = "tiny"
    """Where the other options' defaults come from: tiny (seconds), laptop (minutes), gpu, paper (§3.3)."""
    data_root: Path = Path("data/toy/tiny")
    """Folder that holds the data sets' own folders; the built-in data and the real data sets are read alike."""
    out: Path = Path("runs/person-tiny-seed0")
    """Folder of this experiment: its search, its trainings, its pictures."""
    seed: int = 0
    """Seed of everything random."""

    def load_task(self) -> "Task":
        """The task's data; each side is read, and its split checked, at its first use."""
        from nasda.data.check import load_sound_task

        return load_sound_task(self.task, self.data_root)

    @property
    def settings(self) -> Profile:
        """The profile, with this subcommand's options in place of its values."""
        chosen = profile(self.profile, self.task)
        given = {group: settings for group, settings in vars(self).items() if hasattr(chosen, group)}
        return dataclasses.replace(chosen, **given)

    @property
    def experiment(self) -> "Experiment":
        from nasda.study.experiments import Experiment

        return Experiment(self.out)


@dataclass(frozen=True)
class OnDevice(Common):
    """What subcommands that compute share."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, mps."""

    @property
    def chosen_device(self) -> "torch.device":
        from nasda.devices import choose_device

        return choose_device(self.device)


@dataclass(frozen=True)
class DataMake(Common):
    """Render the built-in data of a task into --data-root, in the real data sets' layouts. Existing data is kept."""

    data: DataSettings = DataSettings()
    toy: ToySettings = ToySettings()
    only: Side | None = None
    """Render the source or the target only; the other can then be real data."""
    processes: int | None = None
    """Processes that render; one for each core if not given. The images do not depend on it."""

    def run(self) -> None:
        from nasda.data.task import load_task, table_of_counts
        from nasda.devices import available_cores
        from nasda.toy.make import make_toy

        check_settings(self.data, self.toy)
        make_toy(
            self.data_root,
            self.task,
            height=self.data.height,
            width=self.data.width,
            settings=self.toy,
            only=self.only,
            processes=self.processes or available_cores(),
        )
        task = load_task(self.task, self.data_root)
        print(table_of_counts(getattr(task, self.only)) if self.only else task.counts())


@dataclass(frozen=True)
class DataShow(Common):
    """Draw a contact sheet of a task: rows are identities, columns cameras, source and target side by side."""

    data: DataSettings = DataSettings()

    def run(self) -> None:
        from nasda.pictures.plots import contact_sheet, save

        task = self.load_task()
        path = self.experiment.pictures / "contact_sheet.png"
        size = {"height": self.data.height, "width": self.data.width}
        titles = [f"source: {task.source.title}", f"target: {task.target.title}"]
        save(contact_sheet([task.source, task.target], **size, titles=titles, seed=self.seed), path)
        print(f"{task.counts()}\npicture: {path}")


@dataclass(frozen=True)
class DataLook(Common):
    """Compare how training images look, in figures: a column for each data root, beside a real Market-1501's."""

    roots: Positional[tuple[Path, ...]] = ()
    """Data roots; of several, the mean is given too. --data-root alone if none is given."""
    side: Side = "target"
    """Look at the source's or the target's images."""

    def run(self) -> None:
        from nasda.data.look import MARKET, look, mean_look, table_of_looks
        from nasda.data.task import load_task

        size = (64, 32) if self.task == "person" else (64, 64)
        columns = {
            str(root): look(getattr(load_task(self.task, root), self.side).train, *size)
            for root in self.roots or (self.data_root,)
        }
        means = {"mean": mean_look(list(columns.values()))} if len(columns) > 1 else {}
        print(table_of_looks(({"Market-1501": MARKET} if self.task == "person" else {}) | columns | means))


@dataclass(frozen=True)
class DataPrepare(Common):
    """Unpack archives (zip, tar, tar.gz, tar.bz2, tar.xz) of a real data set, or copy its folders, to where nasda finds
    it."""

    dataset: Positional[DataSetName] = tyro.MISSING
    """Which of the four."""
    sources: Positional[tuple[Path, ...]] = ()
    """Its archives or folders, in any layout that people share; the contents of several are merged."""
    max_size: float | None = None
    """Most gigabytes to write; if not given, several times the size of the data set's largest release."""

    def run(self) -> None:
        from nasda.data.prepare import prepare
        from nasda.data.task import table_of_counts

        dataset = DATASETS[self.dataset]
        max_size = dataset.max_size if self.max_size is None else int(self.max_size * GB)
        domain = prepare(dataset, self.sources, self.data_root, max_size)
        print(table_of_counts(domain))
        print(f"prepared: {domain.root}; now: nasda data check {self.dataset} --data-root {self.data_root}")


@dataclass(frozen=True)
class DataCheck(Common):
    """Check one data set, or both of a task: counts, splits, lists and label files, and that every image decodes. Exits
    with 2 if something is wrong."""

    datasets: Positional[tuple[DataSetName, ...]] = ()
    """Which of the four; both of --task if none is given."""
    counts: Counting = "auto"
    """Compare counts and names with the official ones; auto: unless nasda made the data itself (built-in data,
    translations, subsets)."""
    images: bool = True
    """Decode every image: minutes, for the large ones."""

    def run(self) -> None:
        from nasda.data.check import report

        names = self.datasets or OF_TASK[self.task].values()
        if errors := sum(report(DATASETS[name], self.data_root, self.counts, self.images) for name in names):
            raise NasdaError(f"{self.data_root}: {errors:,} errors in the data, listed above: correct them first")


@dataclass(frozen=True)
class DataSubset(Common):
    """Copy some identities of a data set, and some images of each, into a new data set of the same layout."""

    dataset: Positional[DataSetName] = tyro.MISSING
    """Which of the four, real or built-in."""
    to: Positional[Path] = tyro.MISSING
    """Folder to put the new data set's folder into."""
    identities: int = 50
    """Identities to train on; all if there are fewer."""
    test_identities: int | None = None
    """Identities to test on; as many as to train on if not given."""
    images: int = 4
    """Images of an identity in each camera that sees it, in each split."""
    link: bool = False
    """Make hard links instead of copies if the file system can."""

    def run(self) -> None:
        import shutil

        from nasda.data import subset
        from nasda.data.task import table_of_counts

        dataset = DATASETS[self.dataset]
        tested = self.identities if self.test_identities is None else self.test_identities
        chosen = subset.choose(dataset, dataset.read(self.data_root), self.identities, tested, self.images, self.seed)
        domain = subset.write(dataset, chosen, self.to, subset.link if self.link else shutil.copyfile)
        print(f"{table_of_counts(domain)}\nsubset: {domain.root}")


@dataclass(frozen=True)
class Search(OnDevice):
    """Search: ω learns on the source while α learns on held-out source images (S) or a target sample (S+R). Resumes."""

    space: SpaceSettings = SpaceSettings()
    search: SearchSettings = SearchSettings()
    data: DataSettings = DataSettings()
    compute: ComputeSettings = ComputeSettings()

    def run(self) -> None:
        from nasda.search import run_search

        folder = self.experiment.search
        genotype = run_search(folder, self.load_task(), self.settings, seed=self.seed, device=self.chosen_device)
        print(f"found: {genotype.to_json()}\nrun: {folder.path}")


@dataclass(frozen=True)
class Derive(OnDevice):
    """Derive the cells from a search. By alpha: per edge the strongest operation other than none, per node the two
    strongest edges (§2.1). By perturbation: those whose removal makes the supernet's loss largest (DARTS-PT)."""

    by: Selection = "alpha"
    """alpha reads the search's log; perturbation measures the finished supernet and needs the data."""
    epoch: int | None = None
    """By alpha: derive from α after this epoch; the last one if not given."""
    tune_steps: int = 5
    """By perturbation: steps of ω on the source after each decision."""

    def run(self) -> None:
        from nasda.genotypes import CELL_KINDS, derive
        from nasda.selection import run_selection

        folder = self.experiment.search
        if self.by == "alpha":
            history, space = folder.read_log("alphas"), folder.read_settings("space", SpaceSettings)
            epoch = len(history) if self.epoch is None else self.epoch
            if not 1 <= epoch <= len(history):
                raise NasdaError(f"--epoch {epoch}: the search in {folder.path} has epochs 1 to {len(history)}")
            row = history[epoch - 1]
            genotype = derive(row["alphas"], space.primitives, row.get("betas"))
        elif self.epoch is not None:
            raise NasdaError("--epoch is for --by alpha: only the last epoch's weights of the supernet are kept")
        else:
            task, device = self.load_task(), self.chosen_device
            genotype = run_selection(folder, task, steps=self.tune_steps, seed=self.seed, device=device)
        genotype.save(folder.genotype)
        for kind in CELL_KINDS:
            print(f"{kind} cell")
            for index, node in enumerate(genotype.cell(kind)):
                print(f"  node {index} = " + " + ".join(f"{edge.operation}(state {edge.input})" for edge in node))
        print(f"genotype, selected by {self.by}: {folder.genotype}")


@dataclass(frozen=True)
class Convert:
    """Convert a genotype from the form in which DARTS, Auto-ReID and their successors publish it to nasda's JSON."""

    file: Annotated[Path, Positional]
    """Python with Genotype(normal=[...], reduce=[...]), such as DARTS' genotypes.py, or the same fields as JSON."""
    out: Path
    """The genotype's new file, for nasda train --architecture."""
    name: str | None = None
    """Which genotype to take if the file has several, such as DARTS_V2."""

    def run(self) -> None:
        from nasda.study.published import read_published

        read_published(self.file, self.name).save(self.out)
        print(f"genotype: {self.out}")


@dataclass(frozen=True)
class Translate(OnDevice):
    """Translate the source into the target's style (SPGAN) and write it as a data set, for nasda train --translated.
    Resumes."""

    spgan: SPGANSettings = SPGANSettings()
    data: DataSettings = DataSettings()

    def run(self) -> None:
        from nasda.files import write_json
        from nasda.pictures.experiment import watch_translation
        from nasda.spgan.dataset import distances_to_target, with_translated_source, write_translation
        from nasda.spgan.training import run_spgan

        task, experiment, device = self.load_task(), self.experiment, self.chosen_device
        watch = watch_translation(experiment.pictures, task, self.data, seed=self.seed, device=device)
        generator = run_spgan(experiment.spgan, task, self.settings, seed=self.seed, device=device, after_epoch=watch)
        dataset = write_translation(experiment.translated, task.source, generator, self.data, device=device)
        translated = with_translated_source(task, experiment.translated).source.train
        distances = distances_to_target(task, translated, self.data)
        write_json(experiment.spgan.metrics, {name: distance._asdict() for name, distance in distances.items()})
        for name, distance in distances.items():
            print(f"{name}: {distance}")
        print(f"data set: {dataset}\npictures: {experiment.pictures}")


@dataclass(frozen=True)
class Train(OnDevice):
    """Train a network from scratch: the searched cells, random ones, a genotype's file, or a baseline. Resumes."""

    space: SpaceSettings = SpaceSettings()
    train: TrainSettings = TrainSettings()
    data: DataSettings = DataSettings()
    precision: Precision = "float32"
    """What CUDA computes features in: float32 or bfloat16; other devices stay with float32."""
    architecture: str = "searched"
    """searched (the search in --out), random (chosen by --seed), resnet-like, a genotype's file, or a baseline:
    resnet50, resnet18, plain (3x3 convolutions one after another, with as many parameters as networks of cells)."""
    weights: str | None = None
    """For a ResNet: imagenet (torchvision's download) or a file of its weights; random ones if not given."""
    translated: bool = False
    """Train on the translated source that nasda translate wrote to --out, instead of the source."""

    def run(self) -> None:
        from nasda.networks import RESNETS
        from nasda.spgan.dataset import with_translated_source
        from nasda.study.experiments import choose_architecture
        from nasda.training import run_training

        if self.translated and self.train.train_on == "target":
            raise NasdaError("--translated is for --train-on source or source+sample: target uses no source images")
        if self.weights is not None and self.architecture not in RESNETS:
            raise NasdaError(f"--weights is for --architecture {' or '.join(RESNETS)}, not {self.architecture}")
        architecture = choose_architecture(self.architecture, self.experiment, self.space, self.seed)
        task, device = self.load_task(), self.chosen_device
        if self.translated:
            task = with_translated_source(task, self.experiment.translated)
        options: dict[str, Any] = {"translated": self.translated, "norm": self.space.norm}
        folder = self.experiment.training(self.architecture, self.train.train_on, **options)
        settings = changed(self.settings, compute={"precision": self.precision})
        run_training(folder, task, architecture, settings, seed=self.seed, device=device, weights=self.weights)
        print(f"run: {folder.path}")


@dataclass(frozen=True)
class Evaluate(OnDevice):
    """Test every trained network in --out on the target's query and gallery, beside the floors."""

    evaluate: EvaluateSettings = EvaluateSettings()

    def run(self) -> None:
        from nasda.study.experiments import evaluate_runs, results_table

        folders = self.experiment.trainings()
        if not folders:
            raise NasdaError(f"{self.out}: no trained network here: run nasda train with the same --out first")
        rows = evaluate_runs(folders, self.load_task(), self.evaluate, seed=self.seed, device=self.chosen_device)
        print(results_table({name: [scores] for name, scores in rows.items()}))


@dataclass(frozen=True)
class Draw(OnDevice):
    """Draw what an experiment has: the cells, the macro network, α over epochs, and ranked galleries."""

    queries: int = 6
    """Queries in the picture of ranked galleries."""

    def run(self) -> None:
        from nasda.pictures.experiment import draw_experiment

        for path in draw_experiment(self.experiment, self.load_task, self.queries, self.seed, self.chosen_device):
            print(f"picture: {path}")


@dataclass(frozen=True)
class WithTrainings(OnDevice):
    """What the subcommands share that search, train and test many networks."""

    space: SpaceSettings = SpaceSettings()
    search: SearchSettings = SearchSettings()
    train: TrainSettings = TrainSettings()
    data: DataSettings = DataSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    compute: ComputeSettings = ComputeSettings()
    jobs: int | None = None
    """Processes that work at the same time, with one thread each; by default one for each core on a CPU, else one."""

    @property
    def all_jobs(self) -> int:
        from nasda.devices import available_cores

        return self.jobs or (available_cores() if self.chosen_device.type == "cpu" else 1)


@dataclass(frozen=True)
class WithRows(WithTrainings):
    """What the subcommands that make rows of Table 1 share."""

    spgan: SPGANSettings = SPGANSettings()
    seeds: int = 3
    """How many seeds, counted from --seed."""
    only: tuple[str, ...] = ()
    """Names of the rows to make; if none is given, the rows named above."""
    random_cells: int = 1
    """Random cells a seed."""

    @property
    def all_seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    def check_failures(self, failed: int) -> None:
        if failed:
            raise NasdaError(f"{failed} rows failed for the reasons above: run the same command to try them again")


@dataclass(frozen=True)
class Table(WithRows):
    """Table 1 on this data, with the controls that the paper lacks: NAS (S), NAS (S+R), both in the space
    style, random cells, ResNet-50 on the source and on SPGAN's translation of it, and the floors, over seeds; with
    --only also the controls, and 'NAS (S+R), trained on the target', which says how wide the gap is. Runs are kept in
    --out by their configuration, so the command resumes."""

    weights: str | None = None
    """Adds rows for ResNet-50 with ImageNet's weights: imagenet (torchvision's download) or a file of them."""

    def run(self) -> None:
        from nasda.pictures.plots import metrics_bars, save
        from nasda.study.experiments import results_columns
        from nasda.study.rows import CONTROLS, IN_DOMAIN_ROWS, PRETRAINED_ROWS, ROWS, rows_named
        from nasda.study.table import make_table, markdown, ranked

        table = make_table(
            self.out,
            self.load_task(),
            self.settings,
            self.all_seeds,
            random_cells=self.random_cells,
            rows=rows_named(self.only, ROWS + PRETRAINED_ROWS if self.weights else ROWS, IN_DOMAIN_ROWS + CONTROLS),
            weights=self.weights,
            jobs=self.all_jobs,
            device=self.chosen_device,
        )
        print(markdown(table, "simple"))
        if table.scores:
            save(metrics_bars(results_columns(ranked(table))), self.out / "table.png")
        print(f"table: {self.out / 'table.md'}, .csv, .json, .png")
        self.check_failures(len(table.failures))


@dataclass(frozen=True)
class Study(WithRows):
    """When does searching on the target help? NAS (S), NAS (S+R), both in the space style, random cells and ResNet-50
    on built-in data whose domains are alike or far apart; with --only also the controls, and ResNet-50 (SPGAN, S+R).
    Renders the data beside --data-root; runs are kept, so the command resumes."""

    toy: ToySettings = ToySettings()
    gaps: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Gaps between source and target, from 0 (alike) to 1 (a street)."""
    worlds: int = 1
    """How many drawn worlds, counted from --toy.world. With several, the world is the unit of each comparison."""
    runs: Path | None = None
    """Folder of the runs, which studies may share; runs in --out if not given."""

    def run(self) -> None:
        from nasda.pictures.plots import save, score_over_gap
        from nasda.study.factors import contrasts, entries_of
        from nasda.study.factors import markdown as factors
        from nasda.study.gaps import STUDY_ROWS, curves, gap_study
        from nasda.study.rows import CONTROLS, IN_DOMAIN_ROWS, ROWS, rows_named
        from nasda.study.table import markdown

        tables = gap_study(
            self.out,
            self.data_root,
            self.task,
            self.settings,
            self.gaps,
            self.all_seeds,
            worlds=range(self.toy.world, self.toy.world + self.worlds),
            runs=self.runs,
            random_cells=self.random_cells,
            rows=rows_named(self.only, STUDY_ROWS, ROWS + IN_DOMAIN_ROWS + CONTROLS),
            jobs=self.all_jobs,
            device=self.chosen_device,
        )
        for gap, table in tables.items():
            print(f"gap {gap:g}\n{markdown(table, 'simple')}\n")
            entries = entries_of(table.scores, (*ROWS, *CONTROLS)) if self.worlds > 1 else []
            if contrasts(entries):
                print(f"gap {gap:g}: what the differences are made of\n{factors(entries)}\n")
        if rows := curves(tables):
            save(score_over_gap(rows), self.out / "study.png")
        print(f"study: {self.out / 'study.md'}, .json, .png, and a table for each gap beside it")
        self.check_failures(sum(len(table.failures) for table in tables.values()))


@dataclass(frozen=True)
class Proxy(WithTrainings):
    """Does α's loss know which cells are good? Trains random cells and searches supernets, measures each loss of α on
    each cell, and prints Kendall's τ with its mAP. Where τ is near 0, no search on that loss can help. Resumes."""

    cells: int = 30
    """Random cells."""

    def run(self) -> None:
        from nasda.study.proxy import cheap_test, markdown

        task, device = self.load_task(), self.chosen_device
        found = cheap_test(self.out, task, self.settings, self.cells, seed=self.seed, jobs=self.all_jobs, device=device)
        print(markdown(found))
        print(f"rankings: {self.out / 'proxy.md'}, .json")


@dataclass(frozen=True)
class Doctor(Common):
    """Is this machine ready? Each line says ok, or what to do; exits with 2 if something is wrong."""

    def run(self) -> None:
        from nasda.doctor import examine

        findings = examine(self.data_root, self.out)
        for finding in findings:
            print(finding)
        if wrong := [finding.name for finding in findings if finding.remedy]:
            raise NasdaError(f"not ready: {', '.join(wrong)}")
        print("all well")


@dataclass(frozen=True)
class Progress:
    """What you have done in the course: exercises, predictions and recall questions by notebook, and the hours."""

    def run(self) -> None:
        from nasda.course.check import modules, of_notebook, your_searcher
        from nasda.course.journal import Journal, hours, progress

        entries = Journal.here().entries()
        print(progress(entries, {number: sorted(of_notebook(number)) for number in modules()}))
        print(f"\n{your_searcher()}\n{hours(entries):.1f} hours, pauses of over half an hour left out")


@dataclass(frozen=True)
class Check:
    """Look through a problem set before you hand it in: what is answered, and what the visible cases say."""

    notebook: Annotated[Path, Positional]
    """Your notebook, such as ps1.ipynb, with the file of cases that was handed out beside it."""

    def run(self) -> None:
        from nasda.grading.remote import Keeper
        from nasda.grading.visible import check_notebook

        with Keeper() as keeper:
            print("\n".join(check_notebook(self.notebook, keeper)))


@dataclass(frozen=True)
class Grade:
    """Mark a folder of submissions to a problem set: points and words for every part of every answer.

    Answers run in confined workers, one process each: without network, without your files, within limits, where the
    system allows it; it says at the end what held. Hidden cases are drawn by --seed. Writes marks.csv, marks.json,
    similar.csv (answers that are alike, for you to look at) and a page of feedback a student to --out, and resumes.
    """

    folder: Annotated[Path, Positional]
    """STUDENT/PS/PS.ipynb, as nbgrader collects them, or notebooks side by side."""
    problem_set: str
    """The set that was handed out, such as ps1."""
    out: Path = Path("runs/marks")
    """Folder of the marks."""
    seed: int = 0
    """Of the hidden cases."""
    jobs: int | None = None
    """Workers at the same time; by default one for each core."""

    def run(self) -> None:
        from nasda.devices import available_cores
        from nasda.grading.marks import grade
        from nasda.grading.problem_set import load_problem_set
        from nasda.grading.submission import find_submissions

        problem_set = load_problem_set(self.problem_set, self.seed)
        submissions = find_submissions(self.folder, self.problem_set)
        marked = grade(submissions, problem_set, self.out, seed=self.seed, jobs=self.jobs or available_cores())
        for found in marked:
            note = f"  ({found.note})" if found.note else ""
            print(f"{found.student}: {found.points:g} of {problem_set.points:g}{note}")
        kinds = sorted({found.confinement for found in marked if found.confinement})
        print(f"confined by {' and '.join(kinds) or 'nothing, for no cell was run'}")
        print(f"marks: {self.out / 'marks.csv'}, marks.json, similar.csv, feedback/")


def commands(task: TaskName, name: ProfileName, seed: int) -> Any:
    """All subcommands as one type for tyro, their defaults taken from the profile."""
    chosen = profile(name, task)
    defaults = vars(chosen) | {
        "precision": chosen.compute.precision,  # of `train`, which has no other compute setting
        "task": task,
        "profile": name,
        "seed": seed,
        "data_root": Path("data/toy") / name,
        "out": Path("runs") / f"{task}-{name}-seed{seed}",
    }

    def command(name: str, kind: Any, description: str | None = None, **other: Any) -> Any:
        fields = {field.name for field in dataclasses.fields(kind)}
        default = kind(**{field: value for field, value in (defaults | other).items() if field in fields})
        # --epochs where there is one such setting; --search.epochs and --train.epochs where there are two
        markers = () if issubclass(kind, WithTrainings) else (OmitArgPrefixes,)
        return Annotated[kind, subcommand(name, default=default, description=description), *markers]

    obtaining = f"{DataPrepare.__doc__}\n\nNo data set comes with nasda, and none is downloaded.\n\n{describe()}"
    data_commands = (
        command("make", DataMake)
        | command("prepare", DataPrepare, obtaining, data_root=Path("data/real"))
        | command("show", DataShow)
        | command("look", DataLook)
        | command("check", DataCheck)
        | command("subset", DataSubset)
    )
    data_description = "Make, prepare, show, check data, or take a part of it."
    return (
        Annotated[data_commands, subcommand("data", description=data_description)]
        | command("search", Search)
        | command("derive", Derive)
        | Annotated[Convert, subcommand("convert")]
        | command("translate", Translate)
        | command("train", Train)
        | command("evaluate", Evaluate)
        | command("draw", Draw)
        | command("table", Table)
        | command("study", Study)
        | command("proxy", Proxy)
        | Annotated[Progress, subcommand("progress")]
        | Annotated[Check, subcommand("check")]
        | Annotated[Grade, subcommand("grade")]
        | command("doctor", Doctor)
    )


def read_ahead(arguments: Sequence[str]) -> tuple[TaskName, ProfileName, int]:
    """--task, --profile and --seed, on which other options' defaults depend."""
    found, _ = tyro.cli(Common, prog="nasda", args=arguments, return_unknown_args=True, add_help=False)
    return found.task, found.profile, found.seed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `nasda` command. Exits with 2 and one line on anything the user can put right, with 130 after Ctrl-C, and
    with 141, the shell's code for a broken pipe, when nobody reads its output any more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary folders are removed
    arguments = sys.argv[1:] if arguments is None else arguments
    command = None
    try:
        try:
            command = tyro.cli(commands(*read_ahead(arguments)), prog="nasda", description=DESCRIPTION, args=arguments)
            check_settings(command)
            command.run()
        finally:
            sys.stdout.flush()  # here, a broken pipe can still be reported; when Python exits, it cannot
    except NasdaError as error:
        print(f"nasda: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"\nnasda: interrupted; {_RESUMABLE}", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        with suppress(BrokenPipeError):
            if command is not None:  # a help text that is cut off needs no message
                print(f"nasda: nobody reads the output any more, so it stops here; {_RESUMABLE}", file=sys.stderr)
        raise SystemExit(141) from None


if __name__ == "__main__":
    main()
