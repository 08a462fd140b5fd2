"""OpenVINO's part of predict.py."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Network:
    """An engine file in memory; call it with an array for each input."""

    def __init__(self, file: Path, threads: int, inputs: list[str], outputs: list[str]) -> None:
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
        self.inputs, self.outputs = inputs, outputs
        self.request = core.compile_model(model, "CPU", hints).create_infer_request()

    def __call__(self, arrays: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Batches (N, ...) of all inputs -> (N, ...) of all outputs."""
        self.request.infer(dict(zip(self.inputs, arrays, strict=True)))
        return [self.request.get_tensor(name).data.copy() for name in self.outputs]
