"""How well logits name the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Mean of -log softmax(logits)[label] over logits (N, classes) and labels (N,), in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_sums - shifted[np.arange(len(labels)), labels]))
