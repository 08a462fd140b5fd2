"""What a TensorRT engine was built with, in a file beside it: it runs nowhere else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.engines import environment
from stages.errors import EngineError


@dataclass(frozen=True)
class BuildInfo:
    """The TensorRT, the GPUs and the driver of a machine."""

    runtime: str
    gpus: tuple[str, ...]
    driver: str | None

    def __str__(self) -> str:
        gpus = ", ".join(self.gpus) or "no GPU"
        return f"{self.runtime}, {gpus}, driver {self.driver or 'none'}"


@dataclass(frozen=True)
class Compatibility:
    """Whether an engine is bound to the version and to the GPU that it was built with."""

    to_version: bool = True
    to_gpu: bool = True


def here(trt: Any) -> BuildInfo:
    """This TensorRT on this machine; takes a few milliseconds and starts nothing."""
    gpu = environment.describe().gpu
    return BuildInfo(f"{trt.__name__} {trt.__version__}", gpu.names, gpu.driver)


def write(engine: Path, info: BuildInfo, compatibility: Compatibility) -> None:
    """Put the build info of the file `engine` beside it."""
    content = {**asdict(info), **asdict(compatibility)}
    _beside(engine).write_text(json.dumps(content, indent=2) + "\n")


def check(engine: Path, now: BuildInfo) -> None:
    """Raise EngineError where the file `engine` is of another TensorRT or another kind of GPU.

    Without a file beside it nothing is known, and TensorRT itself reports the mismatch.
    """
    found = read(engine)
    if found is None:
        return
    built, bound = found
    # The driver is recorded for the reader only: engines are bound to TensorRT and to the GPU.
    other_version = bound.to_version and built.runtime != now.runtime
    other_gpu = bound.to_gpu and built.gpus != now.gpus
    if other_version or other_gpu:
        raise EngineError(
            f"{engine.name} was built for: {built}; this machine has: {now}",
            "an engine fits one version and one kind of GPU; run: pipeline run build --force",
        )


def read(engine: Path) -> tuple[BuildInfo, Compatibility] | None:
    """The build info beside the file `engine`; None where there is none that can be read."""
    try:
        content = json.loads(_beside(engine).read_text())
        info = BuildInfo(content["runtime"], tuple(content["gpus"]), content["driver"])
        return info, Compatibility(content["to_version"], content["to_gpu"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _beside(engine: Path) -> Path:
    return engine.with_name(f"{engine.name}.json")
