"""Weights that are exactly zero and are to stay so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def hold(model: keras.Model) -> None:
    """Let every training of `model` keep the exact zeros of its weights, in place.

    Which weights are held is read from the weights themselves, so it survives saving, folding
    and a change of layers; a weight that nobody zeroed is as good as never exactly zero. Only
    kernels count (two axes or more): biases and batch normalisation start with zeros.
    The constraints belong to these variables and are saved nowhere.
    """
    for variable in model.trainable_variables:
        values = variable.numpy()
        if values.ndim > 1 and not values.all():
            variable.constraint = _times(ops.convert_to_tensor((values != 0).astype(values.dtype)))


def _times(mask: Any) -> Callable[[Any], Any]:
    return lambda values: values * mask
