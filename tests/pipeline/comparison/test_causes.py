from __future__ import annotations

from pipeline.comparison.causes import differences, warnings
from tests.pipeline.comparison.samples import run


def test_equal_runs_have_no_causes_and_no_warnings() -> None:
    found = differences(run().summary, run().summary)
    assert found == {"settings": {}, "versions": {}, "conditions": {}}
    assert warnings(run(), run()) == []


def test_what_differs_is_named_with_both_values() -> None:
    after = run().summary
    after["settings"]["prune"] = {"ratio": 0.25, "round_to": 16}
    after["environment"] = {**after["environment"], "python": "3.12.1"}
    after["conditions"] = {"load_average": 3.0}
    assert differences(run().summary, after) == {
        "settings": {"prune.ratio": ["0.5", "0.25"], "prune.round_to": [None, "16"]},
        "versions": {"python": ["3.11.7", "3.12.1"]},
        "conditions": {"load_average": ["0.2", "3"]},
    }


def test_another_machine_is_warned_of() -> None:
    after = run()
    after.summary["environment"]["cpu"] = {"model": "Other CPU", "cores": 8}
    assert warnings(run(), after) == [
        "Timed on different machines (Sample CPU, 2 cores; Other CPU, 8 cores): "
        "latencies compare the machines as well."
    ]


def test_other_versions_are_warned_of() -> None:
    after = run()
    after.summary["environment"]["packages"]["onnxruntime"] = "2.0"
    assert warnings(run(), after) == ["Versions differ: see there before blaming the model."]


def test_another_load_and_stolen_time_are_warned_of() -> None:
    before, after = run(), run()
    before.summary["conditions"] = {"load_average_before": 0.5, "cpu_steal_percent": 0.1}
    after.summary["conditions"] = {"load_average_before": 1.4, "cpu_steal_percent": 0.1}
    assert warnings(before, after) == []
    after.summary["conditions"] = {"load_average_before": 1.6, "cpu_steal_percent": 2.0}
    assert warnings(before, after) == [
        "The machine was not equally busy: load average 0.5 and 1.6.",
        "Other guests of the host took CPU time while the engines were timed: 0.1 % and 2.0 %.",
    ]


def test_other_test_images_are_warned_of() -> None:
    after = run()
    after.summary["stages"]["train"]["samples"] = 100
    assert "The test images differ" in warnings(run(), after)[0]


def test_a_run_without_a_benchmark_or_with_an_unstable_one_is_warned_of() -> None:
    before, after = run("x"), run("y")
    before.summary.update(engines={}, engine=None)
    after.summary["engines"]["litert.int8"]["latency"][0]["stable"] = False
    assert warnings(before, after) == [
        "x has no benchmark of its present model.",
        "y: the machine did not settle while its engine was timed.",
    ]
