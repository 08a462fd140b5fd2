"""What an engine gives when it is saturated, and the memory that it takes.

    python -m stages.measurement.throughput BACKEND PRECISION FOLDER FILE THREADS BATCH_SIZE...

runs the engine alone and answers with the peak memory at each batch size, as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import records
from stages.engines.base import Engine
from stages.measurement import clock
from stages.results.engines import EngineRecord

STATUS = Path("/proc/self/status")
KIB_PER_MIB = 1024
PIPELINED = 64
"""Batches between two looks at the clock: filling and emptying the pipeline then counts little."""


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
            rates.append(len(batch) * clock.saturated(calls, seconds))
    return count, rates


def pipelined_images_per_second(engine: Engine, batch: Any, seconds: float) -> float:
    """Images per second of one engine that is given batch after batch, for about `seconds`.

    A GPU is filled so: it copies one batch while it computes another. Raises EngineError.
    """

    def call() -> None:
        for _ in engine.infer_many(itertools.repeat(batch, PIPELINED)):
            pass

    taken = clock.measure({"pipelined": call}, 0.0, seconds)["pipelined"]
    return 1000.0 * PIPELINED * len(batch) / float(np.median(taken))


def peak_memory_mib(
    record: EngineRecord, folder: Path, threads: int, batch_sizes: Sequence[int]
) -> dict[int, float]:
    """Peak resident memory that the engine and its runtime add to a process, by batch size.

    Each is the peak so far in one process that runs the batch sizes in rising order: what its
    memory grew by since before the engine was opened. Empty where Linux' /proc is missing, or
    the process ended early.
    """
    words = [record.backend, record.precision, folder, record.file, threads, *sorted(batch_sizes)]
    done = subprocess.run(
        [sys.executable, "-m", "stages.measurement.throughput", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 or not STATUS.exists():
        return {}
    return {int(size): peak for size, peak in json.loads(done.stdout.splitlines()[-1]).items()}


def memory_mib(kind: str, status: Path = STATUS) -> float:
    """`VmHWM`, the peak, or `VmRSS`, now, of this process in MiB (proc(5))."""
    found = re.search(rf"^{kind}:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    return int(found[1]) / KIB_PER_MIB if found else 0.0


def _main(backend: Any, precision: Any, folder: str, file: str, *numbers: str) -> None:
    threads, *batch_sizes = map(int, numbers)
    signature = Signature.read(Path(folder))
    record = EngineRecord(backend=backend, precision=precision, file=file)
    before, peaks = memory_mib("VmRSS"), {}
    with records.runner(record, Path(folder), signature, threads) as engine:
        for size in batch_sizes:
            engine.infer(np.zeros((size, *signature.input_shape), signature.dtype))
            peaks[size] = memory_mib("VmHWM") - before
    sys.stdout.write(json.dumps(peaks) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
