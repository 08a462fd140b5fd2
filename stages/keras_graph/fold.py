"""Flatten a model and fold its batch normalisation: what quantization starts from.

The user's model is never changed: every pass here returns a new model with its own weights.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from stages.keras_graph.cost import kernel_of
from stages.keras_graph.rewrite import rewrite
from stages.keras_graph.walk import (
    Call,
    calls,
    clone_layer,
    copy_weights,
    rebuild,
    unused_name,
)

WEIGHTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense, layers.Conv2DTranspose)
"""Layers with a kernel that an engine can run in INT8."""

TRAINING_ONLY = (
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.ActivityRegularization,
)
"""Layers that pass their input through at inference."""


def output_axis(layer: Any) -> int:
    """Axis of the output channels in the kernel of `layer`.

    (kh, kw, cin, cout) -> 3; Dense (in, out) -> 1; transposed (kh, kw, cout, cin) -> 2.
    A depthwise kernel (kh, kw, c, 1) has its channels on axis 2.
    """
    rank = len(kernel_of(layer).shape)
    return (
        rank - 2
        if isinstance(layer, (layers.DepthwiseConv2D, layers.Conv2DTranspose))
        else rank - 1
    )


class _Copies:
    """Copies of layers with their weights: one per layer however often it is called."""

    def __init__(self) -> None:
        self.by_id: dict[int, Any] = {}
        self.names: set[str] = set()

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the copy of `layer`; operations without state are used as they are."""
        if not isinstance(layer, layers.Layer):
            return layer(*args, **kwargs)
        if id(layer) in self.by_id:
            return self.by_id[id(layer)](*args, **kwargs)
        name = unused_name(layer.name, self.names)
        self.names.add(name)
        copy = self.by_id[id(layer)] = clone_layer(layer, name=name)
        result = copy(*args, **kwargs)
        copy_weights(layer, copy)
        return result


def flatten(model: keras.Model) -> keras.Model:
    """A copy of `model` without nesting: one graph, its own layers, the same weights.

    Layers of nested models that share a name get a number at the end.
    Raises ModelError for a subclassed model.
    """
    copies = _Copies()

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        return copies.call(call.operation, *args, **kwargs)

    return rebuild(model, visit)


def fold(model: keras.Model) -> keras.Model:
    """A flat copy for inference, in which every weighted layer is linear and has a bias.

    Batch normalisation that directly follows a weighted layer is folded into it, fused
    activations become layers of their own, layers that only act in training are gone, and
    those that engines do not know are rewritten (rewrite.py).
    Outputs equal those of `model` up to float32 rounding.
    """
    flat = rewrite(flatten(model))
    merged = _merges(flat)
    followed_by = {id(call.outputs[0]): norm for norm, call in merged.items()}
    replaced: dict[int, Any] = {}
    copies = _Copies()

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        layer = call.operation
        if isinstance(layer, TRAINING_ONLY) or layer in merged:
            return args[0]
        if not isinstance(layer, WEIGHTED):
            return copies.call(layer, *args, **kwargs)
        if id(layer) not in replaced:
            norm = followed_by.get(id(call.outputs[0]))
            replaced[id(layer)] = (_linear(layer, norm, args[0]), _activation(layer))
        linear, activation = replaced[id(layer)]
        return activation(linear(args[0]))

    return rebuild(flat, visit)


def _merges(flat: keras.Model) -> dict[Any, Call]:
    """Batch normalisation layer -> the call of the weighted layer that it folds into."""
    graph = calls(flat)
    produced = {id(output): call for call in graph for output in call.outputs}
    uses: dict[int, int] = {}
    for call in graph:
        for tensor in call.inputs:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    how_often: dict[Any, int] = {}
    for call in graph:
        how_often[call.operation] = how_often.get(call.operation, 0) + 1
    merged = {}
    for call in graph:
        if not isinstance(call.operation, layers.BatchNormalization):
            continue
        source = produced.get(id(call.inputs[0]))
        if (
            source is not None
            and isinstance(source.operation, WEIGHTED)
            and source.operation.activation is keras.activations.linear
            # Another reader of the convolution, or the model's output, needs what comes before the
            # normalisation; a layer that is called twice has only one kernel to fold into.
            and uses[id(call.inputs[0])] == 1
            and how_often[source.operation] == how_often[call.operation] == 1
            and call.operation.axis in (-1, len(call.inputs[0].shape) - 1)
            and not any(source.outputs[0] is output for output in flat.outputs)
        ):
            merged[call.operation] = source
    return merged


def _linear(layer: Any, norm: Any, inputs: Any) -> Any:
    """A copy of `layer` with a bias and no activation, `norm` folded in if there is one."""
    copy = clone_layer(layer, use_bias=True, activation="linear")
    copy.build(inputs.shape)
    kernel = kernel_of(layer).numpy()
    channels = kernel.shape[output_axis(layer)]
    if isinstance(layer, layers.DepthwiseConv2D):
        channels *= kernel.shape[-1]
    bias = layer.bias.numpy() if layer.use_bias else np.zeros(channels, np.float32)
    if norm is not None:
        kernel, bias = _folded(layer, kernel, bias, norm)
    copy.set_weights([kernel, bias])
    return copy


def _folded(layer: Any, kernel: Any, bias: Any, norm: Any) -> tuple[Any, Any]:
    """w' = w * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta.

    Ioffe and Szegedy, 'Batch Normalization', section 3.1, at inference.
    """
    variance, mean = norm.moving_variance.numpy(), norm.moving_mean.numpy()
    # In float64: a variance near zero makes this factor large, and float32 would
    # round it and then the product.
    factor = 1.0 / np.sqrt(variance.astype(np.float64) + norm.epsilon)
    if norm.scale:
        factor = factor * norm.gamma.numpy()
    shift = norm.beta.numpy() if norm.center else 0.0
    shape = [1] * kernel.ndim
    if isinstance(layer, layers.DepthwiseConv2D):
        shape[-2:] = kernel.shape[-2:]
    else:
        shape[output_axis(layer)] = -1
    folded = kernel * factor.reshape(shape)
    return folded.astype(np.float32), ((bias - mean) * factor + shift).astype(np.float32)


def _activation(layer: Any) -> Any:
    """The activation that was fused into `layer`, as a layer of its own."""
    activation = layer.activation
    if activation is keras.activations.linear:
        return lambda tensor: tensor
    name = f"{layer.name}_activation"
    if isinstance(activation, layers.Layer):
        return clone_layer(activation, name=name)
    return layers.Activation(activation, name=name)
