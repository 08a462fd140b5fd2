"""OpenVINO's part of predict.py."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Network:
    """An engine file in memory; call it with a batch."""

    def __init__(self, file: Path, threads: int) -> None:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # no reports
        import openvino

        with zipfile.ZipFile(file) as archive:
            graph, weights = archive.read("model.xml"), archive.read("model.bin")
        core = openvino.Core()
        model = core.read_model(graph, openvino.Tensor(np.frombuffer(weights, np.uint8)))
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        self.model = core.compile_model(model, "CPU", hints)

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """(N, HEIGHT, WIDTH, CHANNELS) -> (N, ...)."""
        outputs: NDArray[np.float32] = self.model(images)[0]
        return outputs
