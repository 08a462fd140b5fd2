"""LiteRT's part of predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


class Network:
    """An engine file in memory; call it with an array for each input."""

    def __init__(self, file: Path, threads: int, inputs: list[str], outputs: list[str]) -> None:
        self.interpreter = Interpreter(str(file), num_threads=threads)
        self.rows = 0
        # The only one is known by its place, several by their names in the file.
        self.inputs, self.outputs = (
            self.interpreter.get_input_details(),
            self.interpreter.get_output_details(),
        )
        if len(inputs) > 1:
            named = self.interpreter.get_signature_runner().get_input_details()
            self.inputs = [named[name] for name in inputs]
        if len(outputs) > 1:
            named = self.interpreter.get_signature_runner().get_output_details()
            self.outputs = [named[name] for name in outputs]

    def __call__(self, arrays: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Batches (N, ...) of all inputs -> (N, ...) of all outputs."""
        fed = [steps(each, info) for each, info in zip(arrays, self.inputs, strict=True)]
        if len(fed[0]) != self.rows:
            for each, info in zip(fed, self.inputs, strict=True):
                self.interpreter.resize_tensor_input(info["index"], each.shape)
            self.interpreter.allocate_tensors()
            self.rows = len(fed[0])
        for each, info in zip(fed, self.inputs, strict=True):
            self.interpreter.set_tensor(info["index"], each)
        self.interpreter.invoke()
        return [values(self.interpreter.get_tensor(info["index"]), info) for info in self.outputs]


def steps(array: NDArray[Any], info: dict[str, Any]) -> NDArray[Any]:
    """What an input takes, which may be steps of its own."""
    if array.dtype == info["dtype"]:
        return array
    scale, zero_point = info["quantization"]
    limits = np.iinfo(info["dtype"])
    found = np.rint(array / np.float32(scale)) + zero_point
    clipped: NDArray[Any] = np.clip(found, limits.min, limits.max).astype(info["dtype"])
    return clipped


def values(array: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
    """What an output gives, which may be steps of its own, as numbers."""
    if array.dtype == np.float32:
        return array
    scale, zero_point = info["quantization"]
    return (array.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
