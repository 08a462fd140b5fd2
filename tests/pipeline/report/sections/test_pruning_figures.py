from __future__ import annotations

from pipeline.report.sections import pruning_figures
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.drawn import bars, by_name, lines, texts
from tests.pipeline.report.full_run import full_records, full_report


def test_every_group_has_a_bar_before_and_one_after() -> None:
    chart = by_name(pruning_figures.charts, full_report())["widths"]
    assert bars(chart, "x") == [32, 16, 64, 48]
    assert texts(chart) == ["conv1", "32 → 16 channels", "conv2, add", "64 → 48 channels"]


def test_of_very_many_groups_those_that_lost_most_are_drawn() -> None:
    found = full_records()
    found["prune"]["measurements"]["details"]["groups"] = [
        {"layers": [f"conv{i}"], "channels_before": 64, "channels_after": 64 - i} for i in range(40)
    ]
    chart = by_name(pruning_figures.charts, assemble(found, {}))["widths"]
    assert len(bars(chart, "x")) == 2 * pruning_figures.MOST_ROWS
    assert texts(chart)[0] == "conv16"
    assert chart.description.endswith("The 24 that lost most of 40.")


def test_there_is_a_curve_per_group_and_a_ring_at_the_chosen_width() -> None:
    chart = by_name(pruning_figures.charts, full_report())["sensitivity"]
    drawn = lines(chart)
    assert ([100.0, 80.0], [-0.0, -2.0]) in drawn
    assert ([100.0, 70.0, 60.0], [-0.0, -5.0, -10.0]) in drawn
    rings = [line for line in chart.figure.axes[0].get_lines() if line.get_markersize() == 10]
    places = [(float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) for ring in rings]
    assert places == [(80.0, -2.0), (70.0, -5.0)]
    assert "conv2, add loses 10.0 points at 60 % of the latency" in chart.description


def test_a_run_without_pruning_has_no_figure() -> None:
    assert by_name(pruning_figures.charts, assemble(records("train"), {})) == {}
    assert by_name(pruning_figures.charts, assemble(records(), {})) == {}
