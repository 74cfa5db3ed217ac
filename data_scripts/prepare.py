"""From the archives that one has of a real data set, the folder that nasda reads."""

from data_scripts.command import main
from nasda.data.prepare import Prepare

if __name__ == "__main__":
    main(Prepare)
