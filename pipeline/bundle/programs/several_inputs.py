"""Files for predict.py, where the network has several inputs: an array for each, by its name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.bundle.programs.arrays import SUFFIXES, numbered, stored


def samples(file: Path, inputs: list[dict[str, Any]]) -> Iterator[tuple[str, list[NDArray[Any]]]]:
    """What a file holds by name, the arrays in the order of `inputs`, before they are scaled.

    Arrays are called as the inputs or, as those of a data set, x_test/NAME.
    """
    names = [info["name"] for info in inputs]
    wanted = f"expected an array for each input: {listed(names)}"
    if file.suffix.lower() not in SUFFIXES:
        sys.exit(f"{file} is no .npz file, {wanted}")
    sets: dict[str, dict[str, NDArray[Any]]] = {}
    for key, values in stored(file, names).items():
        part, _, name = key.rpartition("/")
        sets.setdefault(part, {})[name] = values
    for part, given in sets.items():
        label = f"{file}:{part}" if part else str(file)
        if set(given) != set(names):
            sys.exit(f"{label} holds {listed(given)}, {wanted}")
        yield from numbered(label, [given[name] for name in names], inputs)


def listed(names: Iterable[str]) -> str:
    """ "'left', 'right'", "an array without a name"."""
    return ", ".join(repr(name) if name else "an array without a name" for name in names)
