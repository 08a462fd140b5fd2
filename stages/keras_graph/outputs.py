"""What a classifier returns: logits, or the probabilities that a softmax made of them."""

from __future__ import annotations

from enum import Enum
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.keras_graph.walk import Call, walk

LARGEST_DEVIATION = 0.01
"""Of a row's sum from 1; a softmax in bfloat16 stays within half of it."""
QUOTIENTS = ("Divide", "TrueDivide")


def returns_probabilities(model: keras.Model, images: NDArray[np.float32]) -> bool:
    """Whether `model` returns probabilities, one per class, and no logits.

    Its graph must end in a softmax, wherever that is written, or in something that may be one. That
    alone could be a softmax over another axis, so the outputs for `images` float32 (N, H, W, C)
    and for noise must be shares of 1 as well. Those alone could be confident sigmoids.
    Raises ModelError for a subclassed model.
    """
    if walk(model, [_Value.OTHER], _softmaxed)[0] is _Value.OTHER:
        return False
    noise = np.random.default_rng(0).normal(images.mean(), images.std() + 1e-3, images.shape)
    seen = np.concatenate([images, noise.astype(np.float32)])
    return _are_shares(np.asarray(model(seen, training=False), np.float64))


def _are_shares(outputs: NDArray[np.float64]) -> bool:
    sums = outputs.sum(axis=1)
    return bool(outputs.min() >= 0 and np.abs(sums - 1).max() <= LARGEST_DEVIATION)


class _Value(Enum):
    """What is known of a tensor."""

    SOFTMAX = "may be what a softmax made"
    OTHER = "anything else"


def _softmaxed(call: Call, *args: Any, **kwargs: Any) -> list[_Value]:
    """The visit: what without weights follows a softmax may only move its values."""
    operation = call.operation
    given = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, _Value)]
    kept = not getattr(operation, "weights", None) and _Value.SOFTMAX in given
    found = _Value.SOFTMAX if kept or _may_be_softmax(operation) else _Value.OTHER
    return [found] * len(call.outputs)


def _may_be_softmax(operation: Any) -> bool:
    activation = getattr(operation, "activation", None)
    if activation is keras.activations.softmax or isinstance(activation, layers.Softmax):
        return True
    is_own = type(operation).__module__.partition(".")[0] != "keras"
    return type(operation).__name__ in ("Softmax", "Lambda", *QUOTIENTS) or is_own
