from __future__ import annotations

import pytest

from pipeline.report.sections import quantization
from stages.results.quantization import QuantizeDetails, RangeFacts
from tests.pipeline.records import judged, records, report_of
from tests.pipeline.report.drawn import bars, by_name, texts
from tests.pipeline.report.full_run import full_records, full_report, report_with


def test_ranges_say_what_lay_outside_and_how_they_were_found() -> None:
    table = quantization.range_table(
        report_with(
            quantize={
                "ranges": {
                    "image": {"low": 0.0, "high": 1.0, "saturated_share": 0.0},
                    "logits": {"low": -3.2, "high": 6.15854, "saturated_share": 0.0012},
                },
                "calibration": {
                    "method": "per tensor",
                    "methods": {"image": "max", "logits": "mse"},
                    "samples": 128,
                    "validation_top1": {"max": 0.99, "mse": 0.995},
                },
                "kept": "trained",
                "calibrated_validation_top1": 0.99,
                "trained_validation_top1": 0.995,
                "float_layers": ["conv1"],
            }
        )
    )
    assert table.rows == (
        ("image", "0 to 1", "max", "0.000 %"),
        ("logits", "-3.2 to 6.159", "mse", "0.120 %"),
    )
    assert table.notes[0].startswith("Calibrated by one method per tensor on 128 images")
    assert "max 99.00 %, mse 99.50 %" in table.notes[0]
    assert table.notes[1:] == (
        "Kept: the weights after the fine-tune. On the validation images 99.50 % after the "
        "fine-tune, 99.00 % as calibrated.",
        "Left in float: conv1.",
    )


def test_a_model_that_was_only_calibrated_claims_no_fine_tune() -> None:
    kept = {"kept": "calibrated", "calibrated_validation_top1": 0.99}
    notes = quantization.range_table(report_with(quantize=kept)).notes
    assert notes == ("No fine-tune: 99.00 % on the validation images as calibrated.",)


def test_a_run_without_ranges_has_an_empty_table() -> None:
    assert quantization.range_table(report_of(records("train"))).rows == ()


def test_a_range_of_an_earlier_record_reaches_as_far_below_zero_as_above() -> None:
    facts = RangeFacts.model_validate({"amax": 6.0, "signed": True})
    assert (facts.low, facts.high) == (-6.0, 6.0)
    assert RangeFacts.model_validate({"amax": 2.0, "signed": False}).low == 0.0


def test_a_bar_reaches_from_the_lowest_to_the_highest_value() -> None:
    chart = by_name(quantization.charts, full_report())["ranges"]
    assert bars(chart, "x") == [1.0, 4.0, 9.0]
    assert texts(chart)[4:] == ["logits", "-3 to 6"]


def test_what_the_final_ranges_clip_counts_before_what_the_calibrated_ones_did() -> None:
    details = full_report().details(QuantizeDetails)
    assert details
    shares = quantization.clipped_shares(details)
    assert shares == {"image": 0.0, "relu1": 0.25, "logits": 0.0}
    chart = by_name(quantization.charts, full_report())["saturation"]
    assert bars(chart, "x") == pytest.approx([0.0, 25.0, 0.0])


def test_where_nothing_is_clipped_there_is_no_figure_of_it() -> None:
    found = full_records()
    details = found["quantize"]["measurements"]["details"]
    del details["saturation"]
    details["ranges"] = {"image": details["ranges"]["image"]}
    assert list(by_name(quantization.charts, report_of(found))) == ["ranges"]


def test_of_very_many_tensors_the_largest_are_drawn() -> None:
    found = full_records()
    found["quantize"]["measurements"]["details"] = {
        "ranges": {
            f"t{i}": {"low": 0.0, "high": i + 1.0, "saturated_share": 0.0} for i in range(30)
        }
    }
    chart = by_name(quantization.charts, report_of(found))["ranges"]
    assert bars(chart, "x") == [i + 1.0 for i in range(6, 30)]
    assert chart.description.endswith("The 24 largest of 30.")


def test_a_run_without_quantization_has_no_figure() -> None:
    assert by_name(quantization.charts, report_of(records("train"))) == {}


@pytest.mark.parametrize(("is_kept", "words"), [(True, "corrected"), (False, "not corrected")])
def test_the_note_on_biases_says_what_was_kept_and_both_accuracies(
    is_kept: bool, words: str
) -> None:
    correction = {
        "is_kept": is_kept,
        "validation_top1_before": 0.91,
        "validation_top1_after": 0.93 if is_kept else 0.9,
        "largest_shift": {"conv1": 0.02},
    }
    notes = quantization.range_table(report_with(quantize={"bias_correction": correction})).notes
    after = "93.00 %" if is_kept else "90.00 %"
    assert notes == (
        f"Biases {words}: on the validation images 91.00 % without correction, {after} with it.",
    )


def test_methods_are_compared_by_the_metric_of_the_task() -> None:
    found = judged(records(), r2=0.9)
    found["quantize"]["measurements"]["details"]["calibration"] = {
        "method": "max",
        "methods": {"image": "max"},
        "samples": 128,
        "validation_top1": {"max": 0.9},
    }
    note = quantization.range_table(report_of(found)).notes[0]
    assert note.endswith("; R2 on the validation images: max 90.00 %.")
