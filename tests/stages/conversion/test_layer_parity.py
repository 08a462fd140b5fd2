from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import numpy_helper

from stages.conversion.layer_parity import compare_layers
from stages.conversion.litert import write_int8
from stages.engines import litert, onnxruntime
from stages.quantization.bias_steps import snap_biases
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import ALL, BATCH, QUANTA, Quantized, quanta
from tests.stages.networks import APPLICATIONS, NETWORKS, SHAPE, pixels, randomized


@pytest.mark.parametrize("name", [*NETWORKS, "squeezed"])
def test_every_layer_of_every_network_is_right_to_one_step(name):
    net = Quantized(randomized(ALL[name]()))
    snap_biases(net.model, net.points, net.ranges)
    found = compare_layers(
        net.model, net.points, net.ranges, net.graph("cpu"), SIGNATURE, pixels(64)
    )
    assert found.off_by_more == 0
    assert found.passes, found


def repeated() -> keras.Model:
    """Layers that are called again on what they gave, which has another range."""
    image = keras.Input(SHAPE, name="image")
    conv, dense = layers.Conv2D(6, 3, padding="same"), layers.Dense(16)
    x = layers.Conv2D(6, 1)(image)
    x = layers.Flatten()(conv(conv(conv(x))))
    x = layers.Dense(16)(x)
    return keras.Model(image, layers.Dense(4)(dense(dense(dense(x)))))


def test_each_call_of_a_shared_layer_has_a_bias_in_its_own_steps(tmp_path):
    model = randomized(repeated())
    for layer in model.layers[1:]:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel / 3, bias * 5])
    net = Quantized(model)
    snap_biases(net.model, net.points, net.ranges)
    graph = net.graph("cpu")
    found = compare_layers(net.model, net.points, net.ranges, graph, SIGNATURE, pixels(64))
    assert found.passes, found
    onnx.save(graph, tmp_path / "model.onnx")
    with onnxruntime.Runner(tmp_path / "model.onnx", SIGNATURE) as engine:
        assert quanta(net.simulated("cpu"), engine.infer(BATCH)) <= QUANTA
    (file,) = write_int8(tmp_path / "model.tflite", net.model, net.points, net.ranges, SIGNATURE)
    with litert.Runner(file, SIGNATURE) as engine:
        assert quanta(net.simulated("litert"), engine.infer(BATCH)) <= QUANTA


def test_a_kernel_that_was_changed_in_the_graph_is_found_and_its_layer_named():
    net = Quantized(randomized(NETWORKS["plain"]()))
    graph = net.graph("cpu")
    second = [node for node in graph.graph.node if node.op_type == "Conv"][1]
    source = next(node for node in graph.graph.node if second.input[1] in node.output)
    kernel = next(t for t in graph.graph.initializer if t.name == source.input[0])
    values = numpy_helper.to_array(kernel).copy()
    values[0] = -values[0]
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    found = compare_layers(net.model, net.points, net.ranges, graph, SIGNATURE, pixels(8))
    assert not found.passes
    assert found.worst_point == list(net.points)[2]
    assert np.isfinite(found.elements)


def test_a_zero_point_that_is_one_off_is_found():
    net = Quantized(randomized(APPLICATIONS["squeezed"]()))
    graph = net.graph("cpu")
    swish = next(name for name in net.points if name.startswith("activation"))
    zero = next(t for t in graph.graph.initializer if t.name == f"{swish}.zero_point")
    value = numpy_helper.to_array(zero)
    zero.CopyFrom(numpy_helper.from_array(np.array(value + 1, np.uint8), zero.name))
    found = compare_layers(net.model, net.points, net.ranges, graph, SIGNATURE, pixels(8))
    assert not found.passes
    assert found.off_by_one + found.off_by_more > 0.05 * found.elements
