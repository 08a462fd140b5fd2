"""What kind of activation a layer or an operation is."""

from __future__ import annotations

from typing import Any

from keras import layers

from stages.keras_graph.kinds import is_kind

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
    if is_kind(operation, layers.ReLU):
        if operation.negative_slope or operation.threshold:
            return ""
        return {None: "relu", 6: "relu6"}.get(operation.max_value, "clipped_relu")
    activation = getattr(operation, "activation", None)
    if is_kind(operation, layers.Activation):
        return str(getattr(activation, "__name__", ""))
    if is_kind(operation, layers.Softmax):
        return "softmax"
    return "" if isinstance(operation, layers.Layer) else type(operation).__name__.lower()


def is_clamp(operation: Any) -> bool:
    """Whether it computes min(max(x, a), b) with constants a and b, and is no ReLU of FUSED."""
    return activation_name(operation) in ("clip", "clipped_relu", "hard_tanh", "hardtanh")


def has_threshold(operation: Any) -> bool:
    """Whether it is a ReLU of what is above a threshold, with or without a limit."""
    is_relu = is_kind(operation, layers.ReLU)
    return is_relu and bool(operation.threshold) and not operation.negative_slope


def is_leaky(operation: Any) -> bool:
    """Whether it computes max(x, 0) + a min(x, 0) with one constant a, other than 0."""
    if is_kind(operation, layers.ReLU):
        is_whole = operation.max_value is None and not operation.threshold
        return bool(operation.negative_slope) and is_whole
    named = activation_name(operation) in ("leaky_relu", "leakyrelu")
    return is_kind(operation, layers.LeakyReLU) or named


def is_homogeneous(operation: Any) -> bool:
    """Whether f(a x) = a f(x) for every a >= 0, channel by channel, as of a ReLU."""
    if is_kind(operation, layers.ReLU):
        return not operation.threshold and operation.max_value is None
    is_leaky = is_kind(operation, (layers.LeakyReLU, layers.PReLU))
    return is_leaky or activation_name(operation) in ("relu", "leaky_relu", "leakyrelu", "linear")
