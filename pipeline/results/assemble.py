"""Joins the records of the stages into one report; measures and computes nothing itself.

Where a number in the report comes from:

    stages[i].model, accuracy, latency    record of that stage
    + rows measured_in "benchmark"        train: the baseline; prune, quantize: the ONNX Runtime
                                          engines, all timed in turns in one benchmark
    engines[i]                            record of benchmark; of build where there is none
    baseline                              file: record of build; the rest: record of benchmark
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.results.verdict import verdict
from stages.errors import ArtifactError

SCHEMA_VERSION = 1

Record = Mapping[str, Any]

DATASET = ("name", "train_samples", "calibration_samples", "test_samples")
MODEL = ("file", "sha256", "size_bytes", "parameters", "multiply_adds")
ACCURACY = ("top1", "recall_macro", "precision_macro", "samples")
ROW: tuple[str, ...] = ("batch_size", "runtime", "precision", "threads", "samples")
ROW += ("p50_ms", "p90_ms", "p99_ms", "mean_ms", "images_per_second")
ENGINE = ("backend", "precision", "file", "sha256", "size_bytes", "state", "reason", "fix")


def assemble(records: Mapping[str, Record], states: Mapping[str, str]) -> dict[str, Any]:
    """Build the content of report.json (see report.schema.json).

    `records` holds the record.json of every stage that has one, by stage, in the order of the
    line; `states` says "ran" or "cached" of those that were selected, the others count as
    cached. Every key of the schema is present, None where nothing was measured; numbers that
    are not finite become None, since JSON has no word for them.
    Raises ArtifactError if there is no record at all.
    """
    if not records:
        raise ArtifactError("nothing to report: no stage has run yet", "run: pipeline run all")
    outdated = _outdated(records)
    report: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "verdict": [],
        "environment": list(records.values())[-1].get("environment") or {},
        "dataset": _fill(DATASET, _measured(records, "train").get("dataset")),
        "stages": [
            _stage(name, records, states.get(name, "cached"), name in outdated) for name in records
        ],
        "baseline": _baseline(records),
        "engines": _engines(records),
    }
    if "benchmark" in records and "benchmark" not in outdated:
        _join_benchmark(report)
    report["verdict"] = verdict(report)
    finite: dict[str, Any] = _finite(report)
    return finite


def _stage(
    name: str, records: Mapping[str, Record], state: str, is_outdated: bool
) -> dict[str, Any]:
    record = records[name]
    measured = _measured(records, name)
    model = measured.get("model") or {}
    return {
        "stage": name,
        "state": "ran" if state == "ran" else "cached",
        "outdated": is_outdated,
        "seconds": record.get("seconds"),
        "model": _fill(MODEL, {**model, **_model_file(records, name, model.get("file"))}),
        "accuracy": _fill(ACCURACY, measured.get("accuracy")),
        "latency": _rows(measured.get("latency"), name),
        "details": measured.get("details") or {},
        **{key: record.get(key) for key in ("key", "revision", "started_at")},
        "settings": record.get("settings") or {},
        "environment": record.get("environment") or {},
    }


def _engines(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    source = "build" if _has_changed("build", "benchmark", records) else "benchmark"
    if not _measured(records, source).get("engines"):
        source = "build"
    return [
        _engine(found, records, source) for found in _measured(records, source).get("engines") or []
    ]


def _engine(found: Mapping[str, Any], records: Mapping[str, Record], source: str) -> dict[str, Any]:
    return {
        **_fill(ENGINE, {**found, **_file(records, "build", found.get("file"))}),
        "measured_in": source,
        "accuracy": _fill(ACCURACY, found.get("accuracy")),
        "latency": _rows(found.get("latency"), source),
    }


def _baseline(records: Mapping[str, Record]) -> dict[str, Any]:
    """The trained, unpruned float32 model in ONNX Runtime: what every speed-up is against."""
    files = records.get("build", {}).get("files") or {}
    file = next((name for name in files if name.startswith("baseline.")), None)
    timed = {} if _has_changed("build", "benchmark", records) else _measured(records, "benchmark")
    found = (timed.get("details") or {}).get("baseline") or {}
    return {
        **_fill(("file", "sha256", "size_bytes"), _file(records, "build", file)),
        "accuracy": _fill(ACCURACY, found.get("accuracy")),
        "latency": _rows(found.get("latency"), "benchmark"),
    }


def _join_benchmark(report: dict[str, Any]) -> None:
    """Give train, prune and quantize the rows of their own model in ONNX Runtime."""
    engines = {(each["backend"], each["precision"]): each for each in report["engines"]}
    joined = {
        "train": report["baseline"],
        "prune": engines.get(("onnxruntime", "fp32")),
        "quantize": engines.get(("onnxruntime", "int8")),
    }
    for stage in report["stages"]:
        rows = (joined.get(stage["stage"]) or {}).get("latency", [])
        stage["latency"] += [dict(row) for row in rows if row["measured_in"] == "benchmark"]


def _outdated(records: Mapping[str, Record]) -> set[str]:
    """Stages made from files that have changed since, directly or through another stage."""
    found: set[str] = set()
    for name, record in records.items():
        needed = record.get("inputs") or {}
        if any(each in found or _has_changed(each, name, records) for each in needed):
            found.add(name)
    return found


def _has_changed(needed: str, by: str, records: Mapping[str, Record]) -> bool:
    """Whether `by` has read other files of `needed` than those recorded now."""
    read = (records.get(by, {}).get("inputs") or {}).get(needed)
    if read is None or needed not in records:
        return False
    now = records[needed].get("files") or {}
    return any(now.get(file, {}).get("sha256") != sha256 for file, sha256 in read.items())


def _file(records: Mapping[str, Record], stage: str, name: str | None) -> dict[str, Any]:
    """`file`, `sha256` and `size_bytes` of a stage's file, as far as they are recorded."""
    entry = (records.get(stage, {}).get("files") or {}).get(name) or {}
    return {"file": name, "sha256": entry.get("sha256"), "size_bytes": entry.get("size_bytes")}


def _model_file(records: Mapping[str, Record], stage: str, name: str | None) -> dict[str, Any]:
    """`_file` of the stage, or of a stage it reads: the benchmark's model is an engine of build."""
    for owner in (stage, *(records[stage].get("inputs") or {})):
        found = _file(records, owner, name)
        if found["sha256"]:
            return found
    return _file(records, stage, name)


def _measured(records: Mapping[str, Record], stage: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = records.get(stage, {}).get("measurements") or {}
    return found


def _rows(rows: Sequence[Mapping[str, Any]] | None, measured_in: str) -> list[dict[str, Any]]:
    return [{**_fill(ROW, row), "measured_in": measured_in} for row in rows or []]


def _fill(keys: Sequence[str], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """`found` with every one of `keys`, None where it lacks them."""
    return {**dict.fromkeys(keys), **(found or {})}


def _finite(value: Any) -> Any:
    """`value` with None for infinities and NaN, as in the loss of a training that diverged."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
