"""The clock of every latency that is reported or that decides between engines.

Candidates of one comparison are timed in one process in short windows that take turns, so
that a neighbour's load or a change of the CPU's clock affects all of them alike; every single
call is kept. See docs/decisions/0004-latency-measurement.md.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.numerics import latency

Call = Callable[[], object]
Samples = NDArray[np.float64]
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)

ROUNDS = 10
MIN_WINDOWS, MAX_WINDOWS = 5, 20
"""Of `until_stable`; fewer than five windows say nothing of how much they differ."""
FEWEST, PATIENCE = 3, 4
"""Windows that `until_stable` takes at least, unless PATIENCE times its seconds are over."""
NS_PER_SECOND = 1_000_000_000
NS_PER_MS = 1_000_000


def measure(calls: Mapping[Key, Call], warmup_seconds: float, seconds: float) -> dict[Key, Samples]:
    """Time every call of every candidate: milliseconds, float64 (calls,), in order.

    Each candidate first runs alone for `warmup_seconds`, at least once, which is not counted. Then
    come ten rounds in which every candidate has one window; the order reverses from one round to
    the next. Each candidate gets `seconds` in total; a call that ends later still counts, and a
    candidate that has used up its time skips a round.
    """
    warm_up(calls, warmup_seconds)
    nanoseconds = {name: array("q") for name in calls}
    spent = dict.fromkeys(calls, 0)
    for turn in range(1, ROUNDS + 1):
        allowed = round(seconds * NS_PER_SECOND) * turn // ROUNDS
        for name in calls if turn % 2 else reversed(list(calls)):
            if spent[name] < allowed:
                spent[name] += _window(calls[name], nanoseconds[name], allowed - spent[name])
    return {name: np.array(ns, np.float64) / NS_PER_MS for name, ns in nanoseconds.items()}


def until_stable(
    calls: Mapping[Key, Call],
    warmup_seconds: float,
    seconds: float,
    lead_in_seconds: float = 0.0,
) -> dict[Key, list[Samples]]:
    """Time in windows until the median of every candidate is certain, or time is up.

    Returns the windows of each candidate, milliseconds of every call, float64 (calls,). They
    take turns as in `measure`, each a twentieth of `seconds` long; all candidates are timed until
    `latency.is_stable` holds for all, so that ratios stay ratios of the same moments. After
    `seconds` per candidate it ends anyway: some are then not stable. Each gets FEWEST
    windows at least, unless PATIENCE times as long is over: one alone may be a stall. In front of
    each window the candidate runs for `lead_in_seconds`, which is not counted.
    """
    warm_up(calls, warmup_seconds)
    limit = round(seconds * NS_PER_SECOND)
    length = limit // MAX_WINDOWS
    windows: dict[Key, list[Samples]] = {name: [] for name in calls}
    medians: dict[Key, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0)
    for turn in range(1, MAX_WINDOWS + 1):
        for name in calls if turn % 2 else reversed(list(calls)):
            has_few = len(windows[name]) < FEWEST and spent[name] < PATIENCE * limit
            if spent[name] < turn * length or has_few:
                taken = array("q")
                if lead_in_seconds:
                    warm_up({name: calls[name]}, lead_in_seconds)
                spent[name] += _window(calls[name], taken, length)
                windows[name].append(np.array(taken, np.float64) / NS_PER_MS)
                medians[name].append(float(np.median(windows[name][-1])))
        # Of every candidate, or none: one that stopped early would be compared with another
        # minute of the machine (decision 4).
        if turn >= MIN_WINDOWS and all(map(latency.is_stable, medians.values())):
            break
    return windows


def saturated(calls: Sequence[Call], seconds: float) -> float:
    """Calls per second while every one of `calls` is repeated by a thread of its own.

    All threads begin together. The rate of a thread is that up to the end of the call with which
    `seconds` are over, which counts as well: without it, calls of different durations would seem
    shorter than they are (Wald's equation). Between two calls the threads wait for Python's lock,
    as they would in any Python server.
    """
    begin = threading.Barrier(len(calls))
    per_second = [0.0] * len(calls)
    errors: list[BaseException] = []

    def work(index: int) -> None:
        clock, call, allowed = time.perf_counter_ns, calls[index], round(seconds * NS_PER_SECOND)
        count = spent = 0
        try:
            begin.wait()
            start = clock()
            while spent < allowed:
                call()
                count, spent = count + 1, clock() - start
            per_second[index] = NS_PER_SECOND * count / spent
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(calls))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return sum(per_second)


def rounds(calls: Sequence[Call], seconds: float) -> Samples:
    """Milliseconds of rounds in which each of `calls` is made once, by a thread of its own.

    Float64 (rounds,), after a first round that is not counted. A round begins when all threads
    have ended the last one, and ends with its last call. Raises what a call or a start raised.
    """
    marks = array("q")
    every = threading.Barrier(len(calls), lambda: marks.append(time.perf_counter_ns()))

    def work(call: Call) -> None:
        try:
            every.wait()
            # All decide alike: a mark is made only when all have come back to the barrier.
            while len(marks) < 3 or marks[-1] - marks[0] < seconds * NS_PER_SECOND:
                call()
                every.wait()
        except BaseException:
            every.abort()  # or the others would wait without end
            raise

    with ThreadPoolExecutor(len(calls)) as pool:
        try:
            done = [pool.submit(work, call) for call in calls]
        except BaseException:
            every.abort()
            raise
    errors = [error for each in done if (error := each.exception())]
    # The others say only that the barrier broke.
    for error in sorted(errors, key=lambda each: isinstance(each, threading.BrokenBarrierError)):
        raise error
    return np.diff(np.array(marks, np.float64))[1:] / NS_PER_MS


def once(call: Callable[[], Result]) -> tuple[Result, float]:
    """The result of one call and its milliseconds: for loading and for the first call."""
    start = time.perf_counter_ns()
    result = call()
    return result, (time.perf_counter_ns() - start) / NS_PER_MS


def overhead_ms(seconds: float = 0.02) -> float:
    """What `measure` shows for a call that does nothing: the median, in milliseconds.

    Every sample is too high by that much; it is stored beside the samples, not subtracted.
    """
    samples = measure({"nothing": lambda: None}, seconds, seconds)["nothing"]
    return float(np.median(samples))


def warm_up(calls: Mapping[Key, Call], seconds: float) -> None:
    """Run each of `calls` alone for that long, at least once."""
    for call in calls.values():
        _window(call, array("q"), round(seconds * NS_PER_SECOND))


def _window(call: Call, nanoseconds: array[int], duration: int) -> int:
    """Append the ns of each call until `duration` ns are over; return the ns used."""
    # Looked up once: an attribute looked up between the two readings would be part of every sample.
    # The garbage collector stays on, as in the program that will use the engine (decision 4).
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
