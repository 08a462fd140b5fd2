from __future__ import annotations

import keras
import numpy as np
import pytest

from stages.artifacts.ranges import Range
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.quantization.calibrate import METHODS, find_ranges, observe, tie
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import NETWORKS, images, randomized


@pytest.fixture(scope="module")
def observed():
    model = fold(randomized(NETWORKS["residual"]()))
    placed = points(model, SIGNATURE)
    return model, placed, observe(model, placed, [images(16), images(16, seed=1)])


def test_histograms_count_every_activation_of_the_float_model(observed):
    model, placed, histograms = observed
    for name, point in placed.items():
        seen = keras.Model(model.inputs[0], point.tensor)(
            np.concatenate([images(16), images(16, seed=1)])
        ).numpy()
        assert histograms[name].counts.sum() == seen.size
        assert histograms[name].amax == pytest.approx(np.abs(seen).max(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_every_point_a_range_within_what_was_seen(observed, method):
    found = find_ranges(*observed, method, 99.0)
    assert found.keys() == observed[1].keys()
    for spec in found.values():
        assert spec.amax > 0
        assert 0 <= spec.saturated_share < 0.2


def test_max_saturates_nothing_and_a_percentile_saturates_what_it_says(observed):
    widest = find_ranges(*observed, "max", 99.0)
    clipped = find_ranges(*observed, "percentile", 99.0)
    assert all(spec.saturated_share == 0 for spec in widest.values())
    shares = [spec.saturated_share for spec in clipped.values()]
    assert 0 < max(shares) <= 0.01
    assert all(clipped[name].amax <= widest[name].amax for name in widest)


def test_tied_points_get_the_widest_range_of_their_group():
    found = {"a": Range(1.0, False), "b": Range(3.0, False), "c": Range(2.0, False)}
    result = tie(found, [{"a", "b"}])
    assert [result[name].amax for name in "abc"] == [3.0, 3.0, 2.0]


def test_a_group_with_both_signs_is_left_as_it_is():
    found = {"a": Range(1.0, False), "b": Range(3.0, True)}
    assert tie(found, [{"a", "b"}]) == found
