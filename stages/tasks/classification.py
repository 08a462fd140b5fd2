"""One class of several for each image: targets int64 (N,), outputs (N, classes)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import DataError
from stages.numerics import classification
from stages.numerics.parity import unexplained_labels
from stages.results.base import Quality
from stages.results.training import Classification
from stages.tasks.base import Difference, Outputs, Shape, Targets
from stages.tasks.registry import Output

OUTPUTS: tuple[Output, ...] = ("logits", "probabilities")
TOLERANCE = 0.0
HIGHEST_LABEL = 2**31 - 1


def fits(targets: Targets) -> bool:
    """Integers, one for each image."""
    is_one = targets.ndim == 1 or (targets.ndim == 2 and targets.shape[1] == 1)
    return is_one and np.issubdtype(targets.dtype, np.integer)


def names(known: Sequence[str], targets: Targets) -> tuple[str, ...]:
    """Those of the classes, or a number for each that occurs."""
    return tuple(known) or tuple(str(label) for label in range(len(np.unique(targets))))


def checked(targets: Targets, names: Sequence[str], origin: str) -> NDArray[np.int64]:
    """Class numbers int64 (N,), of integers (N,) or (N, 1). Raises DataError."""
    if np.issubdtype(targets.dtype, np.floating) and (lacking := int(np.isnan(targets).sum())):
        raise DataError(
            f"{origin}: {lacking} of {targets.size} labels are NaN, expected integers from 0",
            "leave out the images that have no label",
        )
    if not np.issubdtype(targets.dtype, np.integer):
        raise DataError(
            f"{origin}: the labels are {targets.dtype}, expected integers from 0",
            'convert them before they are saved: labels.astype("int64")',
        )
    if targets.ndim not in (1, 2) or (targets.ndim == 2 and targets.shape[1] != 1):
        raise DataError(
            f"{origin}: the labels have the shape {targets.shape}, expected (N,) class numbers",
            "turn one-hot labels into numbers: labels.argmax(axis=1)",
        )
    if targets.size and targets.min() < 0:
        raise DataError(
            f"{origin}: a label is {targets.min()}, expected class numbers from 0",
            "number the classes from 0 without gaps",
        )
    if targets.size and targets.max() > HIGHEST_LABEL:
        raise DataError(
            f"{origin}: a label is {targets.max()}, expected at most {HIGHEST_LABEL}",
            "number the classes from 0 without gaps",
        )
    return targets.reshape(-1).astype(np.int64)


def output_shapes(count: int, image_shape: Shape) -> tuple[Shape, ...]:
    """One value per class."""
    return ((count,),)


def strata(targets: Targets) -> NDArray[np.int64]:
    """The classes."""
    return targets


def evidence(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """Whether each answer is right: (N, 1)."""
    return np.asarray(outputs.argmax(axis=1) == targets, np.float64)[:, None]


def score(evidence: NDArray[np.float64]) -> float:
    """Top-1 accuracy."""
    return float(evidence.mean())


def loss(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """Mean cross-entropy, in nats."""
    from_logits = not signature.returns_probabilities
    return classification.cross_entropy(outputs, targets, from_logits=from_logits)


def errors(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """1 for a wrong class."""
    return np.asarray(outputs.argmax(axis=1) != targets, np.float64)


def decisions(outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
    """The class of the largest value, the first of equal ones."""
    return np.asarray(outputs.argmax(axis=1))


def quality(outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
    """Top-1 accuracy, macro recall and macro precision."""
    return classification.metrics(outputs, targets)


def describe(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    """Scores per class, and who is taken for whom."""
    return classification.describe(outputs.argmax(axis=1), targets, signature.class_names)


def thresholds(outputs: Outputs, targets: Targets, signature: Signature) -> tuple[float, ...]:
    """None: the largest value decides."""
    return ()


def agreement(expected: Outputs, got: Outputs, signature: Signature) -> float:
    """Share of images with the same class."""
    return float(np.mean(expected.argmax(axis=1) == got.argmax(axis=1)))


def unexplained(
    expected: Outputs, got: Outputs, difference: Difference, signature: Signature
) -> int:
    """Images with another class although two values would have had to pass each other."""
    return unexplained_labels(expected, got, float(np.max(difference)))
