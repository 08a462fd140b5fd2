"""TensorRT's part of predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pycuda.autoinit  # noqa: F401
import tensorrt as trt
from numpy.typing import NDArray
from pycuda import driver


class Network:
    """An engine file on the GPU; call it with an array for each input. Threads are of a CPU."""

    def __init__(self, file: Path, threads: int, inputs: list[str], outputs: list[str]) -> None:
        self.inputs, self.outputs = inputs, outputs
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self.engine = runtime.deserialize_cuda_engine(file.read_bytes())
        self.context = self.engine.create_execution_context()
        self.stream = driver.Stream()

    def __call__(self, arrays: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Batches (N, ...) of all inputs -> (N, ...) of all outputs."""
        fed = dict(zip(self.inputs, map(np.ascontiguousarray, arrays), strict=True))
        for name, array in fed.items():
            self.context.set_input_shape(name, array.shape)
        shapes = {name: tuple(self.context.get_tensor_shape(name)) for name in self.outputs}
        found = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        buffers = {name: driver.mem_alloc(each.nbytes) for name, each in (fed | found).items()}
        for name, buffer in buffers.items():
            self.context.set_tensor_address(name, int(buffer))
        for name, array in fed.items():
            driver.memcpy_htod_async(buffers[name], array, self.stream)
        self.context.execute_async_v3(self.stream.handle)
        for name, array in found.items():
            driver.memcpy_dtoh_async(array, buffers[name], self.stream)
        self.stream.synchronize()
        return list(found.values())
