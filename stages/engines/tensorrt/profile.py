"""How long every layer of a TensorRT engine takes, as TensorRT itself times them."""

from __future__ import annotations

from statistics import median
from typing import Any


def recorder(trt: Any) -> Any:
    """A trt.IProfiler whose `medians()` are the milliseconds of the layers by name."""

    class Recorder(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.milliseconds: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.milliseconds.setdefault(layer_name, []).append(ms)

        def medians(self) -> dict[str, float]:
            return {name: median(taken) for name, taken in self.milliseconds.items()}

    return Recorder()
