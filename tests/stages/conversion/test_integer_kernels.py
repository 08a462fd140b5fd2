"""Every convolution and Dense layer of an INT8 engine runs in integers."""

from __future__ import annotations

import keras
import onnx
import pytest
from keras import layers

from stages.engines import onnxruntime
from stages.engines.base import BuildRequest
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


@pytest.fixture(scope="module")
def net() -> Quantized:
    return Quantized(randomized(network()))


def test_no_kernel_of_onnx_runtime_is_float(net, tmp_path):
    onnx.save(net.graph("cpu"), tmp_path / "model.onnx")
    request = BuildRequest(SIGNATURE, "int8")
    found = onnxruntime.build(tmp_path / "model.onnx", tmp_path / "engine.onnx", request).layers
    assert len(found) >= 13 + 2
    assert [layer.name for layer in found if layer.executed != "int8"] == []
