"""Prints the address of its data in every way, then fails."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import DataError
from stages.progress import report
from stages.results.base import StageResult


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    report(f"fetch {settings.data.path}")
    logging.getLogger("a.library").info("GET %s", settings.data.path)
    raise DataError(f"{settings.data.path} does not answer")
