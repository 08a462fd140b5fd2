"""Writes a byte and claims an accuracy: of a model, or, standing on one, of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.results.base import LatencyRow, Quality, StageResult
from stages.results.engines import BenchmarkResult, EngineResult
from stages.results.training import TrainResult


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> StageResult:
    (out / "model.bin").write_bytes(b"\0")
    accuracy = Quality(top1=0.95 if inputs else 0.97, samples=100)
    if not inputs:
        return TrainResult(accuracy=accuracy)
    row = LatencyRow(
        batch_size=1,
        runtime="litert",
        precision="int8",
        threads=1,
        samples=1000,
        p50_ms=0.1,
        p90_ms=0.1,
        p99_ms=0.1,
        mean_ms=0.1,
        images_per_second=1e4,
    )
    engine = EngineResult(
        backend="litert", precision="int8", state="ran", accuracy=accuracy, latency=(row,)
    )
    return BenchmarkResult(accuracy=accuracy, engines=(engine,))
