"""A float32 graph as a float16 graph with float32 input and output.

Strongly typed TensorRT takes every precision from the graph: FP16 has to be in the ONNX. Q/DQ
scales may be float16 from opset 19 on.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from stages.conversion.onnx.graph import Array, Index, check, drop_unused, set_constant, sort

OPSET = 19


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` at opset 19, computing in float16 between a Cast at either end."""
    # Raised here and not at the export: tf2onnx stops at 18, and TensorRT
    # 8.6 needs the same graph at 17.
    half = version_converter.convert_version(model, OPSET)
    graph = half.graph
    # They would still say float32, and the checker would believe them.
    del graph.value_info[:]
    for tensor in list(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT:
            # Activation scales are float16 values already (decision 6): rounding changes none of
            # them, and the graph keeps the grid that Keras simulated.
            set_constant(graph, tensor.name, _rounded(numpy_helper.to_array(tensor)))
    for node in graph.node:
        _retype(node)
    _keep_scales_of_resizing(graph, model.graph)
    drop_unused(graph)
    _cast_ends(graph)
    sort(graph)
    check(half)
    return half


def _keep_scales_of_resizing(graph: onnx.GraphProto, original: onnx.GraphProto) -> None:
    """How much a Resize enlarges is float32 whatever it resizes; other readers have their own."""
    values = Index(original)
    for node in [node for node in graph.node if node.op_type == "Resize"]:
        for position, name in enumerate(node.input):
            constant = values.constants.get(name)
            if position and constant is not None and constant.data_type == TensorProto.FLOAT:
                as_float = f"{name}_float"
                node.input[position] = set_constant(graph, as_float, values.array(name))


def _rounded(values: Array) -> Array:
    """float32 -> float16; what is too large becomes the largest float16, not infinity."""
    limit = np.finfo(np.float16).max
    return np.asarray(np.clip(values, -limit, limit).astype(np.float16))


def _retype(node: onnx.NodeProto) -> None:
    """Make constants inside `node` and casts to float32 half precision."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            values = _rounded(numpy_helper.to_array(attribute.t))
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))


def _cast_ends(graph: onnx.GraphProto) -> None:
    for value in graph.input:
        inner = f"{value.name}_half"
        for node in graph.node:
            node.input[:] = [inner if name == value.name else name for name in node.input]
        cast = helper.make_node("Cast", [value.name], [inner], inner, to=TensorProto.FLOAT16)
        graph.node.insert(0, cast)
    for value in graph.output:
        inner = f"{value.name}_half"
        for node in graph.node:
            node.output[:] = [inner if name == value.name else name for name in node.output]
            node.input[:] = [inner if name == value.name else name for name in node.input]
        cast = helper.make_node(
            "Cast", [inner], [value.name], f"{value.name}_cast", to=TensorProto.FLOAT
        )
        graph.node.append(cast)
