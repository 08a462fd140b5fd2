"""What a network returns: the names of its outputs, and whether one is logits, or what a softmax or
a sigmoid made of them."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Any, Literal

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.artifacts.node_names import NAME
from stages.artifacts.signature import Fed
from stages.errors import ModelError, shown
from stages.keras_graph.walk import Call, alone, apply, functional, walk

LARGEST_DEVIATION = 0.01
"""Of a row's sum from 1; a softmax in bfloat16 stays within half of it."""
QUOTIENTS = ("Divide", "TrueDivide")


Maker = Literal["softmax", "sigmoid"]


def with_named_outputs(model: keras.Model) -> keras.Model:
    """`model` itself, or with a list of outputs where it has a dictionary, by whose names the
    operations that make them go then.

    Raises ModelError where a name is that of another layer.
    """
    found = getattr(model, "output", None)
    if not isinstance(found, dict):
        return model
    tensors = []
    for name, tensor in found.items():
        if not NAME.fullmatch(name):
            raise ModelError(
                f"{model.name!r} names an output {shown(name)}, expected letters, digits, dots, "
                "dashes and underscores",
                "name it otherwise in the dictionary",
            )
        if not isinstance(tensor, keras.KerasTensor):
            raise ModelError(
                f"{model.name!r} returns a {type(tensor).__name__} as its output {name!r}, "
                "expected a tensor for each name",
                "give each a name of its own",
            )
        if tensor._keras_history.operation.name != name:
            if any(layer.name == name for layer in model.layers):
                raise ModelError(
                    f"{model.name!r} names an output {name!r}, as it does another layer",
                    "rename the layer, or the output",
                )
            tensor = layers.Activation("linear", name=name)(tensor)
        tensors.append(tensor)
    return keras.Model(alone(model.inputs), tensors, name=model.name)


def with_listed_inputs(model: keras.Model) -> keras.Model:
    """`model` itself, or with a list of inputs where it has several in another form, by whose names
    they then go: every stage gives it a list."""
    given = getattr(model, "input", None)
    if len(model.inputs) == 1 or isinstance(given, list):
        return model
    own = {id(tensor): name for name, tensor in given.items()} if isinstance(given, dict) else {}
    names = [own.get(id(tensor), tensor.name) for tensor in model.inputs]
    if names == [tensor.name for tensor in model.inputs]:
        return keras.Model(list(model.inputs), alone(model.outputs), name=model.name)
    pairs = zip(names, model.inputs, strict=True)
    inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype, name=name) for name, x in pairs]
    return keras.Model(inputs, alone(walk(model, inputs, apply)), name=model.name)


def names_of(model: keras.Model) -> tuple[str, ...]:
    """Of the outputs, in their order: those of the layers that make them. Raises ModelError."""
    names = tuple(map(str, functional(model).output_names))
    if twice := [name for name in names if names.count(name) > 1]:
        raise ModelError(
            f"{model.name!r} has two outputs of the layer {twice[0]!r}, expected a name for each",
            "return a dictionary: keras.Model(inputs, {'name': tensor, ...})",
        )
    return names


def made_by(model: keras.Model, images: Fed, maker: Maker, index: int = 0) -> bool:
    """Whether an output of `model` is probabilities that a softmax, or sigmoids, made, no logits.

    Its graph must end in one, wherever that is written, or in something that may be one. That
    alone could be a softmax over another axis, so the outputs for `images` float32 (N, H, W, C)
    and for noise must be shares of 1 as well, or shares. Those alone could be confident sigmoids.
    Raises ModelError for a subclassed model.
    """
    given = [_Value.OTHER] * len(functional(model).inputs)
    if walk(model, given, partial(_made, maker))[index] is _Value.OTHER:
        return False
    seen = alone([_with_noise(each) for each in keras.tree.flatten(images)])
    found = keras.tree.flatten(model(seen, training=False))[index]
    outputs = np.asarray(found, np.float64)
    return bool(outputs.min() >= 0) and _are_shares(outputs, maker)


def _with_noise(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice as many."""
    noise = np.random.default_rng(0).normal(images.mean(), images.std() + 1e-3, images.shape)
    return np.concatenate([images, noise.astype(np.float32)])


def _are_shares(outputs: NDArray[np.float64], maker: Maker) -> bool:
    if maker == "sigmoid":
        return bool(outputs.max() <= 1)
    return bool(np.abs(outputs.sum(axis=-1) - 1).max() <= LARGEST_DEVIATION)


class _Value(Enum):
    """What is known of a tensor."""

    MADE = "may be what a softmax, or a sigmoid, made"
    OTHER = "anything else"


def _made(maker: Maker, call: Call, *args: Any, **kwargs: Any) -> list[_Value]:
    """The visit: what without weights follows a softmax may only move its values."""
    operation = call.operation
    given = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, _Value)]
    kept = not getattr(operation, "weights", None) and _Value.MADE in given
    may_be = _may_be_softmax(operation) if maker == "softmax" else _may_be_sigmoid(operation)
    found = _Value.MADE if kept or may_be else _Value.OTHER
    return [found] * len(call.outputs)


def _may_be_softmax(operation: Any) -> bool:
    activation = getattr(operation, "activation", None)
    if activation is keras.activations.softmax or isinstance(activation, layers.Softmax):
        return True
    return type(operation).__name__ in ("Softmax", "Lambda", *QUOTIENTS) or _is_own(operation)


def _may_be_sigmoid(operation: Any) -> bool:
    if getattr(operation, "activation", None) is keras.activations.sigmoid:
        return True
    return type(operation).__name__ in ("Sigmoid", "Lambda") or _is_own(operation)


def _is_own(operation: Any) -> bool:
    return type(operation).__module__.partition(".")[0] != "keras"
