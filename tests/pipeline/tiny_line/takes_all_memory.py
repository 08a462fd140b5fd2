"""Asks for more memory than there is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.results.base import Details, StageResult


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    return StageResult(details=Details(length=len(bytearray(1 << 60))))
