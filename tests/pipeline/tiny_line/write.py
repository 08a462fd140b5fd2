"""Writes a text that depends on `train.epochs` but, as in early cutoff, not on the batch size."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from stages.progress import LOGGER, report
from stages.results.base import Details, StageResult
from tiny_line import WriteStage


def run(settings: WriteStage, inputs: Mapping[str, Path], out: Path) -> StageResult:
    print("printed by Python")
    os.write(1, b"printed by native code\n")
    ctypes.CDLL(None).printf(b"buffered by native code\n")
    warnings.warn("a warning of a library", stacklevel=1)
    LOGGER.warning("a warning of a stage")
    report("looking around")
    for epoch in range(1, 3):
        report(f"epoch {epoch}", epoch, 2)
    (out / "text.txt").write_text(f"epochs {settings.train.epochs}\n")
    (out / "folder").mkdir()
    (out / "folder/deep.txt").write_text("deep\n")
    return StageResult(
        details=Details(
            pid=os.getpid(),
            batch_size=settings.train.batch_size,
            loss=float("nan"),
            keras_backend=os.environ.get("KERAS_BACKEND"),
            log_level=os.environ.get("TF_CPP_MIN_LOG_LEVEL"),
            hash=hash("a name"),
            onednn=os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
            stdin=sys.stdin.read(),
        )
    )
