"""An image folder: train/<class>/* and test/<class>/*, in the formats of image_files.py.

The set may be larger than memory: see decoded.py.
"""

from __future__ import annotations

import os
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np

from stages import progress
from stages.datasets import image_files
from stages.datasets.base import Part, Split, required_path
from stages.datasets.decoded import decoded
from stages.errors import DataError
from stages.settings import Data


def class_names(settings: Data) -> tuple[str, ...]:
    """The names of the folders in train/, sorted. Raises DataError where one is unfit or none is.

    They go into files and reports: UTF-8, without what a terminal would obey.
    """
    return _class_names(_root(settings))


def read(settings: Data, part: Part) -> Split:
    """All images of one part, class by class, by file name: uint8 (N, H, W, C) on disk.

    Size and channels are those of the first training image (data.image_size replaces the size):
    1 channel where it is gray, else RGB. Raises DataError for a folder that is not fit, and for
    a file that is not unless data.skip_bad_images leaves it out.
    """
    root = _root(settings)
    names = _class_names(root)
    _check_classes(root, names)
    mode, size = _form(root, names, settings.skip_bad_images)
    if settings.image_size:
        size = (settings.image_size, settings.image_size)
    files = [(file, label) for label, name in enumerate(names) for file in _files(root, part, name)]
    labels = np.array([label for _, label in files], np.int64)
    result = decoded(
        [file for file, _ in files],
        (size[1], size[0], 1 if mode == "L" else 3),
        f"{root / part} {mode} {size}",
        partial(image_files.read, mode=mode, size=size),
        settings.skip_bad_images,
    )
    skipped = tuple(reason for reason in result.bad if reason)
    split = Split(result.images, labels, skipped, result.changed)
    return _without_bad(split, result.bad, names, root / part) if split.skipped else split


def form(settings: Data) -> tuple[str, tuple[int, int]]:
    """Mode, "L" or "RGB", and size (width, height) of the first training image. Raises DataError.

    Those of all images unless data.image_size replaces the size.
    """
    root = _root(settings)
    return _form(root, _class_names(root), settings.skip_bad_images)


def _root(settings: Data) -> Path:
    root = Path(os.path.abspath(required_path(settings)))
    if not root.is_dir():
        raise DataError(
            f"data.path is {settings.path!r}, which is a file, expected a folder",
            f"{_LAYOUT}; for an .npz file: --set data.name=npz",
        )
    return root


def _without_bad(split: Split, bad: list[str], names: tuple[str, ...], folder: Path) -> Split:
    """The images that could be read. Raises DataError for a class that has none."""
    progress.report(f"{len(split.skipped)} bad images are left out; the first: {split.skipped[0]}")
    good = split.take(np.flatnonzero([not reason for reason in bad]))
    emptied = np.setdiff1d(split.labels, good.labels)
    if emptied.size:
        raise DataError(
            f"the class folder {folder / names[emptied[0]]} holds no image that can be read; "
            f"{split.skipped[0]}",
            "replace the files, or remove the class from both train/ and test/",
        )
    return good


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(root / "train"))
    if not names:
        raise DataError(f"{root / 'train'} holds no class folder", _LAYOUT)
    unfit = next((name for name in names if any(map(_is_control, name))), None)
    if unfit is not None:
        raise DataError(
            f"the class folder {unfit!a} in {root / 'train'} has a name that is not UTF-8 or "
            "holds control characters",
            "rename the folder, in train/ and in test/",
        )
    return names


BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def _is_control(character: str) -> bool:
    """Whether a terminal obeys `character`, or no UTF-8 has it."""
    is_direction = unicodedata.bidirectional(character) in BIDIRECTIONAL
    return is_direction or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


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


def _form(root: Path, names: tuple[str, ...], skip_bad: bool) -> tuple[str, tuple[int, int]]:
    """Mode ("L" or "RGB") and size (width, height) of the first training image that is fit."""
    *files, last = (file for name in names for file in _files(root, "train", name))
    for file in files:
        try:
            return image_files.form_of(file)
        except DataError:
            if not skip_bad:
                raise
    return image_files.form_of(last)
