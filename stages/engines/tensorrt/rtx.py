"""TensorRT-RTX: engines built ahead of time on any machine, for GPUs from Turing on.

Its builder needs no GPU. Unless the settings say otherwise the engine holds kernels for the
compute capabilities 8.0, 8.6, 8.9 and 12.0, and the GPU finishes the work when it is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.engines.base import (
    Blocker,
    BuildReport,
    BuildRequest,
    broken_package,
    missing_package,
)
from stages.engines.cuda.memory import gpu_blocker
from stages.engines.tensorrt import build_info, capability, network
from stages.engines.tensorrt.build_info import Compatibility
from stages.engines.tensorrt.execution import GpuEngine


def build_blocker() -> Blocker | None:
    """The package is all it needs."""
    absent = missing_package("tensorrt_rtx", "tensorrt-rtx", "onnx")
    return absent or broken_package("tensorrt_rtx", "tensorrt-rtx")


def run_blocker() -> Blocker | None:
    """Running needs a GPU and PyCUDA."""
    return (
        missing_package("tensorrt_rtx", "tensorrt-rtx")
        or gpu_blocker()
        or missing_package("tensorrt_rtx")
        or broken_package("tensorrt_rtx")
    )


def build(source: Path, out: Path, request: BuildRequest) -> BuildReport:
    """Build `source` for `tensorrt.compute_capabilities`. Raises EngineError.

    Nothing is timed, and the engine is bound to the version alone: TensorRT-RTX has no other
    switch for that.
    """
    trt = _tensorrt_rtx()
    wanted = request.tensorrt.compute_capabilities
    capability.require(request.precision, wanted, "tensorrt.compute_capabilities has")
    report = network.build(trt, source, out, request)
    least, is_stripped = capability.LEAST.get(request.precision), request.tensorrt.weight_stripped
    bound = Compatibility(to_gpu="any", least_capability=least, is_stripped=is_stripped)
    build_info.write(out, build_info.here(trt), bound)
    return report


class Runner(GpuEngine):
    """An engine of TensorRT-RTX on the first GPU."""

    @staticmethod
    def trt() -> Any:
        return _tensorrt_rtx()


def _tensorrt_rtx() -> Any:
    import tensorrt_rtx

    return tensorrt_rtx
