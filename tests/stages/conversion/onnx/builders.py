"""ONNX graphs by hand, and the exported networks, for the tests of the passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from stages.artifacts.signature import Signature
from tests.stages.networks import SHAPE

SIGNATURE = Signature(SHAPE, ("a", "b", "c", "d"), scale=1 / 255, offset=0.0)


RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(6, 3, 3, 3)).astype(np.float32)
IMAGES = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)


def graph(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    input_shape: tuple[Any, ...],
    output_shape: tuple[Any, ...],
    opset: int = 19,
) -> onnx.ModelProto:
    """A model from "x" to "y", float32."""
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def conv(kernel: np.ndarray = KERNEL) -> onnx.ModelProto:
    """A convolution and a ReLU."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return graph(nodes, {"w": kernel}, ("N", 3, 8, 8), ("N", 6, 6, 6), opset=17)


def evaluate(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Output by onnx's own reference evaluator."""
    name = model.graph.input[0].name
    result: np.ndarray = ReferenceEvaluator(model).run(None, {name: x})[0]
    return result


def kinds(model: onnx.ModelProto) -> list[str]:
    """Operator types in order."""
    return [node.op_type for node in model.graph.node]
