"""Engines by their name, and rows of latency, with as little said as a test needs."""

from __future__ import annotations

from typing import Any

from stages.engines.registry import EngineName
from stages.results.base import LatencyRow
from stages.results.engines import EngineRecord, EngineResult, LayerFacts


def record(name: str, **known: Any) -> EngineRecord:
    """An engine as in `engines.json`: record("litert.int8", state="ran")."""
    return EngineRecord(**EngineName.parse(name)._asdict(), **known)


def result(name: str, *p50_ms: tuple[int, float], **known: Any) -> EngineResult:
    """An engine that took so many milliseconds at the given batch sizes."""
    latency = tuple(row(name, batch_size, ms) for batch_size, ms in p50_ms)
    return EngineResult(**EngineName.parse(name)._asdict(), latency=latency, **known)


def row(name: str, batch_size: int, ms: float) -> LatencyRow:
    """One row, with one thread."""
    backend, precision = EngineName.parse(name)
    return LatencyRow(
        **{"batch_size": batch_size, "runtime": backend, "precision": precision, "threads": 1},
        **{"samples": 1, "p50_ms": ms, "p90_ms": ms, "p99_ms": ms, "mean_ms": ms},
        images_per_second=1000 / ms,
    )


def layer(name: str, nodes: tuple[str, ...], requested: str | None, executed: str) -> LayerFacts:
    """A kernel of an engine."""
    return LayerFacts(name=name, nodes=nodes, kind="gemm", requested=requested, executed=executed)
