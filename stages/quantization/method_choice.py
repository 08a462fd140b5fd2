"""Which calibration method each tensor gets: the one whose rounding the outputs notice least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Fed, rows
from stages.keras_graph.fake_quant import execute, fake_quantize
from stages.keras_graph.placement import Point, tied
from stages.quantization.calibrate import Ranges

PER_TENSOR = "per tensor"

Changes = dict[str, dict[str, float]]
"""Method -> point -> mean squared change of an output when that tensor alone is quantized."""


def output_changes(
    model: keras.Model,
    points: Mapping[str, Point],
    candidates: Mapping[str, Mapping[str, Range]],
    batches: Iterable[Fed],
    seed: int = 0,
) -> Changes:
    """What the ranges of each method in `candidates` change in the outputs, to first order.

    Rounding moves a tensor by d and the outputs by about J d. With random signs v, (v J d)^2 is on
    average |J d|^2 (Hutchinson, 'A Stochastic Estimator of the Trace of the Influence Matrix',
    1989), and v J comes for all tensors at once from one backward pass: trying every tensor with
    every method would take a pass over the images for each.
    """
    signs = np.random.default_rng(seed)
    total: Changes = {method: dict.fromkeys(points, 0.0) for method in candidates}
    count = 0
    for batch in batches:
        values, gradients = _with_gradients(model, points, batch, signs)
        count += rows(batch) * sum(output.shape[-1] for output in model.outputs)
        for method, ranges in candidates.items():
            for name, value in values.items():
                scale, grid = ranges[name].scale("cpu"), ranges[name].grid("cpu")
                moved = (fake_quantize(value, scale, grid) - value) * gradients[name]
                of_image = tf.reduce_sum(tf.reshape(moved, (rows(batch), -1)), axis=1)
                total[method][name] += float(tf.reduce_sum(of_image**2))
    return {
        method: {name: change / count for name, change in by_point.items()}
        for method, by_point in total.items()
    }


def _with_gradients(
    model: keras.Model,
    points: Mapping[str, Point],
    batch: Fed,
    signs: np.random.Generator,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of all points, and the gradient of a random sum of the outputs for each."""
    values: dict[str, Any] = {}
    with tf.GradientTape() as tape:

        def watch(point: Point, value: Any) -> Any:
            tape.watch(value)
            values[point.name] = value
            return value

        images = keras.tree.map_structure(tf.convert_to_tensor, batch)
        outputs = keras.tree.flatten(execute(model, points, images, watch))
        mixed = tf.add_n([_mixed(output, signs, len(outputs) > 1) for output in outputs])
    unused = tf.UnconnectedGradients.ZERO
    return values, tape.gradient(mixed, values, unconnected_gradients=unused)


def _mixed(output: Any, signs: np.random.Generator, is_relative: bool) -> Any:
    """A sum of the values of an output with random signs; where it is to be `relative`, in standard
    deviations: of several outputs the one with the largest numbers would decide alone."""
    drawn = signs.choice(np.array([-1.0, 1.0], np.float32), size=output.shape)
    if is_relative:
        drawn = drawn / tf.maximum(tf.math.reduce_std(tf.stop_gradient(output)), 1e-12)
    return tf.reduce_sum(output * drawn)


def choose(model: keras.Model, points: Mapping[str, Point], changes: Changes) -> dict[str, str]:
    """Point -> the method that changes the outputs least; of equal ones the first.

    Tied points get the same, so that their ranges stay equal.
    """
    methods: dict[str, str] = {}
    for group in (*({name} for name in points), *tied(model, points)):
        cost = {method: sum(each[name] for name in group) for method, each in changes.items()}
        methods |= dict.fromkeys(group, min(cost, key=lambda method: cost[method]))
    return methods


def combine(candidates: Mapping[str, Mapping[str, Range]], methods: Mapping[str, str]) -> Ranges:
    """The range of every point by its own method."""
    return {name: candidates[method][name] for name, method in methods.items()}
