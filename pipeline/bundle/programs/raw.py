"""What predict.py says of an output that means nothing by itself, as a detector's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


def answer_raw(outputs: NDArray[np.float32], info: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The shape, and all values as JSON in one cell."""
    shape = " x ".join(map(str, outputs.shape))
    return f"{shape or 1} values", {"values": json.dumps(outputs.tolist())}


def compare_raw(
    found: NDArray[np.float32], expected: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, bool]:
    """What of two times (N, ...) is the same, and whether that is enough: see `check`."""
    return f"{len(found)} samples have {found[0].size} values each", True
