from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from stages.pruning.recalibrate import recalibrate

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(2.0, 3.0, (20, 6, 6, 3)).astype(np.float32)
BATCHES = (IMAGES[:8], IMAGES[8:16], IMAGES[16:])


def network(**options: Any) -> keras.Model:
    image = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv1")(image)
    x = layers.BatchNormalization(name="bn1", **options)(x)
    x = layers.Dropout(0.5, seed=1)(layers.ReLU()(x))
    x = layers.BatchNormalization(name="bn2")(layers.Conv2D(5, 3, name="conv2")(x))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def statistics(model: keras.Model, name: str) -> list[np.ndarray]:
    layer = model.get_layer(name)
    return [layer.moving_mean.numpy(), layer.moving_variance.numpy()]


def moments(values: np.ndarray) -> list[np.ndarray]:
    return [values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def output_of(model: keras.Model, name: str, images: np.ndarray) -> np.ndarray:
    inner = keras.Model(model.inputs[0], model.get_layer(name).output)
    values: np.ndarray = inner(images, training=False).numpy()
    return values


def test_the_first_layer_gets_the_statistics_of_all_images_together() -> None:
    model = network()
    recalibrate(model, BATCHES)
    assert_close(statistics(model, "bn1"), moments(output_of(model, "conv1", IMAGES)))


def test_the_layers_behind_it_see_what_is_normalised_anew_and_no_dropout() -> None:
    # With one batch, what the second layer sees is what it will see at inference.
    model = network()
    recalibrate(model, [IMAGES])
    assert_close(statistics(model, "bn2"), moments(output_of(model, "conv2", IMAGES)))


def test_what_the_statistics_were_before_does_not_matter() -> None:
    fresh, stale = network(), network()
    stale.set_weights(fresh.get_weights())
    stale.get_layer("bn1").moving_mean.assign([100.0] * 4)
    stale.get_layer("bn2").moving_variance.assign([1e6] * 5)
    for model in (fresh, stale):
        recalibrate(model, BATCHES)
    for one, other in zip(fresh.get_weights(), stale.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_that_training_learns_changes() -> None:
    model = network()
    before = [variable.numpy() for variable in model.trainable_variables]
    recalibrate(model, BATCHES)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_a_frozen_layer_keeps_its_statistics_and_computes_with_them() -> None:
    model = network()
    model.get_layer("bn1").trainable = False
    model.get_layer("bn1").moving_mean.assign([0.5, 1.0, 1.5, 2.0])
    before = statistics(model, "bn1")
    recalibrate(model, [IMAGES])
    assert_close(statistics(model, "bn1"), before)
    assert_close(statistics(model, "bn2"), moments(output_of(model, "conv2", IMAGES)))


def test_a_layer_that_is_called_for_inference_always_is_frozen_as_well() -> None:
    image = keras.Input((6, 6, 3))
    norm = layers.BatchNormalization(name="bn1")
    model = keras.Model(image, layers.Conv2D(2, 3)(norm(image, training=False)))
    recalibrate(model, BATCHES)
    assert_close(statistics(model, "bn1"), [np.zeros(3), np.ones(3)])


def test_layers_that_augment_images_in_training_leave_them_as_they_are() -> None:
    image = keras.Input((6, 6, 3))
    x = layers.RandomInvert((1.0, 1.0), value_range=(0, 1))(image)
    x = layers.BatchNormalization(name="bn1")(x)
    model = keras.Model(image, layers.Conv2D(2, 3)(x))
    recalibrate(model, BATCHES)
    assert_close(statistics(model, "bn1"), moments(IMAGES))


def test_what_a_mask_hides_is_in_no_statistics() -> None:
    sequence = keras.Input((6, 3))
    x = layers.BatchNormalization(name="bn1")(layers.Masking()(sequence))
    model = keras.Model(sequence, layers.LSTM(2)(x))
    sequences = IMAGES[:, 0].copy()
    sequences[:, 4:] = 0
    recalibrate(model, [sequences[:8], sequences[8:]])
    seen = sequences[:, :4]
    assert_close(statistics(model, "bn1"), [seen.mean((0, 1)), seen.var((0, 1))])


def test_a_batch_that_a_mask_hides_entirely_is_in_no_statistics() -> None:
    sequence = keras.Input((6, 3))
    x = layers.BatchNormalization(name="bn1")(layers.Masking()(sequence))
    model = keras.Model(sequence, layers.LSTM(2)(x))
    hidden, shown = np.zeros((4, 6, 3), np.float32), IMAGES[:8, 0]
    model.get_layer("bn1").moving_mean.assign([1.0, 2.0, 3.0])
    before = statistics(model, "bn1")
    recalibrate(model, [hidden])
    assert_close(statistics(model, "bn1"), before)
    recalibrate(model, [hidden, shown, hidden])
    assert_close(statistics(model, "bn1"), [shown.mean((0, 1)), shown.var((0, 1))])


def test_a_shared_layer_gets_the_statistics_of_all_its_calls() -> None:
    image = keras.Input((6, 6, 3))
    norm = layers.BatchNormalization(name="bn1")
    both = layers.Add()([norm(image), norm(layers.Rescaling(2.0)(image))])
    model = keras.Model(image, layers.Conv2D(2, 3)(both))
    recalibrate(model, BATCHES)
    assert_close(statistics(model, "bn1"), moments(np.concatenate([IMAGES, 2 * IMAGES])))


def test_a_network_without_batch_normalisation_looks_at_no_images() -> None:
    def no_images() -> Any:
        raise AssertionError("images were read")
        yield

    image = keras.Input((6, 6, 3))
    recalibrate(keras.Model(image, layers.Conv2D(2, 3)(image)), no_images())
