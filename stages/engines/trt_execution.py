"""Run an engine of TensorRT 8.6, 10, 11 or TensorRT-RTX on buffers that are allocated once.

As in trt_network.py the interface comes in as the argument `trt`. All of them have had named
tensors and `execute_async_v3` since TensorRT 8.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.engines.base import Batch
from stages.engines.cuda_memory import Buffer, CudaMemory, cuda_errors
from stages.engines.trt_network import deserialize
from stages.errors import EngineError
from stages.signature import Signature


class Execution:
    """An opened engine with its buffers on the GPU, for one thread, until `close`."""

    def __init__(self, trt: Any, file: Path, signature: Signature) -> None:
        """Raises EngineError; whatever was taken until then is given back."""
        self._file = file
        self._memory = CudaMemory()
        try:
            self._engine = deserialize(trt, file)
            self._check_tensors(trt, signature)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise EngineError(f"{trt.__name__} has no room on the GPU to run {file.name}")
            self._allocate(signature)
        except BaseException:
            self.close()
            raise

    def run(self, images: Batch) -> Batch:
        """Copy a batch (N, H, W, C) to the GPU, run it, and copy its logits (N, classes) back."""
        rows = len(images)
        if rows != self._rows:
            self._set_rows(images)
        self._input.host[:rows] = images
        with cuda_errors():
            self._memory.upload(self._input, rows)
            if not self._context.execute_async_v3(self._memory.stream_handle):
                raise EngineError(f"{self._file.name}: TensorRT could not run a batch of {rows}")
            self._memory.download(self._output, rows)
            self._memory.synchronize()
        logits: Batch = self._output.host[:rows].copy()
        return logits

    def close(self) -> None:
        """Give everything back, the context before the memory that it uses."""
        self._context = self._engine = None
        self._memory.close()

    def _check_tensors(self, trt: Any, signature: Signature) -> None:
        """One float32 input and one float32 output with the signature's names."""
        found = {
            name: self._engine.get_tensor_dtype(name)
            for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors))
        }
        wanted = {signature.input_name: trt.float32, signature.output_name: trt.float32}
        if found != wanted:
            raise EngineError(f"{self._file.name} has the tensors {found}, expected {wanted}")

    def _allocate(self, signature: Signature) -> None:
        """Buffers for the largest batch of the engine's profile."""
        self._largest = int(self._engine.get_tensor_profile_shape(signature.input_name, 0)[2][0])
        self._rows = 0
        self._input_name = signature.input_name
        self._input = self._bind(signature.input_name, signature.input_shape)
        self._output = self._bind(signature.output_name, (len(signature.class_names),))

    def _bind(self, name: str, shape: tuple[int, ...]) -> Buffer:
        buffer = self._memory.allocate((self._largest, *shape))
        self._context.set_tensor_address(name, buffer.address)
        return buffer

    def _set_rows(self, images: Batch) -> None:
        if len(images) > self._largest:
            raise EngineError(
                f"{self._file.name}: a batch of {len(images)}, expected at most {self._largest}",
                "build for larger ones: --set build.max_batch_size=N",
            )
        if not self._context.set_input_shape(self._input_name, images.shape):
            raise EngineError(f"{self._file.name}: TensorRT refuses the shape {images.shape}")
        self._rows = len(images)
