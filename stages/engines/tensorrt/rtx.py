"""TensorRT-RTX: engines built ahead of time on any machine, for GPUs from Turing on.

Its builder needs no GPU. Unless the settings say otherwise the engine holds kernels for the
compute capabilities 8.0, 8.6, 8.9 and 12.0, and the GPU finishes the work when it is opened.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from stages.engines.base import Account, Blocker, BuildRequest
from stages.engines.cuda.memory import gpu_blocker, pycuda_blocker
from stages.engines.registry import Precision
from stages.engines.tensorrt import build_info, network
from stages.engines.tensorrt.build_info import Bound
from stages.engines.tensorrt.execution import GpuEngine

SOURCES: dict[Precision, str] = {
    "fp32": "model.fp32.onnx",
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.tensorrt.onnx",
}


def build_blocker() -> Blocker | None:
    """The package is all it needs."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return Blocker(
            "the package tensorrt-rtx is not installed", "pip install 'keras-trt-pipeline[rtx]'"
        )
    return None


def run_blocker() -> Blocker | None:
    """Running needs a GPU and PyCUDA."""
    return build_blocker() or gpu_blocker() or pycuda_blocker("rtx")


def source_file(precision: Precision) -> str | None:
    """The convert stage's file for `precision`."""
    return SOURCES[precision]


def build(source: Path, out: Path, request: BuildRequest) -> Account:
    """Build `source` for `tensorrt.compute_capabilities`. Raises EngineError.

    Nothing is timed, and the engine is bound to the version alone: TensorRT-RTX has no other
    switch for that.
    """
    trt = _tensorrt_rtx()
    account = network.build(trt, source, out, request)
    build_info.write(out, build_info.here(trt), Bound(to_gpu=False))
    return account


class Runner(GpuEngine):
    """An engine of TensorRT-RTX on the first GPU."""

    @staticmethod
    def trt() -> Any:
        return _tensorrt_rtx()


def _tensorrt_rtx() -> Any:
    import tensorrt_rtx

    return tensorrt_rtx
