from __future__ import annotations

from typing import Any

from pipeline.report.sections.quantization import ladder_grid, range_grid


def rung(name: str, against: str, holds: bool = True) -> dict[str, Any]:
    return {
        "rung": name,
        "against": against,
        "samples": 256,
        "top1_agreement": 1.0 if holds else 0.5,
        "max_absolute_difference": 0.0484929,
        "mean_absolute_difference": 1.2e-5,
        "max_relative_difference": 0.007,
        "holds": holds,
    }


def report(**details: dict[str, Any]) -> dict[str, Any]:
    return {"stages": [{"stage": name, "details": found} for name, found in details.items()]}


def test_the_ladder_goes_on_from_the_graphs_to_the_engines():
    grid = ladder_grid(
        report(
            convert={"ladder": [rung("model.fp32.onnx", "keras float")]},
            build={"ladder": [rung("litert.int8", "keras fake-quantized for litert")]},
        )
    )
    assert [row[0] for row in grid.rows] == ["model.fp32.onnx", "litert.int8"]
    assert grid.rows[0][2:] == ("100.00 %", "0.048", "1.2e-05", "yes")
    assert grid.notes == ()


def test_the_first_rung_that_breaks_is_named():
    ladder = [rung("a", "keras float"), rung("b", "a", holds=False), rung("c", "b", holds=False)]
    grid = ladder_grid(report(convert={"ladder": ladder}))
    assert [row[-1] for row in grid.rows] == ["yes", "no", "no"]
    assert grid.notes == ("The first rung that does not agree: b.",)


def test_layers_and_integer_kernels_are_counted():
    counted = {"elements": 483744, "off_by_one": 5, "off_by_more": 0}
    grid = ladder_grid(
        report(
            convert={"ladder": [], "layer_parity": counted},
            build={"onnxruntime_int8_kernels": {"integer": 4, "float": 1}},
        )
    )
    assert "of 483,744 quantized values 5 are off by one step and 0 by more" in grid.notes[0]
    assert grid.notes[1] == "ONNX Runtime runs 4 of its 5 kernels in integers."


def test_ranges_say_what_lay_outside_and_how_they_were_found():
    grid = range_grid(
        report(
            quantize={
                "ranges": {
                    "image": {"amax": 1.0, "signed": False, "saturated_share": 0.0},
                    "logits": {"amax": 6.15854, "signed": True, "saturated_share": 0.0012},
                },
                "calibration": {
                    "method": "mse",
                    "samples": 128,
                    "validation_top1": {"max": 0.99, "mse": 0.995},
                },
                "kept": "trained",
                "float_layers": ["conv1"],
            }
        )
    )
    assert grid.rows == (
        ("image", "1", "positive", "0.000 %"),
        ("logits", "6.159", "both", "0.120 %"),
    )
    assert grid.notes[0].startswith("Calibrated by mse on 128 images")
    assert "max 99.00 %, mse 99.50 %" in grid.notes[0]
    assert grid.notes[1:] == ("Kept: the trained model.", "Left in float: conv1.")


def test_a_report_without_these_stages_has_empty_tables():
    assert ladder_grid(report()).rows == range_grid(report()).rows == ()
