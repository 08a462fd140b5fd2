from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from stages.engines import layers
from stages.engines.registry import Precision
from stages.numerics.sparsity import two_of_four
from tests.stages.engine_records import layer
from tests.stages.graphs import graph


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("fp32", "fp32"), ("fp16", "fp16"), ("int8.cpu", "int8"), ("int8.tensorrt", "int8")],
)
def test_convolutions_and_matrix_products_are_asked_for_what_the_graph_says(
    kind: str, expected: str
) -> None:
    model = graph(kind)
    matrix = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert layers.requested(model) == dict.fromkeys(matrix, expected)


def test_a_layer_that_was_left_in_float_is_asked_for_the_rest() -> None:
    model = graph("int8.tensorrt")
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.input[0] = "transpose_1"
    assert layers.requested(model)[conv.name] == "fp16"


def test_a_flag_of_the_builder_speaks_for_float_nodes_only() -> None:
    assert set(layers.requested(graph("fp32"), rest="fp16").values()) == {"fp16"}
    assert set(layers.requested(graph("int8.tensorrt8"), rest="fp16").values()) == {"int8"}


@pytest.mark.parametrize(
    ("requested", "executed", "wider"),
    [
        ("int8", "fp32", True),
        ("int8", "fp16", True),
        ("fp16", "fp32", True),
        ("int8", "int8", False),
        ("fp16", "int8", False),
        ("fp32", "fp32", False),
        ("fp16", "bf16", False),
        ("int8", "unknown", False),
        (None, "fp32", False),
    ],
)
def test_only_layers_in_more_bits_than_asked_are_named(
    requested: Precision | None, executed: str, wider: bool
) -> None:
    kernel = layer("kernel", ("conv",), requested, executed)
    assert layers.is_wider(kernel) == wider
    named = {"node": "conv", "layer": "kernel", "requested": requested, "executed": executed}
    assert [dict(each) for each in layers.mismatches([kernel])] == ([named] if wider else [])


def sparse(kind: str) -> onnx.ModelProto:
    """The graph with its dense kernel in the 2:4 pattern."""
    model = graph(kind)
    dense = next(node for node in model.graph.node if node.op_type == "Gemm")
    kernels = {tensor.name: tensor for tensor in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    name = dense.input[1] if dense.input[1] in kernels else made_by[dense.input[1]].input[0]
    values = numpy_helper.to_array(kernels[name])
    kept = two_of_four(values.T.astype(np.float32)).T
    kernels[name].CopyFrom(numpy_helper.from_array(values * kept, name))
    return model


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8.tensorrt", "int8.tensorrt8"])
def test_the_pattern_of_sparse_kernels_is_found_in_the_graph(kind: str) -> None:
    assert layers.has_sparse_kernel(sparse(kind))
    assert not layers.has_sparse_kernel(graph(kind))


def test_grouped_and_empty_kernels_are_no_sparse_kernels() -> None:
    model = sparse("fp32")
    dense = next(node for node in model.graph.node if node.op_type == "Gemm")
    kernel = next(each for each in model.graph.initializer if each.name == dense.input[1])
    kernel.CopyFrom(numpy_helper.from_array(np.zeros((4, 144), np.float32), kernel.name))
    assert not layers.has_sparse_kernel(model)
