"""The way from the trained model to the chosen engine, in steps that change one thing each.

    trained, ONNX Runtime float32
      -> pruned, ONNX Runtime float32          pruning
      -> pruned, the engine's runtime float32  that runtime, if it is another one
      -> the engine                            its precision

All were timed by one benchmark, those of one device in turns, so the product of what the steps
brought is what the engine brought in all. A step that was not measured falls together with the next
one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from pipeline.results import comparability, units
from pipeline.results.model import Baseline, EngineReport, Report
from stages.engines.registry import EngineName, backend_label, precision_label
from stages.results.base import LatencyRow, Quality


@dataclass(frozen=True)
class Step:
    """A model on the way. `cause` is what was changed to get there, "" for the first."""

    name: str
    cause: str
    precision: str
    row: LatencyRow
    size_bytes: int | None
    accuracy: Quality


def steps(report: Report) -> list[Step]:
    """The models on the way, the trained one first; [] unless both ends were timed together."""
    found = comparability.chosen_engine(report)
    if found is None:
        return []
    engine, row = found
    batch = row.batch_size
    start = comparability.fastest(report.baseline.latency, batch)
    if start is None:
        return []
    way = [_step("trained", "", "fp32", start, report.baseline)]
    causes: list[str] = []
    for cause, middle in _between(report, engine):
        timed = comparability.fastest(middle.latency, batch) if middle else None
        causes.append(cause)
        if middle is not None and timed is not None:
            name = "pruned" if middle.backend == "onnxruntime" else f"in {cause}"
            way.append(_step(name, units.listed(causes), "fp32", timed, middle))
            causes = []
    if engine.precision != "fp32":
        causes.append(precision_label(engine.precision))
    if causes:
        way.append(_step(engine.name.label, units.listed(causes), engine.precision, row, engine))
    return way


def _between(report: Report, engine: EngineReport) -> list[tuple[str, EngineReport | None]]:
    """What was changed one after the other in float32, and the engine that shows it, if any."""
    floats = {
        each.backend: each for each in comparability.benchmarked(report) if each.precision == "fp32"
    }
    changes: list[tuple[str, EngineReport | None]] = []
    if is_pruned(report) is not False:
        cause = "pruning" if is_pruned(report) else "pruning (if any)"
        changes.append((cause, floats.get("onnxruntime")))
    if engine.backend != "onnxruntime":
        changes.append((backend_label(engine.backend), floats.get(engine.backend)))
    return changes


def is_pruned(report: Report) -> bool | None:
    """Whether `prune` changed the trained model; None where neither files nor engines tell.

    Where only `artifacts/convert` was copied to, the engines tell: of the two float32 models in
    ONNX Runtime the baseline is from before `prune`, and the same model gives the same file.
    """
    train, prune = report.stage("train"), report.stage("prune")
    engine = report.engine(EngineName("onnxruntime", "fp32"))
    pairs = (
        (train and train.model.sha256, prune and prune.model.sha256),
        (report.baseline.sha256, engine and engine.sha256),
    )
    return next((before != after for before, after in pairs if before and after), None)


def _step(
    name: str, cause: str, precision: str, row: LatencyRow, model: Baseline | EngineReport
) -> Step:
    return Step(name, cause, precision, row, model.size_bytes, model.accuracy)


def brought(way: list[Step]) -> list[tuple[str, float]]:
    """What each step brought: ("pruning", 1.7) if it is 1.7 times as fast as the step before."""
    return [
        (step.cause, before.row.p50_ms / step.row.p50_ms)
        for before, step in itertools.pairwise(way)
    ]
