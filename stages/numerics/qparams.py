"""Scales of uniform INT8 quantization. Everything is symmetric: the zero point is 0.

    q = clip(round(x / scale), low, high),   x' = q * scale        (ONNX QuantizeLinear)

Rounding is half to even, as in the ONNX and IEEE definitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SMALLEST_SCALE = 2.0**-14
"""Smallest normal float16: below it a scale loses bits, or becomes zero, in FP16 graphs."""


SMALLEST_KERNEL_SCALE = 2.0**-20
"""A channel below it is as good as zero: float16 would make its scale zero, which TensorRT
refuses, and its bias would not fit into 32 bits."""


@dataclass(frozen=True)
class Grid:
    """The integers that a quantized value can take: int8 -128..127, uint8 0..255."""

    low: int
    high: int


INT8 = Grid(-128, 127)
UINT8 = Grid(0, 255)
KERNEL = Grid(-127, 127)
"""Narrow range: kernels without -128 allow faster int8 instructions and stay symmetric."""


def activation_scale(amax: float, grid: Grid) -> float:
    """Scale that puts `amax` on the last step: amax 2.55 on UINT8 -> 0.01."""
    return max(amax / grid.high, SMALLEST_SCALE)


def kernel_scales(kernel: Array, axis: int) -> Array:
    """One scale per output channel: kernel (3, 3, 8, 16), axis 3 -> scales (16,).

    max|w| of the channel lands on 127; a channel of zeros gets scale 1.
    """
    others = tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim)
    amax = np.abs(kernel).max(axis=others)
    scales = np.maximum(amax / KERNEL.high, SMALLEST_KERNEL_SCALE)
    return np.where(amax > 0, scales, 1.0).astype(np.float32)


def quantize(values: Array, scale: Array | float, grid: Grid) -> NDArray[np.int32]:
    """Integers of `values` on `grid`; `scale` broadcasts."""
    # In float32, as engines divide: float64 would put some ties on the other side.
    steps = np.round(values / np.asarray(scale, np.float32))
    return np.clip(steps, grid.low, grid.high).astype(np.int32)


def snap(values: Array, step: Array | float) -> Array:
    """`values` moved to whole multiples of `step`, computed in float64.

    An integer engine rounds the bias to int32 in steps of (input scale x kernel scale);
    a bias that already sits there is the same number in Keras and in the engine
    (Jacob et al., 'Quantization and Training of Neural Networks', section 2.4).
    """
    whole = np.asarray(step, np.float64)
    return (np.round(values.astype(np.float64) / whole) * whole).astype(np.float32)
