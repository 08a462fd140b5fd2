"""Keep the zeros of sparse pruning through later trainings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops


def freeze_zeros(model: keras.Model) -> None:
    """Constrain weights of `model` that are exactly zero to stay zero in training, in place.

    Which weights are frozen is read from the weights themselves, so it survives saving, folding
    and a change of layers; a weight that was not pruned is practically never exactly zero. Only
    kernels count (two axes or more): biases and batch normalisation start with zeros.
    The constraints belong to these variables, follow their own, and are saved nowhere.
    """
    for variable in model.trainable_variables:
        values = variable.numpy()
        if values.ndim > 1 and not values.all():
            mask = ops.convert_to_tensor((values != 0).astype(values.dtype))
            variable.constraint = partial(_constrained, mask, variable.constraint)


def _constrained(mask: Any, own: Callable[[Any], Any] | None, values: Any) -> Any:
    return ops.multiply(mask, values if own is None else own(values))
