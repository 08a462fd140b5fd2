from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.datasets import cache, keras_sets
from stages.datasets.loading import load_test_split
from stages.errors import DataError
from stages.settings import Data

MNIST = Path(__file__).parents[3] / "../shared/data/mnist.npz"


def test_the_copy_that_keras_keeps_is_read_where_no_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasets").mkdir()
    images = np.full((2, 28, 28), 7, np.uint8)
    labels = np.array([3, 4])
    np.savez(
        tmp_path / "datasets/mnist.npz",
        **{"x_train": images, "y_train": labels, "x_test": images, "y_test": labels},
    )
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    split = keras_sets.read(Data(name="mnist"), "test")
    assert split.images.shape == (2, 28, 28, 1)
    assert split.labels.tolist() == [3, 4]


def test_the_home_folder_is_where_keras_keeps_it_without_keras_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_sets._keras_home() == tmp_path / ".keras"


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100"])
def test_the_other_sets_are_read_from_a_path_or_from_the_copy_in_the_cache(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = cache.folder() / f"{name}.npz"
    images, labels = np.full((2, 32, 32, 3), 7, np.uint8), np.array([[3], [4]])
    np.savez(file, **{"x_train": images, "y_train": labels, "x_test": images, "y_test": labels})
    for path in (None, str(file)):
        split = keras_sets.read(Data(name=name, path=path), "train")
        assert split.images.shape == (2, 32, 32, 3)
        assert split.labels.tolist() == [3, 4]


def test_every_class_has_a_name_of_its_own() -> None:
    for name, count in {"mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}.items():
        names = keras_sets.class_names(Data(name=name))
        assert len(names) == len(set(names)) == count
    fine = list(keras_sets.class_names(Data(name="cifar100")))
    assert fine == sorted(fine)
    assert (fine[0], fine[99]) == ("apple", "worm")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_download_that_fails_says_what_to_fetch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="Keras cannot download it") as caught:
        keras_sets.read(Data(name=name), "test")
    assert f"--set data.path={name}.npz" in caught.value.hint


@pytest.mark.mnist
@pytest.mark.skipif(not MNIST.exists(), reason="../shared/data/mnist.npz is not here")
def test_the_real_mnist_is_read_from_its_path() -> None:
    settings = Data(name="mnist", path=str(MNIST), test_samples=500)
    everything = keras_sets.read(settings, "test")
    assert everything.images.shape == (10000, 28, 28, 1)
    assert np.bincount(everything.labels).tolist() == REAL_TEST_COUNTS
    share = np.bincount(load_test_split(settings).labels) / 500
    np.testing.assert_allclose(share, np.bincount(everything.labels) / 10000, atol=1 / 500)


REAL_TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
