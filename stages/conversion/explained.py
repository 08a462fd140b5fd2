"""How far the logits of two right quantized engines may be apart: what tolerance inside explains.

A value near a rounding tie goes one way in one engine and the other way in the next, and an engine
that fuses two quantizers rounds once where the graph says twice. A network with sure answers
swallows that; one that guesses turns it into other labels. So the bound is not a constant: the
simulation is run with every value rounded up or down at random, and what this does to its logits is
what rounding explains for this network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.engines.registry import Target
from stages.keras_graph.fake_quant import execute, with_rounded_kernels
from stages.keras_graph.placement import Point, only
from stages.numerics import fields
from stages.numerics.rounding import FLOAT16, FLOAT32, Arithmetic, stochastic

DRAWS = 3
ARITHMETIC: dict[Target, Arithmetic] = {
    "cpu": FLOAT32,
    "litert": FLOAT32,
    "tensorrt": FLOAT16,
    "fp8": FLOAT16,
}
"""Between the integers; TensorRT 8.6 has float32."""


def explained_difference(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    target: Target,
    images: NDArray[np.float32],
    expected: NDArray[Any],
) -> NDArray[Any]:
    """Largest difference of each value to the outputs `expected` (N, ..., values) of the simulation
    for `target`, over all of the preprocessed `images` (N, H, W, C) and three random ways to round:
    float64 (values,), each in the unit of its own; of several outputs () with a field of these for
    each.
    """
    wanted = only(points, target)
    random = np.random.default_rng(0)

    def quantize(point: Point, value: Any) -> Any:
        scale = np.float32(ranges[point.name].scale(target))
        steps = np.asarray(value, np.float32) / scale
        rounded = stochastic(steps, ranges[point.name].grid(target), random)
        return keras.ops.convert_to_tensor(rounded * scale)

    visit = with_rounded_kernels(model, wanted, ranges, target)
    draws = [
        keras.tree.flatten(execute(model, wanted, images, quantize, visit)) for _ in range(DRAWS)
    ]
    moved = [
        _largest_of_values(right, found, ARITHMETIC[target])
        for right, found in zip(fields.parts(expected), zip(*draws, strict=True), strict=True)
    ]
    if not (names := fields.names(expected)):
        return moved[0]
    each_alone = {name: each[np.newaxis] for name, each in zip(names, moved, strict=True)}
    return fields.joined(each_alone).reshape(())


def _largest_of_values(
    expected: NDArray[Any], draws: Sequence[Any], arithmetic: Arithmetic
) -> NDArray[np.float64]:
    """Over all images and places: (values,). A value that no draw has moved is still rounded."""
    apart = [np.abs(np.asarray(found) - expected) for found in draws]
    rounded = arithmetic.other * np.abs(expected)
    by_value = np.stack([*apart, rounded]).reshape(-1, expected.shape[-1])
    return np.asarray(by_value.max(axis=0), np.float64)
