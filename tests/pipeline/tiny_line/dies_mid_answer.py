"""Is killed while it sends its answer, as happens when memory runs out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.results.base import StageResult


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
            if is_pipe and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_WRONLY:
                os.write(descriptor, b'{"event": "resu')
    os.kill(os.getpid(), signal.SIGKILL)
    return StageResult()
