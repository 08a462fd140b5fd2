"""Joins the texts of its inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stages.results.base import Details, StageResult
from tiny_line import JoinStage


def run(settings: JoinStage, inputs: Mapping[str, Path], out: Path) -> StageResult:
    texts = [file.read_text() for folder in inputs.values() for file in folder.glob("*.txt")]
    (out / "joined.txt").write_text("".join(texts))
    return StageResult(
        details=Details(pid=os.getpid(), keras_backend=os.environ.get("KERAS_BACKEND"))
    )
