"""What every notebook starts with: data, settings, device, the folder for runs, and the results that come with the
course. Notebooks and the `nasda` command share the built-in data and the runs on it."""

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasda.data.check import load_sound_task
from nasda.data.domain import fingerprint
from nasda.data.task import Task
from nasda.devices import available_cores, choose_device
from nasda.errors import NasdaError
from nasda.files import reading
from nasda.settings import PROFILE_NAMES, TASK_NAMES, Profile, ProfileName, profile
from nasda.study.experiments import Experiment
from nasda.toy.make import make_toy


@dataclass(frozen=True)
class Course:
    """One task at one size, with all that a notebook needs."""

    task: Task
    settings: Profile
    profile: ProfileName
    data_root: Path
    experiment: Experiment
    seed: int
    device: torch.device


def open_course(profile_name: str = "tiny", task_name: str = "person", data_root: str = "", seed: int = 0) -> Course:
    """The data of a task and the settings of a profile; every notebook has these parameters.

    `data_root` is the folder that holds the real data sets; if it is empty, the profile's built-in data is used, and
    made if it is missing. Runs on other data have another folder, whose name ends with the data's fingerprint. Raises
    `NasdaError` if a name is unknown or the data cannot be used.
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
    name = f"{task_name}-{profile_name}-seed{seed}"
    if data_root:
        prints = [fingerprint(domain, *domain.splits()) for domain in (task.source, task.target)]
        name += "-data-" + hashlib.sha256("\n".join(prints).encode()).hexdigest()[:8]
    experiment = Experiment(home / "runs" / name)
    return Course(task, settings, profile_name, root, experiment, seed, choose_device("auto"))


def project_folder() -> Path:
    """The folder of the project: the first of the current folder and its parents that contains `notebooks/source`.
    Raises `NasdaError` if there is none."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks" / "source").is_dir():
            return folder
    raise NasdaError(f"{here}: not inside the nasda project: start notebooks from a folder of the project")


@dataclass(frozen=True)
class Shipped:
    """A result of a longer run that comes with the course, and how to make it again."""

    machine: str
    date: str
    command: str
    seconds: float
    content: Any

    def label(self) -> str:
        """Its origin in one line."""
        return f"{self.machine}, {self.date}, {self.seconds / 60:.0f} min: {self.command}"


def shipped(name: str) -> Shipped:
    """The result in notebooks/shipped with this name. Raises `NasdaError` if there is none, or if it is broken."""
    path, what = project_folder() / "notebooks" / "shipped" / f"{name}.json", "a result that comes with the course"
    with reading(path, what):
        return Shipped(**json.loads(path.read_text(encoding="utf-8")))


def this_machine() -> str:
    """A label for results and times: processor, cores, and the GPU if there is one."""
    cores = f"{_processor()}, {available_cores()} cores"
    return f"{torch.cuda.get_device_name()}, {cores}" if torch.cuda.is_available() else cores


def _processor() -> str:
    """The processor's name. Python does not know it on Linux, but a file does."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
