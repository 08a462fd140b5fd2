from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

from stages.keras_graph.channels import groups
from stages.keras_graph.fold import flatten
from stages.models import resnet
from stages.pruning.consistency import check
from stages.pruning.criteria import layer_scores
from stages.pruning.depth import Removable, removable
from stages.pruning.structured import Widths, compare_groups, lost_layers, narrow
from stages.results.pruning import PruneDetails


def small(*names: str) -> keras.Model:
    """Convolutions that repeat a shape, one after the other, then one with another."""
    x = image = keras.Input((8, 8, 3))
    for name in ("first", *names):
        x = layers.Conv2D(8, 3, padding="same", activation="relu", name=name)(x)
    x = layers.Conv2D(4, 3, activation="relu", name="last")(x)
    return flatten(keras.Model(image, layers.Dense(2, name="logits")(layers.Flatten()(x))))


def narrowed(flat: keras.Model, widths: Widths) -> keras.Model:
    return narrow(flat, widths, layer_scores(flat, "l2", []))


def widths_of(before: keras.Model, after: keras.Model) -> dict[Any, int]:
    return {group.layers: group.channels_after for group in compare_groups(before, after)}


BLOCK1 = ("block1_a_conv", "block1_b_conv")


def test_blocks_go_and_what_is_left_of_their_groups_is_narrowed() -> None:
    flat = flatten(resnet.build(8, (16, 16, 3), 10))
    widths = {BLOCK1: 0, ("stem_conv", "block1_b_conv"): 8, ("block2_a_conv",): 16}
    smaller = narrowed(flat, widths)
    assert lost_layers(flat, smaller) == BLOCK1
    assert widths_of(flat, smaller) == {
        ("stem_conv", "block1_b_conv"): 8,
        ("block1_a_conv",): 0,
        ("block2_a_conv",): 16,
        ("block2_shortcut_conv", "block2_b_conv"): 32,
        ("block3_a_conv",): 64,
        ("block3_shortcut_conv", "block3_b_conv"): 64,
    }
    # In a later round the block is gone already, and the group goes by its old name.
    later = {**widths, ("stem_conv", "block1_b_conv"): 4}
    assert widths_of(flat, narrowed(smaller, later))["stem_conv", "block1_b_conv"] == 4


def test_a_repeated_layer_goes_only_while_the_channels_around_it_are_all_there() -> None:
    first, second = removable(small("second", "third"))
    assert first.layers == ("second",)
    assert first.whole == {("first",), ("second",)}
    assert second.whole == {("second",), ("third",)}
    assert first.channels == 8


def test_blocks_with_excluded_layers_stay() -> None:
    flat = flatten(resnet.build(8, (16, 16, 3), 10))
    assert removable(flat, {"block1_a_bn", "block3_b_conv"}) == [
        Removable(("block2_a_conv", "block2_b_conv"), 32, frozenset())
    ]


def test_a_block_whose_removal_would_join_two_groups_stays() -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(image)
    y = layers.Conv2D(8, 3, padding="same", name="second")(x)
    other = layers.Conv2D(8, 3, padding="same", name="other")(image)
    x = layers.Multiply()([y, other])
    x = layers.GlobalAveragePooling2D()(x)
    flat = flatten(keras.Model(image, layers.Dense(2)(x)))
    # Without `second`, the channels of `first` would be those of `other`.
    assert removable(flat) == []


@pytest.mark.parametrize("names", [(), ("again",)])
def test_a_network_without_its_repeated_layers_has_the_channels_of_the_first(
    names: tuple[str, ...],
) -> None:
    flat = small(*names)
    found = removable(flat)
    assert [block.layers for block in found] == [(name,) for name in names]
    if names:
        smaller = narrowed(flat, {("again",): 0, ("first",): 4})
        assert widths_of(flat, smaller) == {("first",): 4, ("again",): 0, ("last",): 4}


def test_a_block_goes_after_which_the_layers_of_a_group_have_another_order() -> None:
    """Without "inner" nothing is between "first" and the sum, as nothing is behind "shortcut"."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(image)
    y = layers.ReLU()(x)
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", name="inner")(y)])
    x = layers.Add()([layers.Conv2D(8, 1, name="shortcut")(image), x])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    flat = flatten(keras.Model(image, layers.Dense(4, name="logits")(x)))
    group, block = ("first", "inner", "shortcut"), ("inner",)
    assert widths_of(flat, flat) == {group: 8}
    assert block in [each.layers for each in removable(flat)]
    smaller = narrowed(flat, {block: 0, group: 4})
    assert [each.layers for each in groups(smaller)] == [("shortcut", "first")]
    assert widths_of(flat, smaller) == {group: 4}


def transformer() -> keras.Model:
    """Two blocks of attention, each with one of two Dense layers."""
    image = keras.Input((6, 5))
    x = layers.Dense(8, name="embed")(image)
    for number in (1, 2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name=f"heads{number}")(y, y)])
        y = layers.Dense(16, activation="gelu", name=f"wide{number}")(
            layers.LayerNormalization()(x)
        )
        x = layers.Add()([x, layers.Dense(8, name=f"narrow{number}")(y)])
    x = layers.GlobalAveragePooling1D()(x)
    return flatten(keras.Model(image, layers.Dense(3, name="logits")(x)))


@pytest.mark.parametrize("gone", [("heads1",), ("wide2", "narrow2")])
def test_each_block_of_a_transformer_may_go_and_takes_the_channels_within_its_heads_along(
    gone: tuple[str, ...],
) -> None:
    flat = transformer()
    found = [block.layers for block in removable(flat)]
    assert sorted(found) == [
        ("heads1",),
        ("heads2",),
        ("wide1", "narrow1"),
        ("wide2", "narrow2"),
    ]
    widths = {gone: 0, ("heads2/value",): 2}
    smaller = narrowed(flat, widths)
    after = widths_of(flat, smaller)
    inside = {("heads1/query", "heads1/key"), ("heads1/value",)}
    assert {names for names, width in after.items() if width == 0} == (
        inside if gone == ("heads1",) else {("wide2",)}
    )
    assert after["heads2/value",] == 2
    details = PruneDetails(
        method="channels", groups=compare_groups(flat, smaller), removed_blocks=(gone,)
    )
    check(details, widths, lost_layers(flat, smaller))
