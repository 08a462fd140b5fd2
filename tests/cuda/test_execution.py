"""As far as TensorRT-RTX gets without a GPU: to the error when an engine is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.engines.base import BuildRequest
from stages.engines.tensorrt import rtx
from stages.errors import EngineError
from tests.cuda.conftest import StandIn
from tests.stages.graphs import SIGNATURE, images, write_converted

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")


def test_an_engine_that_cannot_be_opened_leaves_nothing_on_the_gpu(
    gpu: StandIn, tmp_path: Path
) -> None:
    write_converted(tmp_path)
    file = tmp_path / "engine.rtx"
    request = BuildRequest(SIGNATURE, "fp32")
    rtx.build(tmp_path / "model.fp32.onnx", file, request)
    engine = rtx.Runner(file, SIGNATURE)
    with pytest.raises(EngineError, match=r"engine\.rtx cannot be opened: .*CUDA driver version"):
        engine.open()
    assert gpu.live() == {}
    with pytest.raises(EngineError, match="not open"):
        engine.time_parts(SIGNATURE.preprocess(images(1)), 1)
    engine.close()


def test_a_gpu_that_is_in_use_is_told_before_tensorrt_starts(gpu: StandIn, tmp_path: Path) -> None:
    (tmp_path / "engine.rtx").write_bytes(b"never read")
    gpu.fail("cuMemGetInfo", 46)
    with pytest.raises(EngineError, match="busy or unavailable"):
        rtx.Runner(tmp_path / "engine.rtx", SIGNATURE).open()
    assert gpu.live() == {}
