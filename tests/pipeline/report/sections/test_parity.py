from __future__ import annotations

from typing import Any

import pytest

from pipeline.report.sections import parity
from tests.pipeline.records import records, report_of
from tests.pipeline.report.drawn import by_name, lines, texts
from tests.pipeline.report.full_run import full_records, full_report, report_with


def check(name: str, against: str, passed: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "against": against,
        "samples": 256,
        "top1_agreement": 1.0 if passed else 0.5,
        "max_absolute_difference": 0.0484929,
        "mean_absolute_difference": 1.2e-5,
        "max_relative_difference": 0.007,
        "passed": passed,
    }


def test_the_checks_continue_from_the_graphs_to_the_engines() -> None:
    table = parity.parity_table(
        report_with(
            convert={"parity_checks": [check("model.fp32.onnx", "keras float")]},
            build={"parity_checks": [check("litert.int8", "keras fake-quantized for litert")]},
        )
    )
    assert [row[0] for row in table.rows] == ["model.fp32.onnx", "litert.int8"]
    assert table.rows[0][2:] == ("100.00 %", "0.048", "-", "1.2e-05", "yes")
    assert table.notes == ()


def test_the_first_mismatch_is_named() -> None:
    checks = [check("a", "keras float"), check("b", "a", passed=False), check("c", "b", False)]
    table = parity.parity_table(report_with(convert={"parity_checks": checks}))
    assert [row[-1] for row in table.rows] == ["yes", "no", "no"]
    assert table.notes == ("The first check that does not pass: b.",)


def test_where_an_engine_is_off_first_is_told_below_the_checks() -> None:
    first = {"tensor": "x", "node": "conv2", "max_relative_difference": 0.5, "builds": 4}
    table = parity.parity_table(report_with(build={"divergences": {"tensorrt.int8": first}}))
    assert table.notes == (
        "tensorrt.int8: the first tensor that is off is that of conv2 (x), off by 0.5 of its "
        "largest value.",
    )


def test_integer_kernels_are_counted() -> None:
    kernels = {"onnxruntime_int8_kernels": {"integer": 4, "floating": 1}}
    table = parity.parity_table(report_with(build=kernels))
    assert table.notes == ("ONNX Runtime runs 4 of its 5 kernels in integers.",)


LAYERS = {"elements": 483744, "off_by_one": 5, "off_by_more": 0, "worst_point": None}


def test_every_runtime_has_a_row_layer_by_layer_and_a_terminal_shows_those_that_fail() -> None:
    good = {**LAYERS, "name": "a.onnx", "passes": True}
    bad = {**LAYERS, "name": "b.tflite", "worst_point": "conv", "unexplained": 4, "passes": False}
    report = report_with(convert={"layer_parity": [good, bad]})
    rows = parity.layer_table(report).rows
    assert rows[0] == ("a.onnx", "483,744", "5", "0", "0", "-", "yes")
    assert rows[1] == ("b.tflite", "483,744", "5", "0", "4", "conv", "no")
    shown = [each for each in parity.tables(report) if "terminal" in each.shown_in]
    assert [row[0] for each in shown for row in each.rows] == ["b.tflite"]


def test_the_one_layer_by_layer_test_of_earlier_versions_is_shown() -> None:
    report = report_with(convert={"layer_parity": {**LAYERS, "passes": True}})
    assert parity.layer_table(report).rows[0][0] == "model.int8.cpu.onnx in ONNX Runtime"
    assert parity.layer_table(report_with(convert={"layer_parity": None})).rows == ()


def test_a_difference_that_is_not_finite_is_said_to_be_so() -> None:
    broken = {**check("a", "keras float", passed=False), "max_absolute_difference": None}
    report = report_with(convert={"parity_checks": [broken]})
    assert parity.parity_table(report).rows[0][3] == "not finite"
    chart = by_name(parity.charts, report)["parity-checks"]
    assert "a against keras float not finite, breaks" in chart.description


def test_every_check_stands_at_its_difference_and_a_mismatch_is_a_cross() -> None:
    chart = by_name(parity.charts, full_report())["parity-checks"]
    marks = [line for line in chart.figure.axes[0].get_lines() if len(line.get_xdata()) == 1]
    assert [mark.get_marker() for mark in marks] == ["o", "o", "X"]
    places = [float(mark.get_xdata()[0]) for mark in marks]
    assert places == pytest.approx([1e-6, 1e-6 / 4, 3.0])  # no difference: left of the least
    assert "breaks, 50.00 % same" in texts(chart)
    assert "litert.int8 against keras float 0, agrees" in chart.description


def test_checks_that_all_agree_exactly_can_be_drawn() -> None:
    found = full_records()
    for stage in ("convert", "build"):
        for each in found[stage]["measurements"]["details"]["parity_checks"]:
            each["max_absolute_difference"] = 0.0
    assert len(lines(by_name(parity.charts, report_of(found))["parity-checks"])) == 6


def test_without_checks_there_is_neither_table_nor_figure() -> None:
    report = report_of(records("train"))
    assert parity.parity_table(report).rows == ()
    assert by_name(parity.charts, report) == {}
