from __future__ import annotations

import pytest

from pipeline.comparison import Run
from pipeline.comparison.latency import compare
from pipeline.comparison.model import CHOSEN, LatencyDifference
from tests.pipeline.comparison.samples import altered, run, unlike


def differences(before: Run, after: Run) -> list[LatencyDifference]:
    return compare(before.summary, after.summary)


def entry(before: Run, after: Run, engine: str, batch_size: int = 1) -> LatencyDifference:
    found = [row for row in differences(before, after) if row.engine == engine]
    return next(row for row in found if row.batch_size == batch_size)


def retrained(found: Run, *names: str) -> Run:
    """The run of the same network with other weights, so that only the baseline is a control."""
    return altered(unlike(found, *names), "stages", "train", "parameters", to=421_642)


def test_an_engine_that_got_faster_is_found_with_its_interval() -> None:
    found = entry(unlike(run()), run(litert_int8=0.9), "litert.int8")
    assert found.low < 0.9 < found.high < 1
    assert found.is_different
    assert (found.before_ms, found.after_ms) == pytest.approx((0.008, 0.0072), rel=1e-4)
    assert found.ratio == found.after_ms / found.before_ms


def test_where_windows_disagree_the_shown_p50_is_what_the_ratio_is_made_of() -> None:
    """Fast windows hold more calls, so that p50 of all calls is theirs."""
    path = ("engines", "litert.int8", "latency", 0)
    before = altered(altered(run(), *path, "p50_ms", to=1.55), *path, "window_p50_ms", to=[1.5] * 6)
    after = altered(altered(run(), *path, "p50_ms", to=1.81), *path, "window_p50_ms", to=[2.25] * 6)
    found = entry(unlike(before), after, "litert.int8")
    assert (found.before_ms, found.after_ms, found.ratio) == (1.5, 2.25, 1.5)


def test_another_number_of_threads_is_another_choice() -> None:
    row = ("engines", "litert.int8", "latency", 0)
    after = altered(altered(run(), *row, "threads", to=2), *row, "p50_ms", to=0.004)
    found = entry(run(), altered(after, *row, "window_p50_ms", to=None), CHOSEN)
    assert (found.before_ms, found.after_ms) == (0.008, 0.004)


def test_an_engine_that_stayed_as_it_was_shows_no_difference() -> None:
    found = entry(unlike(run()), run(onnxruntime_int8=0.9), "litert.int8")
    assert found.is_different is False
    assert found.low < 1 < found.high


def test_every_batch_size_that_both_timed_is_compared() -> None:
    keys = [(row.engine, row.batch_size) for row in differences(run(), run())]
    names = ("baseline", "onnxruntime.fp32", "onnxruntime.int8", "litert.int8")
    assert keys == [(name, size) for name in names for size in (1, 32)]


def test_two_chosen_engines_are_compared_with_each_other() -> None:
    found = entry(unlike(run()), run(litert_int8=4.0), CHOSEN)
    assert (found.before_ms, found.after_ms) == pytest.approx((0.008, 0.02), rel=1e-3)
    assert found.ratio == found.after_ms / found.before_ms


def test_an_unchanged_network_shows_what_the_machine_did_and_widens_the_others() -> None:
    slower = {"baseline": 1.2, "litert_int8": 1.1}
    alone = entry(unlike(run()), run(**slower), "litert.int8")
    before = retrained(run(), "litert.int8")
    widened = entry(before, run(**slower), "litert.int8")
    control = entry(before, run(**slower), "baseline")
    assert control.is_control
    assert alone.is_different
    assert not widened.is_different
    assert widened.drift >= control.high > control.ratio
    assert widened.drift == pytest.approx(1.2, rel=0.02)
    assert widened.high == pytest.approx(alone.high * widened.drift)
    assert widened.low == pytest.approx(alone.low / widened.drift)


def test_a_machine_that_became_faster_widens_as_much() -> None:
    found = entry(retrained(run()), run(baseline=1 / 1.2), "litert.int8")
    assert found.drift == pytest.approx(1.2, rel=0.02)


def test_a_control_without_windows_widens_by_its_ratio() -> None:
    path = ("engines", "baseline", "latency", 0, "window_p50_ms")
    after = altered(run(baseline=1.2), *path, to=None)
    assert entry(retrained(run()), after, "litert.int8").drift == pytest.approx(1.2)


def test_the_baseline_is_a_control_if_the_trained_network_is_the_same() -> None:
    before = altered(run(), "engines", "baseline", "sha256", to="0" * 64)
    assert entry(before, run(), "baseline").is_control
    before = altered(before, "stages", "train", "multiply_adds", to=8_000_001)
    assert not entry(before, run(), "baseline").is_control


@pytest.mark.parametrize("change", ["cpu", "packages"])
def test_another_machine_or_another_runtime_leaves_no_control(change: str) -> None:
    other = {"cpu": {"model": "other"}, "packages": {"onnxruntime": "1.20"}}[change]
    before = altered(run(), "environment", change, to=other)
    assert not entry(before, run(), "onnxruntime.fp32").is_control


def test_another_version_of_a_package_that_the_engine_does_not_use_does_not_matter() -> None:
    before = altered(run(), "environment", "packages", "tensorflow", to="2.20.0")
    assert entry(before, run(), "onnxruntime.fp32").is_control


def test_without_enough_windows_there_is_a_ratio_and_no_interval() -> None:
    path = ("engines", "litert.int8", "latency", 0, "window_p50_ms")
    after = altered(run(litert_int8=0.5), *path, to=[0.1] * 4)
    found = entry(unlike(run()), after, "litert.int8")
    assert found.ratio == pytest.approx(0.5)
    assert (found.low, found.high, found.is_different) == (None, None, None)


def test_what_build_timed_is_not_compared_with_what_the_benchmark_timed() -> None:
    after = altered(run(), "engines", "litert.int8", "measured_in", to="build")
    assert "litert.int8" not in [row.engine for row in differences(run(), after)]
