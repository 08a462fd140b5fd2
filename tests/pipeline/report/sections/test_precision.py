from __future__ import annotations

import pytest

from pipeline.report.sections import precision
from tests.pipeline.records import report_of
from tests.pipeline.report.drawn import bars, by_name
from tests.pipeline.report.full_run import full_report


@pytest.mark.parametrize(
    ("word", "family"),
    [
        ("int8", "int8"),
        ("INT8", "int8"),
        ("s8", "int8"),
        ("float16", "fp16"),
        ("Half", "fp16"),
        ("f32", "fp32"),
        ("float", "fp32"),
        ("bf16", "bf16"),
        (None, "any"),
    ],
)
def test_the_words_of_the_runtimes_name_one_precision(word: str | None, family: str) -> None:
    assert precision.family(word) == family


def test_layers_that_run_in_another_precision_come_first_and_are_counted() -> None:
    table = precision.layer_table(full_report())
    assert [row[1] for row in table.rows] == ["dense", "conv1", "softmax"]
    assert table.rows[0] == ("litert.int8", "dense", "Gemm", "INT8", "fp32", "gemm_1")
    assert table.rows[2][3] == "any"
    assert table.notes == ("litert.int8: 1 of 3 layers run in another precision than requested.",)


def test_engines_that_do_not_tell_have_no_table() -> None:
    assert precision.layer_table(report_of()).rows == ()


def test_requested_and_executed_are_shares_of_all_layers() -> None:
    chart = by_name(precision.charts, full_report())["precision"]
    # requested: 2 INT8, 1 any; executed: 1 INT8, 2 float32
    assert bars(chart, "x") == pytest.approx([200 / 3, 100 / 3, 100 / 3, 200 / 3])
    assert chart.description == (
        "litert.int8 requested: 2 INT8, 1 any; litert.int8 executed: 1 INT8, 2 float32."
    )


def test_engines_that_do_not_tell_have_no_figure() -> None:
    assert by_name(precision.charts, report_of()) == {}
