"""Optimizers and learning-rate schedules, all of them Keras' own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
)

from stages.settings import Training

ADAMW_DECAY = 0.004
"""Keras' default for AdamW."""
FINAL_SHARE = 0.01
"""What `exponential` leaves of the peak."""


def _step(peak: float, steps: int) -> LearningRateSchedule:
    """He et al., 'Deep Residual Learning', section 4.2: divided by ten at 50 % and at 75 %."""
    # A boundary belongs to the value before it, so it is the last step below the share.
    ends = [math.ceil(share * steps) - 1 for share in (0.5, 0.75)]
    return PiecewiseConstantDecay(ends, [peak, 0.1 * peak, 0.01 * peak])


SCHEDULES: dict[str, Callable[[float, int], LearningRateSchedule]] = {
    # A schedule too, so that the rate of any step can be looked up.
    "constant": lambda peak, steps: ExponentialDecay(peak, steps, 1.0),
    "cosine": CosineDecay,
    "exponential": lambda peak, steps: ExponentialDecay(peak, steps, FINAL_SHARE),
    "step": _step,
}
"""Name -> schedule(peak, steps) of the steps after warm-up."""


class Warmup(LearningRateSchedule):
    """Linear from zero to `peak` over `steps` steps, then `schedule` counted from there."""

    def __init__(self, peak: float, steps: int, schedule: LearningRateSchedule) -> None:
        self.peak, self.steps, self.schedule = peak, steps, schedule

    def __call__(self, step: Any) -> tf.Tensor:
        """The learning rate of step number `step`, counted from 0: a float32 scalar."""
        at = tf.cast(step, tf.float32)
        rising = self.peak * at / max(1, self.steps)
        return tf.where(at < self.steps, rising, self.schedule(at - self.steps))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return dict(vars(self))


def schedule(training: Training, images: int) -> LearningRateSchedule:
    """The learning rate by step for a training on `images` images per epoch."""
    batches = -(-images // training.batch_size)
    steps = training.epochs * -(-batches // training.accumulate_batches)
    warmup = max(1, int(steps * training.warmup_share)) if training.warmup_share else 0
    falling = SCHEDULES[training.schedule](training.learning_rate, max(1, steps - warmup))
    return Warmup(training.learning_rate, warmup, falling)


def make(training: Training, rate: LearningRateSchedule, variables: list[Any]) -> keras.Optimizer:
    """The optimizer `training.optimizer`, built for `variables`.

    Weight decay applies to kernels (two axes or more) only: pulling biases, normalisation or the
    logarithm of a range towards zero means nothing.
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
