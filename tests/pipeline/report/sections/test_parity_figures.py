from __future__ import annotations

import pytest

from pipeline.report.sections import parity_figures
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.drawn import by_name, lines, texts
from tests.pipeline.report.full_run import full_report


def test_every_rung_stands_at_its_difference_and_a_broken_one_is_a_cross() -> None:
    chart = by_name(parity_figures.charts, full_report())["ladder"]
    marks = [line for line in chart.figure.axes[0].get_lines() if len(line.get_xdata()) == 1]
    assert [mark.get_marker() for mark in marks] == ["o", "o", "X"]
    places = [float(mark.get_xdata()[0]) for mark in marks]
    assert places == pytest.approx([1e-6, 1e-6 / 4, 3.0])  # no difference: left of the least
    assert "breaks, 50.00 % same" in texts(chart)
    assert "litert.int8 against keras float 0, agrees" in chart.description


def test_rungs_that_all_agree_exactly_can_be_drawn() -> None:
    report = full_report()
    for stage in report["stages"]:
        for rung in stage["details"].get("ladder", []):
            rung["max_absolute_difference"] = 0.0
    assert len(lines(by_name(parity_figures.charts, report)["ladder"])) == 6


def test_without_a_ladder_there_is_no_figure() -> None:
    assert by_name(parity_figures.charts, assemble(records("train"), {})) == {}
