"""Any `.npz` in the layout of keras.datasets.mnist: x_train, y_train, x_test, y_test.

Those of several inputs are arrays of their own, as x_train/camera and x_train/table, and so are
labels of several outputs, as y_train/box and y_train/kind.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.archives import DAMAGED
from stages.datasets.base import Part, Split, checked_split, numbered, required_path
from stages.datasets.registry import Kind
from stages.datasets.several import labels_of
from stages.errors import DataError
from stages.settings import Data

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def class_names(settings: Data) -> tuple[str, ...]:
    """Numbers as names, "0", "1" and so on: one for each distinct training label, if they are."""
    return numbered(_labels(required_path(settings), "train", settings.max_unpacked_mib))


def read(settings: Data, part: Part) -> Split:
    """One part of the file at data.path. Raises DataError where it is not fit."""
    return read_part(required_path(settings), part, settings.max_unpacked_mib, settings.kind)


def read_part(path: Path, part: Part, limit_mib: int, kind: Kind = "images") -> Split:
    """x_<part> and y_<part> of `path`, checked; refused if the file unpacks to over `limit_mib`."""
    origin = f"{path.name}, x_{part} and y_{part}"
    images = _named(path, f"x_{part}", limit_mib)
    return checked_split(images, _labels(path, part, limit_mib), origin, kind)


def _labels(path: Path, part: Part, limit_mib: int) -> NDArray[Any]:
    """y_<part>, or what outputs have of it, with a field for each."""
    found = _named(path, f"y_{part}", limit_mib)
    return labels_of(found, f"{path.name}, y_{part}") if isinstance(found, dict) else found


def _named(path: Path, name: str, limit_mib: int) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The array `name`, or those of `name`/..., ascending, as files have no order that means
    anything."""
    prefix = f"{name}/"
    try:
        with zipfile.ZipFile(path) as archive:
            there = [each.removesuffix(".npy") for each in archive.namelist()]
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    parts = sorted(each.removeprefix(prefix) for each in there if each.startswith(prefix))
    if not parts:
        return _array(path, name, limit_mib)
    if name in there:
        raise DataError(
            f"{path} has {name} and {prefix}{parts[0]}, expected one or the other",
            "leave one of them out, in both parts",
        )
    return {part: _array(path, prefix + part, limit_mib) for part in parts}


def _array(path: Path, name: str, limit_mib: int) -> NDArray[Any]:
    """One array of the file; the others are not even unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            _check_names(path, list(members))
            _check_size(path, sum(info.file_size for info in members.values()), limit_mib)
            with archive.open(members[name]) as stream:
                return _read_array(stream, members[name].file_size)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Damaged bytes raise a dozen unrelated classes there.
        raise _unreadable(path, error) from error


def _read_array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """The array in a member of `size` bytes. Raises ValueError if its header says otherwise.

    Numpy believes the header, and would ask for any amount of memory.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    if math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array of {shape} {dtype} is not what it holds")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


_SAVE = "save it with: numpy.savez_compressed(PATH, x_train=, y_train=, x_test=, y_test=)"


def _check_names(path: Path, names: list[str]) -> None:
    found = {name.partition("/")[0] for name in names}
    missing = [name for name in ARRAYS if name not in found]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}; it has {_listed(names) or 'no arrays'}", _SAVE
        )


def _listed(names: list[str]) -> str:
    more = ["and others"] if len(names) > len(ARRAYS) else []
    return ", ".join([*(name[:30] for name in names[: len(ARRAYS)]), *more])


def _check_size(path: Path, unpacked: int, limit_mib: int) -> None:
    if unpacked > limit_mib << 20:
        raise DataError(
            f"{path} unpacks to {unpacked / 2**20:,.0f} MiB, more than data.max_unpacked_mib "
            f"allows, {limit_mib} MiB",
            "if it is the right file, and memory holds it: --set data.max_unpacked_mib="
            f"{-(-unpacked // 2**20)}",
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    if "pickle" in str(error):
        return DataError(
            f"{path} holds pickled objects, which are never loaded: a pickle can run any program; "
            "expected plain arrays of numbers",
            'convert its arrays first: array.astype("uint8")',
        )
    reason = str(error) or type(error).__name__
    return DataError(
        f"{path} cannot be read as an .npz ({reason[:200]})", f"the file may be damaged; {_SAVE}"
    )
