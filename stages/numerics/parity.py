"""How far apart two sets of logits, or of quantized values, for the same images are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.results.conversion import LogitDifference

Logits = NDArray[Any]


def compare(
    reference: Logits, candidate: Logits, agreement: float | None = None
) -> LogitDifference:
    """Differences of two arrays of outputs (N, ...).

    top1_agreement            `agreement`, the share of equal answers; by default that of images
                              with the same largest of (N, classes)
    max_absolute_difference   over all elements
    mean_absolute_difference  over all elements
    max_relative_difference   max_absolute_difference / max |reference|
    """
    difference = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    if agreement is None:
        agreement = float(np.mean(reference.argmax(axis=1) == candidate.argmax(axis=1)))
    largest = max(float(np.abs(reference).max()), float(np.finfo(np.float32).tiny))
    return LogitDifference(
        samples=len(reference),
        top1_agreement=agreement,
        max_absolute_difference=float(difference.max()),
        mean_absolute_difference=float(difference.mean()),
        max_relative_difference=float(difference.max()) / largest,
    )


def unexplained_labels(expected: Logits, got: Logits, difference: float) -> int:
    """Number of images with another label although it has to be the same: logits (N, classes).

    If no logit moves by more than `difference`, the largest stays the largest where it is ahead of
    the second by more than twice that. Logits that are not finite are never explained.
    """
    second, first = np.sort(expected, axis=1)[:, -2:].T
    has_to_stay = first - second > 2 * difference
    is_broken = ~np.isfinite(got).all(axis=1)
    changed = expected.argmax(axis=1) != got.argmax(axis=1)
    return int(np.sum(is_broken | (changed & has_to_stay)))


def steps_apart(expected: NDArray[np.integer[Any]], got: NDArray[np.integer[Any]]) -> list[int]:
    """Number of elements, those off by one step, and those off by more, of quantized values."""
    apart = np.abs(expected.astype(np.int32) - got.astype(np.int32))
    return [int(apart.size), int((apart == 1).sum()), int((apart > 1).sum())]
