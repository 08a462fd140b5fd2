from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import layers

from stages.keras_graph.cost import multiply_adds
from stages.keras_graph.fold import flatten
from stages.models import resnet
from stages.numerics.channel_scores import Scores
from stages.pruning.across import FLOOR, widths_across
from stages.pruning.criteria import layer_scores
from stages.pruning.structured import Widths, narrow, prunable, widths_for

SCORES = {"idle": np.full(16, 0.01), "busy": np.full(16, 1.0), "busier": np.full(16, 2.0)}


def three() -> keras.Model:
    """Three convolutions of equal size."""
    x = image = keras.Input((8, 8, 16))
    for name in SCORES:
        x = layers.Conv2D(16, 3, padding="same", activation="relu", name=name)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return flatten(keras.Model(image, layers.Dense(4, name="logits")(x)))


def widths(
    flat: keras.Model,
    multiple: int,
    *ratios: float,
    scores: Mapping[str, Scores] = SCORES,
    exclude: tuple[str, ...] = (),
) -> list[Widths]:
    found = prunable(flat, exclude, multiple)
    return [*widths_across(flat, found, ratios, scores)]


def test_channels_go_where_they_matter_least() -> None:
    (found,) = widths(three(), 1, 0.25)
    assert found["idle",] < 12
    assert found["busier",] == 16


def test_no_group_gets_narrower_than_a_quarter_of_its_even_width() -> None:
    (found,) = widths(three(), 1, 0.5)
    assert found["idle",] == FLOOR * 8
    assert found["busy",] < 16


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_the_network_costs_no_more_than_without_that_share_of_every_group(ratio: float) -> None:
    flat = flatten(resnet.build(8, (16, 16, 3), 10))
    scores = layer_scores(flat, "l2", [])
    even = narrow(flat, widths_for(prunable(flat, (), 4), ratio), scores)
    (found,) = widths(flat, 4, ratio, scores=scores)
    across = narrow(flat, found, scores)
    assert 0.8 * multiply_adds(even) < multiply_adds(across) <= multiply_adds(even)
    assert all(width % 4 == 0 for width in found.values())


def test_excluded_layers_keep_their_channels_and_are_counted() -> None:
    (found,) = widths(three(), 8, 0.5, exclude=("idle",))
    assert found.keys() == {("busy",), ("busier",)}


def test_from_one_ratio_to_the_next_no_group_gets_wider() -> None:
    flat = flatten(resnet.build(8, (16, 16, 3), 10))
    found = widths(flat, 2, 0.2, 0.4, 0.6, scores=layer_scores(flat, "l2", []))
    for before, after in pairwise(found):
        assert before != after
        assert all(after[layers] <= before[layers] for layers in before)
