"""Per-class loss weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.datasets.base import DataSet


def weights(dataset: DataSet, kind: Literal["equal", "balanced"]) -> NDArray[np.float32]:
    """Weight of each class, float32 (classes,), with a mean of 1 over the training images.

    `balanced` is N / (classes * images of the class), scikit-learn's formula of the same name.
    """
    classes = len(dataset.class_names)
    counts = np.bincount(dataset.train.labels, minlength=classes)
    if kind == "equal":
        return np.ones(classes, np.float32)
    return (len(dataset.train) / (classes * np.maximum(counts, 1))).astype(np.float32)
