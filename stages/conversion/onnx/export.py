"""From a traceable function to ONNX, by tf2onnx, with its known gaps closed.

Constants that tf.function captured come out as graph inputs: they become initializers.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import onnx
import tensorflow as tf
from onnx import numpy_helper

from stages.artifacts.signature import Signature
from stages.conversion.onnx.canonical import canonicalize
from stages.conversion.onnx.cleanup import clean_up
from stages.conversion.onnx.graph import check
from stages.conversion.onnx.tf2onnx_calls import convert

PROJECT = "keras-trt-pipeline"
OPSET = 17
"""The newest that TensorRT 8.6 parses; from 18 on ONNX Runtime loses its INT8 average pool."""


def to_onnx(
    forward: Callable[[Any], Any], signature: Signature, opset: int = OPSET
) -> onnx.ModelProto:
    """Convert `forward`, a function of one image batch (N, H, W, C) float32, to ONNX.

    N is the signature's batch size, or left open. The graph has one input and one output, named
    as in `signature`; it is cleaned up, and the same bytes for the same `forward`. Raises
    ConversionError if tf2onnx reports an error or the checker finds one.
    """
    name = signature.input_name
    shape = (signature.batch_size or None, *signature.input_shape)
    spec = tf.TensorSpec(shape, tf.float32, name=name)
    function = tf.function(forward, input_signature=[spec])
    model = convert(function, spec, opset)
    # Resources are variables, which tf2onnx freezes by itself. Inlined before the clean-up, which
    # folds constants but not graph inputs.
    captured = function.get_concrete_function().graph.captures
    _inline(model, {inner.name: outer for outer, inner in captured if outer.dtype != tf.resource})
    _rename_output(model.graph, signature.output_name)
    model = clean_up(model)
    canonicalize(model)
    _describe(model, signature)
    check(model)
    return model


def _inline(model: onnx.ModelProto, constants: dict[str, Any]) -> None:
    for value in list(model.graph.input):
        if value.name in constants:
            array = constants[value.name].numpy()
            model.graph.input.remove(value)
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))


def _rename_output(graph: onnx.GraphProto, name: str) -> None:
    # tf2onnx calls the output "Identity:0", whatever name the function gives it.
    old = graph.output[0].name
    graph.output[0].name = name
    for node in graph.node:
        node.output[:] = [name if value == old else value for value in node.output]
        node.input[:] = [name if value == old else value for value in node.input]


def _describe(model: onnx.ModelProto, signature: Signature) -> None:
    model.producer_name, model.producer_version = PROJECT, project_version()
    for value in (model.graph.input[0], model.graph.output[0]):
        batch = value.type.tensor_type.shape.dim[0]
        if signature.batch_size:
            batch.dim_value = signature.batch_size
        else:
            batch.dim_param = "N"
    metadata = {
        "project": f"{PROJECT} {project_version()}",
        "class_names": "\n".join(signature.class_names),
        "output": signature.output,
        "normalisation": f"pixel * {signature.scale} + {signature.offset}",
    }
    for key, text in metadata.items():
        model.metadata_props.add(key=key, value=text)


def project_version() -> str:
    """Version of this project, or "unknown" where it runs without being installed."""
    try:
        return importlib.metadata.version(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
