"""Copies the text of `write` and adds `prune.ratio`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stages.results.base import Details, StageResult
from tiny_line import CopyStage


def run(settings: CopyStage, inputs: Mapping[str, Path], out: Path) -> StageResult:
    text = (inputs["write"] / "text.txt").read_text()
    (out / "copy.txt").write_text(f"{text}ratio {settings.prune.ratio}\n")
    return StageResult(details=Details(pid=os.getpid()))
