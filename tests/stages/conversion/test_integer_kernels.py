"""Every convolution and Dense layer of an INT8 engine runs in integers."""

from __future__ import annotations

import keras
import onnx
import pytest
from keras import layers

from stages.conversion.litert import write_int8
from stages.conversion.onnx.targets import int8_graph
from stages.engines import litert, onnxruntime
from stages.engines.base import BuildRequest
from stages.keras_graph.kernels import WEIGHTED
from stages.keras_graph.walk import calls
from stages.quantization.bias_steps import snap_biases
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import Quantized
from tests.stages.networks import SHAPE, randomized


@keras.saving.register_keras_serializable("tests")
def bent(values):
    """An activation that no engine knows."""
    return keras.ops.maximum(values, 0.1 * values) + 0.01 * values


def network() -> keras.Model:
    """Every convolution is followed by something else that once kept it in float."""
    image = keras.Input(SHAPE, name="image")
    norm, x = layers.BatchNormalization(), image
    for behind in (
        [layers.ReLU(), layers.BatchNormalization()],
        [layers.ReLU(6.0), layers.BatchNormalization()],
        [layers.ReLU(), layers.AlphaDropout(0.1)],
        [layers.ReLU(), layers.LayerNormalization()],
        [layers.ReLU(), layers.Rescaling(0.5)],
        [layers.ReLU(), layers.UpSampling2D()],
        [layers.ReLU(), layers.Activation("tanh")],
        [layers.ReLU(4.0)],
        [layers.Activation(bent)],
        [layers.LeakyReLU()],
        [layers.PReLU(shared_axes=[1, 2])],
        [norm, layers.ReLU()],
        [norm, layers.ReLU()],
    ):
        x = layers.Conv2D(8, 3, padding="same")(x)
        for layer in behind:
            x = layer(x)
    x = layers.Dense(8, activation="relu")(layers.GlobalMaxPooling2D()(x))
    x = layers.Dense(4, activation="relu")(layers.BatchNormalization()(x))
    return keras.Model(image, x)


def sequences() -> keras.Model:
    """One-dimensional convolutions, and Dense layers over the last of several axes."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Reshape((9, 16))(layers.Conv2D(16, 4, strides=4, activation="relu")(image))
    x = layers.Conv1D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling1D(2)(layers.Conv1D(8, 3, padding="causal", activation="relu")(x))
    x = layers.LeakyReLU(0.1)(layers.Conv1D(8, 1, strides=2)(x))
    x = layers.Dense(8)(layers.Dense(16, activation="relu")(x))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def attention() -> keras.Model:
    """A softmax in the middle."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Multiply()([x, layers.Softmax()(layers.Dense(8)(x))])
    x = layers.Dense(8, activation="softmax")(x)
    return keras.Model(image, layers.Dense(4)(x))


@pytest.fixture(scope="module", params=[network, sequences])
def net(request) -> Quantized:
    return Quantized(randomized(request.param()))


def weighted(net: Quantized) -> list[str]:
    found = [call.operation for call in calls(net.model)]
    return [str(layer.name) for layer in found if isinstance(layer, WEIGHTED)]


def test_every_layer_is_right_to_one_step(net):
    snap_biases(net.model, net.points, net.ranges)
    graph = int8_graph(net.model, net.points, net.ranges, SIGNATURE, "cpu")
    found = net.compare_layers(graph)
    assert found.passes, found


def test_no_kernel_of_onnx_runtime_is_float(net, tmp_path):
    onnx.save(net.graph("cpu"), tmp_path / "model.onnx")
    request = BuildRequest(SIGNATURE, "int8")
    found = onnxruntime.build(tmp_path / "model.onnx", tmp_path / "engine.onnx", request).layers
    assert len(found) >= len(weighted(net))
    assert [layer.name for layer in found if layer.executed != "int8"] == []


def test_only_the_first_convolution_of_litert_is_float_and_says_why(net, tmp_path):
    (file,) = write_int8(tmp_path / "model.tflite", net.model, net.points, net.ranges, SIGNATURE)
    found = list(litert.layers(file.read_bytes(), BuildRequest(SIGNATURE, "int8")))
    assert [layer.name for layer in found] == weighted(net)
    first, *others = found
    assert (first.executed, first.reason) == ("fp32", litert.IN_FLOAT)
    assert {(layer.executed, layer.reason) for layer in others} == {("int8", None)}


def test_a_softmax_in_the_middle_is_right_as_onnx_runtime_runs_it():
    """Between two pairs it is an integer kernel there, which is wrong by tens of steps."""
    net = Quantized(randomized(attention()))
    snap_biases(net.model, net.points, net.ranges)
    found = net.compare_layers(int8_graph(net.model, net.points, net.ranges, SIGNATURE, "cpu"))
    assert (found.off_by_more, found.passes) == (0, True)
