from __future__ import annotations

from pathlib import Path

import pytest

from stages import build
from stages.artifacts import left_out
from stages.artifacts.signature import Signature
from stages.engines.base import BuildRequest
from stages.engines.registry import EngineName
from stages.errors import ConversionError, ConversionUnsupported, EngineError


def test_a_graph_that_its_converter_does_not_know_is_the_reason_of_its_engine_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert left_out.read(tmp_path) == {}
    for name in ("model.fp32.tflite", "model.int8.tflite"):
        with left_out.alone(tmp_path, name):
            raise ConversionUnsupported("LiteRT cannot convert this model: 'tf.AvgPool3D'")
    assert "model.int8.tflite is left out: LiteRT cannot convert" in caplog.text
    request = BuildRequest(Signature((4, 4, 4, 1), ("a", "b"), 1.0, 0.0), "int8")
    for engine, words in (
        (EngineName("litert", "int8"), "LiteRT cannot convert this model: 'tf.AvgPool3D'"),
        (EngineName("onnxruntime", "int8"), "there is no model.int8.cpu.onnx"),
    ):
        with pytest.raises(EngineError, match=words):
            build.build_one(engine, tmp_path, tmp_path / "engine", request)


def test_a_wrong_graph_is_an_error_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(ConversionError), left_out.alone(tmp_path, "model.fp32.tflite"):
        raise ConversionError("differs from Keras")
    assert left_out.read(tmp_path) == {}
