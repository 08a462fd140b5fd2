from __future__ import annotations

from typing import Any

from pipeline.report import markdown
from pipeline.report.sections import pruning
from pipeline.results.model import Report
from tests.pipeline.records import judged, records, report_of
from tests.pipeline.report.drawn import bars, by_name, lines, texts
from tests.pipeline.report.full_run import full_records, full_report, report_with

GROUPS = [
    {"layers": ["conv1"], "channels_before": 32, "channels_after": 16},
    {"layers": ["<b>"], "channels_before": 64, "channels_after": 64},
]
LEVELS = [
    {
        "layers": layers,
        "channels": channels,
        "width": width,
        "accuracy_drop": drop,
        "latency_ratio": ratio,
        "latency_ms": 2 * ratio,
    }
    for layers, channels, width, drop, ratio in (
        (["conv1"], 32, 16, 0.125, 0.6),
        (["conv1"], 32, 24, -0.001, 0.8),
        (["<b>"], 64, 32, 0.25, 1.1),
    )
]
LATENCY = {
    "target": "litert.int8",
    "trained_ms": 2.0,
    "predicted_ratio": 0.6,
    "measured_ratio": 0.58,
}


def report(**details: Any) -> Report:
    return report_with(prune=details)


def guided() -> Report:
    return report(groups=GROUPS, sensitivity=LEVELS, latency=LATENCY)


def test_the_widths_are_a_table_with_prediction_and_measurement_below() -> None:
    table = pruning.width_table(guided())
    assert table.rows == (("conv1", "32", "16"), ("<b>", "64", "64"))
    assert "litert.int8" in table.notes[0]
    assert "predicted 0.60, measured 0.58" in table.notes[0]


def test_the_sensitivity_is_a_table_of_what_is_lost_and_saved() -> None:
    assert pruning.sensitivity_table(guided()).rows[:2] == (
        ("conv1", "16 of 32", "-12.50", "1.20", "0.60"),
        ("conv1", "24 of 32", "+0.10", "1.60", "0.80"),
    )


def test_the_sensitivity_says_whether_candidates_were_fine_tuned() -> None:
    found = [
        pruning.sensitivity_table(report(sensitivity=LEVELS, probed_images=images)).caption
        for images in (0, 2048)
    ]
    assert found[0].endswith("on the validation images, without a fine-tune")
    assert found[1].endswith("on the validation images, after an epoch on 2,048 images")


BLOCK = ["block1_a", "block1_b"]
GONE = {"layers": BLOCK, "channels": 16, "width": 0, "accuracy_drop": 0.0625,
        "latency_ratio": 0.65, "latency_ms": 1.3}  # fmt: skip
WITHOUT_BLOCK = {
    "groups": [*GROUPS, {"layers": ["block1_a"], "channels_before": 16, "channels_after": 0}],
    "sensitivity": [*LEVELS, GONE],
    "removed_blocks": [BLOCK],
}


def test_a_block_that_went_is_named_in_both_tables() -> None:
    found = report(**WITHOUT_BLOCK)
    table = pruning.width_table(found)
    assert table.rows[-1] == ("block1_a", "16", "removed")
    assert table.notes == ("Removed whole: block1_a, block1_b.",)
    assert pruning.sensitivity_table(found).rows[-1] == (
        "block1_a, block1_b", "removed", "-6.25", "1.30", "0.65"
    )  # fmt: skip


def test_a_block_that_went_has_a_ring_and_no_bar_of_its_own() -> None:
    charts = by_name(pruning.charts, report(**WITHOUT_BLOCK))
    rings = [
        line for line in charts["sensitivity"].figure.axes[0].get_lines()
        if line.get_markersize() == 10
    ]  # fmt: skip
    assert (65.0, -6.25) in [(ring.get_xdata()[0], ring.get_ydata()[0]) for ring in rings]
    assert "removed: " in charts["sensitivity"].description
    assert texts(charts["widths"])[-2:] == ["block1_a", "removed"]
    assert "block1_a removed" in charts["widths"].description
    kept = by_name(pruning.charts, report(**{**WITHOUT_BLOCK, "removed_blocks": []}))
    drawn = kept["sensitivity"].figure.axes[0].get_lines()
    assert len([line for line in drawn if line.get_markersize() == 10]) == len(rings) - 1


def test_both_reports_show_it(full_page: str) -> None:
    text = markdown.render(full_report())
    assert "sensitivity-title" in full_page
    assert "conv1" in text
    assert "## Sensitivity" in text


def test_without_a_target_there_is_no_sensitivity() -> None:
    assert pruning.sensitivity_table(report(groups=GROUPS)).rows == ()
    assert pruning.width_table(report()).rows == ()


def test_what_zeros_are_good_for_is_said() -> None:
    found = report(groups=GROUPS, method="2:4", verdict="CPU engines never run it faster")
    assert pruning.width_table(found).notes == ("Pruned by 2:4: CPU engines never run it faster.",)


def test_a_group_of_many_layers_has_a_short_name() -> None:
    layers = [f"block{number}_project_bn" for number in range(20)]
    table = pruning.width_table(
        report(groups=[{"layers": layers, "channels_before": 8, "channels_after": 8}])
    )
    assert table.rows[0][0] == "block0_project_bn and 19 more"


def test_every_group_has_a_bar_before_and_one_after() -> None:
    chart = by_name(pruning.charts, full_report())["widths"]
    assert bars(chart, "x") == [32, 16, 64, 48]
    assert texts(chart) == ["conv1", "32 → 16 channels", "conv2, add", "64 → 48 channels"]


def test_of_very_many_groups_those_that_lost_most_are_drawn() -> None:
    found = full_records()
    found["prune"]["measurements"]["details"]["groups"] = [
        {"layers": [f"conv{i}"], "channels_before": 64, "channels_after": 64 - i} for i in range(40)
    ]
    chart = by_name(pruning.charts, report_of(found))["widths"]
    assert len(bars(chart, "x")) == 2 * pruning.MOST_ROWS
    assert texts(chart)[0] == "conv16"
    assert chart.description.endswith("The 24 that lost most of 40.")


def test_there_is_a_curve_per_group_and_a_ring_at_the_chosen_width() -> None:
    chart = by_name(pruning.charts, full_report())["sensitivity"]
    drawn = lines(chart)
    assert ([100.0, 80.0], [-0.0, -2.0]) in drawn
    assert ([100.0, 70.0, 60.0], [-0.0, -5.0, -10.0]) in drawn
    rings = [line for line in chart.figure.axes[0].get_lines() if line.get_markersize() == 10]
    places = [(float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) for ring in rings]
    assert places == [(80.0, -2.0), (70.0, -5.0)]
    assert "conv2, add -10.00 points at 60 % of the latency" in chart.description


def test_a_run_without_pruning_has_no_figure() -> None:
    assert by_name(pruning.charts, report_of(records("train"))) == {}
    assert by_name(pruning.charts, report_of()) == {}


def test_the_sensitivity_of_another_task_is_in_points_of_its_metric() -> None:
    found = judged(records(), mean_iou=0.9)
    found["prune"]["measurements"]["details"] = {"groups": GROUPS, "sensitivity": LEVELS}
    chart = by_name(pruning.charts, report_of(found))["sensitivity"]
    assert chart.figure.axes[0].get_ylabel() == "mean IoU, points"
