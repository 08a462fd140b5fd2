from __future__ import annotations

from typing import Any

import keras
from keras import layers

from stages.keras_graph.channels import Group, groups


def found(x: Any, outputs: Any) -> dict[tuple[str, ...], int]:
    """Layers of each group -> how many channels it has."""
    return {group.layers: len(group.channels) for group in groups(keras.Model(x, outputs))}


def image() -> Any:
    return keras.Input((8, 8, 3))


def convolution(name: str, filters: int = 4, **options: Any) -> Any:
    return layers.Conv2D(filters, 3, padding="same", name=name, **options)


def test_a_chain_has_one_group_per_layer_but_none_for_the_outputs() -> None:
    x = image()
    y = layers.ReLU()(layers.BatchNormalization()(convolution("first", 6)(x)))
    y = layers.Dense(7, name="second")(layers.Flatten()(layers.MaxPooling2D()(y)))
    assert found(x, layers.Dense(5, name="last")(y)) == {("first",): 6, ("second",): 7}


def test_both_sides_of_an_add_go_together() -> None:
    x = image()
    left, right = convolution("left")(x), convolution("right")(x)
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.Add()([left, right])))
    expected = Group(("left", "right"), tuple((("left", i), ("right", i)) for i in range(4)))
    assert groups(keras.Model(x, y)) == [expected]


def test_attention_to_itself_makes_channels_and_keeps_all_of_what_else_it_sees() -> None:
    x = image()
    y = layers.MultiHeadAttention(2, 3, name="attention")(*2 * [convolution("seen")(x)])
    y = layers.Add()([y, convolution("added")(y)])
    inside = heads("attention")
    assert found(x, layers.Dense(5)(y)) == {("seen",): 4, ("attention", "added"): 4} | inside
    other = layers.MultiHeadAttention(2, 3, name="across")(y, convolution("other")(x))
    assert found(x, layers.Dense(5)(other)) == {("seen",): 4} | inside | heads("across")


def test_all_calls_of_attention_keep_their_channels_if_one_does() -> None:
    x = image()
    for both in ("seen", "other"), ("other", "seen"):
        seen = {name: convolution(name)(x) for name in ("seen", "other")}
        attention = layers.MultiHeadAttention(2, 3, output_shape=6, name="shared")
        y = [attention(seen["seen"], seen[name]) for name in both]
        assert found(x, layers.Dense(5)(layers.Concatenate()(y))) == heads("shared")


def heads(name: str) -> dict[tuple[str, ...], int]:
    """The groups inside an attention layer with 3 channels per head."""
    return {(f"{name}/query", f"{name}/key"): 3, (f"{name}/value",): 3}


def test_concatenated_channels_stay_apart_until_an_add_ties_parts_of_them() -> None:
    x = image()
    both = layers.Concatenate()([convolution("a", 2)(x), convolution("b", 3)(x)])
    apart = layers.Dense(5)(layers.GlobalAveragePooling2D()(both))
    assert found(x, apart) == {("a",): 2, ("b",): 3}
    tied = layers.Add()([both, convolution("c", 5)(x)])
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(tied))
    assert found(x, y) == {("a", "c"): 2, ("b", "c"): 3}


def test_the_gate_of_a_squeeze_excite_block_goes_with_what_it_scales() -> None:
    x = image()
    y = convolution("features", 8)(x)
    squeezed = layers.Dense(2, name="squeeze")(layers.GlobalAveragePooling2D()(y))
    gate = layers.Dense(8, activation="sigmoid", name="gate")(squeezed)
    y = layers.Multiply()([y, layers.Reshape((1, 1, 8))(gate)])
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    assert found(x, y) == {("features", "gate"): 8, ("squeeze",): 2}


def test_a_gate_of_one_channel_is_in_no_group_for_all_channels_see_it() -> None:
    x = image()
    y = convolution("features", 8)(x)
    y = layers.Multiply()([y, convolution("spatial_gate", 1, activation="sigmoid")(y)])
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    assert found(x, y) == {("features",): 8}


def test_a_residual_that_starts_at_the_input_is_frozen() -> None:
    x = image()
    y = layers.Add()([x, convolution("tied_to_the_input", 3)(x)])
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(convolution("free")(y)))
    assert found(x, y) == {("free",): 4}


def test_a_layer_that_feeds_itself_loses_inputs_and_outputs_together() -> None:
    x = image()
    twice = convolution("twice")
    y = twice(twice(convolution("first")(x)))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    assert found(x, y) == {("first", "twice"): 4}


def test_an_intermediate_output_of_the_model_is_frozen() -> None:
    x = image()
    y = convolution("seen_from_outside")(x)
    z = layers.Dense(5)(layers.GlobalAveragePooling2D()(convolution("inside")(y)))
    assert found(x, [z, y]) == {("inside",): 4}


def test_channels_that_reach_a_layer_without_a_rule_are_frozen() -> None:
    x = image()
    y = layers.LayerNormalization()(convolution("before")(x))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(convolution("after")(y)))
    assert found(x, y) == {("after",): 4}


def test_a_subclass_of_a_known_layer_has_no_rule_for_it_may_compute_anything() -> None:
    class Reversed(layers.ReLU):
        def call(self, inputs: Any) -> Any:
            return inputs[..., ::-1]

    x = image()
    y = Reversed()(convolution("before")(x))
    assert found(x, layers.Dense(5)(layers.GlobalAveragePooling2D()(y))) == {}


def test_a_softmax_over_channels_freezes_them_fused_or_not() -> None:
    x = image()
    y = convolution("fused", activation="softmax")(x)
    y = layers.Activation("softmax")(convolution("apart")(y))
    assert found(x, layers.Dense(5)(layers.GlobalAveragePooling2D()(y))) == {}


def test_an_activation_of_the_users_own_is_frozen() -> None:
    x = image()
    y = convolution("own", activation=lambda tensor: tensor[..., ::-1])(x)
    assert found(x, layers.Dense(5)(layers.GlobalAveragePooling2D()(y))) == {}


def test_channels_at_the_same_place_of_all_groups_of_a_convolution_go_together() -> None:
    x = image()
    y = convolution("pairs", 6, groups=2)(convolution("before", 4)(x))
    model = keras.Model(x, layers.Dense(5)(layers.GlobalAveragePooling2D()(y)))
    assert [group.channels for group in groups(model)] == [
        tuple((("before", i), ("before", i + 2)) for i in range(2)),
        tuple((("pairs", i), ("pairs", i + 3)) for i in range(3)),
    ]


def test_a_convolution_with_a_group_per_channel_passes_channels_on() -> None:
    x = image()
    y = convolution("depthwise", groups=4)(convolution("before")(x))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    assert found(x, y) == {("before",): 4}


def test_a_separable_convolution_ends_channels_and_begins_new_ones() -> None:
    x = image()
    y = layers.SeparableConv2D(6, 3, depth_multiplier=2, name="separable")(convolution("a")(x))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.PReLU()(y)))
    assert found(x, y) == {("a",): 4, ("separable",): 6}


def test_batch_normalisation_over_another_axis_is_frozen() -> None:
    x = image()
    y = layers.BatchNormalization(axis=1)(convolution("before")(x))
    assert found(x, layers.Dense(5)(layers.GlobalAveragePooling2D()(y))) == {}


def test_images_of_unknown_size_are_fine_for_a_fully_convolutional_network() -> None:
    x = keras.Input((None, None, 3))
    y = layers.MaxPooling2D()(convolution("first")(x))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    assert found(x, y) == {("first",): 4}
