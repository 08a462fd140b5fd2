"""Throughput of a saturated engine, and the memory that it takes."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.signature import Fed, Signature, rows
from stages.engines import child, records
from stages.engines.base import Engine
from stages.engines.child import ChildFailed
from stages.measurement import clock
from stages.results.engines import EngineRecord

STATUS = Path("/proc/self/status")
KIB_PER_MIB = 1024
PIPELINED = 64
"""Batches between two readings of the clock: enough for filling and emptying to count little."""


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def saturated_images_per_second(
    record: EngineRecord, engine: Engine, batches: Sequence[Any], seconds: float
) -> tuple[int, list[float]]:
    """How many engines together fill the cores, and their images per second for each batch.

    One engine for every `engine.threads` cores, `engine` among them, each called by a thread of
    its own for `seconds`. Raises EngineError.
    """
    count = max(1, usable_cores() // engine.threads)
    with ExitStack() as opened:
        others = [
            records.runner(record, engine.file.parent, engine.signature, engine.threads)
            for _ in range(count - 1)
        ]
        together = [engine, *(opened.enter_context(other) for other in others)]
        rates = []
        for batch in batches:
            calls = [partial(each.infer, batch) for each in together]
            for call in calls:
                call()  # engines prepare for a batch size when they first see it
            rates.append(rows(batch) * clock.saturated(calls, seconds))
    return count, rates


def pipelined_images_per_second(engine: Engine, batch: Any, seconds: float) -> float:
    """Images per second of one engine that is given batch after batch, for about `seconds`.

    This keeps a GPU busy: it copies one batch while it computes another. Raises EngineError.
    """

    def call() -> None:
        for _ in engine.infer_many(itertools.repeat(batch, PIPELINED)):
            pass

    taken = clock.measure({"pipelined": call}, 0.0, seconds)["pipelined"]
    return 1000.0 * PIPELINED * rows(batch) / float(np.median(taken))


def peak_memory_mib(
    record: EngineRecord, folder: Path, threads: int, batch_sizes: Sequence[int]
) -> dict[int, float]:
    """Peak resident memory that the engine and its runtime add to a process, by batch size.

    Each is the peak so far in one process that runs the batch sizes in rising order: what its
    memory grew by since before the engine was opened. Empty where Linux' /proc is missing, or
    the process ended early.
    """
    if not STATUS.exists():
        return {}
    engine, sizes = record.model_dump_json(), sorted(batch_sizes)
    try:
        printed = child.answer(__name__, "print_peak_memory", engine, str(folder), threads, *sizes)
    except ChildFailed:
        return {}
    return {int(size): peak for size, peak in json.loads(printed).items()}


def memory_mib(kind: str, status: Path = STATUS) -> float:
    """`VmHWM`, the peak, or `VmRSS`, now, of this process in MiB (proc(5))."""
    found = re.search(rf"^{kind}:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    return int(found[1]) / KIB_PER_MIB if found else 0.0


def print_peak_memory(engine: str, folder: str, threads: int, *batch_sizes: int) -> None:
    """In a child: run the engine alone and print the peak memory at each batch size, as JSON."""
    record = EngineRecord.model_validate_json(engine)
    signature = Signature.read(Path(folder))
    # Before the runtime is imported, which is part of what the engine costs.
    before, peaks = memory_mib("VmRSS"), {}
    with records.runner(record, Path(folder), signature, threads) as runner:
        for size in batch_sizes:
            # Not noise: pages of zeros that are only read take no memory.
            sources = signature.each_input
            fed: Fed = [np.zeros((size, *each.input_shape), each.dtype) for each in sources]
            runner.infer(fed if signature.inputs else fed[0])
            peaks[size] = memory_mib("VmHWM") - before
    sys.stdout.write(json.dumps(peaks) + "\n")
