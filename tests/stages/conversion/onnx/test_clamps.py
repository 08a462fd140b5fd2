from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from stages.conversion.onnx.clamps import saturate
from tests.stages.conversion.onnx.builders import evaluate, graph, kinds

STEP, ZERO = 0.01, 100


def clamped(low: float, high: float) -> onnx.ModelProto:
    """A 1x1 convolution, a minimum, a maximum, and a pair from -1 to 1.55 in steps of 0.01."""
    pair = ["scale", "zero_point"]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["made"], "conv"),
        helper.make_node("Min", ["made", "high"], ["less"]),
        helper.make_node("Max", ["less", "low"], ["clipped"]),
        helper.make_node("QuantizeLinear", ["clipped", *pair], ["steps"], "clip.quantize"),
        helper.make_node("DequantizeLinear", ["steps", *pair], ["y"]),
    ]
    constants = {
        "kernel": np.ones((1, 1, 1, 1), np.float32),
        "low": np.array(low, np.float32),
        "high": np.array(high, np.float32),
        "scale": np.array(STEP, np.float32),
        "zero_point": np.array(ZERO, np.uint8),
    }
    return graph(nodes, constants, (1, 1, 1, 999), (1, 1, 1, 999))


@pytest.mark.parametrize(
    ("low", "high", "left"),
    [
        (-1.0, 1.55, []),
        (-9.0, 1.5501, []),
        (-0.2, 0.404, ["Min", "Max"]),
        (0.1, 9.0, ["Max"]),
        (-1.0, 0.5, ["Min"]),
    ],
)
def test_a_bound_is_left_only_where_the_quantizer_does_not_do_the_same(low, high, left):
    before = clamped(low, high)
    after = onnx.ModelProto.FromString(before.SerializeToString())
    saturate(after)
    pair = ["QuantizeLinear", "DequantizeLinear"]
    assert kinds(after) == ["Conv", *([*pair, *left] if left else []), *pair]
    values = np.linspace(-2, 2, 999, dtype=np.float32).reshape(1, 1, 1, 999)
    np.testing.assert_array_equal(evaluate(after, values), evaluate(before, values))


def test_bounds_stay_what_they_are_however_an_engine_rounds_them_to_integers():
    model = clamped(-0.2, 0.404)
    saturate(model)
    names = {node.input[1] for node in model.graph.node if node.op_type in ("Min", "Max")}
    found = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name in names]
    steps = np.sort(np.array(found, np.float64)) / STEP + ZERO
    assert np.floor(steps).tolist() == np.round(steps).tolist() == [80, 140]
