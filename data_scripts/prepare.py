"""From archives of a real data set, make the folder that nasda reads: `nasda data prepare`."""

import sys

from nasda.cli import main

if __name__ == "__main__":
    main(["data", "prepare", *sys.argv[1:]])
