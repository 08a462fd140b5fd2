from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.report.sections import latency
from pipeline.results.evidence import Evidence
from tests.pipeline.records import records, report_of, row
from tests.pipeline.report.drawn import by_name, lines, texts
from tests.pipeline.report.full_run import full_records, full_report


def test_p99_of_fewer_than_1000_samples_is_marked_indicative() -> None:
    table = latency.latency_table(report_of())
    p99 = {each[0]: each[table.columns.index("p99 ms")] for each in table.rows}
    assert p99["train: tf.function fp32"] == "0.800 (indicative)"
    assert p99["engine: litert int8"] == "0.500"  # the last one's, at batch 32
    assert table.notes == ("p99 from fewer than 1,000 samples is indicative only.",)


def test_exactly_1000_samples_are_enough_for_p99() -> None:
    found = records("train")
    found["train"]["measurements"]["latency"] = [row("tf.function", "fp32", 1, 0.4, samples=1000)]
    assert latency.latency_table(report_of(found)).notes == ()


def test_every_latency_is_listed_once_although_the_stages_share_rows() -> None:
    rows = latency.latency_table(report_of()).rows
    assert len(rows) == 3 + 2 + 3 * 2  # tf.function, baseline, engines
    assert len(set(rows)) == len(rows)


def test_intervals_stability_and_memory_are_columns_once_a_row_has_them() -> None:
    found = records()
    plain = latency.latency_table(report_of(found))
    assert not {"95 % of p50", "timing", "peak MiB", "saturated images/s"} & set(plain.columns)
    timed = found["benchmark"]["measurements"]["engines"][2]["latency"][0]
    timed |= {"p50_low_ms": 0.0079, "p50_high_ms": 0.0083, "stable": False}
    timed |= {"peak_memory_mib": 41.4, "saturated_images_per_second": 250_000.0}
    table = latency.latency_table(report_of(found))
    cells = {each[0] + each[1]: dict(zip(table.columns, each, strict=True)) for each in table.rows}
    litert = cells["engine: litert int81"]
    assert litert["95 % of p50"] == "0.00790 to 0.00830"
    assert litert["timing"] == "UNSTABLE"
    assert (litert["peak MiB"], litert["saturated images/s"]) == ("41", "250,000")
    assert cells["engine: onnxruntime int81"]["timing"] == "-"
    assert any(note.startswith("UNSTABLE") for note in table.notes)


def test_the_parts_of_a_call_are_columns_where_a_gpu_was_timed() -> None:
    found = records()
    timed = found["benchmark"]["measurements"]["engines"][2]["latency"][0]
    timed["parts_ms"] = {"h2d_ms": 0.003, "compute_ms": 0.02, "d2h_ms": 0.002, "resident_ms": 0.024}
    timed["saturating_streams"] = 4
    table = latency.latency_table(report_of(found))
    cells = {each[0] + each[1]: dict(zip(table.columns, each, strict=True)) for each in table.rows}
    on_gpu, other = cells["engine: litert int81"], cells["engine: onnxruntime int81"]
    assert (on_gpu["to GPU ms"], on_gpu["without copies ms"]) == ("0.00300", "0.0240")
    assert (on_gpu["streams"], other["streams"]) == ("4", "-")


def test_every_call_of_every_engine_is_in_its_histogram(arrays: Evidence) -> None:
    found = by_name(latency.charts, full_report(), arrays)
    assert list(found) == ["calls-1", "calls-32", "windows"]
    taken = arrays.latency["litert.int8.b1.t1"]
    p50, p90, p99 = (f"{1000 * np.quantile(taken, share):.2f} µs" for share in (0.5, 0.9, 0.99))
    words = f"LiteRT INT8: 500 calls, p50 {p50}, p90 {p90}, p99 {p99}"
    assert found["calls-1"].description.startswith(words)
    drawn = np.percentile(taken / np.median(taken), 99.8)
    beyond = np.count_nonzero(taken / np.median(taken) > drawn)
    said = f"p50 {p50}, p99 {p99}, {beyond} beyond"
    assert texts(found["calls-1"])[:2] == ["LiteRT INT8", said]
    assert f"{beyond} longer than is drawn" in found["calls-1"].description


def test_the_marks_stand_at_multiples_of_the_median() -> None:
    taken = np.array([1.0] * 60 + [1.5] * 35 + [2.5] * 5, np.float32)
    samples = Evidence({"litert.int8.b1.t1": taken})
    chart = by_name(latency.charts, full_report(), samples)["calls-1"]
    marks = [xs[0] for xs, _ in lines(chart)]
    assert marks == pytest.approx([1.0, 1.5, 2.5])


@pytest.mark.parametrize("broken", [np.zeros((2, 2)), np.zeros(0), np.zeros(5)])
def test_arrays_that_are_no_durations_are_not_drawn(broken: NDArray[np.floating[Any]]) -> None:
    samples = Evidence({"litert.int8.b1.t1": broken.astype(np.float32)})
    assert "calls-1" not in by_name(latency.charts, full_report(), samples)


def test_the_windows_show_how_the_median_moved_and_who_was_unstable() -> None:
    chart = by_name(latency.charts, full_report())["windows"]
    assert "LiteRT INT8 -2.0 to +5.0 % stable" in chart.description
    assert "ONNX Runtime float32 -2.0 to +5.0 % UNSTABLE" in chart.description
    moved = np.array(lines(chart)[1][1])
    flat = lines(chart)[0][1][0]
    # 2 % below the median is drawn below its line: the axis points downwards.
    assert ((moved - flat) / 0.22).tolist() == pytest.approx([0.4, 0.0, 0.0, -1.0], abs=1e-6)


def test_one_wild_window_does_not_flatten_the_others() -> None:
    found = full_records()
    for timed in found["benchmark"]["measurements"]["details"]["baseline"]["latency"]:
        timed["window_p50_ms"] = [timed["p50_ms"] * factor for factor in (1, 0.9, 500)]
    drawn = lines(by_name(latency.charts, report_of(found))["windows"])
    flat, moved = drawn[0][1][0], np.array(drawn[1][1])
    assert ((moved - flat) / 0.22).tolist() == pytest.approx([0.0, 0.5, -1.0])
