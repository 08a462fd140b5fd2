from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.report.sections import latency_figures
from pipeline.results import evidence
from pipeline.results.evidence import Evidence
from tests.pipeline.report.drawn import by_name, lines, texts
from tests.pipeline.report.full_run import full_report, write_arrays


def test_every_call_of_every_engine_is_in_its_histogram(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    arrays = evidence.read(full_report(), tmp_path)
    found = by_name(latency_figures.charts, full_report(), arrays)
    assert list(found) == ["calls-1", "calls-32", "windows"]
    taken = arrays.latency["litert.int8.b1.t1"]
    p50, p90, p99 = (f"{1000 * np.quantile(taken, share):.2f} µs" for share in (0.5, 0.9, 0.99))
    told = f"LiteRT INT8: 500 calls, p50 {p50}, p90 {p90}, p99 {p99}"
    assert found["calls-1"].description.startswith(told)
    assert texts(found["calls-1"])[:2] == ["LiteRT INT8", f"p50 {p50}, p99 {p99}"]


def test_the_marks_stand_at_multiples_of_the_median() -> None:
    taken = np.array([1.0] * 60 + [1.5] * 35 + [2.5] * 5, np.float32)
    samples = Evidence({"litert.int8.b1.t1": taken})
    chart = by_name(latency_figures.charts, full_report(), samples)["calls-1"]
    marks = [xs[0] for xs, _ in lines(chart)]
    assert marks == pytest.approx([1.0, 1.5, 2.5])


@pytest.mark.parametrize("broken", [np.zeros((2, 2)), np.zeros(0), np.zeros(5)])
def test_arrays_that_are_no_durations_are_not_drawn(broken: np.ndarray) -> None:
    samples = Evidence({"litert.int8.b1.t1": broken.astype(np.float32)})
    assert "calls-1" not in by_name(latency_figures.charts, full_report(), samples)


def test_the_windows_show_how_the_median_moved_and_who_was_unstable() -> None:
    chart = by_name(latency_figures.charts, full_report())["windows"]
    assert "LiteRT INT8 -2.0 to +5.0 % stable" in chart.description
    assert "ONNX Runtime float32 -2.0 to +5.0 % UNSTABLE" in chart.description
    moved = np.array(lines(chart)[1][1])
    flat = lines(chart)[0][1][0]
    # 2 % below the median is drawn below its line: the axis points downwards.
    assert ((moved - flat) / 0.22).tolist() == pytest.approx([0.4, 0.0, 0.0, -1.0], abs=1e-6)


def test_one_wild_window_does_not_flatten_the_others() -> None:
    report = full_report()
    for row in report["baseline"]["latency"]:
        row["window_p50_ms"] = [row["p50_ms"], row["p50_ms"] * 0.9, row["p50_ms"] * 500]
    drawn = lines(by_name(latency_figures.charts, report)["windows"])
    flat, moved = drawn[0][1][0], np.array(drawn[1][1])
    assert ((moved - flat) / 0.22).tolist() == pytest.approx([0.0, 0.5, -1.0])
