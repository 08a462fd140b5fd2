from __future__ import annotations

from typing import Any

import pytest

from pipeline.results import comparability
from pipeline.results.model import Report
from stages.results.base import Quality
from tests.pipeline.records import LINE, changed, records, report_of, row

CHOICE = {"threads": 1, "stable": True, "within_budget": True}


def speedups(report: Report) -> dict[str, Any]:
    return {stage.stage: comparability.stage_speedup(report, stage) for stage in report.stages}


def test_stages_are_compared_in_onnx_runtime_once_a_benchmark_was_run() -> None:
    found = speedups(report_of())
    assert found["train"] == 1.0
    assert found["prune"] == pytest.approx(0.056 / 0.025)
    assert found["quantize"] == pytest.approx(0.056 / 0.020)


def test_stages_are_compared_as_tf_function_while_there_is_no_benchmark() -> None:
    found = speedups(report_of(records(*LINE[:-1])))
    assert found["prune"] == pytest.approx(0.4 / 0.3)
    assert found["quantize"] == pytest.approx(0.4 / 0.5)


def test_onnx_runtime_is_never_compared_with_tf_function() -> None:
    partial = records()
    engines = partial["benchmark"]["measurements"]["engines"]
    partial["benchmark"]["measurements"]["engines"] = [
        each for each in engines if each["precision"] != "int8"
    ]
    found = speedups(report_of(partial))
    assert found["prune"] == pytest.approx(0.056 / 0.025)
    assert found["quantize"] is None


def test_tf_function_on_two_machines_is_not_compared() -> None:
    moved = records("train", "prune")
    moved["prune"]["environment"]["cpu"]["model"] = "Another CPU"
    assert speedups(report_of(moved))["prune"] is None


def test_a_stage_from_older_files_is_compared_with_nothing() -> None:
    report = report_of(changed(records("train", "prune"), "train"))
    prune = report.stages[1]
    assert comparability.stage_speedup(report, prune) is None
    assert comparability.stage_change(report, prune) is None


def test_build_and_convert_have_no_speedup_without_comparable_rows() -> None:
    found = speedups(report_of())
    assert (found["convert"], found["build"]) == (None, None)


def test_an_engine_that_only_build_has_timed_gets_no_speedup() -> None:
    report = report_of(records(*LINE[:-1]))
    assert [comparability.engine_speedup(report, e, 1) for e in report.engines] == [None] * 7


def test_each_side_counts_with_its_fastest_number_of_threads() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    two = {**row("onnxruntime", "fp32", 1, 0.040), "threads": 2}
    measured["details"]["baseline"]["latency"].append(two)
    report = report_of(found)
    litert = next(each for each in report.engines if each.backend == "litert")
    assert comparability.engine_speedup(report, litert, 1) == pytest.approx(0.040 / 0.008)


def test_change_in_points_needs_equally_many_images() -> None:
    of_360 = Quality(top1=0.9, samples=360)
    other = Quality(top1=0.8, samples=360)
    assert comparability.change_points(other, of_360) == pytest.approx(-10)
    assert comparability.change_points(Quality(top1=0.8, samples=256), of_360) is None
    assert comparability.change_points(Quality(), of_360) is None
    assert comparability.change_points(None, of_360) is None


def test_the_fastest_engine_is_the_one_with_the_lowest_p50_at_the_smallest_batch() -> None:
    found = comparability.chosen_engine(report_of())
    assert found is not None
    engine, timed = found
    assert (engine.backend, timed.batch_size, timed.p50_ms) == ("litert", 1, 0.008)


def test_the_engine_that_build_chose_stands_for_the_run_although_another_is_faster() -> None:
    found = records()
    chosen = {"1": {**CHOICE, "engine": "onnxruntime.int8"}}
    found["build"]["measurements"]["details"]["choice"] = {"chosen": chosen}
    pair = comparability.chosen_engine(report_of(found))
    assert pair is not None
    assert pair[0].backend == "onnxruntime"
    assert pair[1].precision == "int8"


def test_a_choice_that_the_benchmark_could_not_time_gives_way_to_the_fastest() -> None:
    found = records()
    chosen = {"1": {**CHOICE, "engine": "tensorrt.int8"}}
    found["build"]["measurements"]["details"]["choice"] = {"chosen": chosen}
    pair = comparability.chosen_engine(report_of(found))
    assert pair is not None
    assert pair[0].backend == "litert"


def test_without_batch_1_the_smallest_batch_of_the_benchmark_is_compared() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    measured["engines"] = [
        {**each, "latency": [timed for timed in each["latency"] if timed["batch_size"] == 32]}
        for each in measured["engines"]
    ]
    measured["latency"] = [each for each in measured["latency"] if each["batch_size"] == 32]
    baseline = measured["details"]["baseline"]
    baseline["latency"] = [each for each in baseline["latency"] if each["batch_size"] == 32]
    report = report_of(found)
    assert comparability.compared_batch(report) == 32
    found_engine = comparability.chosen_engine(report)
    assert found_engine is not None
    assert found_engine[0].backend == "onnxruntime"
    assert speedups(report)["quantize"] == pytest.approx(1.0 / 0.2)
