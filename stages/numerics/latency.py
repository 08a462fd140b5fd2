"""Latency statistics of single calls, and when their median is certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.results.base import P99_SAMPLES, LatencyRow

INTERVAL_WIDTH, WINDOW_SPREAD = 0.01, 0.02
"""Limits of a stable median, as shares of it: see `is_stable`."""

AGREEING_WINDOWS = 3
RESAMPLES = 1000


def row(
    samples_ms: NDArray[np.float64],
    *,
    batch_size: int,
    runtime: str,
    precision: str,
    threads: int,
    window_p50_ms: Sequence[float] = (),
) -> LatencyRow:
    """One row of a latency table from the milliseconds of each call, float64 (calls,).

    samples            number of calls
    p50_ms, p90_ms,    q % of the calls took at most this long, linear between two calls
    p99_ms
    p99_is_indicative  whether there are fewer than 1,000 calls
    mean_ms            arithmetic mean
    images_per_second  1000 * batch_size / p50_ms: one call after the other. Of the median, so that
                       `stable` says how certain it is; the odd interruption moves a mean

    and if the calls were made in windows whose medians are given:

    window_p50_ms      these medians, in order
    p50_low_ms,        95 % interval of the median: see `median_interval`
    p50_high_ms
    stable             whether the median is certain: see `is_stable`

    Example: calls of 1, 2 and 3 ms with 4 images each: p50 2 ms, mean 2 ms, 2000 images/s.
    """
    p50, p90, p99 = np.percentile(samples_ms, (50, 90, 99)).tolist()
    mean = float(np.mean(samples_ms))
    return LatencyRow(
        batch_size=batch_size,
        runtime=runtime,
        precision=precision,
        threads=threads,
        samples=len(samples_ms),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p99_is_indicative=len(samples_ms) < P99_SAMPLES,
        mean_ms=mean,
        images_per_second=1000.0 * batch_size / p50,
        **certainty(window_p50_ms),
    )


def median_interval(window_p50_ms: Sequence[float]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median over windows (Efron 1979).

    Whole windows are drawn, not calls: calls of one window share their neighbours' load and the
    CPU's clock, and taken for independent they would make the interval many times too narrow.
    The draws come from a fixed seed: the same windows give the same interval.
    """
    values = np.asarray(window_p50_ms, np.float64)
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5)).tolist()
    return low, high


def is_stable(window_p50_ms: Sequence[float]) -> bool:
    """Whether the median is certain.

    The last three windows lie within 2 % of their median, and the 95 % interval of the median
    over all windows is less than 1 % of it wide. Fewer than three windows never are.
    """
    last = window_p50_ms[-AGREEING_WINDOWS:]
    if len(last) < AGREEING_WINDOWS:
        return False
    if max(last) - min(last) > WINDOW_SPREAD * float(np.median(last)):
        return False
    low, high = median_interval(window_p50_ms)
    return bool(high - low < INTERVAL_WIDTH * float(np.median(window_p50_ms)))


def certainty(window_p50_ms: Sequence[float]) -> dict[str, Any]:
    """The four fields of a row that windows decide: see `row`. Empty without windows."""
    if not window_p50_ms:
        return {}
    low, high = median_interval(window_p50_ms)
    return {
        "window_p50_ms": list(window_p50_ms),
        "p50_low_ms": low,
        "p50_high_ms": high,
        "stable": is_stable(window_p50_ms),
    }
