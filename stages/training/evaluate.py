"""Accuracy and latency of a Keras model, measured the same way after every stage."""

from __future__ import annotations

import os
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.keras_graph.cost import multiply_adds
from stages.measurement import clock
from stages.numerics import classification, latency
from stages.results.base import LatencyRow, ModelFacts, Quality
from stages.results.training import Classification

BATCH = 256
WARMUP_SECONDS, SECONDS = 0.2, 0.5
"""Time that the latency of one call is measured for."""


def logits(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of `model` at inference: float32 (N, H, W, C) -> float32 (N, classes)."""
    parts = [
        model(images[start : start + BATCH], training=False).numpy()
        for start in range(0, len(images), BATCH)
    ]
    outputs: NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
    return outputs


def answers(model: keras.Model, split: Split, signature: Signature) -> NDArray[np.float32]:
    """Outputs of `model` for a split, which may be larger than memory: float32 (N, classes)."""
    starts = range(0, len(split), BATCH)
    return np.concatenate(
        [logits(model, signature.preprocess(split.images[at : at + BATCH])) for at in starts]
    )


def accuracy(model: keras.Model, split: Split, signature: Signature) -> Quality:
    """Top-1 accuracy, macro recall and macro precision of `model` on `split`."""
    return classification.metrics(answers(model, split, signature), split.labels)


def top1(model: keras.Model, split: Split, signature: Signature) -> float:
    """Top-1 accuracy of `model` on `split`, from 0 to 1."""
    return classification.top1(answers(model, split, signature), split.labels)


def score(model: keras.Model, split: Split, signature: Signature) -> tuple[float, float]:
    """(top-1 accuracy, minus cross-entropy): the better of two models has the larger pair.

    The loss decides among equals, which are common on a few hundred images.
    """
    outputs = answers(model, split, signature)
    from_logits = not signature.returns_probabilities
    loss = classification.cross_entropy(outputs, split.labels, from_logits=from_logits)
    return classification.top1(outputs, split.labels), -loss


@dataclass(frozen=True)
class Measurement:
    """What every stage that hands on a Keras model measures of it."""

    model: ModelFacts
    accuracy: Quality
    latency: tuple[LatencyRow, ...]
    classification: Classification


def measure(
    model: keras.Model, split: Split, signature: Signature, precision: str = "fp32"
) -> Measurement:
    """Accuracy on `split`, size, and latency of the compiled tf.function at batch 1.

    `model.predict` is not timed: its tens of milliseconds are its own overhead.
    """
    image = tf.constant(signature.preprocess(split.images[:1]))
    forward = tf.function(
        lambda batch: model(batch, training=False),
        input_signature=[tf.TensorSpec(image.shape, image.dtype)],
    )
    # numpy() waits for the result; on a GPU the call returns before it is computed.
    samples = clock.measure({"tf": lambda: forward(image).numpy()}, WARMUP_SECONDS, SECONDS)["tf"]
    row = latency.row(
        samples,
        batch_size=1,
        runtime="tf.function",
        precision=precision,
        threads=tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1,
    )
    outputs = answers(model, split, signature)
    return Measurement(
        model=ModelFacts(
            file="model.keras",
            parameters=int(model.count_params()),
            multiply_adds=multiply_adds(model),
        ),
        accuracy=classification.metrics(outputs, split.labels),
        latency=(row,),
        classification=classification.describe(outputs, split.labels, signature.class_names),
    )
