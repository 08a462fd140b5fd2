"""Scales and grids of uniform INT8 quantization.

    q = clip(round(x / scale), low, high),   x' = q * scale

Steps are counted from zero, which every grid contains exactly. An engine stores q + zero point: an
asymmetric grid from -19 to 236 is UINT8 with zero point 19, or INT8 with zero point -109. Rounding
is half to even, as in the ONNX and IEEE definitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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
    """The integers that a quantized value can take: int8 -128..127, uint8 0..255.

    Grids of other zero points have their 256 integers elsewhere around zero.
    """

    low: int
    high: int

    def spacing(self, steps: Array) -> Array | float:
        """How far apart the values of the grid around `steps` are."""
        return 1.0

    def nearest(self, steps: Array) -> Array:
        """`steps`, rounded half to even and clipped."""
        spacing = self.spacing(steps)
        nearest: Array = np.clip(np.round(steps / spacing) * spacing, self.low, self.high)
        return nearest

    def place(self, values: Array) -> NDArray[np.int32]:
        """Places of values of the grid in its order; zero has 0."""
        return np.asarray(values).astype(np.int32)

    def of_stored(self, stored: NDArray[Any]) -> Array:
        """The values of the grid that an engine stores as int8 or uint8."""
        # The smallest integer that is stored stands for the lowest step of the grid.
        levels = stored.astype(np.int32) - np.iinfo(stored.dtype).min + self.low
        return levels.astype(np.float32)


@dataclass(frozen=True)
class FloatGrid(Grid):
    """The numbers of E4M3, eight bits with four of exponent: 3 binary places, from 2^-6 on ever
    finer below (Micikevicius et al., 'FP8 Formats for Deep Learning', section 3)."""

    def spacing(self, steps: Array) -> Array:
        """2^-3 of the power of two that is in them, 2^-9 at least."""
        _, exponent = np.frexp(steps)  # steps = mantissa * 2^exponent, mantissa in [0.5, 1)
        spacing: Array = np.ldexp(np.float32(1), np.maximum(exponent - 1, -6) - 3)
        return spacing

    def place(self, values: Array) -> NDArray[np.int32]:
        """Eight to every power of two."""
        spacing = self.spacing(values)
        binade = np.log2(spacing) + 9
        return np.asarray(values / spacing + np.sign(values) * 8 * binade, np.int32)

    def of_stored(self, stored: NDArray[Any]) -> Array:
        """The bits of E4M3 in uint8: sign, four of the exponent plus 7, three of the mantissa."""
        bits = stored.view(np.uint8).astype(np.int32)
        exponent, mantissa = bits >> 3 & 0xF, (bits & 7).astype(np.float32)
        size = np.ldexp(np.where(exponent, 8 + mantissa, mantissa), np.maximum(exponent, 1) - 10)
        number = np.where(bits & 0x7F == 0x7F, np.nan, size)
        return np.where(bits & 0x80, -number, number).astype(np.float32)


E4M3 = FloatGrid(-448, 448)
INT8 = Grid(-128, 127)
KERNEL = Grid(-127, 127)
"""Narrow range: kernels without -128 allow faster int8 instructions and stay symmetric."""


def asymmetric_grid(low: float, high: float) -> Grid:
    """The 256 integers around zero that cover `low` <= 0 to `high` >= 0 with the smallest steps.

    -0.28 to 3.5 -> -19..236; 0 to 3.5 -> 0..255; -1 to 1 -> -128..127. The zero point is a whole
    number (Jacob et al., 'Quantization and Training of Neural Networks', section 2.1), rounded so
    that the shorter side loses nothing: one step more there makes the others little larger.
    """
    # A grid that was found before is found again: its zero point may not be rounded up once more.
    shorter = math.ceil(255 * min(-low, high) / (high - low) - 1e-6)
    return Grid(-shorter, 255 - shorter) if -low <= high else Grid(shorter - 255, shorter)


def activation_scale(low: float, high: float, grid: Grid) -> float:
    """Smallest scale that has `low` <= 0 and `high` >= 0 on `grid`: 0 to 2.55, 0..255 -> 0.01."""
    ends = ((low, grid.low), (high, grid.high))
    return max(*(limit / steps for limit, steps in ends if steps), SMALLEST_SCALE)


def tensor_scale(amax: Any, numpy: Any = np) -> Any:
    """The scale that puts `amax`, max|w| of a whole kernel, on 448 in E4M3; a power of two, which
    every type holds exactly, and a kernel of zeros gets the smallest.

    One for all channels is enough, and its last bits do not matter: down to 2^-6 numbers of every
    size have the same relative error. Computed by `numpy`, which is that or keras.ops.
    """
    power = numpy.ceil(numpy.log2(numpy.maximum(amax / E4M3.high, SMALLEST_SCALE)))
    return numpy.power(2.0, power)


def kernel_scales(kernel: Array, *axes: int) -> Array:
    """One scale per output channel: kernel (3, 3, 8, 16), axis 3 -> scales (16,); a depthwise one
    (3, 3, 8, 2), axes 2 and 3 -> scales (16,).
    """
    channels = {axis % kernel.ndim for axis in axes}
    others = tuple(i for i in range(kernel.ndim) if i not in channels)
    amax = np.abs(kernel).max(axis=others).reshape(-1)
    scales: Array = kernel_scale(amax).astype(np.float32)
    return scales


def kernel_scale(amax: Any, numpy: Any = np) -> Any:
    """The scale that puts `amax`, max|w| of a channel, on 127; a channel of zeros gets scale 1.

    Computed by `numpy`, which is that or keras.ops.
    """
    scale = numpy.maximum(amax / KERNEL.high, SMALLEST_KERNEL_SCALE)
    return numpy.where(amax > 0, scale, 1.0)


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
