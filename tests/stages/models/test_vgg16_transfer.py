from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from stages import models
from stages.errors import ModelError
from stages.models import vgg16_transfer
from stages.settings import Model, TrainStage

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Random weights in the place of those of ImageNet."""
    keras.utils.set_random_seed(3)
    file = tmp_path_factory.mktemp("weights") / "vgg16.weights.h5"
    keras.applications.VGG16(include_top=False, weights=None).save_weights(file)
    return file


def test_it_is_vgg16_without_its_top():
    model = models.create(Model(name="vgg16_transfer"), SHAPE, 7)
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    assert len(convolutions) == 13
    assert sum(isinstance(layer, layers.Dense) for layer in model.layers) == 1
    assert model.get_layer("average").output.shape == (None, 512)
    assert len(model.trainable_variables) == 2 * 14


def test_random_weights_do_not_let_the_image_fade():
    keras.utils.set_random_seed(0)
    model = models.create(Model(name="vgg16_transfer"), SHAPE, 7)
    images = np.random.default_rng(0).uniform(0, 1, (8, *SHAPE)).astype(np.float32)
    features = keras.Model(model.inputs[0], model.get_layer("average").output)(images).numpy()
    assert 0.1 < features.mean() < 10


@pytest.mark.parametrize("pixels", [(1 / 255, 0.0), (1 / 127.5, -1.0)])
def test_a_convolution_of_bgr_minus_means_takes_the_lines_pixels(pixels):
    rgb = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3)).astype(np.float32)
    layer = layers.Conv2D(4, 3, bias_initializer="random_normal")
    theirs = layer(keras.applications.vgg16.preprocess_input(rgb.copy())).numpy()
    vgg16_transfer._take_pixels(layer, *pixels)
    ours = layer(rgb * np.float32(pixels[0]) + np.float32(pixels[1])).numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())


def test_a_weights_file_is_taken_and_its_base_can_be_frozen(weights_file):
    settings = Model(name="vgg16_transfer", weights=str(weights_file), freeze_base=True)
    assert TrainStage(model=settings).external_files() == [weights_file]
    model = models.create(settings, SHAPE, 7)
    theirs = keras.applications.VGG16(include_top=False, weights=str(weights_file))
    for name in ("block1_conv2", "block5_conv3"):
        for ours, wanted in zip(
            model.get_layer(name).get_weights(), theirs.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, wanted)
    assert len(model.trainable_variables) == 2


def test_a_file_of_other_weights_is_refused_by_name(tmp_path):
    file = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), layers.Dense(2)]).save_weights(file)
    with pytest.raises(ModelError, match=r"other\.weights\.h5 holds no weights for VGG16"):
        models.create(Model(name="vgg16_transfer", weights=str(file)), SHAPE, 7)


def test_a_missing_weights_file_is_named():
    with pytest.raises(ModelError, match=r"expected none, imagenet or a file") as caught:
        models.create(Model(name="vgg16_transfer", weights="image_net"), SHAPE, 7)
    assert "'image_net'" in caught.value.message


@pytest.mark.parametrize(("shape", "weights"), [((28, 28, 3), "none"), ((32, 32, 1), "imagenet")])
def test_images_that_it_cannot_take_are_refused(shape, weights):
    with pytest.raises(ModelError, match=r"expected 32x32 at least, and RGB"):
        models.create(Model(name="vgg16_transfer", weights=weights), shape, 7)


def test_a_download_that_fails_says_what_to_fetch(tmp_path):
    program = (
        "from stages.errors import ModelError\n"
        "from stages.models import vgg16_transfer\n"
        "try:\n"
        "    vgg16_transfer.build((32, 32, 3), 7, 'imagenet')\n"
        "except ModelError as error:\n"
        "    print(error)\n"
    )
    nowhere = "http://127.0.0.1:9"  # the discard port: refused at once, with or without a network
    environment = {"KERAS_HOME": str(tmp_path), "https_proxy": nowhere, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert "Keras cannot fetch the ImageNet weights of VGG16" in result.stdout
    assert vgg16_transfer.FILE in result.stdout
