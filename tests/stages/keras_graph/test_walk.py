from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.errors import ModelError
from stages.keras_graph.fold import flatten
from stages.keras_graph.walk import apply, calls, copy_weights, rebuild, walk
from tests.stages.networks import NETWORKS, SHAPE, images, randomized


@pytest.mark.parametrize("name", NETWORKS)
def test_walking_with_the_plain_visit_computes_what_the_model_computes(name):
    model = randomized(NETWORKS[name]())
    batch = keras.ops.convert_to_tensor(images(4))
    assert np.allclose(walk(model, [batch], apply)[0], model(batch), atol=1e-5)


def test_keras_operations_and_operators_are_walked_like_layers():
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3)(image)
    x = keras.ops.relu(x) + x * 2.0
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    batch = keras.ops.convert_to_tensor(images(2))
    assert np.allclose(walk(model, [batch], apply)[0], model(batch), atol=1e-5)


def test_a_rebuilt_model_has_inputs_of_the_same_name_and_shape():
    model = NETWORKS["residual"]()
    again = rebuild(model, apply)
    assert again.inputs[0].name == "image"
    assert again.inputs[0].shape == model.inputs[0].shape
    assert again.outputs[0].shape == model.outputs[0].shape


def test_a_shared_layer_has_one_call_for_each_use():
    found = [call.operation.name for call in calls(NETWORKS["shared"]())]
    assert found.count("twice") == 2


def test_calls_come_in_the_order_of_execution():
    model = NETWORKS["residual"]()
    seen = {id(tensor) for tensor in model.inputs}
    for call in calls(model):
        assert all(id(tensor) in seen for tensor in call.inputs)
        seen.update(id(tensor) for tensor in call.outputs)


def test_a_subclassed_model_is_refused_with_what_to_do():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ModelError, match="subclassed Own") as caught:
        calls(Own())
    assert "functional API" in caught.value.hint


class Doubled(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return 2 * super().call(x, training=training)


@pytest.mark.parametrize("is_inside", [False, True], ids=["alone", "in another"])
def test_a_model_that_computes_something_else_than_its_graph_is_refused(is_inside):
    model = Doubled([keras.Input(SHAPE), layers.Flatten(), layers.Dense(3)], name="mine")
    if is_inside:
        image = keras.Input(SHAPE)
        model = keras.Model(image, layers.Dense(2)(model(image)))
    with pytest.raises(ModelError, match=r"'mine' is a Doubled with a call\(\) of its own"):
        flatten(model)


class Noise(layers.Layer):
    def call(self, x, training=True):
        return 2 * x if training else x


@pytest.mark.parametrize(
    "layer",
    [Noise(), layers.Pipeline([layers.RandomBrightness(0.5)])],
    ids=["own", "pipeline"],
)
def test_what_is_computed_is_computed_for_inference_although_a_layer_trains_by_default(layer):
    image = keras.Input(SHAPE)
    model = randomized(keras.Model(image, layers.Flatten()(layer(image))))
    batch = keras.ops.convert_to_tensor(images(2))
    assert np.array_equal(walk(model, [batch], apply)[0], model(batch, training=False))
    copy = flatten(model)
    assert not np.allclose(copy(batch, training=True), copy(batch, training=False))


def test_a_nested_model_is_given_its_inputs_by_name_as_keras_gives_them():
    first, second = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    inner = keras.Model([second, first], layers.Dense(2)(first) - layers.Dense(2)(second))
    image = keras.Input((3,))
    called = inner({"first": image, "second": layers.Dense(3)(image)})
    model = randomized(keras.Model(image, called))
    batch = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert np.allclose(flatten(model)(batch), model(batch), atol=1e-6)


def test_a_nested_model_of_whole_numbers_sees_whole_numbers():
    number = keras.Input((3,), dtype="int32")
    inner = keras.Model(number, keras.ops.cast(number, "float32") * 2.0)
    image = keras.Input((3,))
    model = keras.Model(image, inner(image))
    batch = np.array([[0.4, 1.6, -2.5]], np.float32)
    assert np.array_equal(flatten(model)(batch), [[0.0, 2.0, -4.0]])


def test_a_sequential_model_without_an_input_is_refused():
    with pytest.raises(ModelError, match="no input shape"):
        calls(keras.Sequential([layers.Dense(3)]))


def test_a_copy_of_an_adapted_model_sees_pixels_as_the_model_does():
    inner = keras.Sequential([keras.Input(SHAPE), layers.Normalization()])
    model = keras.Sequential([keras.Input(SHAPE), inner, layers.Flatten()])
    inner.layers[0].adapt(images(8))
    copy = keras.models.clone_model(model)
    copy_weights(model, copy)
    np.testing.assert_allclose(copy(images(2)), model(images(2)), atol=1e-6)


def test_a_layer_that_was_changed_after_it_was_made_is_refused_with_what_to_do():
    image = keras.Input((4, 8))
    attention = layers.MultiHeadAttention(2, 4, name="heads")
    model = keras.Model(image, attention(image, image))
    attention.query_dense.enable_lora(2)
    with pytest.raises(ModelError, match=r"'heads' has 10 weights, but .* has 8: "):
        flatten(model)


class Half(layers.Layer):
    """Two layers, of which the first is frozen by whoever uses it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = layers.Dense(3), layers.Dense(3)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 3))
        self.built = True

    def call(self, x):
        return self.second(self.first(x))


def frozen_inside() -> keras.Model:
    image = keras.Input((4, 6), name="image")
    x = layers.MultiHeadAttention(2, 4, name="attention")(image, image)
    x = Half(name="half")(layers.Dense(6, name="learns")(x))
    model = keras.Model(image, layers.Dense(2, name="head")(x))
    model.get_layer("attention").trainable = False
    model.get_layer("half").first.trainable = False
    model.get_layer("head").bias.trainable = False
    return model


def test_what_is_frozen_inside_a_layer_is_frozen_in_its_copy():
    model = frozen_inside()
    copy = flatten(model)
    assert [each.trainable for each in copy.weights] == [each.trainable for each in model.weights]
    assert len(copy.trainable_variables) == 2 + 2 + 1
