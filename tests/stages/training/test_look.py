from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from stages.errors import DataError, ModelError
from stages.models import files
from stages.settings import Data, Model, TrainStage
from stages.training import look
from tests.stages.training.test_scaling import BY_255, CENTRED, RAW, behind, knows, lights


@pytest.fixture
def archive(tmp_path):
    """160 training and 160 test images of four shades."""
    split = lights(160)
    file = tmp_path / "lights.npz"
    np.savez(
        file, x_train=split.images, y_train=split.labels, x_test=split.images, y_test=split.labels
    )
    return Data(name="npz", path=str(file))


@pytest.fixture
def seen(archive, tmp_path):
    """What is found of a model, saved to a file, and the images above."""

    def find(model, data=archive):
        file = tmp_path / "network.keras"
        files.save(model, file)
        return look.run(TrainStage(data=data, model=Model(source=str(file))), {}, tmp_path)

    return find


@pytest.mark.parametrize("signature", [RAW, BY_255, CENTRED], ids=["1", "1/255", "-1 to 1"])
def test_the_scaling_of_a_trained_model_is_found(seen, signature):
    found = seen(knows(signature))
    assert (found.scale, found.offset) == (signature.scale, signature.offset)
    assert found.is_trained
    assert (found.hits, found.samples) == (16, 16)
    assert found.output == "logits"


def test_a_model_that_scales_its_own_pixels_is_given_them_as_they_are(seen):
    found = seen(behind(knows(BY_255), layers.Rescaling(1 / 255, name="by_255")))
    assert (found.scale, found.offset, found.is_trained) == (1.0, 0.0, True)
    assert found.own_scaling == ("by_255",)


def test_a_scaling_that_no_setting_expresses_is_refused(seen):
    with pytest.raises(ModelError, match="ImageNet's means"):
        seen(knows(RAW, "caffe"))


def untrained(*first: keras.layers.Layer) -> keras.Model:
    image = keras.Input((4, 4, 3))
    x = image
    for layer in first:
        x = layer(x)
    model = keras.Model(image, layers.Dense(4, "softmax")(layers.Flatten()(x)))
    model.layers[-1].set_weights([np.zeros((48, 4)), np.arange(4.0)])
    return model


def test_a_model_that_knows_nothing_is_to_be_trained_with_the_usual_scaling(seen):
    found = seen(untrained())
    assert (found.is_trained, found.scale, found.output) == (False, 1 / 255, "probabilities")
    assert seen(untrained(layers.Rescaling(1 / 255))).scale == 1.0


def test_few_images_are_calibrated_with_fewer(seen):
    counted = seen(knows(BY_255))
    assert counted.calibration_samples == counted.dataset.calibration_samples == 35
    assert counted.dataset.train_samples + 16 + 35 == 160


def test_a_model_for_other_images_is_refused(seen):
    image = keras.Input((5, 5, 3))
    with pytest.raises(ModelError, match=r"maps \(5, 5, 3\)"):
        seen(keras.Model(image, layers.Dense(4)(layers.Flatten()(image))))


@pytest.fixture
def photos(tmp_path):
    """Two classes of ten photos of 200 by 150 pixels, and as many to test."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, level in (("day", 180), ("night", 40)):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(10):
                pixels = random.integers(level - 30, level + 30, (150, 200, 3), np.uint8)
                file = tmp_path / "photos" / part / name / f"{number}.png"
                Image.fromarray(pixels).save(file)
    return Data(name="folder", path=str(tmp_path / "photos"))


def test_photos_are_resized_to_what_the_model_takes(seen, photos):
    image = keras.Input((32, 32, 3))
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(image))
    found = seen(keras.Model(image, x), photos)
    assert (found.image_size, found.input_shape) == (32, (32, 32, 3))
    assert found.classes == ("day", "night")


def test_large_photos_without_a_model_get_a_size_and_a_network(photos, tmp_path):
    found = look.run(TrainStage(data=photos), {}, tmp_path)
    assert (found.image_size, found.input_shape, found.network) == (96, (96, 96, 3), "ds_cnn")


def test_large_photos_of_a_csv_get_a_size_as_well(photos, tmp_path):
    rows = ["file,label,part"]
    for file in sorted(tmp_path.glob("photos/*/*/*")):
        rows.append(f"{file},{file.parent.name},{file.parent.parent.name}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    data = Data(name="csv", path=str(tmp_path / "list.csv"))
    found = look.run(TrainStage(data=data), {}, tmp_path)
    assert (found.image_size, found.network) == (96, "ds_cnn")
    assert found.classes == ("day", "night")


def test_large_photos_with_masks_get_a_size_and_a_network_of_masks(photos, tmp_path):
    for part in ("train", "test"):
        (tmp_path / "photos" / part / "day").rename(tmp_path / "photos" / part / "images")
        (tmp_path / "photos" / part / "night").rename(tmp_path / "photos" / part / "masks")
        for file in (tmp_path / "photos" / part / "masks").iterdir():
            Image.fromarray(np.eye(150, 200, dtype=np.uint8)).save(file)
    data = photos.model_copy(update={"name": "masks"})
    found = look.run(TrainStage(data=data), {}, tmp_path)
    assert (found.image_size, found.network) == (96, "unet")
    assert (found.task, found.classes) == ("segmentation", ("0", "1"))


def test_images_without_a_test_part_are_refused(photos, tmp_path):
    (tmp_path / "photos" / "test").rename(tmp_path / "other")
    with pytest.raises(DataError, match="there is no folder"):
        look.run(TrainStage(data=photos), {}, tmp_path)


@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ((28, 28, 1), "mnist_cnn"),
        ((8, 8, 1), "resnet8"),
        ((32, 32, 3), "resnet8"),
        ((96, 96, 3), "ds_cnn"),
        ((96, 96, 1), "ds_cnn"),
    ],
)
def test_the_network_suits_the_size_of_the_images(shape, network):
    assert look.suited(shape) == network
