"""Gates, maxima, choices and clamps are right to a rounding in every runtime."""

from __future__ import annotations

import keras
import onnx
from keras import layers, ops

from stages.conversion.litert import write_int8
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.engines import onnxruntime
from stages.engines.base import BuildRequest
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import Quantized
from tests.stages.conversion.test_layer_parity import TAKES_PIXELS, Converted, converted
from tests.stages.networks import SHAPE, randomized


def attentive() -> keras.Model:
    """CBAM (Woo et al., 2018), a maxout, a choice, and normalisation behind an addition."""
    image = keras.Input(SHAPE, name="image")
    x = first = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    narrow, wide = layers.Dense(4, activation="relu"), layers.Dense(8)
    gate = wide(narrow(ops.mean(x, axis=(1, 2)))) + wide(narrow(ops.max(x, axis=(1, 2))))
    x = x * ops.reshape(ops.sigmoid(gate), (-1, 1, 1, 8))
    both = [ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)]
    places = layers.Conv2D(1, 7, padding="same", activation="sigmoid")(ops.concatenate(both, -1))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x * places) + first)
    x = layers.ReLU(name="behind_norm")(x)
    x = ops.maximum(layers.Conv2D(8, 1)(x), layers.Conv2D(8, 1)(x))
    x = layers.Conv2D(8, 1)(ops.where(x > 0, x, 0.1 * x))
    return keras.Model(image, layers.Dense(4, name="answers")(ops.mean(x, axis=[1, 2])))


def test_operators_are_right_in_every_cpu_runtime_and_leave_no_kernel_in_float(tmp_path):
    net = Quantized(randomized(attentive()))
    graph = prepend_preprocessing(net.graph("cpu"), TAKES_PIXELS)
    onnx.save(graph, tmp_path / "model.int8.cpu.onnx")
    write_int8(tmp_path / "model.int8.tflite", net.model, net.points, net.ranges, TAKES_PIXELS)
    found = Converted(net, tmp_path).judge(tmp_path)
    assert [each.name.rpartition(" in ")[2] for each in found] == [
        *("model.int8.cpu.onnx", "ONNX Runtime", "OpenVINO", "model.int8.tflite"),
    ]
    assert [each for each in found if not each.passes] == []
    request = BuildRequest(SIGNATURE, "int8")
    engine = onnxruntime.build(tmp_path / "model.int8.cpu.onnx", tmp_path / "engine.onnx", request)
    assert {layer.executed for layer in engine.layers} == {"int8"}


def clamped() -> keras.Model:
    """Clamps whose bounds are no steps of what comes before them, one of it read by others, a ReLU
    with a threshold, and a choice that jumps where float16 cannot tell on which side a value is."""
    image = keras.Input(SHAPE, name="image")

    def conv(x):
        return layers.Conv2D(6, 3, padding="same")(x)

    x = layers.Activation("hard_tanh")(conv(ops.clip(conv(image), -0.2, 0.4)))
    x = conv(layers.ReLU(0.69)(conv(x)))
    x = conv(layers.ReLU(1.0, threshold=0.2)(x + ops.clip(x, -0.13, 0.29)))
    x = conv(ops.where(x > 0, x, 0.7))
    return keras.Model(image, layers.Dense(4, name="answers")(layers.GlobalAveragePooling2D()(x)))


def test_clamps_and_jumping_choices_are_right_in_every_runtime(tmp_path):
    network = converted(Quantized(randomized(clamped())), tmp_path)
    found = network.judge(tmp_path)
    assert len(found) == 7
    assert [each for each in found if not each.passes] == []
    request = BuildRequest(SIGNATURE, "int8")
    engine = onnxruntime.build(tmp_path / "model.int8.cpu.onnx", tmp_path / "engine.onnx", request)
    assert {layer.executed for layer in engine.layers} == {"int8"}


def skipping() -> keras.Model:
    """The way down and back up of a U-Net: what may be negative meets what cannot, which one time
    others read as well and the other time nobody else."""
    image = keras.Input(SHAPE, name="image")

    def conv(x, channels=8):
        return layers.Conv2D(channels, 3, padding="same", activation="relu")(x)

    x = high = conv(image)
    x = conv(layers.MaxPooling2D()(x))
    x = layers.Conv2DTranspose(8, 2, strides=2)(x)
    x = conv(layers.Concatenate()([x, high]))
    x = conv(layers.Concatenate()([layers.Conv2D(8, 1)(x), conv(x)]))
    return keras.Model(image, layers.Conv2D(4, 1, name="answers")(x))


def test_both_sides_of_a_skip_connection_are_right_in_every_runtime(tmp_path):
    net = Quantized(randomized(skipping()))
    graph = prepend_preprocessing(net.graph("cpu"), TAKES_PIXELS)
    onnx.save(graph, tmp_path / "model.int8.cpu.onnx")
    write_int8(tmp_path / "model.int8.tflite", net.model, net.points, net.ranges, TAKES_PIXELS)
    found = Converted(net, tmp_path).judge(tmp_path)
    assert len(found) == 4
    assert [each for each in found if not each.passes] == []
