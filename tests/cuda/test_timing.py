from __future__ import annotations

import pytest

from stages.engines.cuda.memory import CudaMemory
from stages.engines.cuda.timing import ROUNDS, copied_bytes_per_second, time_part
from stages.errors import EngineError
from tests.cuda.conftest import StandIn

MOVED, CALLS = 1 << 16, 3
COPY_MS = 1.0
"""Of the stand-in, whatever the length."""


def test_a_copy_within_the_gpu_reads_half_of_what_it_moves_and_writes_the_other(
    gpu: StandIn,
) -> None:
    assert copied_bytes_per_second(MOVED, CALLS) == pytest.approx(MOVED / (COPY_MS / 1000))
    copies = [line.split()[1:3] for line in gpu.trace()]
    assert copies == [["compute", str(MOVED // 2)]] * ROUNDS * (1 + CALLS)


def test_a_copy_for_which_the_gpu_has_no_memory_leaves_nothing_behind(gpu: StandIn) -> None:
    with pytest.raises(EngineError, match="not enough GPU memory"):
        copied_bytes_per_second(1 << 40, CALLS)


def test_a_part_is_timed_without_what_its_first_call_prepares(gpu: StandIn) -> None:
    memory = CudaMemory()
    taken = iter([50.0, 1.0, 2.0, 3.0])
    buffer = memory.allocate((4,))

    def part() -> None:
        gpu.compute(memory.stream_handle, buffer.address, buffer.address, 4, next(taken))

    on_gpu_ms, queued_ms = time_part(memory, part, 3)
    assert on_gpu_ms == pytest.approx(2.0)
    assert queued_ms > 0
    memory.close()
