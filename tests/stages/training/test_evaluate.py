from __future__ import annotations

import keras
import numpy as np
import pytest

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.settings import Data
from stages.tasks import segmentation
from stages.training import evaluate
from stages.training.description import describe, with_output
from tests.stages.conftest import DIGITS
from tests.stages.training.test_fit import small


def test_logits_come_in_the_order_of_the_images_over_several_batches(digits):
    model = small()
    images = DIGITS.preprocess(digits.train.images[:600])
    assert np.allclose(evaluate.logits(model, images), model(images), atol=1e-5)


def test_a_measurement_holds_accuracy_size_and_latency(digits):
    model = small()
    measured = evaluate.measure(model, digits.test, DIGITS)
    predicted = model(DIGITS.preprocess(digits.test.images)).numpy().argmax(axis=1)
    assert measured.accuracy.top1 == np.mean(predicted == digits.test.labels)
    assert measured.accuracy.samples == len(digits.test.labels) >= 350
    assert measured.model.parameters == model.count_params()
    (row,) = measured.latency
    assert (row.runtime, row.batch_size) == ("tf.function", 1)
    assert 0 < row.p50_ms <= row.p99_ms


def test_a_measurement_says_what_is_mistaken_for_what(digits):
    found = evaluate.measure(small(), digits.test, DIGITS)
    described = found.classification
    assert described.classes == tuple("0123456789")
    assert sum(row.support for row in described.per_class) == len(digits.test.labels)
    hits = sum(row[i] for i, row in enumerate(described.confusion))
    assert hits == round(found.accuracy.top1 * len(digits.test.labels))


def test_a_softmax_at_the_end_changes_neither_accuracy_nor_loss(digits):
    logits = small()
    softmaxed = keras.Model(logits.inputs[0], keras.ops.softmax(logits.outputs[0]))
    told = describe(digits, Data())
    found = evaluate.score(softmaxed, digits.validation, with_output(told, softmaxed, digits))
    assert found == pytest.approx(evaluate.score(logits, digits.validation, told))


def test_masks_are_scored_batch_by_batch_as_all_their_outputs_would_be():
    keras.utils.set_random_seed(0)
    image = keras.Input((128, 128, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 1)(image))
    random = np.random.default_rng(0)
    count = evaluate.batch_size((128, 128, 3)) + 3
    truth = random.choice(np.array([0, 1, 2, 3, 255], np.uint8), (count, 128, 128))
    split = Split(random.integers(0, 256, (count, 128, 128, 3), np.uint8), truth)
    own = Signature(
        (128, 128, 3),
        tuple("abcd"),
        1 / 255,
        0.0,
        task="segmentation",
        output_shape=(128, 128, 4),
    )
    outputs = evaluate.logits(model, own.preprocess(split.images))
    reached, loss = evaluate.score(model, split, own)
    assert loss == -segmentation.loss(outputs, truth, own)
    assert reached == segmentation.score(segmentation.evidence(outputs, truth, own))
    masks = evaluate.answers(model, split, own)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, outputs.argmax(axis=-1))
    assert evaluate.accuracy(model, split, own) == segmentation.quality(outputs, truth, own)
