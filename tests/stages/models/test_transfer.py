from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages import models
from stages.errors import ModelError, SettingsError
from stages.models import transfer
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


@pytest.mark.parametrize(
    ("name", "module", "pixels"),
    [("VGG16", "vgg16", (1 / 255, 0.0)), ("MobileNet", "mobilenet", (1 / 127.5, -0.5))],
)
def test_weights_see_the_pixels_that_they_were_trained_on(name, module, pixels, tmp_path):
    keras.utils.set_random_seed(1)
    theirs = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=SHAPE)
    theirs.save_weights(tmp_path / "own.weights.h5")
    settings = Model(name=name, weights=str(tmp_path / "own.weights.h5"))
    model = models.create(settings, SHAPE, 7, pixels)
    rgb = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.float32)
    preprocess = getattr(keras.applications, module).preprocess_input
    expected = theirs(preprocess(rgb.copy())).numpy().mean(axis=(1, 2))
    features = keras.Model(model.inputs[0], model.get_layer("average").output)
    found = features(rgb * np.float32(pixels[0]) + np.float32(pixels[1])).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("vgg16_transfer", "vgg16"),
        ("ResNet50", "resnet"),
        ("MobileNetV3Small", "mobilenet_v3"),
        ("DenseNet121", "densenet"),
        ("EfficientNetB0", "efficientnet"),
    ],
)
def test_what_preprocess_input_does_is_found_by_trying_it(name, module):
    prepare = getattr(keras.applications, module).preprocess_input
    order, factors, offsets = transfer.affine(transfer.preprocess_input(name))
    rgb = np.random.default_rng(0).integers(0, 256, (5, 1, 1, 3)).astype(np.float32)
    np.testing.assert_allclose(
        (rgb * factors + offsets)[..., order], prepare(rgb.copy()), rtol=1e-4, atol=1e-4
    )


def test_a_file_with_the_top_is_taken_without_it(tmp_path):
    theirs = keras.applications.MobileNet(weights=None)
    theirs.save_weights(tmp_path / "full.weights.h5")
    settings = Model(name="MobileNet", weights=str(tmp_path / "full.weights.h5"))
    model = models.create(settings, SHAPE, 7)
    for ours, wanted in zip(
        model.get_layer("conv_pw_13").get_weights(),
        theirs.get_layer("conv_pw_13").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, wanted)
    assert model.output_shape == (None, 7)


def test_a_file_of_the_older_format_may_have_a_top_of_any_number_of_classes(tmp_path):
    # Of few architectures does Keras number some names, and differently in every model.
    theirs = keras.applications.Xception(weights=None, classes=5)
    theirs.save(tmp_path / "old.h5", include_optimizer=False)
    settings = Model(name="Xception", weights=str(tmp_path / "old.h5"))
    ours = transfer.backbone(settings, (71, 71, 3)).get_weights()
    for own, wanted in zip(ours, theirs.get_weights(), strict=False):
        np.testing.assert_array_equal(own, wanted)


def test_pixels_of_imagenet_are_divided_by_their_standard_deviation():
    base = keras.Sequential(
        [keras.Input((1, 1, 3)), layers.Rescaling(1 / 255), layers.Normalization()]
    )
    mean, deviation = transfer.IMAGENET_MEAN, transfer.IMAGENET_DEVIATION
    base.layers[1].set_weights([np.array(mean), np.array(deviation), np.array(0)])
    transfer._divide_by_deviation(base)
    rgb = np.array([[[[255.0, 128.0, 0.0]]]], np.float32)
    expected = (rgb / 255 - mean) / deviation
    np.testing.assert_allclose(base(rgb), expected, rtol=1e-5)


def test_the_head_may_have_a_convolution_of_its_own():
    model = models.create(Model(name="vgg16_transfer", head="convolution"), SHAPE, 7)
    head = model.get_layer("head_conv")
    assert (head.filters, head.kernel_size) == (32, (3, 3))
    assert model.get_layer("average").output.shape == (None, 32)


@pytest.mark.parametrize("head", ["average", "convolution"])
def test_a_backbone_of_the_users_gets_a_new_head_and_can_be_frozen(head, tmp_path):
    image = keras.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(image))
    keras.Model(image, x).save(tmp_path / "backbone.keras")
    source = str(tmp_path / "backbone.keras")
    model = models.create(Model(source=source, head=head, freeze_base=True), SHAPE, 7)
    assert model.output_shape == (None, 7)
    assert len(model.trainable_variables) == (2 if head == "average" else 4)
    model = models.create(Model(source=source, head=head), SHAPE, 7)
    assert len(model.trainable_variables) == (6 if head == "average" else 8)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"source": "own.keras", "width": 2.0}, "are for model.name, not for own.keras"),
        ({"name": "MobileNetV2", "kernel": 5}, "for untrained networks of our own"),
        ({"name": "lenet", "head": "average"}, "model.name is 'lenet'"),
        ({"name": "MobileNetV2", "freeze_base": True}, "model.name is 'MobileNetV2'"),
    ],
)
def test_settings_that_a_model_has_no_use_for_are_refused(options, reason):
    with pytest.raises(SettingsError, match=reason):
        models.create(Model(**options), SHAPE, 7)


def test_a_head_for_features_that_are_no_image_is_refused(tmp_path):
    keras.Sequential([keras.Input(SHAPE), layers.Flatten()]).save(tmp_path / "flat.keras")
    source = str(tmp_path / "flat.keras")
    assert models.create(Model(source=source, head="average"), SHAPE, 7).output_shape == (None, 7)
    with pytest.raises(ModelError, match="head=convolution needs features"):
        models.create(Model(source=source, head="convolution"), SHAPE, 7)
    with pytest.raises(SettingsError, match=r"nothing of model\.source to train"):
        models.create(Model(source=source, freeze_base=True), SHAPE, 7)


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
    with pytest.raises(ModelError, match=r"other\.weights\.h5 holds no weights for MobileNet"):
        models.create(Model(name="MobileNet", weights=str(file)), SHAPE, 7)


def test_a_missing_weights_file_is_named():
    with pytest.raises(ModelError, match=r"expected none, imagenet or a file") as caught:
        models.create(Model(name="vgg16_transfer", weights="image_net"), SHAPE, 7)
    assert "'image_net'" in caught.value.message


@pytest.mark.parametrize(
    ("shape", "weights", "reason"),
    [
        ((28, 28, 3), "none", r"cannot be built for images of \(28, 28, 3\): .*at least 32x32"),
        ((32, 32, 1), "imagenet", r"starts from weights for RGB, images are \(32, 32, 1\)"),
    ],
)
def test_images_that_it_cannot_take_are_refused(shape, weights, reason):
    with pytest.raises(ModelError, match=reason):
        models.create(Model(name="vgg16_transfer", weights=weights), shape, 7)


@pytest.mark.usefixtures("offline")
def test_a_download_that_fails_says_what_to_fetch():
    settings = Model(name="vgg16_transfer", weights="imagenet")
    with pytest.raises(ModelError, match="cannot fetch the ImageNet weights of VGG16") as caught:
        models.create(settings, (32, 32, 3), 7)
    assert "keras-applications), then: --set model.weights=PATH" in caught.value.hint
