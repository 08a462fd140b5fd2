from __future__ import annotations

import keras
import numpy as np
import pytest

from stages.artifacts.ranges import covering
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.quantization.bias_correction import biases_of, mean_shifts, set_biases
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import NETWORKS, images, randomized

SEEN, UNSEEN = images(64), images(64, seed=1)


class Calibrated:
    """A folded network, its points and ranges that cover everything seen."""

    def __init__(self, name: str) -> None:
        self.model = fold(randomized(NETWORKS[name]()))
        self.points = points(self.model, SIGNATURE)
        tensors = [point.tensor for point in self.points.values()]
        seen = keras.Model(self.model.inputs[0], tensors)(SEEN)
        self.ranges = {
            name: covering(np.asarray(values))
            for name, values in zip(self.points, seen, strict=True)
        }

    def int8(self) -> keras.Model:
        return simulate(self.model, self.points, self.ranges)

    def shifts(self):
        batches = [SEEN[:32], SEEN[32:]]
        return mean_shifts(self.model, self.points, self.ranges, batches)


def channel_means(model: keras.Model, names: list[str], batch: np.ndarray) -> list[np.ndarray]:
    """Mean outputs of the layers `names`, computed by Keras."""
    layers = [model.get_layer(name) for name in names]
    outputs = keras.Model(model.inputs[0], [layer.output for layer in layers])(batch)
    return [np.asarray(x).mean(axis=tuple(range(x.ndim - 1))) for x in map(np.asarray, outputs)]


@pytest.mark.parametrize("batch", [SEEN, UNSEEN], ids=["calibration images", "other images"])
def test_the_mean_outputs_of_a_depthwise_network_come_back(batch):
    net = Calibrated("separable")
    shifts = net.shifts()
    names = list(shifts)
    assert any(name.startswith("depthwise") for name in names)
    expected = channel_means(net.model, names, batch)
    int8_names = [f"{name}_int8" for name in names]
    before = channel_means(net.int8(), int8_names, batch)
    set_biases(net.model, biases_of(net.model), shifts)
    after = channel_means(net.int8(), int8_names, batch)
    worst = [
        max(np.abs(got - want).max() for got, want in zip(means, expected, strict=True))
        for means in (before, after)
    ]
    assert worst[1] < 0.2 * worst[0]
    for name, want, got, corrected in zip(names, expected, before, after, strict=True):
        assert np.abs(corrected - want).max() <= np.abs(got - want).max() + 1e-4, name


def test_the_outputs_of_a_depthwise_network_come_closer_to_float():
    net = Calibrated("separable")
    expected = net.model(UNSEEN).numpy()
    before = np.square(net.int8()(UNSEEN).numpy() - expected).mean()
    set_biases(net.model, biases_of(net.model), net.shifts())
    assert np.square(net.int8()(UNSEEN).numpy() - expected).mean() < before


def test_a_layer_that_is_called_twice_keeps_its_bias():
    assert "twice" not in Calibrated("shared").shifts()


def test_a_layer_that_stays_float_keeps_its_bias():
    net = Calibrated("plain")
    first = next(iter(net.points))
    del net.points[first]
    assert len(net.shifts()) == len(biases_of(net.model)) - 1


def test_biases_without_shifts_are_those_of_before():
    net = Calibrated("plain")
    folded = biases_of(net.model)
    set_biases(net.model, folded, net.shifts())
    assert any(np.any(biases_of(net.model)[name] != bias) for name, bias in folded.items())
    set_biases(net.model, folded)
    assert all(np.array_equal(biases_of(net.model)[name], bias) for name, bias in folded.items())
