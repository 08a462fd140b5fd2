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
    """An empty histogram over [0, amax]; a dead tensor gets amax 1e-6."""
    return Histogram(max(amax, 1e-6), np.zeros(BINS, np.int64))


def percentile_amax(histogram: Histogram, percentile: float) -> float:
    """Smallest bin edge that at least `percentile` percent of all values do not exceed.

    counts 99 in the first bin and 1 in the last, percentile 99 -> upper edge of the first.
    """
    covered = np.cumsum(histogram.counts)
    enough = int(np.searchsorted(covered, covered[-1] * percentile / 100.0))
    return histogram.amax * (min(enough, BINS - 1) + 1) / BINS


def mse_amax(histogram: Histogram, steps: int) -> float:
    """The range whose grid of `steps` positive steps has the least mean squared error.

    A narrower range rounds more finely and clips more; every hundredth from 20 % of the
    largest magnitude on is tried. Each bin counts at its centre.
    """
    centres = (np.arange(BINS) + 0.5) / BINS * histogram.amax
    candidates = histogram.amax * np.arange(20, 101) / 100

    def error(amax: float) -> float:
        scale = amax / steps
        rounded = np.minimum(np.round(centres / scale), steps) * scale
        return float(histogram.counts @ (rounded - centres) ** 2)

    # From the widest on: of equal errors, the range that clips least.
    return float(min(reversed(candidates), key=error))


def entropy_amax(histogram: Histogram, steps: int) -> float:
    """The range that loses the least information, measured by the Kullback-Leibler divergence.

    For each candidate the values outside are counted in the last bin inside, and what is
    left after merging the bins into `steps` levels is compared with what was there (Migacz,
    '8-bit inference with TensorRT', 2017). Candidates are whole bins from `steps` bins on.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]  # Zeros are on every grid; behind a ReLU they would outweigh the rest.
    total = counts.sum()
    best, best_divergence = BINS, np.inf
    for inside in range(BINS, steps - 1, -max(1, BINS // 256)):
        reference = counts[:inside].copy()
        reference[-1] += total - reference.sum()
        divergence = _divergence(reference, _merged(counts[:inside], steps))
        if divergence < best_divergence:
            best, best_divergence = inside, divergence
    return histogram.amax * best / BINS


def _merged(counts: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """Counts after merging into `levels` and spreading each level over its non-empty bins."""
    level = np.arange(len(counts)) * levels // len(counts)
    filled = np.bincount(level, counts > 0, levels)
    merged = np.bincount(level, counts, levels) / np.maximum(filled, 1)
    spread: NDArray[np.float64] = np.where(counts > 0, merged[level], 0.0)
    return spread


def _divergence(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    """sum p log(p / q) with p and q normalised; a bin that q lacks counts as nearly empty."""
    p = reference / max(reference.sum(), 1.0)
    q = np.maximum(candidate / max(candidate.sum(), 1.0), 1e-12)
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


def saturated_share(histogram: Histogram, amax: float) -> float:
    """Share of the observed values whose magnitude lies in bins above `amax`: 0..1."""
    first = int(np.ceil(amax / histogram.amax * BINS - 1e-9))
    total = int(histogram.counts.sum())
    return float(histogram.counts[first:].sum()) / total if total else 0.0
