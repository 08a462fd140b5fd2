from __future__ import annotations

import keras
import numpy as np
import pytest

from stages.settings import Data
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
