"""Ends its process behind Python's back, as a careless library does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.results.base import StageResult


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    os._exit(7)
