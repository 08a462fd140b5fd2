"""A network without some of its blocks against the whole one, in which these blocks do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages.keras_graph.blocks import find_blocks, remove
from stages.keras_graph.channels import Group, Trace, groups
from stages.keras_graph.fold import flatten
from tests.stages.keras_graph.test_shrink import pixels, randomise


def network(body: Callable[[Any], Any], side: int = 8) -> keras.Model:
    """Flat, with random weights and statistics: `body` between an image and a classifier."""
    keras.utils.set_random_seed(0)
    image = keras.Input((side, side, 3), name="image")
    x = layers.ReLU()(layers.Conv2D(6, 3, padding="same", name="stem")(image))
    x = layers.GlobalAveragePooling2D()(body(x))
    return randomise(flatten(keras.Model(image, layers.Dense(4, name="logits")(x), name="net")))


def norm_relu(x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(x))


def basic(x: Any) -> Any:
    y = norm_relu(layers.Conv2D(8, 3, padding="same", name="a")(x))
    y = layers.BatchNormalization(name="last")(layers.Conv2D(6, 3, padding="same", name="b")(y))
    return layers.ReLU(name="after")(layers.Add()([y, x]))


def projection(x: Any) -> Any:
    y = norm_relu(layers.Conv2D(8, 3, strides=2, padding="same", name="a")(x))
    y = layers.BatchNormalization(name="last")(layers.Conv2D(8, 3, padding="same", name="b")(y))
    return layers.ReLU()(layers.Conv2D(8, 1, strides=2, name="p")(x) + y)


def inverted(x: Any) -> Any:
    y = norm_relu(layers.Conv2D(12, 1, name="expand")(x))
    y = norm_relu(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y))
    s = layers.GlobalAveragePooling2D(keepdims=True)(y)
    y = layers.Multiply()([y, layers.Conv2D(12, 1, activation="sigmoid", name="squeeze")(s)])
    y = layers.BatchNormalization(name="last")(layers.Conv2D(6, 1, name="project")(y))
    return layers.Add()([x, layers.Dropout(0.2)(y)])


def convnext(x: Any) -> Any:
    y = layers.LayerNormalization()(layers.DepthwiseConv2D(7, padding="same", name="d")(x))
    y = layers.Dense(12, activation="gelu", name="wide")(y)
    return x + layers.BatchNormalization(name="last")(layers.Dense(6, name="narrow")(y))


def attention(x: Any) -> Any:
    x = layers.Reshape((64, 6))(x)
    y = layers.MultiHeadAttention(2, 3, name="heads")(x, x)
    x = layers.Add()([layers.BatchNormalization(name="last")(y), x])
    return layers.Reshape((8, 8, 6))(x)


def nested(x: Any) -> Any:
    part = keras.Input((8, 8, 6))
    return keras.Model(part, basic(part), name="part")(x)


def silence(flat: keras.Model, name: str) -> None:
    """Let the normalisation `name` give zeros."""
    norm = flat.get_layer(name)
    norm.gamma.assign(np.zeros(norm.gamma.shape))
    norm.beta.assign(np.zeros(norm.beta.shape))


def assert_equal(one: keras.Model, other: keras.Model) -> None:
    images = pixels(one, 4)
    expected, found = (np.asarray(model(images, training=False)) for model in (one, other))
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (basic, ("a", "b")),
        (projection, ("a", "b")),
        (inverted, ("expand", "depthwise", "squeeze", "project")),
        (convnext, ("d", "wide", "narrow")),
        (attention, ("heads",)),
        (nested, ("a", "b")),
    ],
)
def test_a_residual_block_whose_last_gamma_is_zero_goes_without_a_trace(
    body: Callable[[Any], Any], names: tuple[str, ...]
) -> None:
    flat = network(body)
    assert [block.layers for block in find_blocks(flat)] == [names]
    before = remove(flat, [names])
    assert before.count_params() < flat.count_params()
    with pytest.raises(AssertionError):
        assert_equal(flat, before)
    silence(flat, "last")
    after = remove(flat, [names])
    assert_equal(flat, after)
    assert not {layer.name for layer in after.layers} & {*names, "last"}
    assert [tensor.name for tensor in after.inputs] == ["image"]


def test_a_relu_behind_a_relu_goes_with_the_block() -> None:
    smaller = remove(network(basic), [("a", "b")])
    assert [type(layer).__name__ for layer in smaller.layers].count("ReLU") == 1


class Shifted(layers.Layer):
    """Its activation is neither all that it computes nor the last of it."""

    activation = staticmethod(keras.activations.relu)

    def call(self, inputs: Any) -> Any:
        return 3 * self.activation(inputs - 0.2) - 0.5


class ShiftedReLU(layers.ReLU):
    def call(self, inputs: Any) -> Any:
        return 3 * super().call(inputs - 0.2) - 0.5


@pytest.mark.parametrize(
    "behind",
    [
        Shifted,
        ShiftedReLU,
        lambda: layers.GRU(6, activation="relu", return_sequences=True),
    ],
)
def test_layers_that_do_more_than_their_relu_stay_behind_a_relu_and_so_does_a_relu_behind_them(
    behind: Callable[[], layers.Layer],
) -> None:
    def body(x: Any) -> Any:
        x = layers.ReLU(name="before")(layers.Reshape((64, 6))(basic(x)))
        return layers.Reshape((8, 8, 6))(layers.ReLU(name="again")(behind()(x)))

    flat = network(body)
    silence(flat, "last")
    smaller = remove(flat, [("a", "b")])
    assert "again" in {layer.name for layer in smaller.layers}
    assert_equal(flat, smaller)


@pytest.mark.parametrize("kind", [layers.DepthwiseConv1D, layers.Conv1DTranspose])
def test_a_relu_behind_that_of_a_kernel_of_signals_does_nothing_and_goes(kind) -> None:
    def body(x: Any) -> Any:
        options = {} if kind is layers.DepthwiseConv1D else {"filters": 6}
        x = layers.ReLU(name="before")(layers.Reshape((64, 6))(basic(x)))
        x = kind(kernel_size=3, padding="same", activation="relu", **options)(x)
        return layers.Reshape((8, 8, 6))(layers.ReLU(name="again")(x))

    flat = network(body)
    silence(flat, "last")
    smaller = remove(flat, [("a", "b")])
    assert "again" not in {layer.name for layer in smaller.layers}
    assert_equal(flat, smaller)


def test_a_layer_that_repeats_a_shape_goes_exactly_if_it_was_the_identity() -> None:
    def body(x: Any) -> Any:
        x = norm_relu(layers.Conv2D(6, 3, padding="same", name="again")(x))
        x = norm_relu(layers.DepthwiseConv2D(3, padding="same", name="each")(x))
        return layers.Conv2D(8, 3, activation="relu", name="wider")(x)

    flat = network(body)
    assert [block.layers for block in find_blocks(flat)] == [("again",), ("each",)]
    identity = np.zeros((3, 3, 6, 6))
    identity[1, 1] = np.eye(6)
    flat.get_layer("again").set_weights([identity, np.zeros(6)])
    norm = flat.layers[flat.layers.index(flat.get_layer("again")) + 1]
    norm.epsilon = 0.0
    norm.set_weights([np.ones(6), np.zeros(6), np.zeros(6), np.ones(6)])
    assert_equal(flat, remove(flat, [("again",)]))


def test_several_blocks_go_at_once_or_one_after_the_other() -> None:
    def body(x: Any) -> Any:
        for name in "abc":
            x = layers.Add()([x, layers.Conv2D(6, 3, padding="same", name=name)(x)])
        return x

    flat = network(body)
    names = [block.layers for block in find_blocks(flat)]
    assert names == [("a",), ("b",), ("c",)]
    chosen = [names[2], names[0]]
    smaller = remove(flat, chosen)
    assert [block.layers for block in find_blocks(smaller)] == [
        each for each in names if each not in chosen
    ]
    # As in a later round: one of them is gone already.
    again = remove(remove(flat, chosen[:1]), chosen)
    assert_equal(smaller, again)


def test_a_block_goes_after_one_within_it_went_and_both_its_sides_are_of_one_size() -> None:
    def body(x: Any) -> Any:
        side = layers.Conv2D(6, 1, name="side")(x)
        inner = layers.Conv2D(6, 3, padding="same", name="outer")(x)
        again = layers.Conv2D(6, 3, padding="same", name="inner")(inner)
        return layers.Add()([side, layers.Add()([inner, again])])

    flat = network(body)
    names = [block.layers for block in find_blocks(flat)]
    assert names == [("inner",), ("outer", "inner")]
    first = remove(flat, names[:1])
    assert find_blocks(first) == []
    assert_equal(remove(first, names), remove(flat, names))


def several(x: Any) -> Any:
    """Blocks behind one another, within one another, and a layer that repeats a shape."""
    y = norm_relu(layers.Conv2D(6, 3, padding="same", name="again")(x))
    x = layers.Add()([y, layers.Conv2D(6, 3, padding="same", name="one")(y)])
    y = layers.Conv2D(6, 1, name="two")(x)
    y = layers.Add()([y, layers.Conv2D(6, 3, padding="same", name="within")(y)])
    return layers.Concatenate()([layers.Add()([x, y]), layers.Conv2D(2, 1, name="beside")(x)])


@pytest.mark.parametrize(
    "body", [basic, projection, inverted, convnext, attention, nested, several]
)
def test_the_channels_that_belong_together_without_blocks_are_known_without_making_the_rest(
    body: Callable[[Any], Any],
) -> None:
    flat = network(body)
    blocks = find_blocks(flat)
    for gone in [blocks, blocks[:1], blocks[-1:]]:
        found = Trace(flat, {id(block.end): block.start for block in gone}).groups()
        made = groups(remove(flat, [block.layers for block in gone]))
        assert channels_of(found) == channels_of(made)
        assert channels_of(found) != channels_of(groups(flat))


def channels_of(found: list[Group]) -> list[list[list[tuple[str, int]]]]:
    return sorted(sorted(map(sorted, group.channels)) for group in found)


def test_a_shared_layer_stays_with_the_call_that_stays() -> None:
    shared = layers.Conv2D(6, 3, padding="same", name="shared")

    def body(x: Any) -> Any:
        y = layers.Conv2D(6, 1, name="own")(shared(x))
        return shared(layers.Add()([x, y]))

    flat = network(body)
    names = [block.layers for block in find_blocks(flat)]
    assert names == [("own",)]
    smaller = remove(flat, names)
    assert "shared" in {layer.name for layer in smaller.layers}


def test_gates_equal_branches_and_layers_that_change_the_shape_are_no_blocks() -> None:
    def body(x: Any) -> Any:
        x = layers.Conv2D(6, 3, strides=2, padding="same")(x)
        twins = [layers.Conv2D(8, 3, padding="same")(x) for _ in range(2)]
        x = layers.Add()(twins)
        x = layers.Multiply()([x, layers.Conv2D(8, 3, padding="same")(x)])
        return layers.Conv2D(4, 3)(x)

    assert find_blocks(network(body)) == []
    image = keras.Input((4,))
    assert find_blocks(flatten(keras.Model(image, layers.Dense(4)(image)))) == []


def test_what_would_leave_the_input_unused_is_no_block() -> None:
    image = keras.Input((4, 4, 3))
    x = layers.Reshape((16, 3))(image)
    constant = layers.Embedding(16, 6)(keras.ops.zeros_like(x[..., 0], dtype="int32"))
    x = layers.Add()([layers.Dense(6, name="patches")(x), constant])
    flat = flatten(keras.Model(image, layers.Dense(2)(layers.Flatten()(x))))
    assert all(
        np.asarray(remove(flat, [block.layers])(pixels(flat, 2))).std() > 0
        for block in find_blocks(flat)
    )


def test_layers_that_are_no_block_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no removable blocks of 'net': \[\('stem',\)\]"):
        remove(network(basic), [("stem",)])
