"""Dense layers as Gemm, fed by a plain channels-first Flatten.

Keras flattens (N, H, W, C); inside ONNX tensors are (N, C, H, W). tf2onnx bridges that with
a Transpose per inference. Reordering the rows of the Dense kernel once does the same for free.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from stages.conversion.onnx.bare import infer_shapes
from stages.conversion.onnx.graph import Array, Index, attribute, drop_unused, set_constant

TO_CHANNELS_LAST = [0, 2, 3, 1]


def fuse_dense(model: onnx.ModelProto) -> None:
    """Rewrite, in place, MatMul + Add with constant operands as Gemm, and drop the Transpose
    in front of Transpose - Reshape - Gemm by permuting the kernel's rows.
    """
    graph = model.graph
    for node in list(graph.node):
        if node.op_type == "MatMul":
            _to_gemm(graph, node)
    for node in list(graph.node):
        if node.op_type == "Gemm":
            _absorb_transpose(model, node)
    drop_unused(graph)


def _to_gemm(graph: onnx.GraphProto, matmul: onnx.NodeProto) -> None:
    index = Index(graph)
    weight = matmul.input[1]
    if weight not in index.constants or len(index.constants[weight].dims) != 2:
        return
    # Gemm takes matrices only. A MatMul whose rank is not certain stays as it is.
    if _rank(index, matmul.input[0]) != 2:
        return
    inputs, output = list(matmul.input), matmul.output[0]
    add = index.only_consumer(output)
    if add is not None and add.op_type == "Add":
        bias = add.input[1] if add.input[0] == output else add.input[0]
        if bias in index.constants and len(index.constants[bias].dims) == 1:
            inputs, output = [*inputs, bias], add.output[0]
            graph.node.remove(add)
    gemm = helper.make_node("Gemm", inputs, [output], name=matmul.name)
    # In the place of the MatMul, so that the nodes stay in topological order.
    position = list(graph.node).index(matmul)
    graph.node.remove(matmul)
    graph.node.insert(position, gemm)


def _rank(index: Index, name: str) -> int | None:
    """Rank of `name` where a Reshape or Gemm before it fixes it, else None."""
    node = index.producer.get(name)
    # Shape inference stops at Q/DQ pairs, so the rank is traced back by hand.
    while node is not None and node.op_type in (
        "Relu",
        "Clip",
        "Sigmoid",
        "Tanh",
        "QuantizeLinear",
        "DequantizeLinear",
    ):
        node = index.producer.get(node.input[0])
    if node is None:
        return None
    if node.op_type == "Reshape" and node.input[1] in index.constants:
        return len(index.array(node.input[1]))
    return 2 if node.op_type in ("Gemm", "MatMul", "Squeeze", "Flatten") else None


def _absorb_transpose(model: onnx.ModelProto, gemm: onnx.NodeProto) -> None:
    index = Index(model.graph)
    reshape = index.producer.get(gemm.input[0])
    # Another reader of the flattened tensor would still expect it channels-last.
    if reshape is None or reshape.op_type != "Reshape":
        return
    if index.only_consumer(gemm.input[0]) is None:
        return
    transpose = index.producer.get(reshape.input[0])
    if transpose is None or attribute(transpose, "perm") != TO_CHANNELS_LAST:
        return
    shape = _channels_first_shape(model, transpose.input[0])
    name = gemm.input[1]
    # A Dense layer over the last of several axes sees one position after the other.
    if shape is None or math.prod(shape) != index.constants[name].dims[0]:
        return
    rows = _channels_first_rows(index.array(name), shape)
    gemm.input[1] = set_constant(model.graph, f"{name}_channels_first", rows)
    flatten = helper.make_node("Flatten", transpose.input, reshape.output, reshape.name, axis=1)
    position = list(model.graph.node).index(reshape)
    model.graph.node.remove(reshape)
    model.graph.node.insert(position, flatten)


def _channels_first_rows(kernel: Array, shape: tuple[int, int, int]) -> Array:
    """Rows of `kernel` (H * W * C, out) in the order (C * H * W, out)."""
    channels, height, width = shape
    rows = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(rows.reshape(kernel.shape))


def _channels_first_shape(model: onnx.ModelProto, name: str) -> tuple[int, int, int] | None:
    inferred = infer_shapes(model)
    for value in [*inferred.value_info, *inferred.input]:
        if value.name == name:
            dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            return (dims[1], dims[2], dims[3]) if len(dims) == 4 and all(dims[1:]) else None
    return None
