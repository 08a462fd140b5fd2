"""ONNX Runtime's part of predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Network:
    """An engine file in memory; call it with a batch."""

    def __init__(self, file: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            file,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["Pad_Fusion"],  # pads a MaxPool with minus infinity, not zero
        )

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """(N, HEIGHT, WIDTH, CHANNELS) -> (N, ...)."""
        name = self.session.get_inputs()[0].name
        outputs: NDArray[np.float32] = self.session.run(None, {name: images})[0]
        return outputs
