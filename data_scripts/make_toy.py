"""Draw the built-in data of both tasks, in a profile's size: `python data_scripts/make_toy.py --profile laptop`.

`nasda data make` does the same for one task, with every number as an option of its own.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from nasda.data.task import load_task
from nasda.devices import available_cores
from nasda.errors import NasdaError
from nasda.settings import TASK_NAMES, ProfileName, profile
from nasda.toy.make import make_toy


@dataclass(frozen=True)
class MakeToy:
    """Draw the built-in data of both tasks in the real data sets' own layouts. Once; then it is kept."""

    profile: ProfileName = "laptop"
    """Size of the images, and how many there are."""
    root: Path | None = None
    """Folder to draw into; data/toy/<profile> if not given."""
    gap: float = 1.0
    """0: the target looks like the source, a game engine; 1: it looks like a street."""
    world: int = 0
    """Which people, vehicles and cameras there are."""
    processes: int | None = None
    """Processes that draw, one for each core if not given; the images do not depend on their number."""


def main(options: MakeToy) -> None:
    root = options.root or Path("data/toy") / options.profile
    processes = options.processes or available_cores()
    for task in TASK_NAMES:
        chosen = profile(options.profile, task)
        settings = replace(chosen.toy, gap=options.gap, world=options.world)
        size = chosen.data
        make_toy(root, task, height=size.height, width=size.width, settings=settings, processes=processes)
        print(load_task(task, root).counts())


if __name__ == "__main__":
    try:
        main(tyro.cli(MakeToy))
    except NasdaError as error:
        sys.exit(f"make_toy: {error}")
