"""Memory on the GPU, page-locked memory beside it, and the stream that copies between them.

The one module that imports PyCUDA. It uses the GPU's primary context, the one that TensorRT
takes by itself, so that both see the same memory.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.engines.base import Blocker
from stages.errors import EngineError

DRIVER_LIBRARY = "libcuda.so.1"


def gpu_blocker() -> Blocker | None:
    """Why no GPU can be used here, if so; loads the driver's library but does not start it."""
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return Blocker(
            f"no GPU: NVIDIA's driver library {DRIVER_LIBRARY} is not on this machine",
            "on a machine with an NVIDIA GPU run: pipeline run build benchmark",
        )
    return None


def pycuda_blocker(extra: str) -> Blocker | None:
    """Whether PyCUDA is missing; `extra` is the extra of this project that installs it."""
    if importlib.util.find_spec("pycuda") is None:
        return Blocker(
            "the package pycuda is not installed", f"pip install 'keras-trt-pipeline[{extra}]'"
        )
    return None


@dataclass(frozen=True, eq=False)
class Buffer:
    """The same float32 array twice: `host` in page-locked memory, and on the GPU at `address`."""

    host: NDArray[np.float32]
    device: Any

    @property
    def address(self) -> int:
        """Where it is on the GPU."""
        return int(self.device)


class CudaMemory:
    """A stream and buffers, all given back by `close`.

    To be used in the thread that made it: a CUDA context is current in one thread.
    Every method raises EngineError where CUDA reports an error.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        with cuda_errors():
            make_context_current()
            from pycuda import driver

            self._driver = driver
            self._stream: Any = driver.Stream()

    @property
    def stream_handle(self) -> int:
        """The stream as TensorRT wants it."""
        return int(self._stream.handle)

    def allocate(self, shape: tuple[int, ...]) -> Buffer:
        """Take host and GPU memory for a float32 array of `shape`."""
        with cuda_errors():
            host = self._driver.pagelocked_empty(shape, np.float32)
            self._held.callback(host.base.free)
            device = self._driver.mem_alloc(host.nbytes)
            self._held.callback(device.free)
        return Buffer(host, device)

    def upload(self, buffer: Buffer, rows: int) -> None:
        """Queue the copy of the first `rows` rows to the GPU."""
        self._driver.memcpy_htod_async(buffer.device, buffer.host[:rows], self._stream)

    def download(self, buffer: Buffer, rows: int) -> None:
        """Queue the copy of the first `rows` rows from the GPU."""
        self._driver.memcpy_dtoh_async(buffer.host[:rows], buffer.device, self._stream)

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        self._stream.synchronize()

    def close(self) -> None:
        """Free every buffer, the newest first, and the stream; closing twice is harmless."""
        with cuda_errors():
            self._held.close()
        self._stream = None


@functools.cache
def make_context_current() -> None:
    """Start CUDA and make the primary context of the first GPU current, once and for good.

    It is not released before the process ends: TensorRT holds it as long.
    """
    from pycuda import driver

    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    atexit.register(context.detach)  # else PyCUDA complains at exit; runs after the pop
    atexit.register(context.pop)


@contextmanager
def cuda_errors() -> Iterator[None]:
    """Turn an error of PyCUDA, or its absence, into an EngineError."""
    try:
        from pycuda import driver
    except ImportError as error:
        raise EngineError(
            f"PyCUDA cannot be loaded: {error}", "run: pip install 'keras-trt-pipeline[gpu]'"
        ) from error
    try:
        yield
    except driver.MemoryError as error:
        raise EngineError(
            f"not enough GPU memory: {error}",
            "end other programs on the GPU, or set a smaller build.max_batch_size",
        ) from error
    except driver.Error as error:
        raise EngineError(f"CUDA reports: {error}", "see: nvidia-smi") from error
