"""Accuracy of an opened engine from its own outputs."""

from __future__ import annotations

import numpy as np

from stages.artifacts.signature import Signature
from stages.datasets import lazy_images
from stages.engines.base import Engine, Images, Logits
from stages.errors import EngineError
from stages.numerics import fields
from stages.results.base import Quality
from stages.tasks import base as tasks


def accuracy(
    engine: Engine, images: lazy_images.Images, labels: tasks.Targets, batch_size: int
) -> Quality:
    """Quality on images uint8 (N, H, W, C) with labels (N, ...): see stages/tasks.

    Raises EngineError if an output is not finite.
    """
    signature = engine.signature
    return tasks.asked(signature).quality(logits(engine, images, batch_size), labels, signature)


def batch_of(images: lazy_images.Images, signature: Signature, batch_size: int) -> Images:
    """A batch to time with: the first of `images`, repeated where there are fewer."""
    (size,) = signature.batch_sizes((batch_size,))
    return signature.feed(np.resize(images[:size], (size, *signature.input_shape)))


def logits(engine: Engine, images: lazy_images.Images, batch_size: int) -> Logits:
    """Outputs for images uint8 (N, H, W, C), in batches: float32 (N, ...), or (N,) with a field for
    each of several.

    Raises EngineError if one is not finite: the largest of such logits means nothing.
    """
    batches = engine.signature.batches(images, batch_size)
    # A graph of one batch size has its last batch filled up (Signature.batches): those rows go.
    found = np.concatenate(list(engine.infer_many(batches)))[: len(images)]
    for own, output in zip(engine.signature.each, fields.parts(found), strict=True):
        broken = int(np.count_nonzero(~np.isfinite(output).reshape(len(output), -1).all(axis=1)))
        if broken:
            raise EngineError(
                f"{engine.file.name}: the {own.output_name} of {broken} of {len(images)} images "
                "are not finite",
                "leave this precision out: --set build.precisions=...",
            )
    return found
