"""What a model costs: multiply-adds of one forward pass."""

from __future__ import annotations

import math
from typing import Any

import keras

from stages.keras_graph.walk import Call, walk


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

    def count(call: Call, *args: Any, **kwargs: Any) -> Any:
        nonlocal total
        kernel = kernel_of(call.operation)
        if kernel is not None:
            transposed = isinstance(call.operation, keras.layers.Conv2DTranspose)
            positions = (call.inputs if transposed else call.outputs)[0].shape[1:-1]
            total += math.prod(kernel.shape) * math.prod(side or 1 for side in positions)
        return call.outputs[0] if len(call.outputs) == 1 else list(call.outputs)

    walk(model, model.inputs, count)
    return total
