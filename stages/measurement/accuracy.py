"""Accuracy of an opened engine from its own outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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


def in_batches(
    infer_many: Callable[[Iterator[Images]], Iterable[Logits]],
    images: lazy_images.Images,
    signature: Signature,
    batch_size: int,
) -> Logits:
    """What `infer_many` makes of images uint8 (N, H, W, C), fed as `signature` says.

    Where only one batch size can be fed, the last batch is filled up with the first images.
    """
    size = signature.batch_size or batch_size
    whole = -(-len(images) // size) * size if signature.batch_size else len(images)
    order = np.split(np.arange(whole) % len(images), range(size, whole, size))
    batches = (signature.feed(images[indices]) for indices in order)
    return np.concatenate(list(infer_many(batches)))[: len(images)]


def batch_of(images: lazy_images.Images, signature: Signature, batch_size: int) -> Images:
    """So many of `images` as can be fed, repeated where they are too few, to time with."""
    (size,) = signature.batch_sizes((batch_size,))
    return signature.feed(np.resize(images[:size], (size, *signature.input_shape)))


def logits(engine: Engine, images: lazy_images.Images, batch_size: int) -> Logits:
    """Outputs for images uint8 (N, H, W, C), in batches: float32 (N, classes).

    Raises EngineError if one is not finite: the largest of such logits means nothing.
    """
    found = in_batches(engine.infer_many, images, engine.signature, batch_size)
    broken = int(np.count_nonzero(~np.isfinite(found).all(axis=1)))
    if broken:
        raise EngineError(
            f"{engine.file.name}: the logits of {broken} of {len(images)} images are not finite",
            "leave this precision out: --set build.precisions=...",
        )
    return found
