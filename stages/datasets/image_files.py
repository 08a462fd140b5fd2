"""An image file as pixels: upright, opaque, gray or RGB, and resized.

Training and prediction read their files here, so that a network sees the same pixels in both.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.errors import DataError

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""By name, for Pillow tries all that it knows: for EPS it starts the program `gs`, wherever PATH
leads."""

ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what turns the image upright. CIPA DC-008, tag Orientation."""
LYING = (5, 6, 7, 8)
"""Orientations of which height and width change places."""

ROTATED, COMPOSITED, FIRST_FRAME = "rotated", "composited", "first frame"
"""What is done to an image: turned as its EXIF says; put on black where it is transparent; all but
the first frame dropped where it is animated."""

ANIMATIONS = ("AVIF", "GIF", "PNG", "WEBP")
"""Not MPO and TIFF, whose further frames are a preview or other pages."""

GRAY_MODES = ("1", "L", "LA", "La")
WIDE_MODES = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")
"""More than 8 bits a pixel, which Pillow would clip to 255."""


def form_of(file: Path) -> tuple[str, tuple[int, int]]:
    """Mode, "L" or "RGB", and size (width, height) of an image. Raises DataError."""
    image, _ = _opened(file)
    return image.mode, image.size


def size_of(file: Path) -> tuple[int, int]:
    """(width, height) of an image as `read` would turn it. Raises DataError."""
    with opened(file) as image:
        is_lying = _orientation(image) in LYING
        return (image.height, image.width) if is_lying else image.size


def read(file: Path, mode: str, size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """One image, resized to (width, height): uint8 (H, W, 1 or 3); and what was done to it.

    Raises DataError where it cannot be read, or is in colour and `mode` is "L".
    """
    image, changes = _opened(file, size)
    return _fitted(image, str(file), mode, size), changes


def pixels(image: Image.Image, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image that is open, as `read` gives it. Raises DataError as `read` does."""
    name = str(getattr(image, "filename", "")) or "the image"
    _refuse_wide(name, image)
    return _fitted(_upright_and_opaque(image)[0], name, mode, size)


def _fitted(image: Image.Image, name: str, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    if mode == "L" and image.mode != "L":
        raise DataError(
            f"{name} is in colour ({image.mode}), expected gray, as the first training image is",
            "make all images gray or all of them RGB",
        )
    image = image.convert(mode)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(size[1], size[0], -1)


def _opened(file: Path, size: tuple[int, int] | None = None) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in mode "L" or "RGB", upright and opaque; and what was done to it.

    Of a JPEG that is to become much smaller, to `size`, only as much is decoded as that needs.
    Raises DataError with the file's name.
    """
    with opened(file) as image:
        is_animated = image.format in ANIMATIONS and getattr(image, "is_animated", False)
        if size is not None:
            image.draft(None, (max(size), max(size)))  # It may yet be turned.
        image.load()
        _refuse_wide(str(file), image)
        upright, changes = _upright_and_opaque(image)
        return upright, changes + (FIRST_FRAME,) * is_animated


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """An image file, not yet decoded. Raises DataError with its name, also for what is done to it
    meanwhile."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise OSError("it is not a regular file")
        with Image.open(file, formats=_formats()) as image:
            yield image
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Each format's decoder has errors of its own.
        raise DataError(
            f"{file} cannot be read as an image ({str(error)[:200] or type(error).__name__})",
            "replace or remove the file, or leave bad images out: --set data.skip_bad_images=true",
        ) from error


@cache
def _formats() -> tuple[str, ...]:
    """Those that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright_and_opaque(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    changes = []
    turn = turn_of(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            changes.append(COMPOSITED)
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image)
    if turn is not None:
        changes.append(ROTATED)
        image = image.transpose(turn)
    return image.convert(mode), tuple(changes)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What turns an image upright, None where it is."""
    return UPRIGHT.get(_orientation(image))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF that is damaged says nothing, as in all viewers.
        return 1


def _refuse_wide(name: str, image: Image.Image) -> None:
    """More than 8 bits a pixel, which Pillow would clip. Raises DataError."""
    if image.mode in WIDE_MODES:
        raise DataError(
            f"{name} has more than 8 bits a pixel ({image.mode}), expected 0 to 255",
            "convert it to 8 bits, in the way that suits your images",
        )
