"""From a traceable function to ONNX, by tf2onnx, with its known gaps closed.

TensorFlow copies every constant a dozen times on the way to tf2onnx. So the kernels are inputs of
what is converted, as constants that tf.function captured are anyway: behind tf2onnx these become
initializers.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from stages.artifacts.signature import Signature
from stages.conversion.onnx.bare import LARGE, check, fill, without_values
from stages.conversion.onnx.canonical import canonicalize
from stages.conversion.onnx.cleanup import clean_up
from stages.conversion.onnx.graph import Array, Index
from stages.conversion.onnx.qdq import MOVES_VALUES
from stages.conversion.onnx.tf2onnx_calls import convert
from stages.errors import ConversionError
from stages.keras_graph.garbage import free_copies
from stages.keras_graph.walk import alone

FOLDED = "const_fold_opt__"
"""What tf2onnx calls a constant that it computed."""
PROJECT = "keras-trt-pipeline"
OPSET = 17
"""The newest that TensorRT 8.6 parses; from 18 on ONNX Runtime loses its INT8 average pool."""


def to_onnx(
    forward: Callable[[Any], Any],
    signature: Signature,
    opset: int = OPSET,
    kernels: Sequence[Any] = (),
) -> onnx.ModelProto:
    """Convert `forward`, a function of one image batch (N, H, W, C) float32, or of the list of the
    batches of several inputs, to ONNX.

    N is the signature's batch size, or left open. `kernels` are the variables of `forward` of which
    no copies are made on the way. The graph has the inputs of `signature`, in its order, and what
    `forward` returns, one tensor or a list, as outputs that are named as there; it is cleaned up,
    and the same bytes for the same `forward`. Raises ConversionError if tf2onnx reports an error or
    the checker finds one, and where an output is called as an input.
    """
    for name in signature.input_names:
        if name in signature.output_names:
            raise ConversionError(
                f"an output is called {name!r}, as an input is: a graph tells them by their names",
                "give the input, or the layer that makes the output, another name",
            )
    model, constants = _through_tf2onnx(forward, signature, opset, kernels)
    # Before the clean-up, which folds constants but not graph inputs.
    values = _inline(model.graph, constants)
    _rename_outputs(model.graph, signature.output_names)
    model = clean_up(model, values.__getitem__)
    canonicalize(model)
    _describe(model, signature)
    fill(model, values.__getitem__)
    check(model)
    return model


def _through_tf2onnx(
    forward: Callable[[Any], Any], signature: Signature, opset: int, kernels: Sequence[Any]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The graph of `forward`, and by name the constants that it takes as inputs: `kernels` too."""
    sources = [
        tf.TensorSpec((own.batch_size or None, *own.input_shape), tf.float32, name=own.input_name)
        for own in signature.each_input
    ]
    named = dict(zip(_kernel_names(len(kernels), signature), kernels, strict=True))
    specs = [
        *sources,
        *(tf.TensorSpec(each.shape, each.dtype, name=key) for key, each in named.items()),
    ]

    def traced(*tensors: Any) -> Any:
        images, values = tensors[: len(sources)], tensors[len(sources) :]
        with keras.StatelessScope(state_mapping=list(zip(kernels, values, strict=True))):
            return forward(alone(list(images)))

    function = tf.function(traced, input_signature=specs, autograph=False)
    model = convert(function, specs, opset)
    free_copies(sum(math.prod(kernel.shape) for kernel in kernels))
    # Resources are variables, which tf2onnx freezes by itself.
    captured = function.get_concrete_function().graph.captures
    constants = {inner.name: outer for outer, inner in captured if outer.dtype != tf.resource}
    constants |= {key: tf.convert_to_tensor(each.value) for key, each in named.items()}
    return model, {key: np.asarray(each) for key, each in constants.items()}


def _kernel_names(count: int, signature: Signature) -> list[str]:
    """Names of so many inputs beside those of `signature`, which they cannot be taken for."""
    stem = "kernel"
    while any(each.startswith(stem) for each in (*signature.input_names, *signature.output_names)):
        stem += "s"
    return [f"{stem}.{number}" for number in range(count)]


def _inline(graph: onnx.GraphProto, constants: Mapping[str, Array]) -> dict[str, Array]:
    """Make initializers of the inputs that have the names of `constants`.

    Returns the values of all, by key: the large ones are left without.
    """
    values = _moved(graph, constants)
    inputs = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    read = {name for node in graph.node for name in node.input}
    for name in [name for name in values if name in read]:
        array = values[name]
        if array.size < LARGE:
            graph.initializer.append(numpy_helper.from_array(array, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.initializer.append(without_values(name, array.shape, kind, key=name))
    return values


def _moved(graph: onnx.GraphProto, constants: Mapping[str, Array]) -> dict[str, Array]:
    """`constants`, and views of them as the nodes transpose and reshape them, which go."""
    index, values = Index(graph), dict(constants)
    for node in [node for node in graph.node if node.op_type in MOVES_VALUES]:
        if node.input[0] in values and index.constants.keys() >= set(node.input[1:]):
            arrays = [values[node.input[0]], *map(index.array, node.input[1:])]
            feeds = dict(zip(node.input, arrays, strict=True))
            name = f"{FOLDED}0{len(values)}"  # its own numbers do not begin with zero
            results: Any = ReferenceEvaluator(node).run(None, feeds)
            values[name] = results[0]
            for reader in index.consumers[node.output[0]]:
                reader.input[:] = [
                    name if each == node.output[0] else each for each in reader.input
                ]
            graph.node.remove(node)
    return values


def _rename_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    # tf2onnx calls an output "Identity:0", whatever name the function gives it.
    named = {value.name: name for value, name in zip(graph.output, names, strict=True)}
    for value in graph.output:
        value.name = named[value.name]
    for node in graph.node:
        node.output[:] = [named.get(name, name) for name in node.output]
        node.input[:] = [named.get(name, name) for name in node.input]


def _describe(model: onnx.ModelProto, signature: Signature) -> None:
    model.producer_name, model.producer_version = PROJECT, project_version()
    for value in (*model.graph.input, *model.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        if signature.batch_size:
            batch.dim_value = signature.batch_size
        else:
            batch.dim_param = "N"
    metadata = {
        "project": f"{PROJECT} {project_version()}",
        **_meaning(signature),
    }
    for own in signature.each_input:
        key = f"{own.input_name}: normalisation" if signature.inputs else "normalisation"
        metadata[key] = f"pixel * {own.scale} + {own.offset}"
    for key, text in metadata.items():
        model.metadata_props.add(key=key, value=text)


def _meaning(signature: Signature) -> dict[str, str]:
    """What is in the outputs; of several by the name of each."""
    if signature.heads:
        return {
            f"{own.output_name}: {key}": text
            for own in signature.each
            for key, text in _meaning(own).items()
        }
    return {"class_names": "\n".join(signature.class_names), "output": signature.output}


def project_version() -> str:
    """Version of this project, or "unknown" where it runs without being installed."""
    try:
        return importlib.metadata.version(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
