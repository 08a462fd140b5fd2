from __future__ import annotations

from typing import Any

import pytest

from pipeline.comparison.latency import CHOSEN, compare
from pipeline.comparison.runs import Run
from tests.pipeline.comparison.samples import run, unlike


def entry(before: Run, after: Run, engine: str, batch_size: int = 1) -> dict[str, Any]:
    found = [row for row in compare(before, after) if row["engine"] == engine]
    return next(row for row in found if row["batch_size"] == batch_size)


def test_an_engine_that_got_faster_is_found_with_its_interval() -> None:
    found = entry(unlike(run()), run(litert_int8=0.9), "litert.int8")
    assert found["low"] < 0.9 < found["high"] < 1
    assert found["is_different"]
    assert (found["before_ms"], found["after_ms"]) == (0.008, pytest.approx(0.0072))


def test_an_engine_that_stayed_as_it_was_shows_no_difference() -> None:
    found = entry(unlike(run()), run(onnxruntime_int8=0.9), "litert.int8")
    assert found["is_different"] is False
    assert found["low"] < 1 < found["high"]


def test_every_batch_size_that_both_timed_is_compared() -> None:
    keys = [(row["engine"], row["batch_size"]) for row in compare(run(), run())]
    names = ("baseline", "onnxruntime.fp32", "onnxruntime.int8", "litert.int8")
    assert keys == [(name, size) for name in names for size in (1, 32)]


def test_two_chosen_engines_are_compared_with_each_other() -> None:
    found = entry(unlike(run()), run(litert_int8=4.0), CHOSEN)
    assert (found["before_ms"], found["after_ms"]) == (0.008, 0.02)
    assert found["ratio"] == pytest.approx(2.5, rel=0.02)


def test_an_unchanged_network_shows_what_the_machine_did_and_widens_the_others() -> None:
    slower = {"baseline": 1.2, "litert_int8": 1.1}
    alone = entry(unlike(run()), run(**slower), "litert.int8")
    before = unlike(run(), "litert.int8")
    before.summary["stages"]["train"]["parameters"] -= 1
    widened = entry(before, run(**slower), "litert.int8")
    control = entry(before, run(**slower), "baseline")
    assert control["is_control"]
    assert alone["is_different"]
    assert not widened["is_different"]
    assert widened["drift"] >= control["high"] > control["ratio"]
    assert widened["drift"] == pytest.approx(1.2, rel=0.02)
    assert widened["high"] == pytest.approx(alone["high"] * widened["drift"])
    assert widened["low"] == pytest.approx(alone["low"] / widened["drift"])


def test_a_machine_that_became_faster_widens_as_much() -> None:
    before = unlike(run())
    before.summary["stages"]["train"]["parameters"] -= 1
    found = entry(before, run(baseline=1 / 1.2), "litert.int8")
    assert found["drift"] == pytest.approx(1.2, rel=0.02)


def test_a_control_without_windows_widens_by_its_ratio() -> None:
    before, after = unlike(run()), run(baseline=1.2)
    before.summary["stages"]["train"]["parameters"] -= 1
    for row in after.summary["engines"]["baseline"]["latency"]:
        del row["window_p50_ms"]
    assert entry(before, after, "litert.int8")["drift"] == pytest.approx(1.2)


def test_the_baseline_is_a_control_if_the_trained_network_is_the_same() -> None:
    before, after = run(), run()
    before.summary["engines"]["baseline"]["sha256"] = "0" * 64
    assert entry(before, after, "baseline")["is_control"]
    before.summary["stages"]["train"]["multiply_adds"] += 1
    assert not entry(before, after, "baseline")["is_control"]


@pytest.mark.parametrize("change", ["cpu", "packages"])
def test_another_machine_or_another_runtime_leaves_no_control(change: str) -> None:
    before, after = run(), run()
    other = {"cpu": {"model": "other"}, "packages": {"onnxruntime": "1.20"}}[change]
    before.summary["environment"] = {**before.summary["environment"], change: other}
    assert not entry(before, after, "onnxruntime.fp32")["is_control"]


def test_another_version_of_a_package_that_the_engine_does_not_use_does_not_matter() -> None:
    before, after = run(), run()
    environment = before.summary["environment"]
    packages = {**environment["packages"], "tensorflow": "2.20.0"}
    before.summary["environment"] = {**environment, "packages": packages}
    assert entry(before, after, "onnxruntime.fp32")["is_control"]


def test_without_enough_windows_there_is_a_ratio_and_no_interval() -> None:
    before, after = unlike(run()), run(litert_int8=0.5)
    after.summary["engines"]["litert.int8"]["latency"][0]["window_p50_ms"] = [0.1] * 4
    found = entry(before, after, "litert.int8")
    assert found["ratio"] == pytest.approx(0.5)
    assert (found["low"], found["high"], found["is_different"]) == (None, None, None)


def test_what_build_timed_is_not_compared_with_what_the_benchmark_timed() -> None:
    before, after = run(), run()
    after.summary["engines"]["litert.int8"]["measured_in"] = "build"
    assert "litert.int8" not in [row["engine"] for row in compare(before, after)]
