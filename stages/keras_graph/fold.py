"""Flatten a model and fold its batch normalisation: what quantization starts from.

The user's model is never changed: every pass here returns a new model with its own weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container
from typing import Any

import keras
import numpy as np
from keras import layers

from stages.keras_graph.cost import kernel_of
from stages.keras_graph.garbage import free_copies
from stages.keras_graph.kernels import WEIGHTED, channel_axes, scaled
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.loose_norms import affine, carry_over
from stages.keras_graph.operators import as_layer
from stages.keras_graph.rewrite import rewrite
from stages.keras_graph.walk import (
    Call,
    calls,
    clone_layer,
    copy_weights,
    rebuild,
    told_to_infer,
    unused_name,
)

DROPOUT = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.AlphaDropout,
)
TRAINING_ONLY = (
    *DROPOUT,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.AugMix,
    layers.CutMix,
    layers.MixUp,
    layers.RandAugment,
    layers.RandomBrightness,
    layers.RandomColorDegeneration,
    layers.RandomColorJitter,
    layers.RandomContrast,
    layers.RandomCrop,
    layers.RandomElasticTransform,
    layers.RandomErasing,
    layers.RandomFlip,
    layers.RandomGaussianBlur,
    layers.RandomGrayscale,
    layers.RandomHue,
    layers.RandomInvert,
    layers.RandomPerspective,
    layers.RandomPosterization,
    layers.RandomRotation,
    layers.RandomSaturation,
    layers.RandomSharpness,
    layers.RandomShear,
    layers.RandomTranslation,
    layers.RandomZoom,
)
"""Layers that pass their input through at inference."""

DROPPING = (
    layers.Attention,
    layers.AdditiveAttention,
)
"""Layers with `dropout` that cannot tell training=False from their default."""

RECURRENT = (
    layers.GRU,
    layers.GRUCell,
    layers.LSTM,
    layers.LSTMCell,
    layers.SimpleRNN,
    layers.SimpleRNNCell,
    layers.ConvLSTM1D,
    layers.ConvLSTM2D,
    layers.ConvLSTM3D,
)
"""As those, with `recurrent_dropout` too."""


def for_inference(layer: Any) -> dict[str, Any]:
    """Changes to the configuration of a layer that is called with training=False, after which it
    computes in training what it computes at inference, or comes closer to that.

    Attention and recurrent layers cannot tell this from their default, which a copy of one is then
    called with.
    """
    if isinstance(layer, layers.BatchNormalization):
        return {"trainable": False}
    if type(layer) is layers.RNN:
        return {"cell": _inferring_cell(layer.cell, layer.get_config()["cell"])}
    return _without_inner_dropout(layer)


def _without_inner_dropout(layer: Any) -> dict[str, Any]:
    if type(layer) in RECURRENT:
        return {"dropout": 0.0, "recurrent_dropout": 0.0}
    return {"dropout": 0.0} if type(layer) in DROPPING else {}


def _inferring_cell(cell: Any, described: dict[str, Any]) -> dict[str, Any]:
    """The description of a recurrent layer's cell, or of several in a stack, without dropout."""
    config = {**described["config"], **_without_inner_dropout(cell)}
    if type(cell) is layers.StackedRNNCells:
        pairs = zip(cell.cells, config["cells"], strict=True)
        config["cells"] = [_inferring_cell(*pair) for pair in pairs]
    return {**described, "config": config}


class Copies:
    """Copies of layers with their weights: one per layer however often it is called.

    Those of `inferring`, by id, are called with training=False everywhere: they compute the same in
    training, although Keras passes on what the whole model is told instead.
    """

    def __init__(self, inferring: Container[int] = ()) -> None:
        self.inferring = inferring
        self.by_id: dict[int, Any] = {}
        self.names: set[str] = set()

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the copy of `layer`; an operation that is no layer becomes one if Keras has it."""
        if not isinstance(layer, layers.Layer):
            made = as_layer(layer, (args, kwargs))
            if made is None:
                return layer(*args, **kwargs)
            made.name = self._unused(layer.name)
            tensors = keras.tree.flatten((args, kwargs))
            return made(tensors if len(tensors) > 1 else tensors[0])
        if id(layer) in self.by_id:
            return self.by_id[id(layer)](*args, **kwargs)
        changes: dict[str, Any] = {"name": self._unused(layer.name)}
        if id(layer) in self.inferring:
            if is_kind(layer, TRAINING_ONLY):
                return args[0]
            changes |= for_inference(layer)
        copy = self.by_id[id(layer)] = clone_layer(layer, **changes)
        result = copy(*args, **kwargs)
        copy_weights(layer, copy)
        return result

    def _unused(self, name: str) -> str:
        unused = unused_name(name, self.names)
        self.names.add(unused)
        return unused


def flatten(model: keras.Model) -> keras.Model:
    """A copy of `model` without nesting: one graph, its own layers, the same weights.

    Layers of nested models that share a name get a number at the end. Operations that Keras also
    has as layers become layers (operators.py). Batch normalisation that is called with
    training=False is frozen, and dropout that is called so is gone.
    Raises ModelError for a subclassed model.
    """
    copies = Copies(told_to_infer(model))

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        return copies.call(call.operation, *args, **kwargs)

    return rebuild(model, visit)


def without_dropout(flat: keras.Model) -> keras.Model:
    """A copy of a flat model without its Dropout layers, or `flat` itself where there are none.

    What a layer drops inside, as attention does, stays.
    """
    if not any(is_kind(layer, DROPOUT) for layer in flat.layers):
        return flat
    copies = Copies()

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        if is_kind(call.operation, DROPOUT):
            return args[0]
        return copies.call(call.operation, *args, **kwargs)

    return rebuild(flat, visit)


def fold(model: keras.Model) -> keras.Model:
    """A flat copy for inference, in which every weighted layer is linear and has a bias.

    Batch normalisation that directly follows a weighted layer is folded into it, and other
    normalisation into the layer behind it (loose_norms.py). Fused activations become layers of
    their own, layers that only act in training or not at all are gone, and those that engines do
    not know are rewritten (rewrite.py).
    Outputs equal those of `model` up to float32 rounding.
    """
    folded = _merged(rewrite(flatten(model)))
    free_copies(folded.count_params())
    moved = carry_over(folded)
    if moved is not folded:
        # Its layers were called in `folded` as well: only copies have one input and one output.
        folded = flatten(moved)
        del moved
        free_copies(folded.count_params())
    _drop_broken_constraints(folded)
    return folded


def _drop_broken_constraints(folded: keras.Model) -> None:
    """Those of kernels that do not obey them any more, because of what was folded in: a training
    would cut these down to them in its first step."""
    for variable in folded.trainable_variables:
        if variable.constraint is None:
            continue
        values = variable.numpy()
        if not np.allclose(variable.constraint(variable), values, rtol=1e-3, atol=1e-6):
            variable.constraint = None


def _merged(flat: keras.Model) -> keras.Model:
    """`flat` with weighted layers that are linear and have a bias, the normalisation directly
    behind them folded into them."""
    norms = _norms_behind(flat)
    merged = {id(norm.outputs[0]) for norm in norms.values()}
    replaced: dict[int, Any] = {}
    copies = Copies()

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        layer = call.operation
        if _passes_through(layer) or id(call.outputs[0]) in merged:
            return args[0]
        if not is_kind(layer, WEIGHTED):
            return copies.call(layer, *args, **kwargs)
        if id(layer) in replaced:
            linear, activation = replaced[id(layer)]
            return activation(linear(args[0]))
        norm = norms.get(id(call.outputs[0]))
        linear = _linear(layer, norm and norm.operation, args[0])
        summed = linear(args[0])
        activation = _activation(layer, summed.shape)
        replaced[id(layer)] = (linear, activation)
        return activation(summed)

    return rebuild(flat, visit)


def _passes_through(layer: Any) -> bool:
    """Whether a layer returns what it is given, at inference: behind a weighted layer it would hide
    what that one is followed by, or that it is an output."""
    is_linear = is_kind(layer, layers.Activation) and layer.activation is keras.activations.linear
    return is_linear or is_kind(layer, (layers.Identity, *TRAINING_ONLY))


def _norms_behind(flat: keras.Model) -> dict[int, Call]:
    """id of the output of a weighted call -> the normalisation that folds into its layer."""
    graph = calls(flat)
    uses = Counter(id(tensor) for call in graph for tensor in call.inputs)
    # The model's output needs what comes before the normalisation, as another reader does.
    uses.update(id(output) for output in flat.outputs)
    behind = {
        id(call.inputs[0]): call
        for call in graph
        if is_kind(call.operation, layers.BatchNormalization)
        and call.operation.axis in (-1, len(call.inputs[0].shape) - 1)
        and uses[id(call.inputs[0])] == 1
    }
    found = {
        id(call.outputs[0]): behind.get(id(call.outputs[0]))
        for call in graph
        if is_kind(call.operation, WEIGHTED)
        and call.operation.activation is keras.activations.linear
    }
    # A layer that is called twice has one kernel: its calls must agree about what folds into it.
    wanted: dict[int, set[Any]] = {}
    for call in graph:
        norm = found.get(id(call.outputs[0]))
        wanted.setdefault(id(call.operation), set()).add(norm and norm.operation)
    return {
        id(call.outputs[0]): norm
        for call in graph
        if (norm := found.get(id(call.outputs[0]))) and len(wanted[id(call.operation)]) == 1
    }


def _linear(layer: Any, norm: Any, inputs: Any) -> Any:
    """A copy of `layer` with a bias and no activation, `norm` folded in if there is one."""
    copy = clone_layer(layer, use_bias=True, activation="linear")
    copy.build(inputs.shape)
    kernel = kernel_of(layer).numpy()
    channels = math.prod(kernel.shape[axis] for axis in channel_axes(layer))
    bias = layer.bias.numpy() if layer.use_bias else np.zeros(channels, np.float32)
    if norm is not None:
        # Ioffe and Szegedy, 'Batch Normalization', section 3.1, at inference.
        change = affine(norm)
        kernel, bias = scaled(layer, change.factor), bias * change.factor + change.shift
    copy.set_weights([kernel, bias])
    return copy


def _activation(layer: Any, shape: tuple[int | None, ...]) -> Any:
    """The activation that was fused into `layer`, of tensors of `shape`, as a layer of its own."""
    activation = layer.activation
    if activation is keras.activations.linear:
        return lambda tensor: tensor
    name = f"{layer.name}_activation"
    if isinstance(activation, layers.Layer):
        copy = clone_layer(activation, name=name)
        if activation.weights:  # as a PReLU
            copy.build(shape)
            copy_weights(activation, copy)
        return copy
    return layers.Activation(activation, name=name)
