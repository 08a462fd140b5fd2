"""What a model costs: multiply-adds of one forward pass, and the activations that it moves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
from keras import layers

from stages.keras_graph.walk import Call, walk

TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def kernel_of(layer: Any) -> Any:
    """The kernel variable of a convolution or Dense layer, or None."""
    # Where Keras has both, `kernel` is a property that may return a computed tensor (LoRA,
    # quantization). Training, folding and pruning need the variable.
    kernel = getattr(layer, "_kernel", None)
    return getattr(layer, "kernel", None) if kernel is None else kernel


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of the convolutions and Dense layers for one image.

    A kernel (kh, kw, cin, cout) is used once per output position; a depthwise kernel
    (kh, kw, c, multiplier) likewise, so kernel size times positions is right for both.
    Transposed convolutions use it once per *input* position.
    """
    total = 0
    for call in _with_kernel(model):
        transposed = isinstance(call.operation, TRANSPOSED)
        positions = _sides((call.inputs if transposed else call.outputs)[0])[:-1]
        total += math.prod(kernel_of(call.operation).shape) * math.prod(positions)
    return total


def moved_activations(model: keras.Model) -> int:
    """Values that the convolutions and Dense layers read and write for one image.

    Each reads what goes in and writes what comes out once; everything between them counts as
    computed on the way.
    """
    return sum(
        math.prod(_sides(tensor))
        for call in _with_kernel(model)
        for tensor in (*call.inputs, *call.outputs)
    )


def _with_kernel(model: keras.Model) -> Iterable[Call]:
    """The calls of layers that have a kernel, of nested models as well."""
    found: list[Call] = []

    def keep(call: Call, *args: Any, **kwargs: Any) -> Any:
        if kernel_of(call.operation) is not None:
            found.append(call)
        return call.outputs[0] if len(call.outputs) == 1 else list(call.outputs)

    walk(model, model.inputs, keep)
    return found


def _sides(tensor: Any) -> list[int]:
    """The shape without the batch; a side that is open counts as 1."""
    return [side or 1 for side in tensor.shape[1:]]
