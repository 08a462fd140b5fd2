from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import TensorProto, helper

from stages.conversion.layer_parity import compare_layers
from stages.conversion.onnx import overflow
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.targets import float_graph
from stages.conversion.traces import AS_WRITTEN, trace_onnx
from stages.datasets.base import DataSet
from stages.engines.base import BuildRequest
from stages.engines.layers import mismatches, requested
from stages.engines.onnxruntime import interpret
from stages.keras_graph.fold import fold
from stages.models import files
from stages.numerics.parity import compare
from stages.training import evaluate
from tests.stages.conftest import DIGITS
from tests.stages.conversion.onnx.builders import SIGNATURE, graph, kinds
from tests.stages.conversion.onnx.builders import evaluate as exact
from tests.stages.conversion.onnx.test_targets import BATCH, Quantized, run
from tests.stages.networks import SHAPE, pixels, randomized

LOUD, QUIET = 2e5, 1e-5


def loud() -> keras.Model:
    """A network whose second convolution gives values beyond float16, which the third makes small.

    Both arms of the addition are loud; what is before and behind them is not.
    """
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="calm")(image)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="loud")(x)
    z = layers.Conv2D(8, 1, name="louder")(x)
    y = layers.Conv2D(8, 3, padding="same", name="quiet")(layers.Add(name="sum")([y, z]))
    x = layers.Dense(4, name="answers")(layers.GlobalAveragePooling2D()(layers.ReLU()(y)))
    model = randomized(keras.Model(image, x))
    for name, factor in (("loud", LOUD), ("louder", LOUD), ("quiet", QUIET)):
        layer = model.get_layer(name)
        layer.set_weights([factor * each for each in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def net() -> Quantized:
    return Quantized(loud())


def safe(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, float | None]]:
    """The float16 graph and the layers that are not in float16, with their largest value."""
    half, wide = overflow.to_safe_float16(model, pixels(64), SIGNATURE)
    return half, {each.layer: each.peak for each in wide}


def test_a_network_that_overflows_float16_agrees_with_keras(net: Quantized, tmp_path: Path) -> None:
    expected = evaluate.logits(net.float, BATCH)
    single = float_graph(fold(net.float), SIGNATURE)
    half, wide = safe(single)
    assert compare(expected, run(half, tmp_path)).max_relative_difference < 5e-3
    # By ONNX' definitions as well: ONNX Runtime drops casts, and computes float16 in float32.
    assert compare(expected[:4], in_float16(half)).max_relative_difference < 5e-3
    assert not np.isfinite(in_float16(to_float16(single))).any()
    assert set(wide) == {"loud", "louder", "loud_activation", "sum", "quiet"}
    inside = keras.Model(net.float.inputs[0], net.float.get_layer("sum").output)(BATCH)
    assert wide["sum"] == pytest.approx(float(np.abs(inside).max()), rel=1e-4)


def in_float16(model: onnx.ModelProto) -> np.ndarray:
    """Logits of four images, each node in the type that the graph says."""
    with np.errstate(all="ignore"):
        return exact(model, BATCH[:4])


def test_every_layer_of_its_int8_graph_is_right(net: Quantized) -> None:
    half, wide = safe(net.graph("tensorrt"))
    assert {"loud", "louder", "sum"} <= set(wide)
    for int8, is_right in ((half, True), (to_float16(net.graph("tensorrt")), False)):
        fed = SIGNATURE.feed(pixels(64))
        trace = trace_onnx(int8, "tensorrt", SIGNATURE, fed, AS_WRITTEN)
        network = (net.model, net.points, net.ranges)
        found = compare_layers("", *network, trace, pixels(64), SIGNATURE)
        assert (found.passes, found.unexplained == 0) == (is_right, is_right)


def test_no_cast_parts_an_int8_kernel_from_its_operands(net: Quantized) -> None:
    half, _ = safe(net.graph("tensorrt"))
    made = {name: node for node in half.graph.node for name in node.output}
    for node in half.graph.node:
        if node.op_type == "Conv":
            assert [made[name].op_type for name in node.input[:2]] == 2 * ["DequantizeLinear"]


def test_what_stays_float32_is_asked_for_in_float32(net: Quantized) -> None:
    half, _ = safe(float_graph(fold(net.float), SIGNATURE))
    assert requested(half) == {
        **dict.fromkeys(("calm", "answers"), "fp16"),
        **dict.fromkeys(("loud", "louder", "quiet"), "fp32"),
    }


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_tensorrt_builds_it_as_it_is_asked_for(net: Quantized, tmp_path: Path, kind: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    from stages.engines.tensorrt import network

    single = float_graph(fold(net.float), SIGNATURE) if kind == "float" else net.graph("tensorrt")
    onnx.save(safe(single)[0], tmp_path / "model.onnx")
    request = BuildRequest(SIGNATURE, "fp16" if kind == "float" else "int8", 8)
    report = network.build(trt, tmp_path / "model.onnx", tmp_path / "engine", request)
    asked = [each for each in report.layers if each.requested]
    executed = {node: each.executed for each in asked for node in each.nodes}
    assert executed["loud"] == {"float": "fp32", "int8": "int8"}[kind]
    assert mismatches(report.layers) == ()
    assert report.remarks == ()


def test_a_network_that_fits_is_wholly_float16() -> None:
    model = randomized(keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 12)]))
    out = keras.Model(model.inputs, layers.Flatten()(model.outputs[0]))
    single = float_graph(fold(out), SIGNATURE)
    half, wide = safe(single)
    assert wide == {}
    assert half == to_float16(single)


def nodes_of(factor: float, **other: Any) -> onnx.ModelProto:
    """y = relu(x * factor) / factor."""
    return graph(
        [
            helper.make_node("Mul", ["x", "f"], ["m"], "up"),
            helper.make_node("Relu", ["m"], ["r"], "relu"),
            helper.make_node("Div", ["r", "f"], ["d"], "down"),
            helper.make_node("Max", ["d", "least"], ["y"], "floor"),
        ],
        {"f": np.float32(factor), "least": np.float32(-1e30)},
        ("N", 4),
        ("N", 4),
        opset=17,
    )


def held(model: onnx.ModelProto, *values: float) -> dict[str, float]:
    batch = np.array([values], np.float32)
    return overflow.overflowing(model, overflow.peaks(model, SIGNATURE_OF_X, [batch]))


SIGNATURE_OF_X = type(SIGNATURE)((4,), ("a",), 1.0, 0.0, input_name="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("largest", "nodes"),
    [
        (100.0, set()),
        (65504 / 8 - 1, set()),
        (65504 / 8 + 1, {"m", "r", "d"}),  # near the end: other images may reach further
        (1e37, {"m", "r", "d", "y"}),
        (np.inf, {"m", "r", "d", "y"}),
    ],
)
def test_nodes_that_make_or_read_large_values_are_held(largest: float, nodes: set[str]) -> None:
    assert set(held(nodes_of(2.0), largest, 0.0, 1.0, -1.0)) == nodes


def test_a_weight_that_float16_cannot_hold_keeps_its_nodes_in_float32() -> None:
    assert set(held(nodes_of(1e5), 1e-3, 0.0, 0.0, 0.0)) == {"m", "d"}
    half = to_float16(nodes_of(1e5), {"m", "d"})
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert types == {"f": TensorProto.FLOAT, "least": TensorProto.FLOAT16}
    assert kinds(half) == ["Mul", "Cast", "Relu", "Cast", "Div", "Cast", "Max", "Cast"]


def test_the_largest_value_is_that_of_all_batches() -> None:
    batches = [np.full((2, 4), value, np.float32) for value in (1.0, -300.0, 2.0)]
    assert overflow.peaks(nodes_of(2.0), SIGNATURE_OF_X, batches) == {
        "m": 600.0,
        "r": 4.0,
        "d": 2.0,
        "y": 2.0,
    }


def test_a_pair_that_is_read_in_both_types_is_dequantized_in_both() -> None:
    pair = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"], "half"),
        helper.make_node("Mul", ["d", "f"], ["m"], "single"),
        helper.make_node("Div", ["m", "f"], ["e"]),
        helper.make_node("Add", ["r", "e"], ["y"]),
    ]
    constants = {"s": np.float32(0.5), "z": np.int8(0), "f": np.float32(1e6)}
    model = graph(pair, constants, ("N", 4), ("N", 4), opset=17)
    half = to_float16(model, held(model, 1.0, 2.0, 3.0, 4.0))
    inputs = {node.name or node.op_type: list(node.input) for node in half.graph.node}
    assert (inputs["half"], inputs["single"]) == (["d"], ["d_float", "f"])
    assert kinds(half).count("DequantizeLinear") == 2
    assert inputs["d_float"] == ["q", "s_float", "z"]


def test_what_overflows_float16_stays_float32_in_the_file_and_is_named(
    trained: Path, digits: DataSet, tmp_path: Path
) -> None:
    model = files.load(trained / "model.keras")
    for name, factor in (("dense1", 1e5), ("logits", 1e-5)):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([factor * kernel, bias * (1e5 if factor > 1 else 1)])
    images = digits.test.images[:32]
    expected = evaluate.logits(model, DIGITS.preprocess(images))
    file, raw = tmp_path / "half.onnx", dataclasses.replace(DIGITS, dtype="uint8")
    calibration = digits.calibration.images[:]
    wide = overflow.write_float16(float_graph(fold(model), DIGITS), calibration, raw, file)
    assert {"dense1", "logits"} <= {each.layer for each in wide[file.name]}
    got = interpret(file, raw, images)
    assert compare(expected, got).max_relative_difference < 5e-3
