"""Make a smaller data set of the same layout: `nasda data subset`."""

import sys

from nasda.cli import main

if __name__ == "__main__":
    main(["data", "subset", *sys.argv[1:]])
