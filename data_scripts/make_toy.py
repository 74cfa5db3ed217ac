"""Draw the built-in data of both tasks: `nasda data make`, once for each."""

import sys

from nasda.cli import main
from nasda.settings import TASK_NAMES

if __name__ == "__main__":
    for task in TASK_NAMES:
        main(["data", "make", *sys.argv[1:], "--task", task])
