from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from stages.conversion.onnx.cleanup import clean_up, drop_idle_reshapes
from tests.stages.conversion.onnx.builders import evaluate, graph, kinds

X = np.random.default_rng(0).normal(size=(3, 4, 2, 2)).astype(np.float32)


def reshaped(*shapes: list[int], output: tuple = ("N", 4, 2, 2)):
    """ReLU - Reshape to each of `shapes` - Neg."""
    nodes, name = [helper.make_node("Relu", ["x"], ["relu"])], "relu"
    for number, _ in enumerate(shapes):
        nodes.append(helper.make_node("Reshape", [name, f"shape{number}"], [f"r{number}"]))
        name = f"r{number}"
    nodes.append(helper.make_node("Neg", [name], ["y"]))
    constants = {f"shape{i}": np.array(shape, np.int64) for i, shape in enumerate(shapes)}
    return graph(nodes, constants, ("N", 4, 2, 2), output)


def test_reshapes_to_the_shape_that_is_there_are_removed():
    model = reshaped([-1, 4, 2, 2], [-1, 4, 2, 2])
    expected = evaluate(model, X)
    drop_idle_reshapes(model)
    assert kinds(model) == ["Relu", "Neg"]
    assert np.array_equal(evaluate(model, X), expected)


def test_a_size_of_which_only_the_batch_is_unknown_may_be_left_to_reshape():
    model = graph(
        [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Neg", ["r"], ["y"])],
        {"s": np.array([2, -1], np.int64)},
        (2, 3),
        (2, 3),
    )
    drop_idle_reshapes(model)
    assert kinds(model) == ["Neg"]


@pytest.mark.parametrize(
    ("shape", "output"),
    [([-1, 2, 4, 2], ("N", 2, 4, 2)), ([-1, 16], ("N", 16)), ([1, -1, 2, 2], (1, "M", 2, 2))],
)
def test_a_reshape_that_changes_something_stays(shape, output):
    model = reshaped(shape, output=output)
    drop_idle_reshapes(model)
    assert kinds(model) == ["Relu", "Reshape", "Neg"]


def test_a_reshape_between_the_two_ends_of_a_pair_is_removed():
    pair = ["scale", "zero"]
    model = graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
            helper.make_node("QuantizeLinear", ["pooled", *pair], ["q"]),
            helper.make_node("Reshape", ["q", "shape"], ["r"]),
            helper.make_node("DequantizeLinear", ["r", *pair], ["y"]),
        ],
        {
            "scale": np.array(0.01, np.float32),
            "zero": np.array(0, np.int8),
            "shape": np.array([-1, 4, 1, 1], np.int64),
        },
        ("N", 4, 2, 2),
        ("N", 4, 1, 1),
    )
    expected = evaluate(model, X)
    tidied = clean_up(model)
    assert kinds(tidied) == ["GlobalAveragePool", "QuantizeLinear", "DequantizeLinear"]
    assert np.array_equal(evaluate(tidied, X), expected)


def test_pairs_on_activations_are_kept():
    pair = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *pair], ["q"]),
        helper.make_node("DequantizeLinear", ["q", *pair], ["d"]),
        helper.make_node("QuantizeLinear", ["d", *pair], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", *pair], ["y"]),
    ]
    constants = {"scale": np.array(0.01, np.float32), "zero": np.array(0, np.int8)}
    model = graph(nodes, constants, ("N", 4), ("N", 4))
    assert kinds(clean_up(model)) == kinds(model)
