"""A network learns numbers in standard deviations, and answers in their own unit.

An optimizer's step has a length of its own, whatever the unit of the targets is: for targets of
0.001 it is far too long, for those of 1,000 too short. So the last layer is scaled, exactly, before
a training and back after it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.errors import ModelError
from stages.keras_graph.walk import calls

BEHIND = (layers.Reshape, layers.Flatten, layers.Dropout, layers.InputLayer)
"""Layers that may follow the last one with weights."""
HEADS = (layers.Dense, layers.Conv2D)


def find(model: keras.Model) -> Any | None:
    """The last layer with weights, if it makes the numbers: linear, with a bias, called once."""
    for layer in reversed(model.layers):
        is_linear = getattr(layer, "activation", None) is keras.activations.linear
        if type(layer) in HEADS:  # a subclass may compute anything
            is_alone = [call.operation for call in calls(model)].count(layer) == 1
            return layer if is_linear and layer.use_bias and is_alone else None
        if not isinstance(layer, BEHIND) and not (
            isinstance(layer, layers.Activation) and is_linear
        ):
            return None
    return None


def require(model: keras.Model) -> None:
    """Raises ModelError for a network whose last layer cannot be scaled."""
    if find(model) is None:
        raise ModelError(
            f"{model.name!r} ends in {model.layers[-1].name!r}, expected a linear Dense or "
            "convolution with a bias",
            "choose another network for numbers: model.name",
        )


def fold(model: keras.Model, mean: NDArray[Any], spread: NDArray[Any]) -> None:
    """Make what the last layer returns value * `spread` + `mean`, (values,). Raises ModelError."""
    require(model)
    _scale(find(model), spread, mean)


def unfold(model: keras.Model, mean: NDArray[Any], spread: NDArray[Any]) -> None:
    """Make what the last layer returns (value - `mean`) / `spread`. Raises ModelError."""
    require(model)
    _scale(find(model), 1 / spread.astype(np.float64), -mean.astype(np.float64) / spread)


def _scale(head: Any, factor: NDArray[Any], shift: NDArray[Any]) -> None:
    kernel, bias = (np.asarray(each, np.float64) for each in head.get_weights())
    head.set_weights([kernel * factor, bias * factor + shift])
