from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from stages.datasets import npz
from stages.errors import DataError
from stages.settings import Data

ARRAYS = {
    "x_train": np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.zeros((3, 4, 4), np.uint8),
    "y_test": np.array([2, 1, 0]),
}


def data(file: Path) -> Data:
    return Data(name="npz", path=str(file))


def test_both_parts_and_the_classes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez_compressed(file, **ARRAYS)
    train = npz.read(data(file), "train")
    np.testing.assert_array_equal(train.images, ARRAYS["x_train"][..., None])
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert npz.read(data(file), "test").labels.tolist() == [2, 1, 0]
    assert npz.class_names(data(file)) == ("0", "1", "2")


def test_missing_arrays_are_named_beside_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, x_train=ARRAYS["x_train"], labels=ARRAYS["y_train"])
    with pytest.raises(DataError, match="has no y_train, x_test, y_test; it has x_train, labels"):
        npz.read(data(file), "train")


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **{**ARRAYS, "x_train": np.array([object()], dtype=object)})
    with pytest.raises(DataError, match=r"set\.npz holds pickled objects, which are never loaded"):
        npz.read(data(file), "train")


def test_a_pickle_that_is_called_npz_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    file.write_bytes(pickle.dumps(ARRAYS))
    with pytest.raises(DataError, match=r"cannot be read as an \.npz \(it is not a zip archive\)"):
        npz.read(data(file), "train")


def test_a_truncated_file_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **ARRAYS)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"set\.npz cannot be read as an \.npz"):
        npz.read(data(file), "train")


def test_a_changed_byte_inside_an_array_is_found(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **ARRAYS)
    raw = bytearray(file.read_bytes())
    raw[raw.index(ARRAYS["x_train"].tobytes()) + 40] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DataError, match=r"set\.npz cannot be read as an \.npz \(Bad CRC"):
        npz.read(data(file), "train")


def test_a_folder_is_not_an_npz(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
        npz.read(data(tmp_path), "train")
