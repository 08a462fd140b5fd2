"""Yes or no for each image: targets int64 (N,) of 0 and 1, outputs (N, 1), a logit or a sigmoid's.

The first class is no, the second yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import DataError
from stages.numerics import classification as numbers
from stages.numerics import ranking
from stages.results.base import Quality
from stages.results.training import Classification
from stages.tasks import classification, sigmoids
from stages.tasks.base import Outputs, Shape, Targets
from stages.tasks.registry import Output
from stages.tasks.sigmoids import cross_entropy, probabilities, thresholds_of

OUTPUTS: tuple[Output, ...] = ("logits", "probabilities")
TOLERANCE = 0.0


def fits(targets: Targets) -> bool:
    """Class numbers of two classes."""
    return classification.fits(targets) and set(np.unique(targets).tolist()) <= {0, 1}


names = classification.names


def checked(targets: Targets, names: Sequence[str], origin: str) -> NDArray[np.int64]:
    """0 and 1 int64 (N,), also of booleans. Raises DataError."""
    if len(names) != 2:
        raise DataError(
            f"{origin}: there are {len(names)} classes, expected two, the second of them the yes",
            "for more: --set model.task=classification",
        )
    is_flag = targets.dtype == np.bool_
    return classification.checked(targets.astype(np.int64) if is_flag else targets, names, origin)


def output_shapes(count: int, image_shape: Shape) -> tuple[Shape, ...]:
    """One value."""
    return ((1,),)


strata = classification.strata


def evidence(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """The value and what is right: (N, 2)."""
    return np.stack([outputs[:, 0].astype(np.float64), targets.astype(np.float64)], axis=1)


def score(evidence: NDArray[np.float64]) -> float:
    """The area under the ROC curve, which no threshold moves."""
    return ranking.roc_auc(evidence[:, 0], evidence[:, 1])


def loss(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """Mean cross-entropy, in nats."""
    return cross_entropy(outputs, targets[:, None], signature)


def errors(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """1 for a wrong side of the threshold."""
    return np.asarray(_yes(outputs, signature) != targets, np.float64)


def decisions(outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
    """1 for a yes."""
    return _yes(outputs, signature)


def quality(outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
    """The area under the ROC curve; F1, accuracy and macro recall at the threshold."""
    yes = _yes(outputs, signature)
    at_threshold = numbers.of_classes(yes, targets)
    return Quality(
        samples=len(targets),
        recall_macro=at_threshold.recall_macro,
        precision_macro=at_threshold.precision_macro,
        metric="roc_auc",
        measures={
            "roc_auc": ranking.roc_auc(outputs[:, 0], targets),
            "f1": ranking.f1(yes, targets),
            "accuracy": float(np.mean(yes == targets)),
            "threshold": thresholds_of(signature)[0],
        },
    )


def describe(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    """Scores of both classes at the threshold."""
    return numbers.describe(_yes(outputs, signature), targets, signature.class_names)


def thresholds(outputs: Outputs, targets: Targets, signature: Signature) -> tuple[float, ...]:
    """The probability with the highest F1."""
    return (ranking.best_threshold(probabilities(outputs, signature)[:, 0], targets),)


agreement = sigmoids.agreement
unexplained = sigmoids.unexplained


def _yes(outputs: Outputs, signature: Signature) -> NDArray[np.int64]:
    return sigmoids.decided(outputs, signature)[:, 0].astype(np.int64)
