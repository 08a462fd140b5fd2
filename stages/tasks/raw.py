"""Outputs that are not judged by themselves, as a detector's: any shape, any targets, or none.

What decides is a metric of the user's (own.py). They are not learned from targets: fine-tunes
teach what the trained network returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import DataError
from stages.results.base import Quality
from stages.results.training import Classification
from stages.tasks.base import Difference, Outputs, Shape, Targets
from stages.tasks.registry import Output

OUTPUTS: tuple[Output, ...] = ("values",)
TOLERANCE = 0.0
CLOSE = 0.1
"""Standard deviations that equal values may differ by."""


def fits(targets: Targets) -> bool:
    """Never: it has to be asked for."""
    return False


def names(known: Sequence[str], targets: Targets) -> tuple[str, ...]:
    """None."""
    return ()


def checked(targets: Targets, names: Sequence[str], origin: str) -> Targets:
    """As they are. Raises DataError for what is no number, and for what is not finite."""
    if targets.dtype.kind not in "fiub":
        raise DataError(
            f"{origin}: the targets are {targets.dtype}, expected numbers",
            "pad what differs in length from image to image",
        )
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise DataError(
            f"{origin}: some targets are NaN or infinite, expected numbers",
            "pad with a number that your metric knows, as -1",
        )
    return targets


def output_shapes(count: int, image_shape: Shape) -> tuple[Shape, ...]:
    """None that is known: any fits."""
    return ()


def strata(targets: Targets) -> NDArray[np.int64]:
    """All images are of one kind."""
    return np.zeros(len(targets), np.int64)


def evidence(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """Nothing: (N, 1) zeros."""
    return np.zeros((len(outputs), 1))


def score(evidence: NDArray[np.float64]) -> float:
    """0: nothing is judged."""
    return 0.0


def loss(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """0."""
    return 0.0


def errors(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """0 for each image: (N,)."""
    return np.zeros(len(outputs))


def decisions(outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
    """None."""
    return None


def quality(outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
    """No more than how many images there are."""
    return Quality(samples=len(outputs))


def describe(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    """None."""
    return None


def thresholds(outputs: Outputs, targets: Targets, signature: Signature) -> tuple[float, ...]:
    """None."""
    return ()


def agreement(expected: Outputs, got: Outputs, signature: Signature) -> float:
    """Share of values that are no further apart than CLOSE of their standard deviation."""
    allowed = CLOSE * float(expected.astype(np.float64).std())
    return float(np.mean(np.abs(got.astype(np.float64) - expected) <= allowed))


def unexplained(
    expected: Outputs, got: Outputs, difference: Difference, signature: Signature
) -> int:
    """Images with a value that has moved by more than rounding explains, twice over."""
    moved = np.abs(got.astype(np.float64) - expected)
    odd = ~np.isfinite(got) | (moved > 2 * float(np.max(difference)))
    return int(odd.reshape(len(odd), -1).any(axis=1).sum())
