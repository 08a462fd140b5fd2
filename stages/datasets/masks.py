"""A folder of images and masks: train/images/*, train/masks/*.png, and the same of test.

A mask has the name of its image but for the ending. `classes.txt`, if it is there, names the
classes, one in each line, 0 first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stages.datasets import labelled_files
from stages.datasets.base import Part, Split, is_control, required_path
from stages.datasets.labelled_files import Form, LabelledFiles
from stages.errors import DataError, shown
from stages.settings import Data
from stages.tasks.segmentation import MOST_CLASSES, UNJUDGED

LAYOUT = "arrange the files as train/images/a.jpg and train/masks/a.png, and the same of test"
CLASSES = "classes.txt"


def class_names(settings: Data) -> tuple[str, ...]:
    """The lines of classes.txt, () without it. Raises DataError where they are no names."""
    file = _root(settings) / CLASSES
    if not file.is_file():
        return ()
    try:
        names = tuple(line.strip() for line in file.read_text("utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error})", "save it in UTF-8") from error
    if not 2 <= len(names) <= MOST_CLASSES:
        raise DataError(
            f"{file} has {len(names)} lines, expected 2 to {MOST_CLASSES}",
            "write the name of a class in each, that of the class 0 first",
        )
    for line, name in enumerate(names, 1):
        is_unfit = not name or any(map(is_control, name))
        if is_unfit or name in names[: line - 1]:
            raise DataError(
                f"{file}, line {line}: {name!a}, expected the name of a class, each once",
                "the first line names the class 0, the second 1, and so on",
            )
    return names


def read(settings: Data, part: Part) -> Split:
    """All images of one part by file name, uint8 (N, H, W, C) on disk, and masks uint8 (N, H, W).

    Size and channels are those of the first training image, as in folder.py. Raises DataError for a
    folder that is not fit, and for an image or mask that is not unless data.skip_bad_images leaves
    it out.
    """
    pairs = _pairs(_root(settings) / part)
    images, masks = zip(*pairs, strict=True)
    given = LabelledFiles(images, None, owner=str(_root(settings) / part), masks=masks)
    split = labelled_files.read(given, form(settings), settings)
    if (names := class_names(settings)) and not split.skipped:
        _refuse_beyond(split, masks, len(names))
    return split


def form(settings: Data) -> Form:
    """That of the first training image that is fit. Raises DataError."""
    files = [image for image, _ in _pairs(_root(settings) / "train")]
    return labelled_files.form_of_first(files, settings.skip_bad_images)


def _root(settings: Data) -> Path:
    root = Path(os.path.abspath(required_path(settings)))
    if not root.is_dir():
        raise DataError(f"data.path is {shown(settings.path)}, which is a file, expected a folder")
    return root


def _pairs(part: Path) -> list[tuple[Path, Path]]:
    """Each image with its mask. Raises DataError where one is without the other."""
    images, masks = (_by_stem(part / name) for name in ("images", "masks"))
    if lonely := sorted(images.keys() - masks.keys()):
        raise DataError(
            f"{images[lonely[0]]} has no mask, expected {part / 'masks' / lonely[0]}.png"
            f"{_as_well(lonely)}",
            "add it, or remove the image",
        )
    if lonely := sorted(masks.keys() - images.keys()):
        raise DataError(
            f"{masks[lonely[0]]} is the mask of no image in {part / 'images'}{_as_well(lonely)}",
            "give both the same name but for the ending",
        )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _as_well(stems: Sequence[str]) -> str:
    return f", and so with {len(stems) - 1} more" if len(stems) > 1 else ""


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", LAYOUT)
    found: dict[str, Path] = {}
    for file in sorted(path for path in folder.iterdir() if path.name[0] != "."):
        if (other := found.setdefault(file.stem, file)) != file:
            raise DataError(
                f"{folder} holds {other.name} and {file.name}, expected one file of each name",
                "rename one of them and what belongs to it",
            )
    if not found:
        raise DataError(f"the folder {folder} is empty, expected at least one file", LAYOUT)
    return found


def _refuse_beyond(split: Split, masks: Sequence[Path], count: int) -> None:
    """A pixel of a class without a name."""
    for file, mask in zip(masks, split.labels, strict=True):
        odd = mask[(mask >= count) & (mask != UNJUDGED)]
        if odd.size:
            raise DataError(
                f"the mask {file} has a pixel {odd.max()}, but {CLASSES} names {count} classes: "
                f"expected 0 to {count - 1}, or {UNJUDGED} for one that is not judged",
                f"name all classes in {CLASSES}, or correct the mask",
            )
