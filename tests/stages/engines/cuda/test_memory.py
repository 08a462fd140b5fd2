from __future__ import annotations

import ctypes
import importlib.util

import numpy as np
import pytest

from stages.engines.cuda import memory as cuda_memory
from stages.errors import EngineError

has_pycuda = importlib.util.find_spec("pycuda") is not None
runs = has_pycuda and cuda_memory.gpu_blocker() is None
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not runs, reason="needs a GPU and PyCUDA"),
]


@pytest.mark.skipif(cuda_memory.gpu_blocker() is None, reason="the driver is on this machine")
def test_a_machine_without_the_driver_has_no_gpu() -> None:
    with pytest.raises(OSError, match=cuda_memory.DRIVER_LIBRARY):
        ctypes.CDLL(cuda_memory.DRIVER_LIBRARY)
    blocker = cuda_memory.gpu_blocker()
    assert blocker is not None
    assert cuda_memory.DRIVER_LIBRARY in blocker.reason


@pytest.mark.skipif(runs, reason="CUDA works on this machine")
def test_memory_is_refused_where_cuda_does_not_work() -> None:
    with pytest.raises(EngineError, match=r"PyCUDA cannot be loaded|CUDA reports"):
        cuda_memory.CudaMemory()


class TestOnAGpu:
    pytestmark = needs_gpu

    def test_rows_travel_to_the_gpu_and_back(self) -> None:
        memory = cuda_memory.CudaMemory()
        buffer = memory.allocate((4, 3))
        buffer.host[:] = np.arange(12).reshape(4, 3)
        memory.upload(buffer, 4)
        memory.synchronize()
        buffer.host[:] = -1
        memory.download(buffer, 2)
        memory.synchronize()
        assert buffer.host.tolist() == [[0, 1, 2], [3, 4, 5], [-1, -1, -1], [-1, -1, -1]]
        memory.close()
        memory.close()

    def test_more_memory_than_there_is_is_refused_and_what_was_taken_is_given_back(self) -> None:
        from pycuda import driver

        memory = cuda_memory.CudaMemory()
        free, total = driver.mem_get_info()
        memory.allocate((1 << 20, 16))
        with pytest.raises(EngineError, match="not enough GPU memory"):
            memory.allocate((total, 1))
        memory.close()
        assert driver.mem_get_info()[0] >= free - (1 << 20)
