"""What a network does to the pixels before its first layer with a kernel."""

from __future__ import annotations

from enum import Enum
from typing import Any

import keras
from keras import layers

from stages.keras_graph.walk import Call, walk

SCALES = (layers.Rescaling, layers.Normalization)
ARITHMETIC = ("Add", "Divide", "Multiply", "Subtract", "TrueDivide")
"""Of `keras.ops`, as in `image / 255` and in `preprocess_input(image)`."""


def scaling_layers(model: keras.Model) -> list[str]:
    """Names of what scales the pixels in `model` itself, in the order of execution.

    A layer of keras.layers, or arithmetic written on the image. Raises ModelError for a subclassed
    model.
    """
    found: list[str] = []

    def visit(call: Call, *args: Any, **kwargs: Any) -> list[_Value]:
        operation = call.operation
        given = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, _Value)]
        is_image = given == [_Value.PIXELS] * len(given)
        scales = isinstance(operation, SCALES)
        if is_image and (scales or type(operation).__name__ in ARITHMETIC):
            found.append(operation.name)
        if not scales and getattr(operation, "weights", None):
            is_image = False
        return [_Value.PIXELS if is_image else _Value.FEATURES] * len(call.outputs)

    walk(model, [_Value.PIXELS], visit)
    return found


class _Value(Enum):
    """What a tensor holds."""

    PIXELS = "the image, moved or scaled"
    FEATURES = "what a layer with weights made of it"
