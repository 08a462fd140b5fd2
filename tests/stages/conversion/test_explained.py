from __future__ import annotations

import numpy as np
import pytest

from stages.conversion.explained import explained_difference
from tests.stages.conversion.onnx.test_targets import BATCH, Quantized
from tests.stages.networks import NETWORKS, randomized


def explained(factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a network whose logits are multiplied by `factor`, and its logits."""
    model = randomized(NETWORKS["plain"]())
    model.layers[-1].set_weights([factor * each for each in model.layers[-1].get_weights()])
    net = Quantized(model)
    logits = net.simulated("cpu")
    found = explained_difference(net.model, net.points, net.ranges, "cpu", BATCH[:16], logits[:16])
    return found, logits


def test_what_rounding_explains_is_a_share_of_the_logits_however_sure_the_network_is():
    guessing, logits = explained(1.0)
    sure, larger = explained(8.0)
    np.testing.assert_allclose(larger, 8 * logits, rtol=1e-3)
    assert sure == pytest.approx(8 * guessing, rel=1e-3)
    assert (guessing / np.abs(logits).max() > 1 / 127).all()
    assert (guessing / np.abs(logits).max() < 0.2).all()


def test_each_value_has_what_rounding_explains_of_it() -> None:
    """One column is a thousand times as large: that does not excuse the others."""
    model = randomized(NETWORKS["plain"]())
    kernel, *bias = model.layers[-1].get_weights()
    factors = np.array([1000.0] + [1.0] * (kernel.shape[1] - 1), np.float32)
    model.layers[-1].set_weights([kernel * factors, *(each * factors for each in bias)])
    net = Quantized(model)
    logits = net.simulated("tensorrt")[:16]  # whose outputs are not rounded to one common step
    network = (net.model, net.points, net.ranges)
    found = explained_difference(*network, "tensorrt", BATCH[:16], logits)
    assert found.shape == (kernel.shape[1],)
    assert (found[1:] < 0.2 * np.abs(logits[:, 1:]).max()).all()
    assert found[0] > 100 * found[1:].max()


def test_a_value_that_no_draw_moves_is_still_rounded_as_numbers_are() -> None:
    """What never depends on the image: its INT8 kernel is zero, its bias is not."""
    model = randomized(NETWORKS["plain"]())
    kernel, bias = model.layers[-1].get_weights()
    kernel[:, 2], bias[2] = 0.0, 0.7
    model.layers[-1].set_weights([kernel, bias])
    net = Quantized(model)
    logits = net.simulated("tensorrt")[:4]  # whose outputs are no integers
    network = (net.model, net.points, net.ranges)
    found = explained_difference(*network, "tensorrt", BATCH[:4], logits)
    assert found[2] == pytest.approx(2.0**-9 * 0.7, rel=0.01)  # of float16
    assert (np.delete(found, 2) > 2 * found[2]).all()
