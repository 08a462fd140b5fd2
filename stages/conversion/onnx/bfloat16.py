"""What a bfloat16 graph computes, for runtimes that have no kernels of that type."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

from stages.conversion.onnx.bare import infer_shapes
from stages.conversion.onnx.graph import set_constant


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the bfloat16 graph `model` whose nodes compute in float32, every result rounded to
    bfloat16: what a kernel with float32 sums does.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    known = infer_shapes(model).value_info
    rounded = {
        value.name for value in known if value.type.tensor_type.elem_type == TensorProto.BFLOAT16
    }
    for tensor in [each for each in graph.initializer if each.data_type == TensorProto.BFLOAT16]:
        set_constant(graph, tensor.name, numpy_helper.to_array(tensor).astype("float32"))
    nodes = list(graph.node)
    del graph.node[:], graph.value_info[:]
    for node in nodes:
        graph.node.append(node)
        for name in rounded.intersection(node.output):
            graph.node.extend(_rounding(graph.node[-1], name))
    return wide


def _rounding(node: onnx.NodeProto, name: str) -> list[onnx.NodeProto]:
    """The nodes that make `name` of what `node`, now in float32, makes in its place."""
    exact, half = f"{name}.exact", f"{name}.bfloat16"
    node.output[:] = [exact if each == name else each for each in node.output]
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
            attribute.i = TensorProto.FLOAT
        if attribute.t.data_type == TensorProto.BFLOAT16:
            values = numpy_helper.to_array(attribute.t).astype("float32")
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
    return [
        helper.make_node("Cast", [exact], [half], half, to=TensorProto.BFLOAT16),
        helper.make_node("Cast", [half], [name], f"{name}.rounded", to=TensorProto.FLOAT),
    ]
