from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from stages.keras_graph.paired_columns import has_pairs, paired, traceable_by_pairs
from stages.keras_graph.walk import walk


def network(shape: tuple[int, int, int], *convolutions: Any) -> keras.Model:
    image = keras.Input(shape)
    x = image
    for convolution in convolutions:
        x = convolution(x)
    return keras.Model(image, x)


def traced(model: keras.Model) -> Any:
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    return tf.function(
        lambda image: walk(model, [image], traceable_by_pairs)[0], input_signature=[spec]
    ).get_concrete_function()


def test_the_kernel_stands_twice_one_column_apart() -> None:
    kernel = np.array([1.0, 2.0, 3.0], np.float32).reshape(1, 3, 1, 1)
    pairs = paired(kernel)
    assert pairs.shape == (1, 2, 2, 2)
    left, right = pairs.reshape(4, 2).T
    assert left.tolist() == [1, 2, 3, 0]
    assert right.tolist() == [0, 1, 2, 3]


@settings(deadline=None, max_examples=20)
@given(
    height=st.integers(4, 9),
    half_width=st.integers(3, 6),
    channels=st.integers(1, 4),
    filters=st.integers(1, 8),
    size=st.tuples(st.integers(1, 4), st.sampled_from((3, 5))),
    options=st.fixed_dictionaries(
        {"use_bias": st.booleans(), "activation": st.sampled_from((None, "relu"))}
    ),
)
def test_pairs_of_columns_compute_the_convolution(
    height, half_width, channels, filters, size, options
):
    keras.utils.set_random_seed(0)
    options["bias_initializer"] = "random_normal"
    model = network((height, 2 * half_width, channels), layers.Conv2D(filters, size, **options))
    assert has_pairs(model)
    function = traced(model)
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(function(images), model(images), atol=1e-5)
    (found,) = [n for n in function.graph.get_operations() if n.type == "Conv2D"]
    assert found.inputs[0].shape[1:] == (height, half_width, 2 * channels)


@pytest.mark.parametrize(
    "convolution",
    [
        layers.Conv2D(9, 3),
        layers.Conv2D(8, 3, padding="same"),
        layers.Conv2D(8, 3, strides=2),
        layers.Conv2D(8, 3, dilation_rate=2),
        layers.Conv2D(8, 3, groups=2),
        layers.Conv2D(8, 1),
        layers.Conv2D(8, 2),
        layers.DepthwiseConv2D(3),
        layers.Conv2D(8, 3, data_format="channels_first"),
    ],
    ids=[
        *("wide", "padded", "strided", "dilated", "grouped", "pointwise", "even", "depthwise"),
        "channels first",
    ],
)
def test_other_convolutions_have_no_pairs(convolution: Any) -> None:
    assert not has_pairs(network((8, 8, 4), convolution))


def test_an_odd_number_of_columns_has_no_pairs() -> None:
    assert not has_pairs(network((8, 9, 1), layers.Conv2D(8, 3)))
