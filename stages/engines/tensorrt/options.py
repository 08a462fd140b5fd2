"""What the settings ask of TensorRT's builder, under the names that this TensorRT has for it."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.engines.cuda.memory import gpu_blocker
from stages.engines.layers import has_sparse_kernel
from stages.errors import EngineError
from stages.settings import TensorRT

if TYPE_CHECKING:
    import onnx


def check(trt: Any, wanted: TensorRT) -> None:
    """Raise EngineError for what this TensorRT cannot build, before a build of minutes."""
    if wanted.version_compatible:
        _require_lean(trt)
    if wanted.weight_stripped and not hasattr(trt.BuilderFlag, "STRIP_PLAN"):
        raise _refusal(trt, "has no plans without weights", "weight_stripped=false")
    level = wanted.hardware_compatibility
    levels = getattr(trt, "HardwareCompatibilityLevel", None)
    if level != "none" and not _is_rtx(trt) and not hasattr(levels, level.upper()):
        raise _refusal(trt, f"has no level {level!r}", "hardware_compatibility=none")
    for name in ("weight_stripped", "refittable"):
        if getattr(wanted, name) and _is_rtx(trt) and gpu_blocker() is not None:
            raise _refusal(trt, f"needs a GPU to build with tensorrt.{name}", f"{name}=false")


def flags(trt: Any, graph: onnx.ModelProto, wanted: TensorRT) -> list[str]:
    """Names of trt.BuilderFlag that follow from the graph and the settings.

    Sparse kernels are tried only where a kernel has the 2:4 pattern, because that takes time. Only
    engines whose memory comes from the caller can be captured as CUDA graphs by TensorRT-RTX.
    """
    found = {
        "SPARSE_WEIGHTS": has_sparse_kernel(graph),
        "VERSION_COMPATIBLE": wanted.version_compatible,
        "REFIT": wanted.refittable,
        "STRIP_PLAN": wanted.weight_stripped,
        # It gets the weights that it was built with: more can be folded than with REFIT.
        "REFIT_IDENTICAL": wanted.weight_stripped and not wanted.refittable,
        "REQUIRE_USER_ALLOCATION": hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"),
    }
    return [name for name, is_wanted in found.items() if is_wanted]


def set_gpus(trt: Any, config: Any, wanted: TensorRT) -> None:
    """Target GPUs: the hardware compatibility level; for RTX the compute capabilities."""
    if _is_rtx(trt):
        if wanted.compute_capabilities:
            config.num_compute_capabilities = len(wanted.compute_capabilities)
        for index, capability in enumerate(wanted.compute_capabilities):
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    elif wanted.hardware_compatibility != "none":
        levels = trt.HardwareCompatibilityLevel
        level = getattr(levels, wanted.hardware_compatibility.upper())
        config.hardware_compatibility_level = level


def _is_rtx(trt: Any) -> bool:
    return hasattr(trt, "ComputeCapability")


def _refusal(trt: Any, why: str, setting: str) -> EngineError:
    found = f"{trt.__name__} {trt.__version__} {why}"
    return EngineError(found, f"leave it out: --set tensorrt.{setting}")


def _require_lean(trt: Any) -> None:
    """Raise EngineError where the runtime that a version compatible engine holds is not there.

    TensorRT asks for it at the end of a build that may take minutes.
    """
    name = f"libnvinfer_lean.so.{trt.__version__.partition('.')[0]}"
    try:
        ctypes.CDLL(name)
    except OSError:
        if not any(Path(folder, name).is_file() for folder in _library_folders(trt)):
            raise EngineError(
                f"tensorrt.version_compatible needs {name}, which {trt.__name__} comes without",
                "leave it out: --set tensorrt.version_compatible=false",
            ) from None


def _library_folders(trt: Any) -> Iterator[str]:
    """Where the packages have theirs."""
    libraries = importlib.util.find_spec(f"{trt.__name__}_libs")
    yield from (libraries and libraries.submodule_search_locations) or ()
