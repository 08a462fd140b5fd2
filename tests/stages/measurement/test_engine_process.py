from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import EngineError
from stages.measurement import engine_process
from stages.measurement.engine_process import Trial, compare

CPU = [("onnxruntime", "fp32", "model.fp32.onnx"), ("litert", "int8", "model.int8.tflite")]


@pytest.mark.parametrize(("backend", "precision", "file"), CPU)
def test_engines_are_built_and_timed_in_turns(
    converted: Path, backend: str, precision: str, file: str
) -> None:
    trials = [Trial(backend, precision, converted / file, converted) for _ in range(2)]
    with trials[0] as reference, trials[1] as same:
        reference.wait()
        same.wait()
        ms, (share,) = compare(reference, [same], windows=3, window_seconds=0.01)
    assert ms > 0
    assert share > 0


def test_a_file_that_is_no_engine_is_refused_by_its_name(converted: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with (
        Trial("onnxruntime", "fp32", tmp_path / "broken.onnx", converted) as started,
        pytest.raises(EngineError, match=r"broken\.onnx"),
    ):
        started.wait()


def test_a_process_that_dies_is_an_error_and_not_a_hang(converted: Path) -> None:
    with Trial("onnxruntime", "fp32", converted / "model.fp32.onnx", converted) as started:
        started.wait()
        started._child.kill()
        with pytest.raises(EngineError, match=r"onnxruntime\.fp32 of model\.fp32\.onnx died") as it:
            started.p50_ms(0.01)
    assert it.value.hint == "choose another prune.target"


def test_the_process_ends_with_the_context(converted: Path) -> None:
    with Trial("onnxruntime", "fp32", converted / "model.fp32.onnx", converted) as started:
        started.wait()
    assert started._child.returncode is not None


def test_an_engine_that_does_not_exist_is_refused() -> None:
    assert engine_process.require("onnxruntime", "fp32") == "model.fp32.onnx"
    with pytest.raises(EngineError, match="litert has no fp16 engine"):
        engine_process.require("litert", "fp16")
