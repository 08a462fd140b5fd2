"""Returns what is no result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    return {"details": {"path": out}}
