"""Check whether a data set is whole and sound: `nasda data check`."""

import sys

from nasda.cli import main

if __name__ == "__main__":
    main(["data", "check", *sys.argv[1:]])
