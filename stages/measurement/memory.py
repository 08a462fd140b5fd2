"""The memory that an engine takes, in a process of its own, which imports this and no more.

Importing settings and results, as what measures the rest does, would take twice as long.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.artifacts.signature import Fed, Signature
from stages.engines import child, modules
from stages.engines.child import ChildFailed

if TYPE_CHECKING:
    from stages.results.engines import EngineRecord

STATUS = Path("/proc/self/status")
KIB_PER_MIB = 1024


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
    of = record.backend, str(folder / str(record.file)), threads
    try:
        printed = child.answer(__name__, "print_peak_memory", *of, *sorted(batch_sizes))
    except ChildFailed:
        return {}
    return {int(size): peak for size, peak in json.loads(printed).items()}


def memory_mib(kind: str, status: Path = STATUS) -> float:
    """`VmHWM`, the peak, or `VmRSS`, now, of this process in MiB (proc(5))."""
    found = re.search(rf"^{kind}:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    return int(found[1]) / KIB_PER_MIB if found else 0.0


def print_peak_memory(backend: str, file: str, threads: int, *batch_sizes: int) -> None:
    """In a child: run the engine alone and print the peak memory at each batch size, as JSON."""
    module, signature = modules.load(backend), Signature.read(Path(file).parent)
    # Before the runtime is imported, which is part of what the engine costs.
    before, peaks = memory_mib("VmRSS"), {}
    with module.Runner(Path(file), signature, threads) as runner:
        for size in batch_sizes:
            # Not noise: pages of zeros that are only read take no memory.
            sources = signature.each_input
            fed: Fed = [np.zeros((size, *each.input_shape), each.dtype) for each in sources]
            runner.infer(fed if signature.inputs else fed[0])
            peaks[size] = memory_mib("VmHWM") - before
    sys.stdout.write(json.dumps(peaks) + "\n")
