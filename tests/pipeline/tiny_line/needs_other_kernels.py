"""Dies of the signal whose number is its seed, unless TensorFlow has its own kernels only."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.results.base import StageResult


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0":
        (out / "folder").mkdir()
        (out / "folder/half.txt").write_text("half")
        (out / "copy.txt").write_text("half")
        _die(signal.Signals(settings.prune.seed))
    with (out / "copy.txt").open("x") as file:
        file.write("whole")
    return StageResult(notes=("a note of the stage",))


def _die(number: signal.Signals) -> None:
    if number == signal.SIGSEGV:
        ctypes.string_at(0)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
