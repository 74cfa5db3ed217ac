"""Features on disk: what is read is what was written, row by row; a bad file is refused with one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nasda.errors import NasdaError
from nasda.fast.features import FeatureFile

FEATURES = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def file(tmp_path: Path) -> FeatureFile:
    return FeatureFile.write(tmp_path / "features.npy", 50, FEATURES.split(8))


@pytest.mark.parametrize(
    "rows",
    [
        slice(None),
        slice(3, 17),
        slice(40, 90),
        slice(None, None, 7),
        slice(5, 5),
        np.array([], dtype=np.int64),
        np.array([49]),
        np.array([7, 8, 9, 3, 3, 20, 19, 18, 48, 49]),
    ],
    ids=str,
)
def test_rows_are_those_of_an_array(file: FeatureFile, rows: slice | np.ndarray) -> None:
    found = file[rows]
    assert np.array_equal(found, FEATURES.numpy()[rows])
    assert found.flags.writeable
    assert found.dtype == np.float32


def test_it_is_an_ordinary_npy_file(file: FeatureFile) -> None:
    assert np.array_equal(np.load(file.path), FEATURES.numpy())
    assert file.shape == (50, 6)
    assert len(file) == 50


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_other_peoples_files_of_any_precision(kind: type, tmp_path: Path) -> None:
    expected = FEATURES.numpy().astype(kind)
    np.save(tmp_path / "features.npy", expected)
    assert np.array_equal(FeatureFile(tmp_path / "features.npy")[4:9], expected[4:9])


@pytest.mark.parametrize("count", [49, 51])
def test_as_many_features_as_were_promised_or_no_file(count: int, tmp_path: Path) -> None:
    with pytest.raises(NasdaError, match=rf"expected {count} features of 6 numbers to write here, found 300"):
        FeatureFile.write(tmp_path / "features.npy", count, FEATURES.split(8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_text("not an array"), "cannot be read"),
        (lambda path: np.save(path, np.zeros(8)), r"it holds float64 \(8,\)"),
        (lambda path: np.save(path, np.zeros((8, 2), dtype=np.int64)), r"it holds int64 \(8, 2\)"),
        (lambda path: np.save(path, np.zeros((8, 2)).T.copy("F")), "column by column"),
        (lambda path: np.save(path, np.array([[None]]), allow_pickle=True), "cannot be read"),
    ],
    ids=["missing", "cut off", "empty", "no array", "flat", "integers", "columns", "objects"],
)
def test_a_file_that_will_not_do(file: FeatureFile, spoil: Callable[[Path], object], cause: str) -> None:
    spoil(file.path)
    with pytest.raises(NasdaError, match=cause) as caught:
        FeatureFile(file.path)
    assert str(caught.value).startswith(str(file.path))
    assert "\n" not in str(caught.value)


def test_a_file_cut_off_after_it_was_opened(file: FeatureFile) -> None:
    file.path.write_bytes(file.path.read_bytes()[:-4])
    assert np.array_equal(file[:49], FEATURES.numpy()[:49])
    with pytest.raises(NasdaError, match="ends before feature 49"):
        file[40:]
