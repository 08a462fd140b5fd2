from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from stages.training.fit import Teacher
from stages.training.losses import Question, standard

RNG = np.random.default_rng(0)
N = 8
LOGITS = RNG.normal(0, 2, (N, 3)).astype(np.float32)
YES = RNG.integers(0, 2, (N, 3)).astype(np.uint8)
MASKS = RNG.integers(0, 3, (N, 4, 4)).astype(np.uint8)
PIXELS = RNG.normal(0, 2, (N, 4, 4, 3)).astype(np.float32)
VALUES = RNG.normal(40, 12, (N, 2)).astype(np.float32)
MEAN, SPREAD = np.float32([40, 30]), np.float32([12, 5])


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("from_logits", [True, False])
def test_labels_are_learned_by_cross_entropy_each(from_logits: bool) -> None:
    question = Question("multilabel", 3, from_logits)
    outputs = LOGITS if from_logits else sigmoid(LOGITS).astype(np.float32)
    targets = question.targets(tf.constant(YES), 0.0)
    shares = sigmoid(LOGITS)
    expected = -(YES * np.log(shares) + (1 - YES) * np.log(1 - shares)).mean(axis=1)
    np.testing.assert_allclose(question.losses(targets, outputs), expected, rtol=1e-4)
    hits = float(question.hits(targets, outputs))
    assert hits == pytest.approx(((LOGITS >= 0) == YES).mean(axis=1).sum())


def test_a_yes_or_no_is_one_of_those_labels() -> None:
    question, labels = Question("binary", 1, True), YES[:, 0].astype(np.int64)
    targets = question.targets(tf.constant(labels), 0.2)
    assert targets.shape == (N, 1)
    assert np.unique(targets) == pytest.approx([0.1, 0.9])
    hard = question.targets(tf.constant(labels), 0.0)
    found = question.losses(hard, LOGITS[:, :1])
    expected = log_loss(labels, sigmoid(LOGITS[:, 0]))
    assert float(tf.reduce_mean(found)) == pytest.approx(expected, rel=1e-5)
    assert question.classes(hard).numpy().tolist() == labels.tolist()


def test_a_target_of_one_value_is_not_divided_by_a_deviation_of_0() -> None:
    mean, spread = standard(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
    np.testing.assert_array_equal(mean, [2.0, 5.0])
    np.testing.assert_array_equal(spread, [1.0, 1.0])


def test_numbers_are_learned_in_standard_deviations() -> None:
    question = Question("regression", 2, True, MEAN, SPREAD)
    outputs = VALUES + RNG.normal(0, 4, VALUES.shape).astype(np.float32)
    targets = question.targets(tf.constant(VALUES), 0.1)
    np.testing.assert_allclose(targets, (VALUES - MEAN) / SPREAD, rtol=1e-5)
    expected = (((outputs - VALUES) / SPREAD) ** 2).mean(axis=1)
    np.testing.assert_allclose(question.losses(targets, outputs), expected, rtol=1e-3)
    assert float(question.hits(targets, outputs)) == pytest.approx(N - expected.sum(), rel=1e-3)
    scaled_question = Question("regression", 2, True, MEAN, SPREAD, is_standard=True)
    scaled = (outputs - MEAN) / SPREAD
    np.testing.assert_allclose(scaled_question.losses(targets, scaled), expected, rtol=1e-3)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_pixels_that_are_not_judged_teach_nothing(smoothing: float) -> None:
    question = Question("segmentation", 3, True)
    masks = MASKS.copy()
    masks[:, 0] = 255
    targets = question.targets(tf.constant(masks), smoothing)
    with tf.GradientTape() as tape:
        outputs = tf.Variable(PIXELS)
        losses = question.of_image(targets, question.losses(targets, outputs))
    assert not np.asarray(tape.gradient(losses, outputs))[:, 0].any()
    one_hot = np.eye(3)[masks[:, 1:]] * (1 - smoothing) + smoothing / 3
    expected = -(one_hot * np.log(softmax(PIXELS[:, 1:]))).sum(axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    right = (PIXELS.argmax(axis=-1) == masks)[:, 1:].mean(axis=(1, 2)).sum()
    assert float(question.hits(targets, PIXELS)) == pytest.approx(right)


def test_one_channel_of_a_mask_leaves_them_out_as_well() -> None:
    question = Question("segmentation", 1, True)
    masks = (MASKS == 1).astype(np.uint8)
    masks[:, 0] = 255
    targets = question.targets(tf.constant(masks), 0.0)
    losses = question.of_image(targets, question.losses(targets, PIXELS[..., :1]))
    shares, yes = sigmoid(PIXELS[:, 1:, :, 0]), masks[:, 1:]
    expected = -(yes * np.log(shares) + (1 - yes) * np.log(1 - shares)).mean(axis=(1, 2))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("question", "labels", "shape"),
    [
        (Question("binary", 1, True), YES[:, 0], (1,)),
        (Question("multilabel", 3, True), YES, (3,)),
        (Question("regression", 2, True, MEAN, SPREAD), VALUES, (2,)),
        (Question("segmentation", 3, True), MASKS, (4, 4, 3)),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it(
    question: Question, labels: np.ndarray, shape: tuple[int, ...], temperature: float
) -> None:
    image = keras.Input((5,))
    model = keras.Model(
        image, keras.layers.Reshape(shape)(keras.layers.Dense(math.prod(shape))(image))
    )
    images = tf.constant(RNG.normal(0, 1, (N, 5)), tf.float32)
    outputs = tf.Variable(model(images))
    targets = question.targets(tf.constant(labels), 0.0)
    with tf.GradientTape() as tape:
        losses = Teacher(model, 1.0, temperature).losses(question, model(images), targets, outputs)
        total = tf.reduce_sum(question.of_image(targets, losses))
    np.testing.assert_allclose(tape.gradient(total, outputs), 0.0, atol=1e-5)
