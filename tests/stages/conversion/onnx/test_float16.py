from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from stages.conversion.onnx.float16 import to_float16
from tests.stages.conversion.onnx.builders import IMAGES as X
from tests.stages.conversion.onnx.builders import KERNEL as W
from tests.stages.conversion.onnx.builders import conv, evaluate, graph, kinds


def test_everything_between_the_casts_is_float16_and_the_ends_are_float32():
    half = to_float16(conv())
    assert kinds(half) == ["Cast", "Conv", "Relu", "Cast"]
    assert {t.data_type for t in half.graph.initializer} == {TensorProto.FLOAT16}
    ends = [*half.graph.input, *half.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    assert [value.name for value in ends] == ["x", "y"]


def test_outputs_agree_to_half_precision():
    expected, got = evaluate(conv(), X), evaluate(to_float16(conv()), X)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 4e-3 * np.abs(expected).max()


def test_the_given_model_is_not_changed():
    model = conv()
    before = model.SerializeToString()
    to_float16(model)
    assert model.SerializeToString() == before


def test_a_value_beyond_float16_becomes_its_largest_not_infinity():
    kernel = W.copy()
    kernel[0, 0, 0, 0] = 1e6
    half = to_float16(conv(kernel))
    stored = numpy_helper.to_array(half.graph.initializer[0])
    assert stored.max() == np.finfo(np.float16).max


def test_scales_of_pairs_become_float16_too():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    constants = {"s": np.float32(0.03125), "z": np.int8(0)}
    model = graph(nodes, constants, ("N", 4), ("N", 4), opset=17)
    half = to_float16(model)
    x = np.array([[0.5, 1.0, 2.0, -3.0]], np.float32)
    assert np.array_equal(evaluate(half, x), [[0.5, 1.0, 2.0, 0.0]])
    assert half.opset_import[0].version == 19


def test_the_scales_of_a_resize_stay_float32_also_where_others_read_them():
    by = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        helper.make_node("Mul", ["x", "by"], ["m"]),
        helper.make_node("Resize", ["m", "", "by"], ["y"], "resize", mode="linear"),
    ]
    model = graph(nodes, {"by": by}, ("N", 3, 8, 4), ("N", 3, 16, 8), opset=17)
    half = to_float16(model)
    constants = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    (resize,) = [node for node in half.graph.node if node.op_type == "Resize"]
    assert constants[resize.input[2]] == TensorProto.FLOAT
    assert constants["by"] == TensorProto.FLOAT16
