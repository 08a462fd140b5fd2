"""The way from the trained model to the chosen engine, in steps that change one thing each.

    trained, ONNX Runtime float32
      -> pruned, ONNX Runtime float32          pruning
      -> pruned, the engine's runtime float32  that runtime, if it is another one
      -> the engine                            its precision

All were timed in turns by one benchmark, so the product of what the steps brought is what the
engine brought in all. A step that was not measured falls together with the next one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.results import comparability
from pipeline.results.comparability import Report, Row
from stages.engines.registry import EngineName, backend_label, precision_label


@dataclass(frozen=True)
class Step:
    """A model on the way. `cause` is what was changed to get there, "" for the first."""

    name: str
    cause: str
    precision: str
    row: Row
    size_bytes: int | None
    accuracy: Mapping[str, Any]


def steps(report: Report) -> list[Step]:
    """The models on the way, the trained one first; [] unless both ends were timed together."""
    found = comparability.chosen_engine(report)
    if found is None:
        return []
    engine, row = found
    batch = row["batch_size"]
    start = comparability.fastest(report["baseline"]["latency"], batch)
    if start is None:
        return []
    way = [Step("trained", "", "fp32", start, *_model(report["baseline"]))]
    causes: list[str] = []
    for cause, middle in _between(report, engine):
        timed = comparability.fastest(middle["latency"], batch) if middle else None
        causes.append(cause)
        if middle is not None and timed is not None:
            name = "pruned" if cause == "pruning" else f"in {cause}"
            way.append(Step(name, _joined(causes), "fp32", timed, *_model(middle)))
            causes = []
    precision = engine["precision"]
    if precision != "fp32":
        causes.append(precision_label(precision))
    if causes:
        name = EngineName(engine["backend"], precision).label
        way.append(Step(name, _joined(causes), precision, row, *_model(engine)))
    return way


def _between(
    report: Report, engine: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any] | None]]:
    """What was changed one after the other in float32, and the engine that shows it, if any."""
    floats = {
        each["backend"]: each
        for each in comparability.benchmarked(report)
        if each["precision"] == "fp32"
    }
    changes: list[tuple[str, Mapping[str, Any] | None]] = []
    if _is_pruned(report):
        changes.append(("pruning", floats.get("onnxruntime")))
    if engine["backend"] != "onnxruntime":
        changes.append((backend_label(engine["backend"]), floats.get(engine["backend"])))
    return changes


def _is_pruned(report: Report) -> bool:
    train, prune = (comparability.stage_named(report, name) for name in ("train", "prune"))
    if train is None or prune is None:
        return False
    before, after = (stage["model"]["parameters"] for stage in (train, prune))
    return before is None or after is None or bool(before != after)


def _joined(causes: list[str]) -> str:
    *others, last = causes
    return f"{', '.join(others)} and {last}" if others else last


def _model(found: Mapping[str, Any]) -> tuple[int | None, Mapping[str, Any]]:
    return found["size_bytes"], found["accuracy"]


def brought(way: list[Step]) -> list[tuple[str, float]]:
    """What each step brought: ("pruning", 1.7) if it is 1.7 times as fast as the step before."""
    return [
        (step.cause, before.row["p50_ms"] / step.row["p50_ms"])
        for before, step in itertools.pairwise(way)
    ]
