from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.results import speedup_steps
from tests.pipeline.records import LINE, engine, records, report_of


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


def test_a_model_that_was_not_pruned_has_no_such_step() -> None:
    found = records()
    found["prune"]["measurements"]["model"]["parameters"] = 421_642
    assert [cause for _, cause in named(found)] == ["", "LiteRT and INT8"]


def test_the_pruned_float_engine_can_be_the_end() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    measured["engines"] = [each for each in measured["engines"] if each["precision"] == "fp32"]
    assert named(found) == [("trained", ""), ("pruned", "pruning")]


def test_without_a_benchmark_there_are_no_steps() -> None:
    assert speedup_steps.steps(report_of(records(*LINE[:-1]))) == []
