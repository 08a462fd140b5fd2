from __future__ import annotations

import sys

import numpy as np
import pytest

from stages.datasets import digits
from stages.datasets.base import DataSet
from stages.datasets.loading import load_dataset, load_test_split
from stages.errors import DataError
from stages.settings import Data


@pytest.fixture(scope="module")
def divided() -> DataSet:
    return load_dataset(Data())


def test_every_real_image_is_in_exactly_one_split(divided: DataSet) -> None:
    splits = (divided.train, divided.validation, divided.calibration, divided.test)
    # scikit-learn's 1797 digits are all different, so an image's bytes are its identity.
    seen = [image.tobytes() for split in splits for image in split.images]
    assert len(seen) == 1797
    assert len(set(seen)) == 1797


def test_the_splits_have_the_promised_sizes_and_every_class(divided: DataSet) -> None:
    sizes = [len(divided.train), len(divided.validation), len(divided.calibration)]
    assert sizes == [1165, 144, 128]
    assert np.bincount(divided.test.labels).min() >= 35
    assert divided.test.images.shape == (360, 28, 28, 1)
    assert divided.test.images.dtype == np.uint8
    assert divided.test.labels.dtype == np.int64
    assert divided.class_names == tuple("0123456789")


def test_no_setting_moves_the_test_split_but_the_seed_moves_the_others(divided: DataSet) -> None:
    other = load_dataset(Data(seed=1, validation_share=0.2, calibration_samples=50))
    np.testing.assert_array_equal(other.test.images, divided.test.images)
    assert not np.array_equal(load_dataset(Data(seed=1)).train.images, divided.train.images)


def test_the_benchmark_gets_the_same_test_split(divided: DataSet) -> None:
    split = load_test_split(Data(seed=3))
    np.testing.assert_array_equal(split.images, divided.test.images)
    np.testing.assert_array_equal(split.labels, divided.test.labels)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="'digits' is part of scikit-learn, which cannot") as caught:
        digits.read(Data(), "train")
    assert caught.value.hint.startswith("pip install scikit-learn")


def test_the_pixels_are_those_of_scikit_learn_enlarged() -> None:
    ramp = np.add.outer(np.arange(8.0), np.arange(8.0))
    image = digits._enlarged(ramp)
    # Bilinear samples lie at (i + 0.5) * 8 / 28 - 0.5, clamped to the outermost pixels.
    position = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    expected = np.add.outer(position, position) * 255 / 16
    assert np.abs(image - expected).max() <= 1.5


def test_a_path_for_digits_is_refused() -> None:
    with pytest.raises(DataError, match=r"'my\.npz', but the data set 'digits' is part of scikit"):
        load_dataset(Data(path="my.npz"))
