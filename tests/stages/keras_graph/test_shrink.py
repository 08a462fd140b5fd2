"""A shrunk network against the same network, with NaN in all that was removed.

The oracle knows nothing of groups: it runs the whole network, puts NaN into the channels that
were removed where they are computed, and reads NaN as 0 where channels are mixed. A channel that
went on one side of an Add only, or that reaches something unforeseen, spoils the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages.keras_graph.channels import groups
from stages.keras_graph.fold import flatten
from stages.keras_graph.shrink import shrink
from stages.keras_graph.walk import Call, walk
from stages.models import unet

MIXING = (
    layers.Conv1D,
    layers.Conv1DTranspose,
    layers.Conv2D,
    layers.Conv2DTranspose,
    layers.Conv3D,
    layers.Conv3DTranspose,
    layers.Dense,
    layers.EinsumDense,
    layers.MultiHeadAttention,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
CHANNELWISE = (
    layers.Activation,
    layers.MaxPooling1D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling3D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.PReLU,
    layers.ReLU,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
)
"""Layers that keep channels apart but may put a number in the place of a NaN."""


def randomise(flat: keras.Model) -> keras.Model:
    """Fill biases and batch normalisation, which start as 0 and 1 and would hide mistakes.

    Moving averages become those of one batch, else the signal dies in a deep network.
    """
    rng = np.random.default_rng(0)
    for variable in flat.weights:
        if variable.path.endswith("/gamma"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("/bias", "/beta", "/alpha")):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    for layer in flat.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    flat(pixels(flat, 32), training=True)
    return flat


def pixels(model: keras.Model, count: int) -> np.ndarray:
    """Random images as float32 (count, H, W, C); some applications scale them from 0..255."""
    rng = np.random.default_rng(count)
    return rng.uniform(0, 255, (count, *model.input_shape[1:])).astype(np.float32)


def channelwise(operation: Any, inputs: Any) -> np.ndarray:
    """Run a layer that may lose NaN, and put it back: every channel is all NaN or has none."""
    values = np.asarray(inputs)
    gone = np.isnan(values).all(axis=tuple(range(values.ndim - 1)))
    result = np.array(operation(np.nan_to_num(values)))
    result[..., gone] = np.nan
    return result


def is_depthwise(call: Call) -> bool:
    return 1 < getattr(call.operation, "groups", 1) == call.inputs[0].shape[-1]


def run_with_nan(flat: keras.Model, removed: dict[str, list[int]], images: Any) -> np.ndarray:
    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        if isinstance(call.operation, CHANNELWISE):
            return channelwise(call.operation, args[0])
        if isinstance(call.operation, MIXING) and not is_depthwise(call):
            args = tuple(np.nan_to_num(np.asarray(each)) for each in args)
        result = np.array(call.operation(*args, **kwargs))
        result[..., removed.get(call.operation.name, [])] = np.nan
        return result

    return walk(flat, [images], visit)[0]


def without_heads_channels(flat: keras.Model, removed: dict[str, list[int]]) -> None:
    """Zeros, in place, for what attention layers make inside: no NaN can be put there."""
    for layer in flat.layers:
        if isinstance(layer, layers.MultiHeadAttention):
            for part in ("query", "key", "value"):
                gone = removed.get(f"{layer.name}/{part}", [])
                for variable in getattr(layer, f"{part}_dense").weights:
                    values = np.array(variable)
                    values[..., gone] = 0
                    variable.assign(values)


def shrink_at_random(
    model: keras.Model, seed: int = 0
) -> tuple[keras.Model, keras.Model, dict[str, list[int]]]:
    """The flat model, the same without about half of the channels, and what was removed."""
    rng = np.random.default_rng(seed)
    flat = randomise(flatten(model))
    removed: dict[str, list[int]] = {}
    kept = []
    for group in groups(flat):
        order = rng.permutation(len(group.channels))
        keep = np.sort(order[: max(1, len(order) // 2)])
        kept.append(keep)
        for channel in np.setdiff1d(order, keep):
            for name, position in group.channels[channel]:
                removed.setdefault(name, []).append(position)
    return flat, shrink(flat, kept), removed


def relative_difference(model: keras.Model) -> float:
    """Shrunk against full network with NaN, relative to the largest output."""
    flat, small, removed = shrink_at_random(model)
    assert small.count_params() < flat.count_params()
    without_heads_channels(flat, removed)
    images = pixels(flat, 4)
    expected = run_with_nan(flat, removed, images)
    assert expected.std(axis=0).max() > 1e-3 * np.abs(expected).max(), "the signal died"
    difference = np.abs(np.asarray(small(images)) - expected).max()
    return float(difference / np.abs(expected).max())


def mnist_cnn(x: Any) -> Any:
    for filters in (6, 8):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(12)(layers.Flatten()(x))
    x = layers.Dropout(0.5)(layers.Activation("relu")(layers.BatchNormalization()(x)))
    return layers.Dense(5)(x)


def residual(x: Any) -> Any:
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    y = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same")(y))
    x = layers.ReLU()(layers.Add()([layers.Conv2D(12, 1, strides=2)(x), y]))
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def depthwise_separable(x: Any) -> Any:
    x = layers.ReLU(6.0)(layers.Conv2D(8, 3, strides=2)(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.ZeroPadding2D()(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(10, 1)(x)
    x = layers.Conv2D(20, 3, groups=10, padding="same", activation="relu")(x)
    x = layers.AveragePooling2D(2)(layers.Conv2D(7, 1, activation="silu")(x))
    return layers.Dense(5)(layers.Reshape((-1,))(x))


def dense_block(x: Any) -> Any:
    x = layers.Conv2D(6, 3, padding="same")(x)
    for _ in range(3):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(8, 1, activation="relu")(y))
        x = layers.Concatenate()([x, y])
    return layers.Dense(5)(layers.Flatten()(layers.MaxPooling2D(4)(x)))


def squeeze_excite(x: Any) -> Any:
    x = layers.Conv2D(8, 3, padding="same", activation="swish")(x)
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(8, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(gate))
    spatial = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    x = layers.Multiply()([layers.Multiply()([x, gate]), spatial])
    return layers.Dense(5)(layers.GlobalMaxPooling2D()(x))


def nested(x: Any) -> Any:
    inner_input = keras.Input((14, 14, 6))
    inner = layers.Conv2D(6, 3, padding="same", activation="relu")(inner_input)
    inner = layers.Add()([inner, inner_input])
    block = keras.Sequential([layers.Conv2D(6, 3, padding="same"), layers.MaxPooling2D()])
    x = keras.Model(inner_input, inner)(block(x))
    head = keras.Sequential([layers.Flatten(), layers.Dense(9, activation="elu"), layers.Dense(5)])
    return head(x)


def shared(x: Any) -> Any:
    convolution = layers.Conv2D(8, 3, padding="same", activation="relu")
    norm = layers.BatchNormalization()
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = norm(convolution(norm(convolution(x))))
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def operators(x: Any) -> Any:
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = keras.ops.relu(layers.Conv2D(8, 3, padding="same")(x) + x) * 0.5
    x = layers.Maximum()([x, layers.Conv2D(8, 1)(x)]) - layers.Conv2D(8, 1)(x)
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def unscaled_norms(x: Any) -> Any:
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(8, 3)(x))
    x = layers.BatchNormalization(center=False)(layers.Conv2D(8, 3)(layers.ReLU()(x)))
    x = layers.BatchNormalization(scale=False, center=False)(layers.Conv2D(8, 3)(x))
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def upsampled(x: Any) -> Any:
    x = layers.Conv2DTranspose(8, 3, strides=2, activation="leaky_relu")(x)
    x = layers.UpSampling2D()(layers.Cropping2D(3)(x))
    x = layers.SpatialDropout2D(0.1)(layers.Conv2D(6, 3, strides=4)(x))
    x = layers.Concatenate(axis=3)([x, layers.Identity()(x), layers.LeakyReLU()(x)])
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def separable(x: Any) -> Any:
    x = layers.SeparableConv2D(8, 3, depth_multiplier=2, activation="relu")(x)
    x = layers.SeparableConv2D(10, 3, depth_multiplier=3, use_bias=False)(x)
    y = layers.SeparableConv2D(10, 3, padding="same")(layers.ReLU()(x))
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.Add()([x, y])))


def grouped(x: Any) -> Any:
    """As in ResNeXt; the last has as many inputs as groups once it is shrunk."""
    x = layers.Conv2D(12, 1, activation="relu")(x)
    x = layers.Conv2D(18, 3, groups=3, activation="relu")(x)
    x = layers.Conv2D(12, 1, activation="relu")(x)
    x = layers.Conv2D(24, 3, groups=6, use_bias=False)(x)
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x)))


def learned_slopes(x: Any) -> Any:
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 3)(x))
    x = layers.PReLU(shared_axes=[1, 2, 3])(layers.Conv2D(8, 3)(x))
    x = layers.Flatten()(layers.PReLU()(layers.Conv2D(6, 3)(x)))
    return layers.Dense(5)(layers.PReLU()(layers.Dense(9)(x)))


def sequences(x: Any) -> Any:
    x = layers.Reshape((36, 8))(layers.Conv2D(8, 3, strides=2, padding="same")(x))
    x = layers.Conv1D(12, 3, padding="causal", use_bias=False)(x)
    x = layers.MaxPooling1D(2)(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.Conv1D(12, 3, groups=2, strides=2)(layers.Conv1D(12, 3, groups=12)(x))
    x = layers.AveragePooling1D(2)(layers.Dense(10, activation="relu")(x))
    both = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    return layers.Dense(5)(layers.Concatenate()(both))


def attentive(x: Any) -> Any:
    """Attention of positions to themselves, by a shared layer, and to others."""
    x = layers.Conv2D(8, 3, strides=4)(layers.Conv2D(6, 3, activation="relu")(x))
    x = layers.Reshape((-1, 8))(layers.ReLU()(x))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 3, value_dim=4)(x, x)])
    x = layers.Dense(6, activation="relu")(x)
    wide = layers.MultiHeadAttention(2, 3, use_bias=False, output_shape=10)(x, x, x)
    x = layers.Dense(6, activation="relu")(wide)
    shared = layers.MultiHeadAttention(1, 4)
    x = shared(x, x) + shared(x, x, attention_mask=np.tril(np.ones((1, 4, 4))))
    y = layers.Dense(5)(layers.Dense(7, activation="relu")(x))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 2)(x, y)])
    x = layers.Dense(9, activation="relu")(x)
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(x))


def einsums(x: Any) -> Any:
    """Sums over one axis, over heads, with biases of every form, and one that keeps channels."""
    x = 0.004 * x  # or the softmax would be sure, and hide mistakes
    x = layers.EinsumDense("...x,xy->...y", 8, bias_axes="y", activation="relu")(x)
    x = layers.Reshape((25, 8))(layers.Conv2D(8, 3, strides=2)(x))
    x = layers.EinsumDense("abc,cde->abde", (25, 3, 6), activation="relu", bias_axes="de")(x)
    x = layers.EinsumDense("abde,dec->abc", (25, 10), bias_axes="b", name="back")(x)
    x = layers.EinsumDense("abc,bd->adc", (7, 10))(layers.Conv1D(10, 3)(x))
    x = layers.EinsumDense("abc,cd->abd", (7, 8), activation="softmax")(x)
    x = layers.EinsumDense("abc,bcd->ad", 9, bias_axes="d")(x)
    return layers.Dense(5)(x)


def partly_unknown(x: Any) -> Any:
    """Channels that reach a layer without a rule stay; those before and after may go."""
    x = layers.Conv2D(8, 3, padding="same")(layers.Conv2D(6, 3, padding="same")(x))
    x = layers.LayerNormalization()(x)
    x = layers.Conv2D(8, 3, groups=2)(layers.Conv2D(8, 3)(layers.Conv2D(6, 1)(x)))
    x = layers.Concatenate(axis=1)([x, x])
    x = layers.Permute((3, 1, 2))(layers.Conv2D(8, 1, activation="softmax")(x))
    x = layers.Conv2D(9, 3)(x) * np.arange(9, dtype=np.float32)
    return layers.Dense(5)(layers.Dense(7)(layers.GlobalAveragePooling2D()(x)))


NETS: list[Callable[[Any], Any]] = [
    mnist_cnn,
    residual,
    depthwise_separable,
    dense_block,
    squeeze_excite,
    nested,
    shared,
    operators,
    unscaled_norms,
    upsampled,
    separable,
    grouped,
    learned_slopes,
    sequences,
    attentive,
    einsums,
    partly_unknown,
]


def build(net: Callable[[Any], Any]) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((28, 28, 2) if net is nested else (12, 12, 2), name="image")
    return keras.Model(image, net(image))


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_a_shrunk_network_equals_the_full_one_without_what_was_removed(
    net: Callable[[Any], Any],
) -> None:
    assert relative_difference(build(net)) <= 1e-5


@pytest.mark.parametrize(
    ("name", "options"), [("MobileNetV2", {"alpha": 0.35}), ("MobileNetV3Small", {})]
)
def test_a_shrunk_application_equals_the_full_one_without_what_was_removed(
    name: str, options: dict[str, Any]
) -> None:
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        input_shape=(32, 32, 3), weights=None, classes=7, classifier_activation=None, **options
    )
    assert relative_difference(model) <= 1e-5


def test_the_small_network_has_the_same_names_and_its_own_weights() -> None:
    flat, small, _ = shrink_at_random(build(residual))
    before = flat.get_weights()
    for variable in small.weights:
        variable.assign(variable * 0 + 7)
    for old, new in zip(before, flat.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [tensor.name for tensor in small.inputs] == ["image"]
    assert [layer.name for layer in small.layers] == [layer.name for layer in flat.layers]
    assert small.output_shape == flat.output_shape


def test_keeping_every_channel_changes_no_bit() -> None:
    flat = randomise(flatten(build(dense_block)))
    same = shrink(flat, [np.arange(len(group.channels)) for group in groups(flat)])
    for old, new in zip(flat.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_network_loses_channels_on_both_sides_of_its_skips() -> None:
    assert relative_difference(unet.build((12, 12, 2), 3)) <= 1e-5


def test_heads_lose_channels_of_query_and_key_together_and_of_value() -> None:
    image = keras.Input((6, 4))
    attention = layers.MultiHeadAttention(2, 8, value_dim=6, name="heads")
    answers = layers.Dense(3)(layers.Flatten()(attention(image, image[:, :3])))
    model = randomise(flatten(keras.Model(image, answers)))
    sizes = {group.layers: len(group.channels) for group in groups(model)}
    assert sizes == {("heads/query", "heads/key"): 8, ("heads/value",): 6}
    kept = {("heads/query", "heads/key"): [1, 4, 5], ("heads/value",): [0, 2]}
    small = shrink(model, [np.array(kept[group.layers]) for group in groups(model)])
    heads = small.get_layer("heads")
    assert (heads.key_dim, heads.value_dim, heads.num_heads) == (3, 2, 2)
    gone = {
        "heads/query": [0, 2, 3, 6, 7],
        "heads/key": [0, 2, 3, 6, 7],
        "heads/value": [1, 3, 4, 5],
    }
    without_heads_channels(model, gone)
    batch = np.random.default_rng(1).normal(size=(5, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(small(batch), model(batch), atol=1e-5)


@pytest.mark.skipif(
    "use_gate" not in inspect.signature(layers.MultiHeadAttention).parameters,
    reason="this Keras has no gates in attention",
)
def test_the_gate_of_an_attention_layer_loses_the_channels_of_its_values() -> None:
    def gated(x: Any) -> Any:
        x = layers.Reshape((16, 6))(layers.Conv2D(6, 3, strides=3, padding="same")(0.004 * x))
        x = layers.MultiHeadAttention(2, 4, value_dim=6, use_gate=True, name="heads")(x, x)
        return layers.Dense(5)(layers.Flatten()(x))

    assert relative_difference(build(gated)) <= 1e-5


def test_heads_of_an_attention_layer_with_lora_stay() -> None:
    attention = layers.MultiHeadAttention(2, 8)
    image = keras.Input((6, 4))
    model = keras.Model(image, layers.Flatten()(attention(image, image)))
    attention.query_dense.enable_lora(2)
    assert groups(model) == []


def test_attention_that_is_frozen_is_so_without_some_of_its_channels():
    image = keras.Input((4, 6), name="image")
    attention = layers.MultiHeadAttention(2, 8, name="heads")
    model = keras.Model(image, layers.Dense(3)(attention(image, image)))
    attention.trainable = False
    found = groups(model)
    smaller = shrink(model, [np.arange(len(group.channels) // 2) for group in found])
    assert smaller.count_params() < model.count_params()
    assert len(smaller.trainable_variables) == 2
