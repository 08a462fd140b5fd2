from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.results import speedup_steps
from tests.pipeline.records import LINE, engine, records, report_of, sha256


def named(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step.name, step.cause) for step in speedup_steps.steps(report_of(found))]


def test_a_step_that_was_not_timed_falls_together_with_the_next() -> None:
    assert named(records()) == [
        ("trained", ""),
        ("pruned", "pruning"),
        ("LiteRT INT8", "LiteRT and INT8"),
    ]


def test_a_float_engine_of_the_same_runtime_tells_runtime_and_precision_apart() -> None:
    found = records()
    floats = engine("litert", "fp32", ".tflite", 356, (0.016, 0.4))
    found["benchmark"]["measurements"]["engines"].append(floats)
    assert named(found) == [
        ("trained", ""),
        ("pruned", "pruning"),
        ("in LiteRT", "LiteRT"),
        ("LiteRT INT8", "INT8"),
    ]


def test_what_the_steps_brought_multiplies_to_what_the_engine_brought() -> None:
    way = speedup_steps.steps(report_of())
    factors = [factor for _, factor in speedup_steps.brought(way)]
    assert math.prod(factors) == pytest.approx(0.056 / 0.008)


def with_equal_files(found: dict[str, Any], stage: str, file: str, other: str) -> dict[str, Any]:
    """As if `file` of `stage` were byte for byte `other`, "stage/file"."""
    digest = sha256(*other.split("/"))
    found[stage]["files"][file]["sha256"] = digest
    for record in found.values():
        if stage in record["inputs"]:
            record["inputs"][stage][file] = digest
    return found


def test_a_model_that_was_not_pruned_has_no_such_step() -> None:
    """Neither parameters nor zeros tell: weights that are zero make TensorRT faster as well."""
    same = with_equal_files(records(), "prune", "model.keras", "train/model.keras")
    assert [cause for _, cause in named(same)] == ["", "LiteRT and INT8"]


def test_where_only_the_graphs_were_copied_to_pruning_keeps_its_part() -> None:
    assert [cause for _, cause in named(records("convert", "build", "benchmark"))] == [
        "",
        "pruning",
        "LiteRT and INT8",
    ]


def test_where_only_the_graphs_were_copied_to_equal_engines_were_not_pruned() -> None:
    copied = records("convert", "build", "benchmark")
    baseline = "build/baseline.onnxruntime.fp32.onnx"
    same = with_equal_files(copied, "build", "onnxruntime.fp32.onnx", baseline)
    assert [cause for _, cause in named(same)] == ["", "LiteRT and INT8"]


def test_where_nothing_tells_whether_it_was_pruned_pruning_is_not_ruled_out() -> None:
    copied = records("convert", "build", "benchmark")
    for stage in ("build", "benchmark"):
        engines = copied[stage]["measurements"]["engines"]
        copied[stage]["measurements"]["engines"] = [engines[2]]
    assert [cause for _, cause in named(copied)] == ["", "pruning (if any), LiteRT and INT8"]


def test_the_pruned_float_engine_can_be_the_end() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    measured["engines"] = [each for each in measured["engines"] if each["precision"] == "fp32"]
    assert named(found) == [("trained", ""), ("pruned", "pruning")]


def test_without_a_benchmark_there_are_no_steps() -> None:
    assert speedup_steps.steps(report_of(records(*LINE[:-1]))) == []
