"""Values that are no pixels: signals, volumes and images of any number type, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.errors import DataError

NUMBERS = ("int8", "int16", "uint16", "float16", "float32", "float64")
"""Types of values that are read as float32; uint8 stays as it is."""


def finite(values: NDArray[Any], origin: str, kind: str) -> NDArray[np.float32]:
    """`values` (N, ...), called `kind` in messages, in float32.

    Raises DataError where one is NaN, infinite or beyond it.
    """
    with np.errstate(over="ignore"):
        found = values.astype(np.float32, copy=False)
    broken = int((~np.isfinite(found).reshape(len(found), -1).all(axis=1)).sum())
    if broken:
        raise DataError(
            f"{origin}: {broken} of {len(found)} {kind} hold NaN, infinity or more than float32 "
            "holds, expected finite numbers",
            "leave them out, or fill the gaps, before the array is saved",
        )
    return found
