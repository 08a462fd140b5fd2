"""Says its process number again and again, for far too long."""

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
    for _ in range(60_000):
        report(f"still in {os.getpid()}")
        time.sleep(0.01)
    return StageResult()
