from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.errors import ModelError
from stages.settings import Data, Training
from stages.training.fit import Teacher, TrainingRun, batches, fit
from stages.training.losses import Question
from tests.stages.conftest import DIGITS


def training(epochs: int) -> Training:
    return Training(epochs=epochs, learning_rate=3e-3)


def small(activation: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Flatten()(layers.Conv2D(4, 5, strides=3, activation="relu")(image))
    return keras.Model(image, layers.Dense(10, activation=activation)(x))


def test_training_learns_real_digits_and_is_the_same_for_the_same_seed(digits):
    first, second = small(), small()
    for model in (first, second):
        fit(model, TrainingRun(digits, DIGITS, training(6), "train"))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)
    images = DIGITS.preprocess(digits.validation.images)
    correct = first(images).numpy().argmax(axis=1) == digits.validation.labels
    assert correct.mean() > 0.7


def test_no_epochs_leave_the_model_as_it_is(digits):
    model = small()
    before = model.get_weights()
    fit(model, TrainingRun(digits, DIGITS, training(0), "train"))
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), before, strict=True))


def test_a_loss_that_is_no_number_stops_the_training_with_what_to_change(digits):
    model = small()
    model.layers[-1].bias.assign(np.full(10, np.nan, np.float32))
    with pytest.raises(ModelError, match="train: the loss is nan in epoch 1") as caught:
        fit(model, TrainingRun(digits, DIGITS, training(1), "train"))
    assert caught.value.hint == "lower train.learning_rate"


def test_batches_are_preprocessed_images_with_smoothed_labels(digits):
    images, labels = next(iter(batches(digits, DIGITS, Training(batch_size=32))))
    assert (images.shape, labels.shape) == ((32, 28, 28, 1), (32, 10))
    assert 0 <= float(images.numpy().min()) <= float(images.numpy().max()) <= 1
    assert np.allclose(labels.numpy().sum(axis=1), 1.0)
    assert np.allclose(labels.numpy().max(axis=1), 0.91)


def test_every_training_image_is_seen_once_an_epoch_and_shuffled_by_seed(digits):
    def epoch(seed: int) -> np.ndarray:
        return np.concatenate([x.numpy() for x, _ in batches(digits, DIGITS, Training(seed=seed))])

    seen = np.sort(epoch(0).sum(axis=(1, 2, 3)))
    expected = np.sort(DIGITS.preprocess(digits.train.images).sum(axis=(1, 2, 3)))
    assert np.allclose(seen, expected, rtol=1e-4)
    assert np.array_equal(epoch(0), epoch(0))
    assert not np.array_equal(epoch(0), epoch(1))


def test_shifted_images_are_whole_pixel_moves_of_the_originals(digits):
    originals = DIGITS.preprocess(digits.train.images)
    centre = {image[1:-1, 1:-1].tobytes() for image in originals}
    moved = 0
    for images, _ in batches(digits, DIGITS, Training(), Data(shift_pixels=1)).take(4):
        for image in images.numpy():
            shifts = [image[y : y + 26, x : x + 26] for y in range(3) for x in range(3)]
            found = [shift.tobytes() in centre for shift in shifts]
            assert any(found)
            moved += not found[4]
    assert moved > 100


def test_a_teacher_has_its_share_in_the_targets(digits):
    model = small()
    images, targets = next(iter(batches(digits, DIGITS, Training())))
    logits = model(images).numpy().astype(np.float64)
    answers = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    mixed = Teacher(model, 0.25).mix(Question("classification", 10, True), model(images), targets)
    assert np.allclose(mixed, 0.75 * targets.numpy() + 0.25 * answers, atol=1e-5)


def test_a_teacher_that_returns_probabilities_is_taken_at_its_word(digits):
    model = small("softmax")
    images, targets = next(iter(batches(digits, DIGITS, Training())))
    taught = Teacher(model, 1.0).mix(Question("classification", 10, False), model(images), targets)
    assert np.allclose(taught, model(images), atol=1e-5)


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_with_a_teacher_is_that_of_hinton(digits, activation, temperature):
    teacher, student = small(activation), small(activation)
    student.layers[-1].kernel.assign(-student.layers[-1].kernel)
    images, targets = next(iter(batches(digits, DIGITS, Training())))
    heads = [keras.Model(model.inputs, model.layers[-1].input) for model in (teacher, student)]
    taught, logits = (
        np.asarray(head(images), np.float64) @ model.layers[-1].kernel.numpy()
        + model.layers[-1].bias.numpy()
        for head, model in zip(heads, (teacher, student), strict=True)
    )

    def log_softmax(values):
        return values - np.log(np.exp(values).sum(axis=1, keepdims=True))

    hard = -(targets.numpy() * log_softmax(logits)).sum(axis=1)
    answers = np.exp(log_softmax(taught / temperature))
    soft = -(answers * log_softmax(logits / temperature)).sum(axis=1)
    question = Question("classification", 10, from_logits=activation is None)
    lesson = Teacher(teacher, 0.25, temperature)
    found = lesson.losses(question, teacher(images), targets, student(images))
    assert np.allclose(found, 0.75 * hard + 0.25 * temperature**2 * soft, atol=1e-3)


def test_a_student_comes_to_answer_as_its_teacher(digits):
    teacher, student = small(), small()
    teacher.layers[-1].bias.assign(np.eye(10, dtype=np.float32)[3] * 9)
    only = Teacher(teacher, 1.0)
    fit(student, TrainingRun(digits, DIGITS, training(2), "prune", teacher=only))
    predicted = student(DIGITS.preprocess(digits.test.images)).numpy().argmax(axis=1)
    assert np.mean(predicted == 3) > 0.9


def test_what_comes_back_is_one_row_per_epoch(digits):
    model = small()
    found = fit(model, TrainingRun(digits, DIGITS, training(2), "train"))
    first, last = found.history
    assert [first.epoch, last.epoch] == [1, 2]
    assert last.loss < first.loss
    assert 0 < first.accuracy < last.accuracy < 1
    assert all(row.images_per_second > 0 and row.step_ms > 0 for row in (first, last))
    best = max((first, last), key=lambda row: (row.val_accuracy, -row.val_loss))
    predicted = model(DIGITS.preprocess(digits.validation.images)).numpy().argmax(axis=1)
    assert best.val_accuracy == pytest.approx(np.mean(predicted == digits.validation.labels))
    assert found.devices == ("cpu:0",)


def test_learning_curves_go_to_tensorboard(digits, tmp_path):
    logs = tmp_path / ".logs" / "train"
    for _ in range(2):  # the second replaces the first
        found = fit(small(), TrainingRun(digits, DIGITS, training(2), "train", logs=logs))
    reader = EventAccumulator(str(logs)).Reload()
    tensors = [event.tensor_proto for event in reader.Tensors("val_accuracy")]
    expected = [row.val_accuracy for row in found.history]
    assert [float(tf.make_ndarray(each)) for each in tensors] == pytest.approx(expected)
    assert len(reader.Tensors("images_per_second")) == 2
