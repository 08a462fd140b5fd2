from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from stages import train
from stages.artifacts.signature import Signature
from stages.errors import ModelError
from stages.models import files
from stages.settings import Data, Model, Train, TrainStage
from tests.stages.training.test_fit import small

pytestmark = pytest.mark.usefixtures("brief_timing")


def test_a_trained_model_and_its_signature_are_written(tmp_path, digits):
    settings = TrainStage(train=Train(epochs=1))
    measured = train.run(settings, {}, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.keras", "signature.json"]
    model, signature = files.load(tmp_path / "model.keras"), Signature.read(tmp_path)
    assert signature.class_names == tuple("0123456789")
    assert signature.input_shape == (28, 28, 1)
    predicted = model(signature.preprocess(digits.test.images)).numpy().argmax(axis=1)
    assert measured.accuracy.top1 == np.mean(predicted == digits.test.labels)
    counted = measured.dataset.model_dump()
    assert counted.pop("name") == "digits"
    assert sum(counted.values()) == 1797


def test_patients_of_a_csv_are_learnt_from_in_one_split_each(tmp_path):
    rows = ["file,label,patient,part"]
    for patient in range(20):
        for number in range(4):
            file, label = tmp_path / f"{patient}-{number}.png", ("dark", "light")[number % 2]
            noise = np.random.default_rng(patient).integers(0, 40, (12, 12), np.uint8)
            Image.fromarray(noise + np.uint8(200 * (label == "light"))).save(file)
            rows.append(f"{file.name},{label},p{patient},{'test' if patient > 15 else 'train'}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    data = Data(
        name="csv",
        path=str(tmp_path / "list.csv"),
        group_column="patient",
        calibration_samples=8,
    )
    out = tmp_path / "out"
    out.mkdir()
    settings = TrainStage(data=data, model=Model(name="lenet"), train=Train(epochs=1))
    measured = train.run(settings, {}, out)
    assert Signature.read(out).class_names == ("dark", "light")
    assert measured.accuracy.samples == 16
    counted = measured.dataset
    assert (counted.train_samples, counted.validation_samples) == (48, 8)
    assert counted.calibration_samples == 8


def test_test_images_that_were_trained_on_are_told(tmp_path, caplog):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (60, 12, 12), np.uint8), np.arange(60) % 2
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:9], "y_test": labels[:9]}
    np.savez(tmp_path / "twice.npz", **arrays)
    data = Data(name="npz", path=str(tmp_path / "twice.npz"), calibration_samples=8)
    settings = TrainStage(data=data, model=Model(name="lenet"), train=Train(epochs=1))
    (note,) = train.run(settings, {}, tmp_path).notes
    assert note.startswith("9 of 9 test images are in the training part as well, byte for byte")
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [note]


def test_a_frozen_backbone_learns_again_after_the_training(tmp_path):
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 5, strides=3, activation="relu")(image)
    files.save(keras.Model(image, x), tmp_path / "backbone.keras")
    source = Model(source=str(tmp_path / "backbone.keras"), head="average", freeze_base=True)
    train.run(TrainStage(model=source, train=Train(epochs=1)), {}, tmp_path)
    assert len(files.load(tmp_path / "model.keras").trainable_variables) == 4


def test_the_trained_model_is_written_as_h5_if_asked(tmp_path):
    train.run(TrainStage(train=Train(epochs=0, save_h5=True)), {}, tmp_path)
    written, kept = (files.load(tmp_path / f"model.{kind}") for kind in ("h5", "keras"))
    for one, other in zip(written.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_with_no_epochs_the_users_model_is_taken_as_it_is(tmp_path):
    own = small()
    files.save(own, tmp_path / "own.keras")
    out = tmp_path / "out"
    out.mkdir()
    settings = TrainStage(
        model=Model(source=str(tmp_path / "own.keras")),
        train=Train(epochs=0),
        data=Data(scale=1 / 127.5, offset=-1.0),
    )
    train.run(settings, {}, out)
    taken = files.load(out / "model.keras")
    assert all(
        np.array_equal(*pair) for pair in zip(taken.get_weights(), own.get_weights(), strict=True)
    )
    assert Signature.read(out).limits[0] < 0


def test_the_seed_decides_the_first_weights(tmp_path):
    def first_weights(seed: int) -> np.ndarray:
        out = tmp_path / str(np.random.default_rng().integers(1 << 60))
        out.mkdir()
        train.run(TrainStage(train=Train(epochs=0, seed=seed)), {}, out)
        kernel: np.ndarray = files.load(out / "model.keras").get_weights()[0]
        return kernel

    third = first_weights(3)
    assert np.array_equal(first_weights(3), third)
    assert not np.array_equal(first_weights(4), third)
    keras.utils.clear_session()


@pytest.mark.parametrize(("ending", "output"), [(None, "logits"), ("softmax", "probabilities")])
def test_what_the_model_returns_is_in_its_signature(tmp_path, ending, output):
    files.save(small(ending), tmp_path / "own.keras")
    source = Model(source=str(tmp_path / "own.keras"))
    train.run(TrainStage(model=source, train=Train(epochs=0)), {}, tmp_path)
    signature = Signature.read(tmp_path)
    assert (signature.output, signature.output_name) == (output, output)


def test_a_trained_model_that_scales_its_own_pixels_is_refused_with_the_right_scale(
    tmp_path, trained
):
    known = files.load(trained / "model.keras")
    image = keras.Input((28, 28, 1))
    tutorial = keras.Model(image, known(keras.layers.Rescaling(1 / 255, name="rescaling")(image)))
    file = tmp_path / "network.keras"
    files.save(tutorial, file)

    def settings(scale: float, epochs: int) -> TrainStage:
        source = Model(source=str(file))
        return TrainStage(model=source, train=Train(epochs=epochs), data=Data(scale=scale))

    assert train.run(settings(1.0, epochs=0), {}, tmp_path).accuracy.top1 > 0.9
    with pytest.raises(ModelError, match=r"scales its own pixels \(rescaling\)") as caught:
        train.run(settings(1 / 255, epochs=0), {}, tmp_path)
    assert caught.value.hint == "--set data.scale=1 --set data.offset=0"


def test_a_model_to_train_that_scales_its_own_pixels_is_warned_of(tmp_path, caplog):
    image = keras.Input((28, 28, 1))
    tutorial = keras.Model(image, small()(keras.layers.Rescaling(1 / 255, name="again")(image)))
    files.save(tutorial, tmp_path / "own.keras")
    source = Model(source=str(tmp_path / "own.keras"))
    train.run(TrainStage(model=source, train=Train(epochs=1)), {}, tmp_path)
    (warned,) = [
        each.getMessage()
        for each in caplog.records
        if (each.name, each.levelname) == ("stages", "WARNING")
    ]
    assert "scales its own pixels (again) after scale 1/255" in warned
