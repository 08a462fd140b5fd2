from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from stages.engines.cuda import memory as cuda_memory
from stages.engines.cuda.memory import CudaMemory
from stages.errors import EngineError
from tests.cuda.conftest import StandIn

OUT_OF_MEMORY, BUSY, NO_DEVICE, ILLEGAL_ADDRESS = 2, 46, 100, 700


def test_rows_travel_to_the_gpu_and_back(gpu: StandIn) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((4, 3))
    buffer.host[:] = np.arange(12).reshape(4, 3)
    memory.upload(buffer, 4)
    memory.synchronize()
    buffer.host[:] = -1
    memory.download(buffer, 2)
    memory.synchronize()
    assert buffer.host.tolist() == [[0, 1, 2], [3, 4, 5], [-1, -1, -1], [-1, -1, -1]]
    memory.close()


def test_nothing_has_arrived_before_it_was_waited_for(gpu: StandIn) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((2,))
    buffer.host[:] = (1, 2)
    memory.upload(buffer, 2)
    memory.synchronize()
    buffer.host[:] = 0
    memory.download(buffer, 2)
    assert buffer.host.tolist() == [0, 0]
    memory.synchronize()
    assert buffer.host.tolist() == [1, 2]
    memory.close()


def test_pixels_take_a_byte_each(gpu: StandIn) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((2, 5), np.uint8)
    assert (buffer.host.dtype, buffer.host.nbytes) == (np.uint8, 10)
    memory.upload(buffer, 1)
    memory.synchronize()
    assert [line.split()[1:3] for line in gpu.trace()] == [["to_gpu", "5"]]
    memory.close()


def test_copies_reuse_what_was_allocated_once(gpu: StandIn) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((8,))
    taken = gpu.live()
    for _ in range(50):
        memory.upload(buffer, 8)
        memory.download(buffer, 8)
        memory.synchronize()
    assert gpu.live() == taken == {"device_memory": 1, "host_memory": 1, "streams": 1}
    memory.close()


def test_closing_gives_everything_back_and_closing_twice_is_harmless(gpu: StandIn) -> None:
    memory = CudaMemory()
    for _ in range(3):
        memory.allocate((16,))
    memory.close()
    assert gpu.live() == {}
    memory.close()


def test_without_room_on_the_gpu_what_was_taken_before_is_kept_until_closing(gpu: StandIn) -> None:
    memory = CudaMemory()
    memory.allocate((4,))
    gpu.fail("cuMemAlloc", OUT_OF_MEMORY)
    with pytest.raises(EngineError, match=r"not enough GPU memory: .*out of memory") as caught:
        memory.allocate((4,))
    assert "build.max_batch_size" in caught.value.hint
    memory.close()
    assert gpu.live() == {}


def test_more_than_the_gpu_has_is_refused(gpu: StandIn) -> None:
    memory = CudaMemory()
    _, total = cuda_memory.free_memory()
    with pytest.raises(EngineError, match="not enough GPU memory"):
        memory.allocate((total // 4 + 1,))
    memory.close()


def test_without_page_locked_memory_the_error_is_one_line(gpu: StandIn) -> None:
    memory = CudaMemory()
    gpu.fail("cuMemHostAlloc", OUT_OF_MEMORY)
    with pytest.raises(EngineError, match="not enough GPU memory: cuMemHostAlloc"):
        memory.allocate((4,))
    memory.close()


def test_a_block_that_cannot_be_freed_does_not_keep_the_others(
    gpu: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    memory = CudaMemory()
    newest = [memory.allocate((4,)) for _ in range(3)][-1].address
    gpu.fail("cuMemFree", ILLEGAL_ADDRESS, times=1)
    memory.close()
    assert "clean-up operation failed" in capfd.readouterr().err  # PyCUDA's words
    assert gpu.live() == {"device_memory": 1}
    gpu.release(newest)


def test_a_gpu_in_use_by_another_program_is_told_with_the_way_out(gpu: StandIn) -> None:
    gpu.fail("cuStreamCreate", BUSY)
    with pytest.raises(EngineError, match="busy or unavailable") as caught:
        CudaMemory()
    assert "nvidia-smi" in caught.value.hint


def test_an_error_of_the_gpu_names_the_call(gpu: StandIn) -> None:
    memory = CudaMemory()
    gpu.fail("cuStreamSynchronize", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="cuStreamSynchronize failed: an illegal memory access"):
        memory.synchronize()
    buffer = memory.allocate((2,))
    gpu.fail("cuMemcpyHtoDAsync", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="cuMemcpyHtoDAsync failed: an illegal memory access"):
        memory.upload(buffer, 2)
    gpu.fail("cuMemcpyDtoHAsync", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="cuMemcpyDtoHAsync failed: an illegal memory access"):
        memory.download(buffer, 2)
    memory.close()


def test_the_gpu_has_a_name_with_its_compute_capability(gpu: StandIn) -> None:
    assert cuda_memory.gpu_name() == "Stand-in (8.9)"


def test_the_gpu_has_a_place_on_the_bus_by_which_it_is_watched(gpu: StandIn) -> None:
    assert cuda_memory.bus_id() == "0000:18:00.0"


def test_a_graph_does_the_same_again_with_new_data(gpu: StandIn) -> None:
    memory = CudaMemory()
    source, target = memory.allocate((3,)), memory.allocate((3,))

    def queue() -> None:
        memory.upload(source, 3)
        gpu.compute(memory.stream_handle, target.address, source.address, 3)
        memory.download(target, 3)

    graph = memory.capture(queue)
    assert gpu.trace() == []
    for values in ([1, 2, 3], [7, 8, 9]):
        source.host[:] = values
        graph.launch()
        memory.synchronize()
        assert target.host.tolist() == [value + 1 for value in values]
    graph.close()
    memory.close()


def test_what_cannot_be_captured_leaves_the_stream_usable(gpu: StandIn) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((2,))
    with pytest.raises(EngineError, match="not permitted when stream is capturing"):
        memory.capture(memory.synchronize)
    with pytest.raises(ZeroDivisionError):
        memory.capture(lambda: print(1 / 0))
    buffer.host[:] = (3, 4)
    memory.upload(buffer, 2)
    memory.synchronize()
    memory.close()


@pytest.mark.parametrize(
    "call", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_a_graph_that_cannot_be_made_leaves_nothing_behind(gpu: StandIn, call: str) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((2,))
    gpu.fail(call, OUT_OF_MEMORY)
    with pytest.raises(EngineError, match=f"{call}.* failed: out of memory"):
        memory.capture(lambda: memory.upload(buffer, 2))
    assert "graphs" not in gpu.live()
    memory.close()


def test_a_graph_that_cannot_be_launched_says_so(gpu: StandIn) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((2,))
    graph = memory.capture(lambda: memory.upload(buffer, 2))
    gpu.fail("cuGraphLaunch", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="cuGraphLaunch failed: an illegal memory access"):
        graph.launch()
    graph.close()
    memory.close()


def test_every_thread_has_the_context_and_gives_it_back(gpu: StandIn) -> None:
    memory = CudaMemory()
    buffer = memory.allocate((4,))
    buffer.host[:] = 7
    faults: list[BaseException] = []

    def work() -> None:
        try:
            cuda_memory.make_context_current()
            memory.upload(buffer, 4)
            memory.synchronize()
        except BaseException as error:
            faults.append(error)

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert faults == []
    memory.close()
    assert gpu.live() == {}


FIRST_IN_A_THREAD = """
import threading
from stages.engines.cuda.memory import CudaMemory
def work():
    memory = CudaMemory()
    memory.allocate((4,))
    memory.close()
thread = threading.Thread(target=work)
thread.start()
thread.join()
if {main_too}:
    work()
print("ended")
"""


@pytest.mark.parametrize("main_too", [False, True])
def test_a_process_ends_well_where_a_thread_was_the_first_to_use_the_gpu(main_too: bool) -> None:
    """PyCUDA aborts a process (exit status 134) in which a thread leaves a context behind."""
    code = FIRST_IN_A_THREAD.format(main_too=main_too)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
