from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from stages.errors import ModelError
from stages.keras_graph.fold import flatten
from stages.keras_graph.plain import NAME, plain, spelled
from stages.keras_graph.walk import calls
from stages.training.phases import thaw
from tests.stages.networks import SHAPE, images, nested, randomized


def mixed(dtype: str) -> keras.Model:
    """Layers inside layers, inside models, and operations, all of one precision."""
    image = keras.Input(SHAPE)
    inner = keras.Sequential(
        [keras.Input((12, 12, 4), dtype="float16"), layers.Conv2D(4, 3, dtype=dtype)], name="inner"
    )
    x = layers.Conv2D(4, 3, padding="same", dtype=dtype)(image)
    x = layers.BatchNormalization(dtype=dtype)(ops.cast(inner(x), "float16"))
    x = layers.Reshape((10, 40), dtype=dtype)(layers.ReLU(dtype=dtype)(x))
    # Keras' default, an orthogonal matrix, cannot be drawn in bfloat16.
    steps = layers.GRU(3, recurrent_initializer="zeros", dtype=dtype)
    x = layers.Bidirectional(steps, dtype=dtype)(x)
    return keras.Model(image, layers.Dense(4, dtype="float32")(x))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
def test_another_precision_becomes_float32_with_the_same_weights(dtype, caplog):
    caplog.set_level("INFO", "stages")
    model = randomized(mixed(dtype))
    made = plain(model)
    assert {layer.dtype_policy.name for layer in made._flatten_layers()} == {"float32"}
    assert {variable.dtype for variable in made.weights} == {"float32"}
    assert {tensor.dtype for call in calls(made) for tensor in call.outputs} == {"float32"}
    expected = model(images(8)).numpy()
    assert np.abs(made(images(8)).numpy() - expected).max() < 0.05 * np.abs(expected).max()
    assert f"computes in {dtype}" in caplog.text or f", {dtype}: rebuilt" in caplog.text


def test_a_float32_model_with_plain_names_is_itself():
    model = nested()
    assert plain(model) is model


def test_names_that_tensorflow_does_not_take_are_spelled_in_letters_it_does(caplog):
    caplog.set_level("INFO", "stages")
    image = keras.Input(SHAPE, name="Bild (Eingang)")
    x = layers.Conv2D(4, 3, name="große Faltung")(image)
    x = layers.BatchNormalization(name="gro_sse Faltung")(x)
    x = layers.Add(name="x + y")([layers.ReLU(name="卷积.1")(x), layers.ReLU(name="_relu")(x)])
    x = layers.Dense(4, name="x   y")(layers.Flatten(name="a:b>c")(x))
    model = randomized(keras.Model(image, x, name="Mein Netz"))
    made = plain(model)
    names = [layer.name for layer in made.layers]
    assert names[:3] == ["Bild__Eingang_", "grosse_Faltung", "gro_sse_Faltung"]
    assert {"u5377u79ef.1", "layer_relu", "x___y", "x___y_2", "a_b_c"} <= set(names)
    assert made.name == "Mein_Netz"
    # Only a traced call shows whether TensorFlow takes the names.
    traced = tf.function(made)(tf.constant(images(4))).numpy()
    assert np.allclose(traced, model(images(4)), atol=1e-5)
    assert "'Mein Netz' is now 'Mein_Netz'" in caplog.text


@pytest.mark.parametrize("name", ["", " ", "/", "-x", "ü", "№", "🙂", "a\nb", "\\", "x" * 300])
def test_every_name_becomes_one_that_fits(name):
    assert NAME.fullmatch(spelled(name))


def test_a_model_that_keras_has_quantized_is_refused():
    model = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(4, name="out")])
    model.get_layer("out").quantize("int8")
    with pytest.raises(ModelError, match="'out' is quantized to int8 by Keras"):
        plain(model)


class Unsaid(layers.Layer):
    """A layer that does not say how it was made."""

    def __init__(self, factor: float, **options: object) -> None:
        super().__init__(**options)
        self.factor = factor

    def get_config(self) -> dict[str, object]:
        return super().get_config()

    def call(self, inputs: object) -> object:
        return inputs * self.factor


def test_a_layer_that_cannot_be_made_again_is_refused_by_name():
    image = keras.Input(SHAPE)
    x = Unsaid(2.0, name="mine", dtype="bfloat16")(image)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    with pytest.raises(ModelError, match=re.escape("layer 'mine' cannot be rebuilt: TypeError")):
        plain(model)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dropout(0.5, name="noisy"),
        layers.SpatialDropout2D(0.5, name="noisy"),
        layers.GaussianNoise(0.5, name="noisy"),
        layers.GaussianDropout(0.5, name="noisy"),
        layers.AlphaDropout(0.5, name="noisy"),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("is_inside", [False, True], ids=["in the model", "in one inside it"])
def test_a_layer_that_nobody_told_of_training_acts_in_it(layer, is_inside, tmp_path):
    """Keras records the default of its `training` as if it had been asked for."""
    image = keras.Input(SHAPE)
    x = keras.Sequential([keras.Input(SHAPE), layer])(image) if is_inside else layer(image)
    model = keras.Model(image, layers.Flatten()(x))
    model.save(tmp_path / "network.keras")
    for each in (model, keras.saving.load_model(tmp_path / "network.keras")):
        assert plain(each) is each
        flat = flatten(each)
        flat.get_layer("noisy")
        assert not np.allclose(flat(images(8), training=True), flat(images(8), training=False))


def told_to_infer() -> keras.Model:
    """A backbone that is called with training=False, as Keras' guide to transfer learning does."""
    inner = keras.Sequential(
        [keras.Input((12, 12, 4)), layers.BatchNormalization(name="kept"), layers.Dropout(0.5)]
    )
    image = keras.Input(SHAPE)
    x = inner(layers.Conv2D(4, 3, padding="same")(image), training=False)
    x = layers.BatchNormalization(name="moved")(x)
    return randomized(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))


@pytest.mark.parametrize("copied", [plain, flatten])
def test_statistics_of_what_is_called_with_training_false_do_not_move(copied):
    model = copied(told_to_infer())
    thaw(model)
    before = {name: model.get_layer(name).get_weights() for name in ("kept", "moved")}
    kept = keras.Model(model.inputs[0], model.get_layer("moved").input)
    assert np.array_equal(kept(images(8), training=True), kept(images(8), training=False))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images(8), np.arange(8) % 4, verbose=0)
    after = {name: model.get_layer(name).get_weights() for name in before}
    assert all(np.array_equal(*pair) for pair in zip(before["kept"], after["kept"], strict=True))
    assert not np.array_equal(before["moved"][2], after["moved"][2])
