"""Accuracy of an opened engine from its own outputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from stages.artifacts.signature import Fed, Signature
from stages.datasets import lazy_images
from stages.engines.base import Engine, Logits
from stages.errors import EngineError
from stages.numerics import fields
from stages.results.base import Quality
from stages.tasks import base as tasks
from stages.tasks.segmentation import judged


def accuracy(
    engine: Engine, images: lazy_images.Images, labels: tasks.Targets, batch_size: int
) -> Quality:
    """Quality on images uint8 (N, H, W, C) with labels (N, ...): see stages/tasks.

    Raises EngineError if an output is not finite.
    """
    signature = engine.signature
    return tasks.asked(signature).quality(answers(engine, images, batch_size), labels, signature)


def batch_of(images: lazy_images.Images, signature: Signature, batch_size: int) -> Fed:
    """A batch to time with: the first of `images`, repeated where there are fewer."""
    (size,) = signature.batch_sizes((batch_size,))
    return signature.feed(images[np.arange(size) % len(images)])


def answers(engine: Engine, images: lazy_images.Images, batch_size: int) -> tasks.Targets:
    """What of the `logits` has to be judged: of masks the classes, uint8 (N, H, W), so that no more
    of their logits is in memory than a batch. Raises EngineError as `logits` does.
    """
    return _gathered(engine, images, batch_size, partial(judged, signature=engine.signature))


def logits(engine: Engine, images: lazy_images.Images, batch_size: int) -> Logits:
    """Outputs for images uint8 (N, H, W, C), in batches: float32 (N, ...), or (N,) with a field for
    each of several.

    Raises EngineError if one is not finite: the largest of such logits means nothing.
    """
    return _gathered(engine, images, batch_size, lambda outputs: outputs)


def _gathered(
    engine: Engine,
    images: lazy_images.Images,
    batch_size: int,
    kept: Callable[[Logits], tasks.Targets],
) -> tasks.Targets:
    """What is `kept` of each batch of outputs, joined."""
    found, left, names = [], len(images), engine.signature.output_names
    broken = dict.fromkeys(names, 0)
    for batch in engine.infer_many(engine.signature.batches(images, batch_size)):
        # A graph of one batch size has its last batch filled up (Signature.batches): those rows go.
        outputs = batch[:left]
        left -= len(outputs)
        for name, part in zip(names, fields.parts(outputs), strict=True):
            is_whole = np.isfinite(part).reshape(len(part), -1).all(axis=1)
            broken[name] += int(np.count_nonzero(~is_whole))
        found.append(kept(outputs))
    for name, count in broken.items():
        if count:
            raise EngineError(
                f"{engine.file.name}: the {name} of {count} of {len(images)} images are not finite",
                "leave this precision out: --set build.precisions=...",
            )
    return np.concatenate(found)
