from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from stages.training.fused_norm import FusedBatchNormalization, fused_norms
from stages.training.precision import computing_in

IMAGES = np.random.default_rng(0).normal(1.0, 2.0, (6, 5, 4, 3)).astype(np.float32)


def network(**options: Any) -> keras.Model:
    """A convolution, a batch normalisation that has learned something, and a sum of squares."""
    keras.utils.set_random_seed(3)
    image = keras.Input((5, 4, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization(name="norm", momentum=0.8, **options)(x)
    model = keras.Model(image, layers.ReLU()(x))
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.5, 1.5, each.shape) for each in model.get_weights()])
    return model


def step(model: keras.Model) -> list[np.ndarray]:
    """Outputs, gradients, and what the step left in the variables."""
    with tf.GradientTape() as tape:
        outputs = model(IMAGES, training=True)
        loss = tf.reduce_sum(tf.square(tf.cast(outputs, tf.float32)))
    gradients = tape.gradient(loss, model.trainable_variables)
    return [np.array(each) for each in (outputs, *gradients, *model.get_weights())]


def operations(model: keras.Model, training: bool = True) -> set[str]:
    traced = tf.function(lambda: model(IMAGES, training=training)).get_concrete_function()
    return {each.type for each in traced.graph.get_operations()}


@pytest.mark.parametrize(
    "options", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}], ids=str
)
def test_a_step_is_that_of_keras_own_layer(options: dict[str, Any]) -> None:
    expected = step(network(**options))
    model = network(**options)
    with fused_norms(model):
        assert type(model.get_layer("norm")) is FusedBatchNormalization
        found = step(model)
    for new, old in zip(found, expected, strict=True):
        assert np.allclose(new, old, rtol=1e-4, atol=1e-4 * np.abs(old).max())
    assert type(model.get_layer("norm")) is layers.BatchNormalization


def with_head(model: keras.Model) -> keras.Model:
    """`model` with a last layer that changes nothing: what makes the outputs stays in float32."""
    head = layers.DepthwiseConv2D(1, depthwise_initializer="ones")
    return keras.Model(model.input, head(model.output))


def test_it_computes_in_bfloat16_where_the_layer_does() -> None:
    model = with_head(network())
    expected = step(with_head(network()))
    with computing_in("bfloat16", model), fused_norms(model):
        traced = tf.function(
            lambda: model.get_layer("norm")(tf.zeros((6, 5, 4, 8), tf.bfloat16), training=True)
        ).get_concrete_function()
        (norm,) = (
            each for each in traced.graph.get_operations() if each.type == "FusedBatchNormV3"
        )
        assert norm.inputs[0].dtype == norm.outputs[0].dtype == tf.bfloat16
        found = step(model)
    # Eight bits of mantissa.
    assert np.allclose(found[0].astype(np.float32), expected[0], atol=0.05)


def test_what_is_not_learned_is_left_to_keras() -> None:
    model = network()
    with fused_norms(model):
        assert "FusedBatchNormV3" not in operations(model, training=False)
        model.get_layer("norm").trainable = False
        assert "FusedBatchNormV3" not in operations(model)


def test_other_layers_keep_their_class() -> None:
    class Own(layers.BatchNormalization):
        pass

    image = keras.Input((5, 4, 3))
    x = layers.BatchNormalization(axis=1, name="rows")(image)
    x = Own(name="own")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.BatchNormalization(name="vectors")(x))
    before = [type(each) for each in model.layers]
    with fused_norms(model):
        assert [type(each) for each in model.layers] == before


def test_the_layers_of_nested_models_are_fused_too() -> None:
    inner = network()
    image = keras.Input((5, 4, 3))
    model = keras.Model(image, inner(image))
    with fused_norms(model):
        assert "FusedBatchNormV3" in operations(model)
    assert type(inner.get_layer("norm")) is layers.BatchNormalization


def test_an_error_gives_the_layers_back_as_well() -> None:
    model = network()
    with pytest.raises(ZeroDivisionError), fused_norms(model):
        _ = 1 / 0
    assert type(model.get_layer("norm")) is layers.BatchNormalization
