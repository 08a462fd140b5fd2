"""How far rounding may move a number: what two right computations of one layer may differ by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.numerics.qparams import Grid


@dataclass(frozen=True)
class Arithmetic:
    """Relative rounding errors.

    operation    of one operation
    weighted     of a sum of products, as a share of sqrt(sum((x * w)^2))
    other        of any layer, as a share of its largest result
    steps        functions that are rounded to a grid of their own, by name, with its step
    rescaling    of an integer that is brought to another scale, as a share of its distance from 0
    slopes       of the slopes of a PReLU, as a share of the largest of them
    in_between   of a bilinear interpolation, as a share of the range of what it is made of
    """

    operation: float
    weighted: float
    other: float
    steps: Mapping[str, float] = field(default_factory=dict)
    rescaling: float = 0.0
    slopes: float = 0.0
    in_between: float = 0.0


FLOAT32 = Arithmetic(2.0**-24, 2.0**-16, 2.0**-16)
"""One operation: half of the last of 24 bits (IEEE 754). A sum of n products is off by about
sqrt(n) of these, with a probability near one (Higham and Mary, 'A New Approach to Probabilistic
Rounding Error Analysis', SIAM J. Sci. Comput. 41, 2019): 2^8 for the 2^16 products of the largest
kernels, and for a softmax or a normalisation more than enough."""

FLOAT16 = Arithmetic(2.0**-11, 2.0**-9, 2.0**-9)
"""Half of the last of 11 bits. Both operands of a product are rounded, each with a standard
deviation of 2^-11 / sqrt(3): four times 2^-11 are five deviations of the product. Sums are in
float32; the scale of the kernel and the result are rounded too. Other layers are up to four
operations in a row, as a swish is."""

LITERT = replace(
    FLOAT32,
    steps={"sigmoid": 1 / 256, "softmax": 1 / 256, "tanh": 1 / 128},
    rescaling=2.0**-9,
    slopes=0.5 / 127,
    in_between=2.0**-11,
)
"""As float32, and some functions on grids that LiteRT prescribes ('LiteRT 8-bit quantization
specification', LOGISTIC, SOFTMAX and TANH). From there to a point's grid, and from one point's grid
to another's, also in a LeakyReLU, XNNPACK multiplies by a number of 8 binary places: 2^-9 of up to
256 steps, half a step more. The slopes of a PReLU are INT8 with one scale for all.
The two weights of a bilinear interpolation have 11 binary places, so each is off by up to 2^-12."""


def beyond_rounding(
    steps: NDArray[np.float32], got: NDArray[Any], grid: Grid, tolerance: float
) -> NDArray[np.bool_]:
    """Where `got`, values of the grid, cannot be `steps`, which are in its steps, rounded.

    A value within `tolerance` steps of a tie may be rounded either way; nothing else may differ.
    NaN never passes.
    """
    clipped = np.clip(steps, grid.low, grid.high)
    half = np.asarray(grid.spacing(np.abs(clipped) + np.float32(tolerance))) / 2
    beyond: NDArray[np.bool_] = ~(np.abs(clipped - got) <= half + tolerance)
    return beyond


def stochastic(
    steps: NDArray[np.float32], grid: Grid, random: np.random.Generator
) -> NDArray[np.float32]:
    """`steps` rounded up or down at random, nearer values more often, and clipped to the grid.

    The expectation is `steps` itself (Gupta et al., 'Deep Learning with Limited Numerical
    Precision', section 3).
    """
    spacing = grid.spacing(steps)
    up = np.floor(steps / spacing + random.random(steps.shape, np.float32)) * spacing
    clipped: NDArray[np.float32] = np.clip(up, grid.low, grid.high).astype(np.float32)
    return clipped
