"""Features on disk, for galleries larger than memory: written batch by batch, read row by row."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

from nasda.errors import NasdaError
from nasda.files import written_whole


class FeatureFile:
    """Features (N, D) in a .npy file; only the rows that are asked for are read.

    The file is not memory-mapped, because mapped pages count as the process's memory. Raises `NasdaError` when there is
    no file at `path`, when it is shorter than its header says, or when it holds anything but rows of floats.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        expected = f"{self.path}: features expected here, as a .npy file of floating-point numbers (N, D), but"
        try:
            found = np.lib.format.open_memmap(self.path, mode="r")  # checks the header and the file's size
        except FileNotFoundError:
            raise NasdaError(f"{expected} there is no such file: extract them first") from None
        except (OSError, ValueError) as error:
            raise NasdaError(f"{expected} it cannot be read ({error}): extract them again") from error
        if found.ndim != 2 or found.dtype.kind != "f" or not found.flags.c_contiguous:
            order = "" if found.flags.c_contiguous else ", column by column"
            raise NasdaError(f"{expected} it holds {found.dtype} {found.shape}{order}")
        self.shape, self.dtype, self._offset = found.shape, found.dtype, found.offset

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """The features (n, D) of a slice, or of an array of row numbers from 0, in its order."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        features = np.empty((len(rows), self.shape[1]), self.dtype)
        row_bytes = self.shape[1] * self.dtype.itemsize
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # consecutive rows are read together
        with open(self.path, "rb") as file:
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=False):
                part = features[start:stop]
                file.seek(self._offset + int(rows[start]) * row_bytes)
                if file.readinto(part.data) != part.nbytes:
                    raise NasdaError(f"{self.path}: the file ends before feature {rows[stop - 1]}: extract them again")
        return features

    @classmethod
    def write(cls, path: Path, count: int, batches: Iterable[Tensor | np.ndarray]) -> "FeatureFile":
        """Write `batches` (B, D), at least one and `count` rows in all, as float32; the file is whole or not there.

        Raises `NasdaError` when the file cannot be written, or when the batches are not `count` rows of one length.
        """
        batches = iter(batches)
        first = next(batches)
        dimension = first.shape[1]
        with written_whole(path, "wb") as file:
            layout = {"descr": "<f4", "fortran_order": False, "shape": (count, dimension)}
            np.lib.format.write_array_header_1_0(file, layout)
            written = sum(file.write(np.ascontiguousarray(batch, dtype="<f4")) for batch in chain([first], batches))
            if written != 4 * count * dimension:
                found = f"found {written // 4} numbers in all"
                raise NasdaError(f"{path}: expected {count} features of {dimension} numbers to write here, {found}")
        return cls(path)
