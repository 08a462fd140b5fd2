from __future__ import annotations

import pytest

from pipeline.report.sections import quantization_figures
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.drawn import bars, by_name, texts
from tests.pipeline.report.full_run import full_records, full_report


def test_a_signed_range_reaches_as_far_below_zero_as_above() -> None:
    chart = by_name(quantization_figures.charts, full_report())["ranges"]
    assert bars(chart, "x") == [1.0, 4.0, 12.0]
    assert texts(chart)[4:] == ["logits", "-6 to 6"]


def test_what_the_final_ranges_clip_counts_before_what_the_calibrated_ones_did() -> None:
    shares = quantization_figures.clipped_shares(full_report())
    assert shares == {"image": 0.0, "relu1": 0.25, "logits": 0.0}
    chart = by_name(quantization_figures.charts, full_report())["saturation"]
    assert bars(chart, "x") == pytest.approx([0.0, 25.0, 0.0])


def test_where_nothing_is_clipped_there_is_no_figure_of_it() -> None:
    found = full_records()
    details = found["quantize"]["measurements"]["details"]
    del details["saturation"]
    details["ranges"] = {"image": details["ranges"]["image"]}
    assert list(by_name(quantization_figures.charts, assemble(found, {}))) == ["ranges"]


def test_of_very_many_tensors_the_largest_are_drawn() -> None:
    found = full_records()
    found["quantize"]["measurements"]["details"] = {
        "ranges": {
            f"t{i}": {"amax": i + 1.0, "signed": False, "saturated_share": 0.0} for i in range(30)
        }
    }
    chart = by_name(quantization_figures.charts, assemble(found, {}))["ranges"]
    assert bars(chart, "x") == [i + 1.0 for i in range(6, 30)]
    assert chart.description.endswith("The 24 largest of 30.")


def test_a_run_without_quantization_has_no_figure() -> None:
    assert by_name(quantization_figures.charts, assemble(records("train"), {})) == {}
