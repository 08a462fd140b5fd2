"""Walk the graph of a Keras 3 model: the one module that touches the private API of its graphs.

Used are `Sequential._functional`, `Functional._nodes_by_depth` and `._inputs_struct`,
`Node.arguments.fill_in` and `KerasTensor._keras_history`; tested on Keras 3.12 to 3.15. Everything
else in this package sees a graph as a list of `Call`s, and rebuilds or executes it with `walk`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from stages.errors import ModelError


# By identity: Keras tensors overload comparisons, and two calls with equal fields are still two.
@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer (or keras.ops operation) in a graph; a shared layer has several."""

    operation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


Visit = Callable[..., Any]
"""(call, *args, **kwargs) -> what the operation returns for these arguments."""


def functional(model: keras.Model) -> Any:
    """The functional graph of `model`. Raises ModelError for a subclassed model, and for one that
    computes something else than its graph."""
    graph = model
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ModelError(
                f"the Sequential model {model.name!r} has no input shape",
                "give it a keras.Input as its first layer",
            )
        graph = model._functional
    if not hasattr(graph, "_nodes_by_depth"):
        raise ModelError(
            f"{model.name!r} is a subclassed {type(model).__name__}: its layers cannot be read",
            "rebuild it with the functional API: keras.Model(inputs, outputs)",
        )
    if not type(model).call.__module__.startswith("keras."):
        raise ModelError(
            f"{model.name!r} is a {type(model).__name__} with a call() of its own, which its graph "
            "does not show",
            "put what call() does into a layer of the graph: keras.Model(inputs, outputs)",
        )
    return graph


def _nodes(graph: Any) -> list[Any]:
    # Keras counts depth from the outputs, so the deepest nodes run first.
    depths = sorted(graph._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in graph._nodes_by_depth[depth]]
    return [node for node in nodes if not node.is_input]


def calls(model: keras.Model) -> list[Call]:
    """The calls of a flat model in the order of execution."""
    return [
        Call(node.operation, tuple(node.input_tensors), tuple(node.outputs))
        for node in _nodes(functional(model))
    ]


def walk(model: keras.Model, inputs: Sequence[Any], visit: Visit) -> list[Any]:
    """Execute `model` on `inputs` through `visit`, nested models included.

    `inputs` are KerasTensors (the result is a new graph) or tensors (the result is computed,
    or traced by a surrounding tf.function, at inference). Returns the outputs in the model's order.
    """
    graph = functional(model)
    values = dict(zip(map(id, graph.inputs), inputs, strict=True))
    is_computed = not any(isinstance(each, keras.KerasTensor) for each in inputs)
    for node in _nodes(graph):
        args, kwargs = node.arguments.fill_in(values)
        kwargs = _asked(node.operation, kwargs, is_computed)
        if isinstance(node.operation, keras.Model):
            inside = _told(visit, kwargs.get("training"))
            result = walk(node.operation, _given(node.operation, args, kwargs), inside)
        else:
            call = Call(node.operation, tuple(node.input_tensors), tuple(node.outputs))
            result = visit(call, *args, **kwargs)
        values.update(zip(map(id, node.outputs), keras.tree.flatten(result), strict=True))
    return [values[id(tensor)] for tensor in graph.outputs]


def _asked(operation: Any, kwargs: dict[str, Any], is_computed: bool) -> dict[str, Any]:
    """`kwargs` without the default of `training`, as False of Dropout, and True of what augments.

    Keras records a default as if it had been asked for, and passes on what the whole model is told
    instead of either. Where something `is_computed`, that is training=False.
    """
    default = _default_of_training(operation.__class__)
    asked = kwargs.get("training", default)
    if asked is None:
        return kwargs
    left = {name: value for name, value in kwargs.items() if name != "training"}
    if asked is True and is_computed:
        return {**left, "training": False}
    return left if asked is default else kwargs


@functools.cache
def _default_of_training(kind: Any) -> Any:
    """None as well where operations of this kind have no `training`."""
    parameter = inspect.signature(kind.call).parameters.get("training")
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _given(model: keras.Model, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """What a nested model is called with, for each of its inputs, as Keras passes it on: by name
    where a list of inputs is given a dictionary, and in whole numbers where an input is."""
    graph = functional(model)
    given = args[0] if args else kwargs["inputs"]
    if isinstance(given, dict) and not isinstance(graph._inputs_struct, dict):
        given = [given[each.name] for each in graph.inputs]
    pairs = zip(keras.tree.flatten(given), graph.inputs, strict=True)
    return [_in_type_of(wanted, each) for each, wanted in pairs]


def _in_type_of(wanted: Any, value: Any) -> Any:
    """`value`, if it is a tensor, cast where Keras casts it and that may change its values."""
    is_tensor = ops.is_tensor(value) or isinstance(value, keras.KerasTensor)
    if keras.backend.is_float_dtype(wanted.dtype) or not is_tensor:
        return value
    has_type = keras.backend.standardize_dtype(value.dtype) == wanted.dtype
    return value if has_type else ops.cast(value, wanted.dtype)


def _told(visit: Visit, training: bool | None) -> Visit:
    """`visit`, with every layer told what a nested model is: training=False.

    Not training=True: at inference, Keras passes on what the whole model is told instead.
    """
    if training is not False:
        return visit

    def told(call: Call, *args: Any, **kwargs: Any) -> Any:
        if "training" in inspect.signature(call.operation.call).parameters:
            kwargs["training"] = False
        return visit(call, *args, **kwargs)

    return told


def told_to_infer(model: keras.Model) -> dict[int, Any]:
    """The layers that are called with training=False wherever `model` calls them, by their ids."""
    found: dict[int, set[bool]] = {}
    by_id: dict[int, Any] = {}

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        by_id[id(call.operation)] = call.operation
        found.setdefault(id(call.operation), set()).add(kwargs.get("training") is False)
        return call.outputs[0] if len(call.outputs) == 1 else list(call.outputs)

    walk(model, functional(model).inputs, visit)
    return {layer: by_id[layer] for layer, told in found.items() if told == {True}}


def apply(call: Call, *args: Any, **kwargs: Any) -> Any:
    """The plain visit: call the operation itself."""
    return call.operation(*args, **kwargs)


def rebuild(model: keras.Model, visit: Visit) -> keras.Model:
    """A new functional model over fresh inputs of the same names and shapes, built by `visit`."""
    inputs = [
        keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for tensor in functional(model).inputs
    ]
    outputs = walk(model, inputs, visit)
    return keras.Model(alone(inputs), alone(outputs), name=model.name)


def alone(tensors: Sequence[Any]) -> Any:
    """A single tensor instead of a sequence of one: such models are called without a list."""
    return tensors[0] if len(tensors) == 1 else tensors


def clone_layer(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """A new layer with the configuration of `layer` and `changes`, not yet built."""
    config: dict[str, Any] = {**layer.get_config(), **changes}
    clone: keras.layers.Layer = type(layer).from_config(config)
    return clone


def copy_weights(layer: Any, copy: Any) -> None:
    """Give `copy`, a layer or model built like `layer`, the weights of `layer`, and what is frozen.

    Raises ModelError if `layer` has others than its configuration makes, as with LoRA.
    """
    found, made = ([each.shape for each in x.weights] for x in (layer, copy))
    if found != made:
        raise ModelError(
            f"the layer {layer.name!r} has {len(found)} weights, but one of its configuration "
            f"has {len(made)}: it was changed after it was made, by LoRA for instance",
            "save_weights merges LoRA into the kernels: load_weights into a new model and bring it",
        )
    copy.set_weights(layer.get_weights())
    copy_frozen(layer, copy)
    for each in copy._flatten_layers():
        if isinstance(each, keras.layers.Normalization):
            each.finalize_state()  # it computes with what it derived from its weights when built


def copy_frozen(layer: Any, copy: Any) -> None:
    """Freeze what is frozen inside `layer` in `copy`, which is built like it.

    A configuration tells only of the whole layer, and Keras does not pass that on to layers that
    are made inside it, as the projections of attention.
    """
    inside = [each._flatten_layers(include_self=False) for each in (layer, copy)]
    if len({tuple(map(type, each)) for each in inside}) > 1:
        return
    for own, other in zip(*inside, strict=True):  # those that hold others come before them
        if own.trainable != other.trainable:
            other.trainable = own.trainable
    if layer.trainable == copy.trainable:
        for own, other in zip(layer.weights, copy.weights, strict=True):
            other.trainable = own.trainable


def name_operation(tensor: Any, name: str) -> None:
    """Give the operation of keras.ops that made a KerasTensor a name: it takes none when called."""
    tensor._keras_history.operation.name = name


def unused_name(name: str, taken: Collection[str]) -> str:
    """`name`, with a number at the end if it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
