from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.keras_graph.fold import fold
from stages.keras_graph.walk import calls
from tests.stages.networks import SHAPE, images, randomized


def branches(cases: dict[str, list[layers.Layer]]) -> keras.Model:
    """One output for each list: Conv - its first - BatchNormalization - the others - Dense."""
    image = keras.Input(SHAPE, name="image")
    outputs = []
    for name, (activation, *behind) in cases.items():
        x = layers.Conv2D(8, 3, padding="same", name=f"{name}_before")(image)
        x = layers.BatchNormalization(name=f"{name}_norm")(activation(x))
        for layer in behind:
            x = layer(x)
        outputs.append(layers.Dense(4, name=f"{name}_logits")(layers.Flatten()(x)))
    return keras.Model(image, outputs)


def randomly(model: keras.Model, has_negative_gammas: bool = False) -> keras.Model:
    """`randomized`, with statistics as far apart as those of nearly dead channels are."""
    rng = np.random.default_rng(1)
    for layer in randomized(model).layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            if has_negative_gammas:
                gamma *= rng.choice([-1.0, 1.0], gamma.shape)
            layer.set_weights([gamma, beta, mean, variance * 10.0 ** rng.uniform(-3, 1, 8)])
    return model


def kinds(model: keras.Model) -> list[str]:
    wanted = (layers.BatchNormalization, layers.DepthwiseConv2D)
    return [type(layer).__name__ for layer in model.layers if isinstance(layer, wanted)]


def assert_equal_outputs(model: keras.Model, folded: keras.Model) -> None:
    outputs = (keras.tree.flatten(each(images(4))) for each in (model, folded))
    for expected, got in zip(*outputs, strict=True):
        assert np.allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def unpadded() -> dict[str, list[layers.Layer]]:
    pool = layers.AveragePooling2D(3, padding="same")
    return {
        "dense": [layers.ReLU()],
        "leaky": [layers.LeakyReLU(0.2), layers.Conv2D(6, 3)],
        "prelu": [layers.PReLU(shared_axes=[1, 2]), layers.Conv2D(6, 3)],
        "tiled": [layers.ReLU(), layers.Conv2D(6, 2, strides=2, padding="same")],
        "point": [layers.ReLU(), layers.Conv2D(6, 1, padding="same", strides=3)],
        "pool": [layers.ReLU(), layers.Dropout(0.5), pool, layers.Conv2D(6, 3)],
        "crop": [layers.ReLU(), layers.Cropping2D(2), layers.Conv2D(6, 3)],
        "max": [layers.MaxPooling2D(2), layers.Conv2D(6, 3, padding="valid")],
    }


@pytest.mark.parametrize("has_negative_gammas", [False, True])
def test_it_folds_around_a_relu_where_the_next_kernel_is_not_padded(has_negative_gammas):
    model = randomly(branches(unpadded()), has_negative_gammas)
    folded = fold(model)
    assert_equal_outputs(model, folded)
    assert kinds(folded) == []


def test_the_kernel_behind_keeps_its_magnitudes():
    """Scaled by input channel, all but the largest channels would lose their INT8 steps."""
    case = [layers.ReLU(), layers.Conv2D(6, 3, name="after")]
    model = randomly(branches({"case": case}), has_negative_gammas=True)
    before, after = (abs(m.get_layer("after").kernel.numpy()) for m in (model, fold(model)))
    assert np.array_equal(before, after)


def test_else_it_becomes_a_depthwise_convolution():
    pooled = [layers.MaxPooling2D(2, name="pool"), layers.Conv2D(6, 3, padding="same")]
    cases = {
        "same": [layers.ReLU(), layers.Conv2D(6, 3, padding="same")],
        "pooled": [layers.ReLU(), *pooled],
        "zeros": [layers.ReLU(), layers.ZeroPadding2D(1), layers.Conv2D(6, 3)],
        "transposed": [layers.ReLU(), layers.Conv2DTranspose(6, 3)],
        "groups": [layers.ReLU(), layers.Conv2D(6, 3, groups=2)],
        "sigmoid": [layers.ReLU(), layers.Activation("sigmoid"), layers.Conv2D(6, 3)],
        "relu6": [layers.ReLU(6.0), layers.Conv2D(6, 3)],
        "tanh": [layers.Activation("tanh")],
    }
    model = randomly(branches(cases))
    folded = fold(model)
    assert_equal_outputs(model, folded)
    assert all(folded.get_layer(f"{name}_norm").kernel_size == (1, 1) for name in cases)
    order = [call.operation.name for call in calls(folded)]
    assert order.index("pool") < order.index("pooled_norm")  # where there is less to compute


def test_a_negative_scale_does_not_move_past_a_max_pool():
    case = [layers.ReLU(), layers.MaxPooling2D(2), layers.Conv2D(6, 3)]
    model = randomly(branches({"case": case}), has_negative_gammas=True)
    folded = fold(model)
    assert_equal_outputs(model, folded)
    assert kinds(folded) == ["DepthwiseConv2D"]


def test_a_shift_of_zero_may_meet_padding():
    case = [layers.ReLU(), layers.ZeroPadding2D(1), layers.Conv2DTranspose(6, 3, padding="same")]
    model = randomly(branches({"case": case}))
    norm = model.get_layer("case_norm")
    gamma, _, _, variance = norm.get_weights()
    norm.set_weights([gamma, np.zeros(8), np.zeros(8), variance])
    folded = fold(model)
    assert_equal_outputs(model, folded)
    assert kinds(folded) == []


def test_what_does_not_come_from_a_kernel_or_is_no_image_stays():
    image = keras.Input(SHAPE, name="image")
    x = layers.ReLU()(layers.BatchNormalization(name="first")(image))
    x = layers.Dense(8, activation="tanh")(layers.Flatten()(layers.Conv2D(4, 3)(x)))
    model = randomized(keras.Model(image, layers.BatchNormalization(name="last")(x)))
    folded = fold(model)
    assert_equal_outputs(model, folded)
    assert kinds(folded) == ["BatchNormalization", "BatchNormalization"]


def test_one_normalisation_behind_several_convolutions_folds_into_each_of_them():
    image = keras.Input(SHAPE, name="image")
    norm, x = layers.BatchNormalization(), image
    for _ in range(3):
        x = layers.ReLU()(norm(layers.Conv2D(8, 3)(x)))
    for _ in range(2):
        x = norm(layers.Conv2D(8, 3, padding="same", activation="relu")(x))
    model = randomized(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    folded = fold(model)
    assert_equal_outputs(model, folded)
    assert kinds(folded) == ["DepthwiseConv2D"]


def test_a_block_that_is_called_twice_folds_as_a_whole_and_its_parts_apart_do_not():
    image = keras.Input(SHAPE, name="image")
    both, apart = (layers.Conv2D(8, 3, padding="same", name=name) for name in ("both", "apart"))
    norm, x = layers.BatchNormalization(), layers.Conv2D(8, 1)(image)
    x = norm(both(layers.ReLU()(norm(both(x)))))
    x = layers.BatchNormalization()(apart(layers.BatchNormalization()(apart(x))))
    model = randomized(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    folded = fold(model)
    assert_equal_outputs(model, folded)
    assert kinds(folded) == ["DepthwiseConv2D", "DepthwiseConv2D"]


@pytest.mark.parametrize(
    "merge", [layers.Add(), layers.Concatenate(), lambda arms: arms[0] - arms[1]]
)
def test_a_norm_between_a_merge_and_a_relu_becomes_a_depthwise_convolution(merge):
    image = keras.Input(SHAPE, name="image")
    x, y = (layers.Conv2D(4, 3, padding="same", activation="relu")(image) for _ in range(2))
    x = layers.ReLU()(layers.BatchNormalization()(merge([x, y])))
    model = randomized(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    assert kinds(fold(model)) == ["DepthwiseConv2D"]
    assert_equal_outputs(model, fold(model))
