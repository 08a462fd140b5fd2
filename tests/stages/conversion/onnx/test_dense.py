from __future__ import annotations

import numpy as np
from onnx import helper
from onnx.reference import ReferenceEvaluator

from stages.conversion.onnx.dense import fuse_dense
from tests.stages.conversion.onnx.builders import evaluate, graph, kinds

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def flattened_dense(perm: list[int]):
    """x (N, C, H, W) - Transpose - Reshape - MatMul - Add, as tf2onnx writes Flatten - Dense."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=perm),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    constants = {"shape": np.array([-1, 60]), "w": floats(60, 7), "b": floats(7)}
    return graph(nodes, constants, ("N", 3, 4, 5), ("N", 7))


def test_the_transpose_before_a_dense_layer_moves_into_its_kernel():
    model, x = flattened_dense([0, 2, 3, 1]), floats(2, 3, 4, 5)
    expected = evaluate(model, x)
    fuse_dense(model)
    assert kinds(model) == ["Flatten", "Gemm"]
    assert np.allclose(evaluate(model, x), expected, atol=1e-5)
    assert {tensor.name for tensor in model.graph.initializer} == {"w_channels_first", "b"}


def test_a_dense_layer_over_the_last_axis_keeps_the_transpose_before_it():
    """Its kernel has a row for every channel, not for every value of the image."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    constants = {"shape": np.array([-1, 3]), "w": floats(3, 7)}
    model, x = graph(nodes, constants, ("N", 3, 4, 5), ("M", 7)), floats(2, 3, 4, 5)
    expected = evaluate(model, x)
    fuse_dense(model)
    assert kinds(model) == ["Transpose", "Reshape", "Gemm"]
    assert np.allclose(evaluate(model, x), expected, atol=1e-5)


def test_another_permutation_stays_where_it_is():
    model, x = flattened_dense([0, 3, 2, 1]), floats(2, 3, 4, 5)
    expected = evaluate(model, x)
    fuse_dense(model)
    assert kinds(model) == ["Transpose", "Reshape", "Gemm"]
    assert np.allclose(evaluate(model, x), expected, atol=1e-5)


def test_a_flatten_with_two_readers_keeps_its_transpose():
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["m"]),
        helper.make_node("ReduceMax", ["r"], ["largest"], axes=[1], keepdims=1),
        helper.make_node("Add", ["m", "largest"], ["y"]),
    ]
    constants = {"shape": np.array([-1, 60]), "w": floats(60, 7)}
    model = graph(nodes, constants, ("N", 3, 4, 5), ("N", 7), opset=17)
    x = floats(2, 3, 4, 5)
    import onnxruntime

    def run():
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]

    expected = run()
    fuse_dense(model)
    assert "Transpose" in kinds(model)
    assert np.allclose(run(), expected, atol=1e-5)


def test_a_dense_layer_without_bias_becomes_a_gemm_of_two_inputs():
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    model = graph(nodes, {"shape": np.array([-1, 6]), "w": floats(6, 2)}, ("N", 2, 3), ("N", 2))
    fuse_dense(model)
    assert kinds(model) == ["Reshape", "Gemm"]
    assert len(model.graph.node[1].input) == 2


def test_a_product_of_higher_rank_is_left_alone():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = graph(nodes, {"w": floats(4, 2)}, ("N", 5, 4), ("N", 5, 2))
    fuse_dense(model)
    assert kinds(model) == ["MatMul"]


def test_a_flatten_that_is_an_output_keeps_its_transpose():
    model = flattened_dense([0, 2, 3, 1])
    flat = next(node.output[0] for node in model.graph.node if node.op_type == "Reshape")
    model.graph.output.append(helper.make_tensor_value_info(flat, 1, ["N", 60]))
    x = {"x": floats(2, 3, 4, 5)}
    expected = ReferenceEvaluator(model).run(None, x)
    fuse_dense(model)
    for one, other in zip(expected, ReferenceEvaluator(model).run(None, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
