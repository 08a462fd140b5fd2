"""LiteRT's part of predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


class Network:
    """An engine file in memory; call it with a batch."""

    def __init__(self, file: Path, threads: int) -> None:
        self.interpreter = Interpreter(str(file), num_threads=threads)
        self.shape: tuple[int, ...] = ()
        self.input = self.interpreter.get_input_details()[0]
        self.output = self.interpreter.get_output_details()[0]

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """(N, HEIGHT, WIDTH, CHANNELS) -> (N, ...)."""
        if images.dtype != self.input["dtype"]:  # the file takes steps of its own
            scale, zero_point = self.input["quantization"]
            limits = np.iinfo(self.input["dtype"])
            steps = np.rint(images / np.float32(scale)) + zero_point
            images = np.clip(steps, limits.min, limits.max).astype(self.input["dtype"])
        if images.shape != self.shape:
            self.interpreter.resize_tensor_input(self.input["index"], images.shape)
            self.interpreter.allocate_tensors()
            self.shape = images.shape
        self.interpreter.set_tensor(self.input["index"], images)
        self.interpreter.invoke()
        outputs: NDArray[Any] = self.interpreter.get_tensor(self.output["index"])
        if outputs.dtype == np.float32:
            return outputs
        scale, zero_point = self.output["quantization"]
        return (outputs.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
