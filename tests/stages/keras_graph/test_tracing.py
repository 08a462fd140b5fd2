from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from stages.keras_graph.tracing import traceable
from stages.keras_graph.walk import walk
from tests.stages.networks import SHAPE, images, randomized


def traced(*middle: Any) -> tuple[keras.Model, Any]:
    """A model of `middle`, and the tf.function that the converters get."""
    image = keras.Input(SHAPE)
    tensor = image
    for operation in middle:
        tensor = operation(tensor)
    model = randomized(keras.Model(image, tensor))
    spec = tf.TensorSpec((None, *SHAPE), tf.float32)
    return model, tf.function(
        lambda x: walk(model, [x], traceable)[0], input_signature=[spec]
    ).get_concrete_function()


def operations(function: Any) -> set[str]:
    return {node.op for node in function.graph.as_graph_def().node}


CASES = {
    "flatten": (layers.Flatten(),),
    "reshape": (layers.Reshape((-1, 6)),),
    "recurrent": (
        layers.Reshape((12, 36)),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.GRU(4, go_backwards=True),
    ),
    "gelu": (layers.Activation("gelu"),),
    "gelu operation": (lambda x: keras.ops.gelu(x, approximate=False),),
    "approximate gelu": (lambda x: keras.ops.gelu(x, approximate=True),),
    "layer normalisation": (layers.LayerNormalization(),),
    "layer normalisation without weights": (
        layers.LayerNormalization(center=False, scale=False, epsilon=0.1),
    ),
    "layer normalisation over images": (layers.LayerNormalization(axis=(1, 2, 3)),),
    "one-dimensional": (
        layers.Reshape((36, 12)),
        layers.Conv1D(6, 3, strides=2, padding="same", activation="relu"),
        layers.Conv1D(6, 3, dilation_rate=2, use_bias=False),
        layers.Conv1D(4, 2, groups=2),
    ),
    "causal": (layers.Reshape((36, 12)), layers.Conv1D(6, 3, dilation_rate=2, padding="causal")),
    "dense over the last axis": (
        layers.Reshape((36, 12)),
        layers.Dense(6, activation="tanh"),
        layers.Reshape((2, 3, 6, 6)),
        layers.Dense(4, use_bias=False),
    ),
    "grouped": (
        layers.Conv2D(4, 1),
        layers.Conv2D(6, 3, groups=2, strides=2, padding="same", activation="relu"),
    ),
    "grouped without bias": (
        layers.Conv2D(4, 1),
        layers.Conv2D(4, 3, groups=2, dilation_rate=2, use_bias=False),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_traced_computes_what_the_layer_does(name):
    model, function = traced(*CASES[name])
    expected = model(images(3)).numpy()
    got = function(tf.constant(images(3))).numpy()
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["gelu", "gelu operation"])
def test_exact_gelu_is_traced_with_the_function_that_onnx_has(name):
    found = operations(traced(*CASES[name])[1])
    assert "Erf" in found
    assert "Erfc" not in found


@pytest.mark.parametrize("name", ["grouped", "grouped without bias"])
def test_a_grouped_convolution_is_traced_as_one_operation_without_xla(name):
    found = operations(traced(*CASES[name])[1])
    assert "Conv2D" in found
    assert not {op for op in found if "PartitionedCall" in op}


@pytest.mark.parametrize("name", ["flatten", "reshape"])
def test_flatten_and_reshape_are_traced_without_computing_a_shape(name):
    assert "Shape" not in operations(traced(*CASES[name])[1])


def test_a_recurrent_layer_is_traced_without_a_loop_and_is_left_as_it_was():
    model, function = traced(*CASES["recurrent"])
    assert not {op for op in operations(function) if "While" in op or "TensorList" in op}
    assert not any(layer.unroll for layer in model._flatten_layers() if hasattr(layer, "unroll"))


def test_layer_normalisation_is_exact_where_the_mean_is_much_larger_than_the_spread():
    _, function = traced(layers.LayerNormalization(center=False, scale=False))
    values = (1000 + images(2)).astype(np.float32)
    exact = values.astype(np.float64)
    exact -= exact.mean(-1, keepdims=True)
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-3)
    assert np.abs(function(tf.constant(values)).numpy() - exact).max() < 2e-3
