"""What predict.py says of other files than arrays, for a network that takes no pixels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def decoded(file: Path, info: dict[str, Any]) -> NDArray[Any]:
    """None: no image file holds what the network takes."""
    sys.exit(f"{file} is no .npy file, expected an array {info['data_dtype']} {info['shape']}")
