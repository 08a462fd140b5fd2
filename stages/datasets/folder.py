"""An image folder: train/<class>/* and test/<class>/*, in the formats of image_files.py."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from stages.datasets import labelled_files
from stages.datasets.base import Part, Split, is_control, required_path
from stages.datasets.labelled_files import Form, LabelledFiles
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
    files = [(file, label) for label, name in enumerate(names) for file in _files(root, part, name)]
    given = LabelledFiles(
        [file for file, _ in files],
        np.array([label for _, label in files], np.int64),
        owner=str(root / part),
        named=lambda label: f"the class folder {root / part / names[label]}",
    )
    return labelled_files.read(given, form(settings), settings)


def form(settings: Data) -> Form:
    """That of the first training image that is fit. Raises DataError."""
    root = _root(settings)
    files = [file for name in _class_names(root) for file in _files(root, "train", name)]
    return labelled_files.form_of_first(files, settings.skip_bad_images)


def _root(settings: Data) -> Path:
    root = Path(os.path.abspath(required_path(settings)))
    if not root.is_dir():
        raise DataError(
            f"data.path is {settings.path!r}, which is a file, expected a folder",
            f"{_LAYOUT}; for an .npz file: --set data.name=npz",
        )
    return root


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(root / "train"))
    if not names:
        raise DataError(f"{root / 'train'} holds no class folder", _LAYOUT)
    if names == ("images", "masks"):
        raise DataError(
            f"{root / 'train'} holds the folders images and masks, expected one for each class",
            "for a class of each pixel: --set data.name=masks",
        )
    unfit = next((name for name in names if any(map(is_control, name))), None)
    if unfit is not None:
        raise DataError(
            f"the class folder {unfit!a} in {root / 'train'} has a name that is not UTF-8 or "
            "holds control characters",
            "rename the folder, in train/ and in test/",
        )
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
