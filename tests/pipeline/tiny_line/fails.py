"""Has a mistake in its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    return {"details": {}[settings.prune.ratio]}
