"""What kind of activation a layer or an operation is."""

from __future__ import annotations

from typing import Any

from keras import layers

FUSED = ("relu", "relu6")
"""Activations that every engine computes in the kernel before them."""
NOT_NEGATIVE = (
    *FUSED,
    "clipped_relu",
    "sigmoid",
    "hard_sigmoid",
    "softmax",
    "softplus",
    "exponential",
)


def activation_name(operation: Any) -> str:
    """ "relu" for a ReLU layer, `Activation("relu")` or `keras.ops.relu`; "" if it is none."""
    if isinstance(operation, layers.ReLU):
        if operation.negative_slope or operation.threshold:
            return ""
        return {None: "relu", 6: "relu6"}.get(operation.max_value, "clipped_relu")
    activation = getattr(operation, "activation", None)
    if isinstance(operation, layers.Activation):
        return str(getattr(activation, "__name__", ""))
    if isinstance(operation, layers.Softmax):
        return "softmax"
    return "" if isinstance(operation, layers.Layer) else type(operation).__name__.lower()


def is_homogeneous(operation: Any) -> bool:
    """Whether f(a x) = a f(x) for every a >= 0, channel by channel, as of a ReLU."""
    if isinstance(operation, layers.ReLU):
        return not operation.threshold and operation.max_value is None
    is_leaky = isinstance(operation, (layers.LeakyReLU, layers.PReLU))
    return is_leaky or activation_name(operation) in ("relu", "leaky_relu", "leakyrelu", "linear")
