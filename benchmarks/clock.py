"""How well stages/measurement/clock.py measures, against known times and against timeit.

    python benchmarks/clock.py [--seconds 2]

Prints a Markdown table. Expected on a quiet machine: a sleep within 2 % of what it should be,
p50 and p90 within 3 % of a plain timeit loop of the same call, under 1 us of overhead per call.
timeit itself adds about 0.1 us to a call that is made once, which shows on the shorter one.
"""

from __future__ import annotations

import argparse
import time
import timeit
from collections.abc import Callable

import numpy as np

from stages.measurement import clock

SLEEP_MS = 5.0

CALLS: dict[str, Callable[[], object]] = {
    "call of 0.01 ms": lambda: sum(range(1000)),
    "call of 0.1 ms": lambda: sum(range(10_000)),
}
"""As long as the calls of a tiny and of a small engine."""


def sleep() -> None:
    """A runtime that takes a known time: sleeps most of it, then waits for the rest."""
    end = time.perf_counter_ns() + round(SLEEP_MS * clock.NS_PER_MS)
    time.sleep(0.8 * SLEEP_MS / 1000)
    while time.perf_counter_ns() < end:
        pass


def by_timeit(call: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of single calls by timeit, one repetition each."""
    once = timeit.timeit(call, number=1)
    return [1000 * each for each in timeit.repeat(call, number=1, repeat=int(seconds / once) + 1)]


def in_turns(call: Callable[[], object], seconds: float) -> tuple[list[float], list[float]]:
    """Both clocks on the same call, in ten turns, so that the machine is the same for both."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(10):
        ours += clock.measure({"": call}, 0.01, seconds / 10)[""].tolist()
        theirs += by_timeit(call, seconds / 10)
    return ours, theirs


def cost_us(seconds: float) -> float:
    """Microseconds that measuring adds to one call, in its sample and around it."""
    samples, taken_ms = clock.once(lambda: clock.measure({"": lambda: None}, 1e-9, seconds)[""])
    return 1000 * taken_ms / len(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    seconds = parser.parse_args().seconds
    slept = np.concatenate(clock.until_stable({"": sleep}, 0.05, seconds)[""])
    rows = [("sleep, p50", SLEEP_MS, float(np.median(slept)))]
    for name, call in CALLS.items():
        ours, theirs = in_turns(call, seconds)
        for share in (50, 90):
            expected, found = (float(np.percentile(each, share)) for each in (theirs, ours))
            rows.append((f"{name}, p{share} against timeit", expected, found))
    print("| what | expected | measured | difference |")
    print("| --- | ---: | ---: | ---: |")
    for name, known, found in rows:
        print(f"| {name} | {known:.5f} ms | {found:.5f} ms | {100 * (found / known - 1):+.2f} % |")
    print(
        f"| in the sample of a call that does nothing | | {1000 * clock.overhead_ms():.3f} us | |"
    )
    print(f"| measuring, per call | < 1 us | {cost_us(seconds):.3f} us | |")


if __name__ == "__main__":
    main()
