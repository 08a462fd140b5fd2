from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.errors import ModelError
from stages.keras_graph.fold import flatten, fold
from stages.keras_graph.rewrite import rewrite
from tests.stages.networks import APPLICATIONS, SHAPE, images, randomized


def rewritten(model: keras.Model) -> keras.Model:
    return rewrite(flatten(model))


def kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers if layer.weights]


def chain(*middle: layers.Layer) -> keras.Model:
    return randomized(keras.Sequential([keras.Input(SHAPE, name="image"), *middle]))


def assert_same(model: keras.Model, other: keras.Model) -> None:
    expected = model(images(4), training=False).numpy()
    assert np.abs(other(images(4)) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_rewritten_network_computes_what_it_did(name):
    model = randomized(APPLICATIONS[name]())
    assert_same(model, rewritten(model))
    assert_same(model, fold(model))


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": "same"},
        {"dilation_rate": 2},
        {"depth_multiplier": 3, "use_bias": False},
        {"activation": "relu"},
    ],
)
def test_a_separable_convolution_becomes_a_depthwise_and_a_pointwise_one(options):
    model = chain(layers.SeparableConv2D(5, 3, name="both", **options))
    other = rewritten(model)
    assert kinds(other) == ["DepthwiseConv2D", "Conv2D"]
    assert [layer.name for layer in other.layers[1:]] == ["both_depthwise", "both_pointwise"]
    assert_same(model, other)


@pytest.mark.parametrize(
    "options",
    [{"strides": 2, "padding": "same"}, {"activation": "relu"}, {"use_bias": False}],
)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_convolution_of_single_channels_becomes_a_depthwise_one(options, multiplier):
    model = chain(layers.Conv2D(3 * multiplier, 3, groups=3, name="alone", **options))
    other = rewritten(model)
    assert kinds(other) == ["DepthwiseConv2D"]
    assert other.layers[-1].name == "alone"
    assert_same(model, other)


def test_unequal_strides_stay_a_grouped_convolution():
    model = chain(layers.Conv2D(3, 3, groups=3, strides=(1, 2)))
    assert kinds(rewritten(model)) == ["Conv2D"]
    assert_same(model, rewritten(model))


def test_a_dense_layer_over_channels_becomes_a_pointwise_convolution():
    model = chain(layers.Dense(5, activation="relu"), layers.Flatten(), layers.Dense(2))
    assert kinds(rewritten(model)) == ["Conv2D", "Dense"]
    assert_same(model, rewritten(model))


@pytest.mark.parametrize(
    ("equation", "shape", "options", "kind"),
    [
        ("...x,xy->...y", 5, {"bias_axes": "y", "activation": "relu"}, "Conv2D"),
        ("abcd,de->abce", (12, 12, 4), {}, "Conv2D"),
        ("abcd,cdef->abef", (12, 2, 3), {"bias_axes": "f", "activation": "softmax"}, "Dense"),
        ("abcd,edcb->ae", 4, {"bias_axes": "e"}, "Dense"),
        ("abcd,de->abce", (12, 12, 4), {"bias_axes": "ce"}, "EinsumDense"),
        ("abcd,cde->abce", (12, 12, 4), {}, "EinsumDense"),
        ("ab...,bc->ac...", (4, 12, 3), {}, "EinsumDense"),
    ],
)
def test_an_einsum_that_is_a_matrix_product_becomes_one(equation, shape, options, kind):
    model = chain(layers.EinsumDense(equation, shape, name="sum", **options), layers.Flatten())
    assert kinds(rewritten(model)) == [kind]
    assert rewritten(model).get_layer("sum")
    assert_same(model, rewritten(model))


def test_normalisation_folds_into_what_was_separable():
    model = chain(layers.SeparableConv2D(5, 3, use_bias=False), layers.BatchNormalization())
    assert kinds(fold(model)) == ["DepthwiseConv2D", "Conv2D"]
    assert_same(model, fold(model))


def test_a_layer_scale_folds_into_the_layer_before_it():
    assert kinds(fold(APPLICATIONS["convnext"]())) == [
        *("Conv2D", "DepthwiseConv2D", "LayerNormalization", "Conv2D", "Conv2D", "Dense"),
    ]


def test_a_shared_layer_stays_one_layer():
    shared = layers.SeparableConv2D(3, 3, padding="same")
    image = keras.Input(SHAPE)
    model = randomized(keras.Model(image, shared(shared(image))))
    assert kinds(rewritten(model)) == ["DepthwiseConv2D", "Conv2D"]
    assert_same(model, rewritten(model))


def test_a_name_that_is_taken_gets_a_number():
    model = chain(
        layers.SeparableConv2D(3, 3, name="conv"), layers.Conv2D(3, 3, name="conv_pointwise")
    )
    names = [layer.name for layer in rewritten(model).layers[1:]]
    assert names == ["conv_depthwise", "conv_pointwise_2", "conv_pointwise"]


def test_a_subclass_may_compute_anything_and_stays():
    class Own(layers.SeparableConv2D):
        def call(self, inputs):
            return 2 * super().call(inputs)

    model = chain(Own(4, 3))
    assert kinds(rewritten(model)) == ["Own"]
    assert_same(model, rewritten(model))


def test_the_users_model_is_not_changed():
    model = randomized(APPLICATIONS["convnext"]())
    before = [weights.copy() for weights in model.get_weights()]
    names = [layer.name for layer in model.layers]
    fold(model)
    assert names == [layer.name for layer in model.layers]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_adapted_normalisation_keeps_what_it_was_adapted_to():
    adapted = layers.Normalization()
    adapted.adapt(3 + 5 * images(16))
    model = keras.Sequential([keras.Input(SHAPE), adapted, layers.Conv2D(2, 3)])
    assert_same(model, fold(model))


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"strides": 2, "output_padding": 1}),
        (2, {"strides": 3}),
        (1, {"strides": 2, "padding": "same", "output_padding": 1}),
        ((1, 3), {"strides": 2, "padding": "same", "output_padding": 1}),
        ((3, 2), {"strides": (2, 1), "output_padding": (1, 0), "use_bias": False}),
        (3, {"dilation_rate": 2, "padding": "same", "activation": "relu"}),
    ],
)
def test_a_transposed_convolution_never_leaves_gaps_and_is_not_dilated(kernel, options):
    model = chain(layers.Conv2DTranspose(4, kernel, name="up", **options))
    other = rewritten(model)
    (layer,) = [layer for layer in other.layers if layer.weights]
    assert (layer.name, layer.dilation_rate, layer.padding) == ("up", (1, 1), "valid")
    assert other.output_shape == model.output_shape
    assert_same(model, other)


@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"output_padding": 0}])
def test_a_transposed_convolution_that_engines_know_stays(options):
    model = chain(layers.Conv2DTranspose(4, 3, strides=2, **options))
    assert rewritten(model).layers[1].get_config() == flatten(model).layers[1].get_config()


adaptive = pytest.mark.skipif(
    not hasattr(layers, "AdaptiveAveragePooling2D"), reason="Keras has it from 3.13 on"
)


@adaptive
@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("AdaptiveAveragePooling2D", (4, 6), "AveragePooling2D"),
        ("AdaptiveAveragePooling2D", 1, "AveragePooling2D"),
        ("AdaptiveMaxPooling2D", 3, "MaxPooling2D"),
        ("AdaptiveMaxPooling2D", 5, "AdaptiveMaxPooling2D"),
    ],
)
def test_adaptive_pooling_to_windows_of_equal_size_is_pooling(name, size, kind):
    model = chain(layers.Conv2D(3, 1), getattr(layers, name)(size, name="pool"), layers.Flatten())
    assert type(rewritten(model).get_layer("pool")).__name__ == kind
    assert_same(model, rewritten(model))


@adaptive
def test_averages_over_windows_of_unequal_size_are_refused_by_name():
    model = chain(layers.Conv2D(3, 1), layers.AdaptiveAveragePooling2D(5, name="pool"))
    with pytest.raises(ModelError, match=r"'pool' averages \(12, 12\) places to \(5, 5\)"):
        rewritten(model)


@adaptive
def test_adaptive_pooling_that_is_shared_by_two_sizes_keeps_both():
    image = keras.Input(SHAPE, name="image")
    pool = layers.AdaptiveMaxPooling2D(3)
    x = layers.Add()([pool(image), pool(layers.Cropping2D(3)(image))])
    model = keras.Model(image, x)
    assert_same(model, rewritten(model))
