from __future__ import annotations

import pytest

from pipeline.report.sections import precision_figures
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.drawn import bars, by_name
from tests.pipeline.report.full_run import full_report


def test_requested_and_executed_are_shares_of_all_layers() -> None:
    chart = by_name(precision_figures.charts, full_report())["precision"]
    # requested: 2 INT8, 1 any; executed: 1 INT8, 2 float32
    assert bars(chart, "x") == pytest.approx([200 / 3, 100 / 3, 100 / 3, 200 / 3])
    assert chart.description == (
        "litert.int8 requested: 2 INT8, 1 any; litert.int8 executed: 1 INT8, 2 float32."
    )


def test_engines_that_do_not_tell_have_no_figure() -> None:
    assert by_name(precision_figures.charts, assemble(records(), {})) == {}
