"""Biases on the steps that integer engines have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import keras

from stages.keras_graph.cost import kernel_of
from stages.keras_graph.kernels import channel_axes
from stages.keras_graph.placement import Point, inputs_of_weighted
from stages.keras_graph.walk import calls
from stages.numerics import qparams
from stages.quantization.calibrate import Ranges


def snap_biases(model: keras.Model, placed: Mapping[str, Point], found: Ranges) -> None:
    """Move the biases of the folded `model`, in place, to the steps that integer engines have.

    Those of layers that are called several times stay: they have other steps in each call.
    """
    quantized_inputs = inputs_of_weighted(model, placed)
    how_often = Counter(id(call.operation) for call in calls(model))
    for call in calls(model):
        point = quantized_inputs.get(id(call.outputs[0]))
        if point is not None and how_often[id(call.operation)] == 1:
            layer = call.operation
            # The scale of the CPU's grid, which LiteRT shares; TensorRT takes its bias as float.
            kernel_scales = qparams.kernel_scales(kernel_of(layer).numpy(), *channel_axes(layer))
            step = kernel_scales * found[point.name].scale("cpu")
            layer.bias.assign(qparams.snap(layer.bias.numpy(), step))
