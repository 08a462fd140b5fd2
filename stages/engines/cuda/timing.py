"""Time by the GPU's own clock: of what a stream does, and of copies within the GPU's memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from stages.engines.cuda.memory import CudaMemory, cuda_errors

ROUNDS = 5
"""Of copies, the fastest of which counts."""


def time_part(memory: CudaMemory, part: Callable[[], None], calls: int) -> tuple[float, float]:
    """Milliseconds on the GPU, and of the CPU for queueing, of one of `calls` calls back to back.

    `part` queues something in the stream of `memory`. Raises EngineError.
    """
    with cuda_errors():
        part()  # what a first call prepares is no part of it
        memory.synchronize()
        first = memory.record_event()
        start = time.perf_counter_ns()
        for _ in range(calls):
            part()
        queued_ms = (time.perf_counter_ns() - start) / 1e6
        last = memory.record_event()
        memory.synchronize()
        return float(first.time_till(last)) / calls, queued_ms / calls


def copied_bytes_per_second(moved_bytes: int, calls: int) -> float:
    """Of copies that read half of `moved_bytes` of the GPU's memory and write the other half.

    Raises EngineError, also where the GPU has not that much.
    """
    length = moved_bytes // 2
    with closing(CudaMemory()) as memory:
        target, source = memory.allocate_on_gpu(length), memory.allocate_on_gpu(length)
        copy = partial(memory.copy_on_gpu, target, source, length)
        best_ms = min(time_part(memory, copy, calls)[0] for _ in range(ROUNDS))
    return 1000.0 * 2 * length / best_ms
