from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from keras.initializers import Constant

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet, Split
from stages.errors import ModelError
from stages.settings import Training
from stages.training import evaluate, standard_head
from stages.training.fit import TrainingRun, fit

MEAN, SPREAD = np.float32([40, -3]), np.float32([12, 0.5])


def test_the_last_layer_answers_in_the_unit_of_the_targets() -> None:
    image = keras.Input((5,))
    model = keras.Model(image, layers.Dense(2)(layers.Dense(4, activation="relu")(image)))
    inputs = np.random.default_rng(0).normal(0, 1, (6, 5)).astype(np.float32)
    standard = np.asarray(model(inputs))
    standard_head.fold(model, MEAN, SPREAD)
    np.testing.assert_allclose(model(inputs), standard * SPREAD + MEAN, rtol=1e-5)


def test_what_is_unfolded_and_folded_is_what_it_was() -> None:
    image = keras.Input((5, 1, 4))
    x = layers.Conv2D(2, 1)(layers.GlobalAveragePooling2D(keepdims=True)(image))
    model = keras.Model(image, layers.Activation("linear")(layers.Reshape((2,))(x)))
    inputs = np.random.default_rng(0).normal(0, 1, (6, 5, 1, 4)).astype(np.float32)
    before = np.asarray(model(inputs))
    standard_head.unfold(model, MEAN, SPREAD)
    np.testing.assert_allclose(model(inputs), (before - MEAN) / SPREAD, rtol=1e-4, atol=1e-4)
    standard_head.fold(model, MEAN, SPREAD)
    np.testing.assert_allclose(model(inputs), before, rtol=1e-4, atol=1e-4)


class Normed(layers.Dense):
    """Computes with columns of length 1."""

    def call(self, inputs: object, training: bool | None = None) -> object:
        length = keras.ops.norm(self.kernel, axis=0, keepdims=True)
        return keras.ops.matmul(inputs, self.kernel / length) + self.bias


def test_a_head_of_another_kind_or_that_is_called_twice_is_not_scaled() -> None:
    image = keras.Input((2,))
    twice = layers.Dense(2)
    for answers in (Normed(2)(image), twice(twice(image))):
        assert standard_head.find(keras.Model(image, answers)) is None
    assert standard_head.find(keras.Model(image, layers.Dense(2)(image))) is not None


def score_of_a_fine_tune(spread: float) -> float:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (128, 4, 4, 1), np.uint8)
    values = (images.mean(axis=(1, 2)) - 127).astype(np.float32) * np.float32(spread / 18)
    part = Split(images, values + np.float32(3 * spread))
    data = DataSet("numbers", part, part, part, part, ("n",), "regression")
    signature = Signature(
        (4, 4, 1), ("n",), 1 / 255, 0.0, output="values", task="regression", output_shape=(1,)
    )
    image = keras.Input((4, 4, 1))
    head = layers.Dense(1, kernel_initializer="zeros", bias_initializer=Constant(3 * spread))
    model = keras.Model(image, head(layers.Flatten()(image)))
    training = Training(epochs=6, batch_size=16, learning_rate=3e-2)
    fit(model, TrainingRun(data, signature, training, "prune"))
    return evaluate.metric(model, part, signature)


def test_a_fine_tune_learns_numbers_of_any_unit_alike() -> None:
    score = score_of_a_fine_tune(1.0)
    assert score > 0.1
    assert score_of_a_fine_tune(1e-4) == pytest.approx(score, abs=1e-3)
    assert score_of_a_fine_tune(1e4) == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize(
    "head", [layers.Dense(2, activation="relu"), layers.Dense(2, use_bias=False), layers.ReLU()]
)
def test_another_last_layer_is_refused_by_name(head: layers.Layer) -> None:
    image = keras.Input((2,))
    with pytest.raises(ModelError, match=f"ends in '{head.name}', expected a linear Dense"):
        standard_head.fold(keras.Model(image, head(image)), MEAN, SPREAD)
