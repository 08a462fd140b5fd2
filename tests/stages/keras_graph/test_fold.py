from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.keras_graph.fold import TRAINING_ONLY, flatten, fold, without_dropout
from stages.keras_graph.kernels import WEIGHTED
from tests.stages.networks import NETWORKS, SHAPE, UNUSUAL, images, randomized


@pytest.mark.parametrize("name", [*NETWORKS, *UNUSUAL])
def test_flattening_and_folding_change_no_output(name):
    model, batch = randomized((NETWORKS | UNUSUAL)[name]()), images(8)
    # Said, for augmentation acts by default.
    expected = model(batch, training=False).numpy()
    assert np.allclose(flatten(model)(batch, training=False), expected, atol=1e-6)
    assert np.allclose(fold(model)(batch), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_model_is_flat_linear_and_without_normalisation(name):
    folded = fold(randomized(NETWORKS[name]()))
    for layer in folded.layers:
        assert not isinstance(layer, (keras.Model, layers.BatchNormalization, layers.Dropout))
        if isinstance(layer, WEIGHTED):
            assert layer.use_bias
            assert layer.activation is keras.activations.linear


@pytest.mark.parametrize("idle", [lambda: layers.Activation("linear"), layers.Identity])
def test_what_returns_its_input_is_gone(idle):
    image = keras.Input(SHAPE)
    x = idle()(layers.Conv2D(4, 3)(image))
    model = randomized(keras.Model(image, [idle()(layers.Dense(2)(layers.Flatten()(x))), x]))
    folded = fold(model)
    assert not any(isinstance(each, (layers.Activation, layers.Identity)) for each in folded.layers)
    for got, expected in zip(folded(images(2)), model(images(2)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_users_model_is_never_changed():
    model, batch = randomized(NETWORKS["nested"]()), images(2)
    before, weights = model(batch).numpy(), [w.copy() for w in model.get_weights()]
    folded = fold(model)
    folded.set_weights([w * 0 for w in folded.get_weights()])
    assert np.array_equal(model(batch), before)
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), weights, strict=True))


def test_normalisation_that_follows_no_weighted_layer_stays():
    image = keras.Input(SHAPE)
    x = layers.BatchNormalization()(image)
    model = randomized(keras.Model(image, layers.Conv2D(4, 3, activation="relu")(x)))
    kept = [x for x in fold(model).layers if isinstance(x, layers.BatchNormalization)]
    assert len(kept) == 1
    assert np.allclose(fold(model)(images(2)), model(images(2)), atol=1e-5)


def test_every_layer_of_a_folded_model_has_one_input_and_one_output():
    image = keras.Input(SHAPE)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, activation="relu")(image))
    folded = fold(keras.Model(image, x))
    assert folded.get_layer("norm").output is folded.output


def test_a_convolution_with_two_readers_keeps_its_own_output():
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3)(image)
    model = keras.Model(image, layers.Add()([x, layers.BatchNormalization()(x)]))
    assert np.allclose(fold(randomized(model))(images(2)), model(images(2)), atol=1e-5)


def test_every_kind_of_weighted_layer_takes_its_normalisation():
    image = keras.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2DTranspose(4, 3, strides=2)(image))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, depth_multiplier=2)(x))
    x = layers.BatchNormalization()(layers.Dense(5)(layers.Flatten()(x)))
    model = randomized(keras.Model(image, x))
    folded = fold(model)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
    expected = model(images(3)).numpy()
    assert np.allclose(folded(images(3)), expected, atol=1e-5 * np.abs(expected).max())


def test_layers_that_only_act_in_training_are_gone_whatever_they_augment():
    randoms = [getattr(layers, name) for name in dir(layers) if name.startswith("Random")]
    assert set(randoms) <= set(TRAINING_ONLY)
    augmented = [
        layers.RandomFlip(),
        layers.RandomZoom(0.2),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomBrightness(0.1, value_range=(0, 1)),
        layers.RandAugment(value_range=(0, 1)),
    ]
    model = keras.Sequential([keras.Input(SHAPE), *augmented, layers.Conv2D(4, 3)])
    folded = fold(model)
    assert [type(layer) for layer in folded.layers] == [layers.InputLayer, layers.Conv2D]
    assert np.allclose(folded(images(3)), model(images(3), training=False), atol=1e-6)


def test_a_constraint_stays_where_the_folded_kernel_obeys_it():
    """Another would cut it down to it in the first step of a training."""
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, kernel_constraint="non_neg", name="turned")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(4, 3, kernel_constraint="non_neg", name="kept")(x)
    model = randomized(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    for name in ("turned", "kept"):
        model.get_layer(name).kernel.assign(np.abs(model.get_layer(name).kernel.numpy()))
    model.get_layer("norm").gamma.assign([-1.0, 1.0, 2.0, -2.0])
    folded = fold(model)
    assert folded.get_layer("turned").kernel.constraint is None
    assert folded.get_layer("kept").kernel.constraint is not None


class Standardised(layers.Conv2D):
    """A convolution that computes with a kernel of mean 0 and deviation 1."""

    def convolution_op(self, inputs, kernel):
        axes = (0, 1, 2)
        kernel = kernel - keras.ops.mean(kernel, axes, keepdims=True)
        return super().convolution_op(inputs, kernel / keras.ops.std(kernel, axes, keepdims=True))


class Gated(layers.Dense):
    def call(self, inputs, training=None):
        return inputs[..., : self.units] * super().call(inputs)


class Doubling(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training)


class Halving(layers.Dropout):
    def call(self, inputs, training=False):
        return inputs if training else inputs / 2


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(4, 3, activation=layers.PReLU("uniform", shared_axes=(1, 2))),
        layers.SeparableConv2D(4, 3, activation=layers.PReLU("random_normal")),
        layers.DepthwiseConv2D(3, activation=layers.PReLU("random_normal")),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_an_activation_with_weights_keeps_them(layer):
    model = keras.Sequential([keras.Input(SHAPE), layer, layers.Flatten(), layers.Dense(3)])
    expected = model(images(4))  # the first call makes the weights of the activation
    assert np.allclose(fold(model)(images(4)), expected, atol=1e-4)


def test_without_dropout_a_network_is_its_own_but_for_that():
    image = keras.Input(SHAPE)
    x = layers.SpatialDropout2D(0.5)(layers.Conv2D(4, 3)(image))
    x = layers.Dropout(0.5, noise_shape=(None, 1))(layers.Flatten()(x))
    flat = flatten(keras.Model(image, layers.Dense(3)(layers.AlphaDropout(0.5)(x))))
    found = without_dropout(flat)
    assert [type(each).__name__ for each in found.layers[1:]] == ["Conv2D", "Flatten", "Dense"]
    assert np.array_equal(found(images(3), training=True), flat(images(3), training=False))
    assert without_dropout(found) is found


def test_a_dropout_that_computes_in_a_way_of_its_own_stays():
    flat = flatten(keras.Sequential([keras.Input(SHAPE), Halving(0.5), layers.Dropout(0.5)]))
    assert [type(each).__name__ for each in without_dropout(flat).layers[1:]] == ["Halving"]


class PowerMean(layers.GlobalAveragePooling2D):
    def call(self, inputs):
        return super().call(inputs**2) ** 0.5


def of_own_layers() -> dict[str, list[layers.Layer]]:
    conv, norm = layers.Conv2D(3, 3), layers.BatchNormalization()
    return {
        "kernel": [Standardised(3, 3, use_bias=False), norm],
        "gate": [Gated(2, activation="sigmoid")],
        "normalisation": [conv, Doubling(), layers.ReLU()],
        "dropout": [conv, Halving(0.5)],
        "pooling": [conv, layers.ReLU(), norm, PowerMean(), layers.Dense(3)],
    }


@pytest.mark.parametrize("name", of_own_layers())
def test_a_subclass_that_computes_something_else_is_left_as_it_is(name):
    first, last = [keras.Input(SHAPE)], [layers.Flatten(), layers.Dense(4)]
    model = randomized(keras.Sequential([*first, *of_own_layers()[name], *last]))
    assert np.allclose(fold(model)(images(8)), model(images(8)), atol=1e-4)


def test_a_subclass_that_only_has_another_constructor_is_folded():
    class Narrow(layers.Conv2D):
        def __init__(self, filters=4, kernel_size=3, **options):
            super().__init__(filters, kernel_size, **options)

    model = keras.Sequential([keras.Input(SHAPE), Narrow(), layers.BatchNormalization()])
    assert [type(layer).__name__ for layer in fold(randomized(model)).layers[1:]] == ["Narrow"]
