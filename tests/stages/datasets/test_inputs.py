from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.artifacts.signature import Signature
from stages.datasets import carried, npz, targets
from stages.datasets.base import Split
from stages.datasets.inputs import Form, check_settings, forms, inputs_of
from stages.datasets.lazy_images import take
from stages.datasets.loading import load_dataset, load_test_split
from stages.errors import ArtifactError, DataError, SettingsError
from stages.numerics import fields
from stages.settings import Data
from tests.stages import two_inputs
from tests.stages.two_inputs import SIGNATURE

CAMERA = np.arange(24, dtype=np.uint8).reshape(2, 4, 3, 1)
TABLE = np.ones((2, 5))


def test_inputs_are_one_array_sorted_by_name_with_numbers_in_float32() -> None:
    found = inputs_of({"table": TABLE, "camera": CAMERA}, "here")
    assert forms(found) == {
        "camera": Form((4, 3, 1), np.dtype("uint8")),
        "table": Form((5,), np.dtype("float32")),
    }
    np.testing.assert_array_equal(found["camera"], CAMERA)
    np.testing.assert_array_equal(found["table"], TABLE)
    assert forms(CAMERA) == {"": Form((4, 3, 1), np.dtype("uint8"))}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (TABLE[:1], r"the inputs are 2 of 'camera', 1 of 'table', expected one of each"),
        (TABLE * [1, np.nan, 1, 1, 1], r"here, input 'table': 2 of 2 rows hold NaN"),
        (TABLE.astype(np.int64), r"the input 'table' is int64, expected uint8, or one of int8"),
        (TABLE[:, 0], r"the input 'table' has the shape \(2,\), expected \(N, values\)"),
        (TABLE[:, :0], r"the input 'table' has the shape \(2, 0\)"),
        (None, r"got arrays of 1 inputs, expected two or more"),
    ],
)
def test_arrays_that_are_no_inputs_are_refused(table: Any, words: str) -> None:
    given = {"camera": CAMERA} if table is None else {"camera": CAMERA, "table": table}
    with pytest.raises(DataError, match=words):
        inputs_of(given, "here")


@pytest.mark.parametrize("name", ["my table", "", 3])
def test_names_that_engines_do_not_take_are_refused(name: Any) -> None:
    with pytest.raises(DataError, match=r"an input is named .*, expected letters, digits"):
        inputs_of({"camera": CAMERA, name: TABLE}, "here")


@pytest.fixture
def data(tmp_path: Path) -> Data:
    file = two_inputs.write(tmp_path / "two.npz", 200, 40)
    return Data(name="npz", path=str(file), calibration_samples=20)


def changed(data: Data, without: str = "", **others: np.ndarray) -> Data:
    """The file without an array, or with others."""
    with np.load(str(data.path)) as old:
        arrays = {name: old[name] for name in old.files if name != without}
    np.savez(str(data.path), **{**arrays, **{k.replace("__", "/"): v for k, v in others.items()}})
    return data


def test_an_archive_with_an_array_for_each_input_is_divided_whole(data: Data) -> None:
    found = load_dataset(data)
    images, labels = two_inputs.arrays(200)
    parts = [found.train, found.validation, found.calibration]
    assert [len(each) for each in (*parts, found.test)] == [160, 20, 20, 40]
    rows = {row.tobytes() for each in parts for row in each.images["extra"]}
    assert rows == {row.tobytes() for row in images["extra"]}
    whole = npz.read(data, "train")
    np.testing.assert_array_equal(whole.images["pixels"], images["pixels"])
    np.testing.assert_array_equal(whole.labels, labels)
    place = {row.tobytes(): index for index, row in enumerate(images["extra"])}
    at = [place[row.tobytes()] for row in found.train.images["extra"]]
    np.testing.assert_array_equal(found.train.images["pixels"], images["pixels"][at])
    np.testing.assert_array_equal(found.train.labels, labels[at])


@pytest.mark.parametrize(
    ("without", "others", "words"),
    [
        ("x_test/extra", {}, r"got arrays of 1 inputs"),
        (
            "",
            {"x_test__more": np.ones((40, 2))},
            "the test part has the inputs extra, more, pixels, expected the inputs extra, pixels",
        ),
        (
            "",
            {"x_test__extra": np.ones((40, 7))},
            r"the input 'extra' of the test part is \(7,\) float32, expected \(6,\) float32",
        ),
        (
            "",
            {"x_test__pixels": np.ones((40, 8, 8, 1))},
            r"'pixels' of the test part is \(8, 8, 1\) float32, expected \(8, 8, 1\) uint8",
        ),
        ("", {"x_train": np.ones((200, 3))}, "x_train and x_train/extra, expected one or the"),
        ("x_train/extra", {"x_train__extra": np.ones((9, 6))}, "the inputs are 9 of 'extra', 200"),
        ("", {"y_train": np.ones(9, int)}, "200 images but 9 labels"),
    ],
)
def test_an_archive_whose_inputs_do_not_fit_is_refused(
    data: Data, without: str, others: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(changed(data, without, **others))


def test_the_test_split_is_of_the_inputs_of_the_signature(data: Data) -> None:
    assert len(load_test_split(data, SIGNATURE)) == 40
    other = dataclasses.replace(two_inputs.EXTRA, input_shape=(5,))
    with pytest.raises(DataError, match=r"'extra' of the test part is \(6,\) float32, expected"):
        load_test_split(data, dataclasses.replace(SIGNATURE, inputs=(two_inputs.PIXELS, other)))
    with pytest.raises(DataError, match="the inputs extra, pixels, expected one input without"):
        load_test_split(data, Signature((8, 8, 1), two_inputs.CLASSES, 1.0, 0.0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "signals"}, "data.kind is 'signals', which is of one array"),
        ({"scale": 0.5}, "data.scale is 0.5 and data.offset 0, which are of inputs of uint8"),
        ({"offset": 1.0}, "data.offset 1, which are of inputs of uint8"),
        ({"zoom": 0.1}, "data.zoom is of images, of which there are none"),
        ({"contrast": 0.1}, "data.contrast is of images of uint8, of which there are none"),
    ],
)
def test_settings_that_mean_nothing_for_the_inputs_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    numbers = inputs_of({"one": TABLE, "other": TABLE}, "here")
    check_settings(Data(name="npz"), numbers)
    with pytest.raises(SettingsError, match=words):
        check_settings(Data(name="npz", **settings), numbers)


def test_images_are_shifted_by_less_than_the_smallest_of_them(data: Data) -> None:
    with pytest.raises(SettingsError, match="8 x 8 pixels of 'pixels'"):
        load_dataset(data.model_copy(update={"shift_pixels": 8}))


def test_inputs_on_disk_are_taken_without_reading_them(tmp_path: Path) -> None:
    images = two_inputs.split(30).images
    np.save(tmp_path / "images.npy", images[:])
    kept = np.load(tmp_path / "images.npy", mmap_mode="r")
    some = take(take(kept, np.arange(20)), np.array([3, 1]))
    assert (type(some).__name__, some.shape, forms(some)) == ("LazyImages", (2,), forms(images))
    np.testing.assert_array_equal(some[:]["pixels"], images[:]["pixels"][[3, 1]])


def test_carried_images_of_several_inputs_come_back_and_others_are_refused(tmp_path: Path) -> None:
    SIGNATURE.write(tmp_path)
    test = two_inputs.split(30)
    carried.write(test, 0, tmp_path)
    found = carried.read(tmp_path)
    np.testing.assert_array_equal(found.images[:], test.images[:])
    np.testing.assert_array_equal(found.labels, test.labels)
    renamed = dataclasses.replace(two_inputs.EXTRA, name="numbers")
    dataclasses.replace(SIGNATURE, inputs=(two_inputs.PIXELS, renamed)).write(tmp_path)
    with pytest.raises(ArtifactError, match=r"extra \(30, 6\) float32.*numbers \(30, 6\) float32"):
        carried.read(tmp_path)


def test_masks_are_as_large_as_one_of_the_images() -> None:
    images = fields.joined({"far": np.zeros((2, 4, 6, 1), np.uint8), "near": CAMERA})
    for shape in ((4, 6), (4, 3)):
        masks = np.ones((2, *shape), np.uint8)
        targets.checked(Split(images, masks), "segmentation", ("a", "b"), "training")
    unlike = Split(images, np.ones((2, 6, 6), np.uint8))
    with pytest.raises(DataError, match=r"masks are \(6, 6\), the images \(4, 3\) and \(4, 6\)"):
        targets.checked(unlike, "segmentation", ("a", "b"), "training")
