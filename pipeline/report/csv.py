"""The report as CSV: one line per latency, or per model that has none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.results.comparability import P99_SAMPLES, Report

COLUMNS: tuple[str, ...] = (
    "kind",
    "name",
    "precision",
    "state",
    "outdated",
    "file",
    "sha256",
    "size_bytes",
)
COLUMNS += ("parameters", "multiply_adds", "top1", "recall_macro", "precision_macro")
COLUMNS += ("accuracy_samples", "measured_in", "runtime", "runtime_precision", "batch_size")
COLUMNS += ("threads", "latency_samples", "p50_ms", "p90_ms", "p99_ms", "p99_is_indicative")
COLUMNS += ("mean_ms", "images_per_second", "reason")
COLUMNS += ("p50_low_ms", "p50_high_ms", "stable", "saturated_images_per_second")
COLUMNS += ("peak_memory_mib",)


def render(report: Report) -> str:
    """Stages first, then quality gates, then engines; an unknown value is an empty cell."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for stage in report["stages"]:
        name = {"kind": "stage", "name": stage["stage"], **stage["model"]}
        writer.writerows(_lines(stage, name))
    for gate in report.get("gates", []):
        writer.writerow({**gate, "kind": "gate", "name": gate["gate"]})
    for engine in report["engines"]:
        writer.writerows(_lines(engine, {"kind": "engine", "name": engine["backend"]}))
    return out.getvalue()


def _lines(model: Mapping[str, Any], name: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    accuracy = {**model["accuracy"], "accuracy_samples": model["accuracy"]["samples"]}
    for row in model["latency"] or [{}]:
        yield {**model, **name, **accuracy, **_timing(row)}


def _timing(row: Mapping[str, Any]) -> dict[str, Any]:
    if not row:
        return {}
    few = row["p99_ms"] is not None and (row["samples"] or 0) < P99_SAMPLES
    few = row.get("p99_is_indicative", few)
    return {
        **{key: value for key, value in row.items() if key not in ("precision", "samples")},
        "runtime_precision": row["precision"],
        "latency_samples": row["samples"],
        "p99_is_indicative": few,
    }
