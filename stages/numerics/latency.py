"""Latency of single calls, summed up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def row(
    samples_ms: NDArray[np.float64], *, batch_size: int, runtime: str, precision: str, threads: int
) -> dict[str, Any]:
    """One row of a latency table from the milliseconds of each call, float64 (calls,).

    samples            number of calls
    p50_ms, p90_ms,    q % of the calls took at most this long, linear between two calls
    p99_ms             (p99 of fewer than 1,000 calls is an indication only)
    mean_ms            arithmetic mean
    images_per_second  1000 * batch_size / mean_ms: one call after the other, as measured

    Example: calls of 1, 2 and 3 ms with 4 images each: p50 2 ms, mean 2 ms, 2000 images/s.
    """
    p50, p90, p99 = np.percentile(samples_ms, (50, 90, 99)).tolist()
    mean = float(np.mean(samples_ms))
    return {
        "batch_size": batch_size,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "samples": len(samples_ms),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "mean_ms": mean,
        "images_per_second": 1000.0 * batch_size / mean,
    }
