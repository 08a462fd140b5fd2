"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from stages.settings import Training

ADAMW_DECAY = 0.004
"""Keras' default for AdamW."""
FINAL_SHARE = 0.01
"""What `exponential` leaves of the peak."""

Shape = Callable[[tf.Tensor], tf.Tensor]

SHAPES: dict[str, Shape] = {
    "constant": tf.ones_like,
    "cosine": lambda done: 0.5 * (1 + tf.cos(math.pi * done)),
    "exponential": lambda done: FINAL_SHARE**done,
    # He et al., 'Deep Residual Learning', section 4.2: divided by ten at 50 % and at 75 %.
    "step": lambda done: tf.where(done < 0.5, 1.0, tf.where(done < 0.75, 0.1, 0.01)),
}
"""Name -> share of the peak that is left after the share `done` of all steps past the warm-up."""


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """From zero to `peak` in a straight line over `warmup` steps, then down by `shape`."""

    def __init__(self, peak: float, steps: int, warmup: int, shape: str) -> None:
        self.peak, self.steps, self.warmup, self.shape = peak, steps, warmup, shape

    def __call__(self, step: Any) -> tf.Tensor:
        """The learning rate of step number `step`, counted from 0: a float32 scalar."""
        at = tf.cast(step, tf.float32)
        done = tf.clip_by_value((at - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        rising = at / max(1, self.warmup)
        return self.peak * tf.where(at < self.warmup, rising, SHAPES[self.shape](done))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return dict(vars(self))


def schedule(training: Training, images: int) -> Schedule:
    """The learning rate by step for a training on so many `images` an epoch."""
    batches = -(-images // training.batch_size)
    steps = training.epochs * -(-batches // training.accumulate_batches)
    warmup = max(1, int(steps * training.warmup_share)) if training.warmup_share else 0
    return Schedule(training.learning_rate, steps, warmup, training.schedule)


def make(training: Training, rate: Schedule, variables: list[Any]) -> keras.Optimizer:
    """The optimizer that `training` names, built for `variables`.

    Only kernels (two axes or more) decay: pulling biases, normalisation or the logarithm of a
    range towards zero means nothing.
    """
    decay = training.weight_decay
    if decay is None:
        decay = ADAMW_DECAY if training.optimizer == "adamw" else 0.0
    kinds: dict[str, Callable[..., keras.Optimizer]] = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "nadam": keras.optimizers.Nadam,
        "sgd": lambda rate, **more: keras.optimizers.SGD(rate, training.momentum, **more),
        "rmsprop": keras.optimizers.RMSprop,
        "adadelta": keras.optimizers.Adadelta,
    }
    optimizer = kinds[training.optimizer](rate, weight_decay=decay or None)
    optimizer.exclude_from_weight_decay([each for each in variables if len(each.shape) < 2])
    optimizer.build(variables)
    return optimizer
