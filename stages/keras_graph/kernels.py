"""Layers with a kernel that an engine can run in INT8, and what the axes of a kernel mean."""

from __future__ import annotations

from typing import Any

from keras import layers
from numpy.typing import NDArray

from stages.keras_graph.cost import kernel_of

WEIGHTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense, layers.Conv2DTranspose)
"""Layers with a kernel that an engine can run in INT8."""


def output_axis(layer: Any) -> int:
    """Axis of the output channels in the kernel of `layer`.

    (kh, kw, cin, cout) -> 3; Dense (in, out) -> 1; transposed (kh, kw, cout, cin) -> 2.
    A depthwise kernel (kh, kw, c, 1) has its channels on axis 2.
    """
    rank = len(kernel_of(layer).shape)
    return (
        rank - 2
        if isinstance(layer, (layers.DepthwiseConv2D, layers.Conv2DTranspose))
        else rank - 1
    )


def scaled(layer: Any, factor: NDArray[Any]) -> NDArray[Any]:
    """The kernel of `layer` with output channel o multiplied by factor[o]; `factor` is (cout,)."""
    kernel: NDArray[Any] = kernel_of(layer).numpy()
    shape = [1] * kernel.ndim
    if isinstance(layer, layers.DepthwiseConv2D):
        shape[-2:] = kernel.shape[-2:]
    else:
        shape[output_axis(layer)] = -1
    result: NDArray[Any] = kernel * factor.reshape(shape)
    return result
