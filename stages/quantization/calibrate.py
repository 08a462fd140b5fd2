"""Calibration: the range of every quantized tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.keras_graph.placement import Point, tied
from stages.numerics import calibration
from stages.numerics.calibration import Histogram

Batches = Iterable[NDArray[np.float32]]
Ranges = dict[str, Range]

METHODS: dict[str, Callable[[Histogram, int, float], float]] = {
    "max": lambda histogram, steps, percentile: histogram.amax,
    "percentile": lambda histogram, steps, percentile: calibration.percentile_amax(
        histogram, percentile
    ),
    "entropy": lambda histogram, steps, percentile: calibration.entropy_amax(histogram, steps),
    "mse": lambda histogram, steps, percentile: calibration.mse_amax(histogram, steps),
}
"""Name -> (histogram, positive steps of the grid, percentile) -> amax."""


def observe(
    model: keras.Model, points: Mapping[str, Point], batches: list[NDArray[np.float32]]
) -> dict[str, Histogram]:
    """Histograms of the magnitudes at all points of the folded float `model` on `batches`.

    Two passes: the first finds the largest magnitudes, the second counts up to them.
    """
    tensors = keras.Model(model.inputs[0], [point.tensor for point in points.values()])

    def values(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return [found.numpy() for found in keras.tree.flatten(tensors(batch, training=False))]

    largest: NDArray[np.float64] = np.zeros(len(points))
    for batch in batches:
        largest = np.maximum(largest, [np.abs(found).max() for found in values(batch)])
    histograms = [calibration.empty(float(amax)) for amax in largest]
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
        # One amax serves all targets; it is chosen on the finer grid, that of the CPU engines.
        steps = Range(1.0, point.signed).grid("cpu").high
        amax = point.amax or METHODS[method](histogram, steps, percentile)
        found[name] = Range(amax, point.signed, calibration.saturated_share(histogram, amax))
    return tie(found, tied(model, points))


def tie(found: Mapping[str, Range], groups: Iterable[set[str]]) -> Ranges:
    """`found`, with the widest range of each group for all of it.

    A group with both signs does not change: its members have different grids.
    """
    result = dict(found)
    for group in groups:
        members = {name: result[name] for name in group if name in result}
        if len({member.signed for member in members.values()}) == 1:
            widest = max(member.amax for member in members.values())
            for name, member in members.items():
                result[name] = Range(widest, member.signed, member.saturated_share)
    return result
