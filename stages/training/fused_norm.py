"""Batch normalisation in one operation instead of a dozen while a network is trained.

Keras 3 computes it from mean, square, subtraction and product, each of which reads and writes the
whole activation, in float32 even where layers compute in bfloat16: a quarter of ResNet-8's step on
a CPU. TensorFlow's operation computes the same in two passes, in the type of its input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

FUSED_TYPES = (tf.float32, tf.bfloat16)


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over the last of four axes, that learns in one operation."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        learns = training and self.trainable
        if not learns or mask is not None or inputs.dtype not in FUSED_TYPES:
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32) if self.scale else tf.ones(channels),
            offset=tf.cast(self.beta, tf.float32) if self.center else tf.zeros(channels),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # TensorFlow's is that of the population behind the batch; Keras averages that of
        # the batch.
        values = tf.cast(tf.size(inputs) // channels, tf.float32)
        variance *= tf.maximum(values - 1, 1) / values
        for average, of_batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + of_batch * (1 - self.momentum))
        return outputs


@contextlib.contextmanager
def fused_norms(model: keras.Model) -> Iterator[None]:
    """Let the batch normalisations of `model` that can compute in one operation inside the block.

    Layers of a subclass are left as they are, and so is what is traced outside of it.
    """
    layers = [each for each in model._flatten_layers(include_self=False) if _is_plain(each)]
    for layer in layers:
        layer.__class__ = FusedBatchNormalization
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = keras.layers.BatchNormalization


def _is_plain(layer: Any) -> bool:
    """Whether the layer is Keras' own, over the last of four axes, without its rarer options."""
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.built
        and layer.input_spec.ndim == 4
        and layer.axis in (3, -1)
        and not layer.synchronized
        and not getattr(layer, "renorm", False)
    )
