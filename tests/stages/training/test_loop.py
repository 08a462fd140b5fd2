"""The step against arithmetic of its own: what a batch does to the weights."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from stages.datasets.base import DataSet, Split
from stages.models import files
from stages.settings import Training
from stages.training import balance
from stages.training.fit import TrainingRun, fit
from tests.stages.conftest import DIGITS

PLAIN = {
    "epochs": 1,
    "batch_size": 8,
    "optimizer": "sgd",
    "momentum": 0.0,
    "learning_rate": 0.5,
    "schedule": "constant",
    "warmup_share": 0.0,
    "label_smoothing": 0.0,
}


@pytest.fixture
def few(digits: DataSet) -> DataSet:
    """Sixteen images to train on, not equally many of each class."""
    train = Split(digits.train.images[:16], digits.train.labels[:16])
    return dataclasses.replace(digits, train=train)


def linear() -> keras.Model:
    keras.utils.set_random_seed(5)
    image = keras.Input((28, 28, 1))
    outputs = keras.layers.Dense(10)(keras.layers.Flatten()(image))
    return keras.Model(image, outputs)


def after(few: DataSet, precision: str = "float32", **options: object) -> list[np.ndarray]:
    model = linear()
    training = Training(**{**PLAIN, **options})
    fit(model, TrainingRun(few, DIGITS, training, "train", precision=precision))
    weights: list[np.ndarray] = model.get_weights()
    return weights


def gradient(few: DataSet, weights: np.ndarray) -> list[np.ndarray]:
    """Of the mean cross-entropy, times `weights` (N,), for the first weights: in float64."""
    kernel, bias = (each.astype(np.float64) for each in linear().get_weights())
    x = DIGITS.preprocess(few.train.images).reshape(16, -1).astype(np.float64)
    logits = x @ kernel + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    slope = (shares - np.eye(10)[few.train.labels]) * weights[:, None] / 16
    return [x.T @ slope, slope.sum(axis=0)]


def check(found: list[np.ndarray], slopes: list[np.ndarray], rate: float = 0.5) -> None:
    for new, old, slope in zip(found, linear().get_weights(), slopes, strict=True):
        assert np.allclose(new, old - rate * slope, atol=1e-5)


def test_a_step_follows_the_gradient_of_the_mean_loss(few):
    check(after(few, batch_size=16), gradient(few, np.ones(16)))


def test_accumulated_batches_make_the_step_of_one_large_batch(few):
    check(after(few, accumulate_batches=2), gradient(few, np.ones(16)))
    check(after(few, batch_size=6, accumulate_batches=5), gradient(few, np.ones(16)))


def test_gradients_are_shortened_together(few):
    slopes = gradient(few, np.ones(16))
    length = np.sqrt(sum(np.square(slope).sum() for slope in slopes))
    short = [slope * 0.01 / length for slope in slopes]
    assert length > 0.01
    check(after(few, batch_size=16, clip_norm=0.01), short)
    check(after(few, batch_size=16, clip_norm=100.0), slopes)


def test_balanced_classes_count_alike(few):
    counts = np.bincount(few.train.labels, minlength=10)
    weights = balance.weights(few, "balanced")
    assert weights[few.train.labels].sum() == pytest.approx(16 * np.count_nonzero(counts) / 10)
    assert (counts * weights)[counts > 0] == pytest.approx(1.6)
    check(
        after(few, batch_size=16, class_weights="balanced"),
        gradient(few, weights[few.train.labels]),
    )


def test_penalties_pull_at_kernels_only(few):
    kernel = linear().get_weights()[0]
    slopes = gradient(few, np.ones(16))
    slopes[0] = slopes[0] + 0.01 * np.sign(kernel) + 0.02 * 2 * kernel
    check(after(few, batch_size=16, l1=0.01, l2=0.02), slopes)


def test_a_compiled_step_is_the_same_step(few):
    check(after(few, batch_size=16, xla=True), gradient(few, np.ones(16)))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_and_leaves_a_float32_model(precision, digits, tmp_path):
    keras.utils.set_random_seed(1)
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 5, strides=3, activation="relu", name="conv")(image)
    SEEN.clear()
    x = Spy()(x)
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    training = Training(epochs=3, learning_rate=3e-3, clip_norm=10.0)
    trained = fit(model, TrainingRun(digits, DIGITS, training, "train", precision=precision))
    epochs = trained.history
    assert trained.precision == precision
    assert SEEN[-1] == precision
    assert epochs[-1].loss < epochs[0].loss < 2.4
    plain = keras.Model(image, model.get_layer("conv").output)
    files.save(plain, tmp_path / "model.keras")
    policies = [each.dtype_policy.name for each in files.load(tmp_path / "model.keras").layers]
    assert set(policies) == {"float32"}
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


SEEN: list[str] = []


class Spy(keras.layers.Layer):
    """Notes what dtype arrives."""

    def call(self, values):
        SEEN.append(keras.backend.standardize_dtype(values.dtype))
        return values


def test_a_training_that_gets_no_better_stops_and_keeps_its_best_epoch(digits):
    model = linear()
    training = Training(epochs=20, learning_rate=1.0, optimizer="sgd", patience=2)
    epochs = fit(model, TrainingRun(digits, DIGITS, training, "train")).history
    scores = [(epoch.val_accuracy, -epoch.val_loss) for epoch in epochs]
    best = scores.index(max(scores))
    assert len(epochs) == best + 3 < 20
    predicted = model(DIGITS.preprocess(digits.validation.images)).numpy().argmax(axis=1)
    assert epochs[best].val_accuracy == pytest.approx(
        np.mean(predicted == digits.validation.labels)
    )
