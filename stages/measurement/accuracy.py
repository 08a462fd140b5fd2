"""Accuracy of an opened engine from its own outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets import lazy_images
from stages.engines.base import Engine, Images, Logits
from stages.errors import EngineError
from stages.numerics import classification
from stages.results.base import Quality


def accuracy(
    engine: Engine, images: lazy_images.Images, labels: NDArray[np.int64], batch_size: int
) -> Quality:
    """Accuracy on images uint8 (N, H, W, C) with labels int64 (N,): see classification.metrics.

    Raises EngineError if an output is not finite.
    """
    return classification.metrics(logits(engine, images, batch_size), labels)


def batch_of(images: lazy_images.Images, signature: Signature, batch_size: int) -> Images:
    """A batch to time with: the first of `images`, repeated where there are fewer."""
    (size,) = signature.batch_sizes((batch_size,))
    return signature.feed(np.resize(images[:size], (size, *signature.input_shape)))


def logits(engine: Engine, images: lazy_images.Images, batch_size: int) -> Logits:
    """Outputs for images uint8 (N, H, W, C), in batches: float32 (N, classes).

    Raises EngineError if one is not finite: the largest of such logits means nothing.
    """
    batches = engine.signature.batches(images, batch_size)
    # A graph of one batch size has its last batch filled up (Signature.batches): those rows go.
    found = np.concatenate(list(engine.infer_many(batches)))[: len(images)]
    broken = int(np.count_nonzero(~np.isfinite(found).all(axis=1)))
    if broken:
        raise EngineError(
            f"{engine.file.name}: the logits of {broken} of {len(images)} images are not finite",
            "leave this precision out: --set build.precisions=...",
        )
    return found
