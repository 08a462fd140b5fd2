from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.datasets.base import DataSet
from stages.keras_graph.fold import flatten
from stages.models import resnet
from stages.pruning.criteria import layer_scores
from stages.pruning.structured import narrow, prunable, widths_for
from stages.settings import Data, Training
from stages.training.fit import Teacher, TrainingRun, fit
from stages.training.imitation import Imitation, distance
from tests.stages.conftest import DIGITS


def halved(model: keras.Model) -> keras.Model:
    flat = flatten(model)
    return narrow(flat, widths_for(prunable(flat, (), 1), 0.5), layer_scores(flat, "l2", []))


def teacher() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input(DIGITS.input_shape, name="image")
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="wide")(image)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="narrow")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(layers.Flatten()(x)))


def test_the_distance_of_two_maps_is_that_of_the_paper() -> None:
    random = np.random.default_rng(0)
    one, other = (random.normal(size=(3, 4, 5, c)).astype(np.float32) for c in (6, 2))
    maps = [np.sum(each.astype(np.float64) ** 2, axis=-1).reshape(3, -1) for each in (one, other)]
    q_s, q_t = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in maps)
    expected = np.linalg.norm(q_s - q_t, axis=1) ** 2
    np.testing.assert_allclose(distance(one, other), expected, rtol=1e-5)
    np.testing.assert_allclose(distance(one, 3 * one), 0, atol=1e-6)


def test_the_maps_are_those_at_the_end_of_each_stage() -> None:
    trained = resnet.build(8, (16, 16, 3), 10)
    student = halved(trained)
    found = Imitation.of(student, trained, 2.0)
    assert found is not None
    assert [each.shape[1:3] for each in found.student.outputs[1:]] == [(16, 16), (8, 8), (4, 4)]
    ends = [each.shape for each in found.teacher.outputs[1:]]
    assert ends == [(None, 16, 16, 16), (None, 8, 8, 32), (None, 4, 4, 64)]
    last = {tensor._keras_history.operation.name for tensor in found.student.outputs[1:]}
    assert last == {"block1_relu", "block2_relu", "block3_relu"}
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    outputs, answers, apart = found.run(images)
    np.testing.assert_allclose(answers, trained(images, training=False), atol=1e-5)
    np.testing.assert_allclose(outputs, student(images, training=True), atol=1e-5)
    pairs = zip(found.student(images, training=True)[1:], found.teacher(images)[1:], strict=True)
    np.testing.assert_allclose(apart, 2 * np.mean([distance(*pair) for pair in pairs], axis=0))


def test_a_student_comes_to_look_where_its_teacher_looks(digits: DataSet) -> None:
    trained = teacher()
    far = {}
    for weight in (0.0, 30.0):
        student = halved(trained)
        run = Training(epochs=2, batch_size=32, learning_rate=3e-3)
        lesson = Teacher(trained, 0.5, map_weight=weight)
        fit(student, TrainingRun(digits, DIGITS, run, "prune", Data(shift_pixels=0), lesson))
        both = Imitation.of(student, trained, 1.0)
        assert both is not None
        images = DIGITS.preprocess(digits.test.images[:100])
        far[weight] = float(np.mean(both.run(images)[2]))
    assert far[30.0] < 0.5 * far[0.0]


def test_networks_without_a_layer_in_common_have_nothing_to_imitate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = keras.Input(DIGITS.input_shape)
    x = layers.Conv2D(4, 3, name="another")(image)
    student = keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))
    assert Imitation.of(student, teacher(), 1.0) is None
    assert "no activations of the pruned network" in caplog.text
