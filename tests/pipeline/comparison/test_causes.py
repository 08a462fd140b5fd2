from __future__ import annotations

from pipeline.comparison import Run, compare
from pipeline.comparison.causes import differing, warnings
from tests.pipeline.comparison.samples import altered, run


def test_equal_runs_have_no_causes_and_no_warnings() -> None:
    found = compare(run(), run())
    assert (found.settings, found.versions, found.conditions) == ({}, {}, {})
    assert found.warnings == ()


def test_what_differs_is_listed_with_both_values() -> None:
    after = altered(run(), "settings", "prune", to={"ratio": 0.25, "channel_multiple": 16})
    after = altered(after, "environment", "python", to="3.12.1")
    after = altered(after, "conditions", "load_average_before", to=3.0)
    found = compare(run(), after)
    assert found.settings == {
        "prune.ratio": ("0.5", "0.25"),
        "prune.channel_multiple": (None, "16"),
    }
    assert found.versions == {"python": ("3.11.7", "3.12.1")}
    assert found.conditions == {"load_average_before": ("0.2", "3")}


def test_values_that_are_written_alike_do_not_differ() -> None:
    assert differing({"a": 0.20001, "b": None}, {"a": 0.20002}) == {}


def test_another_machine_is_warned_of() -> None:
    after = altered(run(), "environment", "cpu", to={"model": "Other CPU", "cores": 8})
    assert warnings(run(), after) == [
        "Timed on different machines (Sample CPU, 2 cores; Other CPU, 8 cores): "
        "latencies compare the machines as well."
    ]


def test_other_versions_are_warned_of() -> None:
    after = altered(run(), "environment", "packages", "onnxruntime", to="2.0")
    assert warnings(run(), after) == ["Versions differ: see there before blaming the model."]


def test_another_load_and_stolen_time_are_warned_of() -> None:
    def busy(load: float, steal: float) -> Run:
        conditions = {"load_average_before": load, "cpu_steal_percent": steal}
        return altered(run(), "conditions", to=conditions)

    assert warnings(busy(0.5, 0.1), busy(1.4, 0.1)) == []
    assert warnings(busy(0.5, 0.1), busy(1.6, 2.0)) == [
        "The machine was not equally busy: load average 0.5 and 1.6.",
        "Other guests of the host took CPU time while the engines were timed: 0.1 % and 2.0 %.",
    ]


def test_other_test_images_are_warned_of() -> None:
    after = altered(run(), "stages", "train", "samples", to=100)
    assert "The test images differ" in warnings(run(), after)[0]


def test_a_run_without_a_benchmark_or_with_an_unstable_one_is_warned_of() -> None:
    before = altered(altered(run("x"), "engines", to={}), "engine", to=None)
    after = altered(run("y"), "engines", "litert.int8", "latency", 0, "stable", to=False)
    assert warnings(before, after) == [
        "x has no benchmark of its present model.",
        "y: the median of its engine is not certain (UNSTABLE).",
    ]
