"""A teacher's answers to all training images, asked once where every epoch has the same images."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.settings import Data, Training
from stages.training import augmentation
from stages.training.feed import in_order
from stages.training.losses import listed

MOST_MIB = 512
"""Of answers in memory; more are asked for again in every epoch."""


def known(
    teacher: keras.Model, dataset: DataSet, signature: Signature, training: Training, data: Data
) -> NDArray[Any] | None:
    """What `teacher` returns for the training images, in their order: float32 (N, ...),
    of several outputs with a field for each.

    None where images are augmented, where each is seen once, and where this would be too large.
    """
    is_other = bool(data.shifts) or augmentation.is_wanted(data)
    values = len(dataset.train) * sum(
        math.prod(side or 1 for side in each.shape[1:]) for each in teacher.outputs
    )
    if is_other or training.epochs == 1 or values * 4 > MOST_MIB << 20:
        return None
    answer = tf.function(partial(teacher, training=False), autograph=False)
    batches = in_order(dataset.train, signature, training.batch_size)
    parts = [[each.numpy() for each in listed(answer(images))] for images in batches]
    return signature.joined([np.concatenate(output) for output in zip(*parts, strict=True)])
