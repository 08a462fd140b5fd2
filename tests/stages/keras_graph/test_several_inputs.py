"""Every pass keeps several inputs: all of them, in order, and what is computed of each."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.signature import Signature, some
from stages.keras_graph.channels import groups
from stages.keras_graph.fake_quant import execute, fake_quantize, simulate
from stages.keras_graph.fold import flatten, fold
from stages.keras_graph.outputs import made_by, with_listed_inputs
from stages.keras_graph.placement import Point, points
from stages.keras_graph.shrink import shrink
from stages.pruning.recalibrate import recalibrate
from stages.quantization.bias_correction import biases_of, mean_shifts, set_biases
from stages.quantization.calibrate import find_ranges, observe
from stages.quantization.method_choice import output_changes
from tests.stages import two_inputs
from tests.stages.networks import randomized
from tests.stages.two_inputs import PIXELS, SIGNATURE

FED = SIGNATURE.preprocess(two_inputs.split(24).images)


def siamese() -> keras.Model:
    """One network that sees two pictures, and what they have to do with each other."""
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 3, activation="relu", name="deep")(x)
    arm = keras.Model(image, layers.Flatten()(x), name="arm")
    left, right = (keras.Input((8, 8, 1), name=name) for name in ("left", "right"))
    x = layers.Concatenate()([arm(left), arm(right)])
    return keras.Model([left, right], layers.Dense(3)(layers.Dense(8, activation="relu")(x)))


def both(first: str, second: str) -> Signature:
    inputs = tuple(dataclasses.replace(PIXELS, name=name) for name in (first, second))
    return Signature((), ("a", "b", "c"), 1.0, 0.0, inputs=inputs)


PAIR = both("left", "right")
PAIRS = PAIR.preprocess(PAIR.noise(24))
CASES = [(two_inputs.network, SIGNATURE, FED), (siamese, PAIR, PAIRS)]


def answers(model: keras.Model, fed: Any) -> np.ndarray:
    return np.asarray(model(fed, training=False))


@pytest.mark.parametrize("case", CASES, ids=["image and vector", "siamese"])
@pytest.mark.parametrize("convert", [flatten, fold])
def test_a_copy_computes_the_same_of_each_input(convert: Any, case: Any) -> None:
    build, signature, fed = case
    model = randomized(build())
    copy = convert(model)
    assert tuple(each.name for each in copy.inputs) == signature.input_names
    np.testing.assert_allclose(answers(copy, fed), answers(model, fed), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=["image and vector", "siamese"])
def test_removed_channels_are_as_if_they_were_zero(case: Any) -> None:
    build, _, fed = case
    flat = fold(randomized(build()))
    found = groups(flat)
    assert {name for group in found for name in group.layers} >= {"conv", "deep"}
    kept = [np.arange(0, len(group.channels), 2) for group in found]
    small = shrink(flat, kept)
    assert [each.shape for each in small.inputs] == [each.shape for each in flat.inputs]
    for group in found:
        for name, channel in (place for places in group.channels[1::2] for place in places):
            kernel, bias = flat.get_layer(name).get_weights()
            kernel[..., channel], bias[channel] = 0, 0
            flat.get_layer(name).set_weights([kernel, bias])
    np.testing.assert_allclose(answers(small, fed), answers(flat, fed), rtol=1e-4, atol=1e-4)


def test_normalisation_gets_the_statistics_of_its_own_input() -> None:
    model = flatten(two_inputs.network())
    recalibrate(model, [FED])
    norm, conv = model.get_layer("norm"), model.get_layer("conv")
    seen = np.asarray(conv(FED[0]))
    np.testing.assert_allclose(norm.moving_mean.numpy(), seen.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)


def test_pixels_have_known_limits_and_numbers_are_calibrated() -> None:
    found = points(fold(two_inputs.network()), SIGNATURE.scaled(1 / 127.5, -1.0))
    assert (found["pixels"].limits, found["pixels"].signed) == (pytest.approx((-1.0, 1.0)), True)
    assert (found["extra"].limits, found["extra"].signed) == (None, True)
    assert [each.limits for each in points(fold(siamese()), PAIR).values()][:2] == [(0.0, 1.0)] * 2


class Calibrated:
    """A folded network with ranges that cover what is seen."""

    def __init__(self, case: Any) -> None:
        build, signature, self.fed = case
        self.model = fold(randomized(build()))
        self.points = points(self.model, signature)
        histograms = observe(self.model, self.points, [self.fed])
        self.ranges = find_ranges(self.model, self.points, histograms, "max", 100.0)

    def rounded(self, point: Point, values: Any) -> Any:
        spec = self.ranges[point.name]
        return fake_quantize(values, spec.scale("cpu"), spec.grid("cpu"))


@pytest.mark.parametrize("case", CASES, ids=["image and vector", "siamese"])
def test_every_input_is_rounded_as_its_own_range_says(case: Any) -> None:
    net = Calibrated(case)
    for tensor, values in zip(net.model.inputs, net.fed, strict=True):
        found = net.ranges[tensor.name]
        expected = net.points[tensor.name].limits or (values.min(), values.max())
        assert (found.low, found.high) == pytest.approx((min(expected[0], 0), expected[1]))
    int8 = simulate(net.model, net.points, net.ranges)
    assert [each.name for each in int8.inputs] == [each.name for each in net.model.inputs]
    exact, rounded = answers(net.model, net.fed), answers(int8, net.fed)
    assert 0 < np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("index", [0, 1])
def test_each_input_alone_is_rounded_where_it_comes_in(index: int) -> None:
    net = Calibrated(CASES[0])
    name = net.model.inputs[index].name
    spec = net.ranges[name]
    scale, grid = spec.scale("cpu"), spec.grid("cpu")

    found = execute(net.model, {name: net.points[name]}, net.fed, net.rounded)
    given = list(net.fed)
    steps = np.clip(np.round(given[index] / scale), grid.low, grid.high)
    given[index] = (steps * scale).astype(np.float32)
    np.testing.assert_allclose(found, answers(net.model, given), rtol=1e-4, atol=1e-4)
    assert not np.allclose(found, answers(net.model, net.fed), rtol=1e-5, atol=1e-5)


def test_corrected_biases_bring_back_the_means_of_batches_of_both_inputs() -> None:
    net = Calibrated(CASES[0])
    uneven = [some(net.fed, slice(16)), some(net.fed, slice(16, None))]
    shifts = mean_shifts(net.model, net.points, net.ranges, uneven)
    before = answers(simulate(net.model, net.points, net.ranges), net.fed).mean(axis=0)
    expected = answers(net.model, net.fed).mean(axis=0)
    set_biases(net.model, biases_of(net.model), shifts)
    after = answers(simulate(net.model, net.points, net.ranges), net.fed).mean(axis=0)
    assert np.abs(after - expected).max() < 0.3 * np.abs(before - expected).max()


def test_what_rounding_an_input_changes_is_estimated_as_trying_it_finds() -> None:
    net = Calibrated(CASES[0])
    fed = SIGNATURE.preprocess(two_inputs.split(200).images)
    batches = [some(fed, slice(at, at + 40)) for at in range(0, 200, 40)]
    changes = output_changes(net.model, net.points, {"max": net.ranges}, batches)["max"]
    for name in SIGNATURE.input_names:
        found = execute(net.model, {name: net.points[name]}, fed, net.rounded)
        tried = float(np.square(found - answers(net.model, fed)).mean())
        assert 0.4 * tried < changes[name] < 2.5 * tried, name


def test_a_softmax_of_both_inputs_is_seen() -> None:
    model = two_inputs.network()
    shares = keras.Model(model.inputs, keras.ops.softmax(model.outputs[0]))
    assert made_by(shares, FED, "softmax")
    assert not made_by(model, FED, "softmax")


def test_inputs_that_other_stages_give_as_a_list_may_be_a_dictionary() -> None:
    own = two_inputs.network()
    model = keras.Model(dict(zip(SIGNATURE.input_names, own.inputs, strict=True)), own.outputs[0])
    found = with_listed_inputs(model)
    assert isinstance(found.input, list)
    assert with_listed_inputs(own) is own
    order = [SIGNATURE.input_names.index(each.name) for each in found.inputs]
    np.testing.assert_allclose(
        answers(found, [FED[at] for at in order]), answers(own, FED), rtol=1e-5
    )


def test_inputs_are_called_as_the_dictionary_calls_them() -> None:
    own = two_inputs.network()
    with pytest.warns(UserWarning, match="must match the names"):
        model = keras.Model({"table": own.inputs[1], "camera": own.inputs[0]}, own.outputs[0])
    found = with_listed_inputs(model)
    fed = dict(camera=FED[0], table=FED[1])
    assert {each.name: tuple(each.shape[1:]) for each in found.inputs} == {
        "camera": (8, 8, 1),
        "table": (6,),
    }
    given = [fed[each.name] for each in found.inputs]
    np.testing.assert_allclose(answers(found, given), answers(own, FED), rtol=1e-5)
