"""A network that has learned numbers in standard deviations answers in their own unit."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.errors import ModelError


def fold(model: keras.Model, mean: NDArray[Any], spread: NDArray[Any]) -> None:
    """Make the last layer, a Dense one without activation, return `value * spread + mean`.

    `mean` and `spread` (values,) go into its kernel and bias: exact, and no layer more. Raises
    ModelError for another last layer.
    """
    head = model.layers[-1]
    is_linear = isinstance(head, layers.Dense) and head.activation is keras.activations.linear
    if not is_linear or not head.use_bias:
        raise ModelError(
            f"{model.name!r} ends in {head.name!r}, expected a linear Dense with a bias"
        )
    kernel, bias = (np.asarray(each, np.float64) for each in head.get_weights())
    head.set_weights([kernel * spread, bias * spread + mean])
