"""What the scripts share when they are run as commands."""

import signal
import sys
from collections.abc import Sequence
from typing import Protocol

import tyro

from nasda.data.datasets import describe
from nasda.errors import NasdaError


class Command(Protocol):
    """A dataclass of options; `run` does the work and returns the exit status."""

    def run(self) -> int: ...


def main(kind: type[Command], arguments: Sequence[str] | None = None) -> None:
    """Run a script. Exits with its status, and with 1 and one line on anything that the user can put right."""
    name = kind.__name__.lower()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary folders go
    description = f"{kind.__doc__}\n\nNo data set comes with nasda, and none is downloaded.\n\n{describe()}"
    command = tyro.cli(kind, prog=f"python -m data_scripts.{name}", description=description, args=arguments)
    try:
        sys.exit(command.run())
    except NasdaError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted; what is on disk is whole", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
