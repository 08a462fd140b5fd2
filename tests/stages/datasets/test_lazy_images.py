from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.datasets.base import Split
from stages.datasets.lazy_images import LazyImages, take


@pytest.fixture
def on_disk(tmp_path: Path) -> np.memmap:
    images = np.arange(10 * 2 * 2 * 3, dtype=np.uint8).reshape(10, 2, 2, 3)
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def test_some_of_some_images_are_the_ones_that_copies_would_be(on_disk: np.memmap) -> None:
    copy = np.array(on_disk)
    first, second = np.array([9, 3, 3, 5, 0]), np.array([4, 0, 2])
    rows = take(take(on_disk, first), second)
    assert isinstance(rows, LazyImages)
    expected = copy[first][second]
    assert rows.shape == expected.shape
    assert len(rows) == 3
    for where in (slice(None), slice(1, 3), np.array([2, 0]), 1):
        np.testing.assert_array_equal(rows[where], expected[where])
        assert rows[where].dtype == np.uint8
    np.testing.assert_array_equal(list(rows), expected)


def test_what_is_read_is_an_array_in_memory(on_disk: np.memmap) -> None:
    assert type(take(on_disk, np.array([1, 2]))[0:1]) is np.ndarray


def test_images_in_memory_are_taken_as_they_are() -> None:
    images = np.zeros((4, 2, 2, 1), np.uint8)
    assert isinstance(take(images, np.array([1])), np.ndarray)


def test_a_split_of_a_split_keeps_what_was_left_out(on_disk: np.memmap) -> None:
    split = Split(on_disk, np.arange(10), ("a.png cannot be read",)).take(np.array([4, 2]))
    assert split.labels.tolist() == [4, 2]
    assert split.skipped == ("a.png cannot be read",)
