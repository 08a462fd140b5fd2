"""A run in a few hundred words: what the history keeps and what two runs are compared by.

    run         when its last stage began, the data set, the model, the engine it chose
    stages      of each stage's model: accuracy, size, parameters
    engines     of each engine that ran, and of the baseline: accuracy, size, latency
    settings, environment, conditions     what can explain a difference

What was made from older files than those recorded now is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.hashing import key_of
from pipeline.results import comparability
from pipeline.results.comparability import Report

Summary = dict[str, Any]

BASELINE = "baseline"
"""The trained, unpruned float32 model in ONNX Runtime, among the engines."""

MODEL = ("parameters", "multiply_adds", "size_bytes")
ACCURACY = ("top1", "samples")
ENGINE = ("sha256", "size_bytes", "measured_in")
ROW: tuple[str, ...] = ("batch_size", "threads", "samples", "p50_ms", "p50_low_ms", "p50_high_ms")
ROW += ("window_p50_ms", "stable", "images_per_second")
GATE = ("gate", "state")


def summarize(report: Report) -> Summary:
    """The summary of an assembled report; whatever was not measured is None or left out."""
    stages = [stage for stage in report["stages"] if not stage["outdated"]]
    settings = _settings(stages)
    chosen = None if _is_outdated(report) else comparability.chosen_engine(report)
    benchmark = comparability.stage_named(report, "benchmark") or {}
    return {
        "time": max((stage["started_at"] or "" for stage in report["stages"]), default="") or None,
        "dataset": report["dataset"]["name"],
        "model": _model(settings),
        "engine": dotted(chosen[0]) if chosen else None,
        "batch_size": chosen[1]["batch_size"] if chosen else None,
        "stages": {stage["stage"]: _stage(stage) for stage in stages},
        "engines": {} if _is_outdated(report) else dict(_engines(report)),
        "settings": settings,
        "settings_hash": key_of(settings)[:8],
        "environment": benchmark.get("environment") or report["environment"],
        "conditions": (benchmark.get("details") or {}).get("conditions") or {},
        "gates": [_take(GATE, gate) for gate in report.get("gates", [])],
    }


def chosen_row(summary: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The fastest row of the chosen engine at the smallest batch, None if no engine ran."""
    engine = summary["engines"].get(summary["engine"]) or {"latency": []}
    found: Mapping[str, Any] | None = comparability.fastest(
        engine["latency"], summary["batch_size"]
    )
    return found


def dotted(engine: Mapping[str, Any]) -> str:
    """An engine in one word, as the settings write it: "litert.int8"."""
    return f"{engine['backend']}.{engine['precision']}"


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    return {**_take(ACCURACY, stage["accuracy"]), **_take(MODEL, stage["model"])}


def _is_outdated(report: Report) -> bool:
    benchmark = comparability.stage_named(report, "benchmark")
    return benchmark is not None and bool(benchmark["outdated"])


def _settings(stages: list[Mapping[str, Any]]) -> dict[str, Any]:
    """All sections that some stage saw."""
    return {name: part for stage in stages for name, part in stage["settings"].items()}


def _model(settings: Mapping[str, Any]) -> str | None:
    model = settings.get("model") or {}
    return model.get("source") or model.get("name")


def _engines(report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    if report["baseline"]["latency"]:
        yield BASELINE, _engine({**report["baseline"], "measured_in": "benchmark"})
    for engine in comparability.ran(report):
        yield dotted(engine), _engine(engine)


def _engine(engine: Mapping[str, Any]) -> dict[str, Any]:
    rows = [_take(ROW, row) for row in engine["latency"] if row["p50_ms"] and row["batch_size"]]
    return {**_take(ACCURACY, engine["accuracy"]), **_take(ENGINE, engine), "latency": rows}


def _take(keys: tuple[str, ...], found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in keys if found.get(key) is not None}
