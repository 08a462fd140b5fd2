"""Raises what a user can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import DataError


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    raise DataError("got 3 images, expected at least 10", "add images")
