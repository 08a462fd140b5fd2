"""What a network does to the pixels before its first layer with a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from stages.artifacts.signature import Signature
from stages.keras_graph.walk import Call, walk

SCALES = (layers.Rescaling, layers.Normalization)
ARITHMETIC = ("Add", "Divide", "Multiply", "Subtract", "TrueDivide")
"""Of `keras.ops`, as in `image / 255` and in `preprocess_input(image)`."""


def scaling_layers(model: keras.Model, signature: Signature) -> list[str]:
    """Names of what scales the pixels in `model` itself, in the order of execution.

    A layer of keras.layers, or arithmetic written on an image. Of several inputs those count that
    are pixels. Raises ModelError for a subclassed model.
    """
    found: list[str] = []

    def visit(call: Call, *args: Any, **kwargs: Any) -> list[_Values]:
        operation = call.operation
        given = {each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, _Values)}
        (held,) = given if len(given) == 1 else (_Values(None),)
        scales = isinstance(operation, SCALES)
        if held.source and (scales or type(operation).__name__ in ARITHMETIC):
            found.append(operation.name)
        if not scales and getattr(operation, "weights", None):
            held = _Values(None)
        return [held] * len(call.outputs)

    are_pixels = [signature.inputs == () or x.data_dtype == "uint8" for x in signature.each_input]
    names = zip(signature.input_names, are_pixels, strict=True)
    walk(model, [_Values(name if own else None) for name, own in names], visit)
    return found


@dataclass(frozen=True)
class _Values:
    """What a tensor holds: the pixels of the input `source`, moved or scaled, or with None what a
    layer with weights made of them, or other values."""

    source: str | None
