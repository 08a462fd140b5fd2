"""Confidence of a metric without a closed form: the images are drawn again, with replacement."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.numerics.proportions import CONFIDENCE, Interval

DRAWS = 400
Rows = NDArray[np.float64]


class Scores(NamedTuple):
    """The score of all images, and float64 (draws,) those of draws of them."""

    of_all: float
    drawn: NDArray[np.float64]


def scores(score: Callable[[Rows], float], rows: Rows, seed: int = 0, draws: int = DRAWS) -> Scores:
    """Scores of rows (N, K). Of as many other rows the same images are drawn."""
    drawn = np.random.default_rng(seed).integers(0, len(rows), (draws, len(rows)))
    return Scores(score(rows), np.array([score(rows[each]) for each in drawn]))


def change(before: Scores, after: Scores, confidence: float = CONFIDENCE) -> Interval:
    """What is gained from `before` to `after`, of the same images, and its percentile interval.

    Paired: both are scored on the same draw of images, so that easy and hard ones cancel out.
    Efron and Tibshirani, 'An Introduction to the Bootstrap' (1993), sections 8 and 13.3. The
    estimate is always within. Draws of which the score is NaN say nothing.
    """
    estimate, found = after.of_all - before.of_all, after.drawn - before.drawn
    known = found[np.isfinite(found)]
    known = known if len(known) else np.array([estimate])
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
