"""Image files with labels as a split: decoded once, all in one form, without the bad ones.

The set may be larger than memory: see decoded.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.datasets import image_files
from stages.datasets.base import Split
from stages.datasets.decoded import decoded
from stages.errors import DataError
from stages.settings import Data

Form = tuple[str, tuple[int, int]]
"""Mode, "L" or "RGB", and size (width, height)."""


@dataclass(frozen=True, eq=False)
class LabelledFiles:
    """Files with their labels int64 (N,), and groups int64 (N,) if there are any.

    `owner` names the part of the set; `named` is what a message calls the files of a label.
    """

    files: Sequence[Path]
    labels: NDArray[np.int64]
    owner: str
    named: Callable[[int], str]
    groups: NDArray[np.int64] | None = None


def form_of_first(files: Sequence[Path], skip_bad: bool) -> Form:
    """That of the first image that is fit. Raises DataError."""
    *others, last = files
    for file in others:
        try:
            return image_files.form_of(file)
        except DataError:
            if not skip_bad:
                raise
    return image_files.form_of(last)


def read(given: LabelledFiles, form: Form, settings: Data) -> Split:
    """All images in `form`: uint8 (N, H, W, C) on disk; data.image_size replaces the size.

    Raises DataError for a file that is not fit unless data.skip_bad_images leaves it out.
    """
    mode, size = form
    if settings.image_size:
        size = (settings.image_size, settings.image_size)
    result = decoded(
        given.files,
        (size[1], size[0], 1 if mode == "L" else 3),
        f"{given.owner} {mode} {size}",
        partial(image_files.read, mode=mode, size=size),
        settings.skip_bad_images,
    )
    skipped = tuple(reason for reason in result.bad if reason)
    split = Split(result.images, given.labels, skipped, result.changed, given.groups)
    return _without_bad(split, result.bad, given.named) if skipped else split


def _without_bad(split: Split, bad: list[str], named: Callable[[int], str]) -> Split:
    """The images that could be read. Raises DataError for a class that has none."""
    progress.report(f"{len(split.skipped)} bad images are left out; the first: {split.skipped[0]}")
    good = split.take(np.flatnonzero([not reason for reason in bad]))
    emptied = np.setdiff1d(split.labels, good.labels)
    if emptied.size:
        raise DataError(
            f"{named(int(emptied[0]))} holds no image that can be read; {split.skipped[0]}",
            "replace the files, or remove the class from both the training and the test part",
        )
    return good
