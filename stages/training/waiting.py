"""Input wait: how long a training waits for its images."""

from __future__ import annotations

import time
from typing import Any

import tensorflow as tf

from stages.training.losses import as_written


def clock() -> tf.Variable:
    """Seconds: a float64 scalar, on the CPU, where batches are prepared."""
    with tf.device("CPU:0"):
        return tf.Variable(0.0, dtype=tf.float64, trainable=False)


def taken(waited: tf.Variable) -> float:
    """The seconds on a clock, which is reset to zero."""
    seconds = float(waited.numpy())
    waited.assign(0.0)
    return seconds


def measured(batches: tf.data.Dataset, waited: tf.Variable) -> tf.data.Dataset:
    """The same `batches`; the seconds spent waiting for each are added to `waited`.

    Counted from the request of a batch to its arrival. The loop may request a batch before the
    previous step has ended, so this is an upper bound.
    """

    def now(_: Any) -> tf.Tensor:
        # Not tf.timestamp, which TensorFlow refuses where everything is to be deterministic.
        seconds = tf.numpy_function(time.perf_counter, [], tf.float64)
        return tf.ensure_shape(seconds, [])

    def note(asked: tf.Tensor, batch: Any, there: tf.Tensor) -> Any:
        waited.assign_add(there - asked)
        return batch

    # A zip asks its parts in their order.
    ticks = tf.data.Dataset.range(1).repeat().map(as_written(now))
    return tf.data.Dataset.zip((ticks, batches, ticks)).map(as_written(note))
