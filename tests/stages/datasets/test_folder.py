from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.datasets import folder, image_files
from stages.datasets.lazy_images import LazyImages
from stages.datasets.loading import load_dataset
from stages.errors import DataError
from stages.settings import Data

RED = (250, 10, 20)


def save(
    file: Path, mode: str, color: int | float | tuple[int, ...], size: tuple[int, int]
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes; the first training image is 6 wide and 5 high."""
    save(tmp_path / "train/cat/b.png", "RGB", RED, (12, 10))
    save(tmp_path / "train/cat/a.png", "RGB", (1, 2, 3), (6, 5))
    save(tmp_path / "train/dog/c.png", "RGB", (9, 9, 9), (6, 5))
    save(tmp_path / "test/dog/d.png", "RGB", RED, (6, 5))
    save(tmp_path / "test/cat/e.png", "RGB", (7, 7, 7), (6, 5))
    return tmp_path


def data(root: Path, image_size: int = 0, **more: bool) -> Data:
    return Data(name="folder", path=str(root), image_size=image_size, **more)


def test_images_come_class_by_class_and_by_name_in_the_first_images_size(root: Path) -> None:
    split = folder.read(data(root), "train")
    assert folder.class_names(data(root)) == ("cat", "dog")
    assert split.images.shape == (3, 5, 6, 3)
    assert split.labels.tolist() == [0, 0, 1]
    assert split.images[:, 0, 0].tolist() == [[1, 2, 3], list(RED), [9, 9, 9]]


def test_image_size_replaces_the_first_images_size(root: Path) -> None:
    assert folder.read(data(root, image_size=8), "test").images.shape == (2, 8, 8, 3)


def test_gray_images_keep_one_channel(tmp_path: Path) -> None:
    save(tmp_path / "train/a/1.png", "L", 77, (4, 3))
    save(tmp_path / "test/a/1.png", "LA", (88, 255), (4, 3))
    assert folder.read(data(tmp_path), "train").images.tolist() == [[[[77]] * 4] * 3]
    assert folder.read(data(tmp_path), "test").images.shape == (1, 3, 4, 1)


def test_gray_and_transparent_images_among_rgb_become_rgb(root: Path) -> None:
    save(root / "train/dog/gray.png", "L", 30, (6, 5))
    save(root / "train/dog/transparent.png", "RGBA", (*RED, 128), (6, 5))
    images = folder.read(data(root), "train").images
    assert images[-2:, 0, 0].tolist() == [[30, 30, 30], [125, 5, 10]]


def test_transparent_images_are_put_on_black_and_counted(root: Path) -> None:
    save(root / "train/cat/0.png", "RGBA", (200, 100, 50, 0), (6, 5))
    save(root / "train/cat/1.png", "RGBA", (200, 100, 50, 255), (6, 5))
    palette = Image.new("P", (6, 5), 3)
    palette.putpalette(range(12))
    palette.save(root / "train/dog/palette.png", transparency=3)
    split = folder.read(data(root), "train")
    assert split.images[:2, 0, 0].tolist() == [[0, 0, 0], [200, 100, 50]]
    assert split.changed == {"composited": 2}


def test_gray_transparent_images_stay_gray(tmp_path: Path) -> None:
    for part in ("train", "test"):
        save(tmp_path / part / "a/1.png", "LA", (100, 51), (4, 3))
    assert folder.read(data(tmp_path), "train").images[0, 0, 0].tolist() == [20]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_images_are_turned_upright_as_exif_says(root: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = 255  # the upper left quarter is white
    image = Image.fromarray(upright)
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = image.transpose(image_files.UPRIGHT[back]) if orientation > 1 else image
    exif = Image.Exif()
    exif[image_files.ORIENTATION] = orientation
    stored.save(root / f"train/cat/0.{suffix}", exif=exif)
    split = folder.read(data(root), "train")
    assert split.images.shape[1:] == (48, 64, 3)
    np.testing.assert_allclose(split.images[0][4:44:8, 4:60:8], upright[4:44:8, 4:60:8], atol=12)
    assert split.changed.get("rotated", 0) == (orientation > 1 and suffix != "tiff")


def test_damaged_exif_says_nothing(root: Path) -> None:
    Image.new("RGB", (6, 5), RED).save(root / "train/cat/0.png", exif=b"Exif\0\0MM\0*garbage")
    assert folder.read(data(root), "train").changed == {}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "device", "broken link", "loop", "folder"])
def test_what_is_no_regular_file_is_a_bad_image(root: Path, kind: str, skip: bool) -> None:
    file = root / "train/dog/odd.png"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        target = {"device": "/dev/zero", "broken link": "nowhere", "loop": "odd.png"}[kind]
        file.symlink_to(target)
    if skip:
        (reason,) = folder.read(data(root, skip_bad_images=True), "train").skipped
        assert "odd.png cannot be read" in reason
    else:
        with pytest.raises(DataError, match=r"odd\.png cannot be read as an image"):
            folder.read(data(root), "train")


def test_no_program_is_started_for_postscript(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    Image.new("RGB", (6, 5), RED).save(root / "train/cat/a.eps")
    with pytest.raises(DataError, match=r"a\.eps cannot be read as an image"):
        folder.read(data(root), "train")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x1b[31mred", b"a\nb", "a\u202eb".encode()])
def test_a_class_name_that_no_report_can_hold_is_refused_at_once(root: Path, name: bytes) -> None:
    (root / "train" / os.fsdecode(name)).mkdir()
    with pytest.raises(DataError, match=r"not UTF-8 or holds control characters") as caught:
        folder.class_names(data(root))
    assert caught.value.message.isprintable()
    assert caught.value.message.isascii()


def encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 5), RED).save(stream, suffix)
    return stream.getvalue()


SAMPLES = {name: encoded(name) for name in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM")}


def read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "image"
        file.write_bytes(content)
        with contextlib.suppress(DataError):
            image_files.read(file, "RGB", (6, 5))


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_image_or_refused(content: bytes) -> None:
    read_or_refused(content)


@settings(max_examples=300)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_changed_byte_of_an_image_is_read_or_refused(kind: str, draw: st.DataObject) -> None:
    content = bytearray(SAMPLES[kind])
    content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    read_or_refused(content)


def test_hidden_files_are_passed_over(root: Path) -> None:
    (root / "train/cat/.DS_Store").write_bytes(b"not an image")
    assert len(folder.read(data(root), "train")) == 3


def test_a_colour_image_in_a_gray_set_is_refused(root: Path) -> None:
    save(root / "train/cat/0.png", "L", 5, (6, 5))
    with pytest.raises(
        DataError, match=r"a\.png is in colour \(RGB\), expected gray, as the first"
    ):
        folder.read(data(root), "train")


def test_an_image_of_16_bits_is_refused(root: Path) -> None:
    save(root / "train/dog/deep.png", "I;16", 4000, (6, 5))
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a pixel"):
        folder.read(data(root), "train")


def test_a_file_that_is_no_image_is_refused_by_name(root: Path) -> None:
    (root / "train/cat/notes.txt").write_text("not an image")
    with pytest.raises(DataError, match=r"notes\.txt cannot be read as an image"):
        folder.read(data(root), "train")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_refused_by_name(root: Path, suffix: str) -> None:
    file = root / f"test/cat/cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:-600])
    with pytest.raises(DataError, match=rf"cut\.{suffix} cannot be read as an image"):
        folder.read(data(root), "test")


def test_images_stay_on_disk_until_a_batch_is_asked_for(root: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(8):
            save(root / f"train/{name}/{number}.png", "RGB", (number, 0, 0), (6, 5))
    divided = load_dataset(data(root).model_copy(update={"calibration_samples": 4}))
    assert isinstance(folder.read(data(root), "train").images, np.memmap)
    for split in (divided.train, divided.validation, divided.calibration):
        assert isinstance(split.images, LazyImages)
        assert split.images[:2].shape == (min(2, len(split)), 5, 6, 3)


def test_a_large_jpeg_becomes_small_without_being_decoded_in_full(root: Path) -> None:
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp[None, :, None], (640, 800, 3)).copy())
    image.save(root / "train/dog/large.jpg", quality=95)
    found = folder.read(data(root, image_size=8), "train").images[-1]
    expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR), np.int64)
    assert np.abs(found - expected).max() <= 3


def test_bad_images_are_left_out_on_request_and_counted(root: Path) -> None:
    (root / "train/cat/0.png").write_bytes(b"not an image")
    save(root / "train/dog/deep.png", "I;16", 4000, (6, 5))
    (root / "test/cat/cut.png").write_bytes(b"not an image")
    train = folder.read(data(root, skip_bad_images=True), "train")
    assert train.labels.tolist() == [0, 0, 1]
    assert train.images[:][:, 0, 0].tolist() == [[1, 2, 3], list(RED), [9, 9, 9]]
    assert [Path(reason.split()[0]).name for reason in train.skipped] == ["0.png", "deep.png"]
    assert len(folder.read(data(root, skip_bad_images=True), "test").skipped) == 1


def test_a_class_of_bad_images_only_is_refused(root: Path) -> None:
    (root / "train/dog/c.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"train/dog holds no image that can be read; .*c\.png"):
        folder.read(data(root, skip_bad_images=True), "train")


def test_a_set_of_bad_images_only_names_one_of_them(root: Path) -> None:
    for file in (root / "train").glob("*/*"):
        file.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"c\.png cannot be read as an image"):
        folder.read(data(root, skip_bad_images=True), "train")


def test_a_file_in_place_of_the_folder_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="which is a file, expected a folder"):
        folder.class_names(data(root / "train/cat/a.png"))


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_class_folder_is_refused(root: Path, part: str) -> None:
    for file in (root / part / "dog").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=f"{part}/dog holds no image, expected at least one"):
        load_dataset(data(root))


def test_a_class_that_only_the_test_part_has_is_refused(root: Path) -> None:
    save(root / "test/emu/1.png", "RGB", RED, (6, 5))
    with pytest.raises(DataError, match="has the class 'emu', which train/ does not have"):
        folder.read(data(root), "train")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_named(root: Path, part: str) -> None:
    (root / part).rename(root / "elsewhere")
    with pytest.raises(DataError, match=f"there is no folder .*{part}"):
        folder.read(data(root), "train")


def test_a_training_part_without_class_folders_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "train/1.png", "RGB", RED, (6, 5))
    with pytest.raises(DataError, match="train holds no class folder"):
        folder.class_names(data(tmp_path))


def test_of_an_animation_the_first_frame_is_read_and_said_to_be(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in (RED, (0, 0, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    pixels, changes = image_files.read(tmp_path / "a.gif", "RGB", (6, 5))
    assert changes == (image_files.FIRST_FRAME,)
    assert (pixels == RED).all()


def test_an_open_image_has_the_pixels_of_its_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        opened = image_files.pixels(image, "RGB", (12, 9))
    assert (opened == image_files.read(tmp_path / "a.png", "RGB", (12, 9))[0]).all()
