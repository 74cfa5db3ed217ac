"""What every notebook opens with: data, settings, device, and where runs lie; and results that came with the course.

The built-in data and the runs are those of the `nasda` command: what one of them has made, the other finds.
"""

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasda.data.check import load_sound_task
from nasda.data.domain import fingerprint
from nasda.data.task import Task
from nasda.devices import available_cores, choose_device
from nasda.errors import NasdaError
from nasda.files import read_json
from nasda.settings import PROFILE_NAMES, TASK_NAMES, Profile, ProfileName, profile
from nasda.study.experiments import Experiment
from nasda.toy.make import make_toy


@dataclass(frozen=True)
class Course:
    """One task at one size, ready to be worked on."""

    task: Task
    settings: Profile
    profile: ProfileName
    data_root: Path
    experiment: Experiment
    seed: int
    device: torch.device


def open_course(profile_name: str = "tiny", task_name: str = "person", data_root: str = "", seed: int = 0) -> Course:
    """The data of a task and the settings of a profile; the parameters are those of every notebook.

    Without `data_root`, the built-in data of the profile, which is drawn where it is missing; else the folder that
    holds the real data sets. Runs on other data lie in another folder, whose name ends with the data's fingerprint.
    Raises `NasdaError` on an unknown name and on data that cannot be used.
    """
    if profile_name not in PROFILE_NAMES:
        raise NasdaError(f"PROFILE is {profile_name!r}: expected one of {', '.join(PROFILE_NAMES)}")
    if task_name not in TASK_NAMES:
        raise NasdaError(f"TASK is {task_name!r}: expected one of {', '.join(TASK_NAMES)}")
    settings = profile(profile_name, task_name)
    home = project_folder()
    root = Path(data_root) if data_root else home / "data" / "toy" / profile_name
    if not data_root:
        make_toy(root, task_name, height=settings.data.height, width=settings.data.width, settings=settings.toy)
    task = load_sound_task(task_name, root)
    name = f"{task_name}-{profile_name}-seed{seed}" + (f"-data-{_data_hash(task)}" if data_root else "")
    experiment = Experiment(home / "runs" / name)
    return Course(task, settings, profile_name, root, experiment, seed, choose_device("auto"))


def _data_hash(task: Task) -> str:
    """Eight letters that stand for all images of both domains."""
    prints = [fingerprint(domain, *domain.splits()) for domain in (task.source, task.target)]
    return hashlib.sha256("\n".join(prints).encode()).hexdigest()[:8]


def project_folder() -> Path:
    """The folder of the project: the nearest one, from here upwards, with `notebooks/source` in it, as git finds its
    repository. Raises `NasdaError` where there is none."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks" / "source").is_dir():
            return folder
    raise NasdaError(f"{here}: no folder of the nasda project here or above: run notebooks from within the project")


@dataclass(frozen=True)
class Shipped:
    """A result of a bigger run that came with the course, and how to make it again."""

    machine: str
    date: str
    command: str
    seconds: float
    content: Any

    def label(self) -> str:
        """Where it comes from, in one line."""
        return f"{self.machine}, {self.date}, {self.seconds / 60:.0f} min: {self.command}"


def shipped(name: str) -> Shipped:
    """What lies in notebooks/shipped under this name (see `Shipped`). Raises `NasdaError` where there is none."""
    path = project_folder() / "notebooks" / "shipped" / f"{name}.json"
    found = read_json(path, "a result that came with the course")
    try:
        return Shipped(**found)
    except TypeError as error:
        raise NasdaError(f"{path}: a result that came with the course expected here: {error}") from error


def this_machine() -> str:
    """What results and times are labelled with: processor, cores, GPU where there is one."""
    cores = f"{platform.processor() or platform.machine()}, {available_cores()} cores"
    return f"{torch.cuda.get_device_name()}, {cores}" if torch.cuda.is_available() else cores
