"""Bias correction: what rounding adds to the mean of a layer's outputs is taken from its bias.

Rounded kernels and inputs move the mean of every channel a little, most where a channel has few
weights that could cancel each other, as in a depthwise convolution (Nagel et al., 'Data-Free
Quantization Through Weight Equalization and Bias Correction', 2019, section 4.2; the means are
those of calibration images, as in its appendix on the empirical variant).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Fed, rows
from stages.keras_graph.fake_quant import execute, fake_quantize, with_int8_kernels
from stages.keras_graph.kernels import WEIGHTED
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.placement import Point, inputs_of_weighted, only
from stages.keras_graph.walk import Call, Visit, apply, calls

Shifts = dict[str, NDArray[np.float64]]
"""Layer -> mean of (float minus INT8) of every output channel: (channels,)."""
Biases = dict[str, NDArray[np.float32]]
"""Layer -> bias: (channels,)."""


def biases_of(model: keras.Model) -> Biases:
    """The biases of all weighted layers of the folded `model`."""
    weighted = (call.operation for call in calls(model) if is_kind(call.operation, WEIGHTED))
    return {str(layer.name): layer.bias.numpy() for layer in weighted}


def set_biases(model: keras.Model, biases: Biases, shifts: Mapping[str, Any] | None = None) -> None:
    """Give the layers of `model`, in place, their `biases`, plus `shifts` where there are some."""
    for name, bias in biases.items():
        shift = (shifts or {}).get(name, 0.0)
        model.get_layer(name).bias.assign(np.asarray(bias + shift, np.float32))


def mean_shifts(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    batches: Iterable[Fed],
) -> Shifts:
    """What has to be added to the bias of each layer with an INT8 kernel of the folded `model`.

    A layer is compared with what those before it give once they are corrected. One that is called
    several times has one bias for inputs that differ, and is left as it is.
    """
    placed = only(points, "cpu")
    corrected = _called_once(model, placed)
    total: Shifts = {}
    images = 0
    for batch in batches:
        wanted = _float_means(model, corrected, batch)
        for layer, shift in _shifts(model, placed, ranges, corrected, wanted, batch).items():
            total[layer] = total.get(layer, np.zeros_like(shift)) + shift * rows(batch)
        images += rows(batch)
    return {layer: shift / images for layer, shift in total.items()}


def _called_once(model: keras.Model, placed: Mapping[str, Point]) -> dict[int, str]:
    """id of the output -> name, of the layers to correct."""
    uses = Counter(id(call.operation) for call in calls(model))
    quantized = inputs_of_weighted(model, placed)
    return {
        id(call.outputs[0]): str(call.operation.name)
        for call in calls(model)
        if id(call.outputs[0]) in quantized and uses[id(call.operation)] == 1
    }


def _channel_means(outputs: Any) -> NDArray[np.float64]:
    values = np.asarray(outputs, np.float64)
    means: NDArray[np.float64] = values.mean(axis=tuple(range(values.ndim - 1)))
    return means


def _float_means(model: keras.Model, corrected: Mapping[int, str], batch: Fed) -> Shifts:
    means: Shifts = {}

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        outputs = apply(call, *args, **kwargs)
        if (layer := corrected.get(id(call.outputs[0]))) is not None:
            means[layer] = _channel_means(outputs)
        return outputs

    execute(model, {}, _tensors(batch), _unchanged, visit)
    return means


def _tensors(batch: Fed) -> Any:
    return keras.tree.map_structure(ops.convert_to_tensor, batch)


def _unchanged(point: Point, value: Any) -> Any:
    return value


def _shifts(
    model: keras.Model,
    placed: Mapping[str, Point],
    ranges: Mapping[str, Range],
    corrected: Mapping[int, str],
    wanted: Shifts,
    batch: Fed,
) -> Shifts:
    shifts: Shifts = {}
    quantized: Visit = with_int8_kernels(model, placed)

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        outputs = quantized(call, *args, **kwargs)
        layer = corrected.get(id(call.outputs[0]))
        if layer is None:
            return outputs
        shifts[layer] = wanted[layer] - _channel_means(outputs)
        return outputs + shifts[layer].astype(np.float32)

    def quantize(point: Point, value: Any) -> Any:
        found = ranges[point.name]
        return fake_quantize(value, found.scale("cpu"), found.grid("cpu"))

    execute(model, placed, _tensors(batch), quantize, visit)
    return shifts
