from __future__ import annotations

from pathlib import Path

import pytest

from stages.measurement import int8_regressions
from stages.results.engines import EngineResult, Int8Regression, SlowerNode
from tests.stages.engine_records import layer, result
from tests.stages.graphs import SIGNATURE, images

LAYERS = [
    layer("conv + relu", ("conv",), "int8", "int8"),
    layer("dense", ("dense",), "int8", "int8"),
    layer("reformat", (), None, "fp32"),
]
IMAGES = SIGNATURE.preprocess(images(1))


def slower(node: str, int8_ms: float, fp16_ms: float) -> SlowerNode:
    return SlowerNode(node=node, int8_ms=int8_ms, fp16_ms=fp16_ms)


def test_time_is_counted_by_node_and_the_rest_together() -> None:
    times = {"conv + relu": 0.3, "dense": 0.1, "reformat": 0.2, "copy": 0.05}
    found = int8_regressions.milliseconds_by_node(LAYERS, times)
    assert found == {"conv": 0.3, "dense": 0.1, int8_regressions.OTHER: pytest.approx(0.25)}


def test_the_node_that_loses_most_comes_first() -> None:
    int8 = {"conv": 0.5, "dense": 0.2, "fast": 0.1, int8_regressions.OTHER: 0.4}
    fp16 = {"conv": 0.4, "dense": 0.15, "fast": 0.2, int8_regressions.OTHER: 0.1}
    assert int8_regressions.slower_nodes(int8, fp16) == (
        slower(int8_regressions.OTHER, 0.4, 0.1),
        slower("conv", 0.5, 0.4),
        slower("dense", 0.2, 0.15),
    )


@pytest.mark.parametrize(
    "table",
    [
        [result("tensorrt.int8", (1, 0.1)), result("tensorrt.fp16", (1, 0.2))],
        [result("tensorrt.int8", (1, 0.3)), result("tensorrt_rtx.fp16", (1, 0.2))],
        [result("tensorrt.int8", (1, 0.3)), result("tensorrt.fp16")],
        [result("onnxruntime.int8", (1, 0.3)), result("onnxruntime.fp32", (1, 0.2))],
    ],
)
def test_nothing_is_explained_where_int8_is_faster_or_has_no_twin(
    table: list[EngineResult], tmp_path: Path
) -> None:
    assert int8_regressions.explain(table, {}, tmp_path, SIGNATURE, IMAGES) == ()


def test_a_slower_engine_is_told_even_where_its_runtime_times_no_layers(
    converted: Path, tmp_path: Path
) -> None:
    """Two CPU engines stand for the pair: what is opened is what the rows name."""
    rows = [
        result("onnxruntime.int8", (1, 0.3), file="model.int8.cpu.onnx"),
        result("onnxruntime.fp16", (1, 0.2), file="model.fp32.onnx"),
    ]
    (found,) = int8_regressions.explain(rows, {}, converted, SIGNATURE, IMAGES)
    assert found == Int8Regression(backend="onnxruntime", int8_ms=0.3, fp16_ms=0.2)
    said = "onnxruntime: INT8 is slower than FP16, 0.3000 ms against 0.2000 ms"
    assert int8_regressions.describe(found) == said


def test_engines_that_cannot_be_opened_again_are_told_as_slower_all_the_same(
    tmp_path: Path,
) -> None:
    """As on a GPU whose memory is taken: a diagnosis takes no engine with it."""
    rows = [
        result("onnxruntime.int8", (1, 0.3), file="gone.onnx"),
        result("onnxruntime.fp16", (1, 0.2), file="gone.onnx"),
    ]
    (found,) = int8_regressions.explain(rows, {}, tmp_path, SIGNATURE, IMAGES)
    assert found == Int8Regression(backend="onnxruntime", int8_ms=0.3, fp16_ms=0.2)


def test_the_layers_responsible_are_in_the_sentence() -> None:
    lost = tuple(slower(name, 2.0, 1.0) for name in ("a", "b", "c", "d"))
    found = Int8Regression(backend="tensorrt", int8_ms=0.3, fp16_ms=0.2, layers=lost)
    assert int8_regressions.describe(found).endswith("0.2000 ms, most of all in a, b, c")
