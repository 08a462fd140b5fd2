from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.datasets import folder, masks
from stages.datasets.loading import load_dataset
from stages.errors import DataError
from stages.settings import Data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photos of 6 x 5 pixels with masks, of which the number is that of the pixels of class 1."""
    for part, count in (("train", 10), ("test", 2)):
        for number in range(count):
            mask = np.zeros((5, 6), np.uint8)
            mask.flat[:number] = 1
            for name in ("images", "masks"):
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 5), (number, 0, 0)).save(tmp_path / part / f"images/{number}.png")
            Image.fromarray(mask).save(tmp_path / part / f"masks/{number}.png")
    return tmp_path


def settings(root: Path, **more: Any) -> Data:
    given = {"name": "masks", "path": str(root), "calibration_samples": 2, **more}
    return Data.model_validate(given)


def paint(file: Path, number: int) -> None:
    pixels = np.asarray(Image.open(file)).copy()
    pixels[-1, -1] = number
    Image.fromarray(pixels).save(file)


def test_images_come_with_their_masks(root: Path) -> None:
    (root / "train/images/3.png").rename(root / "train/images/3.webp")
    found = load_dataset(settings(root))
    assert (found.task, found.class_names) == ("segmentation", ("0", "1"))
    assert [len(each) for each in (found.train, found.validation, found.test)] == [7, 1, 2]
    for split in (found.train, found.validation, found.calibration, found.test):
        np.testing.assert_array_equal(
            split.labels.sum(axis=(1, 2)), split.images[:][:, 0, 0, 0], strict=False
        )


def test_images_and_masks_are_resized_alike(root: Path) -> None:
    found = load_dataset(settings(root, image_size=12))
    assert found.test.images.shape == (2, 12, 12, 3)
    assert found.test.labels.shape == (2, 12, 12)
    assert set(np.unique(found.train.labels)) == {0, 1}


def test_classes_have_the_names_of_their_lines(root: Path) -> None:
    (root / "classes.txt").write_text("ground\nroad\nsky\n")
    assert load_dataset(settings(root)).class_names == ("ground", "road", "sky")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "classes.txt has 0 lines, expected 2 to 255"),
        ("a\n" * 2, "line 2: 'a', expected the name of a class, each once"),
        ("a\n\nb\n", "line 2: '', expected the name of a class"),
        ("a\nb\u202e\n", "line 2: .*, expected the name of a class"),
    ],
)
def test_lines_that_are_no_names_are_refused(root: Path, text: str, words: str) -> None:
    (root / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        masks.class_names(settings(root))


def test_a_class_without_a_name_is_refused_with_its_file(root: Path) -> None:
    (root / "classes.txt").write_text("ground\nroad\n")
    paint(root / "train/masks/4.png", 7)
    with pytest.raises(DataError, match=r"the mask .*4\.png has a pixel 7, but classes\.txt names"):
        load_dataset(settings(root))


def test_a_class_that_only_test_masks_have_is_refused(root: Path) -> None:
    paint(root / "test/masks/1.png", 2)
    with pytest.raises(DataError, match=r"test: a pixel of mask 2 of 2 is 2, expected .* 0 to 1"):
        load_dataset(settings(root))


def test_a_class_that_no_training_mask_has_is_refused_unless_classes_have_names(
    root: Path,
) -> None:
    paint(root / "train/masks/4.png", 3)
    with pytest.raises(DataError, match="no pixel of the training masks is 2, but classes go up"):
        load_dataset(settings(root))
    (root / "classes.txt").write_text("ground\nroad\nsky\nsea\n")
    assert len(load_dataset(settings(root)).class_names) == 4


def test_a_class_of_few_masks_is_left_to_train_on(root: Path) -> None:
    for number in range(4):
        paint(root / f"train/masks/{number}.png", 2)
    found = load_dataset(settings(root, calibration_samples=4))
    assert set(np.unique(found.train.labels)) == {0, 1, 2}
    # One mask alone has the class, and more than half of the images are held back.
    paint(root / "train/masks/9.png", 3)
    found = load_dataset(settings(root, calibration_samples=5))
    assert set(np.unique(found.train.labels)) == {0, 1, 2, 3}


def test_pixels_of_255_are_not_judged_and_are_no_class(root: Path) -> None:
    paint(root / "train/masks/4.png", 255)
    assert load_dataset(settings(root)).class_names == ("0", "1")
    for file in (root / "train/masks").iterdir():
        pixels = np.asarray(Image.open(file))
        Image.fromarray(np.where(pixels, 255, 0).astype(np.uint8)).save(file)
    with pytest.raises(DataError, match="have one class, expected two or more") as caught:
        load_dataset(settings(root))
    assert "255 is a pixel that is not judged: write 1" in caught.value.hint


@pytest.mark.parametrize(
    ("removed", "added", "words"),
    [
        ("masks/3.png", None, r"3\.png has no mask, expected .*masks/3\.png"),
        ("images/3.png", None, r"masks/3\.png is the mask of no image in .*train/images"),
        (None, "images/3.jpg", r"images holds 3\.jpg and 3\.png, expected one file of each name"),
        ("images", None, "there is no folder .*train/images"),
        ("masks", "masks/.hidden", "the folder .*train/masks is empty"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    root: Path, removed: str | None, added: str | None, words: str
) -> None:
    path = root / "train" / (removed or "none")
    if path.is_dir():
        path.rename(root / "elsewhere")
    elif removed:
        path.unlink()
    if added:
        (root / "train" / added).parent.mkdir(exist_ok=True)
        (root / "train" / added).touch()
    with pytest.raises(DataError, match=words):
        load_dataset(settings(root))


def test_a_folder_of_masks_is_not_taken_for_two_classes(root: Path) -> None:
    with pytest.raises(DataError, match="the folders images and masks, expected one for each") as e:
        folder.class_names(settings(root, name="folder"))
    assert "data.name=masks" in e.value.hint


def test_a_file_is_no_folder_of_masks(root: Path) -> None:
    file = root / "train/images/1.png"
    with pytest.raises(DataError, match="which is a file, expected a folder"):
        masks.form(settings(file))
