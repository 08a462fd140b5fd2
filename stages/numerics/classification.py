"""Accuracy of logits against labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.results.base import Quality
from stages.results.training import Classification, ClassScore

Logits = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Counts = NDArray[np.integer[Any]] | NDArray[np.float64]
"""Whole numbers."""

MAX_CONFUSION_CLASSES = 100
"""Nobody reads a larger confusion matrix, and it would add megabytes to the record."""


def top1(logits: Logits, labels: Labels) -> float:
    """Top-1 accuracy from 0 to 1 of logits (N, classes) against labels (N,).

    The prediction is the class of the largest logit, the first of equal ones.
    """
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def metrics(logits: Logits, labels: Labels) -> Quality:
    """Accuracy of logits (N, classes) against labels (N,), as fractions from 0 to 1.

    samples          N
    top1             top-1 accuracy
    recall_macro     macro-averaged recall: hits / images of the class, mean over classes
    precision_macro  macro-averaged precision: hits / predictions of the class, mean over classes

    Classes that neither occur nor are predicted are left out, and 0 / 0 counts as 0:
    scikit-learn's `average="macro", zero_division=0`.

    Example: labels 0 0 1, predictions 0 2 1: top1 2/3, recall (1/2 + 1 + 0) / 3,
    precision (1 + 1 + 0) / 3.
    """
    return of_classes(np.argmax(logits, axis=1), labels)


def of_classes(predicted: Labels, labels: Labels) -> Quality:
    """`metrics` of predicted classes (N,)."""
    classes = 1 + max(int(predicted.max()), int(labels.max()))
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    support = np.bincount(labels, minlength=classes)
    predictions = np.bincount(predicted, minlength=classes)
    seen = (support + predictions) > 0
    scores = class_scores(hits[seen], predictions[seen], support[seen])
    return Quality(
        top1=float(np.mean(predicted == labels)),
        recall_macro=float(np.mean([score.recall for score in scores])),
        precision_macro=float(np.mean([score.precision for score in scores])),
        samples=len(labels),
    )


def class_scores(hits: Counts, predicted: Counts, support: Counts) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class as fractions, of whole numbers (classes,) each.

    support is how much is of the class, predicted how much is taken for it, hits how much is both.
    0 / 0 counts as 0. F1 is the harmonic mean of precision and recall:
    2 hits / (support + predicted).
    """
    columns = (
        hits / np.maximum(predicted, 1),
        hits / np.maximum(support, 1),
        2 * hits / np.maximum(support + predicted, 1),
        support.astype(np.int64),
    )
    return tuple(
        ClassScore(precision=precision, recall=recall, f1=f1, support=count)
        for precision, recall, f1, count in zip(*(c.tolist() for c in columns), strict=True)
    )


def describe(predicted: Labels, labels: Labels, class_names: Sequence[str]) -> Classification:
    """Scores per class and the confusion matrix of predictions (N,) against labels (N,).

    classes     the names
    per_class   class_scores, in images
    confusion   [label][prediction]: number of images; empty above MAX_CONFUSION_CLASSES classes
    """
    classes = len(class_names)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    return Classification(
        classes=tuple(class_names),
        per_class=class_scores(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)),
        confusion=tuple(map(tuple, confusion.tolist())) if classes <= MAX_CONFUSION_CLASSES else (),
    )


def cross_entropy(outputs: Logits, labels: Labels, *, from_logits: bool = True) -> float:
    """Mean of `cross_entropies`."""
    return float(np.mean(cross_entropies(outputs, labels, from_logits=from_logits)))


def cross_entropies(
    outputs: Logits, labels: Labels, *, from_logits: bool = True
) -> NDArray[np.float64]:
    """-log p[label] of each of the outputs (N, classes) and labels (N,), in nats: (N,).

    p is softmax(outputs), or with `from_logits` False the outputs themselves as shares of their
    sum, and at least 1e-7: Keras' `categorical_crossentropy`.
    """
    if not from_logits:
        shares = outputs.astype(np.float64) / outputs.sum(axis=1, keepdims=True, dtype=np.float64)
        found: NDArray[np.float64] = -np.log(
            np.maximum(shares[np.arange(len(labels)), labels], 1e-7)
        )
        return found
    logits = outputs
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(log_sums - shifted[np.arange(len(labels)), labels], np.float64)
