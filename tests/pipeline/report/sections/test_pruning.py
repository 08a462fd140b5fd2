from __future__ import annotations

from typing import Any

from pipeline.report import html, markdown
from pipeline.report.sections import pruning
from pipeline.results.assemble import assemble
from tests.pipeline.records import records

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
LATENCY = {"target": "litert.int8", "predicted_ratio": 0.6, "measured_ratio": 0.58}


def report(**details: Any) -> dict[str, Any]:
    found = records()
    found["prune"]["measurements"]["details"] = details
    return assemble(found, {})


def guided() -> dict[str, Any]:
    return report(groups=GROUPS, sensitivity=LEVELS, latency=LATENCY)


def test_the_widths_are_a_table_with_prediction_and_measurement_below() -> None:
    grid = pruning.width_grid(guided())
    assert grid.rows == (("conv1", "32", "16"), ("<b>", "64", "64"))
    assert "litert.int8" in grid.notes[0]
    assert "predicted 0.60, measured 0.58" in grid.notes[0]


def test_the_sensitivity_is_a_table_of_what_is_lost_and_saved() -> None:
    assert pruning.sensitivity_grid(guided()).rows[:2] == (
        ("conv1", "16 of 32", "-12.50", "1.20", "0.60"),
        ("conv1", "24 of 32", "+0.10", "1.60", "0.80"),
    )


def test_both_reports_show_it() -> None:
    page, text = html.render(guided()), markdown.render(guided())
    assert "<svg" in page
    assert "conv1" in text
    assert "## Sensitivity" in text


def test_without_a_target_there_is_no_sensitivity() -> None:
    assert pruning.sensitivity_grid(report(groups=GROUPS)).rows == ()
    assert pruning.width_grid(report()).rows == ()


def test_what_zeros_are_good_for_is_said() -> None:
    found = report(groups=GROUPS, method="2:4", verdict="CPU engines never run it faster")
    assert pruning.width_grid(found).notes == ("Pruned by 2:4: CPU engines never run it faster.",)


def test_a_group_of_many_layers_has_a_short_name() -> None:
    layers = [f"block{number}_project_bn" for number in range(20)]
    grid = pruning.width_grid(
        report(groups=[{"layers": layers, "channels_before": 8, "channels_after": 8}])
    )
    assert grid.rows[0][0] == "block0_project_bn and 19 more"
