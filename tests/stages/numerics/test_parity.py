from __future__ import annotations

import numpy as np
import pytest

from stages.numerics.parity import compare, steps_apart


def test_equal_logits_differ_by_nothing():
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = compare(logits, logits)
    assert found.top1_agreement == 1.0
    assert found.max_absolute_difference == found.max_relative_difference == 0.0


def test_differences_are_counted_over_all_elements_and_labels():
    reference = np.array([[4.0, 0.0], [0.0, 2.0]], np.float32)
    candidate = np.array([[3.0, 0.0], [2.5, 2.0]], np.float32)
    found = compare(reference, candidate)
    assert found.samples == 2
    assert found.top1_agreement == 0.5
    assert found.max_absolute_difference == pytest.approx(2.5)
    assert found.mean_absolute_difference == pytest.approx(3.5 / 4)
    assert found.max_relative_difference == pytest.approx(2.5 / 4)


def test_quantized_values_are_counted_by_their_distance():
    expected, got = np.array([0, 1, 2, 250], np.int32), np.array([0, 2, 4, 5], np.uint8)
    assert steps_apart(expected, got) == [4, 1, 2]
