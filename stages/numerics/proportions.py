"""Accuracies as proportions: their confidence intervals, and whether two of them differ.

The intervals are score intervals. They hold near 0 and 1, where accuracies are and where
the textbook's p +- 1.96 * sqrt(p * (1 - p) / n) does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether `value` is outside."""
        return not self.low <= value <= self.high


def wilson(hits: int, samples: int, confidence: float = CONFIDENCE) -> Interval:
    """The share `hits` / `samples` with Wilson's score interval (1927).

    Raises ValueError without samples or with more hits than samples.

    Example: 9 of 10 is 0.9 (0.596 to 0.982).
    """
    if not 0 <= hits <= samples or samples == 0:
        raise ValueError(f"got {hits} hits of {samples} samples")
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    share = hits / samples
    middle = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    spread = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * samples)) / samples)
    spread /= 1 + z2 / samples
    # Rounding must not leave the share outside, as 1.0 above 0.9999999999999999 for all of 40.
    low, high = min(share, middle - spread), max(share, middle + spread)
    return Interval(share, max(0.0, low), min(1.0, high))


def change(
    hits_before: int,
    samples_before: int,
    hits_after: int,
    samples_after: int,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Share after - share before, of two independent sets of samples.

    Newcombe's hybrid score interval: R. G. Newcombe, Interval estimation for the difference
    between independent proportions, Statistics in Medicine 17 (1998), method 10.

    Example: from 48 of 80 to 56 of 70 is 0.2 (0.0524 to 0.3339).
    """
    before = wilson(hits_before, samples_before, confidence)
    after = wilson(hits_after, samples_after, confidence)
    return _hybrid(before, after, correlation=0.0)


def paired_change(
    both: int, only_before: int, only_after: int, neither: int, confidence: float = CONFIDENCE
) -> Interval:
    """Share after - share before on the same samples, counted by which of the two were right.

    Newcombe's score interval for paired data: R. G. Newcombe, Improved confidence intervals
    for the difference between binomial proportions based on paired data, Statistics in
    Medicine 17 (1998), method 10.
    """
    samples = both + only_before + only_after + neither
    before = wilson(both + only_before, samples, confidence)
    after = wilson(both + only_after, samples, confidence)
    return _hybrid(before, after, _correlation(both, only_before, only_after, neither))


def of_counts(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Interval:
    """`paired_change` of what was right (N,) and what is."""
    counts = (before & after, before & ~after, ~before & after, ~before & ~after)
    return paired_change(*(int(each.sum()) for each in counts))


def _hybrid(before: Interval, after: Interval, correlation: float) -> Interval:
    change = after.estimate - before.estimate
    down = _length(after.estimate - after.low, before.high - before.estimate, correlation)
    up = _length(after.high - after.estimate, before.estimate - before.low, correlation)
    return Interval(change, change - down, change + up)


def _length(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))


def _correlation(both: int, only_before: int, only_after: int, neither: int) -> float:
    """The phi coefficient of the two answers; a positive one is corrected for continuity."""
    margins = (both + only_before) * (only_after + neither)
    margins *= (both + only_after) * (only_before + neither)
    if margins == 0:
        return 0.0
    product = both * neither - only_before * only_after
    half = (both + only_before + only_after + neither) / 2
    corrected = max(product - half, 0.0) if product > 0 else product
    return corrected / math.sqrt(margins)


def mcnemar(only_before: int, only_after: int) -> float:
    """McNemar's mid-p value that two models answer equally well, from their disagreements.

    Exact binomial, so that few disagreements suffice; mid-p as advised by Fagerland,
    Lydersen and Laake, BMC Medical Research Methodology 13 (2013).

    Example: 1 against 7 gives 2 * (1 + 8) / 2**8 - 8 / 2**8 = 0.0391.
    """
    trials, fewer = only_before + only_after, min(only_before, only_after)
    cases = 2 * sum(math.comb(trials, k) for k in range(fewer + 1)) - math.comb(trials, fewer)
    p: float = cases / 2**trials
    return p
