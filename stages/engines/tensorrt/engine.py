"""TensorRT 8.6, 10 and 11 on an NVIDIA GPU.

From TensorRT 9 on the graph's own types decide every precision. 8.6 has no such networks and
reads ONNX up to opset 17 only: there FP16 is a flag for the builder, and the INT8 graph is the
one with float32 scales.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from stages.engines.base import (
    Blocker,
    BuildReport,
    BuildRequest,
    broken_package,
    missing_package,
)
from stages.engines.cuda.memory import compute_capability, gpu_blocker
from stages.engines.registry import ENGINES, Precision
from stages.engines.tensorrt import build_info, capability, float32_nodes, network
from stages.engines.tensorrt.build_info import Compatibility
from stages.engines.tensorrt.execution import GpuEngine
from stages.errors import EngineError

FLAGGED_SOURCES: dict[Precision, str] = {
    "fp32": "model.fp32.onnx",
    "fp16": "model.fp32.onnx",
    "int8": "model.int8.tensorrt8.onnx",
}
"""In place of those of the registry's row, for TensorRT without strong typing."""
FLAGS: dict[Precision, tuple[str, ...]] = {
    "fp32": (),
    "fp16": ("FP16",),
    "int8": ("INT8", "FP16"),  # layers outside the Q/DQ pairs may run in FP16
}
"""Names of trt.BuilderFlag, for the same."""

TIMING_CACHE = "tensorrt.timing"


def build_blocker() -> Blocker | None:
    """It needs the packages and a GPU: the builder chooses kernels by timing them."""
    absent = missing_package("tensorrt", "tensorrt", "pycuda", "onnx")
    return absent or gpu_blocker() or broken_package("tensorrt")


def run_blocker() -> Blocker | None:
    """Running needs no look into the graph."""
    return (
        missing_package("tensorrt", "tensorrt")
        or gpu_blocker()
        or missing_package("tensorrt")
        or broken_package("tensorrt")
    )


def source_file(precision: Precision) -> str:
    """The convert stage's file that the TensorRT installed here can build. Raises EngineError."""
    typed = ENGINES["tensorrt"].sources
    sources = typed if _builds_strongly_typed() else FLAGGED_SOURCES
    if precision not in sources:
        raise EngineError(
            f"tensorrt {_tensorrt().__version__} has no {precision}, expected 10 or later",
            f"leave {precision} out of build.precisions",
        )
    return sources[precision]


def build(source: Path, out: Path, request: BuildRequest) -> BuildReport:
    """Build `source` for the GPU of this machine. Raises EngineError.

    What was timed is kept in `tensorrt.timing` beside the engines.
    """
    trt, wanted = _tensorrt(), request.tensorrt
    capability.require(request.precision, (compute_capability(),), "this GPU has")
    # A strongly typed network takes no precision flags, and TensorRT 11
    # no longer has any (decision 3).
    flags = () if _builds_strongly_typed() else FLAGS[request.precision]
    typed = source.with_name(ENGINES["tensorrt"].sources[request.precision])
    held = float32_nodes.read(typed) if "FP16" in flags else {}
    report = network.build(trt, source, out, request, flags, out.parent / TIMING_CACHE, held)
    level = wanted.hardware_compatibility
    compatibility = Compatibility(
        not wanted.version_compatible,
        "same" if level == "none" else level,
        capability.LEAST.get(request.precision),
        wanted.weight_stripped,
    )
    build_info.write(out, build_info.here(trt), compatibility)
    return report


class Runner(GpuEngine):
    """An engine of TensorRT on the first GPU."""

    @staticmethod
    def trt() -> Any:
        return _tensorrt()


def _builds_strongly_typed() -> bool:
    """True without TensorRT as well: every current version is strongly typed."""
    if importlib.util.find_spec("tensorrt") is None:
        return True
    return network.is_strongly_typed(_tensorrt())


def _tensorrt() -> Any:
    import tensorrt

    return tensorrt
