"""A user's model as every stage can compute it: in float32, with names that TensorFlow takes."""

from __future__ import annotations

import unicodedata
from collections.abc import Container
from typing import Any

import keras

from stages import progress
from stages.artifacts.node_names import NAME
from stages.errors import ModelError, shown
from stages.keras_graph.fold import TRAINING_ONLY, for_inference
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.walk import (
    Call,
    alone,
    copy_weights,
    functional,
    told_to_infer,
    unused_name,
    walk,
)

INFERRING = (keras.layers.BatchNormalization, *TRAINING_ONLY)
"""Layers that compute something else in training."""
OTHER_FLOATS = ("bfloat16", "float16", "float64")


def plain(model: keras.Model) -> keras.Model:
    """`model` itself where nothing has to change, else a flat copy.

    Layers of another precision, mixed or not, become float32; names get other characters. What is
    called with training=False computes the same in training, although Keras passes on what the
    whole model is told instead: batch normalisation is frozen, and dropout is gone.
    Raises ModelError for layers that Keras has quantized, and for what cannot be copied.
    """
    found: list[Call] = []

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        found.append(call)
        return call.outputs[0] if len(call.outputs) == 1 else list(call.outputs)

    walk(model, functional(model).inputs, visit)
    operations = [call.operation for call in found]
    _refuse_quantized(operations)
    named = (model, *(model.inputs if len(model.inputs) > 1 else ()), *operations)
    renamed = [each.name for each in named if not NAME.fullmatch(each.name)]
    precisions = sorted({name for each in operations for name in _other_floats(each)})
    inferring = told_to_infer(model)
    frozen = [each for each in operations if id(each) in inferring and isinstance(each, INFERRING)]
    if not (renamed or precisions or frozen):
        return model
    if frozen:
        progress.report(
            f"{model.name} calls {len(frozen)} layers with training=False, as {frozen[0].name}: "
            "they compute the same in training"
        )
    if precisions:
        progress.report(f"{model.name} computes in {', '.join(precisions)}: rebuilt in float32")
    if renamed:
        first = renamed[0]
        progress.report(
            f"{len(renamed)} names that TensorFlow does not take are spelled otherwise: "
            f"{shown(first)} is now {spelled(first)!r}"
        )
    images = [
        keras.Input(batch_shape=each.shape, dtype="float32", name=spelled(each.name))
        for each in functional(model).inputs
    ]
    outputs = walk(model, images, _Copies(inferring).call)
    return keras.Model(alone(images), alone(outputs), name=spelled(model.name))


def spelled(name: str) -> str:
    """`name` in letters, digits, dots, dashes and underscores: "große 层" is "grosse_u5c42"."""
    if NAME.fullmatch(name):
        return name
    text = "".join(map(_letter, name))
    return text if NAME.fullmatch(text) else f"layer{text}"


def _letter(each: str) -> str:
    if NAME.fullmatch(f"a{each}"):
        return each
    plain_letters = unicodedata.normalize("NFKD", each.replace("ß", "ss"))
    ascii_only = plain_letters.encode("ascii", "ignore").decode()
    if ascii_only.isalnum():
        return ascii_only
    return f"u{ord(each):x}" if each.isalnum() else "_"


class _Copies:
    """Float32 copies of layers, one per layer however often it is called; those of `inferring`, by
    id, are called with training=False everywhere."""

    def __init__(self, inferring: Container[int]) -> None:
        self.inferring = inferring
        self.by_id: dict[int, Any] = {}
        self.names: set[str] = set()

    def call(self, call: Call, *args: Any, **kwargs: Any) -> Any:
        """Call the copy of the operation of `call`."""
        operation = call.operation
        if id(operation) in self.by_id:
            return self.by_id[id(operation)](*args, **kwargs)
        if id(operation) in self.inferring and is_kind(operation, TRAINING_ONLY):
            return args[0]
        copy = self.by_id[id(operation)] = self._copied(operation)
        result = copy(*args, **kwargs)
        if isinstance(operation, keras.layers.Layer):
            copy_weights(operation, copy)
        return result

    def _copied(self, operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer) and not _other_floats(operation):
            return operation
        name = unused_name(spelled(operation.name), self.names)
        self.names.add(name)
        try:
            config = {**_in_float32(operation.get_config()), "name": name}
            if id(operation) in self.inferring:
                config |= _in_float32(for_inference(operation))
            return type(operation).from_config(config)
        except Exception as error:
            raise ModelError(
                f"layer {operation.name!r} cannot be rebuilt: {type(error).__name__}: {error}",
                "give its class get_config and from_config, or build the model in float32, with "
                "names of letters, digits and underscores",
            ) from error


def _other_floats(operation: Any) -> set[str]:
    """The precisions other than float32 that `operation`, or a layer inside it, computes in."""
    if not isinstance(operation, keras.layers.Layer):
        return {str(getattr(operation, "dtype", None))} & set(OTHER_FLOATS)
    names = {layer.dtype_policy.name for layer in operation._flatten_layers()}
    return {name for name in names if name.removeprefix("mixed_") in OTHER_FLOATS}


def _in_float32(config: Any) -> Any:
    """`config` with float32 for every other precision in it, also of the layers inside a layer."""
    if isinstance(config, (list, tuple)):
        return [_in_float32(each) for each in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return "float32"
    return {
        key: "float32" if key == "dtype" and value in OTHER_FLOATS else _in_float32(value)
        for key, value in config.items()
    }


def _refuse_quantized(operations: list[Any]) -> None:
    for operation in operations:
        if mode := getattr(operation, "quantization_mode", None):
            raise ModelError(
                f"layer {operation.name!r} is quantized to {mode} by Keras, expected a model in "
                "floating point",
                "save the model before model.quantize(), and let this line quantize it",
            )
