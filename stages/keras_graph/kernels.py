"""Layers with a kernel that an engine can run in INT8, and what the axes of a kernel mean."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers
from numpy.typing import NDArray

from stages.keras_graph.cost import TRANSPOSED, kernel_of
from stages.keras_graph.kinds import is_kind

DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
WEIGHTED = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Dense,
    *DEPTHWISE,
    *TRANSPOSED,
)
"""Layers with a kernel that an engine can run in INT8."""


def kernels_of(model: keras.Model) -> list[Any]:
    """The kernel variables of the weighted layers of a flat model."""
    return [kernel_of(layer) for layer in model.layers if is_kind(layer, WEIGHTED)]


def output_axis(layer: Any) -> int:
    """Axis of the output channels in the kernel of `layer`.

    (kh, kw, cin, cout) -> 3; (k, cin, cout) -> 2; Dense (in, out) -> 1; transposed
    (kh, kw, cout, cin) -> 2. A depthwise kernel (kh, kw, c, 1) has its channels on axis 2.
    """
    rank = len(kernel_of(layer).shape)
    return rank - 2 if isinstance(layer, (*DEPTHWISE, *TRANSPOSED)) else rank - 1


def channel_axes(layer: Any) -> tuple[int, ...]:
    """Axes of a kernel along which every element belongs to another output channel.

    The output axis; of a depthwise kernel (kh, kw, c, m) with depth multiplier m the last two.
    """
    axis = output_axis(layer)
    return (axis, axis + 1) if isinstance(layer, DEPTHWISE) else (axis,)


def scaled(layer: Any, factor: NDArray[Any]) -> NDArray[Any]:
    """The kernel of `layer` with output channel o multiplied by factor[o]; `factor` is (cout,)."""
    kernel: NDArray[Any] = kernel_of(layer).numpy()
    channels = channel_axes(layer)
    shape = [size if axis in channels else 1 for axis, size in enumerate(kernel.shape)]
    result: NDArray[Any] = kernel * factor.reshape(shape)
    return result
