"""How far the logits of two right quantized engines may be apart: what tolerance inside explains.

A value near a rounding tie goes one way in one engine and the other way in the next, and an engine
that fuses two quantizers rounds once where the graph says twice. A network with sure answers
swallows that; one that guesses turns it into other labels. So the bound is not a constant: the
simulation is run with every value rounded up or down at random, and what this does to its logits is
what rounding explains for this network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.engines.registry import Target
from stages.keras_graph.fake_quant import execute, with_rounded_kernels
from stages.keras_graph.placement import Point, only
from stages.numerics.rounding import stochastic

DRAWS = 3


def explained_difference(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    target: Target,
    images: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Largest difference of each value to the outputs `expected` (N, ..., values) of the simulation
    for `target`, over all of the preprocessed `images` (N, H, W, C) and three random ways to round:
    (values,), each in the unit of its own.
    """
    wanted = only(points, target)
    random = np.random.default_rng(0)

    def quantize(point: Point, value: Any) -> Any:
        scale = np.float32(ranges[point.name].scale(target))
        steps = np.asarray(value, np.float32) / scale
        rounded = stochastic(steps, ranges[point.name].grid(target), random)
        return keras.ops.convert_to_tensor(rounded * scale)

    visit = with_rounded_kernels(model, wanted, ranges, target)
    draws = [np.asarray(execute(model, wanted, images, quantize, visit)) for _ in range(DRAWS)]
    moved = [np.abs(found - expected).reshape(-1, expected.shape[-1]) for found in draws]
    return np.asarray(np.concatenate(moved).max(axis=0), np.float64)
