"""Masks in PNG files: the class of each pixel, in gray or as places of a palette, never colours.

What is resized takes the nearest pixel: between the classes 1 and 3 there is no class 2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.datasets import image_files
from stages.errors import DataError

MODES = ("1", "L", "P")
"""Gray of one bit, other gray, and palette."""
GRAY_STEPS = {2: 85, 4: 17}
"""Bits a pixel -> what Pillow multiplies gray with, so that white is 255. PNG, section 13.12."""
DEPTH_AT, HEADER = 24, 26
"""Where a PNG says its bits a pixel, and how much of it does. PNG, section 11.2.1."""
SAVE = (
    "save a PNG whose pixels are class numbers, in gray or with a palette; 255 is a pixel that is "
    "not judged"
)


def read(mask: Path, image: Path, size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[()]]:
    """The mask of an image, resized to (width, height): uint8 (H, W, 1).

    Raises DataError where it cannot be read or has not the size of its image, as EXIF turns both.
    """
    found = _upright(mask)
    expected = image_files.size_of(image)
    if found.size != expected:
        is_turned = found.size == expected[::-1]
        raise DataError(
            f"the mask {mask} has {found.width} x {found.height} pixels, its image {image} "
            f"{expected[0]} x {expected[1]}, expected the same",
            "save it as the image is seen after its EXIF has turned it"
            if is_turned
            else "save it in the size of its image; data.image_size resizes both",
        )
    if size != found.size:
        found = found.resize(size, Image.Resampling.NEAREST)
    return np.asarray(found)[..., None], ()


def _upright(file: Path) -> Image.Image:
    """Class numbers as a gray image, turned as its EXIF says. Raises DataError."""
    with image_files.opened(file) as image:
        if image.format != "PNG":
            raise DataError(f"the mask {file} is a {image.format} file, expected a PNG", SAVE)
        if image.mode not in MODES:
            wide = image.mode in image_files.WIDE_MODES
            what = "has more than 8 bits a pixel" if wide else "is in colour"
            raise DataError(
                f"the mask {file} {what} ({image.mode}), expected a class number for each pixel",
                SAVE,
            )
        numbers = np.asarray(image).astype(np.uint8)
        if image.mode == "L":
            numbers //= GRAY_STEPS.get(_bits(file), 1)
        turn = image_files.turn_of(image)
    upright = Image.fromarray(numbers)
    return upright if turn is None else upright.transpose(turn)


def _bits(file: Path) -> int:
    with file.open("rb") as stream:
        return stream.read(HEADER)[DEPTH_AT]
