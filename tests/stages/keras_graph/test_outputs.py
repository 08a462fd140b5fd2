from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from stages.errors import ModelError
from stages.keras_graph.outputs import made_by, names_of, with_named_outputs
from tests.stages.networks import NETWORKS, images

Head = Callable[[Any], Any]


@keras.saving.register_keras_serializable("tests")
class OwnSoftmax(layers.Layer):
    def call(self, x):
        return ops.softmax(x)


def nested(x: Any) -> Any:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Softmax()], name="head")
    return inner(x)


def by_hand(x: Any) -> Any:
    powers = ops.exp(x - ops.max(x, axis=-1, keepdims=True))
    return powers / ops.sum(powers, axis=-1, keepdims=True)


def per_place(x: Any) -> Any:
    """A softmax over the channels at every place, averaged over all places."""
    return layers.GlobalAveragePooling2D()(layers.Softmax()(layers.Reshape((1, 1, 4))(x)))


def attention(x: Any) -> Any:
    return layers.Multiply()([x, layers.Softmax()(x)])


def along_the_wrong_axis(x: Any) -> Any:
    return layers.Flatten()(layers.Softmax(axis=1)(layers.Reshape((2, 2))(x)))


def confident_sigmoids(x: Any) -> Any:
    """Shares of 1 on every image, by accident: nothing but the graph can tell."""
    layer = layers.Dense(4, activation="sigmoid")
    y = layer(x)
    layer.set_weights([np.zeros((4, 4)), np.array([20.0, -20.0, -20.0, -20.0])])
    return y


SOFTMAXED: dict[str, Head] = {
    "fused": layers.Dense(4, activation="softmax"),
    "a fused layer": layers.Dense(4, activation=layers.Softmax()),
    "a layer": layers.Softmax(),
    "an activation": layers.Activation("softmax"),
    "an operation": ops.softmax,
    "before a reshape": lambda x: layers.Reshape((4,))(layers.Softmax()(x)),
    "before dropout": lambda x: layers.Dropout(0.5)(ops.softmax(x)),
    "two of them averaged": lambda x: layers.Average()([ops.softmax(x), ops.softmax(2 * x)]),
    "nested": nested,
    "by hand": by_hand,
    "per place": per_place,
    "own layer": lambda x: OwnSoftmax()(x),
}
OTHERS: dict[str, Head] = {
    "logits": lambda x: x,
    "sigmoid": layers.Activation("sigmoid"),
    "confident sigmoids": confident_sigmoids,
    "softmax in the middle": lambda x: layers.Dense(4)(layers.Softmax()(x)),
    "normalised afterwards": lambda x: layers.BatchNormalization()(ops.softmax(x)),
    "attention": attention,
    "another axis": along_the_wrong_axis,
    "logarithm": ops.log_softmax,
}


def model(head: Head) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3))
    x = layers.Dense(4)(layers.Flatten()(image))
    return keras.Model(image, head(x))


@pytest.mark.parametrize("name", SOFTMAXED)
def test_a_softmax_is_found_wherever_it_is_written(name):
    assert made_by(model(SOFTMAXED[name]), images(4), "softmax")


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_is_taken_for_a_softmax(name):
    assert not made_by(model(OTHERS[name]), images(4), "softmax")


def test_networks_of_every_kind_are_told_apart():
    found = {name for name, build in NETWORKS.items() if made_by(build(), images(4), "softmax")}
    assert found == {"separable"}


@pytest.mark.parametrize(
    "head", [layers.Activation("sigmoid"), ops.sigmoid, layers.Dense(2, "sigmoid")]
)
def test_a_sigmoid_is_found_and_is_no_softmax(head):
    assert made_by(model(head), images(4), "sigmoid")
    assert not made_by(model(head), images(4), "softmax")


@pytest.mark.parametrize("name", ["logits", "logarithm", "normalised afterwards"])
def test_logits_are_no_sigmoids(name):
    assert not made_by(model(OTHERS[name]), images(4), "sigmoid")


def test_of_several_outputs_each_is_judged_by_itself():
    image = keras.Input((12, 12, 3))
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(image))
    heads = [x, layers.Softmax()(x), layers.Activation("sigmoid")(x)]
    several = keras.Model(image, heads)
    for maker, number in (("softmax", 1), ("sigmoid", 2)):
        found = [made_by(several, images(4), maker, output) for output in range(3)]
        assert found == [output == number for output in range(3)]


def two_headed(**named: str) -> keras.Model:
    """Outputs "a" and "b" in a dictionary, made by layers of the names in `named`."""
    image = keras.Input((12, 12, 3))
    x = layers.Flatten(name="flat")(image)
    return keras.Model(
        image, {key: layers.Dense(2, name=name)(x) for key, name in reversed(named.items())}
    )


@pytest.mark.parametrize("named", [{"a": "a", "b": "b"}, {"a": "dense", "b": "other"}])
def test_outputs_of_a_dictionary_are_called_as_it_calls_them(named):
    model = two_headed(**named)
    found = with_named_outputs(model)
    assert set(names_of(found)) == {"a", "b"}
    expected = model(images(2))
    for name, tensor in zip(names_of(found), found(images(2)), strict=True):
        np.testing.assert_array_equal(tensor, expected[name])


def test_an_output_named_as_another_layer_is_refused():
    with pytest.raises(ModelError, match="names an output 'flat', as it does another layer"):
        with_named_outputs(two_headed(flat="dense", b="b"))


def test_outputs_of_one_layer_need_names():
    image = keras.Input((12, 12, 3))
    shared = layers.Dense(2, name="shared")
    flat = layers.Flatten()(image)
    with pytest.raises(ModelError, match="two outputs of the layer 'shared'"):
        names_of(keras.Model(image, [shared(flat), shared(2 * flat)]))


def test_a_list_within_the_dictionary_is_refused():
    image = keras.Input((12, 12, 3))
    flat = layers.Flatten()(image)
    nested = keras.Model(image, {"a": [layers.Dense(2)(flat)], "b": layers.Dense(2)(flat)})
    with pytest.raises(ModelError, match="returns a list as its output 'a', expected a tensor"):
        with_named_outputs(nested)
