"""Confidence of a metric without a closed form: the images are drawn again, with replacement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.numerics.proportions import CONFIDENCE, Interval

DRAWS = 400
Rows = NDArray[np.float64]


def change(
    score: Callable[[Rows], float],
    before: Rows,
    after: Rows,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """score(after) - score(before), of rows (N, K) of the same images, and its percentile interval.

    Paired: both are scored on the same draw of images, so that easy and hard ones cancel out.
    Efron and Tibshirani, 'An Introduction to the Bootstrap' (1993), sections 8 and 13.3. The
    estimate is always within. Draws of which the score is NaN say nothing.
    """
    drawn = np.random.default_rng(seed).integers(0, len(before), (draws, len(before)))
    found = [score(after[rows]) - score(before[rows]) for rows in drawn]
    estimate = score(after) - score(before)
    known = [each for each in found if np.isfinite(each)] or [estimate]
    low, high = np.quantile(known, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(estimate, min(estimate, float(low)), max(estimate, float(high)))


def is_above_luck(
    score: Callable[[Rows], float],
    rows_of: Callable[[NDArray[np.int64]], Rows],
    samples: int,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    deals: int = 200,
) -> bool:
    """Whether a score is above what the same answers get when they are dealt out at random.

    `rows_of` gives the rows (N, K) of answers in another order (N,) with unmoved targets. A
    permutation test: Fisher, 'The Design of Experiments' (1935), section 21.
    """
    random = np.random.default_rng(seed)
    order = np.arange(samples)
    reached = score(rows_of(order))
    dealt = [score(rows_of(random.permutation(order))) for _ in range(deals)]
    at_least = 1 + sum(each >= reached for each in dealt)
    return bool(at_least / (1 + len(dealt)) <= 1 - confidence)
