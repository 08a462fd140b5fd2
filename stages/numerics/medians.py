"""The ratio of the medians of two series of measurements."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.numerics.proportions import CONFIDENCE, Interval

RESAMPLES = 4000
SEED = 0
LEAST_WINDOWS = 5
"""With fewer the same median is drawn too often for its spread to mean anything."""


def ratio(before: ArrayLike, after: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Median of `after` (m,) / median of `before` (n,), both positive, with its interval.

    Percentile bootstrap of its logarithm: both series are drawn again with replacement,
    4,000 times, with a fixed seed. The values of one series must not depend on each other:
    give medians of time windows, not single calls, which share the machine's load.
    Raises ValueError for fewer than five values in either.
    """
    old, new = (np.asarray(values, np.float64) for values in (before, after))
    if min(len(old), len(new)) < LEAST_WINDOWS:
        raise ValueError(f"got {len(old)} and {len(new)} values, expected {LEAST_WINDOWS} each")
    random = np.random.default_rng(SEED)
    # Logarithms, so that twice as fast and half as fast are equally far from no change. Of the
    # medians, not of the values: between two middle ones they would have another median.
    changes = np.log(_medians(new, random)) - np.log(_medians(old, random))
    tail = (1 - confidence) / 2
    low, high = np.exp(np.quantile(changes, (tail, 1 - tail))).tolist()
    return Interval(float(np.median(new) / np.median(old)), low, high)


def _medians(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    drawn = values[random.integers(0, len(values), (RESAMPLES, len(values)))]
    medians: NDArray[np.float64] = np.median(drawn, axis=1)
    return medians


def of_blocks(samples: ArrayLike, blocks: int) -> list[float]:
    """Medians of `blocks` runs of neighbours, as equal as can be, of samples (n,), in order."""
    parts = np.array_split(np.asarray(samples, np.float64), blocks)
    return [float(np.median(part)) for part in parts if len(part)]
