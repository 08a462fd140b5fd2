"""The cost of a network by the widths of its groups, against that of the network made so narrow."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from stages.keras_graph.cost import multiply_adds
from stages.keras_graph.fold import flatten
from stages.keras_graph.group_costs import kernel_costs
from stages.keras_graph.shrink import shrink
from tests.stages.networks import APPLICATIONS, NETWORKS

BUILDS = (*NETWORKS.values(), APPLICATIONS["convnext"])


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_a_network_costs_as_much_as_if_it_were_made(build: Callable[[], keras.Model]) -> None:
    flat = flatten(build())
    groups, costs = kernel_costs(flat)
    # Half and a third, in turns.
    kept = [np.arange(len(each.channels) // (2 + turn % 2)) for turn, each in enumerate(groups)]
    left = np.array([len(one) / len(each.channels) for one, each in zip(kept, groups, strict=True)])
    assert costs.total(np.ones(len(groups))) == multiply_adds(flat)
    assert costs.total(left) == pytest.approx(multiply_adds(shrink(flat, kept)))


def test_channels_within_heads_cost_what_their_projections_do() -> None:
    image = keras.Input((6, 5))
    x = layers.MultiHeadAttention(2, 4, value_dim=6, name="heads")(image, image)
    flat = flatten(keras.Model(image, layers.Dense(3, name="logits")(layers.Flatten()(x))))
    groups, costs = kernel_costs(flat)
    one = {group.layers: number for number, group in enumerate(groups)}
    left = np.ones(len(groups))
    left[one["heads/query", "heads/key"]] = 0.5
    # Half of the channels of two kernels (5, heads, key_dim), at each of 6 positions.
    assert costs.total(np.ones(len(groups))) - costs.total(left) == 2 * 6 * 5 * 2 * 4 / 2
