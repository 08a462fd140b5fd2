from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.artifacts.signature import Signature
from stages.datasets import carried
from stages.datasets.base import Split
from stages.datasets.lazy_images import LazyImages
from stages.errors import ArtifactError
from stages.results.conversion import CarriedImages

SIGNATURE = Signature((4, 5, 3), ("a", "b", "c"), 1 / 255, 0.0)


def split(count: int = 300) -> Split:
    """Sorted by class, as folders are: 6 of 10 images are of class a, 3 of b, 1 of c."""
    random = np.random.default_rng(0)
    labels = np.sort(np.arange(count) % 10)
    labels = np.where(labels < 6, 0, np.where(labels < 9, 1, 2)).astype(np.int64)
    return Split(random.integers(0, 256, (count, 4, 5, 3), np.uint8), labels)


def written(folder: Path, test: Split, count: int) -> CarriedImages:
    SIGNATURE.write(folder)
    return carried.write(test, count, folder)


def test_signals_in_float32_are_carried_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 7, 2)).astype(np.float32)
    Signature((7, 2), ("a", "b"), 1.0, 0.0, data_dtype="float32").write(tmp_path)
    carried.write(Split(values, np.arange(20) % 2), 0, tmp_path)
    found = carried.read(tmp_path)
    few = found.take(np.array([3, 1])).images
    assert isinstance(few, LazyImages)
    assert few.dtype == np.float32
    assert np.array_equal(few[:], values[[3, 1]])


def test_what_is_carried_has_every_class_in_proportion_and_its_own_images(tmp_path: Path) -> None:
    test = split()
    said = written(tmp_path, test, 20)
    found = carried.read(tmp_path)
    assert (said.images, said.test_samples) == (20, 300)
    assert np.bincount(found.labels).tolist() == [12, 6, 2]
    known = {
        image.tobytes(): label for image, label in zip(test.images[:], test.labels, strict=True)
    }
    assert [known[image.tobytes()] for image in found.images[:]] == found.labels.tolist()


@given(st.integers(0, 40))
def test_never_more_than_there_are_and_0_takes_all(count: int) -> None:
    with TemporaryDirectory() as name:
        test = split(30)
        said = written(Path(name), test, count)
        found = carried.read(Path(name))
        assert len(found) == said.images == (min(count, 30) or 30)
        if len(found) == 30:
            assert np.array_equal(found.images[:], test.images[:])
            assert np.array_equal(found.labels, test.labels)


def test_the_size_that_is_recorded_is_that_of_the_files(tmp_path: Path) -> None:
    said = written(tmp_path, split(), 0)
    files = [tmp_path / carried.IMAGES_FILE, tmp_path / carried.LABELS_FILE]
    assert said.size_bytes == sum(file.stat().st_size for file in files)
    assert said.size_bytes >= 300 * 60 + 300 * 8


def test_images_on_disk_are_written_and_read_without_being_in_memory(tmp_path: Path) -> None:
    test = split()
    np.save(tmp_path / "source.npy", test.images[:])
    source = np.load(tmp_path / "source.npy", mmap_mode="r")
    rows = np.arange(300)[::-1]
    lazy = Split(LazyImages(source, rows), test.labels[::-1])
    written(tmp_path, lazy, 0)
    found = carried.read(tmp_path)
    assert isinstance(found.images, np.memmap)
    assert np.array_equal(found.images, test.images[::-1])


def test_a_copy_is_read_like_the_first_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    written(tmp_path / "a", split(), 10)
    carried.copy(tmp_path / "a", tmp_path / "b")
    SIGNATURE.write(tmp_path / "b")
    assert np.array_equal(carried.read(tmp_path / "b").images, carried.read(tmp_path / "a").images)


def test_where_an_earlier_version_carried_nothing_both_ways_on_are_named(tmp_path: Path) -> None:
    SIGNATURE.write(tmp_path)
    carried.copy(tmp_path, tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="carries no test images") as caught:
        carried.read(tmp_path)
    assert "pipeline run convert --force" in caught.value.hint
    assert "--set benchmark.images=test" in caught.value.hint


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((2, 4, 4, 3), np.uint8),
            [0, 1],
            r"holds \(2, 4, 4, 3\) uint8, expected \(2, 4, 5",
        ),
        (np.zeros((2, 4, 5, 3), np.float32), [0, 1], "float32"),
        (np.zeros((2, 4, 5, 3), np.uint8), [0, 1, 2], r"expected \(3, 4, 5, 3\)"),
        (np.zeros((0, 4, 5, 3), np.uint8), [], "at least one image"),
        (np.zeros((2, 4, 5, 3), np.uint8), [0, 3], "a test label is 3, .*expected 0 to 2"),
        (np.zeros((2, 4, 5, 3), np.uint8), [-1, 0], "a label is -1, expected class numbers"),
        (np.zeros((2, 4, 5, 3), np.uint8), [0.0, 1.0], "float64"),
    ],
)
def test_what_the_signature_does_not_describe_is_refused(
    tmp_path: Path, images: np.ndarray, labels: list[float], message: str
) -> None:
    SIGNATURE.write(tmp_path)
    np.save(tmp_path / carried.IMAGES_FILE, images)
    np.save(tmp_path / carried.LABELS_FILE, np.array(labels, None if labels else np.int64))
    with pytest.raises(ArtifactError, match=message):
        carried.read(tmp_path)


def test_a_damaged_file_is_an_error_in_one_line(tmp_path: Path) -> None:
    written(tmp_path, split(), 10)
    (tmp_path / carried.IMAGES_FILE).write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(ArtifactError, match="are damaged"):
        carried.read(tmp_path)
