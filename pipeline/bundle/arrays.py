"""Arrays as an engine takes them: of `predict` in a program, and of .npy and .npz files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle.contents import Input
from stages.artifacts.archives import DAMAGED
from stages.datasets.numbers import NUMBERS, finite
from stages.datasets.registry import PLACES
from stages.errors import DataError, shown
from stages.numerics import fields

SUFFIXES = (".npy", ".npz")
KINDS: dict[int, str] = {1: "vectors"} | {len(each) + 1: kind for kind, each in PLACES.items()}
"""By the number of axes of one sample."""
SEVERAL = "samples"
"""What a network with several inputs takes, each of them of a kind of its own."""
LABELS = "y"
"""With which names of arrays in .npz files begin that are no samples."""

Given = NDArray[Any] | Mapping[str, NDArray[Any]]
"""An array (N, ..., C) or, of several inputs, by their names; one with fields is both."""


def kind_of(wanted: Sequence[Input]) -> str:
    """What a network with these inputs takes: "images", say."""
    return KINDS[len(wanted[0].shape)] if len(wanted) == 1 else SEVERAL


def none_to_predict(wanted: Sequence[Input]) -> str:
    """Why an array without any sample is refused."""
    return f"got no {kind_of(wanted)} to predict, expected one or more"


def data_of(given: Given, wanted: Sequence[Input]) -> NDArray[Any]:
    """What is `given`, one sample or more, as data of the network: (N, ..., C), or (N,) with a
    field for each of several inputs.

    Raises DataError where it is not an array for each, or not as many of each, and as `batch_of`.
    """
    if len(wanted) == 1:
        if isinstance(given, np.ndarray):
            return batch_of(given, wanted[0])
        raise DataError(f"got arrays by name, expected one array of {kind_of(wanted)}")
    names = [each.name for each in wanted]
    found = fields.names(given) if isinstance(given, np.ndarray) else tuple(given)
    if set(found) != set(names):
        raise DataError(
            f"got {_listed(found) or 'an array without a name'}, expected an array for each input: "
            f"{_listed(names)}",
            "give a dictionary of these, or an .npz file that numpy.savez wrote",
        )
    parts = {each.name: _named(given[each.name], each) for each in wanted}
    if len({len(part) for part in parts.values()}) > 1:
        counts = ", ".join(f"{len(part)} of {name!r}" for name, part in parts.items())
        raise DataError(f"got {counts}, expected as many of each input")
    return fields.joined(parts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names))


def _named(values: NDArray[Any], wanted: Input) -> NDArray[Any]:
    try:
        return batch_of(np.asarray(values), wanted)
    except DataError as error:
        raise DataError(f"input {wanted.name!r}: {error.message}", error.hint) from error


def are_many(given: Given, wanted: Sequence[Input]) -> bool:
    """Whether what is `given` has an axis of samples."""
    return is_batch(np.asarray(given if len(wanted) == 1 else given[wanted[0].name]), wanted[0])


def is_batch(values: NDArray[Any], wanted: Input) -> bool:
    """Whether `values` have an axis of samples: (N, ..., C), or (N, ...) of one channel."""
    return values.ndim > 0 and values.shape[1:] in _shapes(wanted)


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
        raise DataError(none_to_predict([wanted]))
    if wanted.data_dtype == "float32":
        batch = finite(batch, "what is to be predicted", kind)
    return np.ascontiguousarray(batch)


def samples_in(file: Path, wanted: Sequence[Input]) -> list[tuple[str, Given]]:
    """What a .npy or .npz file holds, by name: of one input any number of arrays, of several one
    array for each, also as data sets have them: x_train/NAME, x_test/NAME. Those whose names begin
    with "y" are labels, unless an input is called so.

    Raises DataError for what is no such file.
    """
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return [(str(file), found)]
        with found:
            names = {each.name for each in wanted} if len(wanted) > 1 else set()
            kept = {key: found[key] for key in found if key in names or key[:1] != LABELS}
    except DAMAGED as error:
        raise DataError(f"{file} cannot be read as arrays: {error}") from error
    if not kept:
        raise DataError(f'{file} holds no array, or only labels, whose names begin with "{LABELS}"')
    if not names:
        return [(f"{file}:{key}", values) for key, values in kept.items()]
    sets: dict[str, dict[str, NDArray[Any]]] = {}
    for key, values in kept.items():
        part, _, name = key.rpartition("/")
        sets.setdefault(part, {})[name] = values
    return [(f"{file}:{part}" if part else str(file), each) for part, each in sets.items()]


def _shapes(wanted: Input) -> tuple[tuple[int, ...], ...]:
    """Of one sample: with its channels or, where it has one, without."""
    return (wanted.shape, wanted.shape[:-1]) if wanted.shape[-1] == 1 else (wanted.shape,)
