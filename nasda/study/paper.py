"""Table 1 of the paper as printed, and notes on which of its rows can be compared.

Percent. Which mAP it prints is not known: §3.2 says "the area under the Precision-Recall curve", which is read most
literally as this project's `mAP_trapezoid`, but gives no equation, and there is no code. The person task's ResNet-50
rows are printed in the development kit of the VisDA-2020 challenge, whose code averages the precisions of all matches.
"""

from typing import NamedTuple

from nasda.settings import TaskName

NOTES = {
    "a": "mAP, rank-1 and rank-5 as printed in Table 1; the introduction swaps the two tasks' mAPs.",
    "b": "Starts from ImageNet's weights (the challenge's kit; for vehicles an inference). The NAS rows start from "
    "nothing: an inference, because the paper names no weights.",
    "c": "Printed in the kit of the VisDA-2020 challenge, whose test program reads the challenge's own target images: "
    "so it was measured on those (an inference), not on Market-1501, and cannot be compared with the NAS rows. The "
    "abstract's “4.84 lower” than ResNet-50 subtracts across these two test sets, and 21.35 − 16.48 is 4.87. Without "
    "translated images ResNet-50 has 14.19, less than 16.48, which the paper does not say.",
    "d": "VehicleX's 75,516 images have attributes fitted to VeRi-776, so that “S” is not free of the target.",
}


class PaperRow(NamedTuple):
    """One line of Table 1. `notes` are keys of `NOTES`; rank5 is None where the paper prints a dash."""

    task: TaskName
    method: str
    data: str
    mAP: float
    rank1: float
    rank5: float | None
    notes: tuple[str, ...]


TABLE_1 = (
    PaperRow("vehicle", "NAS", "S", 3.82, 8.67, 19.74, ("a", "d")),
    PaperRow("vehicle", "NAS", "S+R", 5.44, 12.28, 20.08, ("a", "d")),
    PaperRow("vehicle", "ResNet-50", "S", 21.29, 51.25, 67.70, ("b", "d")),
    PaperRow("person", "NAS", "S", 10.44, 22.00, 39.79, ("a",)),
    PaperRow("person", "NAS", "S+R", 16.48, 34.98, 56.00, ("a",)),
    PaperRow("person", "ResNet-50", "S", 14.19, 26.53, None, ("b", "c")),
    PaperRow("person", "ResNet-50 (SPGAN)", "S+R", 21.35, 41.11, None, ("b", "c")),
)


def paper_row(task: TaskName, method: str, data: str) -> PaperRow | None:
    """The printed row, or None if the paper has none."""
    return next((row for row in TABLE_1 if (row.task, row.method, row.data) == (task, method, data)), None)
