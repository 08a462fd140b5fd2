from __future__ import annotations

from typing import Any

import pytest

from pipeline.report.sections import engines, precision
from tests.pipeline.records import records, report_of
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


def layer(name: str, executed: str | None, requested: str | None = "int8", **other: Any) -> Any:
    return {"name": name, "requested": requested, "executed": executed, **other}


def notes_of(layers: dict[str, list[Any]], float_layers: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What the table of engines says below itself, in every format, of the engines' layers."""
    found = records()
    found["build"]["measurements"]["details"]["layers"] = layers
    found["quantize"]["measurements"]["details"]["float_layers"] = list(float_layers)
    table = engines.engine_table(report_of(found))
    assert set(table.shown_in) == {"terminal", "md", "html"}
    return table.notes


def test_layers_in_float_in_int8_engines_are_named_below_the_engines() -> None:
    assert notes_of(
        {
            "onnxruntime.int8": [layer("fused conv1", "fp32", nodes=["conv1"])],
            "openvino.int8": [layer("conv1", "u8"), layer("dense", "f32", "fp32")],
            "tensorrt.int8": [layer("conv1", "FP16"), layer("softmax", "fp16", requested=None)],
        }
    ) == (
        "onnxruntime int8 computes conv1 in float.",
        "openvino int8 computes dense in float.",
        "tensorrt int8 computes conv1 in float.",
    )


def test_why_a_layer_is_in_float_is_said_where_it_is_on_purpose() -> None:
    convolutions = [
        layer("conv1", "fp32", "fp32", reason="that is faster"),
        layer("twice", "fp32", "fp32"),
        layer("twice:2", "fp32", "fp32"),
        layer("conv2", "fp32", "fp32"),
        layer("conv2", "fp32", "fp32"),  # LiteRT calls both calls of a layer alike
    ]
    assert notes_of({"litert.int8": convolutions}, ("twice",)) == (
        "litert int8 computes conv1 in float: that is faster.",
        "litert int8 computes twice, twice:2 in float: kept so by quantize.",
        "litert int8 computes conv2 in float.",
    )


def test_of_many_layers_in_float_the_first_are_named() -> None:
    many = [layer(f"conv{number}", "fp32") for number in range(7)]
    (note,) = notes_of({"onnxruntime.int8": many})
    assert note == (
        "onnxruntime int8 computes conv0, conv1, conv2, conv3, conv4 and 2 more in float."
    )


def test_nothing_is_said_of_float_engines_and_of_integer_kernels() -> None:
    kernels = [layer("conv1", "int8"), layer("conv2", "int8 kernel, fp32 image", "fp32")]
    assert notes_of({"litert.int8": kernels, "litert.fp32": [layer("conv1", "fp32")]}) == ()


def test_what_float16_cannot_hold_is_named_with_its_largest_value() -> None:
    found = records()
    found["convert"]["measurements"]["details"]["float32_layers"] = {
        "model.fp16.onnx": [{"layer": "loud", "peak": 20000.4}, {"layer": "sum", "peak": 722264.4}],
        "model.int8.tensorrt.onnx": [{"layer": "loud", "peak": None}],
    }
    assert list(precision.in_float32(report_of(found))) == [
        "model.fp16.onnx computes loud, sum in float32: values up to 722,264 occur there, "
        "and float16 ends at 65,504.",
        "model.int8.tensorrt.onnx computes loud in float32: values up to infinity occur there, "
        "and float16 ends at 65,504.",
    ]
    assert set(precision.in_float32(report_of(found))) <= set(
        engines.engine_table(report_of(found)).notes
    )


def test_nothing_is_said_of_float16_where_everything_fits() -> None:
    assert list(precision.in_float32(report_of())) == []


def test_int8_kernels_that_write_float_are_counted_with_those_that_make_integers_again() -> None:
    found = records()
    details = found["build"]["measurements"]["details"]
    kernels = [
        layer("quantize", "fp32", requested=None, written="int8"),
        layer("conv1", "int8", written="fp32"),
        layer("requantize", "fp32", requested=None, written="int8"),
        layer("conv2", "int8", written="int8"),
        layer("dense", "int8", written="fp16"),
        layer("softmax", "fp16", requested=None, written="fp16"),
    ]
    fused = [layer("conv1", "int8", written="int8"), *kernels[:1]]
    details["layers"] = {
        "tensorrt_rtx.int8": kernels,
        "tensorrt.int8": fused,
        "tensorrt_rtx.fp16": [layer("conv1", "fp16", "fp16", written="fp16")],
    }
    sentence = (
        "tensorrt_rtx int8: 2 of 3 INT8 convolutions and matrix products write float, "
        "and kernels that read float and write INT8 number 2"
    )
    assert list(precision.requantized(report_of(found))) == [f"{sentence}."]
    details["kernels"] = {"tensorrt_rtx.int8": 6, "tensorrt_rtx.fp16": 4}
    report = report_of(found)
    assert list(precision.requantized(report)) == [f"{sentence}; it starts 6 kernels, FP16 4."]
    assert set(precision.requantized(report)) <= set(engines.engine_table(report).notes)


def test_an_fp8_engine_is_described_as_an_int8_one_is() -> None:
    found = records()
    found["build"]["measurements"]["details"]["layers"] = {
        "tensorrt_rtx.fp8": [
            layer("conv1", "fp16", requested="fp8", written="fp16"),
            layer("conv2", "fp8", requested="fp8", written="fp16"),
            layer("again", "fp16", requested=None, written="fp8"),
        ]
    }
    report = report_of(found)
    assert list(precision.in_float(report)) == ["tensorrt_rtx fp8 computes conv1 in float."]
    assert list(precision.requantized(report)) == [
        "tensorrt_rtx fp8: 1 of 1 FP8 convolutions and matrix products write float, "
        "and kernels that read float and write FP8 number 1."
    ]


def test_the_share_of_kernels_that_only_move_values_is_told_where_all_are_known() -> None:
    found = records()
    details = found["build"]["measurements"]["details"]
    kernels = [
        {"name": "__myl_CastResh_myl0_0", "kind": "kgen", "executed": "fp32"},
        {"name": "__myl_MulCast_myl0_1", "kind": "kgen", "executed": "fp32"},
        {"name": "Reformatting CopyNode", "kind": "Reformat", "executed": "fp16"},
        {"name": "conv", "kind": "correlation", "executed": "int8"},
    ]
    details["layers"] = {"tensorrt.int8": kernels, "litert.int8": kernels}
    details["kernels"] = {"tensorrt.int8": 4}
    report = report_of(found)
    (sentence,) = precision.moving(report)
    assert sentence == (
        "tensorrt int8: 2 of 4 kernels (50%) only move values or convert them to another type."
    )
    assert sentence in engines.engine_table(report).notes


def test_of_runtimes_that_do_not_tell_what_is_written_nothing_is_said() -> None:
    found = records()
    found["build"]["measurements"]["details"]["layers"] = {
        "onnxruntime.int8": [layer("conv1", "int8"), layer("conv2", "fp32")]
    }
    assert list(precision.requantized(report_of(found))) == []
