from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages.datasets.base import DataSet
from stages.settings import Data, Training
from stages.training import answers
from stages.training.feed import batches
from stages.training.fit import Teacher, TrainingRun, fit
from tests.stages.conftest import DIGITS

STILL = Data(shift_pixels=0)


def network(filters: int) -> keras.Model:
    image = keras.Input(DIGITS.input_shape)
    x = layers.Conv2D(filters, 3, strides=2, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))


def test_the_answers_go_with_their_images_in_every_epoch(digits: DataSet) -> None:
    teacher, training = network(4), Training(batch_size=64, epochs=2)
    known = answers.known(teacher, digits, DIGITS, training, STILL)
    assert known is not None
    assert known.shape == (len(digits.train), 10)
    fed = batches(digits, DIGITS, training, STILL, range(2), answers=known)
    seen = 0
    for images, _, given in fed:
        expected = np.asarray(teacher(images, training=False))
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)
        seen += len(images)
    assert seen == 2 * len(digits.train)


def test_a_fine_tune_ends_with_the_same_weights_as_if_the_teacher_were_asked_every_time(
    digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(1)
    teacher = network(4)

    def taught() -> list[Any]:
        keras.utils.set_random_seed(0)
        student = network(2)
        training = Training(epochs=2, batch_size=32, learning_rate=3e-3)
        lesson = TrainingRun(digits, DIGITS, training, "prune", STILL, Teacher(teacher, 0.5))
        fit(student, lesson)
        weights: list[Any] = student.get_weights()
        return weights

    known = taught()
    monkeypatch.setattr(answers, "MOST_MIB", 0)
    for one, other in zip(known, taught(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("data", "epochs", "limit"),
    [
        (Data(shift_pixels=1), 2, 512),
        (Data(shift_pixels=0, flip=True), 2, 512),
        (STILL, 1, 512),
        (STILL, 2, 0),
    ],
)
def test_images_that_differ_or_come_once_and_too_many_answers_are_not_kept(
    digits: DataSet, data: Data, epochs: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_MIB", limit)
    assert answers.known(network(2), digits, DIGITS, Training(epochs=epochs), data) is None
