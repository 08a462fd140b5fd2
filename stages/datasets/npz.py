"""Any `.npz` in the layout of keras.datasets.mnist: x_train, y_train, x_test, y_test."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.datasets.base import Part, Split, checked_split, required_path
from stages.errors import DataError
from stages.settings import Data

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def class_names(settings: Data) -> tuple[str, ...]:
    """Numbers as names, "0", "1" and so on: one for each distinct training label."""
    classes = len(np.unique(_array(required_path(settings), "y_train")))
    return tuple(str(label) for label in range(classes))


def read(settings: Data, part: Part) -> Split:
    """One part of the file at data.path. Raises DataError where it is not fit."""
    return read_part(required_path(settings), part)


def read_part(path: Path, part: Part) -> Split:
    """x_<part> and y_<part> of `path`, checked."""
    origin = f"{path.name}, x_{part} and y_{part}"
    return checked_split(_array(path, f"x_{part}"), _array(path, f"y_{part}"), origin)


def _array(path: Path, name: str) -> NDArray[Any]:
    """One array of the file; the others are not even unpacked."""
    try:
        # np.load would take a file of any other kind for a pickle, and say so.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is not a zip archive")
        with np.load(path, allow_pickle=False) as file:
            _check_names(path, file.files)
            return np.asarray(file[name])
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error


_SAVE = "save it with: numpy.savez_compressed(PATH, x_train=, y_train=, x_test=, y_test=)"


def _check_names(path: Path, names: list[str]) -> None:
    missing = [name for name in ARRAYS if name not in names]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(names) or 'no arrays'}", _SAVE
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    if "pickle" in str(error):
        return DataError(
            f"{path} holds pickled objects, which are never loaded: a pickle can run any program; "
            "expected plain arrays of numbers",
            'convert its arrays first: array.astype("uint8")',
        )
    return DataError(
        f"{path} cannot be read as an .npz ({error})", f"the file may be damaged; {_SAVE}"
    )
