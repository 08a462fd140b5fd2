"""Per-class loss weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.datasets.base import DataSet
from stages.errors import SettingsError


def weights(dataset: DataSet, kind: Literal["equal", "balanced"]) -> NDArray[np.float32] | None:
    """Weight of each class, float32 (classes,), with a mean of 1 over the training images.

    None where all are equal. `balanced` is N / (classes * images of the class), scikit-learn's
    formula of the same name, and of pixels for masks. Raises SettingsError where there are no
    classes to balance.
    """
    if kind == "equal":
        return None
    if dataset.task in ("multilabel", "regression", "raw", "several"):
        raise SettingsError(
            f"class_weights is 'balanced', but the task is {dataset.task}, expected one with a "
            "class for each image or pixel",
            "leave it out: class_weights=equal",
        )
    classes = len(dataset.class_names)
    counts = np.bincount(dataset.train.labels.reshape(-1), minlength=classes)[:classes]
    shares = counts.sum() / (classes * np.maximum(counts, 1))
    return np.asarray(shares, np.float32)
