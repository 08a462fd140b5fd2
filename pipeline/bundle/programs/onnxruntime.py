"""ONNX Runtime's part of predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Network:
    """An engine file in memory; call it with an array for each input."""

    def __init__(self, file: Path, threads: int, inputs: list[str], outputs: list[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.inputs, self.outputs = inputs, outputs
        self.session = onnxruntime.InferenceSession(
            file,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["Pad_Fusion"],  # pads a MaxPool with minus infinity, not zero
        )

    def __call__(self, arrays: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Batches (N, ...) of all inputs -> (N, ...) of all outputs."""
        fed = dict(zip(self.inputs, arrays, strict=True))
        outputs: list[NDArray[np.float32]] = self.session.run(self.outputs, fed)
        return outputs
