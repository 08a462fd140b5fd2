from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.engines.layers import Layer
from stages.measurement import int8_regressions
from tests.stages.graphs import SIGNATURE

LAYERS = [
    Layer("conv + relu", ("conv",), "CaskConvolution", "int8", "int8"),
    Layer("dense", ("dense",), "gemm", "int8", "int8"),
    Layer("reformat", (), "Reformat", None, "fp32"),
]


def row(backend: str, precision: str, p50_ms: float | None) -> dict[str, Any]:
    latency = [] if p50_ms is None else [{"p50_ms": p50_ms}]
    return {"backend": backend, "precision": precision, "file": "none", "latency": latency}


def test_time_is_counted_by_node_and_the_rest_together() -> None:
    times = {"conv + relu": 0.3, "dense": 0.1, "reformat": 0.2, "copy": 0.05}
    found = int8_regressions.milliseconds_by_node(LAYERS, times)
    assert found == {"conv": 0.3, "dense": 0.1, int8_regressions.OTHER: pytest.approx(0.25)}


def test_the_node_that_loses_most_comes_first() -> None:
    int8 = {"conv": 0.5, "dense": 0.2, "fast": 0.1, int8_regressions.OTHER: 0.4}
    fp16 = {"conv": 0.4, "dense": 0.15, "fast": 0.2, int8_regressions.OTHER: 0.1}
    assert int8_regressions.slower_nodes(int8, fp16) == [
        {"node": int8_regressions.OTHER, "int8_ms": 0.4, "fp16_ms": 0.1},
        {"node": "conv", "int8_ms": 0.5, "fp16_ms": 0.4},
        {"node": "dense", "int8_ms": 0.2, "fp16_ms": 0.15},
    ]


@pytest.mark.parametrize(
    "table",
    [
        [row("tensorrt", "int8", 0.1), row("tensorrt", "fp16", 0.2)],
        [row("tensorrt", "int8", 0.3), row("tensorrt_rtx", "fp16", 0.2)],
        [row("tensorrt", "int8", 0.3), row("tensorrt", "fp16", None)],
        [row("onnxruntime", "int8", 0.3), row("onnxruntime", "fp32", 0.2)],
    ],
)
def test_nothing_is_explained_where_int8_is_faster_or_has_no_twin(
    table: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert int8_regressions.explain(table, {}, tmp_path, SIGNATURE, None) == []


def test_a_slower_engine_is_told_even_where_its_runtime_times_no_layers(
    converted: Path, tmp_path: Path
) -> None:
    """Two CPU engines stand for the pair: what is opened is what the rows name."""
    rows = [row("onnxruntime", "int8", 0.3), row("onnxruntime", "fp16", 0.2)]
    for each, file in zip(rows, ("model.int8.cpu.onnx", "model.fp32.onnx"), strict=True):
        each["file"] = file
    (found,) = int8_regressions.explain(rows, {}, converted, SIGNATURE, None)
    assert found == {"backend": "onnxruntime", "int8_ms": 0.3, "fp16_ms": 0.2, "layers": []}
    said = "onnxruntime: INT8 is slower than FP16, 0.3000 ms against 0.2000 ms"
    assert int8_regressions.sentence(found) == said


def test_the_layers_responsible_are_in_the_sentence() -> None:
    lost = [{"node": name, "int8_ms": 2.0, "fp16_ms": 1.0} for name in ("a", "b", "c", "d")]
    found = {"backend": "tensorrt", "int8_ms": 0.3, "fp16_ms": 0.2, "layers": lost}
    assert int8_regressions.sentence(found).endswith("0.2000 ms, most of all in a, b, c")
