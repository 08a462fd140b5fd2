from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.signature import Input, Signature
from stages.datasets.base import DataSet, Split
from stages.errors import ModelError
from stages.models import files
from stages.numerics import fields
from stages.settings import Data, Model, Training, TrainStage
from stages.training import answers, evaluate, look
from stages.training.description import describe, refuse_other_masks, with_order
from stages.training.feed import batches, in_order, validation_batches
from stages.training.imitation import Imitation
from stages.training.scaling import doubt, doubts_of_vectors, refuse_other_scaling
from tests.stages import two_inputs
from tests.stages.two_inputs import EXTRA, PIXELS, SIGNATURE

STILL = Data(shift_pixels=0)


@pytest.fixture(scope="module")
def dataset() -> DataSet:
    return two_inputs.dataset()


def test_a_data_set_is_described_by_its_inputs_in_the_order_of_the_network(dataset) -> None:
    found = describe(dataset, Data(scale=2 / 255, offset=-1.0))
    assert found.inputs == (EXTRA, dataclasses.replace(PIXELS, scale=2 / 255, offset=-1.0))
    assert with_order(found, two_inputs.network()).input_names == ("pixels", "extra")


def test_batches_have_both_inputs_of_the_same_samples_in_the_order_of_the_network(dataset) -> None:
    images = dataset.train.images
    expected = {row.tobytes(): at for at, row in enumerate(images["extra"])}
    seen = 0
    for (pixels, extra), targets in batches(dataset, SIGNATURE, Training(batch_size=32), STILL):
        at = [expected[row.tobytes()] for row in extra.numpy()]
        np.testing.assert_allclose(pixels, images["pixels"][at] / 255, atol=1e-6)
        np.testing.assert_array_equal(np.argmax(targets, 1), dataset.train.labels[at])
        seen += len(at)
    assert seen == len(dataset.train)
    (pixels, extra), _ = next(iter(validation_batches(dataset, SIGNATURE, Training())))
    np.testing.assert_allclose(pixels, dataset.validation.images["pixels"] / 255, atol=1e-6)
    np.testing.assert_array_equal(extra, dataset.validation.images["extra"])


def test_images_of_a_sample_are_changed_alike_and_other_inputs_stay() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (12, 8, 8, 1), np.uint8)
    arrays = {
        "a": picture,
        "b": np.concatenate([picture, picture], -1),
        "depth": picture.astype(np.float32),
        "row": random.integers(0, 256, (12, 8), np.uint8),
    }
    split = Split(fields.joined(arrays), np.arange(12) % 2)
    dataset = DataSet("pictures", split, split, split, split, ("0", "1"))
    own = describe(dataset, Data(scale=1.0))
    augmented = Data(scale=1.0, flip=True, rotate_degrees=20, contrast=0.5, shift_pixels=2)
    (fed, _), *_ = batches(dataset, own, Training(batch_size=12), augmented)
    found = dict(zip(own.input_names, (each.numpy() for each in fed), strict=True))
    for channel in range(2):
        np.testing.assert_allclose(found["b"][..., channel], found["a"][..., 0], atol=1e-3)
    at = [arrays["row"].astype(np.float32).tolist().index(row) for row in found["row"].tolist()]
    assert sorted(at) == list(range(12))
    assert (np.abs(found["depth"] - picture[at]).max(axis=(1, 2, 3)) > 1).all()
    # Contrast is of pixels, and what is left of each is a line from one image to the other.
    for own, other in zip(found["a"], found["depth"], strict=True):
        inside = (own > 0) & (own < 255)
        fitted = np.polyval(np.polyfit(other[inside], own[inside], 1), other[inside])
        np.testing.assert_allclose(fitted, own[inside], atol=0.1)


def test_every_answer_is_that_to_its_own_sample(dataset) -> None:
    model = two_inputs.network()
    images = dataset.train.images
    expected = model([images["pixels"] / np.float32(255), images["extra"]], training=False)
    fed = SIGNATURE.preprocess(images)
    np.testing.assert_allclose(evaluate.logits(model, fed), expected, atol=1e-5)
    found = evaluate.answers(model, dataset.train, SIGNATURE)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    known = answers.known(model, dataset, SIGNATURE, Training(epochs=2, batch_size=40), STILL)
    np.testing.assert_allclose(known, expected, atol=1e-5)


def test_large_images_of_every_input_count_for_a_batch() -> None:
    assert evaluate.batch_size((1024, 1024, 1)) == 1
    assert evaluate.batch_size((512, 512, 1)) == 4
    assert evaluate.batch_size((512, 512, 1), (512, 512, 3), (9,)) == 1


def test_a_student_of_both_inputs_imitates_the_maps_of_its_teacher(dataset) -> None:
    teacher = two_inputs.network()
    both = Imitation.of(two_inputs.network(), teacher, 1.0)
    assert both is not None
    fed = next(iter(in_order(dataset.test, SIGNATURE, 8)))
    _, said, apart = both.run(fed)
    np.testing.assert_allclose(said, teacher(list(fed), training=False), atol=1e-5)
    assert (apart.numpy() > 0).all()


def bright(scale: float) -> tuple[keras.Model, Split, Signature]:
    """Tells bright pictures from dark ones where their pixels are times `scale`, from a vector that
    says nothing."""
    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pixels = (random.integers(0, 100, (80, 4, 4, 3)) + 150 * labels[:, None, None, None]).clip(
        0, 255
    )
    arrays = {"row": random.normal(size=(80, 2)), "picture": pixels}
    kinds = {"row": np.float32, "picture": np.uint8}
    split = Split(
        fields.joined({name: each.astype(kinds[name]) for name, each in arrays.items()}), labels
    )
    picture, row = keras.Input((4, 4, 3), name="picture"), keras.Input((2,), name="row")
    x = layers.Concatenate()([layers.Flatten()(picture), row])
    model = keras.Model([picture, row], layers.Dense(2)(x))
    kernel = np.zeros((50, 2), np.float32)
    kernel[:48, 1] = 1 / 48
    model.layers[-1].set_weights([kernel, np.array([125 * scale, 0], np.float32)])
    inputs = (
        Input("picture", (4, 4, 3), 1.0, 0.0, "NHWC", "float32", "uint8"),
        Input("row", (2,), 1.0, 0.0, "NC", "float32", "float32"),
    )
    return model, split, Signature((), ("dark", "bright"), 1.0, 0.0, inputs=inputs)


def test_another_scaling_of_the_pixels_is_found_beside_other_inputs() -> None:
    model, split, signature = bright(1 / 255)
    refuse_other_scaling(model, split, signature.scaled(1 / 255, 0.0), "own.keras")
    with pytest.raises(ModelError, match=r"with scale 1/255, .* with scale 1"):
        refuse_other_scaling(model, split, signature, "own.keras")


def test_only_inputs_that_are_pixels_are_scaled_twice() -> None:
    pixels, extra = (keras.Input(each.input_shape, name=each.name) for each in SIGNATURE.inputs)

    def doubts(one: Any, other: Any) -> str | None:
        x = layers.Concatenate()([layers.Flatten()(one), other])
        return doubt(keras.Model([pixels, extra], layers.Dense(4)(x)), SIGNATURE)

    assert doubts(pixels, layers.Rescaling(0.1, name="of_numbers")(extra)) is None
    assert "of_pixels" in str(doubts(layers.Rescaling(1 / 255, name="of_pixels")(pixels), extra))


def test_a_vector_of_uint8_is_doubted_for_it_is_scaled_as_pixels_are() -> None:
    assert not list(doubts_of_vectors(SIGNATURE))
    vector = dataclasses.replace(EXTRA, data_dtype="uint8", scale=1 / 255)
    (said,) = doubts_of_vectors(dataclasses.replace(SIGNATURE, inputs=(PIXELS, vector)))
    assert "'extra' is a vector of uint8, and so scaled with scale 1/255 as pixels" in said


def test_masks_of_the_size_of_another_image_are_refused() -> None:
    far, near = np.zeros((4, 6, 6, 1), np.uint8), np.zeros((4, 4, 4, 1), np.uint8)
    masks = np.arange(64, dtype=np.uint8).reshape(4, 4, 4) % 2
    split = Split(fields.joined({"far": far, "near": near}), masks)
    dataset = DataSet("masks", split, split, split, split, ("0", "1"), "segmentation")
    own = describe(dataset, Data())
    refuse_other_masks(dataclasses.replace(own, output_shape=(4, 4, 2)), dataset)
    with pytest.raises(ModelError, match=r"answers for \(6, 6\) pixels, the masks .* \(4, 4\)"):
        refuse_other_masks(dataclasses.replace(own, output_shape=(6, 6, 2)), dataset)


def test_init_names_the_inputs_in_the_order_of_the_network(tmp_path: Path) -> None:
    data = Data(name="npz", path=str(two_inputs.write(tmp_path / "two.npz", 200, 40)))
    network = two_inputs.network()
    network.layers[-1].set_weights([np.zeros((32, 4)), np.arange(4.0)])
    files.save(network, tmp_path / "own.keras")
    model = Model(source=str(tmp_path / "own.keras"))
    found = look.run(TrainStage(data=data, model=model), {}, tmp_path)
    assert [(each.name, each.shape, each.dtype) for each in found.inputs] == [
        ("pixels", (8, 8, 1), "uint8"),
        ("extra", (6,), "float32"),
    ]
    assert (found.scale, found.is_trained) == (1 / 255, False)
