"""Numbers for each image, as an age or a pose: targets float32 (N, values), outputs the same."""

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
TOLERANCE = 0.1
"""Standard deviations of the targets."""
BINS = 8
"""Quantiles of the first value, for the splits."""


def fits(targets: Targets) -> bool:
    """Floats, one or more for each image."""
    return targets.ndim in (1, 2) and np.issubdtype(targets.dtype, np.floating)


def names(known: Sequence[str], targets: Targets) -> tuple[str, ...]:
    """Those of the columns, or their numbers."""
    count = targets.shape[1] if targets.ndim > 1 else 1
    return tuple(known) if len(known) == count else tuple(map(str, range(count)))


def checked(targets: Targets, names: Sequence[str], origin: str) -> NDArray[np.float32]:
    """Numbers float32 (N, values), of (N,) or (N, values). Raises DataError."""
    values = targets[:, None] if targets.ndim == 1 else targets
    is_number = values.dtype.kind in "fiub"
    if values.ndim != 2 or values.shape[1] != len(names) or not is_number:
        raise DataError(
            f"{origin}: the targets are {targets.dtype} {targets.shape}, "
            f"expected numbers (N, {len(names)})",
            "give one column of numbers for each value that the network is to return",
        )
    is_fit = np.abs(values.astype(np.float64)) <= np.finfo(np.float32).max
    broken = int(np.count_nonzero(~is_fit))
    if broken:
        raise DataError(
            f"{origin}: {broken} of {values.size} targets are NaN or infinite in float32, expected "
            "numbers",
            "leave out the images that have no target",
        )
    return values.astype(np.float32)


def output_shapes(count: int, image_shape: Shape) -> tuple[Shape, ...]:
    """One value each."""
    return ((count,),)


def strata(targets: Targets) -> NDArray[np.int64]:
    """The quantile of the first value: low and high ones are in every split."""
    first = targets[:, 0]
    edges = np.quantile(first, np.arange(1, BINS) / BINS)
    _, dense = np.unique(np.searchsorted(edges, first, side="right"), return_inverse=True)
    return dense.astype(np.int64)


def evidence(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """The values, then what is right: (N, 2 values)."""
    return np.concatenate([outputs, targets], axis=1, dtype=np.float64)


def score(evidence: NDArray[np.float64]) -> float:
    """R2, the mean over the values: the share of a value's variance that is explained.

    1 - sum of squared errors / sum of squared distances from the mean: scikit-learn's `r2_score`.
    A value that is the same for all images counts as 0, or 1 where it is met.
    """
    values, targets = np.split(evidence, 2, axis=1)
    missed = ((values - targets) ** 2).sum(axis=0)
    spread = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    is_constant = spread == 0
    shares = 1 - missed / np.where(is_constant, 1.0, spread)
    return float(np.mean(np.where(is_constant, missed == 0, shares)))


def loss(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """Mean squared error, as a share of the variance of each value."""
    variance = targets.astype(np.float64).var(axis=0)
    squares = ((outputs.astype(np.float64) - targets) ** 2).mean(axis=0)
    return float(np.mean(squares / np.where(variance == 0, 1.0, variance)))


def errors(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """Mean absolute error over the values, in standard deviations of the targets."""
    spread = targets.astype(np.float64).std(axis=0)
    return np.asarray(
        (np.abs(outputs - targets) / np.where(spread == 0, 1.0, spread)).mean(axis=1), np.float64
    )


def decisions(outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
    """None: answers are numbers."""
    return None


def quality(outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
    """R2, mean absolute error and root mean squared error, the last two in the targets' unit."""
    difference = outputs.astype(np.float64) - targets
    return Quality(
        samples=len(targets),
        metric="r2",
        measures={
            "r2": score(evidence(outputs, targets, signature)),
            "mae": float(np.abs(difference).mean()),
            "rmse": float(np.sqrt((difference**2).mean())),
        },
    )


def describe(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    """None: there are no classes."""
    return None


def thresholds(outputs: Outputs, targets: Targets, signature: Signature) -> tuple[float, ...]:
    """None."""
    return ()


def agreement(expected: Outputs, got: Outputs, signature: Signature) -> float:
    """Share of values that are no further apart than TOLERANCE of their standard deviations."""
    allowed = TOLERANCE * expected.astype(np.float64).std(axis=0)
    return float(np.mean(np.abs(got.astype(np.float64) - expected) <= allowed))


def unexplained(
    expected: Outputs, got: Outputs, difference: Difference, signature: Signature
) -> int:
    """Images with a value that has moved by more than rounding explains, twice over."""
    moved = np.abs(got.astype(np.float64) - expected)
    return int(np.any(~np.isfinite(got) | (moved > 2 * difference), axis=1).sum())
