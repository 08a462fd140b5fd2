from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as numpy_strategies

from stages.datasets.base import checked_split, required_path
from stages.errors import DataError
from stages.settings import Data

IMAGES = np.zeros((4, 5, 6, 3), np.uint8)
LABELS = np.arange(4)


def test_gray_images_without_a_channel_axis_get_one() -> None:
    split = checked_split(IMAGES[..., 0], LABELS, "x")
    assert split.images.shape == (4, 5, 6, 1)
    assert split.labels.dtype == np.int64


def test_labels_in_a_column_are_flattened_as_cifar_has_them() -> None:
    assert checked_split(IMAGES, LABELS[:, None], "x").labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES.astype(np.int64), LABELS, "the images are int64, expected uint8, or one of int8"),
        (IMAGES + np.array([0, 0, np.nan]), LABELS, "4 of 4 images hold NaN, infinity or more"),
        (IMAGES[0, 0], LABELS, r"the shape \(6, 3\), expected \(N, height, width\)"),
        (IMAGES[:0], LABELS[:0], r"the shape \(0, 5, 6, 3\)"),
        (IMAGES.transpose(0, 3, 1, 2).repeat(2, 3), LABELS, r"12 channels, expected 1 to 4 as"),
        (IMAGES, np.array(1), "the labels are a single int64, expected one for each image"),
        (IMAGES, LABELS[:3], "4 images but 3 labels, expected one for each image"),
    ],
)
def test_unfit_arrays_are_refused_with_what_was_got_and_expected(
    images: np.ndarray, labels: np.ndarray, words: str
) -> None:
    with pytest.raises(DataError, match=f"set.npz: .*{words}") as caught:
        checked_split(images, labels, "set.npz")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("kind", "shape", "stored"),
    [
        ("signals", (4, 100), (4, 100, 1)),
        ("signals", (4, 100, 9), (4, 100, 9)),
        ("volumes", (4, 5, 6, 7), (4, 5, 6, 7, 1)),
        ("volumes", (4, 5, 6, 7, 2), (4, 5, 6, 7, 2)),
    ],
)
def test_signals_and_volumes_get_their_channels_and_floats_one_type(kind, shape, stored) -> None:
    for stored_as, read in (("uint8", "uint8"), ("int16", "float32"), ("float64", "float32")):
        split = checked_split(np.ones(shape, stored_as), LABELS, "x", kind)
        assert (split.images.shape, split.images.dtype) == (stored, read)


@pytest.mark.parametrize(("shape", "kind"), [((4, 100), None), ((4, 5, 6, 7, 2), "volumes")])
def test_arrays_of_another_rank_are_refused_with_the_kind_that_they_may_be(shape, kind) -> None:
    with pytest.raises(DataError, match=r"the images have the shape") as caught:
        checked_split(np.ones(shape, np.uint8), LABELS, "x")
    assert (f"--set data.kind={kind}" in caught.value.hint) is (kind is not None)


def test_a_data_set_without_its_path_says_which_setting_is_missing() -> None:
    with pytest.raises(DataError, match=r"'npz' is read from data\.path, which is not set"):
        required_path(Data(name="npz"))


def test_a_path_that_names_nothing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz', but there is no such file"):
        required_path(Data(name="npz", path=str(tmp_path / "absent.npz")))


@given(
    numpy_strategies.arrays(
        numpy_strategies.scalar_dtypes(),
        numpy_strategies.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    ),
    numpy_strategies.arrays(
        numpy_strategies.scalar_dtypes(),
        numpy_strategies.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
)
def test_any_arrays_are_a_split_or_refused(images: np.ndarray, labels: np.ndarray) -> None:
    with contextlib.suppress(DataError):
        split = checked_split(images, labels, "set")
        assert split.images.ndim == 4
        assert len(split.images) == len(split.labels)
