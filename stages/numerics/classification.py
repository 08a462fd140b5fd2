"""How well logits name the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CONFUSION_CLASSES = 100
"""A table of more classes than this is read by nobody and makes a record of megabytes."""


def metrics(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Accuracy of logits (N, classes) against labels (N,), as fractions from 0 to 1.

    samples          N
    top1             share of images whose largest logit (the first of equals) is their label's
    recall_macro     mean over classes of: share of the class's images that were named it
    precision_macro  mean over classes of: share of the images named so that are of the class

    Classes that neither occur nor are named are left out, and 0 / 0 counts as 0:
    scikit-learn's `average="macro", zero_division=0`.

    Example: labels 0 0 1, named 0 2 1: top1 2/3, recall (1/2 + 1 + 0) / 3,
    precision (1 + 1 + 0) / 3.
    """
    predicted = np.argmax(logits, axis=1)
    classes = 1 + max(int(predicted.max()), int(labels.max()))
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    occurs = np.bincount(labels, minlength=classes)
    named = np.bincount(predicted, minlength=classes)
    seen = (occurs + named) > 0
    return {
        "top1": float(np.mean(predicted == labels)),
        "recall_macro": float(np.mean((hits / np.maximum(occurs, 1))[seen])),
        "precision_macro": float(np.mean((hits / np.maximum(named, 1))[seen])),
        "samples": len(labels),
    }


def describe(
    logits: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """What is mistaken for what, of logits (N, classes) against labels (N,).

    classes     the names
    per_class   for each: precision, recall and F1 as fractions (0 / 0 counts as 0), and support,
                the number of its images
    confusion   [truth][named]: number of images; empty above MAX_CONFUSION_CLASSES classes

    F1 is the harmonic mean of precision and recall: 2 hits / (support + named).
    """
    classes = len(class_names)
    predicted = np.argmax(logits, axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    hits, support, named = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    columns = {
        "precision": hits / np.maximum(named, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(support + named, 1),
        "support": support,
    }
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]
    shown = confusion.tolist() if classes <= MAX_CONFUSION_CLASSES else []
    return {"classes": list(class_names), "per_class": rows, "confusion": shown}


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Mean of -log softmax(logits)[label] over logits (N, classes) and labels (N,), in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_sums - shifted[np.arange(len(labels)), labels]))
