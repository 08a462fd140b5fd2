"""Zip archives, as `.npz` files and bundles are: what reading one raises where it is none, and the
names of arrays in one for all outputs of a network.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from typing import TypeVar

Array = TypeVar("Array")

DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile)
"""It may be damaged, encrypted (RuntimeError), or say that it is compressed in a way, or is of a
version, that is not known (NotImplementedError, which is a RuntimeError)."""


def of_outputs(arrays: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays by name, of those by output and name: "OUTPUT/NAME", and "NAME" of the only output,
    which is called ""."""
    return {
        f"{output}/{name}" if output else name: array
        for output, own in arrays.items()
        for name, array in own.items()
    }


def by_output(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """What `of_outputs` was given; outputs without arrays are not there."""
    found: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        output, _, name = key.rpartition("/")
        found.setdefault(output, {})[name] = array
    return found
