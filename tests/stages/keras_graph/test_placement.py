"""One test per rule of stages/keras_graph/placement.py."""

from __future__ import annotations

import dataclasses

import keras
import pytest
from keras import layers

from stages.artifacts.signature import Head, Signature
from stages.errors import ModelError
from stages.keras_graph.fake_quant import layer_name, simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.outputs import with_named_outputs
from stages.keras_graph.placement import fed_layers, inputs_of_weighted, only, points, tied
from stages.quantization.calibrate import find_ranges, observe
from tests.stages.networks import NETWORKS, SHAPE, images, randomized

SIGNATURE = Signature(SHAPE, ("a", "b", "c", "d"), scale=1 / 255, offset=0.0)


def place(model: keras.Model, signature: Signature = SIGNATURE):
    return points(fold(model), signature)


def small(*middle: layers.Layer) -> keras.Model:
    """Conv "first" - `middle` - Conv "second" - Flatten - Dense "logits"."""
    return keras.Sequential(
        [
            keras.Input(SHAPE, name="image"),
            layers.Conv2D(4, 3, padding="same", name="first"),
            *middle,
            layers.Conv2D(4, 3, padding="same", name="second"),
            layers.Flatten(),
            layers.Dense(4, name="logits"),
        ]
    )


def test_rule_1_inputs_of_weighted_layers_are_quantized_for_every_target():
    found = place(small(layers.ReLU(name="relu")))
    for target in ("tensorrt", "cpu"):
        assert {"image", "relu", "second"} <= only(found, target).keys()


def test_rule_1_outputs_of_weighted_layers_are_not_quantized_for_tensorrt():
    found = place(small(layers.ReLU(name="relu")))
    assert "first" not in found
    assert "logits" not in only(found, "tensorrt")


def test_rule_2_quantization_moves_up_through_layers_that_keep_values():
    middle = [layers.ReLU(name="relu"), layers.ZeroPadding2D(), layers.MaxPooling2D(name="pool")]
    found = place(small(*middle))
    assert "relu" in found
    assert "pool" not in found


@pytest.mark.parametrize(("interpolation", "is_point"), [("nearest", False), ("bilinear", True)])
def test_rule_2_values_that_are_repeated_are_those_of_before(interpolation, is_point):
    up = layers.UpSampling2D(interpolation=interpolation, name="up")
    found = place(small(layers.ReLU(name="relu"), up))
    assert "relu" in found
    assert ("up" in found) == is_point


def test_rule_2_a_fused_activation_is_quantized_behind_the_activation():
    found = place(small(layers.Conv2D(4, 3, activation="relu", name="conv")))
    assert "conv_activation" in found
    assert "conv" not in found


def test_rule_3_tensorrts_additions_have_one_arm_in_float_that_comes_from_a_convolution():
    folded = fold(NETWORKS["residual"]())
    found = only(points(folded, SIGNATURE), "tensorrt")
    quantized = {id(point.tensor) for point in found.values()}
    additions = [layer for layer in folded.layers if isinstance(layer, layers.Add)]
    for add in additions:
        (in_float,) = [arm for arm in add.input if id(arm) not in quantized]
        assert isinstance(in_float._keras_history.operation, layers.Conv2D)
    # The second has a convolution in both arms: the one behind two of them is in float.
    deep, projected = additions[1].input
    assert projected._keras_history.operation.kernel_size == (1, 1)
    assert [id(arm) in quantized for arm in (deep, projected)] == [False, True]


def test_rule_3_a_sum_without_convolutions_is_quantized_on_every_arm():
    image = keras.Input(SHAPE, name="image")
    arms = [layers.ReLU(name=name)(layers.Conv2D(4, 3)(image)) for name in ("one", "two")]
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(layers.Add()(arms))))
    assert {"one", "two"} <= only(place(model), "tensorrt").keys()


def test_rule_3_of_three_arms_one_is_in_float():
    image = keras.Input(SHAPE, name="image")
    arms = [layers.Conv2D(3, 3, padding="same", name=name)(image) for name in ("one", "two")]
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(layers.Add()([*arms, image]))))
    assert {"one", "two", "image"} & only(place(model), "tensorrt").keys() == {"two", "image"}


def test_rule_4_cpu_engines_get_both_arms_pools_and_linear_outputs_too():
    folded = fold(NETWORKS["residual"]())
    quantized = {id(p.tensor) for p in only(points(folded, SIGNATURE), "cpu").values()}
    for layer in folded.layers:
        if isinstance(layer, layers.Add):
            assert all(id(arm) in quantized for arm in layer.input)
        if isinstance(layer, layers.GlobalAveragePooling2D):
            assert id(layer.input) in quantized
    assert id(folded.outputs[0]) in quantized


def test_rule_4_cpu_engines_get_the_output_of_a_relu_whatever_reads_it():
    found = place(small(layers.ReLU(name="relu"), layers.LayerNormalization(name="norm")))
    assert {"relu", "norm"} <= only(found, "cpu").keys() & only(found, "litert").keys()
    assert "relu" not in only(found, "tensorrt")


def test_rule_4_a_layer_is_quantized_before_an_activation_that_engines_do_not_fuse():
    for activation in (layers.LeakyReLU(), layers.Activation("tanh")):
        assert "first" in only(place(small(activation)), "cpu")


@pytest.mark.parametrize("clamp", [layers.ReLU(4.0), layers.Activation("hard_tanh")])
def test_rule_4_a_clamp_behind_a_layer_is_quantized_behind_it_alone(clamp):
    found = only(place(small(clamp)), "cpu")
    assert "first" not in found
    assert clamp.name in found


def test_rule_4_a_layer_is_quantized_before_a_relu_if_something_else_reads_it():
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.Flatten()(layers.Add()([x, layers.ReLU(name="relu")(x)]))
    found = place(keras.Model(image, layers.Dense(4)(x)))
    assert {"conv", "relu"} <= only(found, "cpu").keys()


def test_rule_4_the_numbers_of_a_regression_are_quantized_nowhere():
    numbers = dataclasses.replace(SIGNATURE, task="regression", output="values")
    assert "logits" in place(small())
    assert place(small()).keys() - place(small(), numbers).keys() == {"logits"}
    several = dataclasses.replace(SIGNATURE, task="several", heads=(
        Head("kind", "classification", "logits", tuple("abcd"), ()),
        Head("box", "regression", "values", tuple("wxyz"), ()),
    ))  # fmt: skip
    body = layers.Flatten()(image := keras.Input(SHAPE, name="image"))
    heads = [layers.Dense(4, name=name)(body) for name in ("kind", "box")]
    assert place(keras.Model(image, heads), several).keys() == {"image", "kind"}
    by_name = {"kind": heads[0], "box": layers.Dense(4, name="called_otherwise")(body)}
    named = with_named_outputs(keras.Model(image, by_name))
    assert place(named, several).keys() == {"image", "kind"}


def test_rule_4_tensorrts_points_are_a_part_of_the_cpus():
    for build in NETWORKS.values():
        found = place(build())
        assert only(found, "tensorrt").keys() <= only(found, "cpu").keys() == found.keys()


def test_rule_5_a_small_first_convolution_over_few_channels_stays_float_in_litert():
    found = place(small())
    assert "image" not in only(found, "litert")
    assert only(found, "litert").keys() == only(found, "cpu").keys() - {"image"}


def test_rule_5_a_large_kernel_or_enough_channels_are_int8_in_litert_too():
    image = keras.Input(SHAPE, name="image")
    wide = layers.Conv2D(64, 7, padding="same")(image)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(wide)))
    assert "image" in only(place(model), "litert")
    image = keras.Input((12, 12, 4), name="image")
    model = keras.Model(image, layers.Flatten()(layers.Conv2D(4, 3)(image)))
    assert "image" in only(place(model), "litert")


@pytest.mark.parametrize("activation", ["relu", "relu6", "sigmoid", "softmax", "softplus"])
def test_rule_6_what_cannot_be_negative_is_unsigned(activation):
    found = place(small(layers.Activation(activation, name="act"), layers.AveragePooling2D(2)))
    assert not found["act"].signed


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu", "swish", "gelu"])
def test_rule_6_what_can_be_negative_is_signed(activation):
    assert place(small(layers.Activation(activation, name="act")))["act"].signed


def test_rule_6_what_has_no_activation_is_signed():
    assert place(small(layers.Activation("linear")))["first"].signed


def test_rule_6_a_relu_with_a_limit_is_unsigned():
    assert not place(small(layers.ReLU(4.0, name="act")))["act"].signed


def test_rule_6_a_leaky_relu_layer_is_signed():
    assert place(small(layers.ReLU(negative_slope=0.1, name="act")))["act"].signed


def test_rule_6_a_sum_is_signed_if_one_of_its_arms_is():
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    linear = layers.Conv2D(4, 3, padding="same")(x)
    y = layers.Add(name="mixed")([x, linear])
    z = layers.Add(name="positive")([x, layers.ReLU()(linear)])
    y, z = (layers.Conv2D(4, 3, padding="same")(t) for t in (y, z))
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(layers.Concatenate()([y, z]))))
    found = place(model)
    assert found["mixed"].signed
    assert not found["positive"].signed


def test_the_image_is_signed_only_if_preprocessing_makes_pixels_negative():
    centred = Signature(SHAPE, SIGNATURE.class_names, scale=2 / 255, offset=-1.0)
    assert not place(small())["image"].signed
    assert place(small(), centred)["image"].signed


def test_names_of_points_stay_the_same_when_the_folded_model_is_saved(tmp_path):
    folded = fold(NETWORKS["shared"]())
    folded.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert list(points(again, SIGNATURE)) == list(points(folded, SIGNATURE))


def test_a_model_without_anything_to_quantize_is_refused():
    image = keras.Input(SHAPE)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(image))
    with pytest.raises(ModelError, match="no convolution or Dense layer"):
        points(model, SIGNATURE)


def test_rule_7_pools_and_concatenations_share_one_scale():
    folded = fold(NETWORKS["concatenated"]())
    found = points(folded, SIGNATURE)
    (group,) = tied(folded, found)
    operations = {name: found[name].tensor._keras_history.operation for name in group}
    kinds = sorted(type(operation).__name__ for operation in operations.values())
    assert kinds == ["AveragePooling2D", "Concatenate", "ReLU", "ReLU"]


def test_rule_7_a_clamp_and_a_relu_with_a_threshold_share_the_scale_of_what_else_is_read():
    def clamped(x, y):
        return x + y + keras.ops.clip(x, -0.2, 0.4) + layers.ReLU(threshold=0.1, name="on")(y)

    folded = fold(two_arms(clamped))
    found = points(folded, SIGNATURE)
    groups = sorted(map(sorted, tied(folded, found)))
    assert [len(group) for group in groups] == [2, 2]
    assert groups[0][0].startswith("clip")
    assert [groups[0][1], *groups[1]] == ["left", "on", "right"]
    assert all(found[name].signed for group in groups for name in group)


def test_rule_7_a_clamp_of_a_float_sum_has_all_steps_for_itself():
    folded = fold(two_arms(lambda x, y: layers.ReLU(4.0, name="act")(x + y)))
    found = points(folded, SIGNATURE)
    assert tied(folded, found) == []
    assert not found["act"].signed


def test_rule_7_nothing_is_tied_where_there_is_no_pool():
    folded = fold(small(layers.ReLU()))
    assert tied(folded, points(folded, SIGNATURE)) == []


@pytest.mark.parametrize(
    "choose",
    [
        lambda x, y: layers.Maximum()([x, y]),
        lambda x, y: keras.ops.minimum(x, y),
        lambda x, y: keras.ops.where(x > y, x, y),
        lambda x, y: keras.ops.max(keras.ops.stack([x, y], 1), axis=1),
    ],
)
def test_rule_7_what_is_chosen_of_two_tensors_shares_their_scale(choose):
    folded = fold(two_arms(choose))
    found = points(folded, SIGNATURE)
    (group,) = tied(folded, found)
    assert len(group - {"left", "right"}) == 1
    assert all(found[name].signed for name in group)


def test_a_choice_between_constants_alone_is_tied_to_nothing():
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(4, 3, name="first")(image)
    chosen = keras.ops.where(x > 0, 1.0, 0.0)
    folded = fold(keras.Model(image, layers.Conv2D(4, 3, name="second")(chosen)))
    found = points(folded, SIGNATURE)
    assert len(found) == 4
    assert tied(folded, found) == []


@pytest.mark.parametrize(("constant", "signed"), [(-0.5, True), (None, False)])
def test_rule_6_a_choice_is_signed_if_it_may_be_a_constant(constant, signed):
    def choose(x, y):
        x, y = keras.ops.relu(x), keras.ops.relu(y)
        return keras.ops.where(x > y, x, y if constant is None else constant)

    found = place(two_arms(choose))
    (chosen,) = (each for name, each in found.items() if name.startswith("where"))
    assert chosen.signed is signed


def test_rule_5_a_later_convolution_over_few_channels_is_int8_in_litert():
    two = layers.Conv2D(2, 1, name="two")
    found = place(small(layers.ReLU(), two, layers.ReLU(name="few"), layers.Conv2D(1, 3)))
    assert "litert" in found["few"].targets


def two_arms(merge) -> keras.Model:
    image = keras.Input(SHAPE, name="image")
    x, y = (layers.Conv2D(4, 3, name=name)(image) for name in ("left", "right"))
    x = layers.Conv2D(4, 3, activation="relu")(merge(x, y))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def test_a_point_knows_the_layers_that_read_it_through_pools():
    folded = fold(small(layers.ReLU(name="relu"), layers.MaxPooling2D()))
    found = points(folded, SIGNATURE)
    assert fed_layers(folded, found) == {
        "image": ("first",),
        "relu": ("second",),
        "second": ("logits",),
    }
    outputs = {id(folded.get_layer(name).output) for name in ("first", "second", "logits")}
    assert inputs_of_weighted(folded, found).keys() == outputs


@pytest.mark.parametrize(
    ("scale", "offset", "limits"),
    [
        (1 / 255, 0.0, (0.0, 1.0)),
        (1 / 128, -1.0, (-1.0, 127 / 128)),
        (2.0, -1.0, (-1.0, 509.0)),
        (-1.0, -5.0, (-260.0, 0.0)),
        (0.5, 2.0, (0.0, 129.5)),
    ],
)
def test_rule_8_the_range_of_the_image_is_that_of_all_pixels(scale, offset, limits):
    model = fold(NETWORKS["plain"]())
    found = points(model, dataclasses.replace(SIGNATURE, scale=scale, offset=offset))
    assert found["image"].limits == pytest.approx(limits)
    assert [point.name for point in found.values() if point.limits is not None] == ["image"]


def test_rule_8_the_range_of_the_image_is_neither_calibrated_nor_trained():
    model = fold(randomized(NETWORKS["plain"]()))
    placed = points(model, SIGNATURE)
    dark = [images(4) / 2]
    found = find_ranges(model, placed, observe(model, placed, dark), "max", 100.0)
    assert (found["image"].low, found["image"].high) == (0.0, pytest.approx(1.0))
    assert not simulate(model, placed, found).get_layer(layer_name("image")).trainable_variables
