from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.datasets import csv_file, mask_files
from stages.datasets.loading import load_dataset
from stages.errors import DataError
from stages.settings import Data

CLASSES = np.array([[0, 1, 2, 2], [3, 255, 1, 0], [0, 0, 3, 1]], np.uint8)
SIZE = (4, 3)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", SIZE).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def palette(numbers: np.ndarray) -> Image.Image:
    """Class numbers with colours for the eye, as Pascal VOC has them."""
    image = Image.fromarray(numbers).convert("L")
    image.putpalette([each for number in range(256) for each in (number * 67 % 256, 9, 200)])
    return image


def save(file: Path, image: Image.Image, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)
    return file


def png(file: Path, numbers: np.ndarray, bits: int) -> Path:
    """A gray PNG of 2 or 4 bits a pixel, which Pillow does not write."""
    rows = b""
    for row in numbers:
        padded = np.zeros(-(-len(row) * bits // 8) * 8 // bits, np.uint8)
        padded[: len(row)] = row
        places = np.unpackbits(padded[:, None], axis=1)[:, 8 - bits :]
        rows += b"\0" + np.packbits(places.reshape(-1)).tobytes()
    header = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("image", [Image.fromarray(CLASSES), palette(CLASSES)], ids=["L", "P"])
def test_gray_and_places_of_a_palette_are_class_numbers(
    photo: Path, tmp_path: Path, image: Image.Image
) -> None:
    found, _ = mask_files.read(save(tmp_path / "m.png", image), photo, SIZE)
    np.testing.assert_array_equal(found, CLASSES[..., None])


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_of_few_bits_is_not_stretched(photo: Path, tmp_path: Path, bits: int) -> None:
    few = np.where(CLASSES == 255, 2**bits - 1, CLASSES)
    found, _ = mask_files.read(png(tmp_path / "m.png", few, bits), photo, SIZE)
    np.testing.assert_array_equal(found[..., 0], few)


def test_one_bit_is_two_classes(photo: Path, tmp_path: Path) -> None:
    image = Image.fromarray((CLASSES == 1) * np.uint8(255)).convert("1")
    found, _ = mask_files.read(save(tmp_path / "m.png", image), photo, SIZE)
    np.testing.assert_array_equal(found[..., 0], CLASSES == 1)


def test_what_is_resized_holds_no_class_between_two(photo: Path, tmp_path: Path) -> None:
    mask = save(tmp_path / "m.png", Image.fromarray(CLASSES * np.uint8(5)))
    for size in ((2, 2), (9, 7)):
        found, _ = mask_files.read(mask, photo, size)
        assert found.shape == (size[1], size[0], 1)
        assert set(np.unique(found)) <= set(np.unique(CLASSES * np.uint8(5)))
    twice, _ = mask_files.read(mask, photo, (8, 6))
    np.testing.assert_array_equal(
        twice[..., 0], (CLASSES * np.uint8(5)).repeat(2, axis=0).repeat(2, axis=1)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_mask_and_image_are_turned_upright_alike(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(CLASSES).convert("L")
    photo = save(tmp_path / "photo.png", image, orientation)
    mask = save(tmp_path / "m.png", image, orientation)
    size = SIZE if orientation < 5 else SIZE[::-1]
    found, _ = mask_files.read(mask, photo, size)
    expected, _ = mask_files.image_files.read(photo, "L", size)
    np.testing.assert_array_equal(found, expected)


def test_a_mask_of_another_size_is_refused_with_both(photo: Path, tmp_path: Path) -> None:
    mask = save(tmp_path / "m.png", Image.new("L", (5, 3)))
    with pytest.raises(DataError) as caught:
        mask_files.read(mask, photo, SIZE)
    assert caught.value.message == (
        f"the mask {mask} has 5 x 3 pixels, its image {photo} 4 x 3, expected the same"
    )


def test_a_mask_of_the_image_as_it_lay_is_refused_with_a_word_on_exif(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.jpg", Image.new("RGB", SIZE), orientation=6)
    mask = save(tmp_path / "m.png", Image.new("L", SIZE))
    with pytest.raises(DataError, match=r"4 x 3 pixels, its image .* 3 x 4, expected") as caught:
        mask_files.read(mask, photo, SIZE[::-1])
    assert "EXIF" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("m.png", Image.new("RGB", SIZE), r"is in colour \(RGB\), expected a class number for"),
        ("m.png", Image.new("RGBA", SIZE), r"is in colour \(RGBA\)"),
        ("m.png", Image.new("I;16", SIZE), r"has more than 8 bits a pixel \(I;16\)"),
        ("m.jpg", Image.new("L", SIZE), "is a JPEG file, expected a PNG"),
        ("m.gif", Image.new("P", SIZE), "is a GIF file, expected a PNG"),
        ("m.png", None, "cannot be read as an image"),
    ],
)
def test_what_holds_no_class_numbers_is_refused(
    photo: Path, tmp_path: Path, name: str, image: Image.Image | None, words: str
) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    if image is not None:
        image.save(tmp_path / name)
    with pytest.raises(DataError, match=words) as caught:
        mask_files.read(tmp_path / name, photo, SIZE)
    assert caught.value.hint


def listed(root: Path, count: int = 12, **more: Any) -> Data:
    """Images of 6 x 5 pixels, and masks whose number of bright columns is that of their row."""
    rows = ["file,mask,patient,part"]
    for number in range(count):
        mask = (np.arange(6) < number % 4 + 1) * np.ones((5, 1), np.uint8)
        Image.fromarray(mask.astype(np.uint8)).save(root / f"{number}-mask.png")
        Image.new("RGB", (6, 5), (number, 0, 0)).save(root / f"{number}.png")
        part = "test" if number >= count - 2 else "train"
        rows.append(f"{number}.png,{number}-mask.png,p{number // 2},{part}")
    (root / "list.csv").write_text("\n".join(rows))
    settings = {"calibration_samples": 2, "mask_column": "mask", **more}
    return Data.model_validate({"name": "csv", "path": str(root / "list.csv"), **settings})


def test_a_csv_names_the_masks_of_its_images(tmp_path: Path) -> None:
    data = listed(tmp_path)
    train = csv_file.read(data, "train")
    assert (train.labels.shape, train.labels.dtype) == ((10, 5, 6), np.uint8)
    assert train.labels[:, 0].sum(axis=1).tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    found = load_dataset(data)
    assert (found.task, found.class_names) == ("segmentation", ("0", "1"))
    widths = found.train.labels[:, 0].sum(axis=1)
    np.testing.assert_array_equal(widths, found.train.images[:][:, 0, 0, 0] % 4 + 1)


def test_groups_of_masks_are_in_one_split_each(tmp_path: Path) -> None:
    found = load_dataset(listed(tmp_path, group_column="patient"))
    splits = (found.train, found.validation, found.calibration)
    owners = [set(split.images[:][:, 0, 0, 0] // 2) for split in splits]
    assert sorted(map(len, owners)) == [1, 1, 3]
    assert len(set.union(*owners)) == 5


def test_a_mask_that_is_not_fit_is_refused_with_its_line(tmp_path: Path) -> None:
    data = listed(tmp_path)
    Image.new("L", (5, 6)).save(tmp_path / "3-mask.png")
    with pytest.raises(DataError, match=r"list\.csv, line 5: the mask .*3-mask\.png has 5 x 6"):
        load_dataset(data)
    (tmp_path / "3-mask.png").unlink()
    with pytest.raises(DataError, match=r"list\.csv, line 5: .*3-mask\.png cannot be read"):
        load_dataset(data)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("Mask", "has no column 'Mask'; did you mean 'mask'"),
        ("patient", r"line 2: .*p0 cannot be read as an image"),
        ("part", "the column 'part' is mask and split column, expected a column for each"),
    ],
)
def test_a_column_that_names_no_masks_is_refused(tmp_path: Path, column: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(listed(tmp_path, mask_column=column, file_column="file"))


def test_a_changed_mask_is_read_again(tmp_path: Path) -> None:
    data = listed(tmp_path)
    before = csv_file.read(data, "test").labels.copy()
    Image.fromarray(np.full((5, 6), 1, np.uint8)).save(tmp_path / "11-mask.png")
    assert csv_file.read(data, "test").labels.sum() == before.sum() + 10


def test_on_request_an_image_whose_mask_is_bad_is_left_out_with_it(tmp_path: Path) -> None:
    data = listed(tmp_path, skip_bad_images=True)
    Image.new("RGB", (6, 5)).save(tmp_path / "0-mask.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    train = csv_file.read(data, "train")
    assert train.images[:][:, 0, 0, 0].tolist() == [1, 3, 4, 5, 6, 7, 8, 9]
    assert train.labels[:, 0].sum(axis=1).tolist() == [2, 4, 1, 2, 3, 4, 1, 2]
    assert ["line 2: the mask" in train.skipped[0], "line 4: " in train.skipped[1]] == [True, True]
    for number in range(10):
        (tmp_path / f"{number}-mask.png").unlink()
    with pytest.raises(DataError, match=r"train has no image that can be read; .*line 2"):
        csv_file.read(data, "train")


def test_masks_that_memory_shall_not_hold_are_refused_before_they_are_read(tmp_path: Path) -> None:
    data = listed(tmp_path, max_unpacked_mib=1, image_size=512)
    with pytest.raises(DataError, match=r"take 3 MiB of memory, more than data\.max_unpacked_mib"):
        load_dataset(data)


def test_listed_files_are_images_and_masks(tmp_path: Path) -> None:
    assert set(listed(tmp_path, count=3).listed_files()) == {
        *(f"{number}.png" for number in range(3)),
        *(f"{number}-mask.png" for number in range(3)),
    }
