from __future__ import annotations

import pytest

from pipeline.report.sections import stages_figures
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.drawn import bars, by_name, lines, texts


def test_each_bar_is_a_latency_and_what_was_saved_stands_on_it() -> None:
    chart = by_name(stages_figures.charts, assemble(records(), {}))["latency-steps"]
    # trained; saved by pruning, pruned; saved by INT8, the engine
    assert bars(chart, "y") == pytest.approx([0.056, 0.031, 0.025, 0.017, 0.008])
    assert texts(chart) == ["56.0 µs", "25.0 µs\n2.2x", "8.00 µs\n3.1x"]
    assert "LiteRT INT8 8.00 µs (3.1x)" in chart.description


def test_sizes_are_those_of_the_engine_files() -> None:
    chart = by_name(stages_figures.charts, assemble(records(), {}))["size-steps"]
    assert bars(chart, "y")[::2] == [1_687_000, 440_000, 120_500]


def test_accuracies_have_wilsons_interval() -> None:
    chart = by_name(stages_figures.charts, assemble(records(), {}))["accuracy-steps"]
    # 356 of 360: 98.89 %, by Wilson 97.18 to 99.57; 355: 98.61 %, 96.80 to 99.41
    assert "trained 98.89 % (97.18 to 99.57)" in chart.description
    assert "LiteRT INT8 98.61 % (96.79 to 99.41)" in chart.description
    assert lines(chart)[0][1] == pytest.approx([98.889, 98.889, 98.611], abs=1e-3)


def test_parameters_are_those_of_the_stages() -> None:
    chart = by_name(stages_figures.charts, assemble(records(), {}))["parameters"]
    assert bars(chart, "y") == [421_642, 108_000, 108_000]


def test_a_slower_step_takes_nothing_away() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    measured["engines"][0]["latency"][0]["p50_ms"] = 0.1
    chart = by_name(stages_figures.charts, assemble(found, {}))["latency-steps"]
    assert bars(chart, "y") == pytest.approx([0.056, 0.1, 0.092, 0.008])
    assert texts(chart)[1] == "100 µs\n0.56x"


def test_after_train_alone_there_is_nothing_to_draw() -> None:
    assert by_name(stages_figures.charts, assemble(records("train"), {})) == {}
