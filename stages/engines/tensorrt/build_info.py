"""Where an engine was built, in a file beside it: an engine of TensorRT runs nowhere else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.engines import environment
from stages.errors import EngineError


@dataclass(frozen=True)
class Origin:
    """A TensorRT, and the GPUs and the driver of a machine."""

    runtime: str
    gpus: tuple[str, ...]
    driver: str | None

    def __str__(self) -> str:
        gpus = ", ".join(self.gpus) or "no GPU"
        return f"{self.runtime}, {gpus}, driver {self.driver or 'none'}"


@dataclass(frozen=True)
class Bound:
    """What of its origin an engine is bound to."""

    to_version: bool = True
    to_gpu: bool = True


def here(trt: Any) -> Origin:
    """This TensorRT on this machine; takes a few milliseconds and starts nothing."""
    gpu = environment.describe()["gpu"]
    return Origin(f"{trt.__name__} {trt.__version__}", tuple(gpu["names"]), gpu["driver"])


def write(engine: Path, origin: Origin, bound: Bound) -> None:
    """Put the origin of the file `engine` beside it."""
    _beside(engine).write_text(json.dumps({**asdict(origin), **asdict(bound)}, indent=2) + "\n")


def check(engine: Path, now: Origin) -> None:
    """Raise EngineError where the file `engine` is of another TensorRT or another kind of GPU.

    Without a file beside it nothing is known, and TensorRT itself has to say so.
    """
    told = read(engine)
    if told is None:
        return
    origin, bound = told
    other_version = bound.to_version and origin.runtime != now.runtime
    other_gpu = bound.to_gpu and origin.gpus != now.gpus
    if other_version or other_gpu:
        raise EngineError(
            f"{engine.name} was built for: {origin}; this machine has: {now}",
            "an engine fits one version and one kind of GPU; run: pipeline run build --force",
        )


def read(engine: Path) -> tuple[Origin, Bound] | None:
    """What was put beside the file `engine`; None where there is nothing to be read."""
    try:
        told = json.loads(_beside(engine).read_text())
        origin = Origin(told["runtime"], tuple(told["gpus"]), told["driver"])
        return origin, Bound(told["to_version"], told["to_gpu"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _beside(engine: Path) -> Path:
    return engine.with_name(f"{engine.name}.json")
