"""Calibration: the range of every quantized tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import keras
import numpy as np
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Fed
from stages.keras_graph.placement import Point, tied
from stages.keras_graph.walk import alone
from stages.numerics import calibration
from stages.numerics.calibration import Histogram, Limits

Ranges = dict[str, Range]

METHODS: dict[str, Callable[[Histogram, float], Limits]] = {
    "max": lambda histogram, percentile: (histogram.low, histogram.high),
    "percentile": calibration.percentile_limits,
    "entropy": lambda histogram, percentile: calibration.entropy_limits(histogram),
    "mse": lambda histogram, percentile: calibration.mse_limits(histogram),
}
"""Name -> (histogram, percentile) -> low and high."""


def observe(
    model: keras.Model, points: Mapping[str, Point], batches: list[Fed]
) -> dict[str, Histogram]:
    """Histograms of the values at all points of the folded float `model` on `batches`.

    Two passes: the first finds the smallest and largest values, the second counts between them.
    """
    tensors = keras.Model(alone(model.inputs), [point.tensor for point in points.values()])

    def values(batch: Fed) -> list[NDArray[np.float32]]:
        return [found.numpy() for found in keras.tree.flatten(tensors(batch, training=False))]

    ends = np.zeros((2, len(points)))
    for batch in batches:
        seen = values(batch)
        ends[0] = np.minimum(ends[0], [found.min() for found in seen])
        ends[1] = np.maximum(ends[1], [found.max() for found in seen])
    histograms = [calibration.empty(float(low), float(high)) for low, high in ends.T]
    for batch in batches:
        histograms = [h.add(v) for h, v in zip(histograms, values(batch), strict=True)]
    return dict(zip(points, histograms, strict=True))


def find_ranges(
    model: keras.Model,
    points: Mapping[str, Point],
    histograms: Mapping[str, Histogram],
    method: str,
    percentile: float,
) -> Ranges:
    """The range of every point by one of METHODS, tied points with equal ones.

    A range that is known beforehand does not change.
    """
    found = {}
    for name, point in points.items():
        histogram = histograms[name]
        # One range serves all targets; it is chosen on the finer grid, that of the CPU engines.
        low, high = point.limits or METHODS[method](histogram, percentile)
        found[name] = Range(low, high, calibration.saturated_share(histogram, low, high))
    return tie(model, points, found)


def tie(model: keras.Model, points: Mapping[str, Point], found: Mapping[str, Range]) -> Ranges:
    """`found`, with one range for all tied points that is as wide as those of all of them.

    Of a group of which only some can be negative, as the two sides of a skip connection, only these
    get one range: a zero point would keep ONNX Runtime from fusing the ReLUs of the others.
    """
    result = dict(found)
    for group in tied(model, points):
        negative = {name for name in group if points[name].signed}
        names = negative or group
        members = [result[name] for name in names]
        low, high = min(each.low for each in members), max(each.high for each in members)
        result |= {name: replace(result[name], low=low, high=high) for name in names}
    return result
