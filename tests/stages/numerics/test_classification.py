from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)

from stages.numerics.classification import (
    MAX_CONFUSION_CLASSES,
    cross_entropy,
    describe,
    metrics,
    top1,
)
from stages.results.training import ClassScore


def logits_of(classes: list[int], width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[classes]


def test_the_example_of_the_docstring() -> None:
    found = metrics(logits_of([0, 2, 1], 3), np.array([0, 0, 1]))
    assert found.model_dump(exclude_defaults=True) == {
        "top1": pytest.approx(2 / 3),
        "recall_macro": pytest.approx((1 / 2 + 1 + 0) / 3),
        "precision_macro": pytest.approx((1 + 1 + 0) / 3),
        "samples": 3,
    }


@settings(deadline=None)
@given(st.data())
def test_it_agrees_with_scikit_learn_whatever_classes_occur(data: st.DataObject) -> None:
    width = data.draw(st.integers(2, 6))
    classes = st.integers(0, width - 1)
    pairs = data.draw(st.lists(st.tuples(classes, classes), min_size=1, max_size=40))
    labels = np.array([label for label, _ in pairs])
    predicted = [prediction for _, prediction in pairs]
    found = metrics(logits_of(predicted, width), labels)
    average = {"average": "macro", "zero_division": 0}
    assert found.top1 == pytest.approx(accuracy_score(labels, predicted))
    assert top1(logits_of(predicted, width), labels) == found.top1
    assert found.recall_macro == pytest.approx(recall_score(labels, predicted, **average))
    assert found.precision_macro == pytest.approx(precision_score(labels, predicted, **average))
    assert found.samples == len(pairs)


def test_a_class_that_never_occurs_and_is_never_predicted_does_not_count() -> None:
    found = metrics(logits_of([0, 1], 10), np.array([0, 1]))
    assert (found.top1, found.recall_macro, found.precision_macro) == (1.0, 1.0, 1.0)


def test_a_class_that_never_occurs_but_is_predicted_costs_recall_and_precision() -> None:
    found = metrics(logits_of([0, 2], 3), np.array([0, 0]))
    assert found.recall_macro == pytest.approx((1 / 2 + 0) / 2)
    assert found.precision_macro == pytest.approx((1 + 0) / 2)


def test_the_first_of_equal_logits_is_the_answer() -> None:
    assert metrics(np.zeros((1, 3), np.float32), np.array([0])).top1 == 1.0


def test_numbers_are_plain_python_for_json() -> None:
    found = metrics(logits_of([0], 2), np.array([0]))
    assert {type(value) for value in found.model_dump(exclude_defaults=True).values()} == {
        int,
        float,
    }


def test_cross_entropy_is_scikit_learns_log_loss():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (50, 4)).astype(np.float32), rng.integers(0, 4, 50)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    from sklearn.metrics import log_loss

    expected = log_loss(labels, probabilities, labels=range(4))
    assert cross_entropy(logits, labels) == pytest.approx(expected)


def test_cross_entropy_of_probabilities_is_that_of_the_logits_they_were_made_of():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (50, 4)).astype(np.float32), rng.integers(0, 4, 50)
    powers = np.exp(logits)
    expected = cross_entropy(logits, labels)
    for shares in (powers / powers.sum(axis=1, keepdims=True), powers):
        assert cross_entropy(shares, labels, from_logits=False) == pytest.approx(expected, 1e-5)
    certain = cross_entropy(np.array([[1.0, 0.0]]), np.array([1]), from_logits=False)
    assert certain == pytest.approx(-np.log(1e-7))


def test_cross_entropy_of_huge_logits_is_finite():
    assert cross_entropy(np.array([[1e4, 0.0]], np.float32), np.array([1])) == pytest.approx(1e4)


@settings(deadline=None)
@given(st.data())
def test_every_class_is_described_as_scikit_learn_does(data: st.DataObject) -> None:
    width = data.draw(st.integers(2, 6))
    classes = st.integers(0, width - 1)
    pairs = data.draw(st.lists(st.tuples(classes, classes), min_size=1, max_size=40))
    labels = np.array([label for label, _ in pairs])
    predicted = [prediction for _, prediction in pairs]
    names = [f"class {number}" for number in range(width)]
    found = describe(predicted, labels, names)
    assert found.classes == tuple(names)
    expected = confusion_matrix(labels, predicted, labels=range(width))
    np.testing.assert_array_equal(found.confusion, expected)
    expected = precision_recall_fscore_support(
        labels, predicted, labels=range(width), zero_division=0
    )
    for key, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [getattr(row, key) for row in found.per_class] == pytest.approx(list(column)), key


def test_the_confusion_of_very_many_classes_is_left_out() -> None:
    width = MAX_CONFUSION_CLASSES + 1
    found = describe(np.arange(width), np.arange(width), [str(number) for number in range(width)])
    assert (found.confusion, len(found.per_class)) == ((), width)
    assert found.per_class[-1] == ClassScore(precision=1.0, recall=1.0, f1=1.0, support=1)
