"""Accuracy and latency of a Keras model, measured the same way after every stage."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stages.artifacts.signature import Fed, Signature, rows, some
from stages.datasets.base import Split
from stages.keras_graph.cost import multiply_adds
from stages.measurement import clock
from stages.numerics import fields, latency
from stages.results.base import LatencyRow, ModelFacts, Quality
from stages.results.training import Classification
from stages.tasks import base as tasks
from stages.tasks import segmentation
from stages.tasks.segmentation import judged

BATCH, BATCH_PIXELS = 256, 2**20
"""Most images, and most pixels, that are computed at once."""
WARMUP_SECONDS, SECONDS = 0.05, 0.2
"""Time that the latency of one call is measured for, also of the graph that convert runs."""


def batch_size(*shapes: tuple[int, ...]) -> int:
    """How many images (..., C) are computed at once, of all inputs together: a network of masks
    keeps many values of each pixel."""
    return max(1, min(BATCH, BATCH_PIXELS // sum(math.prod(shape[:-1]) for shape in shapes)))


def logits(model: keras.Model, images: Fed, signature: Signature | None = None) -> NDArray[Any]:
    """Outputs of `model` at inference: float32 (N, H, W, C) -> float32 (N, ...).

    `images` of several inputs are a list. Of several outputs one array with fields, for which the
    `signature` has the names.
    """
    size = batch_size(*(each.shape[1:] for each in keras.tree.flatten(images)))
    batches = (some(images, slice(at, at + size)) for at in range(0, rows(images), size))
    # In the order of `model.outputs`, also where the model returns a dictionary.
    parts = [keras.tree.flatten(model(batch, training=False)) for batch in batches]
    outputs = [
        np.concatenate([np.asarray(each) for each in output]).astype(np.float32)
        for output in zip(*parts, strict=True)
    ]
    if signature is not None:
        return signature.joined(outputs)
    (only,) = outputs
    return only


def answers(model: keras.Model, split: Split, signature: Signature) -> NDArray[Any]:
    """Outputs of `model` for a split, which may be larger than memory: float32 (N, ...).

    Of masks what is judged of them, the classes uint8 (N, H, W).
    """
    batches = _batches(model, split, signature)
    return np.concatenate([judged(outputs, signature) for outputs, _ in batches])


def _batches(
    model: keras.Model, split: Split, signature: Signature
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Outputs of `model` and what is right, (n, ...) each, of as many images as a batch has."""
    size = batch_size(*(each.input_shape for each in signature.each_input))
    for at in range(0, len(split), size):
        images = signature.preprocess(split.images[at : at + size])
        yield logits(model, images, signature), split.labels[at : at + size]


def accuracy(model: keras.Model, split: Split, signature: Signature) -> Quality:
    """All metrics of the task, of `model` on `split`."""
    outputs = answers(model, split, signature)
    return tasks.asked(signature).quality(outputs, split.labels, signature)


def metric(model: keras.Model, split: Split, signature: Signature) -> float:
    """That which decides, of `model` on `split`: of classes the top-1 accuracy, from 0 to 1."""
    return score(model, split, signature)[0]


def score(model: keras.Model, split: Split, signature: Signature) -> tuple[float, float]:
    """(what decides, minus the loss): the better of two models has the larger pair.

    The loss decides among equals, which are common on a few hundred images.
    """
    task, batches = tasks.asked(signature), _batches(model, split, signature)
    if segmentation.is_judged_by_masks(signature):
        found = [
            (segmentation.masks_of(said, signature), segmentation.losses(said, right, signature))
            for said, right in batches
        ]
        outputs, losses = (np.concatenate(each) for each in zip(*found, strict=True))
        loss = segmentation.mean_loss(losses)
    else:
        outputs = np.concatenate([said for said, _ in batches])
        loss = task.loss(outputs, split.labels, signature)
    return task.score(task.evidence(outputs, split.labels, signature)), -loss


def with_thresholds(signature: Signature, model: keras.Model, validation: Split) -> Signature:
    """`signature` with the thresholds of the task, chosen for `model` on validation images."""
    outputs = fields.parts(answers(model, validation, signature))
    labels = signature.labels_by_output(validation.labels)
    found = [
        tasks.of(own.task).thresholds(said, right, own)
        for own, said, right in zip(signature.each, outputs, labels, strict=True)
    ]
    if not signature.heads:
        return dataclasses.replace(signature, thresholds=found[0])
    heads = zip(signature.heads, found, strict=True)
    new = (dataclasses.replace(head, thresholds=each) for head, each in heads)
    return dataclasses.replace(signature, heads=tuple(new))


@dataclass(frozen=True)
class Measurement:
    """What every stage that hands on a Keras model measures of it."""

    model: ModelFacts
    accuracy: Quality
    latency: tuple[LatencyRow, ...]
    classification: Classification | None


def measure(
    model: keras.Model, split: Split, signature: Signature, precision: str = "fp32"
) -> Measurement:
    """Accuracy on `split`, size, and latency of the compiled tf.function at batch 1.

    `model.predict` is not timed: its tens of milliseconds are its own overhead.
    """
    image = keras.tree.map_structure(tf.constant, signature.preprocess(split.images[:1]))
    forward = tf.function(
        lambda batch: model(batch, training=False),
        input_signature=[keras.tree.map_structure(tf.TensorSpec.from_tensor, image)],
        autograph=False,
    )

    def wait() -> None:
        # numpy() waits for the result; on a GPU the call returns before it is computed.
        for output in keras.tree.flatten(forward(image)):
            output.numpy()

    samples = clock.measure({"tf": wait}, WARMUP_SECONDS, SECONDS)["tf"]
    row = latency.row(
        samples,
        batch_size=1,
        runtime="tf.function",
        precision=precision,
        threads=tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1,
    )
    outputs, task = answers(model, split, signature), tasks.asked(signature)
    return Measurement(
        model=ModelFacts(
            file="model.keras",
            parameters=int(model.count_params()),
            multiply_adds=multiply_adds(model),
        ),
        accuracy=task.quality(outputs, split.labels, signature),
        latency=(row,),
        classification=task.describe(outputs, split.labels, signature),
    )
