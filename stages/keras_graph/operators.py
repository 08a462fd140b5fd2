"""Operations of keras.ops that Keras also has as layers, as these layers.

| operation | becomes |
| --- | --- |
| `x + y`, `x - y`, `x * y`, maximum, minimum of two tensors of equal rank | Add, Subtract, ... |
| concatenate | Concatenate |
| max_pool, average_pool | MaxPooling, AveragePooling |
| max, mean over all places | GlobalMaxPooling, GlobalAveragePooling |
| reshape of each image | Reshape |

So an addition is pruned, quantized and fused in the same way however it was written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

SEQUENCE_RANK, IMAGE_RANK, VOLUME_RANK = 3, 4, 5  # (N, T, C), (N, H, W, C), (N, D, H, W, C)
MERGES = {
    "Add": layers.Add,
    "Maximum": layers.Maximum,
    "Minimum": layers.Minimum,
    "Multiply": layers.Multiply,
    "Subtract": layers.Subtract,
}
POOLS = {
    ("AveragePool", SEQUENCE_RANK): layers.AveragePooling1D,
    ("AveragePool", IMAGE_RANK): layers.AveragePooling2D,
    ("AveragePool", VOLUME_RANK): layers.AveragePooling3D,
    ("MaxPool", SEQUENCE_RANK): layers.MaxPooling1D,
    ("MaxPool", IMAGE_RANK): layers.MaxPooling2D,
    ("MaxPool", VOLUME_RANK): layers.MaxPooling3D,
}
GLOBAL_POOLS = {
    ("Max", SEQUENCE_RANK): layers.GlobalMaxPooling1D,
    ("Max", IMAGE_RANK): layers.GlobalMaxPooling2D,
    ("Max", VOLUME_RANK): layers.GlobalMaxPooling3D,
    ("Mean", SEQUENCE_RANK): layers.GlobalAveragePooling1D,
    ("Mean", IMAGE_RANK): layers.GlobalAveragePooling2D,
    ("Mean", VOLUME_RANK): layers.GlobalAveragePooling3D,
}


def as_layer(operation: Any, given: Any) -> Any:
    """A new layer that computes of the tensors in `given` what `operation` does with the arguments
    `given`, or None.
    """
    # Their classes are not public, so they go by name.
    if not type(operation).__module__.startswith("keras.src.ops."):
        return None
    tensors = keras.tree.flatten(given)
    return _layer(operation, tensors) if all(map(_is_plain, tensors)) else None


def _is_plain(value: Any) -> bool:
    """Whether it is a float tensor with axes: no constant, and without a mask, which operations
    drop and layers pass on."""
    is_tensor = isinstance(value, keras.KerasTensor) and len(value.shape) > 1
    return is_tensor and value.dtype == "float32" and getattr(value, "_keras_mask", None) is None


def _layer(operation: Any, tensors: Sequence[Any]) -> Any:
    kind, rank = type(operation).__name__, len(tensors[0].shape)
    if kind in MERGES and {len(tensor.shape) for tensor in tensors} == {rank} and len(tensors) == 2:
        return MERGES[kind]()
    if kind == "Concatenate" and len(tensors) > 1 and operation.axis % rank:
        return layers.Concatenate(operation.axis)
    if (kind, rank) in POOLS and _is_channels_last(operation):
        size, strides, padding = operation.pool_size, operation.strides, operation.padding
        return POOLS[kind, rank](size, strides, padding, data_format="channels_last")
    if (kind, rank) in GLOBAL_POOLS and _is_over_places(operation, rank):
        options = {"keepdims": operation.keepdims, "data_format": "channels_last"}
        return GLOBAL_POOLS[kind, rank](**options)
    if kind == "Reshape":
        return _reshape(tensors[0], operation.newshape)
    return None


def _is_channels_last(operation: Any) -> bool:
    return bool((operation.data_format or keras.config.image_data_format()) == "channels_last")


def _is_over_places(operation: Any, rank: int) -> bool:
    if operation.axis is None or getattr(operation, "initial", None) is not None:
        return False
    return sorted(axis % rank for axis in operation.axis) == list(range(1, rank - 1))


def _reshape(tensor: Any, shape: Sequence[int]) -> Any:
    """None where values may move from one image to another."""
    before, after = tensor.shape[1:], keras.ops.reshape(tensor, shape).shape[1:]
    if None in before or None in after or math.prod(before) != math.prod(after):
        return None
    return layers.Reshape(after)
