"""Accuracy of an opened engine from its own outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.engines.base import Batch, Engine
from stages.errors import EngineError
from stages.numerics import classification


def accuracy(
    engine: Engine, images: NDArray[np.uint8], labels: NDArray[np.int64], batch_size: int
) -> dict[str, Any]:
    """Accuracy on images uint8 (N, H, W, C) with labels int64 (N,): see classification.metrics.

    Raises EngineError if an output is not finite.
    """
    return classification.metrics(logits(engine, images, batch_size), labels)


def logits(engine: Engine, images: NDArray[np.uint8], batch_size: int) -> Batch:
    """Outputs for images uint8 (N, H, W, C), in batches: float32 (N, classes).

    Raises EngineError if one is not finite: the largest of such logits means nothing.
    """
    batches = (
        engine.signature.preprocess(images[start : start + batch_size])
        for start in range(0, len(images), batch_size)
    )
    found = np.concatenate(list(engine.infer_many(batches)))
    broken = int(np.count_nonzero(~np.isfinite(found).all(axis=1)))
    if broken:
        raise EngineError(
            f"{engine.file.name}: the logits of {broken} of {len(images)} images are not finite",
            "leave this precision out: --set build.precisions=...",
        )
    return found
