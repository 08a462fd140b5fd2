"""Quantization inside a Keras graph: simulated in float32 for training, or executed per target."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from stages.artifacts.ranges import Range
from stages.engines.registry import Target
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.kernels import channel_axes
from stages.keras_graph.placement import Point, inputs_of_weighted, only
from stages.keras_graph.walk import Call, Visit, alone, apply, calls, walk
from stages.numerics.qparams import E4M3, KERNEL, FloatGrid, Grid, kernel_scale, tensor_scale


def fake_quantize(values: Any, scale: Any, grid: Grid) -> Any:
    """x / scale rounded to the grid, times the scale, with straight-through gradients.

    Inside the grid the gradient passes to `values`, outside to `scale`, and the rounding
    error feeds `scale` (Jain et al., 'Trained Quantization Thresholds', equation 5).
    """
    steps = ops.clip(values / scale, grid.low, grid.high)
    return (steps + ops.stop_gradient(_nearest(steps, grid) - steps)) * scale


def _nearest(steps: Any, grid: Grid) -> Any:
    """`steps`, which lie between the ends of the grid, rounded to it."""
    if isinstance(grid, FloatGrid):
        return ops.cast(ops.cast(steps, "float8_e4m3fn"), steps.dtype)
    return ops.round(steps)


class FakeQuantize(keras.layers.Layer):
    """Per-tensor activation quantization whose scale is learned as a logarithm.

    The logarithm makes a step a relative change: under the weights' learning rate the
    scale itself would not move.
    """

    def __init__(self, start: Range, target: Target, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.grid = start, start.grid(target)
        initial = keras.initializers.Constant(float(np.log(start.scale(target))))
        self.log_scale = self.add_weight(name="log_scale", shape=(), initializer=initial)

    def call(self, values: Any) -> Any:
        return fake_quantize(values, ops.exp(self.log_scale), self.grid)

    def compute_output_spec(self, values: Any) -> Any:
        """Dense: Keras takes the product of a tensor and a number for a sparse one."""
        return keras.KerasTensor(values.shape, values.dtype)

    def learned(self) -> Range:
        """The range that was learned: its scale, the zero point stays where it was."""
        scale = float(np.exp(self.log_scale.numpy()))
        limits = {"low": self.grid.low * scale, "high": self.grid.high * scale}
        return dataclasses.replace(self.start, **limits)


class QuantizedKernel(keras.layers.Wrapper):
    """Calls a weighted layer with its kernel on the INT8 grid, per output channel.

    For FP8 its kernel is on the grid of E4M3, as a whole. The wrapped layer keeps its float kernel,
    which is what training moves.
    """

    def __init__(self, layer: keras.Layer, grid: Grid = KERNEL, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.grid = grid

    def build(self, input_shape: Any = None) -> None:
        """Nothing to make: the wrapped layer is built already."""
        self.built = True

    def call(self, inputs: Any, input_scale: float | None = None) -> Any:
        """With `input_scale` the bias is rounded as well, to input scale x kernel scale."""
        variable = kernel_of(self.layer)
        kernel = ops.convert_to_tensor(variable)
        is_whole = isinstance(self.grid, FloatGrid)
        channels = () if is_whole else channel_axes(self.layer)
        others = tuple(i for i in range(len(kernel.shape)) if i not in channels)
        # The scale is a function of the kernel and is not learned: with a gradient through the
        # maximum, every rounding error would pull at the largest weight.
        amax = ops.max(ops.abs(ops.stop_gradient(kernel)), axis=others, keepdims=True)
        scale = tensor_scale(amax, ops) if is_whole else kernel_scale(amax, ops)
        swapped = [(variable, fake_quantize(kernel, scale, self.grid))]
        if input_scale is not None:
            bias = ops.convert_to_tensor(self.layer.bias)
            step = ops.reshape(scale * input_scale, (-1,))
            rounded = ops.round(ops.stop_gradient(bias) / step) * step
            swapped.append((self.layer.bias, bias + rounded - ops.stop_gradient(bias)))
        # Swapped for this call only, so that the layer keeps its float kernel, and works for any
        # kind of layer without knowing how it computes.
        with keras.StatelessScope(state_mapping=swapped):
            return self.layer.call(inputs)

    def compute_output_spec(self, inputs: Any, input_scale: float | None = None) -> Any:
        """That of the wrapped layer: Keras would trace the call for it, for every graph anew."""
        return self.layer.compute_output_spec(inputs)


QuantizeTensor = Callable[[Point, Any], Any]
"""(point, tensor) -> the tensor, quantized and dequantized."""


def execute(
    model: keras.Model,
    points: Mapping[str, Point],
    image: Any,
    quantize: QuantizeTensor,
    visit: Visit = apply,
) -> Any:
    """The output of a folded `model` for `image`, or the list of several, with `quantize` applied
    at every point.

    `image` is a KerasTensor (a graph is built) or a tensor (it is computed or traced), or the list
    of those of several inputs.
    """
    by_tensor = {id(point.tensor): point for point in points.values()}

    def at(tensor: Any, value: Any) -> Any:
        point = by_tensor.get(id(tensor))
        return value if point is None else quantize(point, value)

    def quantized(call: Call, *args: Any, **kwargs: Any) -> Any:
        values = keras.tree.flatten(visit(call, *args, **kwargs))
        return [at(tensor, value) for tensor, value in zip(call.outputs, values, strict=True)]

    pairs = zip(model.inputs, keras.tree.flatten(image), strict=True)
    return alone(walk(model, [at(tensor, value) for tensor, value in pairs], quantized))


def with_rounded_kernels(
    model: keras.Model, points: Mapping[str, Point], ranges: Mapping[str, Range], target: Target
) -> Visit:
    """The visit that calls every layer with a quantized input as `target` does: with its kernel on
    the grid for kernels, and with INT32 biases where the target has these."""
    if target == "fp8":
        return with_int8_kernels(model, points, grid=E4M3)
    return with_int8_kernels(model, points, bias_scales(points, ranges, target))


def with_int8_kernels(
    model: keras.Model,
    points: Mapping[str, Point],
    scales: Mapping[str, float] | None = None,
    grid: Grid = KERNEL,
) -> Visit:
    """The visit that calls every layer with a quantized input with its kernel on the grid, that of
    INT8 by default.

    `scales` are those of `points` for targets with INT32 biases: each call of a shared layer then
    rounds the bias to its own steps. (Of other layers snap_biases has done so, once and for all.)
    """
    wrapped: dict[int, Any] = {}
    quantized_inputs = inputs_of_weighted(model, points)
    how_often = Counter(id(call.operation) for call in calls(model))

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        layer, point = call.operation, quantized_inputs.get(id(call.outputs[0]))
        if point is None:
            return layer(*args, **kwargs)
        if id(layer) not in wrapped:
            wrapped[id(layer)] = QuantizedKernel(layer, grid, name=f"{layer.name}_int8")
        is_shared = how_often[id(layer)] > 1
        input_scale = scales[point.name] if scales and is_shared else None
        return wrapped[id(layer)](*args, **kwargs, input_scale=input_scale)

    return visit


def bias_scales(
    wanted: Iterable[str], ranges: Mapping[str, Range], target: Target
) -> dict[str, float] | None:
    """The scales of the points `wanted` for a target with INT32 biases, None for others."""
    return None if target == "tensorrt" else {name: ranges[name].scale(target) for name in wanted}


def simulate(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    target: Target = "cpu",
) -> keras.Model:
    """A trainable model that computes what a quantized engine for `target` computes, in float32.

    It shares the layers of the folded `model`: training it trains `model`'s weights.
    """
    wanted = only(points, target)

    def quantize(point: Point, value: Any) -> Any:
        layer = FakeQuantize(ranges[point.name], target, name=layer_name(point.name))
        # Pixels have 256 known values: their range is not trained (rule 8 of placement.py).
        layer.trainable = point.limits is None
        return layer(value)

    images = alone([keras.Input(batch_shape=x.shape, name=x.name) for x in model.inputs])
    visit = with_rounded_kernels(model, wanted, ranges, target)
    return keras.Model(images, execute(model, wanted, images, quantize, visit), name=model.name)


def layer_name(point: str) -> str:
    """Name of the FakeQuantize layer of a point: no other layer, and no other point, has it."""
    # In the names of layers no ">" is left (keras_graph/plain.py), and TensorFlow takes no colon.
    return f"{point.replace(':', '>')}>range"
