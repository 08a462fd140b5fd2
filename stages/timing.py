"""The clock. Whatever is timed in this project is timed here, with the same clock.

Candidates of one comparison are timed in one process in short windows that take turns, so
that a neighbour's load or a change of the CPU's clock meets all of them alike; what is kept is
every single call. See docs/decisions/0004-latency-measurement.md.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Call = Callable[[], object]
Samples = NDArray[np.float64]
Result = TypeVar("Result")

ROUNDS = 10
NS_PER_SECOND = 1_000_000_000
NS_PER_MS = 1_000_000


def measure(calls: Mapping[str, Call], warmup_seconds: float, seconds: float) -> dict[str, Samples]:
    """Time every call of every candidate: milliseconds, float64 (calls,), in order.

    Each candidate first runs alone for `warmup_seconds`, at least once, and nothing of that is
    kept. Then come ten rounds in which every candidate has one window; the order turns round
    from one round to the next. A candidate is given `seconds` in all; the call that ends
    later still counts, and a candidate that used its time up early skips a round.
    """
    for call in calls.values():
        _window(call, array("q"), round(warmup_seconds * NS_PER_SECOND))
    nanoseconds = {name: array("q") for name in calls}
    spent = dict.fromkeys(calls, 0)
    for turn in range(1, ROUNDS + 1):
        allowed = round(seconds * NS_PER_SECOND) * turn // ROUNDS
        for name in calls if turn % 2 else reversed(list(calls)):
            if spent[name] < allowed:
                spent[name] += _window(calls[name], nanoseconds[name], allowed - spent[name])
    return {name: np.array(ns, np.float64) / NS_PER_MS for name, ns in nanoseconds.items()}


def once(call: Callable[[], Result]) -> tuple[Result, float]:
    """The result of one call and its milliseconds: for loading and for the first call."""
    start = time.perf_counter_ns()
    result = call()
    return result, (time.perf_counter_ns() - start) / NS_PER_MS


def overhead_ms(seconds: float = 0.02) -> float:
    """What `measure` shows for a call that does nothing: the median, in milliseconds.

    Every sample is too high by so much; it is stored beside the samples, not subtracted.
    """
    samples = measure({"nothing": lambda: None}, seconds, seconds)["nothing"]
    return float(np.median(samples))


def _window(call: Call, nanoseconds: array[int], duration: int) -> int:
    """Append the ns of each call until `duration` ns are over; return the ns used."""
    clock = time.perf_counter_ns
    append = nanoseconds.append
    begin = clock()
    while True:
        start = clock()
        call()
        end = clock()
        append(end - start)
        if end - begin >= duration:
            return end - begin
