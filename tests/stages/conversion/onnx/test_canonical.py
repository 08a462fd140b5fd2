from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from stages.conversion.onnx.canonical import canonicalize
from tests.stages.conversion.onnx.builders import evaluate, graph


def two_branches(number: int, order: int = 0) -> onnx.ModelProto:
    """(x + 1) * 2 + relu(x + 1), with numbers of a converter that begin at `number`."""
    a, b, c = (f"layer.block__7./value__{number + i}" for i in range(3))
    one, two = f"const__{number + 8}", f"const__{number + 3}"
    nodes = [
        helper.make_node("Add", ["x", one], [a], f"layer.block__7./Add__{number}"),
        helper.make_node("Mul", [a, two], [b], f"Mul__{number + 1}"),
        helper.make_node("Relu", [a], [c], f"Relu__{number + 2}"),
        helper.make_node("Add", [b, c], ["y"], "sum"),
    ]
    constants = {one: np.float32(1), two: np.float32(2)}
    made = graph(nodes, constants, ("N", 2), ("N", 2))
    if order:
        nodes[1], nodes[2] = nodes[2], nodes[1]
        del made.graph.node[:]
        made.graph.node.extend(nodes)
        tensors = list(made.graph.initializer)[::-1]
        del made.graph.initializer[:]
        made.graph.initializer.extend(tensors)
    return made


@pytest.mark.parametrize(("number", "order"), [(1, 1), (20, 0), (95, 1)])
def test_graphs_that_differ_in_numbers_and_order_become_the_same_bytes(number, order):
    first, other = two_branches(1), two_branches(number, order)
    for model in (first, other):
        canonicalize(model)
    assert other.SerializeToString() == first.SerializeToString()


def test_it_computes_what_it_did_and_is_valid():
    model, x = two_branches(40), np.float32([[-3, 5]])
    canonicalize(model)
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(evaluate(model, x), evaluate(two_branches(40), x))


def test_names_keep_their_layer_and_lose_the_numbers():
    model = two_branches(40)
    canonicalize(model)
    nodes = model.graph.node
    assert [node.name for node in nodes] == ["layer.block__7./Add", "Mul", "Relu", "sum"]
    assert [node.output[0] for node in nodes] == [
        "layer.block__7./value",
        "layer.block__7./value__2",
        "layer.block__7./value__3",
        "y",
    ]


def test_a_constant_is_named_after_its_first_reader():
    model = two_branches(40)
    canonicalize(model)
    assert [tensor.name for tensor in model.graph.initializer] == [
        "layer.block__7./Add.input1",
        "layer.block__7./value.input1",
    ]


def test_what_no_output_needs_is_gone():
    model = two_branches(1)
    model.graph.node.append(helper.make_node("Relu", ["x"], ["unread"]))
    canonicalize(model)
    assert len(model.graph.node) == 4


@pytest.mark.parametrize("called", ["layer.b./Neg_DequantizeLinear", "DequantLinearNode__31"])
def test_a_pair_that_two_layers_share_is_called_after_the_first(called):
    first, other = (shared_pair(name) for name in ("layer.a./Abs_DequantizeLinear", called))
    for model in (first, other):
        canonicalize(model)
    assert other.SerializeToString() == first.SerializeToString()
    assert first.graph.node[1].name == "layer.a./Abs_DequantizeLinear"


def shared_pair(called: str) -> onnx.ModelProto:
    """A pair that tf2onnx `called` after one of its readers."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], [f"{called}:0"], called),
        helper.make_node("Abs", [f"{called}:0"], ["layer.a./Abs:0"], "layer.a./Abs"),
        helper.make_node("Neg", [f"{called}:0"], ["layer.b./Neg:0"], "layer.b./Neg"),
        helper.make_node("Add", ["layer.a./Abs:0", "layer.b./Neg:0"], ["y"], "sum"),
    ]
    constants = {"scale": np.float32(0.5), "zero": np.int8(0)}
    return graph(nodes, constants, ("N", 2), ("N", 2))
