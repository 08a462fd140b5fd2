"""Leaves a temporary file and a process of its own behind, says which, then takes far too long
or, with `prune.ratio=0`, ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.progress import report
from stages.results.base import StageResult

SLEEP = "import time; time.sleep(600)"


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    with tempfile.NamedTemporaryFile(delete=False) as left:
        grandchild = subprocess.Popen([sys.executable, "-c", SLEEP])
        report(f"{left.name} asleep in {grandchild.pid}")
    if settings.prune.ratio:
        time.sleep(600)
    return StageResult()
