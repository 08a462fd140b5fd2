"""Says its process number, then takes far too long."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.progress import report
from stages.results.base import StageResult


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    (out / "copy.txt").write_text("half")
    report(f"asleep in {os.getpid()}")
    time.sleep(600)
    return StageResult()
