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
    """An engine file on the GPU; call it with a batch. Threads are for engines of a CPU."""

    def __init__(self, file: Path, threads: int) -> None:
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self.engine = runtime.deserialize_cuda_engine(file.read_bytes())
        self.context = self.engine.create_execution_context()
        self.stream = driver.Stream()

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """(N, HEIGHT, WIDTH, CHANNELS) -> (N, ...)."""
        source, target = (self.engine.get_tensor_name(index) for index in range(2))
        self.context.set_input_shape(source, images.shape)
        outputs = np.empty(tuple(self.context.get_tensor_shape(target)), np.float32)
        buffers = {
            source: driver.mem_alloc(images.nbytes),
            target: driver.mem_alloc(outputs.nbytes),
        }
        for name, buffer in buffers.items():
            self.context.set_tensor_address(name, int(buffer))
        driver.memcpy_htod_async(buffers[source], images, self.stream)
        self.context.execute_async_v3(self.stream.handle)
        driver.memcpy_dtoh_async(outputs, buffers[target], self.stream)
        self.stream.synchronize()
        return outputs
