"""Image files with labels or masks as a split: decoded once, all in one form, without the bad ones.

The set may be larger than memory, its masks may not: see decoded.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.datasets import image_files, mask_files
from stages.datasets.base import Split
from stages.datasets.decoded import Decode, DecodedImages, Sources, decoded
from stages.errors import DataError
from stages.settings import Data

Form = tuple[str, tuple[int, int]]
"""Mode, "L" or "RGB", and size (width, height)."""


@dataclass(frozen=True, eq=False)
class LabelledFiles:
    """Files with their labels (N, ...), None where `masks` has their masks.

    `owner` names the part of the set; `named` is what a message calls the files of a class number,
    if labels are that. `groups` are int64 (N,), `places` say where each file is named.
    """

    files: Sequence[Path]
    labels: NDArray[Any] | None
    owner: str
    named: Callable[[int], str] | None = None
    masks: Sequence[Path] = ()
    groups: NDArray[np.int64] | None = None
    places: Sequence[str] = ()


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

    Masks uint8 (N, H, W) become their labels. Raises DataError for a file that is not fit unless
    data.skip_bad_images leaves it out, and for masks of more than data.max_unpacked_mib.
    """
    mode, size = form
    if settings.image_size:
        size = (settings.image_size, settings.image_size)
    images = _decoded(
        given,
        [(file,) for file in given.files],
        (size[1], size[0], 1 if mode == "L" else 3),
        f"{given.owner} {mode} {size}",
        partial(image_files.read, mode=mode, size=size),
        settings.skip_bad_images,
    )
    labels, bad = given.labels, images.bad
    if labels is None:
        masks = _masks(given, size, settings)
        labels = np.asarray(masks.images[..., 0])
        bad = [one or other for one, other in zip(images.bad, masks.bad, strict=True)]
    if given.places:
        both = zip(given.places, bad, strict=True)
        bad = [f"{place}: {reason}" if reason else "" for place, reason in both]
    skipped = tuple(reason for reason in bad if reason)
    split = Split(images.images, labels, skipped, images.changed, given.groups, origin=given.owner)
    return _without_bad(split, bad, given.named) if skipped else split


def _masks(given: LabelledFiles, size: tuple[int, int], settings: Data) -> DecodedImages:
    """Those of all images, resized to (width, height): uint8 (N, H, W, 1)."""
    mib = -(-len(given.masks) * size[0] * size[1] >> 20)
    if mib > settings.max_unpacked_mib:
        raise DataError(
            f"the masks of {given.owner} take {mib} MiB of memory, more than data.max_unpacked_mib "
            f"allows, {settings.max_unpacked_mib} MiB",
            "choose smaller images (data.image_size), or, if memory holds them: --set "
            f"data.max_unpacked_mib={mib}",
        )
    return _decoded(
        given,
        list(zip(given.masks, given.files, strict=True)),
        (size[1], size[0], 1),
        f"{given.owner} masks {size}",
        partial(mask_files.read, size=size),
        settings.skip_bad_images,
    )


def _decoded(
    given: LabelledFiles,
    files: Sources,
    shape: tuple[int, int, int],
    owner: str,
    decode: Decode,
    skip_bad: bool,
) -> DecodedImages:
    """See decoded.py; an error that ends it begins with the place of its file."""
    places = dict(zip(given.files, given.places, strict=False))

    def placed(*row: Path) -> tuple[NDArray[np.uint8], Sequence[str]]:
        try:
            return decode(*row)
        except DataError as error:
            raise DataError(f"{places[row[-1]]}: {error.message}", error.hint) from error

    # Reasons for leaving files out are kept, and by then may have another place.
    return decoded(files, shape, owner, placed if places and not skip_bad else decode, skip_bad)


def _without_bad(split: Split, bad: list[str], named: Callable[[int], str] | None) -> Split:
    """The images that could be read. Raises DataError where a class has none, or none is left."""
    progress.report(f"{len(split.skipped)} bad images are left out; the first: {split.skipped[0]}")
    good = split.take(np.flatnonzero([not reason for reason in bad]))
    emptied = np.setdiff1d(split.labels, good.labels) if named else split.labels[:0]
    if named and emptied.size:
        raise DataError(
            f"{named(int(emptied[0]))} holds no image that can be read; {split.skipped[0]}",
            "replace the files, or remove the class from both the training and the test part",
        )
    if not len(good):
        raise DataError(
            f"{split.origin} has no image that can be read; {split.skipped[0]}", "replace the files"
        )
    return good
