"""Depthwise convolutions with several outputs per channel, in Keras' simulation and the engines."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from stages.conversion.litert import write_int8
from stages.engines import litert, onnxruntime, openvino
from stages.engines.base import BuildRequest
from stages.quantize import snap_biases
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import BATCH, QUANTA, Quantized, quanta
from tests.stages.networks import SHAPE, randomized


def network() -> keras.Model:
    """Multipliers over several channels and over one; outputs of very different size."""
    image = keras.Input(SHAPE, name="image")
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="several")(image)
    x = layers.Conv2D(1, 1, name="one")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=4, activation="relu", name="single")(x)
    model = randomized(keras.Model(image, layers.Dense(4, name="logits")(layers.Flatten()(x))))
    rng = np.random.default_rng(0)
    for name in ("several", "single"):
        kernel, bias = model.get_layer(name).get_weights()
        # The smallest is below the smallest scale of a kernel (decision 9).
        sizes = 10.0 ** rng.uniform(-2, 0, kernel.shape[2:])
        sizes[-1, -1] = 1e-6
        model.get_layer(name).set_weights([kernel * sizes, bias])
    return model


@pytest.fixture(scope="module")
def net() -> Quantized:
    found = Quantized(network())
    snap_biases(found.model, found.points, found.ranges)
    return found


def test_every_layer_of_the_graph_is_right_to_one_step(net):
    graph = net.graph("cpu")
    found = net.compare_layers(graph)
    assert found.passes, found


@pytest.mark.parametrize("runtime", [onnxruntime, openvino])
def test_engines_for_onnx_compute_the_simulation(net, runtime, tmp_path):
    source, file = tmp_path / "model.onnx", tmp_path / "engine"
    onnx.save(net.graph("cpu"), source)
    report = runtime.build(source, file, BuildRequest(SIGNATURE, "int8"))
    asked = [layer for layer in report.layers if layer.requested]
    assert [layer.executed for layer in asked] == ["int8"] * 4
    with runtime.Runner(file, SIGNATURE) as engine:
        assert quanta(net.simulated("cpu"), engine.infer(BATCH)) <= QUANTA


def test_litert_computes_the_simulation(net, tmp_path):
    (file,) = write_int8(tmp_path / "model.tflite", net.model, net.points, net.ranges, SIGNATURE)
    with litert.Runner(file, SIGNATURE) as engine:
        assert quanta(net.simulated("litert"), engine.infer(BATCH)) <= QUANTA
