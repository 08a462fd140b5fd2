"""Dies of a signal, after it has written half a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    (out / "copy.txt").write_text("half")
    os.abort()
