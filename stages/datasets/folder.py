"""An image folder: train/<class>/* and test/<class>/*, in any format that Pillow reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.datasets.base import Part, Split, required_path
from stages.errors import DataError
from stages.settings import Data

GRAY_MODES = ("1", "L", "LA")
WIDE_MODES = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")
"""More than 8 bits a pixel, which Pillow would clip to 255."""


def class_names(settings: Data) -> tuple[str, ...]:
    """The names of the folders in train/, sorted. Raises DataError where there is none."""
    return _class_names(required_path(settings))


def read(settings: Data, part: Part) -> Split:
    """All images of one part, class by class, by file name: uint8 (N, H, W, C).

    Size and channels are those of the first training image (data.image_size replaces the size):
    1 channel where it is gray, else RGB. Raises DataError for a folder or file that is not fit.
    """
    root = required_path(settings)
    names = _class_names(root)
    _check_classes(root, names)
    mode, size = _form(root, names)
    if settings.image_size:
        size = (settings.image_size, settings.image_size)
    files = [(file, label) for label, name in enumerate(names) for file in _files(root, part, name)]
    images = np.stack([_pixels(file, mode, size) for file, _ in files])
    return Split(images, np.array([label for _, label in files], np.int64))


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(root / "train"))
    if not names:
        raise DataError(f"{root / 'train'} holds no class folder", _LAYOUT)
    return names


_LAYOUT = "arrange the images as train/<class>/* and test/<class>/*"


def _folders(part: Path) -> list[Path]:
    if not part.is_dir():
        raise DataError(f"there is no folder {part}", _LAYOUT)
    return sorted(path for path in part.iterdir() if path.is_dir() and path.name[0] != ".")


def _check_classes(root: Path, names: tuple[str, ...]) -> None:
    unknown = [path.name for path in _folders(root / "test") if path.name not in names]
    if unknown:
        raise DataError(
            f"{root / 'test'} has the class {unknown[0]!r}, which train/ does not have: "
            f"the model could never answer it; train/ has {', '.join(names)}",
            f"add {root / 'train' / unknown[0]} or remove {root / 'test' / unknown[0]}",
        )


def _files(root: Path, part: Part, name: str) -> list[Path]:
    folder = root / part / name
    files = sorted(path for path in folder.glob("*") if path.name[0] != ".")
    if not files:
        raise DataError(
            f"the class folder {folder} holds no image, expected at least one",
            "add images of this class, or remove it from both train/ and test/",
        )
    return files


def _form(root: Path, names: tuple[str, ...]) -> tuple[str, tuple[int, int]]:
    """Mode ("L" or "RGB") and size (width, height) of the first training image."""
    image = _opened(_files(root, "train", names[0])[0])
    return ("L" if image.mode in GRAY_MODES else "RGB"), image.size


def _pixels(file: Path, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One image, resized: uint8 (H, W, 1 or 3)."""
    image = _opened(file)
    if mode == "L" and image.mode not in GRAY_MODES:
        raise DataError(
            f"{file} is in colour ({image.mode}), but the first training image is gray",
            "make all images gray or all of them RGB",
        )
    image = image.convert(mode)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(size[1], size[0], -1)


def _opened(file: Path) -> Image.Image:
    """The image, its pixels read and its file closed. Raises DataError with the file's name."""
    try:
        image: Image.Image = Image.open(file)
        with image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{file} cannot be read as an image ({error})", "replace the file or remove it"
        ) from error
    if image.mode in WIDE_MODES:
        raise DataError(
            f"{file} has more than 8 bits a pixel ({image.mode}), expected 0 to 255",
            "convert it to 8 bits, in the way that suits your images",
        )
    return image
