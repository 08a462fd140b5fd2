from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.ranges import Range
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points, tied
from stages.quantization.calibrate import METHODS, find_ranges, observe, tie
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import APPLICATIONS, NETWORKS, SHAPE, images, randomized


@pytest.fixture(scope="module")
def observed():
    model = fold(randomized(APPLICATIONS["squeezed"]()))
    placed = points(model, SIGNATURE)
    return model, placed, observe(model, placed, [images(16), images(16, seed=1)])


def test_histograms_count_every_activation_of_the_float_model(observed):
    model, placed, histograms = observed
    for name, point in placed.items():
        seen = keras.Model(model.inputs[0], point.tensor)(
            np.concatenate([images(16), images(16, seed=1)])
        ).numpy()
        assert histograms[name].counts.sum() == seen.size
        assert histograms[name].low == pytest.approx(min(seen.min(), 0), rel=1e-5)
        assert histograms[name].high == pytest.approx(max(seen.max(), 0), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_every_point_a_range_within_what_was_seen(observed, method):
    found = find_ranges(*observed, method, 99.0)
    assert found.keys() == observed[1].keys()
    for name, spec in found.items():
        assert spec.low <= 0 < spec.high
        assert spec.low < 0 or not observed[1][name].signed
        assert 0 <= spec.saturated_share < 0.2


def test_a_swish_gets_the_fine_steps_of_its_own_range(observed):
    """-0.28 is the least that x * sigmoid(x) can be; the rest of the steps are for what is above.

    A symmetric range would have steps of high / 127."""
    found = find_ranges(*observed, "max", 99.0)
    spec = next(spec for name, spec in found.items() if name.startswith("activation"))
    assert -0.279 < spec.low < -0.2
    assert spec.scale("cpu") == pytest.approx((spec.high - spec.low) / 255, rel=0.01)
    assert spec.scale("cpu") < 0.6 * spec.scale("tensorrt")


def test_max_saturates_nothing_and_a_percentile_saturates_what_it_says(observed):
    widest = find_ranges(*observed, "max", 99.0)
    clipped = find_ranges(*observed, "percentile", 99.0)
    assert all(spec.saturated_share == 0 for spec in widest.values())
    shares = [spec.saturated_share for spec in clipped.values()]
    assert 0 < max(shares) <= 0.01
    assert all(clipped[name].high <= widest[name].high for name in widest)
    assert all(clipped[name].low >= widest[name].low for name in widest)


def test_tied_points_get_one_range_that_covers_all_of_their_group():
    model = fold(randomized(NETWORKS["concatenated"]()))
    placed = points(model, SIGNATURE)
    (group,) = tied(model, placed)
    found = {name: Range(0.0, 1.0 + number) for number, name in enumerate(placed)}
    result = tie(model, placed, found)
    assert {result[name].high for name in group} == {max(found[name].high for name in group)}
    assert all(result[name] == found[name] for name in found.keys() - group)


def test_tied_points_of_both_signs_share_their_zero_point_too():
    image = keras.Input(SHAPE, name="image")
    arms = [layers.Conv2D(4, 3, name=name)(image) for name in ("a", "b")]
    x = layers.AveragePooling2D(2, name="pool")(layers.Concatenate(name="both")(arms))
    model = fold(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    placed = points(model, SIGNATURE)
    found = {name: Range(-0.1, 1.0) for name in placed} | {"a": Range(-3.0, 0.5)}
    result = tie(model, placed, found)
    assert {(result[name].low, result[name].high) for name in ("a", "b", "both", "pool")} == {
        (-3.0, 1.0)
    }


def test_of_a_group_of_which_only_some_can_be_negative_these_share_a_range():
    image = keras.Input(SHAPE, name="image")
    arms = [layers.Conv2D(4, 3, name="a")(image), layers.ReLU()(layers.Conv2D(4, 3)(image))]
    both = layers.Concatenate(name="both")(arms)
    model = fold(keras.Model(image, layers.Dense(4)(layers.Flatten()(both))))
    placed = points(model, SIGNATURE)
    found = {name: Range(-1.0 if p.signed else 0.0, 3.0) for name, p in placed.items()}
    found["a"] = Range(-2.0, 1.0)
    assert tie(model, placed, found) == found | dict.fromkeys(("a", "both"), Range(-2.0, 3.0))
