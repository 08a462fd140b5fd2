"""Numbers of which the smaller ones are lost in INT8, because all of an input share one grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.keras_graph.own_scaling import ARITHMETIC, SCALES
from stages.keras_graph.walk import Call, walk
from stages.training.baseline import some_of

STEPS = 255
"""Of UINT8 between the smallest value and the largest."""
NORMALISES = (*SCALES, layers.BatchNormalization, layers.LayerNormalization)


def doubts_of_columns(model: keras.Model, split: Split, signature: Signature) -> Iterator[str]:
    """A sentence on each input of numbers, fed to a kernel of `model` as they are, of which a
    column (the last axis) varies by less than a step of the grid that all of the input share."""
    numbers = [each for each in signature.each_input if each.data_dtype != "uint8"]
    fed = _fed_as_they_are(model, signature) if numbers else set()
    doubted = [own for own in numbers if own.input_name in fed]
    images = some_of(split).images if doubted else split.images
    for own in doubted:
        values = images[own.input_name] if signature.inputs else images
        columns = np.asarray(values, np.float64).reshape(-1, own.input_shape[-1])
        step = (max(columns.max(), 0.0) - min(columns.min(), 0.0)) / STEPS
        spread = columns.std(axis=0)
        lost = [index for index, each in enumerate(spread) if 0 < each < step]
        if lost:
            column = min(lost, key=lambda index: float(spread[index]))
            yield (
                f"INT8 rounds the input {own.input_name!r} to steps of {step:.2g} or more, and its "
                f"column {column} has a standard deviation of {spread[column]:.2g}: begin with "
                "layers.Normalization, adapted to the data, which makes all columns alike"
            )


def _fed_as_they_are(model: keras.Model, signature: Signature) -> set[str]:
    """The inputs that a layer with weights sees neither normalised nor scaled."""
    found = set[str]()

    def visit(call: Call, *args: Any, **kwargs: Any) -> list[frozenset[str]]:
        operation = call.operation
        given = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, frozenset)]
        held = frozenset[str]().union(*given)
        if isinstance(operation, NORMALISES) or type(operation).__name__ in ARITHMETIC:
            held = frozenset()
        elif getattr(operation, "weights", None):
            found.update(held)
            held = frozenset()
        return [held] * len(call.outputs)

    walk(model, [frozenset([name]) for name in signature.input_names], visit)
    return found
