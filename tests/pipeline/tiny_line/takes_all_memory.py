"""Asks for more memory than there is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    return {"details": len(bytearray(1 << 60))}
