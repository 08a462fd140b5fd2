"""Arrays as an engine takes them: of `predict` in a program, and of .npy and .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle.contents import Input
from stages.datasets.numbers import NUMBERS, finite
from stages.datasets.registry import PLACES, Kind
from stages.errors import DataError

SUFFIXES = (".npy", ".npz")
KINDS: dict[int, Kind] = {len(places) + 1: kind for kind, places in PLACES.items()}
"""By the number of axes of one sample."""


def is_batch(values: NDArray[Any], wanted: Input) -> bool:
    """Whether `values` have an axis of samples: (N, ..., C), or (N, ...) of one channel."""
    return values.shape[1:] in _shapes(wanted)


def batch_of(values: NDArray[Any], wanted: Input) -> NDArray[Any]:
    """`values`, one sample or more, as (N, ..., C) of `wanted.data_dtype`, C-contiguous.

    Raises DataError for another type or shape, and for values that are not finite.
    """
    kind = KINDS[len(wanted.shape)]
    if wanted.data_dtype == "uint8" != values.dtype.name:
        raise DataError(
            f"the {kind} are {values.dtype}, expected uint8 pixels from 0 to 255",
            "give the pixels as they are: the engine scales them itself",
        )
    if wanted.data_dtype == "float32" and values.dtype.name not in NUMBERS:
        raise DataError(
            f"the {kind} are {values.dtype}, expected one of {', '.join(NUMBERS)}",
            "give values of the range that the network was trained with: they are scaled here",
        )
    if not is_batch(values, wanted) and values.shape not in _shapes(wanted):
        axes = ", ".join(map(str, wanted.shape))
        raise DataError(
            f"the {kind} have the shape {values.shape}, expected (N, {axes}) or one alone ({axes})",
            "arrays are not resized" + ("; give files or PIL images for that" * bool(wanted.mode)),
        )
    batch = values.reshape(-1, *wanted.shape)
    if not len(batch):
        raise DataError(f"got no {kind} to predict, expected one or more")
    if wanted.data_dtype == "float32":
        batch = finite(batch, "what is to be predicted", kind)
    return np.ascontiguousarray(batch)


def read(file: Path) -> NDArray[Any]:
    """The array in a .npy file. Raises DataError."""
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} cannot be read as an array: {error}") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{file} holds arrays by name", "load it, and give one of them")
    return found


def _shapes(wanted: Input) -> tuple[tuple[int, ...], ...]:
    """Of one sample: with its channels or, where it has one, without."""
    return (wanted.shape, wanted.shape[:-1]) if wanted.shape[-1] == 1 else (wanted.shape,)
