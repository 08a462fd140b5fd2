"""What `stages/datasets/loading.py` promises for every data set."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.datasets.loading import load_dataset, load_test_split
from stages.datasets.registry import DATASETS
from stages.errors import DataError, SettingsError
from stages.settings import Data

COLOURS = Path(__file__).parents[3] / "../shared/data/cifar10-small.zip"


def numbered(start: int, count: int) -> np.ndarray:
    """Images whose pixels spell their number, so that each can be told from all others."""
    images = np.arange(start, start + count, dtype=np.uint32).view(np.uint8)
    return images.reshape(count, 2, 2, 1)


def write(file: Path, train: int = 200, classes: int = 4, **changes: Any) -> Data:
    arrays = {
        "x_train": numbered(0, train),
        "y_train": np.arange(train) % classes,
        "x_test": numbered(train, 40),
        "y_test": np.arange(40) % classes,
    }
    np.savez(file, **{**arrays, **changes})
    return Data(name="npz", path=str(file), calibration_samples=20)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    share=st.floats(0.01, 0.49),
    calibration=st.integers(1, 90),
    test_samples=st.integers(0, 50),
)
def test_no_image_is_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    share: float,
    calibration: int,
    test_samples: int,
) -> None:
    file = tmp_path_factory.getbasetemp() / "numbered.npz"
    data = write(file).model_copy(
        update={
            "seed": seed,
            "validation_share": share,
            "calibration_samples": calibration,
            "test_samples": test_samples,
        }
    )
    divided = load_dataset(data)
    splits = (divided.train, divided.validation, divided.calibration, divided.test)
    seen = [image.tobytes() for split in splits for image in split.images]
    assert len(seen) == len(set(seen)) == 200 + min(test_samples or 40, 40)
    assert len(divided.calibration) == calibration


def test_every_name_in_the_settings_has_a_row_in_the_table() -> None:
    assert set(get_args(Data.model_fields["name"].annotation)) == set(DATASETS)


def test_fewer_test_samples_are_taken_class_by_class_and_always_the_same(tmp_path: Path) -> None:
    data = write(tmp_path / "set.npz").model_copy(update={"test_samples": 8})
    few = load_dataset(data).test
    assert np.bincount(few.labels).tolist() == [2, 2, 2, 2]
    again = load_test_split(data.model_copy(update={"seed": 9}))
    np.testing.assert_array_equal(few.images, again.images)


def test_a_calibration_set_that_leaves_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "set.npz").model_copy(update={"calibration_samples": 177})
    with pytest.raises(
        DataError, match=r"is 177, but of 200 .* 20 go to validation .* at most 176 are left"
    ):
        load_dataset(data)


def test_a_class_of_one_image_is_trained_on_and_one_of_two_also_validated(tmp_path: Path) -> None:
    labels = np.zeros(200, np.int64)
    labels[:3] = 1, 2, 2
    data = write(tmp_path / "set.npz", y_train=labels, y_test=np.zeros(40, np.int64))
    found = load_dataset(data.model_copy(update={"calibration_samples": 170}))
    assert [set(part.labels) for part in (found.train, found.validation)] == [{0, 1, 2}, {0, 2}]
    assert set(found.calibration.labels) == {0}


def test_a_test_label_beyond_the_training_classes_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "set.npz", y_test=np.full(40, 7))
    with pytest.raises(DataError, match="a test label is 7, but the training part has 4 classes"):
        load_test_split(data)


def test_training_labels_with_a_gap_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "set.npz", y_train=np.arange(200) % 4 * 10)
    with pytest.raises(DataError, match=r"a training label is 30, .* expected 0 to 3"):
        load_dataset(data)


def test_a_digit_that_mnist_lacks_is_named(tmp_path: Path) -> None:
    data = write(tmp_path / "set.npz").model_copy(update={"name": "mnist"})
    with pytest.raises(DataError, match="no training image has the label 4, but labels go up to 9"):
        load_dataset(data)


def test_training_and_test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "set.npz", x_test=np.zeros((40, 3, 3), np.uint8))
    with pytest.raises(DataError, match=r"\(2, 2, 1\) but test images \(3, 3, 1\)"):
        load_dataset(data)


def test_the_data_sets_import_neither_tensorflow_nor_keras(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 7).save(tmp_path / "a.png")
    Image.new("L", (3, 2), 9).save(tmp_path / "b.png")
    (tmp_path / "list.csv").write_text("file,label,part\na.png,x,train\nb.png,x,test\n")
    program = (
        "import sys; from stages.datasets.loading import DATASETS, load_test_split; "
        "from stages.settings import Data; import importlib; "
        "[importlib.import_module(module) for module in DATASETS.values()]; "
        "load_test_split(Data()); "
        "split = load_test_split(Data(name='csv', path=sys.argv[1])); "
        "assert split.images[0, 0, 0, 0] == 9; "
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "list.csv")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[]\n"


@pytest.mark.skipif(not COLOURS.exists(), reason="../shared/data/cifar10-small.zip is not here")
def test_a_real_image_folder_in_colour_is_read_and_divided(tmp_path: Path) -> None:
    shutil.unpack_archive(COLOURS, tmp_path)
    (root,) = {folder.parent for folder in tmp_path.rglob("train")}
    data = Data(name="folder", path=str(root))
    split = load_test_split(data)
    assert split.images.shape == (2000, 32, 32, 3)
    assert np.bincount(split.labels).tolist() == [200] * 10
    assert "airplane" in load_dataset(data.model_copy(update={"test_samples": 100})).class_names


def test_a_machine_without_the_packages_of_a_data_set_is_told_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "stages.datasets.digits", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="'digits' needs the package PIL") as caught:
        load_test_split(Data(name="digits"))
    assert "data.name=npz" in caught.value.hint


def test_one_class_in_all_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 1 class, expected two or more"):
        load_dataset(write(tmp_path / "one.npz", classes=1))


def test_a_shift_as_wide_as_the_images_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    data = write(tmp_path / "set.npz").model_copy(update={"shift_pixels": 2})
    with pytest.raises(SettingsError, match=r"shift_pixels: got 2, expected less .* 2 x 2 pixels"):
        load_dataset(data)


def test_floats_that_the_scale_of_pixels_would_squash_are_refused_with_their_range(
    tmp_path: Path,
) -> None:
    waves = np.linspace(-1.5, 2.0, 200 * 8).reshape(200, 8)
    data = write(tmp_path / "waves.npz", x_train=waves, x_test=waves[:40])
    data = data.model_copy(update={"kind": "signals"})
    with pytest.raises(DataError, match=r"values from -1\.5 to 2, not pixels of uint8") as caught:
        load_dataset(data)
    assert caught.value.hint == "as they are: --set data.scale=1"
    dataset = load_dataset(data.model_copy(update={"scale": 1.0}))
    assert dataset.train.images.shape[1:] == (8, 1)
    assert dataset.train.images.dtype == np.float32


def test_a_test_part_of_another_type_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "mixed.npz", x_test=numbered(200, 40) / 255)
    with pytest.raises(DataError, match="read as uint8 but test images as float32"):
        load_dataset(data.model_copy(update={"scale": 0.5}))
