"""Throughput of a saturated engine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from stages.artifacts.signature import rows
from stages.engines import records
from stages.engines.base import Engine
from stages.measurement import clock
from stages.results.engines import EngineRecord

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
