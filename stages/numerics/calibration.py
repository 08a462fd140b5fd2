"""Ranges from observed activations: pure functions over histograms.

A range is a pair (low, high) with low <= 0 <= high, for zero is on every grid. Where nothing below
zero was seen, low is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.numerics.qparams import activation_scale, asymmetric_grid, quantize

BINS = 4096
LEVELS = 256
SHARES = np.arange(100, 4, -1) / 100
"""How far from zero to what was seen an end of a range may lie: every hundredth that is tried."""
PASSES = 2
REPEATED = 8.0
"""A bin with as many times the count of its neighbours holds a value that repeats."""

Limits = tuple[float, float]


@dataclass(frozen=True)
class Histogram:
    """Counts of x in equal bins over [low, high]: counts (BINS,) int64."""

    low: float
    high: float
    counts: NDArray[np.int64]

    def add(self, values: NDArray[np.float32]) -> Histogram:
        """This histogram with `values` counted in; those beyond it fall into its outermost bins."""
        inside = np.clip(values.ravel(), self.low, self.high)
        counted, _ = np.histogram(inside, BINS, (self.low, self.high))
        return Histogram(self.low, self.high, self.counts + counted)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Ends of the bins: (BINS + 1,)."""
        return np.linspace(self.low, self.high, BINS + 1)


def empty(low: float, high: float) -> Histogram:
    """An empty histogram over `low` to `high` and zero; a dead tensor gets 0 to 1e-6."""
    low, high = min(low, 0.0), max(high, 0.0)
    return Histogram(low, high if high - low > 1e-6 else low + 1e-6, np.zeros(BINS, np.int64))


def percentile_limits(histogram: Histogram, percentile: float) -> Limits:
    """The range without the rarest values, of which `percentile` percent remain.

    Where values have both signs, half of what goes is taken from either end. counts 99 in the first
    bin and 1 in the last, percentile 99 -> upper edge of the first.
    """
    covered, edges = np.cumsum(histogram.counts), histogram.edges
    outside = covered[-1] * (1.0 - percentile / 100.0) / (2 if histogram.low < 0 else 1)
    # A hair wider: for percentile 99 of 100 values, 1 - 0.99 is a little more than one of them.
    first = int(np.searchsorted(covered, outside * (1 + 1e-9), side="right"))
    last = int(np.searchsorted(covered, (covered[-1] - outside) * (1 - 1e-12)))
    low = min(float(edges[first]), 0.0) if histogram.low < 0 else 0.0
    return low, max(float(edges[min(last, BINS - 1) + 1]), 0.0)


def mse_limits(histogram: Histogram) -> Limits:
    """The range whose grid has the least mean squared error.

    A narrower range rounds more finely and clips more. Each bin counts at its centre.
    """
    edges = histogram.edges
    centres = ((edges[1:] + edges[:-1]) / 2).astype(np.float32)

    def error(low: float, high: float) -> float:
        grid = asymmetric_grid(low, high)
        scale = activation_scale(low, high, grid)
        difference = quantize(centres, scale, grid) * scale - centres
        return float(histogram.counts @ difference.astype(np.float64) ** 2)

    return _narrowed(histogram, error)


def entropy_limits(histogram: Histogram) -> Limits:
    """The range that loses the least information, measured by the Kullback-Leibler divergence.

    For each candidate the values outside are counted in the outermost bins inside, and what is
    left after merging the bins into LEVELS levels is compared with what was there (Migacz,
    '8-bit inference with TensorRT', 2017). No candidate has fewer bins than levels.
    """
    counts = _without_repeats(histogram)
    edges = histogram.edges

    def divergence(low: float, high: float) -> float:
        first = int(np.searchsorted(edges, low, side="right")) - 1
        last = int(np.searchsorted(edges, high))
        if last - first < LEVELS:
            return np.inf
        reference = counts[first:last].copy()
        reference[0] += histogram.counts[:first].sum()
        reference[-1] += histogram.counts[last:].sum()
        return _divergence(reference, _merged(counts[first:last], LEVELS))

    return _narrowed(histogram, divergence)


def _narrowed(histogram: Histogram, loss: Callable[[float, float], float]) -> Limits:
    """The range of the least `loss(low, high)` that is found by moving one end at a time."""
    low, high = histogram.low, histogram.high
    for _ in range(PASSES):
        # From the widest on: of equal losses, the range that clips least.
        high = float(min(histogram.high * SHARES, key=lambda end: loss(low, float(end))))
        if histogram.low < 0:
            low = float(min(histogram.low * SHARES, key=lambda end: loss(float(end), high)))
    return low, high


def _without_repeats(histogram: Histogram) -> NDArray[np.float64]:
    """Counts with those of single values that repeat as if they were like their neighbours.

    Zeros, which are on every grid, and what a constant background becomes in each channel. Merging
    such a bin with others counts as a loss, although rounding moves its values like all others:
    the range would shrink until every one of them has a level of its own.
    """
    counts = histogram.counts.astype(np.float64)
    beside = _beside(counts)
    zero = int(np.histogram([0.0], BINS, (histogram.low, histogram.high))[0].argmax())
    repeats = (counts > counts.sum() / BINS) & (counts > REPEATED * beside)
    repeats[zero] = True
    return np.where(repeats, beside, counts)


def _beside(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of the bins around each, as many as merge into a level: (BINS,)."""
    reach = BINS // LEVELS // 2
    padded = np.pad(counts, reach, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.median(around, axis=1)


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


def saturated_share(histogram: Histogram, low: float, high: float) -> float:
    """Share of the observed values that lie in bins outside of `low` to `high`: 0..1."""
    width = (histogram.high - histogram.low) / BINS
    first = int(np.floor((low - histogram.low) / width + 1e-9))
    last = int(np.ceil((high - histogram.low) / width - 1e-9))
    outside = histogram.counts[: max(first, 0)].sum() + histogram.counts[max(last, 0) :].sum()
    total = int(histogram.counts.sum())
    return float(outside / total) if total else 0.0
