from __future__ import annotations

import keras
import numpy as np
import pytest

from benchmarks import networks, prune_exactness
from stages.keras_graph.shrink import shrink
from stages.models import resnet
from tests.stages.networks import NETWORKS, images, randomized


@pytest.mark.parametrize("name", NETWORKS)
def test_without_channels_of_zeros_outputs_are_the_same(name):
    model = randomized(NETWORKS[name]())
    before = model.get_weights()
    assert prune_exactness.relative_difference(model, images(4)) < 1e-5
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_heads_of_attention_lose_channels_of_zeros_without_a_change():
    keras.utils.set_random_seed(0)
    flat = prune_exactness.flatten(networks.tiny_vit())
    found = prune_exactness.check(flat, images(4, shape=(32, 32, 3)))
    assert (found["groups"], found["relative_difference"] < 1e-5) == (6, True)
    assert found["parameters_after"] < 0.7 * found["parameters_before"]


def test_a_channel_that_is_not_zero_is_noticed(monkeypatch):
    model = randomized(resnet.build(8, (16, 16, 3), 4))
    pixels = images(4, shape=(16, 16, 3))
    assert prune_exactness.relative_difference(model, pixels) < 1e-5

    def wrong(flat, kept):
        """Removes the other half."""
        return shrink(flat, [keep + 1 for keep in kept])

    monkeypatch.setattr(prune_exactness, "shrink", wrong)
    assert prune_exactness.relative_difference(model, pixels) > 1e-2
