"""Say whether a data set is whole and sound."""

from data_scripts.command import main
from nasda.data.check import Check

if __name__ == "__main__":
    main(Check)
