from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from stages.conversion.onnx.bare import check
from stages.conversion.onnx.graph import Index
from stages.conversion.onnx.qdq import (
    Pair,
    adjoin,
    name_pairs,
    quantize_kernels,
    quantized_tensors,
    repeat_pairs,
    sink_moves,
)
from stages.errors import ConversionError
from stages.numerics import qparams
from tests.stages.conversion.onnx.builders import evaluate, graph, kinds

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def pair(source: str, result: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, "s", "z"], [f"{result}_q"], f"{result}_q"),
        helper.make_node("DequantizeLinear", [f"{result}_q", "s", "z"], [result], result),
    ]


CONSTANTS = {
    "s": np.float32(0.03125),
    "z": np.int8(0),
    "w": floats(6, 3, 3, 3),
    "b": floats(6),
}
X = floats(2, 3, 8, 8)


def conv(pooled: bool = False, zero: np.ndarray = CONSTANTS["z"]) -> onnx.ModelProto:
    """x - Q - DQ (- MaxPool) - Conv."""
    nodes, source = pair("x", "a"), "a"
    if pooled:
        nodes.append(helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]))
        source = "p"
    nodes.append(helper.make_node("Conv", [source, "w", "b"], ["y"], "conv"))
    side = 2 if pooled else 6
    constants = {**CONSTANTS, "z": zero}
    return graph(nodes, constants, ("N", 3, 8, 8), ("N", 6, side, side))


def test_the_pair_is_repeated_behind_a_max_pool_and_changes_nothing():
    model = conv(pooled=True)
    expected = evaluate(model, X)
    repeat_pairs(model, {"conv"})
    pair = ["QuantizeLinear", "DequantizeLinear"]
    assert kinds(model) == [*pair, "MaxPool", *pair, "Conv"]
    assert np.array_equal(evaluate(model, X), expected)


def test_without_the_repeated_pair_the_kernel_would_stay_float():
    model = conv(pooled=True)
    assert quantize_kernels(model, {"conv"}, bias="float") == 0
    repeat_pairs(model, {"conv"})
    assert quantize_kernels(model, {"conv"}, bias="float") == 1


def test_kernels_become_int8_per_output_channel():
    model = conv()
    assert quantize_kernels(model, {"conv"}, bias="float") == 1
    index = Index(model.graph)
    steps, scales = index.array("w_q"), index.array("w_scale")
    assert steps.dtype == np.int8
    assert np.allclose(scales, np.abs(CONSTANTS["w"]).max(axis=(1, 2, 3)) / 127)
    assert np.abs(steps).max(axis=(1, 2, 3)).tolist() == [127] * 6
    assert "w" not in index.constants
    onnx.checker.check_model(model, full_check=True)


def test_the_quantized_graph_computes_integers_times_scales():
    model = conv()
    quantize_kernels(model, {"conv"}, bias="int32")
    steps = qparams.quantize(X, np.float32(0.03125), qparams.INT8).astype(np.int64)
    assert np.allclose(evaluate(model, X), _integer_convolution(model, steps), atol=1e-4)


def _integer_convolution(model: onnx.ModelProto, steps: np.ndarray) -> np.ndarray:
    """What the quantized `conv` makes of an image of whole `steps`, in NumPy."""
    index = Index(model.graph)
    kernel = index.array("w_q").astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(steps, (3, 3), axis=(2, 3))
    sums = np.einsum("nchwij,ocij->nohw", windows, kernel) + index.array("conv.bias_q").reshape(
        1, -1, 1, 1
    )
    result: np.ndarray = sums * (index.array("w_scale") * CONSTANTS["s"]).reshape(1, -1, 1, 1)
    return result


def test_the_bias_is_int32_for_onnx_runtime_and_float_for_tensorrt():
    for_cpu, for_tensorrt = conv(), conv()
    quantize_kernels(for_cpu, {"conv"}, bias="int32")
    quantize_kernels(for_tensorrt, {"conv"}, bias="float")
    assert Index(for_cpu.graph).array("conv.bias_q").dtype == np.int32
    assert np.array_equal(Index(for_tensorrt.graph).array("b"), CONSTANTS["b"])


def test_a_node_with_a_float_input_keeps_its_float_kernel():
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")]
    constants = {name: CONSTANTS[name] for name in "wb"}
    model = graph(nodes, constants, ("N", 3, 8, 8), ("N", 6, 6, 6))
    assert quantize_kernels(model, {"conv"}, bias="int32") == 0
    assert kinds(model) == ["Conv"]


def test_a_zero_point_of_128_is_the_same_numbers_in_another_type():
    model = conv()
    expected = evaluate(model, X)
    name_pairs(model, {"a": Pair(0.03125, 0.03125, np.array(128, np.uint8))})
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(evaluate(model, X), expected)


def test_with_a_zero_point_the_graph_computes_steps_counted_from_zero():
    model = conv()
    name_pairs(model, {"a": Pair(0.03125, 0.03125, np.array(19, np.uint8))})
    quantize_kernels(model, {"conv"}, bias="int32")
    onnx.checker.check_model(model, full_check=True)
    steps = qparams.quantize(X, np.float32(0.03125), qparams.Grid(-19, 236))
    assert steps.min() == -19
    by_hand = _integer_convolution(model, steps.astype(np.int64))
    assert np.allclose(evaluate(model, X), by_hand, atol=1e-4)


@pytest.mark.parametrize("between", ["Transpose", "Reshape", "Tile"])
def test_a_pair_that_was_parted_is_joined_again(between):
    quantize, dequantize = pair("x", "a")
    if between == "Transpose":
        middle = helper.make_node("Transpose", ["a_q"], ["t"], perm=[0, 2, 3, 1])
        shape: tuple[object, ...] = ("N", 8, 8, 3)
    elif between == "Tile":
        middle = helper.make_node("Tile", ["a_q", "repeats"], ["t"])
        shape = ("N", 3, 16, 8)
    else:
        middle = helper.make_node("Reshape", ["a_q", "shape"], ["t"])
        shape = ("N", 192)
    dequantize.input[0] = "t"
    last = helper.make_node("Relu", ["a"], ["y"])
    constants = {"s": CONSTANTS["s"], "z": CONSTANTS["z"], "shape": np.array([-1, 192])}
    constants["repeats"] = np.array([1, 1, 2, 1])
    model = graph([quantize, middle, dequantize, last], constants, ("N", 3, 8, 8), shape)
    expected = evaluate(model, X)
    adjoin(model)
    assert kinds(model) == ["QuantizeLinear", "DequantizeLinear", between, "Relu"]
    assert np.array_equal(evaluate(model, X), expected)


def test_a_pair_that_was_parted_by_a_split_is_joined_again_before_it():
    quantize, dequantize = pair("x", "a")
    other = helper.make_node("DequantizeLinear", ["b_t", "s", "z"], ["b"], "other")
    dequantize.input[0] = "a_s"
    nodes = [
        quantize,
        helper.make_node("Split", ["a_q"], ["a_s", "b_s"], axis=2, num_outputs=2),
        helper.make_node("Transpose", ["b_s"], ["b_t"], perm=[0, 1, 2, 3]),
        dequantize,
        other,
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    constants = {"s": CONSTANTS["s"], "z": CONSTANTS["z"]}
    model = graph(nodes, constants, ("N", 3, 8, 8), ("N", 3, 4, 8))
    expected = evaluate(model, X)
    adjoin(model)
    assert kinds(model)[:3] == ["QuantizeLinear", "DequantizeLinear", "Split"]
    assert kinds(model).count("DequantizeLinear") == 1
    assert np.array_equal(evaluate(model, X), expected)


def test_pairs_are_named_by_the_scale_that_marks_them_and_get_the_plain_one():
    marked = np.float32(0.03125 * (1 + 2.0**-21))
    model = conv()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(marked, "s"))
    zero = np.array(0, np.int8)
    pairs = {"other": Pair(0.03125, 0.03125, zero), "a": Pair(float(marked), 0.03125, zero)}
    name_pairs(model, pairs)
    assert quantized_tensors(model) == {"a": "a_q"}
    assert Index(model.graph).array("a.scale") == np.float32(0.03125)


def test_a_pair_that_no_point_marked_is_an_error():
    with pytest.raises(ConversionError, match="belongs to no point"):
        name_pairs(conv(), {"a": Pair(0.5, 0.5, np.array(0, np.int8))})


def test_a_max_pool_has_a_pair_on_both_sides_of_itself_and_of_what_follows():
    pooling = helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2])
    nodes = [
        *pair("x", "a"),
        pooling,
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "rows"], ["y"], "dense"),
    ]
    rows = np.ones((3 * 4 * 4, 2), np.float32)
    model = graph(nodes, {**CONSTANTS, "z": np.int8(0), "rows": rows}, ("N", 3, 8, 8), ("N", 2))
    expected = evaluate(model, X)
    repeat_pairs(model, {"dense"})
    both = ["QuantizeLinear", "DequantizeLinear"]
    assert kinds(model) == [*both, "MaxPool", *both, "Flatten", *both, "Gemm"]
    assert np.array_equal(evaluate(model, X), expected)


@pytest.mark.parametrize("has_second_reader", [False, True])
def test_what_moves_values_behind_a_kernel_sinks_below_its_relu_and_pair(has_second_reader):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
        helper.make_node("Transpose", ["c"], ["t"], "turn", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "shape"], ["r"], "rows"),
        helper.make_node("Relu", ["r"], ["p"], "relu"),
        *pair("p", "a"),
        helper.make_node("Neg", ["a"], ["n"])
        if not has_second_reader
        else helper.make_node("Add", ["a", "r"], ["n"]),
        helper.make_node("Identity", ["n"], ["y"]),
    ]
    constants = {**CONSTANTS, "shape": np.array([-1, 36, 6])}
    model = graph(nodes, constants, ("N", 3, 8, 8), ("N", 36, 6))
    before, expected = kinds(model), evaluate(model, X)
    sink_moves(model)
    moved = ["Conv", "Relu", "QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape"]
    assert kinds(model) == (before if has_second_reader else [*moved, "Neg", "Identity"])
    assert np.array_equal(evaluate(model, X), expected)


def test_two_outputs_of_one_tensor_behind_a_parted_pair_both_stay():
    quantize, dequantize = pair("x", "y")
    dequantize.input[0] = "t"
    again = helper.make_node("DequantizeLinear", ["t", "s", "z"], ["again"], "again")
    middle = helper.make_node("Transpose", ["y_q"], ["t"], perm=[0, 2, 3, 1])
    constants = {"s": CONSTANTS["s"], "z": CONSTANTS["z"]}
    shape = ("N", 8, 8, 3)
    model = graph([quantize, middle, dequantize, again], constants, ("N", 3, 8, 8), shape)
    model.graph.output.append(helper.make_tensor_value_info("again", 1, shape))
    expected = evaluate(model, X)
    adjoin(model)
    check(model)
    assert kinds(model)[:3] == ["QuantizeLinear", "DequantizeLinear", "Transpose"]
    for found in ReferenceEvaluator(model).run(None, {"x": X}):
        np.testing.assert_array_equal(found, expected)
