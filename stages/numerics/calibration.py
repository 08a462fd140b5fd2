"""Ranges from observed activations: pure functions over histograms of magnitudes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 4096


@dataclass(frozen=True)
class Histogram:
    """Counts of |x| in equal bins over [0, amax]: counts (BINS,) int64."""

    amax: float
    counts: NDArray[np.int64]

    def add(self, values: NDArray[np.float32]) -> Histogram:
        """This histogram with |values| counted in; values beyond amax fall into the last bin."""
        magnitudes = np.minimum(np.abs(values.ravel()), self.amax)
        counted, _ = np.histogram(magnitudes, BINS, (0.0, self.amax))
        return Histogram(self.amax, self.counts + counted)


def empty(amax: float) -> Histogram:
    """A histogram over [0, amax] that has counted nothing; a dead tensor gets amax 1e-6."""
    return Histogram(max(amax, 1e-6), np.zeros(BINS, np.int64))


def percentile_amax(histogram: Histogram, percentile: float) -> float:
    """Smallest bin edge that at least `percentile` percent of all values do not exceed.

    counts 99 in the first bin and 1 in the last, percentile 99 -> upper edge of the first.
    """
    covered = np.cumsum(histogram.counts)
    enough = int(np.searchsorted(covered, covered[-1] * percentile / 100.0))
    return histogram.amax * (min(enough, BINS - 1) + 1) / BINS


def saturated_share(histogram: Histogram, amax: float) -> float:
    """Share of the observed values whose magnitude lies in bins above `amax`: 0..1."""
    first = int(np.ceil(amax / histogram.amax * BINS - 1e-9))
    total = int(histogram.counts.sum())
    return float(histogram.counts[first:].sum()) / total if total else 0.0
