"""The report as CSV: one line per latency, or per model that has none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.results.model import EngineReport, Report, ReportRow, StageReport

COLUMNS: tuple[str, ...] = (
    *("kind", "name", "precision", "state", "outdated", "file", "sha256", "size_bytes"),
    *("parameters", "multiply_adds", "top1", "recall_macro", "precision_macro"),
    *("accuracy_samples", "measured_in", "runtime", "runtime_precision", "batch_size"),
    *("threads", "latency_samples", "p50_ms", "p90_ms", "p99_ms", "p99_is_indicative"),
    *("mean_ms", "images_per_second", "reason"),
    *("p50_low_ms", "p50_high_ms", "stable", "saturated_images_per_second"),
    *("peak_memory_mib", "metric", "score"),
)


def render(report: Report) -> str:
    """Stages first, then quality gates, then engines; an unknown value is an empty cell."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for stage in report.stages:
        writer.writerows(_lines(stage, {"kind": "stage", "name": stage.stage, **dict(stage.model)}))
    for gate in report.gates:
        writer.writerow({**dict(gate), "kind": "gate", "name": gate.gate})
    for engine in report.engines:
        writer.writerows(_lines(engine, {"kind": "engine", "name": engine.backend}))
    return out.getvalue()


def _lines(model: StageReport | EngineReport, name: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    quality = model.accuracy
    accuracy = {**dict(quality), "accuracy_samples": quality.samples, "score": quality.score}
    for row in model.latency or (None,):
        yield {**dict(model), **name, **accuracy, **(_timing(row) if row else {})}


def _timing(row: ReportRow) -> dict[str, Any]:
    own = {"precision", "samples"}
    return {
        **{key: value for key, value in row if key not in own},
        "runtime_precision": row.precision,
        "latency_samples": row.samples,
        "p99_is_indicative": row.has_indicative_p99,
    }
