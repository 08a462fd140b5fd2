"""Any number of labels for each image: targets 0 and 1 uint8 (N, labels), outputs (N, labels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import DataError
from stages.numerics import ranking
from stages.numerics.classification import class_scores
from stages.results.base import Quality
from stages.results.training import Classification, ClassScore
from stages.tasks import sigmoids
from stages.tasks.base import Outputs, Shape, Targets
from stages.tasks.registry import Output
from stages.tasks.sigmoids import cross_entropy, probabilities

OUTPUTS: tuple[Output, ...] = ("logits", "probabilities")
TOLERANCE = 0.0


def fits(targets: Targets) -> bool:
    """0 and 1 in columns, two or more for each image."""
    if targets.ndim != 2 or targets.shape[1] < 2 or not len(targets):
        return False
    return bool(np.isin(targets, (0, 1)).all())


def names(known: Sequence[str], targets: Targets) -> tuple[str, ...]:
    """Those of the columns, or their numbers."""
    count = targets.shape[1] if targets.ndim > 1 else 1
    return tuple(known) if len(known) == count else tuple(map(str, range(count)))


def checked(targets: Targets, names: Sequence[str], origin: str) -> NDArray[np.uint8]:
    """0 and 1 uint8 (N, labels). Raises DataError."""
    if targets.ndim != 2 or targets.shape[1] != len(names):
        raise DataError(
            f"{origin}: the labels have the shape {targets.shape}, expected (N, {len(names)}), "
            "a column of 0 and 1 for each label",
            "for one class per image: --set model.task=classification",
        )
    odd = targets[~np.isin(targets, (0, 1))]
    if odd.size:
        raise DataError(
            f"{origin}: a label is {odd[0]}, expected 0 or 1 in every column",
            "for numbers: --set model.task=regression",
        )
    return targets.astype(np.uint8)


def output_shapes(count: int, image_shape: Shape) -> tuple[Shape, ...]:
    """One value per label."""
    return ((count,),)


def strata(targets: Targets) -> NDArray[np.int64]:
    """The rarest label of each image, 0 where it has none: rare ones are in every split."""
    order = np.argsort(targets.sum(axis=0), kind="stable")
    ranked = targets[:, order]
    return np.where(ranked.any(axis=1), 1 + ranked.argmax(axis=1), 0).astype(np.int64)


def evidence(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """The values, then what is right: (N, 2 labels)."""
    return np.concatenate([outputs, targets], axis=1, dtype=np.float64)


def score(evidence: NDArray[np.float64]) -> float:
    """Mean average precision: over the labels that any image has."""
    values, truth = np.split(evidence, 2, axis=1)
    there = np.flatnonzero(truth.any(axis=0))
    found = [ranking.average_precision(values[:, at], truth[:, at]) for at in there]
    return float(np.mean(found)) if found else 0.0


def loss(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """Mean cross-entropy, in nats."""
    return cross_entropy(outputs, targets, signature)


def errors(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """The number of labels on the wrong side of their thresholds."""
    return np.asarray((_yes(outputs, signature) != targets).sum(axis=1), np.float64)


def decisions(outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
    """None: there are as many as labels."""
    return None


def quality(outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
    """Mean average precision, and at the thresholds macro F1 and the share of right answers."""
    yes = _yes(outputs, signature)
    f1s = [score.f1 for score in _scores(yes, targets)]
    return Quality(
        samples=len(targets),
        metric="mean_average_precision",
        measures={
            "mean_average_precision": score(evidence(outputs, targets, signature)),
            "f1_macro": float(np.mean(f1s)),
            "accuracy": float(np.mean(yes == targets)),
        },
    )


def describe(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    """Precision, recall and F1 of every label at its threshold, and how many images have it."""
    return Classification(
        classes=signature.class_names, per_class=_scores(_yes(outputs, signature), targets)
    )


def _scores(yes: Targets, targets: Targets) -> tuple[ClassScore, ...]:
    return class_scores((yes & targets).sum(axis=0), yes.sum(axis=0), targets.sum(axis=0))


def thresholds(outputs: Outputs, targets: Targets, signature: Signature) -> tuple[float, ...]:
    """Of each label the probability with the highest F1."""
    found = probabilities(outputs, signature)
    return tuple(
        ranking.best_threshold(found[:, at], targets[:, at]) for at in range(targets.shape[1])
    )


agreement = sigmoids.agreement
unexplained = sigmoids.unexplained


def _yes(outputs: Outputs, signature: Signature) -> NDArray[np.uint8]:
    return sigmoids.decided(outputs, signature).astype(np.uint8)
