"""What a TensorRT engine was built with and is bound to, in a file beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stages.engines import environment
from stages.engines.cuda.memory import compute_capability, gpu_blocker
from stages.engines.tensorrt.capability import number
from stages.errors import EngineError

Gpus = Literal["same", "same_compute_capability", "ampere_plus", "any"]
AMPERE = "8.0"


@dataclass(frozen=True)
class BuildInfo:
    """The TensorRT, the GPUs and the driver of a machine, and the first GPU's compute capability,
    as in "8.6"."""

    runtime: str
    gpus: tuple[str, ...]
    driver: str | None
    capability: str | None = None

    def __str__(self) -> str:
        gpus = ", ".join(self.gpus) or "no GPU"
        capability = f" ({self.capability})" if self.capability else ""
        return f"{self.runtime}, {gpus}{capability}, driver {self.driver or 'none'}"


@dataclass(frozen=True)
class Compatibility:
    """Whether an engine is bound to the version that it was built with, and to which GPUs; the
    least compute capability that its precision needs; whether its weights are beside it."""

    to_version: bool = True
    to_gpu: Gpus = "same"
    least_capability: str | None = None
    is_stripped: bool = False


def here(trt: Any) -> BuildInfo:
    """This TensorRT on this machine. Where there is a GPU, CUDA is started."""
    gpu = environment.describe().gpu
    return BuildInfo(f"{trt.__name__} {trt.__version__}", gpu.names, gpu.driver, _capability())


def _capability() -> str | None:
    """That of the first GPU; None without one, and where it cannot be asked: TensorRT-RTX builds
    without a GPU, and then one that is busy must not cost the engine."""
    try:
        return None if gpu_blocker() else compute_capability()
    except EngineError:
        return None


def write(engine: Path, info: BuildInfo, compatibility: Compatibility) -> None:
    """Put the build info of the file `engine` beside it."""
    content = {**asdict(info), **asdict(compatibility)}
    _beside(engine).write_text(json.dumps(content, indent=2) + "\n")


def check(engine: Path, now: BuildInfo) -> None:
    """Raise EngineError where the file `engine` is of another TensorRT, or not for this GPU.

    Without a file beside it nothing is known, and TensorRT itself reports the mismatch.
    """
    found = read(engine)
    if found is None:
        return
    built, bound = found
    # The driver is recorded for the reader only: engines are bound to TensorRT and to the GPU.
    other_version = bound.to_version and built.runtime != now.runtime
    if other_version or not _fits(built, now, bound.to_gpu):
        kinds = "" if bound.to_gpu in ("same", "any") else f", of GPUs {bound.to_gpu!r}"
        raise EngineError(
            f"{engine.name} was built for: {built}{kinds}; this machine has: {now}",
            "an engine fits one version and one kind of GPU; run: pipeline run build --force",
        )
    least = bound.least_capability
    if least and now.capability and number(now.capability) < number(least):
        raise EngineError(
            f"{engine.name} needs compute capability {least} or higher, "
            f"this GPU has {now.capability}",
            "use an engine of another precision",
        )


def _fits(built: BuildInfo, now: BuildInfo, gpus: Gpus) -> bool:
    """Whether the GPU of a machine is one that an engine may be opened on; where its compute
    capability is not known, TensorRT itself decides."""
    if gpus == "same":
        return built.gpus == now.gpus
    if gpus == "any" or now.capability is None:
        return True
    if gpus == "ampere_plus":
        return number(now.capability) >= number(AMPERE)
    return built.capability in (None, now.capability)


def read(engine: Path) -> tuple[BuildInfo, Compatibility] | None:
    """The build info beside the file `engine`; None where there is none that can be read."""
    try:
        content = json.loads(_beside(engine).read_text())
        info = BuildInfo(
            content["runtime"],
            tuple(content["gpus"]),
            content["driver"],
            content.get("capability"),
        )
        # Earlier versions wrote whether it was bound to the GPU, true or false.
        gpus = {True: "same", False: "any"}.get(content["to_gpu"], content["to_gpu"])
        return info, Compatibility(
            content["to_version"],
            gpus,
            content.get("least_capability"),
            content.get("is_stripped", False),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _beside(engine: Path) -> Path:
    return engine.with_name(f"{engine.name}.json")
