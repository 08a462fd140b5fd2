"""Networks with several inputs, for the tests of all that must keep them apart."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
from keras import layers
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stages.artifacts.signature import Input, Signature
from stages.numerics import fields

SHAPE = (7, 7, 3)

SIGNATURE = Signature(
    (),
    ("a", "b", "c", "d"),
    1.0,
    0.0,
    inputs=(
        Input("right", SHAPE, 1 / 255, 0.0, "NHWC", "float32", "uint8"),
        Input("table", (5,), 1.0, 0.0, "NC", "float32", "float32"),
        Input("left", SHAPE, 1 / 127.5, -1.0, "NHWC", "float32", "uint8"),
        Input("signal", (16, 2), 0.5, 0.25, "NLC", "float32", "float32"),
    ),
)
"""In an order that is not alphabetical; two have one shape and one type, and are scaled by ways of
their own."""


def cameras() -> keras.Model:
    """Two cameras, each with a convolution of its own, a signal and a table of numbers."""
    right, table, left, signal = (
        keras.Input(each.input_shape, name=each.name) for each in SIGNATURE.inputs
    )

    def seen(image: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        name = f"{image.name}_conv"
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(image)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
        return layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))

    heard = layers.Conv1D(8, 3, activation="relu")(signal)
    known = layers.Dense(8, activation="relu", name="table_dense")(table)
    joined = [seen(right, 8), seen(left, 6), layers.GlobalAveragePooling1D()(heard), known]
    x = layers.Dense(16, activation="relu")(layers.Concatenate()(joined))
    return keras.Model([right, table, left, signal], layers.Dense(4)(x), name="cameras")


def data(count: int, seed: int = 0) -> NDArray[np.void]:
    """Random samples (count,) with a field for each input, in another order than theirs."""
    random = np.random.default_rng(seed)
    return fields.joined(
        {
            "left": random.integers(0, 256, (count, *SHAPE), np.uint8),
            "right": random.integers(0, 256, (count, *SHAPE), np.uint8),
            "signal": random.normal(size=(count, 16, 2)).astype(np.float32),
            "table": random.normal(size=(count, 5)).astype(np.float32),
        }
    )


TABLES = Signature(
    (),
    ("a", "b", "c"),
    1.0,
    0.0,
    inputs=(
        Input("right", (4,), 1.0, 0.0, "NC", "float32", "float32"),
        Input("left", (4,), 1.0, 0.0, "NC", "float32", "float32"),
    ),
)
WEIGHTS = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)
"""Of the inputs, in their order."""


def tables() -> onnx.ModelProto:
    """What takes two tables of one shape, without Keras: logits (N, 3) are relu(right @ the first
    of WEIGHTS + 0.5) + tanh(left @ the second)."""
    nodes = [
        helper.make_node("Gemm", ["right", "w0", "bias"], ["product"], "product"),
        helper.make_node("Relu", ["product"], ["seen"], "seen"),
        helper.make_node("MatMul", ["left", "w1"], ["other"], "other"),
        helper.make_node("Tanh", ["other"], ["known"], "known"),
        helper.make_node("Add", ["seen", "known"], ["logits"], "sum"),
    ]
    constants: dict[str, Any] = {"w0": WEIGHTS[0], "w1": WEIGHTS[1], "bias": np.full(3, 0.5, "f4")}
    graph = helper.make_graph(
        nodes,
        "tables",
        [
            helper.make_tensor_value_info(each.name, TensorProto.FLOAT, ["N", 4])
            # Not in the order of the signature: engines go by names.
            for each in reversed(TABLES.inputs)
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def tables_logits(samples: NDArray[np.void]) -> NDArray[np.float32]:
    """The same in NumPy."""
    seen = np.maximum(samples["right"] @ WEIGHTS[0] + np.float32(0.5), 0)
    return np.asarray(seen + np.tanh(samples["left"] @ WEIGHTS[1]))
