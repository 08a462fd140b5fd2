"""A CSV file of image files and labels, numbers or masks: see csv_columns.py for its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.datasets import labelled_files
from stages.datasets.base import Part, Split
from stages.datasets.csv_parts import Rows, parts, sorted_labels
from stages.datasets.csv_targets import YES_OR_NO, are_labels, as_labels
from stages.datasets.labelled_files import Form, LabelledFiles
from stages.settings import Data


def class_names(settings: Data) -> tuple[str, ...]:
    """The labels of the training part, sorted: as numbers if all are whole numbers, else as text.

    Of columns of numbers their names, of masks (). Raises DataError for a file that is not fit.
    """
    return _names(settings, parts(settings)["train"])


def _names(settings: Data, train: Rows) -> tuple[str, ...]:
    if len(settings.target_columns) == 1 and are_labels(train.numbers):
        return YES_OR_NO
    return settings.target_columns or sorted_labels(train.labels)


def read(settings: Data, part: Part) -> Split:
    """All images of one part, in the order of the rows: uint8 (N, H, W, C) on disk.

    Labels are class numbers int64 (N,), labels uint8 (N, L), values float64 (N, V) or masks uint8
    (N, H, W). Size and channels are those of the first training image, as in folder.py. Raises
    DataError for a file that is not fit, and for an image or a mask that is not unless
    data.skip_bad_images leaves it out.
    """
    both = parts(settings)
    rows, train = both[part], both["train"]
    names = _names(settings, train)
    given = LabelledFiles(
        rows.files,
        _labels(rows, train, settings.target_columns),
        owner=f"{rows.table} {part}",
        named=(lambda label: f"the class {names[label]!r} of the {part} part")
        if rows.labels
        else None,
        masks=rows.masks,
        groups=np.unique(rows.groups, return_inverse=True)[1] if rows.groups else None,
        places=rows.places,
    )
    first = labelled_files.form_of_first(train.files, settings.skip_bad_images)
    return labelled_files.read(given, first, settings)


def _labels(rows: Rows, train: Rows, columns: tuple[str, ...]) -> NDArray[Any] | None:
    """What the file itself says of each image, None where masks do."""
    if rows.masks:
        return None
    if columns:
        is_of_labels = are_labels(train.numbers)
        return as_labels(rows.numbers, rows.places, columns) if is_of_labels else rows.numbers
    numbers = {name: label for label, name in enumerate(sorted_labels(train.labels))}
    return np.array([numbers[label] for label in rows.labels], np.int64)


def form(settings: Data) -> Form:
    """That of the first training image that is fit. Raises DataError."""
    return labelled_files.form_of_first(parts(settings)["train"].files, settings.skip_bad_images)
