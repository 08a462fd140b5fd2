from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.ranges import Range
from stages.keras_graph import zeros
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.settings import Training
from stages.training.fit import TrainingRun, fit
from tests.stages.conftest import DIGITS


@pytest.fixture(scope="module")
def few(digits):
    """Some digits to train on: enough to move every weight."""
    return dataclasses.replace(digits, train=digits.train.take(np.arange(256)))


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input(DIGITS.input_shape, name="image")
    x = layers.Conv2D(8, 5, strides=3, use_bias=False, name="conv")(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(10, name="logits")(x))


def with_zeros(model: keras.Model) -> dict[str, np.ndarray]:
    """Zero a third of two kernels; returns where they are not zero."""
    rng = np.random.default_rng(0)
    masks = {}
    for name in ("conv", "hidden"):
        kernel = kernel_of(model.get_layer(name))
        masks[name] = rng.random(kernel.shape) > 0.33
        kernel.assign(kernel.numpy() * masks[name])
    return masks


def moved(before: keras.Model, after: keras.Model, name: str) -> np.ndarray:
    return kernel_of(after.get_layer(name)).numpy() != kernel_of(before.get_layer(name)).numpy()


def test_a_constraint_of_the_users_holds_beside_the_zeros(few):
    image = keras.Input(DIGITS.input_shape, name="image")
    dense = layers.Dense(10, kernel_constraint="non_neg", name="logits")
    model = keras.Model(image, dense(layers.Flatten()(image)))
    kernel = np.abs(dense.kernel.numpy())
    kernel[:300] = 0
    dense.kernel.assign(kernel)
    zeros.freeze_zeros(model)
    fit(model, TrainingRun(few, DIGITS, Training(epochs=1, batch_size=64), "prune"))
    trained = dense.kernel.numpy()
    assert trained.min() == 0
    assert not trained[:300].any()
    assert (trained != kernel).any()


def test_training_moves_all_weights_but_those_that_are_zero(few):
    model = network()
    masks = with_zeros(model)
    before = keras.models.clone_model(model)
    before.set_weights(model.get_weights())
    zeros.freeze_zeros(model)
    fit(model, TrainingRun(few, DIGITS, Training(epochs=1, batch_size=64), "prune"))
    for name, mask in masks.items():
        assert not moved(before, model, name)[~mask].any()
        # The edge of a digit is black: some weights of the first Dense layer see nothing.
        assert moved(before, model, name)[mask].mean() > 0.8
    assert moved(before, model, "logits").mean() > 0.8


def test_quantization_aware_training_of_the_folded_model_keeps_the_zeros(few):
    model = network()
    masks = with_zeros(model)
    folded = fold(model)
    placed = points(folded, DIGITS)
    ranges = {name: Range(-4.0 if point.signed else 0.0, 4.0) for name, point in placed.items()}
    simulated = simulate(folded, placed, ranges)
    zeros.freeze_zeros(simulated)
    fit(simulated, TrainingRun(few, DIGITS, Training(epochs=1, batch_size=64), "quantize"))
    for name, mask in masks.items():
        assert ((kernel_of(folded.get_layer(name)).numpy() != 0) <= mask).all()


def test_biases_and_kernels_without_zeros_are_free():
    model = network()
    zeros.freeze_zeros(model)
    assert [variable.constraint for variable in model.trainable_variables] == [None] * 7
