"""Arrays for predict.py: one sample or many, as the network takes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOATS = ("int8", "int16", "uint16", "float16", "float32", "float64")
"""What is taken where the network was not trained on pixels."""


SUFFIXES = (".npy", ".npz")


def stored(file: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """The arrays in a file by name: that of a .npy file is "", or has fields, of several inputs.

    Those whose names begin with "y" are labels and left out, unless they are among `names`.
    """
    try:
        found = np.load(file)
        if isinstance(found, np.ndarray):
            fields = found.dtype.names if names else None
            return {each: found[each] for each in fields} if fields else {"": found}
        with found:
            names = [key for key in found if key in names or not key.startswith("y")]
            kept = {key: found[key] for key in names}
    except Exception as error:  # of any kind, where a file is damaged
        sys.exit(f"{file} cannot be read: {error}")
    return kept or sys.exit(f'{file} holds no array, or only labels, whose names begin with "y"')


def numbered(
    name: str, given: list[NDArray[Any]], inputs: list[dict[str, Any]]
) -> Iterator[tuple[str, list[NDArray[Any]]]]:
    """The samples in arrays, one for each of `inputs`: with a number if there may be more."""
    pairs = zip(given, inputs, strict=True)
    batches = [batch_of(values, info, name, len(inputs) > 1) for values, info in pairs]
    if len({len(batch) for batch in batches}) > 1:
        counted = zip(batches, inputs, strict=True)
        counts = ", ".join(f"{len(batch)} of {info['name']!r}" for batch, info in counted)
        sys.exit(f"{name} holds {counts}, expected as many of each input")
    are_many = given[0].shape[1:] in shapes(inputs[0])
    for index, sample in enumerate(zip(*batches, strict=True)):
        yield f"{name}[{index}]" if are_many else name, list(sample)


def batch_of(
    values: NDArray[Any], info: dict[str, Any], name: str, has_others: bool
) -> NDArray[Any]:
    """One sample or many as (N, ...)."""
    kinds = ("uint8",) if info["data_dtype"] == "uint8" else FLOATS
    fitting = {values.shape, values.shape[1:]} & set(shapes(info))
    if values.dtype.name not in kinds or not fitting or not values.size:
        of = f" of {info['name']!r}" if has_others else ""
        sys.exit(
            f"{name} holds {values.dtype} {values.shape}{of}, expected {info['data_dtype']} "
            f"{tuple(info['shape'])} or many of these"
        )
    return values.reshape(-1, *info["shape"])


def shapes(info: dict[str, Any]) -> list[tuple[int, ...]]:
    """Of one sample: with its channels or, where it has one, without."""
    shape = tuple(info["shape"])
    return [shape, shape[:-1]] if shape[-1] == 1 else [shape]
