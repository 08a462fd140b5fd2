"""Rebuild a model without some of its channels: the same layers, fewer of their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.keras_graph.channels import Trace
from stages.keras_graph.cost import TRANSPOSED
from stages.keras_graph.producers import HEADS, einsum_axes, within
from stages.keras_graph.union_find import Indices
from stages.keras_graph.walk import Call, clone_layer, copy_frozen, copy_weights, rebuild

Stays = NDArray[np.bool_]
"""For every channel whether it stays."""

KERNEL_AXES: dict[type, tuple[int | None, int | None]] = {
    layers.Conv1D: (1, 2),
    layers.Conv1DTranspose: (2, 1),
    layers.Conv2D: (2, 3),
    layers.Conv2DTranspose: (3, 2),
    layers.Conv3D: (3, 4),
    layers.Conv3DTranspose: (4, 3),
    layers.Dense: (0, 1),
    layers.DepthwiseConv1D: (1, None),
    layers.DepthwiseConv2D: (2, None),
}
"""Axes of the input and output channels: Conv1D (k, cin, cout), Conv2D (kh, kw, cin, cout),
Conv2DTranspose (kh, kw, cout, cin), Dense (in, out), DepthwiseConv2D (kh, kw, c, multiplier), and
the others likewise."""
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)


def shrink(model: keras.Model, kept: Sequence[Indices]) -> keras.Model:
    """A new flat model in which group i of `groups(model)` has only its channels kept[i].

    It holds no masks, shares no weights with `model`, and keeps the names of inputs and layers.
    Outputs equal those of `model` with zeros in the place of what was removed.
    """
    trace = Trace(model)
    stays = _stays(trace, kept)
    copies: dict[int, Any] = {}

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        layer = call.operation
        if not isinstance(layer, layers.Layer):
            return layer(*args, **kwargs)
        seen, made = (stays[trace.of[id(side[0])]] for side in (call.inputs, call.outputs))
        # A shared layer is copied once, so that its calls still share their weights.
        if id(layer) in copies:
            return copies[id(layer)](*args, **kwargs)
        heads = _heads(trace, stays, layer)
        copy = copies[id(layer)] = clone_layer(layer, **_changes(call, seen, made, heads))
        result = copy(*args, **kwargs)
        if seen.all() and made.all() and all(each.all() for each in heads.values()):
            copy_weights(layer, copy)
        elif heads:
            copy.set_weights(_attention_weights(layer, seen, made, heads))
            copy_frozen(layer, copy)
        else:
            copy.set_weights(_weights(layer, np.flatnonzero(seen), np.flatnonzero(made)))
        return result

    return rebuild(model, visit)


def _stays(trace: Trace, kept: Sequence[Indices]) -> Stays:
    """For every unit whether it stays."""
    stays = np.ones(len(trace.roots), bool)
    for group, keep in zip(trace.groups(), kept, strict=True):
        for channel in np.setdiff1d(np.arange(len(group.channels)), keep):
            name, position = group.channels[channel][0]
            stays[trace.roots[trace.produced[name][position]]] = False
    return stays[trace.roots]


def _heads(trace: Trace, stays: Stays, layer: Any) -> dict[str, Stays]:
    """For the projections of an attention layer, the channels of each head that stay."""
    names = {part: within(layer, part) for part in HEADS}
    return {part: stays[trace.produced[n]] for part, n in names.items() if n in trace.produced}


def _changes(call: Call, seen: Stays, made: Stays, heads: Mapping[str, Stays]) -> dict[str, Any]:
    """Changes to the configuration of a smaller layer; `seen` and `made`: channels that stay."""
    layer = call.operation
    if heads:
        made_axes = call.outputs[0].shape[len(call.inputs[0].shape) - 1 :]
        return {
            "output_shape": (*made_axes[:-1], int(made.sum())),
            "key_dim": int(heads["key"].sum()),
            "value_dim": int(heads["value"].sum()),
        }
    if seen.all() and made.all():
        return {}
    if type(layer) is layers.EinsumDense:
        return {"output_shape": (*layer.partial_output_shape[:-1], int(made.sum()))}
    if type(layer) is layers.Dense:
        return {"units": int(made.sum())}
    if type(layer) in (*TRANSPOSED, *SEPARABLE):
        return {"filters": int(made.sum())}
    if type(layer) in (layers.Conv1D, layers.Conv2D, layers.Conv3D):
        groups = int(seen.sum()) if layer.groups == len(seen) else layer.groups
        return {"filters": int(made.sum()), "groups": groups}
    if type(layer) is layers.Reshape:
        # -1, not the new width: a shared Reshape may see tensors of different widths.
        return {"target_shape": (*call.outputs[0].shape[1:-1], -1)}
    return {}


def _weights(layer: Any, seen: Indices, made: Indices) -> list[NDArray[Any]]:
    """The weights of `layer` for its input channels `seen` and its output channels `made`."""
    weights = layer.get_weights()
    if type(layer) is layers.BatchNormalization:
        return [weight[made] for weight in weights]
    if type(layer) is layers.PReLU:
        (slopes,) = weights
        return [slopes if slopes.ndim in (layer.shared_axes or ()) else slopes[..., made]]
    if type(layer) in SEPARABLE:
        return _separable_weights(layer, seen, made)
    if type(layer) is layers.EinsumDense and (axes := einsum_axes(layer)):
        return _einsum_weights(layer, axes, seen, made)
    if type(layer) not in KERNEL_AXES:
        return list(weights)
    input_axis, output_axis = KERNEL_AXES[type(layer)]
    kernel, *bias = weights
    if input_axis is not None:
        # A kernel in groups has the inputs of one group, and the same of every group stay.
        kernel = kernel.take(np.unique(seen % kernel.shape[input_axis]), input_axis)
    if output_axis is not None:
        kernel = kernel.take(made, output_axis)
    return [kernel, *(values[made] for values in bias)]


def _separable_weights(layer: Any, seen: Indices, made: Indices) -> list[NDArray[Any]]:
    """Kernels (..., cin, m) and (..., cin * m, cout), then the bias (cout,)."""
    depthwise, pointwise, *bias = layer.get_weights()
    multiplier = layer.depth_multiplier
    between = (seen[:, None] * multiplier + np.arange(multiplier)).ravel()
    pointwise = pointwise.take(between, -2).take(made, -1)
    return [depthwise.take(seen, -2), pointwise, *(values[made] for values in bias)]


def _einsum_weights(
    layer: Any, axes: tuple[int, int], seen: Indices, made: Indices
) -> list[NDArray[Any]]:
    """A kernel with any axes, then the bias, whose last axis is that of the output if it has one
    value for each channel."""
    kernel, *bias = layer.get_weights()
    input_axis, output_axis = axes
    has_channels = layer.equation[-1] in (layer.bias_axes or "")
    kernel = kernel.take(seen, input_axis).take(made, output_axis)
    return [kernel, *(each.take(made, -1) if has_channels else each for each in bias)]


def _attention_weights(
    layer: Any, seen: Stays, made: Stays, heads: Mapping[str, Stays]
) -> list[NDArray[Any]]:
    """Kernels (cin, heads, D) and biases (heads, D) of projections, and those of the last one:
    (heads, D, ..., cout) and (..., cout).

    Scores are divided by the square root of D, which is smaller now: the query makes up for it.
    """
    weights = []
    for variable in layer.weights:
        values: NDArray[Any] = variable.numpy()
        *_, projection, name = variable.path.split("/")
        is_kernel = name == "kernel"
        if projection == "attention_output":
            values = values.compress(made, -1)
            weights.append(values.compress(heads["value"], 1) if is_kernel else values)
            continue
        # The gate is a factor of what the heads return, and as wide.
        values = values.compress(heads["value" if projection == "gate" else projection], -1)
        if projection == "query":
            values = values * values.dtype.type(math.sqrt(heads["query"].mean()))
        # Where key and value are of another tensor, which may be wider, all of both stays.
        is_cut = is_kernel and not seen.all()
        weights.append(values.compress(seen, 0) if is_cut else values)
    return weights
