"""How each kind of layer carries channels: one rule per kind, and the table of them.

A rule takes the trace and a call, and returns the units of the call's output, or None where it
does not know: the channels of all its inputs then stay. A kind of layer that is not in the table
has no rule either, subclasses included, for they may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
from keras import layers

from stages.keras_graph.producers import einsum_axes, within
from stages.keras_graph.union_find import FROZEN, Indices, UnionFind
from stages.keras_graph.walk import Call


class Tracing(Protocol):
    """What rules need of stages.keras_graph.channels.Trace."""

    units: UnionFind
    of: dict[int, Indices]
    produced: dict[str, Indices]


Rule = Callable[[Tracing, Call], "Indices | None"]

MIXING_ACTIVATIONS = ("glu", "log_softmax", "softmax", "sparsemax")
"""Functions of keras.activations in which every channel depends on the others."""


def pass_on(trace: Tracing, call: Call) -> Indices | None:
    """Output channel i depends on input channel i only."""
    return trace.of[id(call.inputs[0])] if _is_per_channel(call.operation) else None


def produce(trace: Tracing, call: Call) -> Indices | None:
    """Every output channel depends on all input channels: new units, once per layer."""
    layer = call.operation
    if layer.name not in trace.produced:
        trace.produced[layer.name] = trace.units.new(call.outputs[0].shape[-1])
        # A softmax over channels would be another function without one of them.
        if not _is_per_channel(layer):
            trace.units.unite(trace.produced[layer.name], FROZEN)
    return trace.produced[layer.name]


def convolve(trace: Tracing, call: Call) -> Indices | None:
    """An ordinary convolution produces, one with a group per channel is a depthwise one."""
    if call.operation.groups == 1:
        return produce(trace, call)
    is_depthwise = call.operation.groups == call.inputs[0].shape[-1]
    return convolve_depthwise(trace, call) if is_depthwise else convolve_grouped(trace, call)


def convolve_grouped(trace: Tracing, call: Call) -> Indices | None:
    """All groups stay and must keep equal widths: channel i of every group goes together.

    Two groups of inputs [1 2 3 4] unite to [1 2 1 2].
    """
    made = produce(trace, call)
    for units in (trace.of[id(call.inputs[0])], made):
        if units is not None:
            first, *others = units.reshape(call.operation.groups, -1)
            for other in others:
                trace.units.unite(other, first)
    return made


def convolve_depthwise(trace: Tracing, call: Call) -> Indices | None:
    """With a multiplier, each input channel has that many outputs side by side: [1 1 2 2]."""
    multiplier = call.outputs[0].shape[-1] // call.inputs[0].shape[-1]
    units = pass_on(trace, call)
    # Keras lays the outputs of one channel side by side: repeat, where Flatten needs tile.
    return None if units is None else np.repeat(units, multiplier)


def attend(trace: Tracing, call: Call) -> Indices | None:
    """Attention of positions to each other produces; where they attend to another tensor, all
    channels of both stay. Inside, channel i of all heads goes together: of query and key, whose
    products are summed, and of value, which the last projection sees."""
    layer = call.operation
    # With LoRA, a kernel is a sum of two, which cannot be cut into smaller ones.
    if any(getattr(each, "lora_enabled", False) for each in layer._flatten_layers()):
        return None
    if within(layer, "query") not in trace.produced:
        keys, values = layer.key_dim, layer.value_dim
        trace.produced[within(layer, "query")] = trace.units.new(keys)
        trace.produced[within(layer, "key")] = trace.produced[within(layer, "query")]
        trace.produced[within(layer, "value")] = trace.units.new(values)
    is_to_itself = all(tensor is call.inputs[0] for tensor in call.inputs)
    return produce(trace, call) if is_to_itself else None


def sum_products(trace: Tracing, call: Call) -> Indices | None:
    """An EinsumDense layer produces where its kernel ends the last axis and makes a new one."""
    return produce(trace, call) if einsum_axes(call.operation) else None


def normalise(trace: Tracing, call: Call) -> Indices | None:
    """Batch normalisation, where it is over the last axis."""
    last = len(call.inputs[0].shape) - 1
    return trace.of[id(call.inputs[0])] if call.operation.axis in (-1, last) else None


def merge(trace: Tracing, call: Call) -> Indices | None:
    """Channel i of all inputs goes together; an input of one channel is seen by all and stays."""
    width = call.outputs[0].shape[-1]
    wide = [trace.of[id(tensor)] for tensor in call.inputs if tensor.shape[-1] == width]
    for tensor in call.inputs:
        if tensor.shape[-1] != width:
            trace.units.unite(trace.of[id(tensor)], FROZEN)
    for units in wide[1:]:
        trace.units.unite(units, wide[0])
    return wide[0] if wide else None


def concatenate(trace: Tracing, call: Call) -> Indices | None:
    """Channels side by side, where it is over the last axis."""
    if call.operation.axis not in (-1, len(call.inputs[0].shape) - 1):
        return None
    return np.concatenate([trace.of[id(tensor)] for tensor in call.inputs])


def reshape(trace: Tracing, call: Call) -> Indices | None:
    """The last axis is kept, or everything becomes one axis: [1 2] -> [1 2 1 2]."""
    source, shape = call.inputs[0], call.outputs[0].shape
    if None in source.shape[1:] or (shape[-1] != source.shape[-1] and len(shape) > 2):
        return None
    return np.tile(trace.of[id(source)], shape[-1] // source.shape[-1])


def _is_per_channel(operation: Any) -> bool:
    """Whether the activation of a layer, if it has one, leaves channels apart."""
    function = getattr(operation, "activation", None)
    if isinstance(function, layers.Layer):
        return RULES.get(type(function)) is pass_on and _is_per_channel(function)
    name = getattr(function, "__name__", "")
    known = getattr(keras.activations, name, None) is function
    return function is None or (known and name not in MIXING_ACTIVATIONS)


RULES: dict[type, Rule] = {
    layers.Activation: pass_on,
    layers.ActivityRegularization: pass_on,
    layers.Add: merge,
    layers.Average: merge,
    layers.AveragePooling1D: pass_on,
    layers.AveragePooling2D: pass_on,
    layers.AveragePooling3D: pass_on,
    layers.BatchNormalization: normalise,
    layers.Concatenate: concatenate,
    layers.Conv1D: convolve,
    layers.Conv1DTranspose: produce,
    layers.Conv2D: convolve,
    layers.Conv2DTranspose: produce,
    layers.Conv3D: convolve,
    layers.Conv3DTranspose: produce,
    layers.Cropping1D: pass_on,
    layers.Cropping2D: pass_on,
    layers.Cropping3D: pass_on,
    layers.Dense: produce,
    layers.DepthwiseConv1D: convolve_depthwise,
    layers.DepthwiseConv2D: convolve_depthwise,
    layers.Dropout: pass_on,
    layers.EinsumDense: sum_products,
    layers.ELU: pass_on,
    layers.Flatten: reshape,
    layers.GaussianDropout: pass_on,
    layers.GaussianNoise: pass_on,
    layers.GlobalAveragePooling1D: pass_on,
    layers.GlobalAveragePooling2D: pass_on,
    layers.GlobalAveragePooling3D: pass_on,
    layers.GlobalMaxPooling1D: pass_on,
    layers.GlobalMaxPooling2D: pass_on,
    layers.GlobalMaxPooling3D: pass_on,
    layers.Identity: pass_on,
    layers.LeakyReLU: pass_on,
    layers.MaxPooling1D: pass_on,
    layers.MaxPooling2D: pass_on,
    layers.MaxPooling3D: pass_on,
    layers.Maximum: merge,
    layers.Minimum: merge,
    layers.MultiHeadAttention: attend,
    layers.Multiply: merge,
    layers.PReLU: pass_on,
    layers.ReLU: pass_on,
    layers.Reshape: reshape,
    layers.SeparableConv1D: produce,
    layers.SeparableConv2D: produce,
    layers.SpatialDropout1D: pass_on,
    layers.SpatialDropout2D: pass_on,
    layers.SpatialDropout3D: pass_on,
    layers.Subtract: merge,
    layers.UpSampling1D: pass_on,
    layers.UpSampling2D: pass_on,
    layers.UpSampling3D: pass_on,
    layers.ZeroPadding1D: pass_on,
    layers.ZeroPadding2D: pass_on,
    layers.ZeroPadding3D: pass_on,
}
"""Normalisation over channels (LayerNormalization, GroupNormalization) has none on purpose: what it
makes of one channel depends on all others, so that without one, even of zeros, the rest changes."""

_PRODUCE = (attend, convolve, produce, sum_products)
PRODUCERS = tuple(kind for kind, rule in RULES.items() if rule in _PRODUCE)
"""Layers whose kernels make new channels."""

OPERATION_RULES: dict[str, Rule] = {
    "Add": merge,
    "Elu": pass_on,
    "Gelu": pass_on,
    "HardSigmoid": pass_on,
    "HardSilu": pass_on,
    "LeakyRelu": pass_on,
    "Maximum": merge,
    "Minimum": merge,
    "Multiply": merge,
    "Relu": pass_on,
    "Relu6": pass_on,
    "Selu": pass_on,
    "Sigmoid": pass_on,
    "Silu": pass_on,
    "Subtract": merge,
    "Tanh": pass_on,
}
"""Operations of keras.ops, as in `x + y`; their classes are not public, so they go by name."""


def operation_rule(operation: Any) -> Rule | None:
    """The rule of a keras.ops operation, if it is one that has a rule."""
    if not type(operation).__module__.startswith("keras.src.ops."):
        return None
    return OPERATION_RULES.get(type(operation).__name__)
