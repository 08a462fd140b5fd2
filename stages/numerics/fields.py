"""Several arrays of the same samples as one, for networks with several inputs, outputs or labels.

NumPy's structured arrays: (N,) with a field for each array. Rows are taken, joined and stored as
those of any other array, and arithmetic, which would mix what has nothing in common, is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def joined(parts: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """One array (N,) of arrays (N, ...): {"box": (N, 4), "class": (N, 10)} -> fields of these."""
    kinds = [(name, each.dtype, each.shape[1:]) for name, each in parts.items()]
    count = len(next(iter(parts.values())))
    found = np.empty(count, np.dtype(kinds))
    for name, each in parts.items():
        found[name] = each
    return found


def parts(array: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The arrays (N, ...) in `array`, in order: views; of one without fields itself."""
    return tuple(array[name] for name in names(array)) or (array,)


def names(array: NDArray[Any]) -> tuple[str, ...]:
    """Of the fields, () where there are none."""
    return array.dtype.names or ()
