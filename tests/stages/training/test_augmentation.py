from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet, Split
from stages.settings import Data, Training
from stages.training import augmentation, feed
from stages.training.augmentation import DRAWS, augmented, warped

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), np.uint8)
EVERYTHING = Data(flip=True, rotate_degrees=20, shear_degrees=10, zoom=0.2, contrast=0.4)


def draws(**values: float) -> tf.Tensor:
    """The same for every image: 0.5, which changes nothing, but for those that are named."""
    names = ("turn", "shear", "zoom", "contrast", "mirror")
    assert len(names) == DRAWS
    row = [values.get(name, 0.5) for name in names]
    return tf.constant([row] * len(IMAGES), tf.float32)


def test_nothing_is_wanted_by_default():
    assert not augmentation.is_wanted(Data())
    assert not augmentation.is_wanted(Data(shift_pixels=4))
    for setting in ({"flip": True}, {"zoom": 0.1}, {"contrast": 0.1}, {"shear_degrees": 5.0}):
        assert augmentation.is_wanted(Data(**setting))


def test_draws_in_the_middle_change_nothing():
    found = augmented(IMAGES, draws(), EVERYTHING)
    np.testing.assert_allclose(found, IMAGES, atol=1e-3)


def test_the_last_draw_mirrors_left_to_right():
    found = augmented(IMAGES, draws(mirror=0.1), Data(flip=True))
    np.testing.assert_array_equal(found, IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(augmented(IMAGES, draws(mirror=0.9), Data(flip=True)), IMAGES)


@pytest.mark.parametrize(("turn", "times"), [(1.0, 1), (0.0, -1)])
def test_a_right_angle_turns_the_image_as_numpy_does(turn, times):
    found = augmented(IMAGES, draws(turn=turn), Data(rotate_degrees=90)).numpy()
    np.testing.assert_allclose(found, np.rot90(IMAGES, times, axes=(1, 2)), atol=1e-2)


def test_keras_layer_with_the_same_angle_gives_the_same_images():
    layer = layers.RandomRotation((15 / 360, 15 / 360))
    theirs = layer(IMAGES.astype(np.float32), training=True).numpy()
    found = augmented(IMAGES, draws(turn=0.75), Data(rotate_degrees=30)).numpy()
    np.testing.assert_allclose(found, theirs, atol=1e-2)


@pytest.mark.parametrize(("drawn", "factor"), [(0.0, 0.6), (1.0, 1.4)])
def test_contrast_is_about_the_mean_colour_of_each_image(drawn, factor):
    means = IMAGES.mean(axis=(1, 2), keepdims=True)
    expected = np.clip(means + factor * (IMAGES - means), 0, 255)
    found = augmented(IMAGES, draws(contrast=drawn), Data(contrast=0.4)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-2)


def linear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An image whose brightness is 100 + 4 x + 2 y, x and y from its centre."""
    return (100 + 4 * x + 2 * y)[None, ..., None]


CENTRED = np.meshgrid(np.arange(12) - 5.5, np.arange(12) - 5.5)
"""x and y of every pixel, from the centre."""


def test_any_matrix_moves_a_linear_image_by_its_formula():
    # Interpolation between pixels is exact on it, so every pixel away from the edges must be.
    x, y = CENTRED
    matrix = np.array([[0.8, 0.15, -0.1, 0.7]], np.float32)
    found = warped(tf.constant(linear(x, y), tf.float32), matrix).numpy()
    expected = linear(0.8 * x + 0.15 * y, -0.1 * x + 0.7 * y)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_zoom_enlarges_and_shear_slides_the_rows():
    x, y = CENTRED
    image = tf.constant(np.repeat(linear(x, y), len(IMAGES), axis=0), tf.float32)
    larger = augmented(image, draws(zoom=1.0), Data(zoom=0.25)).numpy()
    np.testing.assert_allclose(larger[:1], linear(x / 1.25, y / 1.25), atol=1e-3)
    slid = augmented(image, draws(shear=1.0), Data(shear_degrees=10)).numpy()
    inside = np.s_[:, 1:-1, 2:-2]
    expected = linear(x + np.tan(np.radians(10)) * y, y)
    np.testing.assert_allclose(slid[:1][inside], expected[inside], atol=1e-3)


def test_pixels_stay_pixels_whatever_is_drawn():
    some = tf.random.stateless_uniform((len(IMAGES), DRAWS), (1, 2))
    found = augmented(IMAGES, some, EVERYTHING).numpy()
    assert found.shape == IMAGES.shape
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 255
    assert not np.allclose(found, IMAGES, atol=20)
    again = keras.ops.convert_to_numpy(augmented(IMAGES, some, EVERYTHING))
    np.testing.assert_array_equal(found, again)


def colours() -> DataSet:
    """Six images, the same in all splits."""
    split = Split(IMAGES, np.arange(6) % 2)
    return DataSet("colours", split, split, split, split, ("a", "b"))


def pixels(batches: tf.data.Dataset) -> np.ndarray:
    return np.concatenate([images.numpy() for images, _ in batches]) * 255


SIGNATURE = Signature((12, 12, 3), ("a", "b"), 1 / 255, 0.0)


def test_training_batches_hold_images_and_their_mirror_images():
    data = Data(flip=True, shift_pixels=0)
    seen = pixels(feed.batches(colours(), SIGNATURE, Training(), data, range(8)))
    kinds = set()
    for image in seen:
        is_original = np.abs(IMAGES - image).max(axis=(1, 2, 3)).min() < 0.01
        is_mirrored = np.abs(IMAGES[:, :, ::-1] - image).max(axis=(1, 2, 3)).min() < 0.01
        assert is_original != is_mirrored
        kinds.add(is_original)
    assert kinds == {True, False}


def test_seed_and_epoch_alone_decide_what_is_seen():
    def epoch(number: int, seed: int = 0) -> np.ndarray:
        epochs = range(number, number + 1)
        return pixels(feed.batches(colours(), SIGNATURE, Training(seed=seed), EVERYTHING, epochs))

    both = pixels(feed.batches(colours(), SIGNATURE, Training(), EVERYTHING, range(2)))
    np.testing.assert_array_equal(both, np.concatenate([epoch(0), epoch(1)]))
    assert not np.allclose(epoch(0), epoch(0, seed=1), atol=5)


def test_validation_images_are_left_as_they_are():
    found = pixels(feed.validation_batches(colours(), SIGNATURE, Training()))
    np.testing.assert_allclose(found, IMAGES, atol=1e-3)
