"""A smaller data set of the same layout."""

from data_scripts.command import main
from nasda.data.subset import Subset

if __name__ == "__main__":
    main(Subset)
