"""As far as TensorRT-RTX gets without a GPU: to the error when an engine is opened."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.artifacts.signature import Head, Input, Signature
from stages.engines.base import BuildRequest
from stages.engines.tensorrt import rtx
from stages.engines.tensorrt.execution import GpuEngine
from stages.errors import EngineError
from tests.cuda.conftest import StandIn
from tests.stages.graphs import SIGNATURE, images, write_converted

needs_rtx = pytest.mark.skipif(
    rtx.build_blocker() is not None, reason="the package tensorrt-rtx is not installed"
)


@needs_rtx
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


@needs_rtx
def test_a_gpu_that_is_in_use_is_told_before_tensorrt_starts(gpu: StandIn, tmp_path: Path) -> None:
    (tmp_path / "engine.rtx").write_bytes(b"never read")
    gpu.fail("cuMemGetInfo", 46)
    with pytest.raises(EngineError, match="busy or unavailable"):
        rtx.Runner(tmp_path / "engine.rtx", SIGNATURE).open()
    assert gpu.live() == {}


WIDTH = 3
TIMES = {"near": 1, "far": 3}
"""What is added to each input; its result has the name in capitals."""
TWO = Signature(
    (),
    (),
    1.0,
    0.0,
    task="several",
    inputs=tuple(Input(x, (WIDTH,), 1.0, 0.0, "NC", "float32", "float32") for x in TIMES),
    heads=tuple(Head(x.upper(), "regression", "values", ("a", "b", "c"), ()) for x in TIMES),
)


class Adding:
    """An engine and its context as TensorRT has them, which compute on the stand-in."""

    names = ("FAR", "far", "NEAR", "near")
    num_io_tensors, num_optimization_profiles = 4, 2

    def __init__(self, gpu: StandIn) -> None:
        self.gpu, self.addresses = gpu, dict[str, int]()
        self.shapes: dict[str, tuple[int, ...]] = {}

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, WIDTH)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(1, WIDTH), *[((2, 8)[index], WIDTH)] * 2]

    def create_execution_context(self) -> Adding:
        return self

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.shapes.clear()  # as TensorRT forgets them
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return name in TIMES

    def execute_async_v3(self, stream: int) -> bool:
        for name, times in TIMES.items():
            rows, width = self.shapes[name]
            source = self.addresses[name]
            for _ in range(times):
                self.gpu.compute(stream, self.addresses[name.upper()], source, rows * width)
                source = self.addresses[name.upper()]
        return True


def runner(gpu: StandIn, file: Path, signature: Signature = TWO) -> GpuEngine:
    """An engine of a TensorRT that opens any file as the engine above."""

    class Runtime:
        def __init__(self, log: Any) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Adding:
            return Adding(gpu)

    class Runner(GpuEngine):
        @staticmethod
        def trt() -> Any:
            return tensorrt

    class TensorRT(SimpleNamespace):
        __hash__ = object.__hash__

    tensorrt = TensorRT(
        __name__="tensorrt", __version__="0", ILogger=object, Runtime=Runtime, float32="float32"
    )
    file.write_bytes(b"plan")
    return Runner(file, signature)


def test_every_input_has_its_address_and_its_shape(gpu: StandIn, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with runner(gpu, tmp_path / "engine.plan") as engine:
        for count in (2, 2, 7, 7, 1):
            near, far = random.normal(size=(2, count, WIDTH)).astype(np.float32)
            found = engine.infer([near, far])
            np.testing.assert_allclose(found["NEAR"], near + 1, rtol=1e-6)
            np.testing.assert_allclose(found["FAR"], far + 3, rtol=1e-6)
        batches = [[near[:1] + turn, far[:1] - turn] for turn in range(4)]
        together = np.concatenate(list(engine.infer_many(batches)))
        np.testing.assert_allclose(together["FAR"], np.concatenate(batches, axis=1)[1] + 3)
        with pytest.raises(EngineError, match="a batch of 9, expected at most 8"):
            engine.infer([np.zeros((9, WIDTH), np.float32)] * 2)
    assert gpu.live() == {}


def test_an_engine_with_other_inputs_is_refused(gpu: StandIn, tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"engine\.plan has the tensors .*'far'.*expected .*image"
    ):
        runner(gpu, tmp_path / "engine.plan", SIGNATURE).open()
    assert gpu.live() == {}
