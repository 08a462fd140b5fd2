from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from stages.datasets import digits
from stages.datasets.base import DataSet
from stages.datasets.loading import load_dataset, load_test_split
from stages.errors import DataError
from stages.settings import Data

ROOT = Path(__file__).parents[3]


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
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match="part of scikit-learn, which is not installed") as caught:
        digits.read(Data(), "train")
    assert caught.value.hint.startswith("pip install scikit-learn")


def test_a_scikit_learn_without_the_digits_is_named_by_its_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(DataError, match=r"which has no .*sklearn/datasets/data/digits\.csv\.gz"):
        digits.read(Data(), "test")


def test_the_digits_are_those_that_scikit_learn_reads() -> None:
    expected = load_digits()
    read = [digits.read(Data(), part) for part in ("train", "test")]
    found = {
        image.tobytes(): label
        for split in read
        for image, label in zip(split.images, split.labels, strict=True)
    }
    wanted = {
        digits._enlarged(image).tobytes(): label
        for image, label in zip(expected.images, expected.target, strict=True)
    }
    assert found == wanted


def test_scikit_learn_itself_is_not_imported() -> None:
    code = "import sys; from stages.datasets.digits import read; from stages.settings import Data\n"
    code += "print(len(read(Data(), 'test').labels), 'sklearn' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["360", "False"]


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
